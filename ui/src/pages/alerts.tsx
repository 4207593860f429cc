// Alerts, firing first, each with what it means and what to do. Everything works by keyboard.
//
// In a storm many alerts of one name are one line, the page holds some dozens of lines at a time, and what is beyond the
// most urgent thousand is counted by the server and fetched when somebody asks for it.

import "../style/alerts.css";
import { useMemo, useRef, useState } from "preact/hooks";
import { alertCounts, alertsError, foldAlerts, runbookName, sortedAlerts, useAlerts, type Line } from "../data/alerts";
import { getJson, list, type Alert, type AlertName } from "../data/api";
import { alertSummary, connection, serverNow } from "../data/live";
import { age, sinceText } from "../format/time";
import { ErrorBox } from "../panels/frame";
import { announce, toast } from "../shell/announce";
import { useKeys } from "../shell/keys";
import { go, param, search, setParams } from "../shell/router";
import { person, zone } from "../shell/settings";
import { acknowledge, acknowledgeAll, takeBack } from "./alertactions";
import { AlertItem } from "./alertitem";
import { Deeds } from "./deeds";
import { PageHead, State, useTitle } from "./page";
import { SilenceDialog, Silences, type Draft } from "./silences";

/** Lines on the page before somebody asks for more. */
const LINES_STEP = 60;
/** Alerts of an opened line before somebody asks for more, and as many are fetched at a time. */
const OPENED_STEP = 50;

export function draftFor(alerts: readonly Alert[], name: string): Draft {
  const only = alerts.length === 1 ? alerts[0]! : null;
  const labels: Record<string, string> = only ? { alertname: name, ...only.labels } : { alertname: name };
  return { matchers: Object.entries(labels).map(([label, value]) => ({ name: label, value, isRegex: false, isEqual: true })), length: "1h", comment: "" };
}

