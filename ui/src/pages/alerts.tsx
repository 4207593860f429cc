// Alerts, firing first, each with what it means and what to do. Everything works by keyboard.

import "../style/alerts.css";
import { useEffect, useRef, useState } from "preact/hooks";
import { alertsError, muted, refreshAlerts, runbookName, severityRank, sortAlerts, useAlerts } from "../data/alerts";
import { getJson, instant, list, send, type Alert, type Silence } from "../data/api";
import { connection, live, serverNow } from "../data/live";
import { age, sinceText } from "../format/time";
import { formatText } from "../format/units";
import { ErrorBox } from "../panels/frame";
import { announce, toast } from "../shell/announce";
import { useKeys } from "../shell/keys";
import { go, param, search, setParams } from "../shell/router";
import { person, zone } from "../shell/settings";
import { PageHead, State, useTitle } from "./page";

export async function acknowledge(alert: Alert): Promise<void> {
  try {
    await send("POST", `/api/tradewatch/v1/alerts/${encodeURIComponent(alert.fingerprint)}/ack`, { by: person.peek(), comment: "" });
    toast(`${alert.name} acknowledged by ${person.peek()}`);
    await refreshAlerts();
  } catch (cause) {
    toast(`${alert.name} could not be acknowledged: ${cause instanceof Error ? cause.message : String(cause)}`, true);
  }
}

export async function silence(alert: Alert, hours: number): Promise<void> {
  const startsAt = new Date(live.now());
  const matchers = Object.entries({ ...alert.labels, alertname: alert.name }).map(([name, value]) => ({ name, value, isRegex: false, isEqual: true }));
  try {
    await send("POST", "/api/v2/silences", {
      matchers,
      startsAt: startsAt.toISOString(),
      endsAt: new Date(startsAt.getTime() + hours * 3_600_000).toISOString(),
      createdBy: person.peek(),
      comment: `Silenced for ${hours} h from the alerts page`,
    });
    toast(`${alert.name} silenced for ${hours} h`);
    await refreshAlerts();
  } catch (cause) {
    toast(`${alert.name} could not be silenced: ${cause instanceof Error ? cause.message : String(cause)}`, true);
  }
}

