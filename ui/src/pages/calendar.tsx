// Trading sessions: what is open now, for how long, and what comes; and what people know that the tables do not.

import "../style/others.css";
import { useEffect, useState } from "preact/hooks";
import { getJson, type CalendarState, type Venue } from "../data/api";
import { marketClock, serverNow } from "../data/live";
import { DAYS_AHEAD, DAYS_BACK, useSessions } from "../data/sessions";
import { countdown, dateTime, timeOfDay } from "../format/time";
import { dateParts } from "../format/units";
import { ErrorBox } from "../panels/frame";
import { zone, zoneName } from "../shell/settings";
import { FactForm, Facts } from "./calendarfacts";
import { Month } from "./calendarmonth";
import { PageHead, State, useTitle } from "./page";

const DAY_MS = 86_400_000;

export function CalendarPage() {
  useTitle("Calendar");
  const [shown, setShown] = useState<CalendarState | null>(null);
  const [error, setError] = useState<string | null>(null);
  const [again, setAgain] = useState(0);
  // What a venue does is pushed; the rest is asked again when that changes, and each minute.
  const minute = Math.floor(serverNow.value / 60_000);
  useEffect(() => {
    let gone = false;
    getJson<CalendarState>("/api/tradewatch/v1/calendar").then(
      (found) => {
        if (gone) return;
        setShown(found);
        setError(null);
      },
      (cause: Error) => gone || setError(cause.message),
    );
    return () => {
      gone = true;
    };
  }, [minute, marketClock.value, again]);
  const changed = () => setAgain((n) => n + 1);
  const used = shown?.venues.filter((venue) => venue.used) ?? [];
  const others = shown?.venues.filter((venue) => !venue.used) ?? [];
  return (
    <>
      <PageHead title="Calendar" subtitle={`times in ${zoneName(zone.value)}`} />
      {error && <ErrorBox message={error} />}
      {shown && (
        <section class="panel calendar-facts" aria-labelledby="facts-title">
          <header class="panel-head"><h2 id="facts-title">Halts, closures, other hours</h2></header>
          <Facts facts={shown.facts} changed={changed} />
          <FactForm venues={shown.venues} changed={changed} />
        </section>
      )}
      <div class="calendar">
        {used.map((venue) => <VenueCard key={venue.mic} venue={venue} version={again} />)}
      </div>
      {others.length > 0 && <Others venues={others} />}
    </>
  );
}

function tone(phase: string): "good" | "off" | "warn" {
  return phase === "open" ? "good" : phase === "halted" || phase === "unknown" ? "warn" : "off";
}

/** The next time at which it opens or closes. */
function nextEdge(venue: Venue): { at: number; what: string } | null {
  const { next_open: opens, next_close: closes } = venue;
  if (venue.phase === "open" || venue.phase === "halted") return closes === null ? null : { at: closes, what: "closes" };
  return opens === null ? null : { at: opens, what: "opens" };
}

function Horizon({ venue, zoneId }: { venue: Venue; zoneId: string | undefined }) {
  if (venue.horizon === null) return <span class="dim">needs no table</span>;
  const until = dateTime(venue.horizon, zoneId).slice(0, 10);
  if (!venue.ends_soon) return <span class="dim">known until {until}</span>;
  return <State tone="warn">{(venue.horizon_days ?? 0) < 0 ? `known until ${until} only` : `known for ${venue.horizon_days} more days, until ${until}`}</State>;
}

