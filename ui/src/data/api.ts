// The server's HTTP interface: Prometheus' API v1, Alertmanager's API v2 for silences, and our own paths.

import type { Labels } from "./frame";

/** What went wrong, where it came from, and (for a query) the position the parser gave. */
export class ApiError extends Error {
  readonly status: number;
  readonly kind: string;

  constructor(message: string, status: number, kind: string) {
    super(message);
    this.status = status;
    this.kind = kind;
  }
}

async function request(path: string, init?: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === "AbortError") throw cause;
    throw new ApiError("The monitor does not answer. Is the process alive?", 0, "unreachable");
  }
  if (response.ok) return response;
  const text = await response.text();
  try {
    const body = JSON.parse(text) as { error?: string; message?: string; errorType?: string };
    throw new ApiError(body.error ?? body.message ?? text, response.status, body.errorType ?? "error");
  } catch (cause) {
    if (cause instanceof ApiError) throw cause;
    throw new ApiError(text.trim() || `${path} answered ${response.status}`, response.status, "error");
  }
}

export async function getJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  const response = await request(path, signal ? { signal } : undefined);
  return (await response.json()) as T;
}

export async function getText(path: string): Promise<string> {
  return (await request(path)).text();
}

export async function send<T>(method: "POST" | "DELETE", path: string, body?: unknown): Promise<T | null> {
  const init: RequestInit = { method };
  if (body !== undefined) {
    init.headers = { "content-type": "application/json" };
    init.body = JSON.stringify(body);
  }
  const text = await (await request(path, init)).text();
  return text ? (JSON.parse(text) as T) : null;
}

interface Envelope<T> {
  status: string;
  data: T;
  warnings?: string[];
  infos?: string[];
}

/** A call of Prometheus' API v1, without its envelope. */
export async function prom<T>(path: string, params: Record<string, string | number | string[]> = {}, signal?: AbortSignal): Promise<{ data: T; warnings: string[] }> {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    for (const one of Array.isArray(value) ? value : [value]) search.append(name, String(one));
  }
  const query = search.toString();
  const body = await getJson<Envelope<T>>(`/api/v1/${path}${query ? `?${query}` : ""}`, signal);
  return { data: body.data, warnings: [...(body.warnings ?? []), ...(body.infos ?? [])] };
}

export type PromPoint = [number, string];

export type PromResult =
  | { resultType: "vector"; result: { metric: Labels; value?: PromPoint; histogram?: [number, PromHistogram] }[] }
  | { resultType: "matrix"; result: { metric: Labels; values?: PromPoint[]; histograms?: [number, PromHistogram][] }[] }
  | { resultType: "scalar" | "string"; result: PromPoint };

export interface PromHistogram {
  count: string;
  sum: string;
  buckets?: [number, string, string, string][];
}

export interface Alert {
  fingerprint: string;
  name: string;
  state: "pending" | "firing" | "resolved";
  severity: string;
  labels: Labels;
  annotations: Labels;
  since: number | string | null;
  active_at: number | string | null;
  value: number | string | null;
  acknowledged: { by: string; at: number | string; comment?: string } | null;
  silenced_by: string[] | string | null;
  inhibited_by: string[] | string | null;
  /** A time interval of the route that keeps it quiet now. */
  muted_by?: string[] | string | null;
  /** Why its `for` stands or counts all time, if it does. */
  market?: MarketNote | null;
  runbook: string | null;
  last_notified: number | string | null;
  resolved_at?: number | string | null;
  latency_budget?: LatencyBudget | null;
  notes?: number;
  last_note?: { by: string; proven: boolean; at: number; text: string } | null;
}

export interface MarketNote {
  mic: string;
  state: string;
  symbol?: string | null;
  since?: number;
  until: number | null;
  reason?: string;
}

/** How long it takes at worst from a fault to its notification, in seconds. */
export interface LatencyBudget {
  scrape: number;
  /** Until the recording rules that it reads have written. */
  records?: number;
  evaluation: number;
  hold: number;
  grouping: number;
  /** For an alert that joins a group that was told already. */
  joining?: number;
  /** Of an alert that begins its group. */
  total: number;
  /** Of any alert. */
  worst?: number;
  receiver?: string;
  rts6: boolean;
  withinLimit: boolean;
}

export interface AlertCounts {
  firing: number;
  open: number;
  open_critical: number;
  held_back: number;
  pending: number;
  resolved: number;
}

export interface AlertName extends AlertCounts {
  name: string;
  severity: string;
  oldest: number | null;
  newest: number | null;
}

export interface AlertSummary {
  total: number;
  counts: AlertCounts;
  names: AlertName[];
}

