// Trading sessions: what is open now, for how long, and what comes.

import "../style/others.css";
import { marketClock, serverNow } from "../data/live";
import { countdown, dateTime, timeOfDay } from "../format/time";
import { dateParts } from "../format/units";
import { ErrorBox } from "../panels/frame";
import { zone, zoneName } from "../shell/settings";
import { DAYS_AHEAD, DAYS_BACK, nextChange, useSessions } from "../data/sessions";
import { PageHead, State, useTitle } from "./page";

const DAY_MS = 86_400_000;
const KNOWN: Record<string, string> = { XNYS: "New York Stock Exchange", XNAS: "Nasdaq", CRYPTO: "Crypto, round the clock", XLON: "London Stock Exchange", XETR: "Xetra", XTKS: "Tokyo Stock Exchange" };

export function CalendarPage() {
  useTitle("Calendar");
  const clock = marketClock.value;
  const mics = Object.keys(clock).length ? Object.keys(clock).sort() : ["XNYS"];
  return (
    <>
      <PageHead title="Calendar" subtitle={`times in ${zoneName(zone.value)}`} />
      <div class="calendar">
        {mics.map((mic) => <Venue key={mic} mic={mic} state={clock[mic] ?? null} />)}
      </div>
    </>
  );
}


function Venue({ mic, state }: { mic: string; state: string | null }) {
  const { sessions, error } = useSessions(mic);
  const now = serverNow.value;
  const zoneId = zone.value || undefined;
  const change = sessions ? nextChange(sessions, now) : null;
  // Open although no session says so: a venue that never closes has no sessions to tell.
  const always = state === "open" && sessions !== null && !sessions.some((s) => s.open_ms <= now && now < s.close_ms);
  const far = change !== null && change.at - now > 5 * DAY_MS;
  const days: number[] = [];
  const today = startOfDay(now, zoneId);
  for (let d = -DAYS_BACK; d < DAYS_AHEAD; d++) days.push(startOfDay(today + d * DAY_MS + DAY_MS / 2, zoneId));
  return (
    <section class="panel venue">
      <header class="panel-head">
        <h2>{mic} <span class="dim">{KNOWN[mic] ?? ""}</span></h2>
        <span class="panel-gap" />
        {state && <State tone={state === "open" ? "good" : "off"}>{state}</State>}
        {change && !far && !always && <span class="venue-count">{change.what} in <b class="tabular">{countdown(change.at - now)}</b></span>}
      </header>
      {error && <ErrorBox message={error} />}
      {sessions && (
        <div class="week" role="table" aria-label={`Sessions of ${mic}`}>
          <div class="week-hours" aria-hidden="true">
            <span />
            <span class="week-scale">{[0, 3, 6, 9, 12, 15, 18, 21, 24].map((h) => <i key={h} style={{ left: `${(h / 24) * 100}%` }}>{String(h).padStart(2, "0")}</i>)}</span>
            <span />
          </div>
          {days.map((day) => {
            const at = dateParts(day, zoneId);
            const weekday = new Intl.DateTimeFormat("en-GB", { weekday: "short", timeZone: zoneId }).format(day);
            const end = startOfDay(day + DAY_MS + DAY_MS / 4, zoneId);
            const inside = always ? [{ open_ms: day, close_ms: end }] : sessions.filter((s) => s.close_ms > day && s.open_ms < end);
            const isToday = now >= day && now < end;
            const text = inside.length === 0 ? "closed" : inside.some((s) => s.open_ms <= day && s.close_ms >= end) ? "all day" : inside.map((s) => `${timeOfDay(Math.max(day, s.open_ms), zoneId).slice(0, 5)} to ${timeOfDay(Math.min(end, s.close_ms), zoneId).slice(0, 5)}`).slice(0, 2).join(", ") + (inside.length > 2 ? ` and ${inside.length - 2} more` : "");
            return (
              <div key={day} class={`week-row ${isToday ? "is-today" : ""}`} role="row">
                <span role="rowheader">{weekday} {at.month}-{at.day}</span>
                <span class="week-track" role="cell" aria-hidden="true">
                  {inside.map((s) => {
                    const left = Math.max(0, (s.open_ms - day) / (end - day));
                    const right = Math.min(1, (s.close_ms - day) / (end - day));
                    return <i key={s.open_ms} style={{ left: `${left * 100}%`, width: `max(2px, ${(right - left) * 100}%)` }} />;
                  })}
                  {isToday && <b class="week-now" style={{ left: `${((now - day) / (end - day)) * 100}%` }} />}
                </span>
                <span role="cell" class="tabular">{text}</span>
              </div>
            );
          })}
        </div>
      )}
      {change && !far && !always && <p class="dim venue-next">{change.what} {dateTime(change.at, zoneId)}</p>}
    </section>
  );
}

function startOfDay(ms: number, zoneId: string | undefined): number {
  const at = dateParts(ms, zoneId);
  const into = ((Number(at.hour) * 60 + Number(at.minute)) * 60 + Number(at.second)) * 1000 + (ms % 1000);
  return ms - into;
}