export function AlertsPage() {
  useTitle("Alerts");
  search.value;
  useAlerts();
  const sorted = sortedAlerts.value;
  const summary = alertSummary.value;
  const filter = param("q") ?? "";
  const [at, setAt] = useState(0);
  const [limit, setLimit] = useState(LINES_STEP);
  const [opened, setOpened] = useState<ReadonlyMap<string, number>>(new Map());
  const [fetched, setFetched] = useState<ReadonlyMap<string, Alert[]>>(new Map());
  const [detail, setDetail] = useState<string | null>(null);
  const [draft, setDraft] = useState<Draft | null>(null);
  const lines = useMemo<Line[]>(() => {
    const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
    const matching = (sorted ?? []).filter((alert) => {
      if (words.length === 0) return true;
      const text = [alert.name, alert.state, alert.severity, ...Object.entries(alert.labels).map(([k, v]) => `${k}=${v}`), ...Object.values(alert.annotations)].join(" ").toLowerCase();
      return words.every((word) => text.includes(word));
    });
    return foldAlerts(matching, words.length === 0 ? (summary?.names ?? null) : null).flatMap((line) => {
      const many = opened.get(line.key);
      if (many === undefined || line.alerts.length === 1) return [line];
      const known = new Set(line.alerts.map((alert) => alert.fingerprint));
      const all = [...line.alerts, ...(fetched.get(line.key) ?? []).filter((alert) => !known.has(alert.fingerprint))];
      return [line, ...all.slice(0, many).map((alert) => ({ key: alert.fingerprint, name: alert.name, alerts: [alert], named: line.named }))];
    });
  }, [sorted, summary, filter, opened, fetched]);
  // The selection follows the alert, not the line: the list may be re-sorted under the reader's hands.
  const chosenId = useRef<string | null>(null);
  const found = lines.findIndex((line) => line.key === chosenId.current);
  const chosen = found >= 0 ? found : Math.min(at, Math.max(0, lines.length - 1));
  // Keys may come faster than the page is drawn: they act on what they left, not on what was drawn last.
  const latest = useRef({ lines, chosen, limit });
  latest.current = { lines, chosen, limit };
  const current = () => latest.current.lines[latest.current.chosen];
  const alone = () => {
    const line = current();
    return line && line.alerts.length === 1 ? line.alerts[0]! : null;
  };
  const choose = (index: number) => {
    const { lines: now } = latest.current;
    const next = Math.min(now.length - 1, Math.max(0, index));
    const line = now[next];
    if (!line) return;
    chosenId.current = line.key;
    latest.current.chosen = next;
    if (next >= latest.current.limit) {
      latest.current.limit = next + LINES_STEP;
      setLimit(next + LINES_STEP);
    }
    setAt(next);
    const alert = line.alerts[0]!;
    const what = line.alerts.length === 1 ? `${alert.name}, ${alert.state}, ${alert.severity}. ${alert.annotations["summary"] ?? ""}` : `${line.named.firing || line.alerts.length} alerts ${line.name}, ${alert.state}, ${line.named.severity}`;
    announce(`${next + 1} of ${now.length}: ${what}`);
    document.getElementById(`alert-${line.key}`)?.scrollIntoView({ block: "nearest" });
  };
  const step = (by: number) => () => choose(latest.current.chosen + by);
  const toggle = (line: Line) => {
    const next = new Map(opened);
    if (next.has(line.key)) next.delete(line.key);
    else next.set(line.key, OPENED_STEP);
    setOpened(next);
  };
  const more = async (line: Line) => {
    const shown = opened.get(line.key) ?? 0;
    const known = line.alerts.length + (fetched.get(line.key)?.length ?? 0);
    if (shown + OPENED_STEP > known && known < line.named.firing) {
      const state = line.alerts[0]!.state;
      try {
        const filterText = encodeURIComponent(`alertname=${JSON.stringify(line.name)}`);
        const next = await getJson<Alert[]>(`/api/tradewatch/v1/alerts?filter=${filterText}&state=${state}&offset=${known}&limit=${OPENED_STEP}`);
        setFetched(new Map(fetched).set(line.key, [...(fetched.get(line.key) ?? []), ...next]));
      } catch (cause) {
        toast(`More could not be fetched: ${cause instanceof Error ? cause.message : String(cause)}`, true);
        return;
      }
    }
    setOpened(new Map(opened).set(line.key, shown + OPENED_STEP));
  };
  const toggleRef = useRef(toggle);
  toggleRef.current = toggle;
  const focusNote = (alert: Alert) => {
    setDetail(alert.fingerprint);
    requestAnimationFrame(() => requestAnimationFrame(() => document.getElementById(`note-${alert.fingerprint}`)?.focus()));
  };
  useKeys(
    () => [
      { keys: "j", what: "Next", where: "Alerts", run: step(1) },
      { keys: "k", what: "Previous", where: "Alerts", run: step(-1) },
      { keys: "ArrowDown", what: "Next", where: "Alerts", run: step(1) },
      { keys: "ArrowUp", what: "Previous", where: "Alerts", run: step(-1) },
      {
        keys: "a",
        what: "Acknowledge, all of them where one line is many",
        where: "Alerts",
        run: () => {
          const line = current();
          const alert = alone();
          if (alert?.state === "firing" && !alert.acknowledged) void acknowledge(alert);
          else if (!alert && line && line.named.firing > 0) void acknowledgeAll(line.name);
        },
      },
      {
        keys: "u",
        what: "Take the acknowledgement back",
        where: "Alerts",
        run: () => {
          const alert = alone();
          if (alert?.acknowledged) void takeBack(alert);
        },
      },
      {
        keys: "s",
        what: "Silence, after a look at what that would hide",
        where: "Alerts",
        run: () => {
          const line = current();
          if (line) setDraft(draftFor(line.alerts, line.name));
        },
      },
      {
        keys: "n",
        what: "Note something",
        where: "Alerts",
        run: () => {
          const alert = alone();
          if (alert) focusNote(alert);
        },
      },
      {
        keys: "o",
        what: "Open: history and notes, or the alerts of a line",
        where: "Alerts",
        run: () => {
          const line = current();
          const alert = alone();
          if (alert) setDetail((open) => (open === alert.fingerprint ? null : alert.fingerprint));
          else if (line) toggleRef.current(line);
        },
      },
      {
        keys: "Enter",
        what: "Open the runbook",
        where: "Alerts",
        run: () => {
          const name = current() && runbookName(current()!.alerts[0]!);
          if (name) go(`/runbooks/${name}`);
        },
      },
    ],
    [],
  );
  const counts = alertCounts.value;
  const unknown = (summary?.total ?? 0) - (sorted?.length ?? 0);
  const shown = lines.slice(0, limit);
  const changed = `${sorted?.map((alert) => `${list(alert.silenced_by).join()}${alert.acknowledged?.at ?? ""}${alert.notes ?? ""}`).join() ?? ""}`;
  return (
    <>
      <PageHead title="Alerts" subtitle={counts ? `${counts.firing} firing, ${counts.open} not acknowledged${counts.open_critical ? ` (${counts.open_critical} critical)` : ""}, ${counts.pending} pending` : undefined}>
        <label class="variable">
          Acting as
          <input value={person.value} onChange={(event) => (person.value = event.currentTarget.value.trim() || "desk")} size={10} />
        </label>
        <button type="button" class="button" onClick={() => setDraft({ matchers: [{ name: "alertname", value: "", isRegex: false, isEqual: true }], length: "1h", comment: "" })}>New silence</button>
        <label class="search">
          <span class="sr">Filter alerts</span>
          <input data-search type="search" placeholder="Filter  /" value={filter} onInput={(event) => setParams({ q: event.currentTarget.value || null })} />
        </label>
      </PageHead>
      {alertsError.value && sorted === null && <ErrorBox message={alertsError.value} />}
      {sorted && lines.length === 0 && (
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
      {filter && unknown > 0 && <p class="dim">Searched are the {sorted!.length} most urgent of {summary!.total} alerts.</p>}
      <ol class="alert-list">
        {shown.map((line, i) =>
          line.alerts.length === 1 ? (
            <AlertItem key={line.key} alert={line.alerts[0]!} selected={i === chosen} open={detail === line.key} onSelect={() => choose(i)} onOpen={() => setDetail(detail === line.key ? null : line.key)} onSilence={() => setDraft(draftFor(line.alerts, line.name))} />
          ) : (
            <FoldedItem key={line.key} line={line} selected={i === chosen} shown={opened.get(line.key)} onSelect={() => choose(i)} onToggle={() => toggle(line)} onMore={() => void more(line)} onSilence={() => setDraft(draftFor(line.alerts, line.name))} />
          ),
        )}
      </ol>
      {lines.length > limit && <button type="button" class="button more-lines" onClick={() => setLimit(limit + LINES_STEP)}>Show {Math.min(LINES_STEP, lines.length - limit)} more of {lines.length - limit} lines</button>}
      {!filter && unknown > 0 && <p class="dim">{unknown} less urgent alerts are counted in the lines above and fetched when a line is opened.</p>}
      <Silences changed={changed} edit={setDraft} />
      <Deeds changed={changed} />
      {draft && <SilenceDialog key={JSON.stringify(draft)} draft={draft} close={() => setDraft(null)} />}
    </>
  );
}

/** Many alerts of one name: what they share, how many they are, and what can be done about all of them. */
function FoldedItem({ line, selected, shown, onSelect, onToggle, onMore, onSilence }: { line: Line; selected: boolean; shown: number | undefined; onSelect: () => void; onToggle: () => void; onMore: () => void; onSilence: () => void }) {
  const now = serverNow.value;
  const zoneId = zone.value || undefined;
  const first = line.alerts[0]!;
  const named: AlertName = line.named;
  const all = first.state === "firing" ? Math.max(named.firing, line.alerts.length) : line.alerts.length;
  const runbook = runbookName(first);
  const critical = named.severity === "critical" || named.severity === "page";
  const quiet = first.state === "resolved" || (first.state === "firing" && named.open === 0);
  return (
    <li id={`alert-${line.key}`} class={`alert alert-folded alert-${first.state} sev-${critical ? "critical" : named.severity === "high" ? "high" : "other"} ${quiet ? "is-quiet" : ""} ${selected ? "is-selected" : ""}`} aria-current={selected ? "true" : undefined} onClick={onSelect}>
      <div class="alert-side">
        <span class={`severity severity-${named.severity}`}>{named.severity || "none"}</span>
        <State tone={first.state === "firing" ? "bad" : first.state === "pending" ? "warn" : "good"}>{first.state}</State>
      </div>
      <div class="alert-main">
        <h2>{line.name} <span class="badge">× {all.toLocaleString("en-US")}</span>{named.held_back > 0 && <span class="badge">{named.held_back} held back</span>}</h2>
        <p class="alert-summary">{first.annotations["summary"] ?? "The rule has no summary."} <span class="dim">(one of them)</span></p>
      </div>
      <dl class="alert-facts">
        <div><dt>oldest</dt><dd>{named.oldest ? `${sinceText(named.oldest, now, zoneId)} (${age(now - named.oldest)})` : "–"}</dd></div>
        <div><dt>newest</dt><dd>{named.newest ? `${sinceText(named.newest, now, zoneId)} (${age(now - named.newest)})` : "–"}</dd></div>
        <div><dt>to take</dt><dd>{named.open.toLocaleString("en-US")}</dd></div>
      </dl>
      <div class="alert-actions">
        <button type="button" class="button" aria-expanded={shown !== undefined} onClick={onToggle}>{shown === undefined ? "Show them" : "Fold"}<span class="sr"> {line.name}</span> <kbd>o</kbd></button>
        {runbook && <a class="button" href={`/runbooks/${runbook}`}>Runbook<span class="sr"> {line.name}</span> <kbd>↵</kbd></a>}
        <button type="button" class="button" disabled={named.firing === 0} onClick={() => void acknowledgeAll(line.name)}>Acknowledge all<span class="sr"> {line.name}</span> <kbd>a</kbd></button>
        <button type="button" class="button" onClick={onSilence}>Silence<span class="sr"> {line.name}</span> <kbd>s</kbd></button>
        {shown !== undefined && shown < all && <button type="button" class="button" onClick={onMore}>{OPENED_STEP} more<span class="sr"> of {line.name}</span></button>}
      </div>
    </li>
  );
}
