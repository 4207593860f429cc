// Silences: made with a look at what they would hide, listed with what they hide now, lengthened and ended.

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { getJson, send, type Matcher, type Silence, type SilencePreview } from "../data/api";
import { live, serverNow } from "../data/live";
import { age, parseDuration, sinceText } from "../format/time";
import { toast } from "../shell/announce";
import { person, zone } from "../shell/settings";

const LENGTHS = ["15m", "1h", "4h", "8h"];
/** While somebody types, the preview waits for a pause. */
const PREVIEW_PAUSE_MS = 150;
const NAMES_SHOWN = 6;

/** A silence that is being written: new, or the change of one that runs. */
export interface Draft {
  id?: string;
  startsAt?: string;
  matchers: Matcher[];
  length: string;
  comment: string;
}

const OPS = ["=", "!=", "=~", "!~"] as const;

function opOf(matcher: Matcher): (typeof OPS)[number] {
  return matcher.isEqual === false ? (matcher.isRegex ? "!~" : "!=") : matcher.isRegex ? "=~" : "=";
}

export function MatcherChips({ matchers }: { matchers: readonly Matcher[] }) {
  return <>{matchers.map((m) => <span key={`${m.name}${opOf(m)}${m.value}`} class="label-chip">{m.name}{opOf(m)}<b>{m.value}</b></span>)}</>;
}