export interface Matcher {
  name: string;
  value: string;
  isRegex: boolean;
  isEqual?: boolean;
}

export interface SilencePreview {
  counts: AlertCounts;
  names: AlertName[];
  alerts: Alert[];
  warnings: string[];
  starts_at: number;
  ends_at: number;
  warns_at: number;
}

/** One line of the log of what people did. */
export interface Deed {
  id: number;
  at: number;
  by: string;
  proven: boolean;
  action: string;
  subject: string;
  text?: string;
  alerts?: string[];
  alert_count?: number;
  silence?: string;
  refused?: string;
}

export interface NotificationRecord {
  receiver: string;
  integration: string;
  status: string;
  outcome: string;
  reason: string;
  attempts: number;
  alert_count: number;
  created: number;
  settled: number;
}

export interface AlertHistory {
  alert: Alert | null;
  timeline: { at: number; person?: Deed; notification?: NotificationRecord }[];
}

export interface Silence {
  id: string;
  matchers: Matcher[];
  startsAt: string;
  endsAt: string;
  createdBy: string;
  comment: string;
  status?: { state: "active" | "pending" | "expired" };
  hides?: number;
  hidesCritical?: number;
  warnsAt?: string;
}

export interface Target {
  labels: Labels;
  discoveredLabels?: Labels;
  scrapePool: string;
  scrapeUrl: string;
  globalUrl?: string;
  lastError: string;
  lastScrape: string;
  lastScrapeDuration: number;
  health: "up" | "down" | "unknown";
  scrapeInterval?: string;
  scrapeTimeout?: string;
}

export interface Rule {
  type: "alerting" | "recording";
  name: string;
  query: string;
  duration?: number;
  keepFiringFor?: number;
  labels?: Labels;
  annotations?: Labels;
  alerts?: { labels: Labels; annotations: Labels; state: string; activeAt: string; value: string }[];
  state?: string;
  health: string;
  lastError?: string;
  evaluationTime: number;
  lastEvaluation: string;
  latencyBudget?: LatencyBudget | null;
  missingMetrics?: string[];
  drills?: DrillProof[];
}

/** What the last drill of one way showed of an alert. */
export interface DrillProof {
  alert: string;
  platform: string;
  drill: string;
  way: "simulated" | "live";
  at: number;
  proven: boolean;
  why?: string;
  told_after?: number;
  cleared_after?: number;
  held_back_by?: string;
}

export interface RuleGroup {
  name: string;
  file: string;
  interval: number;
  rules: Rule[];
  evaluationTime: number;
  lastEvaluation: string;
}

export interface DashboardEntry {
  uid: string;
  title: string;
  tags?: string[];
  file?: string;
  platform?: string;
  error?: string | null;
}

export interface Annotation {
  id?: number | string;
  time: number;
  timeEnd?: number;
  tags?: string[];
  text: string;
}

export interface Session {
  open_ms: number;
  close_ms: number;
  /** Its hours are not the usual ones: a half day, mostly. */
  special?: boolean;
}

/** A venue as it stands; instants in milliseconds. */
export interface Venue {
  mic: string;
  name: string | null;
  zone: string | null;
  /** Rules, routes or options name it. */
  used: boolean;
  phase: string;
  since: number | null;
  until: number | null;
  next_open: number | null;
  next_close: number | null;
  horizon: number | null;
  horizon_days: number | null;
  ends_soon: boolean;
  extended_known: boolean;
}

/** What lies over the tables: of the overlay file, or of a person. */
export interface Fact {
  id: number | null;
  source: "file" | "person";
  mic: string;
  kind: "closed" | "hours" | "halt";
  reason: string;
  date?: string;
  hours?: string;
  symbol?: string | null;
  from?: number;
  until?: number | null;
  holds?: boolean;
  by?: string;
  proven?: boolean;
  at?: number;
}

export interface CalendarState {
  now: number;
  venues: Venue[];
  facts: Fact[];
}

export interface Day {
  date: string;
  kind: "session" | "special" | "closed" | "weekend" | "always" | "unknown";
  parts: [open: number, close: number][];
  reason: string | null;
}

/** The server gives instants as milliseconds; a string is RFC 3339. */
export function instant(value: number | string | null | undefined): number | null {
  if (value === null || value === undefined || value === "") return null;
  if (typeof value === "number") return value > 0 ? value : null;
  const at = Date.parse(value);
  return Number.isNaN(at) || at <= 0 ? null : at;
}

export function list(value: string[] | string | null | undefined): string[] {
  if (!value) return [];
  return Array.isArray(value) ? value : [value];
}
