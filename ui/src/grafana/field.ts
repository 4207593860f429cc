// What a field (one series, one column) looks like: defaults, then the overrides that match it, in their order.

import { classic, color, continuous } from "../chart/palette";
import type { Labels } from "../data/frame";
import { formatter, type Formatted } from "../format/units";
import { asNumber, asRecord, asText, get, type FieldOptions, type Mapping, type Override, type Threshold } from "./model";
import { readLinks, readMappings, readThresholds } from "./read";

export interface FieldIdentity {
  /** Name after legendFormat. */
  name: string;
  labels: Labels;
  refId: string;
  /** Position among all fields of the panel: picks the palette colour. */
  index: number;
  kind?: "number" | "time" | "string";
}

export interface Field extends FieldIdentity {
  title: string;
  config: FieldOptions;
  custom: Record<string, unknown>;
}

export function resolveField(identity: FieldIdentity, defaults: FieldOptions, overrides: readonly Override[]): Field {
  let config: FieldOptions = { ...defaults };
  let custom: Record<string, unknown> = { ...defaults.custom };
  for (const override of overrides) {
    if (!matches(override.matcher, identity, config.displayName)) continue;
    for (const { id, value } of override.properties) {
      if (id.startsWith("custom.")) custom = { ...custom, [id.slice(7)]: value };
      else config = { ...config, ...property(id, value) };
    }
  }
  const title = config.displayName ? displayName(config.displayName, identity) : identity.name;
  return { ...identity, title, config, custom };
}

function property(id: string, value: unknown): Partial<FieldOptions> {
  switch (id) {
    case "unit": return { unit: asText(value) || undefined };
    case "decimals": return { decimals: asNumber(value) ?? null };
    case "min": return { min: asNumber(value) ?? null };
    case "max": return { max: asNumber(value) ?? null };
    case "displayName": return { displayName: asText(value) || undefined };
    case "noValue": return { noValue: asText(value) || undefined };
    case "color": return { color: { mode: asText(get(value, "mode")), fixedColor: asText(get(value, "fixedColor")) || undefined } };
    case "thresholds": return { thresholds: readThresholds(value) };
    case "mappings": return { mappings: readMappings(value) };
    case "links": return { links: readLinks(value) };
    default: return {};
  }
}

export function matches(matcher: Override["matcher"], field: FieldIdentity, title?: string): boolean {
  const wanted = matcher.options;
  const names = [field.name, title ?? field.name];
  switch (matcher.id) {
    case "byName":
      return names.includes(asText(wanted));
    case "byNames": {
      const inside = ((get(wanted, "names") as unknown[]) ?? []).map((one) => asText(one));
      const hit = inside.some((one) => names.includes(one));
      return get(wanted, "mode") === "exclude" ? !hit : hit;
    }
    case "byRegexp":
      return names.some((name) => regex(asText(wanted))?.test(name) ?? false);
    case "byFrameRefID":
      return field.refId === asText(wanted);
    case "byType":
      return (field.kind ?? "number") === asText(wanted);
    default:
      return false;
  }
}

/** Grafana writes a pattern either bare or as /pattern/flags. A pattern that does not compile matches nothing. */
export function regex(text: string): RegExp | null {
  const slashed = /^\/(.*)\/([a-z]*)$/s.exec(text);
  try {
    return slashed ? new RegExp(slashed[1]!, slashed[2]!.replace(/[gy]/g, "")) : new RegExp(text);
  } catch {
    return null;
  }
}

function displayName(template: string, field: FieldIdentity): string {
  return template
    .replace(/\$\{__field\.(?:name|displayName)\}/g, field.name)
    .replace(/\$\{__series\.name\}/g, field.name)
    .replace(/\$\{__field\.labels\.([^}]+)\}/g, (_all, label: string) => field.labels[label] ?? "")
    .replace(/\$\{__field\.labels\}/g, Object.entries(field.labels).map(([k, v]) => `${k}="${v}"`).join(", "));
}

export interface Shown extends Formatted {
  /** The whole, as one reads it. */
  full: string;
  color: string;
  /** A value mapping gave the text: it is a state, not a number. */
  mapped: boolean;
  /** Which threshold step it stands on, from 0; -1 without thresholds. */
  level: number;
}

export function stepOf(value: number, steps: readonly Threshold[]): number {
  let at = steps.length ? 0 : -1;
  for (let i = 1; i < steps.length; i++) {
    const bound = steps[i]!.value;
    if (bound !== null && value >= bound) at = i;
  }
  return at;
}

/** Percentage thresholds count from min to max of the field, or of the data when it has none. */
export function absoluteSteps(config: FieldOptions, dataMin = 0, dataMax = 100): Threshold[] {
  const steps = config.thresholds?.steps ?? [];
  if (config.thresholds?.mode !== "percentage") return steps;
  const low = config.min ?? dataMin;
  const high = config.max ?? dataMax;
  return steps.map((step) => ({ ...step, value: step.value === null ? null : low + ((high - low) * step.value) / 100 }));
}

