// Variables in queries and titles.

import { promDuration } from "../format/time";
import type { Variable } from "./model";

export type Values = Record<string, { values: string[]; all: boolean; definition?: Variable }>;

/** Built-in values that depend on the panel: `$__interval` and its kin. */
export interface BuiltIns {
  intervalMs: number;
  rateIntervalMs: number;
  rangeMs: number;
  from: number;
  to: number;
  dashboard: string;
}

const REFERENCE = /\$\{(\w+)(?:\.\w+)?(?::([\w+]+))?\}|\[\[(\w+)(?::(\w+))?\]\]|\$(\w+)/g;

/** Puts the variables into `text`. In PromQL several values become a regular expression, as Grafana does it. */
export function interpolate(text: string, values: Values, builtIns: BuiltIns | null, where: "promql" | "text"): string {
  return text.replace(REFERENCE, (whole, braced?: string, format?: string, old?: string, oldFormat?: string, bare?: string) => {
    const name = braced ?? old ?? bare ?? "";
    const built = builtIns && builtIn(name, builtIns);
    if (built !== null && built !== undefined) return built;
    const state = values[name];
    if (!state) return whole;
    const { definition } = state;
    if (state.all && where === "text" && !format && !oldFormat) return "All";
    if (state.all && definition?.allValue) return definition.allValue;
    return shape(state.values, format ?? oldFormat, where, Boolean(definition?.multi || definition?.includeAll));
  });
}

function builtIn(name: string, b: BuiltIns): string | null {
  switch (name) {
    case "__interval": return promDuration(b.intervalMs);
    case "__interval_ms": return String(b.intervalMs);
    case "__rate_interval": return promDuration(b.rateIntervalMs);
    case "__rate_interval_ms": return String(b.rateIntervalMs);
    case "__range": return `${Math.max(1, Math.round(b.rangeMs / 1000))}s`;
    case "__range_s": return String(Math.max(1, Math.round(b.rangeMs / 1000)));
    case "__range_ms": return String(b.rangeMs);
    case "__from": return String(b.from);
    case "__to": return String(b.to);
    case "__dashboard": return b.dashboard;
    default: return null;
  }
}

const escapeRegex = (value: string) => value.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&").replace(/\\\//g, "/");
/** Inside a PromQL string a backslash itself needs one. */
const escapePromRegex = (value: string) => escapeRegex(value).replace(/\\/g, "\\\\").replace(/"/g, '\\"');
const escapePromString = (value: string) => value.replace(/\\/g, "\\\\").replace(/"/g, '\\"');

function shape(values: string[], format: string | undefined, where: "promql" | "text", many: boolean): string {
  switch (format) {
    case "raw":
    case "csv": return values.join(",");
    case "pipe": return values.join("|");
    case "json": return JSON.stringify(values.length === 1 ? values[0] : values);
    case "glob": return values.length > 1 ? `{${values.join(",")}}` : (values[0] ?? "");
    case "doublequote": return values.map((v) => `"${v.replace(/"/g, '\\"')}"`).join(",");
    case "singlequote": return values.map((v) => `'${v.replace(/'/g, "\\'")}'`).join(",");
    case "percentencode": return encodeURIComponent(values.length > 1 ? `{${values.join(",")}}` : (values[0] ?? ""));
    case "text": return values.join(" + ");
    case "regex": return values.length > 1 ? `(${values.map(escapeRegex).join("|")})` : escapeRegex(values[0] ?? "");
  }
  if (where === "text") return values.join(" + ");
  if (!many) return escapePromString(values[0] ?? "");
  return values.length > 1 ? `(${values.map(escapePromRegex).join("|")})` : escapePromRegex(values[0] ?? "");
}

/** Names that `text` refers to, so that dependent variables are asked in their order. */
export function references(text: string): string[] {
  return [...text.matchAll(REFERENCE)].map((m) => m[1] ?? m[3] ?? m[5] ?? "").filter((name) => !name.startsWith("__"));
}