/** The venues that nobody names: what they do now, and when that changes. */
function Others({ venues }: { venues: Venue[] }) {
  const now = serverNow.value;
  const zoneId = zone.value || undefined;
  return (
    <section class="panel calendar-others" aria-labelledby="others-title">
      <header class="panel-head"><h2 id="others-title">Other venues <span class="dim">that no rule and no route names</span></h2></header>
      <div class="table-wrap" tabIndex={0} role="region" aria-label="Other venues, table">
        <table class="data">
          <thead><tr><th scope="col">Venue</th><th scope="col">Now</th><th scope="col">Next</th><th scope="col">Table</th></tr></thead>
          <tbody>
            {venues.map((venue) => {
              const edge = nextEdge(venue);
              return (
                <tr key={venue.mic}>
                  <td>{venue.mic} <span class="dim">{venue.name}</span></td>
                  <td><State tone={tone(venue.phase)}>{venue.phase}</State></td>
                  <td class="tabular">{edge ? `${edge.what} in ${countdown(edge.at - now)}` : "–"}</td>
                  <td><Horizon venue={venue} zoneId={zoneId} /></td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function VenueCard({ venue, version }: { venue: Venue; version: number }) {
  const { mic, phase } = venue;
  const { sessions, error } = useSessions(mic, version);
  const now = serverNow.value;
  const zoneId = zone.value || undefined;
  const edge = nextEdge(venue);
  // Open although no edge is ahead: it never closes.
  const always = phase === "open" && venue.next_close === null;
  const far = edge !== null && edge.at - now > 5 * DAY_MS;
  const days: number[] = [];
  const today = startOfDay(now, zoneId);
  for (let d = -DAYS_BACK; d < DAYS_AHEAD; d++) days.push(startOfDay(today + d * DAY_MS + DAY_MS / 2, zoneId));
  return (
    <section class="panel venue">
      <header class="panel-head">
        <h2>{mic} <span class="dim">{venue.name ?? ""}</span></h2>
        <span class="panel-gap" />
        <State tone={tone(phase)}>{phase}</State>
        {edge && <span class="venue-count">{edge.what} in <b class="tabular">{countdown(edge.at - now)}</b></span>}
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
            const inside = always ? [{ open_ms: day, close_ms: end, special: false }] : sessions.filter((s) => s.close_ms > day && s.open_ms < end);
            const isToday = now >= day && now < end;
            const short = inside.some((s) => s.special);
            const hours = inside.length === 0 ? "closed" : inside.some((s) => s.open_ms <= day && s.close_ms >= end) ? "all day" : inside.map((s) => `${timeOfDay(Math.max(day, s.open_ms), zoneId).slice(0, 5)} to ${timeOfDay(Math.min(end, s.close_ms), zoneId).slice(0, 5)}`).join(", ");
            return (
              <div key={day} class={`week-row ${isToday ? "is-today" : ""}`} role="row">
                <span role="rowheader">{weekday} {at.month}-{at.day}</span>
                <span class="week-track" role="cell" aria-hidden="true">
                  {inside.map((s) => {
                    const left = Math.max(0, (s.open_ms - day) / (end - day));
                    const right = Math.min(1, (s.close_ms - day) / (end - day));
                    return <i key={s.open_ms} class={s.special ? "is-short" : ""} style={{ left: `${left * 100}%`, width: `max(2px, ${(right - left) * 100}%)` }} />;
                  })}
                  {isToday && <b class="week-now" style={{ left: `${((now - day) / (end - day)) * 100}%` }} />}
                </span>
                <span role="cell" class="tabular week-text" title={hours}>{hours}{short && " ½"}{short && <span class="sr">, not the usual hours</span>}</span>
              </div>
            );
          })}
        </div>
      )}
      <p class="venue-next">
        {edge && !far && <span class="dim">{edge.what} {dateTime(edge.at, zoneId)}</span>}
        {!always && !venue.extended_known && <span class="dim">hours before and after the session are not known</span>}
        <Horizon venue={venue} zoneId={zoneId} />
      </p>
      {venue.horizon !== null && <Month mic={mic} now={now} zone={venue.zone ?? undefined} version={version} />}
    </section>
  );
}

function startOfDay(ms: number, zoneId: string | undefined): number {
  const at = dateParts(ms, zoneId);
  const into = ((Number(at.hour) * 60 + Number(at.minute)) * 60 + Number(at.second)) * 1000 + (ms % 1000);
  return ms - into;
}
