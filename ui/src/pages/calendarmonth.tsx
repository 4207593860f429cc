// A month of a venue: sessions, half days, holidays, in the venue's own dates.

import { useEffect, useState } from "preact/hooks";
import { getJson, type Day } from "../data/api";
import { timeOfDay } from "../format/time";
import { dateParts } from "../format/units";

const WORDS: Record<Day["kind"], string> = { session: "session", special: "half day or other hours", closed: "holiday", weekend: "weekend", always: "open", unknown: "not known" };
const WEEKDAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/** The first and the last date of the month that is `by` months from that of `now`. */
export function monthOf(now: number, zone: string | undefined, by: number): { title: string; from: string; to: string } {
  const at = dateParts(now, zone);
  const first = new Date(Date.UTC(Number(at.year), Number(at.month) - 1 + by, 1));
  const last = new Date(Date.UTC(first.getUTCFullYear(), first.getUTCMonth() + 1, 0));
  const title = new Intl.DateTimeFormat("en-GB", { month: "long", year: "numeric", timeZone: "UTC" }).format(first);
  return { title, from: first.toISOString().slice(0, 10), to: last.toISOString().slice(0, 10) };
}

/** Empty cells before the first of the month, the week beginning on Monday. */
export function lead(from: string): number {
  return (new Date(`${from}T00:00:00Z`).getUTCDay() + 6) % 7;
}

function says(day: Day, zone: string | undefined): string {
  const hours = day.parts.map(([open, close]) => `${timeOfDay(open, zone).slice(0, 5)} to ${timeOfDay(close, zone).slice(0, 5)}`).join(", ");
  return [day.date, WORDS[day.kind], hours, day.reason ?? ""].filter(Boolean).join(", ");
}

export function Month({ mic, now, zone, version }: { mic: string; now: number; zone: string | undefined; version: number }) {
  const [by, setBy] = useState(0);
  const [found, setFound] = useState<{ today: string; days: Day[] } | null>(null);
  const { title, from, to } = monthOf(now, zone, by);
  useEffect(() => {
    let gone = false;
    getJson<{ today: string; days: Day[] }>(`/api/tradewatch/v1/calendar/days?mic=${encodeURIComponent(mic)}&from=${from}&to=${to}`).then(
      (days) => gone || setFound(days),
      () => gone || setFound(null),
    );
    return () => {
      gone = true;
    };
  }, [mic, from, to, version]);
  const marked = found?.days.filter((day) => day.kind === "special" || day.kind === "closed" || day.reason) ?? [];
  return (
    <div class="month">
      <div class="month-head">
        <button type="button" class="tool" aria-label={`${mic}: month before`} onClick={() => setBy(by - 1)}>‹</button>
        <b>{title}</b>
        <button type="button" class="tool" aria-label={`${mic}: month after`} onClick={() => setBy(by + 1)}>›</button>
        <span class="dim">dates of the venue</span>
      </div>
      {found && (
        <div class="month-body">
          <div class="month-grid" aria-hidden="true">
            {WEEKDAYS.map((name) => <span key={name} class="dim">{name}</span>)}
            {Array.from({ length: lead(from) }, (_, n) => <span key={`lead${n}`} />)}
            {found.days.map((day) => (
              <span key={day.date} class={`day day-${day.kind} ${day.date === found.today ? "is-today" : ""}`} title={says(day, zone)}>
                {Number(day.date.slice(8))}
                {day.kind === "special" && <i>½</i>}
                {day.kind === "closed" && <i>✕</i>}
              </span>
            ))}
          </div>
          <ul class="month-marks">
            {marked.length === 0 && <li class="dim">no holiday and no half day</li>}
            {marked.map((day) => <li key={day.date}><span aria-hidden="true">{day.kind === "special" ? "½" : "✕"}</span> {says(day, zone)}</li>)}
          </ul>
        </div>
      )}
    </div>
  );
}
