// Panels of single numbers: stat, gauge, bar gauge.

import { color, fade } from "../chart/palette";
import { Spark } from "../chart/spark";
import { serverNow, staleAfter } from "../data/live";
import { reduce } from "../data/reduce";
import type { Source } from "../data/source";
import { sinceText } from "../format/time";
import { formatText } from "../format/units";
import { absoluteSteps, show, type Field, type Shown } from "../grafana/field";
import { asList, asText, get, type Panel } from "../grafana/model";
import { regex } from "../grafana/field";
import { theme, zone } from "../shell/settings";
import { fieldsOf, type FieldData, type PageContext } from "./context";
import type { TableData } from "./datatable";
import { Loading, NoData } from "./timeseries";

export interface Reading {
  field: Field;
  data: FieldData | null;
  value: number | null;
  shown: Shown;
  /** The sample is older than it should be: since when. */
  staleSince: number | null;
  range: { min: number; max: number };
  key: string;
}

export function readings(panel: Panel, source: Source, page: PageContext): Reading[] {
  const calcs = asList(get(panel.options, "reduceOptions", "calcs")).map((one) => asText(one));
  const calc = calcs[0] ?? "lastNotNull";
  const wanted = asText(get(panel.options, "reduceOptions", "fields"));
  const pattern = wanted.startsWith("/") ? regex(wanted) : null;
  const now = serverNow.peek();
  const all = fieldsOf(panel, source, page).filter((one) => !pattern || pattern.test(one.field.title));
  const spread = dataRange(all);
  return all.map((data): Reading => {
    const raw = reduce(data.values, calc);
    const value = Number.isNaN(raw) ? null : raw;
    let staleSince: number | null = null;
    if (source.window.live && (calc === "lastNotNull" || calc === "last") && value !== null) {
      let i = data.values.length - 1;
      while (i >= 0 && Number.isNaN(data.values[i]!)) i -= 1;
      const at = data.t[i]!;
      if (now - at > staleAfter(source.stepMs)) staleSince = at;
    }
    const min = data.field.config.min ?? spread.min;
    const max = data.field.config.max ?? spread.max;
    const shown = value === null && data.sawNaN ? { ...show(data.field, NaN), text: "NaN", full: "NaN", color: color("gray"), mapped: true } : show(data.field, value, { min, max }, zone.value || undefined);
    return { field: data.field, data, value, shown, staleSince, range: { min, max }, key: data.key };
  });
}

function dataRange(all: readonly FieldData[]): { min: number; max: number } {
  let min = Infinity;
  let max = -Infinity;
  for (const { values } of all) {
    for (const v of values) {
      if (!Number.isFinite(v)) continue;
      if (v < min) min = v;
      if (v > max) max = v;
    }
  }
  if (min > max) return { min: 0, max: 100 };
  return { min: Math.min(0, min), max: max === min ? max + 1 : max };
}

export function StatPanel({ panel, source, page }: { panel: Panel; source: Source; page: PageContext }) {
  source.version.value;
  theme.value;
  // A value that nobody renews has to turn grey without any frame.
  if (source.window.live) serverNow.value;
  const all = readings(panel, source, page);
  if (!source.ready) return <Loading />;
  if (all.length === 0) return <NoData text={panel.fieldConfig.defaults.noValue} />;
  const colorMode = asText(panel.options["colorMode"], "value");
  const graph = asText(panel.options["graphMode"], "area") !== "none" && all.some((one) => (one.data?.values.length ?? 0) > 2);
  const textMode = asText(panel.options["textMode"], "auto");
  const orientation = asText(panel.options["orientation"], "auto");
  const withName = textMode === "value_and_name" || textMode === "name" || (textMode === "auto" && all.length > 1);
  return (
    <div class={`stats stats-${orientation} ${all.length > 1 ? "stats-many" : ""}`} style={{ "--count": all.length }}>
      {all.slice(0, 100).map((one) => (
        <div
          key={one.key}
          class={`stat ${colorMode.startsWith("background") ? "has-ground" : ""} ${one.staleSince !== null ? "is-stale" : ""}`}
          style={colorMode.startsWith("background") ? { background: ground(one.shown.color), borderColor: one.shown.color } : undefined}
        >
          {withName && <span class="stat-name" title={one.field.title}>{one.field.title}</span>}
          {textMode !== "name" && (
            <span class="stat-value" style={colorMode === "value" && one.staleSince === null ? { color: one.shown.color } : undefined}>
              {one.shown.prefix}
              {one.shown.text}
              <small>{one.shown.suffix}</small>
            </span>
          )}
          <LevelMark reading={one} />
          {graph && one.data && <Spark data={one.data} tint={colorMode === "none" ? color("blue") : one.shown.color} source={source} />}
        </div>
      ))}
    </div>
  );
}

function ground(tint: string): string {
  return fade(tint, theme.value === "dark" ? 0.22 : 0.16);
}

