// Time ranges in Grafana's words ("now-1h", "now/d") and the reading of instants and ages.

import { dateParts } from "./units";

const UNIT_MS: Record<string, number> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
  M: 2_592_000_000,
  y: 31_536_000_000,
};

/** A Prometheus or Grafana duration ("90s", "1h30m") in milliseconds, or null when it is not one. */
export function parseDuration(text: string): number | null {
  const trimmed = text.trim();
  if (!/^(\d+(?:\.\d+)?(?:ms|[smhdwMy]))+$/.test(trimmed)) return null;
  let total = 0;
  for (const [, n, unit] of trimmed.matchAll(/(\d+(?:\.\d+)?)(ms|[smhdwMy])/g)) total += Number(n) * UNIT_MS[unit!]!;
  return total;
}

/** The shortest Prometheus duration for `ms`: one unit, no rounding. */
export function promDuration(ms: number): string {
  const whole = Math.max(1, Math.round(ms));
  for (const unit of ["d", "h", "m", "s"]) {
    const size = UNIT_MS[unit]!;
    if (whole % size === 0) return `${whole / size}${unit}`;
  }
  return `${whole}ms`;
}

/** "now-6h", "now/d", epoch milliseconds or RFC 3339, as an instant. Null when it is none of them. */
export function parseInstant(text: string, now: number, roundUp = false): number | null {
  const trimmed = text.trim();
  if (/^\d{11,}$/.test(trimmed)) return Number(trimmed);
  if (!trimmed.startsWith("now")) {
    const at = Date.parse(trimmed);
    return Number.isNaN(at) ? null : at;
  }
  let at = now;
  let rest = trimmed.slice(3);
  while (rest) {
    const shift = /^([+-])(\d+)(ms|[smhdwMy])/.exec(rest);
    if (shift) {
      at += (shift[1] === "-" ? -1 : 1) * Number(shift[2]) * UNIT_MS[shift[3]!]!;
      rest = rest.slice(shift[0].length);
      continue;
    }
    const round = /^\/([smhdwMy])/.exec(rest);
    if (!round) return null;
    at = startOf(at, round[1]!, roundUp);
    rest = rest.slice(round[0].length);
  }
  return at;
}

function startOf(ms: number, unit: string, end: boolean): number {
  const d = new Date(ms);
  const next = end ? 1 : 0;
  switch (unit) {
    case "s": d.setSeconds(d.getSeconds() + next, 0); break;
    case "m": d.setMinutes(d.getMinutes() + next, 0, 0); break;
    case "h": d.setHours(d.getHours() + next, 0, 0, 0); break;
    case "w": {
      d.setHours(0, 0, 0, 0);
      d.setDate(d.getDate() - ((d.getDay() + 6) % 7) + next * 7);
      break;
    }
    case "M": d.setHours(0, 0, 0, 0); d.setMonth(d.getMonth() + next, 1); break;
    case "y": d.setHours(0, 0, 0, 0); d.setFullYear(d.getFullYear() + next, 0, 1); break;
    default: d.setHours(0, 0, 0, 0); d.setDate(d.getDate() + next);
  }
  return d.getTime() - next;
}

export interface TimeRange {
  from: string;
  to: string;
}

export interface Resolved {
  from: number;
  to: number;
  /** The range ends now and moves with the clock, so it can be pushed. */
  live: boolean;
}

export function resolve(range: TimeRange, now: number): Resolved {
  const to = parseInstant(range.to, now, true) ?? now;
  const from = parseInstant(range.from, now) ?? to - 3_600_000;
  const live = range.to.trim() === "now" && range.from.trim().startsWith("now-") && !range.from.includes("/");
  return { from: Math.min(from, to - 1000), to, live };
}