export function mapValue(value: number | string | null, mappings: readonly Mapping[]): { text?: string; color?: string } | null {
  for (const { type, options } of mappings) {
    const result = asRecord(options["result"]);
    switch (type) {
      case "value": {
        const hit = asRecord(options[String(value)]);
        if (Object.keys(hit).length) return reading(hit);
        // A file may write 1 as "1.0".
        if (typeof value === "number") {
          for (const [key, found] of Object.entries(options)) {
            if (key.trim() !== "" && Number(key) === value) return reading(asRecord(found));
          }
        }
        break;
      }
      case "range": {
        if (typeof value !== "number" || Number.isNaN(value)) break;
        const from = asNumber(options["from"]) ?? -Infinity;
        const to = asNumber(options["to"]) ?? Infinity;
        if (value >= from && value <= to) return reading(result);
        break;
      }
      case "regex": {
        const pattern = regex(asText(options["pattern"]));
        const text = String(value);
        if (pattern?.test(text)) {
          const found = reading(result);
          return found.text ? { ...found, text: text.replace(pattern, found.text) } : found;
        }
        break;
      }
      case "special": {
        const match = asText(options["match"]);
        const missing = value === null;
        const nan = typeof value === "number" && Number.isNaN(value);
        const hit =
          (match === "null" && missing) ||
          (match === "nan" && nan) ||
          (match === "null+nan" && (missing || nan)) ||
          (match === "true" && value === 1) ||
          (match === "false" && value === 0) ||
          (match === "empty" && value === "");
        if (hit) return reading(result);
        break;
      }
    }
  }
  return null;
}

function reading(result: Record<string, unknown>): { text?: string; color?: string } {
  return { text: typeof result["text"] === "string" && result["text"] !== "" ? result["text"] : undefined, color: asText(result["color"]) || undefined };
}

/** The colour of a whole series: what its line is drawn with. */
export function seriesColor(field: Field, last = NaN): string {
  const mode = field.config.color?.mode ?? "palette-classic";
  const fixed = field.config.color?.fixedColor;
  if (mode === "fixed") return color(fixed, "gray");
  if (mode === "shades") return color(fixed, "blue");
  if (mode === "thresholds") {
    const steps = field.config.thresholds?.steps ?? [];
    return color(steps[Math.max(0, stepOf(last, steps))]?.color, "green");
  }
  if (mode.startsWith("continuous")) return continuous(mode, field.index / 8);
  if (mode === "palette-classic-by-name") return classic([...field.name].reduce((h, c) => (h * 31 + c.charCodeAt(0)) >>> 0, 7));
  return classic(field.index);
}

/** A value as text and colour. `null` is the missing value. */
export function show(field: Field, value: number | null, range?: { min: number; max: number }, zone?: string): Shown {
  const { config } = field;
  const mapped = mapValue(value, config.mappings ?? []);
  const steps = absoluteSteps(config, range?.min, range?.max);
  const level = value === null ? -1 : stepOf(value, steps);
  const mode = config.color?.mode ?? "thresholds";
  let tint: string;
  if (mapped?.color) tint = color(mapped.color);
  else if (value === null) tint = color("gray");
  else if (mode === "fixed" || mode === "shades") tint = color(config.color?.fixedColor, "text");
  else if (mode.startsWith("continuous")) {
    const low = config.min ?? range?.min ?? 0;
    const high = config.max ?? range?.max ?? 100;
    tint = continuous(mode, (value - low) / (high - low || 1));
  } else if (mode.startsWith("palette")) tint = seriesColor(field, value);
  else tint = color(steps[Math.max(0, level)]?.color, "text");
  if (mapped?.text !== undefined) {
    return { prefix: "", text: mapped.text, suffix: "", full: mapped.text, color: tint, mapped: true, level };
  }
  if (value === null) {
    const text = config.noValue ?? "no data";
    return { prefix: "", text, suffix: "", full: text, color: tint, mapped: true, level };
  }
  const parts = formatter(config.unit)(value, config.decimals, zone);
  return { ...parts, full: parts.prefix + parts.text + parts.suffix, color: tint, mapped: false, level };
}

/** Name of a series by Grafana's rules: the template, `__auto`, or Prometheus' own notation. */
export function legendName(format: string | undefined, labels: Labels, expr: string): string {
  if (format && format !== "__auto") {
    return format.replace(/\{\{\s*(.+?)\s*\}\}/g, (_all, label: string) => labels[label] ?? "");
  }
  return promName(labels) || expr;
}

export function promName(labels: Labels): string {
  const name = labels["__name__"] ?? "";
  const pairs = Object.keys(labels)
    .filter((label) => label !== "__name__")
    .sort()
    .map((label) => `${label}="${labels[label]}"`);
  if (pairs.length === 0) return name;
  return `${name}{${pairs.join(", ")}}`;
}
