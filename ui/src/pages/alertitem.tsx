// One alert on the alerts page.

import { muted, runbookName, severityRank, worst, worstCase } from "../data/alerts";
import { instant, list, type Alert } from "../data/api";
import { serverNow } from "../data/live";
import { age, sinceText } from "../format/time";
import { formatText } from "../format/units";
import { zone } from "../shell/settings";
import { acknowledge, takeBack } from "./alertactions";
import { AlertDetail } from "./deeds";
import { marketText } from "./markettext";
import { State } from "./page";

const HIDDEN_LABELS = new Set(["alertname", "severity", "__name__"]);

export function AlertItem({ alert, selected, open, onSelect, onOpen, onSilence }: { alert: Alert; selected: boolean; open: boolean; onSelect: () => void; onOpen: () => void; onSilence: () => void }) {
  const now = serverNow.value;
  const zoneId = zone.value || undefined;
  const since = (alert.state === "resolved" ? instant(alert.resolved_at) : null) ?? instant(alert.since) ?? instant(alert.active_at);
  const runbook = runbookName(alert);
  const silenced = list(alert.silenced_by);
  const inhibited = list(alert.inhibited_by);
  const mutedBy = list(alert.muted_by);
  const ackAt = alert.acknowledged ? instant(alert.acknowledged.at) : null;
  const notified = instant(alert.last_notified);
  const value = alert.value === null ? NaN : Number(alert.value);
  const quiet = alert.state === "resolved" || muted(alert);
  const rank = severityRank(alert.severity);
  const budget = alert.latency_budget;
  return (
    <li id={`alert-${alert.fingerprint}`} class={`alert alert-${alert.state} sev-${rank <= 1 ? "critical" : rank === 2 ? "high" : "other"} ${quiet ? "is-quiet" : ""} ${selected ? "is-selected" : ""}`} aria-current={selected ? "true" : undefined} onClick={onSelect}>
      <div class="alert-side">
        <span class={`severity severity-${alert.severity}`}>{alert.severity || "none"}</span>
        <State tone={alert.state === "firing" ? "bad" : alert.state === "pending" ? "warn" : "good"}>{alert.state}</State>
      </div>
      <div class="alert-main">
        <h2>
          {alert.name}
          {alert.acknowledged && <span class="badge">acknowledged by {alert.acknowledged.by}{ackAt ? ` ${sinceText(ackAt, now, zoneId)}` : ""}</span>}
          {silenced.length > 0 && <span class="badge">silenced</span>}
          {mutedBy.length > 0 && <span class="badge">muted by {mutedBy.join(", ")}</span>}
          {alert.market && alert.state !== "resolved" && <span class="badge">{marketText(alert.market, alert.state, now, zoneId)}</span>}
          {inhibited.length > 0 && <span class="badge">held back by {inhibited.join(", ")}</span>}
        </h2>
        <p class="alert-summary">{alert.annotations["summary"] ?? "The rule has no summary."}</p>
        {alert.annotations["description"] && <p class="alert-description">{alert.annotations["description"]}</p>}
        {alert.last_note && <p class="alert-note"><b>{alert.last_note.by}</b>: {alert.last_note.text}{(alert.notes ?? 0) > 1 && <span class="dim"> (and {alert.notes! - 1} more)</span>}</p>}
        <p class="alert-labels">
          {Object.entries(alert.labels).filter(([name]) => !HIDDEN_LABELS.has(name)).map(([name, text]) => <span key={name} class="label-chip">{name}=<b>{text}</b></span>)}
        </p>
      </div>
      <dl class="alert-facts">
        <div><dt>{alert.state === "resolved" ? "resolved" : "since"}</dt><dd title={since ? new Date(since).toISOString() : ""}>{since ? `${sinceText(since, now, zoneId)} (${age(now - since)})` : "–"}</dd></div>
        <div><dt>value</dt><dd>{Number.isNaN(value) ? (alert.value === "NaN" ? "NaN" : "–") : formatText("short", value)}</dd></div>
        <div><dt>notified</dt><dd>{notified ? sinceText(notified, now, zoneId) : silenced.length || inhibited.length ? "held back" : alert.state === "pending" ? "not yet" : "–"}</dd></div>
        {budget && <div><dt>at worst</dt><dd class={budget.withinLimit ? "" : "bad"} title={worstCase(budget)}>{budget.withinLimit ? "" : "✕ "}{formatText("s", worst(budget))}{budget.rts6 ? " (RTS 6: 5 s)" : ""}</dd></div>}
      </dl>
      <div class="alert-actions">
        {runbook && <a class="button" href={`/runbooks/${runbook}`}>Runbook<span class="sr"> {alert.name}</span> <kbd>↵</kbd></a>}
        {alert.acknowledged ? (
          <button type="button" class="button" onClick={() => void takeBack(alert)}>Take back<span class="sr"> the acknowledgement of {alert.name}</span> <kbd>u</kbd></button>
        ) : (
          <button type="button" class="button" disabled={alert.state !== "firing"} onClick={() => void acknowledge(alert)}>Acknowledge<span class="sr"> {alert.name}</span> <kbd>a</kbd></button>
        )}
        <button type="button" class="button" disabled={silenced.length > 0} onClick={onSilence}>Silence<span class="sr"> {alert.name}</span> <kbd>s</kbd></button>
        <button type="button" class="button" aria-expanded={open} onClick={onOpen}>{open ? "Close" : "History"}<span class="sr"> of {alert.name}</span>{alert.notes ? ` · ${alert.notes} note${alert.notes > 1 ? "s" : ""}` : ""} <kbd>o</kbd></button>
      </div>
      {open && <AlertDetail alert={alert} />}
    </li>
  );
}