export function describeRange(range: TimeRange, zone?: string): string {
  const span = /^now-(\d+)([smhdwMy])$/.exec(range.from);
  if (range.to === "now" && span) {
    const names: Record<string, string> = { s: "second", m: "minute", h: "hour", d: "day", w: "week", M: "month", y: "year" };
    const n = Number(span[1]);
    return `Last ${n === 1 ? "" : `${n} `}${names[span[2]!]}${n === 1 ? "" : "s"}`;
  }
  const side = (text: string) => {
    const at = /^now/.test(text) ? null : parseInstant(text, 0);
    return at === null ? text : dateTime(at, zone);
  };
  return `${side(range.from)} to ${side(range.to)}`;
}

/** Intervals people can read; a step is never finer than `atLeast`. */
const STEPS = [
  1, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 20_000, 30_000, 60_000, 120_000, 300_000, 600_000, 900_000,
  1_200_000, 1_800_000, 3_600_000, 7_200_000, 10_800_000, 21_600_000, 43_200_000, 86_400_000, 604_800_000, 2_592_000_000,
];

/** The step of a chart: the range over the points that fit, rounded to a readable interval. */
export function stepFor(rangeMs: number, points: number, atLeast: number): number {
  const raw = rangeMs / Math.max(1, points);
  let best = STEPS[STEPS.length - 1]!;
  for (let i = 0; i < STEPS.length; i++) {
    const here = STEPS[i]!;
    const next = STEPS[i + 1];
    // Half way between two steps the coarser one wins: fewer points than pixels, never more than about 1.5 per pixel.
    if (next === undefined || raw < (here + next) / 2) {
      best = here;
      break;
    }
  }
  return Math.max(best, atLeast);
}

/** Grafana's `$__rate_interval`: at least four scrapes, so that a rate always sees two samples. */
export function rateInterval(stepMs: number, scrapeMs: number): number {
  return Math.max(stepMs + scrapeMs, 4 * scrapeMs);
}

export function timeOfDay(ms: number, zone?: string): string {
  const at = dateParts(ms, zone);
  return `${at.hour}:${at.minute}:${at.second}`;
}

export function dateTime(ms: number, zone?: string): string {
  const at = dateParts(ms, zone);
  return `${at.year}-${at.month}-${at.day} ${at.hour}:${at.minute}:${at.second}`;
}

/** Today only the time, else the date as well. */
export function sinceText(ms: number, now: number, zone?: string): string {
  const at = dateParts(ms, zone);
  const today = dateParts(now, zone);
  const same = at.year === today.year && at.month === today.month && at.day === today.day;
  return same ? `${at.hour}:${at.minute}:${at.second}` : `${at.month}-${at.day} ${at.hour}:${at.minute}`;
}

/** An age in at most two units: "0.4 s", "12 s", "3 min 20 s", "2 h 5 min", "3 d 4 h". */
export function age(ms: number): string {
  const sign = ms < 0 ? "\u2212" : "";
  const s = Math.abs(ms) / 1000;
  if (s < 10) return `${sign}${s.toFixed(1)} s`;
  if (s < 60) return `${sign}${Math.floor(s)} s`;
  const pair = (big: number, bigName: string, small: number, smallName: string) =>
    `${sign}${big} ${bigName}${small > 0 ? ` ${small} ${smallName}` : ""}`;
  if (s < 3600) return pair(Math.floor(s / 60), "min", Math.floor(s % 60), "s");
  if (s < 86400) return pair(Math.floor(s / 3600), "h", Math.floor((s % 3600) / 60), "min");
  return pair(Math.floor(s / 86400), "d", Math.floor((s % 86400) / 3600), "h");
}

/** A countdown that keeps its width: "6:29:58", "04:59". */
export function countdown(ms: number): string {
  const total = Math.max(0, Math.floor(ms / 1000));
  const two = (n: number) => String(n).padStart(2, "0");
  const h = Math.floor(total / 3600);
  if (h >= 48) return `${Math.floor(h / 24)} d ${h % 24} h`;
  const tail = `${two(Math.floor(total / 60) % 60)}:${two(total % 60)}`;
  return h > 0 ? `${h}:${tail}` : tail;
}
