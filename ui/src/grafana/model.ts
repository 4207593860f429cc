// The parts of a classic Grafana dashboard that are read here. Everything is optional in the wild, so everything is checked.

export interface Threshold {
  color: string;
  value: number | null;
}

export interface Mapping {
  type: "value" | "range" | "regex" | "special";
  options: Record<string, unknown>;
}

export interface FieldOptions {
  unit?: string;
  decimals?: number | null;
  min?: number | null;
  max?: number | null;
  displayName?: string;
  noValue?: string;
  description?: string;
  color?: { mode?: string; fixedColor?: string; seriesBy?: string };
  thresholds?: { mode?: string; steps?: Threshold[] };
  mappings?: Mapping[];
  links?: { title?: string; url?: string; targetBlank?: boolean }[];
  custom?: Record<string, unknown>;
}

export interface Override {
  matcher: { id: string; options?: unknown };
  properties: { id: string; value?: unknown }[];
}

export interface Target {
  refId: string;
  expr: string;
  legendFormat?: string;
  format?: string;
  instant?: boolean;
  range?: boolean;
  hide?: boolean;
  interval?: string;
  intervalFactor?: number;
}

export interface Transformation {
  id: string;
  options: Record<string, unknown>;
  disabled?: boolean;
}

export interface GridPos {
  x: number;
  y: number;
  w: number;
  h: number;
}

export interface Panel {
  id: number;
  type: string;
  title: string;
  description?: string;
  gridPos: GridPos;
  targets: Target[];
  options: Record<string, unknown>;
  fieldConfig: { defaults: FieldOptions; overrides: Override[] };
  transformations: Transformation[];
  interval?: string;
  maxDataPoints?: number;
  timeFrom?: string;
  timeShift?: string;
  transparent?: boolean;
  repeat?: string;
  repeatDirection?: string;
  maxPerRow?: number;
  links?: { title?: string; url?: string }[];
  /** Rows only. */
  collapsed?: boolean;
  panels?: Panel[];
  /** Values of variables for this copy of a repeated panel. */
  scoped?: Record<string, string>;
}

export interface Variable {
  name: string;
  type: string;
  label?: string;
  description?: string;
  query: string;
  regex?: string;
  multi: boolean;
  includeAll: boolean;
  allValue?: string | null;
  hide: number;
  sort: number;
  current: string[];
  options: { text: string; value: string }[];
}

export interface AnnotationQuery {
  name: string;
  enable: boolean;
  iconColor?: string;
  expr?: string;
  builtIn?: boolean;
}

export interface Dashboard {
  uid: string;
  title: string;
  description?: string;
  tags: string[];
  timezone: string;
  refresh: string;
  graphTooltip: number;
  time: { from: string; to: string };
  variables: Variable[];
  annotations: AnnotationQuery[];
  links: { title: string; url: string; type: string; tags: string[]; icon?: string }[];
  panels: Panel[];
  /** What was met and could not be read, in words. */
  notes: string[];
}

/** Nested access without trust. */
export function get(source: unknown, ...path: string[]): unknown {
  let at: unknown = source;
  for (const name of path) {
    if (at === null || typeof at !== "object") return undefined;
    at = (at as Record<string, unknown>)[name];
  }
  return at;
}

export function asText(value: unknown, fallback = ""): string {
  return typeof value === "string" ? value : typeof value === "number" ? String(value) : fallback;
}

export function asNumber(value: unknown): number | undefined {
  if (typeof value === "number" && Number.isFinite(value)) return value;
  if (typeof value === "string" && value.trim() !== "" && Number.isFinite(Number(value))) return Number(value);
  return undefined;
}

export function asList(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

export function asRecord(value: unknown): Record<string, unknown> {
  return value !== null && typeof value === "object" && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}