export function SilenceDialog({ draft, close }: { draft: Draft; close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [matchers, setMatchers] = useState<Matcher[]>(draft.matchers);
  const [length, setLength] = useState(draft.length);
  const [comment, setComment] = useState(draft.comment);
  const [preview, setPreview] = useState<SilencePreview | null>(null);
  const [wrong, setWrong] = useState<string | null>(null);
  const [sending, setSending] = useState(false);
  const now = serverNow.value;
  const zoneId = zone.value || undefined;
  const lengthMs = parseDuration(length);
  const usable = matchers.filter((m) => m.name.trim());
  // Before the next key: what is typed now is the comment, not a command of the page.
  useLayoutEffect(() => {
    dialog.current?.showModal();
    dialog.current?.querySelector<HTMLInputElement>("[data-first]")?.focus();
  }, []);
  const asked = JSON.stringify([usable, lengthMs]);
  useEffect(() => {
    if (!lengthMs) {
      setPreview(null);
      setWrong(`“${length}” is no duration; write for example 30m or 2h`);
      return;
    }
    let current = true;
    const timer = setTimeout(() => {
      send<SilencePreview>("POST", "/api/tradewatch/v1/silences/preview", { matchers: usable, endsAt: new Date(live.now() + lengthMs).toISOString() }).then(
        (found) => {
          if (!current) return;
          setPreview(found);
          setWrong(null);
        },
        (cause: Error) => {
          if (!current) return;
          setPreview(null);
          setWrong(cause.message);
        },
      );
    }, PREVIEW_PAUSE_MS);
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [asked]);
  const change = (at: number, to: Partial<Matcher>) => setMatchers(matchers.map((m, i) => (i === at ? { ...m, ...to } : m)));
  const make = async (event: Event) => {
    event.preventDefault();
    if (!lengthMs || !comment.trim() || wrong) return;
    setSending(true);
    try {
      const startsAt = draft.startsAt ?? new Date(live.now()).toISOString();
      await send("POST", "/api/v2/silences", { id: draft.id ?? "", matchers: usable, startsAt, endsAt: new Date(live.now() + lengthMs).toISOString(), createdBy: person.peek(), comment: comment.trim() });
      toast(draft.id ? `The silence now ends in ${length}` : `Silenced for ${length}${preview ? `: ${preview.counts.firing} firing` : ""}`);
      dialog.current?.close();
    } catch (cause) {
      setWrong(cause instanceof Error ? cause.message : String(cause));
      setSending(false);
    }
  };
  return (
    <dialog ref={dialog} class="dialog silence-dialog" aria-labelledby="silence-title" onClose={close} onClick={(event) => event.target === dialog.current && dialog.current?.close()}>
      <form onSubmit={(event) => void make(event)}>
        <div class="dialog-head">
          <h2 id="silence-title">{draft.id ? "Change the silence" : "Silence"}</h2>
          <button type="button" class="tool" aria-label="Close" onClick={() => dialog.current?.close()}>✕</button>
        </div>
        <fieldset>
          <legend>Hides what has</legend>
          {matchers.map((matcher, at) => (
            <div class="matcher-row" key={at}>
              <input aria-label={`Label ${at + 1}`} value={matcher.name} placeholder="label" onInput={(event) => change(at, { name: event.currentTarget.value })} />
              <select aria-label={`Comparison ${at + 1}`} value={opOf(matcher)} onChange={(event) => change(at, { isEqual: event.currentTarget.value.startsWith("="), isRegex: event.currentTarget.value.endsWith("~") })}>
                {OPS.map((op) => <option key={op} value={op}>{op}</option>)}
              </select>
              <input aria-label={`Value ${at + 1}`} value={matcher.value} placeholder="value" onInput={(event) => change(at, { value: event.currentTarget.value })} />
              <button type="button" class="tool" aria-label={`Remove ${matcher.name || "this row"}`} onClick={() => setMatchers(matchers.filter((_, i) => i !== at))}>✕</button>
            </div>
          ))}
          <button type="button" class="button" onClick={() => setMatchers([...matchers, { name: "", value: "", isRegex: false, isEqual: true }])}>Add a label</button>
        </fieldset>
        <div class="silence-fields">
          <label>For <input value={length} size={6} onInput={(event) => setLength(event.currentTarget.value.trim())} /></label>
          <span class="lengths">{LENGTHS.map((one) => <button key={one} type="button" class="button" aria-pressed={one === length} onClick={() => setLength(one)}>{one}</button>)}</span>
          <label>Owner <input value={person.value} size={10} onChange={(event) => (person.value = event.currentTarget.value.trim() || "desk")} /></label>
          <label class="wide">Why <input data-first value={comment} required placeholder="what is being done, and who knows" onInput={(event) => setComment(event.currentTarget.value)} /></label>
        </div>
        <div class="silence-preview" role="status">
          {wrong ? <p class="bad">✕ {wrong}</p> : !preview ? <p class="dim">looking at what it would hide</p> : (
            <>
              <p>
                <b>{preview.counts.firing}</b> firing and <b>{preview.counts.pending}</b> pending would be hidden until {sinceText(preview.ends_at, now, zoneId)};
                {" "}{person.value} is warned at {sinceText(preview.warns_at, now, zoneId)} if something still fires then.
              </p>
              {preview.warnings.map((warning) => <p key={warning} class="warn">▲ It {warning}</p>)}
              <ul class="plain-list">
                {preview.names.slice(0, NAMES_SHOWN).map((named) => <li key={named.name}><span class={`severity severity-${named.severity}`}>{named.severity}</span> {named.name} <span class="dim">× {named.firing + named.pending}</span></li>)}
                {preview.names.length > NAMES_SHOWN && <li class="dim">and {preview.names.length - NAMES_SHOWN} more names</li>}
              </ul>
            </>
          )}
        </div>
        <div class="dialog-foot">
          <button type="submit" class="button primary" disabled={sending || Boolean(wrong) || !comment.trim() || usable.length === 0}>{draft.id ? "Change" : "Silence"} <kbd>↵</kbd></button>
          <button type="button" class="button" onClick={() => dialog.current?.close()}>Cancel <kbd>Esc</kbd></button>
        </div>
      </form>
    </dialog>
  );
}

/** What is muted by a person, by whom, until when, and what it hides now. */
export function Silences({ changed, edit }: { changed: string; edit: (draft: Draft) => void }) {
  const [silences, setSilences] = useState<Silence[]>([]);
  const [again, setAgain] = useState(0);
  useEffect(() => {
    getJson<Silence[]>("/api/tradewatch/v1/silences").then(setSilences, () => setSilences([]));
  }, [changed, again]);
  const now = serverNow.value;
  const zoneId = zone.value || undefined;
  const running = silences.filter((one) => Date.parse(one.endsAt) > now);
  if (running.length === 0) return null;
  const end = async (one: Silence) => {
    try {
      await send("DELETE", `/api/v2/silence/${encodeURIComponent(one.id)}?by=${encodeURIComponent(person.peek())}`);
      toast("The silence has ended");
    } catch (cause) {
      toast(`The silence could not be ended: ${cause instanceof Error ? cause.message : String(cause)}`, true);
    }
    setAgain((n) => n + 1);
  };
  return (
    <section class="silences" aria-labelledby="silences-title">
      <h2 id="silences-title">Silences</h2>
      <ul>
        {running.map((one) => {
          const values = one.matchers.map((m) => m.value).join(", ");
          const ends = Date.parse(one.endsAt);
          const soon = Boolean(one.hides) && one.warnsAt !== undefined && Date.parse(one.warnsAt) <= now;
          return (
            <li key={one.id}>
              <span><MatcherChips matchers={one.matchers} /></span>
              <span class="dim">{one.comment}</span>
              <span>{one.hides ? <>hides {one.hides} firing{one.hidesCritical ? <b class="bad">, {one.hidesCritical} critical</b> : ""}</> : <span class="dim">hides nothing now</span>}</span>
              <span class={`tabular ${soon ? "warn" : ""}`}>{soon && "▲ "}{one.createdBy}, until {sinceText(ends, now, zoneId)} (another {age(ends - now)})</span>
              <span class="silence-actions">
                <button type="button" class="button" onClick={() => edit({ id: one.id, startsAt: one.startsAt, matchers: one.matchers, length: "1h", comment: one.comment })}>Change<span class="sr"> the silence of {values}</span></button>
                <button type="button" class="button" onClick={() => void end(one)}>End<span class="sr"> the silence of {values}</span></button>
              </span>
            </li>
          );
        })}
      </ul>
    </section>
  );
}