/** Says in text what the colour says: which bound was passed, or since when the value is old. */
export function LevelMark({ reading }: { reading: Reading }) {
  if (reading.staleSince !== null) {
    return <span class="stat-mark">▨ no sample since {sinceText(reading.staleSince, serverNow.peek(), zone.value || undefined)}</span>;
  }
  const { field, shown, range } = reading;
  const steps = absoluteSteps(field.config, range.min, range.max);
  const bound = steps[shown.level]?.value;
  const coloured = (field.config.color?.mode ?? "thresholds") === "thresholds";
  // A bound that is good to have passed needs no mark.
  if (/green|blue|text|transparent/.test(steps[shown.level]?.color ?? "")) return null;
  if (shown.mapped || !coloured || shown.level <= 0 || bound === null || bound === undefined) return null;
  return <span class="stat-mark">▲ at or over {formatText(field.config.unit, bound, field.config.decimals)}</span>;
}

const SWEEP = 240;

export function GaugePanel({ panel, source, page }: { panel: Panel; source: Source; page: PageContext }) {
  source.version.value;
  theme.value;
  // A value that nobody renews has to turn grey without any frame.
  if (source.window.live) serverNow.value;
  const all = readings(panel, source, page);
  if (!source.ready) return <Loading />;
  if (all.length === 0) return <NoData text={panel.fieldConfig.defaults.noValue} />;
  return (
    <div class="gauges" style={{ "--count": all.length }}>
      {all.slice(0, 40).map((one) => (
        <figure key={one.key} class={`gauge ${one.staleSince !== null ? "is-stale" : ""}`} role="figure" aria-label={`${one.field.title}: ${one.shown.full}, from ${bound(one, "min")} to ${bound(one, "max")}`}>
          <GaugeArc reading={one} />
          <figcaption title={one.field.title}>{one.field.title}</figcaption>
        </figure>
      ))}
    </div>
  );
}

function bound(reading: Reading, side: "min" | "max"): string {
  return formatText(reading.field.config.unit, reading.range[side], reading.field.config.decimals);
}

function share(reading: Reading): number {
  const { min, max } = reading.range;
  if (reading.value === null || max <= min) return 0;
  return Math.min(1, Math.max(0, (reading.value - min) / (max - min)));
}

function arc(from: number, to: number, radius: number): string {
  const at = (part: number) => {
    const angle = ((-90 - SWEEP / 2 + part * SWEEP) * Math.PI) / 180;
    return `${(60 + radius * Math.cos(angle)).toFixed(2)} ${(58 + radius * Math.sin(angle)).toFixed(2)}`;
  };
  return `M ${at(from)} A ${radius} ${radius} 0 ${(to - from) * SWEEP > 180 ? 1 : 0} 1 ${at(to)}`;
}

function GaugeArc({ reading }: { reading: Reading }) {
  const { min, max } = reading.range;
  const steps = absoluteSteps(reading.field.config, min, max);
  const part = (v: number | null) => (v === null ? 0 : Math.min(1, Math.max(0, (v - min) / (max - min || 1))));
  return (
    <svg viewBox="0 0 120 96" aria-hidden="true">
      <path d={arc(0, 1, 44)} class="gauge-track" />
      {reading.value !== null && share(reading) > 0.002 && <path d={arc(0, share(reading), 44)} class="gauge-value" style={{ stroke: reading.shown.color }} />}
      {steps.length > 1 &&
        steps.map((step, i) => {
          const from = part(step.value);
          const to = part(steps[i + 1]?.value ?? max);
          return to > from ? <path key={i} d={arc(from, to, 53)} class="gauge-ring" style={{ stroke: color(step.color) }} /> : null;
        })}
      <text x="60" y="62" class="gauge-text" style={{ fontSize: `${Math.max(9, Math.min(19, 130 / Math.max(4, reading.shown.full.length)))}px` }}>{reading.shown.full}</text>
      <text x="26" y="93" class="gauge-end">{bound(reading, "min")}</text>
      <text x="94" y="93" class="gauge-end">{bound(reading, "max")}</text>
    </svg>
  );
}

export function BarGaugePanel({ panel, source, page }: { panel: Panel; source: Source; page: PageContext }) {
  source.version.value;
  theme.value;
  // A value that nobody renews has to turn grey without any frame.
  if (source.window.live) serverNow.value;
  const all = readings(panel, source, page);
  if (!source.ready) return <Loading />;
  if (all.length === 0) return <NoData text={panel.fieldConfig.defaults.noValue} />;
  return (
    <div class="bars" role="list" tabIndex={0} aria-label="Bars">
      {all.slice(0, 100).map((one) => (
        <div key={one.key} role="listitem" class={`bar ${one.staleSince !== null ? "is-stale" : ""}`}>
          <span class="bar-name" title={one.field.title}>{one.field.title}</span>
          <span class="bar-track" aria-hidden="true">
            <span style={{ width: `${(share(one) * 100).toFixed(1)}%`, background: one.shown.color }} />
          </span>
          <span class="bar-value">{one.shown.full}</span>
        </div>
      ))}
    </div>
  );
}

export function singleTable(panel: Panel, source: Source, page: PageContext): TableData {
  return {
    columns: [{ title: "Name" }, { title: "Value", numeric: true }, { title: "State" }],
    rows: readings(panel, source, page).map((one) => [
      { text: one.field.title },
      { text: one.shown.full, sort: one.value ?? NaN },
      { text: one.staleSince !== null ? `no sample since ${sinceText(one.staleSince, serverNow.peek(), zone.value || undefined)}` : "fresh" },
    ]),
  };
}
