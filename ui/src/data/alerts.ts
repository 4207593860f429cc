// The alerts as the monitor has them, and the order in which they are read.

import { computed, signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { getJson, instant, list, type Alert, type AlertCounts, type AlertName, type LatencyBudget } from "./api";
import { alertSummary, connection, pushedAlerts } from "./live";

/** As many as the server pushes. */
const ASKED_MAX = 1000;
const fetched = signal<Alert[] | null>(null);
export const alertsError = signal<string | null>(null);

/** Pushed when the socket stands; asked once before that, so that the first paint already has them. */
export function useAlerts(): Alert[] | null {
  useEffect(() => {
    if (pushedAlerts.peek() === null && fetched.peek() === null) void refreshAlerts();
  }, []);
  return pushedAlerts.value ?? fetched.value;
}

export async function refreshAlerts(): Promise<void> {
  try {
    // While the socket stands, what changed is pushed; asking again would only be older.
    if (pushedAlerts.peek() !== null && connection.peek() === "open") return;
    const alerts = await getJson<Alert[]>(`/api/tradewatch/v1/alerts?limit=${ASKED_MAX}`);
    fetched.value = alerts;
    alertsError.value = null;
  } catch (cause) {
    alertsError.value = cause instanceof Error ? cause.message : String(cause);
  }
}

const SEVERITIES = ["critical", "page", "high", "warning", "medium", "low", "info"];

export function severityRank(severity: string): number {
  const at = SEVERITIES.indexOf(severity);
  return at < 0 ? SEVERITIES.length : at;
}

export function isOpen(alert: Alert): boolean {
  return alert.state === "firing" || alert.state === "pending";
}

export function muted(alert: Alert): boolean {
  return list(alert.silenced_by).length > 0 || list(alert.inhibited_by).length > 0 || list(alert.muted_by).length > 0;
}

/** Firing before pending before resolved; of the firing those that nobody has seen first; then by severity and age. */
export function sortAlerts(alerts: readonly Alert[]): Alert[] {
  const states = { firing: 0, pending: 1, resolved: 2 };
  return [...alerts].sort(
    (a, b) =>
      states[a.state] - states[b.state] ||
      Number(muted(a)) - Number(muted(b)) ||
      Number(Boolean(a.acknowledged)) - Number(Boolean(b.acknowledged)) ||
      severityRank(a.severity) - severityRank(b.severity) ||
      (instant(b.since) ?? 0) - (instant(a.since) ?? 0) ||
      a.name.localeCompare(b.name) ||
      a.fingerprint.localeCompare(b.fingerprint),
  );
}

export function runbookName(alert: Alert): string | null {
  const link = alert.runbook ?? alert.annotations["runbook_url"] ?? alert.annotations["runbook"] ?? null;
  if (!link) return null;
  const file = /([\w.-]+?)(?:\.md)?(?:#.*)?$/.exec(link);
  return file ? file[1]! : null;
}


/** The alerts that are known in reading order; sorted once for all who show them. */
export const sortedAlerts = computed<Alert[] | null>(() => {
  const alerts = pushedAlerts.value ?? fetched.value;
  return alerts && sortAlerts(alerts);
});

export function countAlerts(alerts: readonly Alert[]): AlertCounts {
  const counts: AlertCounts = { firing: 0, open: 0, open_critical: 0, held_back: 0, pending: 0, resolved: 0 };
  for (const alert of alerts) {
    counts[alert.state] += 1;
    if (alert.state !== "firing") continue;
    if (muted(alert)) counts.held_back += 1;
    else if (!alert.acknowledged) {
      counts.open += 1;
      if (severityRank(alert.severity) <= 1) counts.open_critical += 1;
    }
  }
  return counts;
}

/** All alerts counted: by the server, which knows also those that are not on the page; else from what is known. */
export const alertCounts = computed<AlertCounts | null>(() => alertSummary.value?.counts ?? (sortedAlerts.value && countAlerts(sortedAlerts.value)));

/** One alert, or many of one name in one line. */
export type Line = { key: string; name: string; alerts: Alert[]; named: AlertName };

/** So many alerts of one name and state become one line: Citi's 711 warnings in one pop-up went unread. */
export const FOLD_FROM = 8;

/**
 * The lines of the alerts page in reading order. Alerts of one name that are in the same state share a line when there are
 * many; `names` says how many there are beyond those that are known.
 */
export function foldAlerts(sorted: readonly Alert[], names: readonly AlertName[] | null): Line[] {
  const groups = new Map<string, Alert[]>();
  for (const alert of sorted) {
    const key = `${alert.state} ${alert.name}`;
    const group = groups.get(key);
    if (group) group.push(alert);
    else groups.set(key, [alert]);
  }
  const totals = new Map((names ?? []).map((named) => [named.name, named]));
  const lines: Line[] = [];
  const done = new Set<string>();
  for (const alert of sorted) {
    const key = `${alert.state} ${alert.name}`;
    const group = groups.get(key)!;
    const total = totals.get(alert.name);
    if (group.length < FOLD_FROM && (total?.[alert.state] ?? 0) < FOLD_FROM) {
      lines.push({ key: alert.fingerprint, name: alert.name, alerts: [alert], named: { name: alert.name, severity: alert.severity, ...countAlerts([alert]), oldest: instant(alert.since), newest: instant(alert.since) } });
      continue;
    }
    if (done.has(key)) continue;
    done.add(key);
    const times = group.map((one) => instant(one.since) ?? 0).filter((at) => at > 0);
    const own: AlertName = { name: alert.name, severity: group[0]!.severity, ...countAlerts(group), oldest: times.length ? Math.min(...times) : null, newest: times.length ? Math.max(...times) : null };
    const named = total && alert.state === "firing" && total.firing > own.firing ? total : own;
    lines.push({ key, name: alert.name, alerts: group, named });
  }
  return lines;
}

/** In seconds. */
export function worst(budget: LatencyBudget): number {
  return budget.worst ?? budget.total;
}

export function worstCase(budget: LatencyBudget): string {
  const seconds = (value: number) => `${Number(value.toFixed(value < 10 ? 1 : 0))} s`;
  const grouping = Math.max(budget.grouping, budget.joining ?? 0);
  const parts = ([["scrape", budget.scrape], ["records", budget.records ?? 0], ["evaluation", budget.evaluation], ["for", budget.hold], ["grouping", grouping]] as const).filter(([, value]) => value > 0);
  return `${seconds(worst(budget))} at worst from fault to notification: ${parts.map(([name, value]) => `${name} ${seconds(value)}`).join(" + ") || "nothing to wait for"}${budget.rts6 ? (budget.withinLimit ? "; within the 5 s of RTS 6" : "; beyond the 5 s of RTS 6") : ""}`;
}
