// What lies behind every chart of a page: hours in which the market is shut, and what people or programs have noted.

import { useEffect, useState } from "preact/hooks";
import { getJson, prom, type Annotation, type PromResult, type Session } from "../data/api";
import { marketClock, serverNow } from "../data/live";
import { marketOf, NO_MARKET, sessionsOf } from "../data/sessions";
import type { Span } from "../chart/timechart";
import type { AnnotationQuery } from "../grafana/model";
import { color } from "../chart/palette";
import { shadedMarket } from "../shell/settings";

const REFRESH_MS = 30_000;

export function closedSpans(sessions: readonly Session[], from: number, to: number): Span[] {
  const sorted = sessions.filter((s) => s.close_ms > from && s.open_ms < to).sort((a, b) => a.open_ms - b.open_ms);
  const out: Span[] = [];
  let at = from;
  for (const session of sorted) {
    if (session.open_ms > at) out.push({ from: at, to: session.open_ms });
    at = Math.max(at, session.close_ms);
  }
  if (at < to) out.push({ from: at, to });
  return out;
}

/** Half days of the range, to be marked. */
export function shortSpans(sessions: readonly Session[], from: number, to: number): Span[] {
  const short = sessions.filter((s) => s.special && s.close_ms > from && s.open_ms < to);
  return short.map((s) => {
    const day = new Date(s.open_ms).getUTCDay();
    return { from: s.open_ms, to: s.close_ms, short: true, label: day === 0 || day === 6 ? "special session" : "half day" };
  });
}

/** The market whose closed hours a page shades. */
export function useMarket(mic?: string, tags: readonly string[] = []): string {
  return marketOf(shadedMarket.value, mic, tags, Object.keys(marketClock.value));
}

/** Closed hours of the range and an hour beyond it; asked again now and then, and when a market opens or shuts. */
export function useClosed(rangeMs: number, fixed: { from: number; to: number } | null, market: string): Span[] {
  const [closed, setClosed] = useState<Span[]>([]);
  const state = marketClock.value[market];
  useEffect(() => {
    let gone = false;
    const load = async () => {
      const to = (fixed?.to ?? serverNow.peek()) + 3_600_000;
      const from = fixed?.from ?? to - rangeMs - 7_200_000;
      try {
        const sessions = market === NO_MARKET ? [] : await sessionsOf(market, from, to);
        const known = market !== NO_MARKET && state !== "unknown";
        const closed = closedSpans(sessions, from, to).map((span) => ({ ...span, label: `${market} closed` }));
        if (!gone) setClosed(known ? [...closed, ...shortSpans(sessions, from, to)] : []);
      } catch {
        // Without a calendar nothing is shaded: an open market must not look closed.
        if (!gone) setClosed([]);
      }
    };
    void load();
    const timer = fixed ? undefined : setInterval(() => document.hidden || void load(), REFRESH_MS);
    return () => {
      gone = true;
      clearInterval(timer);
    };
  }, [rangeMs, fixed?.from, fixed?.to, state, market]);
  return closed;
}

export function useNotes(rangeMs: number, fixed: { from: number; to: number } | null, queries: readonly AnnotationQuery[] = []): Span[] {
  const [notes, setNotes] = useState<Span[]>([]);
  const key = JSON.stringify(queries);
  useEffect(() => {
    let gone = false;
    const load = async () => {
      const to = fixed?.to ?? serverNow.peek();
      const from = fixed?.from ?? to - rangeMs;
      const found: Span[] = [];
      try {
        const stored = await getJson<Annotation[]>(`/api/annotations?from=${Math.round(from)}&to=${Math.round(to)}`);
        for (const one of stored) {
          found.push({ from: one.time, to: one.timeEnd && one.timeEnd > one.time ? one.timeEnd : one.time, label: [one.text, ...(one.tags ?? []).map((tag) => `#${tag}`)].join(" ") });
        }
      } catch {
        // Notes are an addition; the charts stand without them.
      }
      for (const query of queries) {
        if (!query.enable || query.builtIn || !query.expr) continue;
        found.push(...(await notesOfQuery(query, from, to).catch(() => [])));
      }
      if (!gone) setNotes((before) => (JSON.stringify(before) === JSON.stringify(found) ? before : found));
    };
    void load();
    const timer = fixed ? undefined : setInterval(() => document.hidden || void load(), REFRESH_MS / 3);
    return () => {
      gone = true;
      clearInterval(timer);
    };
  }, [rangeMs, fixed?.from, fixed?.to, key]);
  return notes;
}

/** An annotation query marks each time from which its result is there and not zero. */
async function notesOfQuery(query: AnnotationQuery, from: number, to: number): Promise<Span[]> {
  const step = Math.max(1, Math.round((to - from) / 1000 / 300));
  const { data } = await prom<PromResult>("query_range", { query: query.expr!, start: (from / 1000).toFixed(3), end: (to / 1000).toFixed(3), step });
  if (data.resultType !== "matrix") return [];
  const out: Span[] = [];
  for (const one of data.result) {
    let last = -Infinity;
    for (const [seconds, text] of one.values ?? []) {
      if (Number(text) === 0) continue;
      const at = seconds * 1000;
      const open = out[out.length - 1];
      if (at - last <= step * 1500 && open) open.to = at;
      else out.push({ from: at, to: at, label: query.name, color: color(query.iconColor, "red") });
      last = at;
    }
  }
  return out;
}
