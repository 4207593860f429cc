// Trading sessions of a venue around now.

import { useEffect, useState } from "preact/hooks";
import { getJson, type Session } from "./api";
import { marketClock, serverNow } from "./live";

const DAY_MS = 86_400_000;
export const DAYS_BACK = 2;
export const DAYS_AHEAD = 8;

/** The exchange whose hours are shaded unless somebody says otherwise; a crypto venue never closes. */
export const SHADED_MIC = "XNYS";
/** Nothing is shaded. */
export const NO_MARKET = "none";

/** The market of a page: what the reader chose, what a variable `mic` says, a tag `market:XLON`, and else the platform's. */
export function marketOf(chosen: string, mic: string | undefined, tags: readonly string[], used: readonly string[]): string {
  if (chosen) return chosen;
  if (mic) return mic;
  const tag = tags.find((one) => one.startsWith("market:"));
  if (tag) return tag.slice("market:".length);
  return used.length === 0 || used.includes(SHADED_MIC) ? SHADED_MIC : (used.find((one) => one !== "CRYPTO") ?? SHADED_MIC);
}

export async function sessionsOf(mic: string, from: number, to: number): Promise<Session[]> {
  return getJson<Session[]>(`/api/tradewatch/v1/sessions?from=${Math.round(from)}&to=${Math.round(to)}&mic=${encodeURIComponent(mic)}`);
}

/** Sessions in their order; two that touch are one: midnight is no close for a venue that trades through it. */
export function joined(sessions: readonly Session[]): Session[] {
  const out: Session[] = [];
  for (const session of [...sessions].sort((a, b) => a.open_ms - b.open_ms)) {
    const last = out[out.length - 1];
    if (last && session.open_ms <= last.close_ms && Boolean(last.special) === Boolean(session.special)) last.close_ms = Math.max(last.close_ms, session.close_ms);
    else out.push({ ...session });
  }
  return out;
}

export function nextChange(sessions: readonly Session[], now: number): { at: number; what: "opens" | "closes" } | null {
  for (const session of joined(sessions)) {
    if (now < session.open_ms) return { at: session.open_ms, what: "opens" };
    if (now < session.close_ms) return { at: session.close_ms, what: "closes" };
  }
  return null;
}

export function useSessions(mic: string, version = 0): { sessions: Session[] | null; error: string | null } {
  const [state, setState] = useState<{ sessions: Session[] | null; error: string | null }>({ sessions: null, error: null });
  const hour = Math.floor(serverNow.value / 3_600_000);
  const clock = marketClock.value[mic];
  useEffect(() => {
    const now = serverNow.peek();
    // A day more on either side: the first and the last day are shown whole.
    sessionsOf(mic, now - (DAYS_BACK + 1) * DAY_MS, now + (DAYS_AHEAD + 1) * DAY_MS).then(
      (sessions) => setState({ sessions: joined(sessions), error: null }),
      (cause: Error) => setState({ sessions: null, error: cause.message }),
    );
  }, [mic, hour, clock, version]);
  return state;
}
