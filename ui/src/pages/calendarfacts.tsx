// What people lay over the calendar: a list with who said so, and a form.

import { useState } from "preact/hooks";
import { send, type Fact, type Venue } from "../data/api";
import { live, serverNow } from "../data/live";
import { dateTime, parseDuration, sinceText } from "../format/time";
import { toast } from "../shell/announce";
import { person, zone } from "../shell/settings";
import { State } from "./page";

export function factText(fact: Fact, zoneId?: string): string {
  if (fact.kind === "closed") return `closed on ${fact.date}`;
  if (fact.kind === "hours") return `open ${fact.hours} on ${fact.date}`;
  const what = fact.symbol ?? "the whole venue";
  const until = fact.until ? `until ${dateTime(fact.until, zoneId)}` : "until nobody knows when";
  return `${what} halted from ${dateTime(fact.from ?? 0, zoneId)} ${until}`;
}

export function Facts({ facts, changed }: { facts: readonly Fact[]; changed: () => void }) {
  const now = serverNow.value;
  const zoneId = zone.value || undefined;
  const remove = async (fact: Fact) => {
    try {
      await send("DELETE", `/api/tradewatch/v1/calendar/facts/${fact.id}?by=${encodeURIComponent(person.peek())}`);
      toast(`Taken back: ${fact.mic} ${factText(fact, zoneId)}`);
      changed();
    } catch (cause) {
      toast(cause instanceof Error ? cause.message : String(cause), true);
    }
  };
  if (facts.length === 0) return <p class="dim facts-none">The tables hold as they are.</p>;
  return (
    <ul class="fact-list">
      {facts.map((fact) => (
        <li key={fact.id ?? `${fact.mic}${factText(fact)}${fact.reason}`}>
          {fact.kind === "halt" && fact.holds ? <State tone="warn">halted</State> : <State tone="off">{fact.kind === "halt" ? "halt" : fact.kind === "closed" ? "closed" : "hours"}</State>}
          <span>
            <b>{fact.mic}</b> {factText(fact, zoneId)}: {fact.reason}{" "}
            <span class="dim">{fact.source === "file" ? "overlay file" : `${fact.by}${fact.proven ? " ✓" : ""}, ${fact.at ? sinceText(fact.at, now, zoneId) : ""}`}</span>
          </span>
          {fact.id !== null && <button type="button" class="button" onClick={() => void remove(fact)}>{fact.holds ? "End" : "Remove"}<span class="sr"> {fact.mic} {factText(fact, zoneId)}</span></button>}
        </li>
      ))}
    </ul>
  );
}

const KINDS = [["halt", "Halt"], ["closed", "Closed that day"], ["hours", "Other hours"]] as const;

export function FactForm({ venues, changed }: { venues: readonly Venue[]; changed: () => void }) {
  const [mic, setMic] = useState(venues.find((venue) => venue.used)?.mic ?? venues[0]?.mic ?? "");
  const [kind, setKind] = useState<Fact["kind"]>("halt");
  const [symbol, setSymbol] = useState("");
  const [length, setLength] = useState("");
  const [date, setDate] = useState("");
  const [hours, setHours] = useState("");
  const [reason, setReason] = useState("");
  const [wrong, setWrong] = useState<string | null>(null);
  const add = async (event: Event) => {
    event.preventDefault();
    const body: Record<string, string> = { by: person.peek(), mic, kind, reason: reason.trim() };
    if (kind === "halt") {
      body["symbol"] = symbol.trim() || "*";
      const ms = length.trim() ? parseDuration(length.trim()) : null;
      if (length.trim() && !ms) return setWrong(`“${length}” is no duration; write for example 5m or 2h`);
      if (ms) body["until"] = new Date(live.now() + ms).toISOString();
    } else {
      body["date"] = date;
      if (kind === "hours") body["hours"] = hours.trim();
    }
    try {
      await send("POST", "/api/tradewatch/v1/calendar/facts", body);
      setWrong(null);
      setReason("");
      setSymbol("");
      toast(`In force: ${mic} ${kind === "halt" ? `${body["symbol"] === "*" ? "" : `${body["symbol"]} `}halted` : kind === "closed" ? `closed on ${date}` : `open ${hours} on ${date}`}`);
      changed();
    } catch (cause) {
      setWrong(cause instanceof Error ? cause.message : String(cause));
    }
  };
  return (
    <form class="fact-form" onSubmit={(event) => void add(event)} aria-label="Add a halt, a closure or other hours">
      <label>Venue
        <select value={mic} onChange={(event) => setMic(event.currentTarget.value)}>
          {venues.map((venue) => <option key={venue.mic} value={venue.mic}>{venue.mic}</option>)}
        </select>
      </label>
      <label>What
        <select value={kind} onChange={(event) => setKind(event.currentTarget.value as Fact["kind"])}>
          {KINDS.map(([value, text]) => <option key={value} value={value}>{text}</option>)}
        </select>
      </label>
      {kind === "halt" ? (
        <>
          <label>Symbol <input value={symbol} size={10} placeholder="whole venue" onInput={(event) => setSymbol(event.currentTarget.value)} /></label>
          <label>For <input value={length} size={10} placeholder="the session" onInput={(event) => setLength(event.currentTarget.value)} /></label>
        </>
      ) : (
        <>
          <label>Date <input type="date" value={date} required onInput={(event) => setDate(event.currentTarget.value)} /></label>
          {kind === "hours" && <label>Hours <input value={hours} size={13} required placeholder="09:30-13:00" onInput={(event) => setHours(event.currentTarget.value)} /></label>}
        </>
      )}
      <label class="grow">Why <input value={reason} required placeholder="LULD pause, mourning, storm" onInput={(event) => setReason(event.currentTarget.value)} /></label>
      <label>Owner <input value={person.value} size={10} onChange={(event) => (person.value = event.currentTarget.value.trim() || "desk")} /></label>
      <button type="submit" class="button is-primary">Put in force</button>
      {wrong && <p class="bad grow" role="alert">✕ {wrong}</p>}
    </form>
  );
}
