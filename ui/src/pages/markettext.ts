// What the market has to do with an alert: a halt, a closed session, a calendar that ends.

import type { MarketNote } from "../data/api";
import { dateTime, sinceText } from "../format/time";

/** "held back: AAPL halted on XNYS since 10:31, LULD pause". */
export function marketText(note: MarketNote, state: string, now: number, zone?: string): string {
  const held = state === "pending" ? "held back: " : "";
  if (note.state === "halted") {
    const since = note.since ? ` since ${sinceText(note.since, now, zone)}` : "";
    return `${held}${note.symbol ? `${note.symbol} halted on ${note.mic}` : `${note.mic} halted`}${since}${note.reason ? `, ${note.reason}` : ""}`;
  }
  if (note.state === "unknown") return `nobody knows what ${note.mic} does: all time counts`;
  const what = { break: "in its break", pre: "before its session", post: "after its session" }[note.state] ?? "closed";
  const until = note.until ? `, opens ${dateTime(note.until, zone)}` : "";
  return state === "pending" ? `held back: ${note.mic} is ${what}${until}` : `${note.mic} is ${what}${until}`;
}