export function AlertsPage() {
  useTitle("Alerts");
  search.value;
  const alerts = useAlerts();
  const filter = param("q") ?? "";
  const [at, setAt] = useState(0);
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = sortAlerts(alerts ?? []).filter((alert) => {
    const text = [alert.name, alert.state, alert.severity, ...Object.entries(alert.labels).map(([k, v]) => `${k}=${v}`), ...Object.values(alert.annotations)].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  });
  // The selection follows the alert, not the line: the list may be re-sorted under the reader's hands.
  const chosenId = useRef<string | null>(null);
  const found = shown.findIndex((alert) => alert.fingerprint === chosenId.current);
  const chosen = found >= 0 ? found : Math.min(at, Math.max(0, shown.length - 1));
  // Keys may come faster than the page is drawn: they act on what they left, not on what was drawn last.
  const latest = useRef({ shown, chosen });
  latest.current = { shown, chosen };
  const current = () => latest.current.shown[latest.current.chosen];
  const choose = (index: number) => {
    const { shown: now } = latest.current;
    const next = Math.min(now.length - 1, Math.max(0, index));
    const alert = now[next];
    if (!alert) return;
    chosenId.current = alert.fingerprint;
    latest.current.chosen = next;
    setAt(next);
    announce(`${next + 1} of ${now.length}: ${alert.name}, ${alert.state}, ${alert.severity}. ${alert.annotations["summary"] ?? ""}`);
    document.getElementById(`alert-${alert.fingerprint}`)?.scrollIntoView({ block: "nearest" });
  };
  const step = (by: number) => () => choose(latest.current.chosen + by);
  useKeys(
    () => [
      { keys: "j", what: "Next", where: "Alerts", run: step(1) },
      { keys: "k", what: "Previous", where: "Alerts", run: step(-1) },
      { keys: "ArrowDown", what: "Next", where: "Alerts", run: step(1) },
      { keys: "ArrowUp", what: "Previous", where: "Alerts", run: step(-1) },
      {
        keys: "a",
        what: "Acknowledge",
        where: "Alerts",
        run: () => {
          const alert = current();
          if (alert?.state === "firing" && !alert.acknowledged) void acknowledge(alert);
        },
      },
      {
        keys: "s",
        what: "Silence for 1 h",
        where: "Alerts",
        run: () => {
          const alert = current();
          if (alert && list(alert.silenced_by).length === 0) void silence(alert, 1);
        },
      },
      {
        keys: "Enter",
        what: "Open the runbook",
        where: "Alerts",
        run: () => {
          const alert = current();
          const name = alert && runbookName(alert);
          if (name) go(`/runbooks/${name}`);
        },
      },
    ],
    [],
  );
  const firing = (alerts ?? []).filter((alert) => alert.state === "firing");
  const open = firing.filter((alert) => !alert.acknowledged && !muted(alert));
  const pending = (alerts ?? []).filter((alert) => alert.state === "pending");
  return (
    <>
      <PageHead title="Alerts" subtitle={alerts ? `${firing.length} firing, ${open.length} not acknowledged, ${pending.length} pending` : undefined}>
        <label class="variable">
          Acting as
          <input value={person.value} onChange={(event) => (person.value = event.currentTarget.value.trim() || "desk")} size={10} />
        </label>
        <label class="search">
          <span class="sr">Filter alerts</span>
          <input data-search type="search" placeholder="Filter  /" value={filter} onInput={(event) => setParams({ q: event.currentTarget.value || null })} />
        </label>
      </PageHead>
      {alertsError.value && alerts === null && <ErrorBox message={alertsError.value} />}
      {alerts && shown.length === 0 && (
        <div class="all-clear">
          {filter ? (
            <>No alert has “{filter}”</>
          ) : connection.value === "open" ? (
            <><State tone="good">No alert is firing or pending</State><span class="dim">The monitor answers; rules are evaluated as scrapes arrive.</span></>
          ) : (
            <State tone="warn">Not known: there is no connection to the monitor</State>
          )}
        </div>
      )}
      <ol class="alert-list">
        {shown.map((alert, i) => (
          <AlertItem key={alert.fingerprint} alert={alert} selected={i === chosen} onSelect={() => choose(i)} />
        ))}
      </ol>
      <Silences changed={(alerts ?? []).map((alert) => list(alert.silenced_by).join()).join()} />
    </>
  );
}

/** What is muted by a person, by whom and until when; ended with one click. */
function Silences({ changed }: { changed: string }) {
  const [silences, setSilences] = useState<Silence[]>([]);
  const [again, setAgain] = useState(0);
  useEffect(() => {
    getJson<Silence[]>("/api/v2/silences").then(
      (all) => setSilences(all.filter((one) => one.status?.state !== "expired" && Date.parse(one.endsAt) > live.now())),
      () => setSilences([]),
    );
  }, [changed, again]);
  const now = serverNow.value;
  const zoneId = zone.value || undefined;
  const running = silences.filter((one) => Date.parse(one.endsAt) > now);
  if (running.length === 0) return null;
  const end = async (one: Silence) => {
    try {
      await send("DELETE", `/api/v2/silence/${encodeURIComponent(one.id)}`);
      toast("The silence has ended");
    } catch (cause) {
      toast(`The silence could not be ended: ${cause instanceof Error ? cause.message : String(cause)}`, true);
    }
    setAgain((n) => n + 1);
  };
  return (
    <section class="silences">
      <h2>Silences</h2>
      <ul>
        {running.map((one) => (
          <li key={one.id}>
            <span>{one.matchers.map((m) => <span key={m.name} class="label-chip">{m.name}{m.isEqual === false ? (m.isRegex ? "!~" : "!=") : m.isRegex ? "=~" : "="}<b>{m.value}</b></span>)}</span>
            <span class="dim">{one.comment}</span>
            <span class="tabular">by {one.createdBy}, until {sinceText(Date.parse(one.endsAt), now, zoneId)} (another {age(Date.parse(one.endsAt) - now)})</span>
            <button type="button" class="button" onClick={() => void end(one)}>End<span class="sr"> the silence of {one.matchers.map((m) => m.value).join(", ")}</span></button>
          </li>
        ))}
      </ul>
    </section>
  );
}

