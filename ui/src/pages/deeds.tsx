// What people did and what was sent: of one alert, and of all.

import { useEffect, useState } from "preact/hooks";
import { worstCase } from "../data/alerts";
import { getJson, type Alert, type AlertHistory, type Deed } from "../data/api";
import { serverNow } from "../data/live";
import { age, sinceText } from "../format/time";
import { zone } from "../shell/settings";
import { note } from "./alertactions";

const DEEDS_SHOWN = 20;
const WORDS: Record<string, string> = {
  acknowledge: "acknowledged",
  unacknowledge: "took the acknowledgement back of",
  note: "noted on",
  drill: "ran drills",
  silence_create: "silenced",
  silence_change: "changed the silence of",
  silence_expire: "ended the silence of",
  annotate: "marked",
  calendar_add: "laid over the calendar",
  calendar_remove: "took back from the calendar",
  reload: "reloaded the",
  quit: "ended the monitor",
};
const OUTCOMES: Record<string, string> = { delivered: "told", refused: "was refused by", folded: "folded before it reached", never_sent: "never told" };

/** A name that a password proved, or one that was merely given. */
function Who({ by, proven }: { by: string; proven: boolean }) {
  return proven ? <b>{by} <span class="dim" title="A password proved this name"><span aria-hidden="true">✓</span><span class="sr">, proven by password</span></span></b> : <b title="This name was given; no password proved it">{by}</b>;
}

function DeedText({ deed }: { deed: Deed }) {
  const many = deed.alert_count ?? 0;
  return (
    <>
      <Who by={deed.by} proven={deed.proven} /> {WORDS[deed.action] ?? deed.action} {deed.subject}
      {many > 1 && <span class="dim"> ({many} alerts)</span>}
      {deed.text && <>: “{deed.text}”</>}
      {deed.refused && <span class="bad"> ✕ refused: {deed.refused}</span>}
    </>
  );
}

function At({ at }: { at: number }) {
  return <time class="dim tabular" dateTime={new Date(at).toISOString()}>{sinceText(at, serverNow.value, zone.value || undefined)}</time>;
}

/** All that is known of one alert: its budget, its notes, its history; and a field to note something. */
export function AlertDetail({ alert }: { alert: Alert }) {
  const [history, setHistory] = useState<AlertHistory | null>(null);
  const [text, setText] = useState("");
  const [again, setAgain] = useState(0);
  const changed = `${alert.notes ?? 0} ${alert.acknowledged?.at ?? ""} ${alert.last_notified ?? ""} ${String(alert.silenced_by)}`;
  useEffect(() => {
    let current = true;
    getJson<AlertHistory>(`/api/tradewatch/v1/alerts/${encodeURIComponent(alert.fingerprint)}`).then(
      (found) => current && setHistory(found),
      () => current && setHistory(null),
    );
    return () => {
      current = false;
    };
  }, [alert.fingerprint, changed, again]);
  const budget = alert.latency_budget;
  const save = async (event: Event) => {
    event.preventDefault();
    if (text.trim() && (await note(alert, text.trim()))) {
      setText("");
      setAgain((n) => n + 1);
    }
  };
  return (
    <div class="alert-detail">
      {budget && <p class={budget.withinLimit ? "dim" : "bad"}>{worstCase(budget)}{budget.receiver ? `, by ${budget.receiver}` : ""}</p>}
      <form class="note-form" onSubmit={(event) => void save(event)}>
        <label class="sr" for={`note-${alert.fingerprint}`}>Note on {alert.name}</label>
        <input id={`note-${alert.fingerprint}`} value={text} placeholder="Note for whoever comes next" onInput={(event) => setText(event.currentTarget.value)} />
        <button type="submit" class="button" disabled={!text.trim()}>Note</button>
      </form>
      <ol class="timeline-list" aria-label={`What happened to ${alert.name}`}>
        {(history?.timeline ?? []).map((one, i) => (
          <li key={i}>
            <At at={one.at} />
            {one.person && <span><DeedText deed={one.person} /></span>}
            {one.notification && (
              <span>
                <span aria-hidden="true">{one.notification.outcome === "delivered" ? "✔" : "○"}</span> {one.notification.status} {OUTCOMES[one.notification.outcome] ?? one.notification.outcome} <b>{one.notification.receiver}</b>
                {one.notification.attempts > 1 && ` at attempt ${one.notification.attempts}`}
                {one.notification.reason && <span class="dim">: {one.notification.reason}</span>}
              </span>
            )}
          </li>
        ))}
        {history && history.timeline.length === 0 && <li class="dim">Nobody has done anything about it, and nothing was sent.</li>}
      </ol>
    </div>
  );
}

/** The log of what people did, the newest first. */
export function Deeds({ changed }: { changed: string }) {
  const [log, setLog] = useState<{ entries: Deed[]; more: boolean } | null>(null);
  const [limit, setLimit] = useState(DEEDS_SHOWN);
  useEffect(() => {
    let current = true;
    getJson<{ entries: Deed[]; more: boolean }>(`/api/tradewatch/v1/audit?limit=${limit}`).then(
      (found) => current && setLog(found),
      () => current && setLog(null),
    );
    return () => {
      current = false;
    };
  }, [changed, limit]);
  if (!log || log.entries.length === 0) return null;
  const newest = log.entries[0]!;
  return (
    <section class="deeds" aria-labelledby="deeds-title">
      <h2 id="deeds-title">Log <span class="dim">what people did; the last one {age(Math.max(0, serverNow.value - newest.at))} ago</span></h2>
      <ol class="timeline-list">
        {log.entries.map((deed) => <li key={deed.id}><At at={deed.at} /><span><DeedText deed={deed} /></span></li>)}
      </ol>
      {log.more && <button type="button" class="button" onClick={() => setLimit(limit * 5)}>Older</button>}
    </section>
  );
}
