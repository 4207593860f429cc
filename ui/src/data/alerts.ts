// The alerts as the monitor has them, and the order in which they are read.

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { getJson, instant, list, type Alert } from "./api";
import { pushedAlerts } from "./live";

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
    const alerts = await getJson<Alert[]>("/api/tradewatch/v1/alerts");
    fetched.value = alerts;
    alertsError.value = null;
    if (pushedAlerts.peek() !== null) pushedAlerts.value = alerts;
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