const HIDDEN_LABELS = new Set(["alertname", "severity", "__name__"]);

function AlertItem({ alert, selected, onSelect }: { alert: Alert; selected: boolean; onSelect: () => void }) {
  const now = serverNow.value;
  const zoneId = zone.value || undefined;
  const since = (alert.state === "resolved" ? instant(alert.resolved_at) : null) ?? instant(alert.since) ?? instant(alert.active_at);
  const runbook = runbookName(alert);
  const silenced = list(alert.silenced_by);
  const inhibited = list(alert.inhibited_by);
  const ackAt = alert.acknowledged ? instant(alert.acknowledged.at) : null;
  const notified = instant(alert.last_notified);
  const value = alert.value === null ? NaN : Number(alert.value);
  const mutedBy = list(alert.muted_by);
  const quiet = alert.state === "resolved" || silenced.length > 0 || inhibited.length > 0 || mutedBy.length > 0;
  return (
    <li id={`alert-${alert.fingerprint}`} class={`alert alert-${alert.state} sev-${severityRank(alert.severity) <= 1 ? "critical" : severityRank(alert.severity) === 2 ? "high" : "other"} ${quiet ? "is-quiet" : ""} ${selected ? "is-selected" : ""}`} aria-current={selected ? "true" : undefined} onClick={onSelect}>
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
          {inhibited.length > 0 && <span class="badge">held back by {inhibited.join(", ")}</span>}
        </h2>
        <p class="alert-summary">{alert.annotations["summary"] ?? "The rule has no summary."}</p>
        {alert.annotations["description"] && <p class="alert-description">{alert.annotations["description"]}</p>}
        <p class="alert-labels">
          {Object.entries(alert.labels).filter(([name]) => !HIDDEN_LABELS.has(name)).map(([name, text]) => <span key={name} class="label-chip">{name}=<b>{text}</b></span>)}
        </p>
      </div>
      <dl class="alert-facts">
        <div><dt>{alert.state === "resolved" ? "resolved" : "since"}</dt><dd title={since ? new Date(since).toISOString() : ""}>{since ? `${sinceText(since, now, zoneId)} (${age(now - since)})` : "–"}</dd></div>
        <div><dt>value</dt><dd>{Number.isNaN(value) ? (alert.value === "NaN" ? "NaN" : "–") : formatText("short", value)}</dd></div>
        <div><dt>notified</dt><dd>{notified ? sinceText(notified, now, zoneId) : silenced.length || inhibited.length ? "held back" : alert.state === "pending" ? "not yet" : "–"}</dd></div>
      </dl>
      <div class="alert-actions">
        {runbook && <a class="button" href={`/runbooks/${runbook}`}>Runbook<span class="sr"> {alert.name}</span> <kbd>↵</kbd></a>}
        <button type="button" class="button" disabled={Boolean(alert.acknowledged) || alert.state !== "firing"} onClick={() => void acknowledge(alert)} >Acknowledge<span class="sr"> {alert.name}</span> <kbd>a</kbd></button>
        <button type="button" class="button" disabled={silenced.length > 0} onClick={() => void silence(alert, 1)} >Silence 1 h<span class="sr"> {alert.name}</span> <kbd>s</kbd></button>
      </div>
    </li>
  );
}
