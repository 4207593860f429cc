// What every panel of a page shares: the window, the variables, what is drawn behind the charts.

import { scrapeMs } from "../data/live";
import { prom, type Target as ScrapeTarget } from "../data/api";
import type { QuerySpec, Source, Window } from "../data/source";
import type { Span } from "../chart/timechart";
import { parseDuration, rateInterval, stepFor } from "../format/time";
import { legendName, promName, resolveField, type Field } from "../grafana/field";
import { interpolate, type BuiltIns, type Values } from "../grafana/interpolate";
import type { Panel } from "../grafana/model";

export interface PageContext {
  window: Window;
  values: Values;
  dashboard: string;
  syncKey: string | undefined;
  closed: Span[];
  notes: Span[];
  onZoom: (from: number, to: number) => void;
}

export async function learnScrapeInterval(): Promise<void> {
  try {
    const { data } = await prom<{ activeTargets: ScrapeTarget[] }>("targets", { state: "active" });
    const intervals = data.activeTargets.map((target) => parseDuration(target.scrapeInterval ?? "") ?? 0).filter((ms) => ms > 0);
    if (intervals.length) scrapeMs.value = Math.max(1000, Math.min(...intervals));
  } catch {
    // The default stays; the connection state says what is wrong.
  }
}

export function builtInsFor(panel: Panel, page: PageContext, widthPx: number): BuiltIns {
  const rangeMs = page.window.to - page.window.from;
  const points = Math.min(panel.maxDataPoints ?? Infinity, Math.max(100, widthPx));
  const wanted = panel.interval ? interpolate(panel.interval, page.values, null, "text").replace(/^>/, "") : "";
  const atLeast = parseDuration(wanted) ?? scrapeMs.value;
  const intervalMs = stepFor(rangeMs, points, Math.max(1000, atLeast));
  return {
    intervalMs,
    rateIntervalMs: rateInterval(intervalMs, Math.max(scrapeMs.value, parseDuration(wanted) ?? 0)),
    rangeMs,
    from: page.window.from,
    to: page.window.to,
    dashboard: page.dashboard,
  };
}

export function scopedValues(panel: Panel, values: Values): Values {
  if (!panel.scoped) return values;
  const out: Values = { ...values };
  for (const [name, value] of Object.entries(panel.scoped)) out[name] = { values: [value], all: false, definition: values[name]?.definition };
  return out;
}

export function specsOf(panel: Panel, page: PageContext, widthPx: number): QuerySpec[] {
  const builtIns = builtInsFor(panel, page, widthPx);
  const values = scopedValues(panel, page.values);
  return panel.targets
    .filter((target) => !target.hide && target.expr.trim() !== "")
    .map((target) => {
      const own = target.interval ? parseDuration(interpolate(target.interval, values, builtIns, "text")) : null;
      const stepMs = Math.max(builtIns.intervalMs, own ?? 0) * Math.max(1, target.intervalFactor ?? 1);
      const scoped = { ...builtIns, intervalMs: stepMs, rateIntervalMs: rateInterval(stepMs, scrapeMs.value) };
      const instant = target.instant === true && target.range !== true;
      return { refId: target.refId, expr: interpolate(target.expr, values, scoped, "promql"), stepMs: instant ? Math.max(1000, scrapeMs.value) : stepMs, instant };
    });
}

export interface FieldData {
  field: Field;
  t: Float64Array;
  values: Float64Array;
  sawNaN: boolean;
  key: string;
}

/** Every series of every query as a field with its settings. Instant queries have their newest column only. */
export function fieldsOf(panel: Panel, source: Source, page: PageContext): FieldData[] {
  const out: FieldData[] = [];
  const values = scopedValues(panel, page.values);
  for (const state of source.states) {
    const target = panel.targets.find((one) => one.refId === state.spec.refId);
    const legend = target?.legendFormat ? interpolate(target.legendFormat, values, null, "text") : undefined;
    const { t, columns } = state.buffer.view();
    const differing = distinguishing(columns.map((column) => column.labels));
    const sorted = [...columns].sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
    for (const column of sorted) {
      const from = state.spec.instant ? Math.max(0, t.length - 1) : 0;
      const own = column.values.subarray(from);
      if (state.spec.instant && (own.length === 0 || (Number.isNaN(own[0]!) && !column.sawNaN))) continue;
      const name = autoName(legend, column.labels, state.spec.expr, differing);
      const field = resolveField({ name, labels: column.labels, refId: state.spec.refId, index: out.length }, panel.fieldConfig.defaults, panel.fieldConfig.overrides);
      out.push({ field, t: t.subarray(from), values: own, sawNaN: column.sawNaN, key: `${state.spec.refId}\u0000${column.key}` });
    }
  }
  return out;
}

/** The labels in which the series of one query differ; null when there is only one series. */
function distinguishing(all: readonly Record<string, string>[]): Set<string> | null {
  const first = all[0];
  if (!first || all.length < 2) return null;
  const names = new Set(all.flatMap((labels) => Object.keys(labels)));
  return new Set([...names].filter((name) => all.some((labels) => labels[name] !== first[name])));
}

/** `__auto` and `__short`: what tells a series from the others. What all of them share would only hide it. */
function autoName(format: string | undefined, labels: Record<string, string>, expr: string, differing: Set<string> | null): string {
  if (format && format !== "__auto" && format !== "__short") return legendName(format, labels, expr);
  if (format === "__auto") {
    const names = Object.keys(labels);
    if (names.length === 1) return labels[names[0]!]!;
    if (differing?.size === 1) return labels[[...differing][0]!] ?? promName(labels);
  }
  if (format === "__short" && differing?.size) {
    return promName(Object.fromEntries(Object.entries(labels).filter(([name]) => name === "__name__" || differing.has(name))));
  }
  return promName(labels) || expr;
}

/** A name without its quotes and braces is enough for a heading. */
export function titleOf(panel: Panel, page: PageContext): string {
  return interpolate(panel.title, scopedValues(panel, page.values), null, "text");
}
