// Template variables: the values they can have, the values they have, and their place in queries and titles.

import { prom, type PromResult } from "../data/api";
import { parseDuration } from "../format/time";
import { regex } from "./field";
import type { Labels } from "../data/frame";
import type { Variable } from "./model";
import { interpolate, type BuiltIns, type Values } from "./interpolate";

export { interpolate, references, type BuiltIns, type Values } from "./interpolate";

export const ALL = "$__all";

export interface Choice {
  text: string;
  value: string;
}

export interface VariableState {
  definition: Variable;
  choices: Choice[];
  selected: string[];
  error: string | null;
}

export function valuesOf(states: readonly VariableState[]): Values {
  const out: Values = {};
  for (const { definition, choices, selected } of states) {
    const all = selected.includes(ALL);
    const values = all ? choices.map((c) => c.value).filter((v) => v !== ALL) : selected;
    // "All" over an unknown set matches everything, and never nothing.
    if (all && values.length === 0) out[definition.name] = { values: [], all, definition: { ...definition, allValue: definition.allValue || ".*" } };
    else out[definition.name] = { values, all, definition };
  }
  return out;
}

/** Finds the choices of all variables in order, each with the values of those before it. */
export async function loadVariables(definitions: readonly Variable[], wanted: Record<string, string[]>, from: number, to: number, signal: AbortSignal): Promise<VariableState[]> {
  const states: VariableState[] = [];
  for (const definition of definitions) {
    let choices: Choice[] = [];
    let error: string | null = null;
    try {
      choices = await choicesOf(definition, valuesOf(states), from, to, signal);
    } catch (cause) {
      if (signal.aborted) throw cause;
      error = cause instanceof Error ? cause.message : String(cause);
    }
    if (definition.includeAll && choices.length > 0) choices = [{ text: "All", value: ALL }, ...choices];
    states.push({ definition, choices, selected: select(definition, choices, wanted[definition.name]), error });
  }
  return states;
}

export function select(definition: Variable, choices: Choice[], wanted: string[] | undefined): string[] {
  if (definition.type === "textbox" || definition.type === "constant") return wanted ?? (definition.current.length ? definition.current : [definition.query]);
  const known = (value: string) => choices.some((c) => c.value === value);
  const normal = (values: string[]) => values.map((v) => (v === "All" && definition.includeAll ? ALL : v));
  if (wanted?.length) {
    const kept = normal(wanted).filter(known);
    if (kept.length) return definition.multi ? kept : kept.slice(0, 1);
  }
  const fromFile = normal(definition.current).filter(known);
  if (fromFile.length) return definition.multi ? fromFile : fromFile.slice(0, 1);
  const first = choices[0];
  return first ? [first.value] : [];
}

async function choicesOf(definition: Variable, values: Values, from: number, to: number, signal: AbortSignal): Promise<Choice[]> {
  switch (definition.type) {
    case "datasource":
      // There is one source of data here, whatever the file calls it.
      return [{ text: "tradewatch", value: "tradewatch" }];
    case "custom":
      return customChoices(definition);
    case "interval":
      return definition.query.split(",").map((one) => one.trim()).filter((one) => one && one !== "auto" && parseDuration(one) !== null).map(plainChoice);
    case "textbox":
    case "constant":
      return [plainChoice(definition.query)];
    case "query":
      return queryChoices(definition, values, from, to, signal);
    case "adhoc":
      return [];
    default:
      return definition.options;
  }
}

function customChoices(definition: Variable): Choice[] {
  // Commas separate, "\," is a comma, "text : value" names a value.
  const parts = definition.query.match(/(?:\\,|[^,])+/g) ?? [];
  const choices = parts.map((part) => {
    const text = part.trim().replace(/\\,/g, ",");
    const pair = /^(.+?)\s:\s(.+)$/.exec(text);
    return pair ? { text: pair[1]!, value: pair[2]! } : plainChoice(text);
  });
  return choices.length ? choices : definition.options.filter((one) => one.value !== ALL);
}

const plainChoice = (value: string): Choice => ({ text: value, value });

async function queryChoices(definition: Variable, values: Values, from: number, to: number, signal: AbortSignal): Promise<Choice[]> {
  const builtIns: BuiltIns = { intervalMs: 60_000, rateIntervalMs: 60_000, rangeMs: to - from, from, to, dashboard: "" };
  const query = interpolate(definition.query, values, builtIns, "promql").trim();
  const range = { start: (from / 1000).toFixed(3), end: (to / 1000).toFixed(3) };
  let raw: string[];
  const labelValues = /^label_values\(\s*(?:(.+?)\s*,\s*)?([a-zA-Z_]\w*)\s*\)$/s.exec(query);
  const labelNames = /^label_names\(\s*(.*?)\s*\)$/s.exec(query);
  const metrics = /^metrics\(\s*(.*?)\s*\)$/s.exec(query);
  const result = /^query_result\((.*)\)$/s.exec(query);
  if (labelValues) {
    const params = labelValues[1] ? { ...range, "match[]": labelValues[1] } : range;
    raw = (await prom<string[]>(`label/${encodeURIComponent(labelValues[2]!)}/values`, params, signal)).data;
  } else if (labelNames) {
    raw = (await prom<string[]>("labels", labelNames[1] ? { ...range, "match[]": `{__name__=~"${labelNames[1]}"}` } : range, signal)).data;
  } else if (metrics) {
    const names = (await prom<string[]>("label/__name__/values", range, signal)).data;
    const wanted = regex(metrics[1]!);
    raw = names.filter((name) => wanted?.test(name) ?? true);
  } else {
    const { data } = await prom<PromResult>("query", { query: result ? result[1]! : query, time: (to / 1000).toFixed(3) }, signal);
    raw = data.resultType === "vector" ? data.result.map((one) => rendered(one.metric, one.value ?? [0, "0"])) : [];
  }
  return sorted(filtered(raw, definition.regex), definition.sort);
}

/** As Grafana writes a sample before the variable's pattern takes it apart. */
function rendered(labels: Labels, value: [number, string]): string {
  const pairs = Object.entries(labels).filter(([name]) => name !== "__name__").map(([name, v]) => `${name}="${v}"`);
  return `${labels["__name__"] ?? ""}{${pairs.join(",")}} ${value[1]} ${Math.round(value[0] * 1000)}`;
}

export function filtered(raw: string[], pattern: string | undefined): Choice[] {
  const wanted = pattern ? regex(pattern) : null;
  const out = new Map<string, Choice>();
  for (const text of raw) {
    if (!wanted) {
      out.set(text, plainChoice(text));
      continue;
    }
    const match = wanted.exec(text);
    if (!match) continue;
    const value = match.groups?.["value"] ?? match[1] ?? match[0];
    out.set(value, { value, text: match.groups?.["text"] ?? value });
  }
  return [...out.values()];
}

export function sorted(choices: Choice[], how: number): Choice[] {
  if (how === 0) return choices;
  const down = how % 2 === 0 ? -1 : 1;
  const numeric = how === 3 || how === 4;
  const fold = how >= 5;
  const number = (text: string) => Number(/-?\d+(?:\.\d+)?/.exec(text)?.[0] ?? NaN);
  return [...choices].sort((a, b) => {
    if (numeric) return down * ((number(a.text) || 0) - (number(b.text) || 0));
    const [x, y] = fold ? [a.text.toLowerCase(), b.text.toLowerCase()] : [a.text, b.text];
    return down * (x < y ? -1 : x > y ? 1 : 0);
  });
}
