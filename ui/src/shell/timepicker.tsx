// Which time is shown, and how it moves: a range that ends now is pushed; a fixed one stands.

import "../style/dashboards.css";
import { useEffect, useRef, useState } from "preact/hooks";
import { marketClock, paused } from "../data/live";
import { NO_MARKET } from "../data/sessions";
import { describeRange, parseInstant, type TimeRange } from "../format/time";
import { dateParts } from "../format/units";
import { shadedMarket, zone } from "./settings";
import { useKeys } from "./keys";

const QUICK = ["5m", "15m", "30m", "1h", "3h", "6h", "12h", "24h", "2d", "7d", "30d"];
export const REFRESHES: readonly (readonly [label: string, ms: number])[] = [
  ["Live", -1],
  ["5 s", 5000],
  ["10 s", 10_000],
  ["30 s", 30_000],
  ["1 min", 60_000],
  ["Off", 0],
];

export function TimePicker({ range, onChange }: { range: TimeRange; onChange: (range: TimeRange) => void }) {
  const [open, setOpen] = useState(false);
  const [from, setFrom] = useState(range.from);
  const [to, setTo] = useState(range.to);
  const box = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    setFrom(editable(range.from));
    setTo(editable(range.to));
  }, [range.from, range.to, open]);
  useEffect(() => {
    if (!open) return;
    box.current?.querySelector<HTMLElement>(".picker button, .picker input")?.focus();
    const close = (event: Event) => {
      if (event instanceof KeyboardEvent) {
        if (event.key !== "Escape") return;
        setOpen(false);
        button.current?.focus();
      } else if (!box.current?.contains(event.target as Node)) setOpen(false);
    };
    document.addEventListener("pointerdown", close);
    document.addEventListener("keydown", close);
    return () => {
      document.removeEventListener("pointerdown", close);
      document.removeEventListener("keydown", close);
    };
  }, [open]);
  useKeys(() => [{ keys: "t", what: "Choose the time range", where: "Time", run: () => setOpen(true) }], []);
  const bad = (text: string) => parseInstant(text, Date.now()) === null;
  const pick = (next: TimeRange) => {
    onChange(next);
    setOpen(false);
    button.current?.focus();
  };
  return (
    <div class="picker-wrap" ref={box}>
      <button ref={button} type="button" class="button" aria-expanded={open} aria-haspopup="dialog" onClick={() => setOpen(!open)} title="Time range (t)">
        <svg viewBox="0 0 16 16" aria-hidden="true"><circle cx="8" cy="8" r="5.500" /><path d="M8 5v3.200l2.200 1.300" /></svg>
        {describeRange(range, zone.value || undefined)}
      </button>
      {open && (
        <div class="picker" role="dialog" aria-label="Time range">
          <div class="picker-quick">
            {QUICK.map((span) => (
              <button key={span} type="button" class={range.to === "now" && range.from === `now-${span}` ? "is-on" : ""} onClick={() => pick({ from: `now-${span}`, to: "now" })}>
                {describeRange({ from: `now-${span}`, to: "now" })}
              </button>
            ))}
          </div>
          <form
            class="picker-form"
            onSubmit={(event) => {
              event.preventDefault();
              if (bad(from) || bad(to)) return;
              pick({ from: stable(from), to: stable(to) });
            }}
          >
            <label>From<input value={from} aria-invalid={bad(from)} onInput={(event) => setFrom(event.currentTarget.value)} spellcheck={false} /></label>
            <label>To<input value={to} aria-invalid={bad(to)} onInput={(event) => setTo(event.currentTarget.value)} spellcheck={false} /></label>
            <p class="dim">now-90m, now/d, or 2026-11-20 09:30:00</p>
            <button type="submit" class="button primary" disabled={bad(from) || bad(to)}>Apply</button>
          </form>
        </div>
      )}
    </div>
  );
}

function editable(text: string): string {
  if (!/^\d{11,}$/.test(text)) return text;
  const at = dateParts(Number(text));
  return `${at.year}-${at.month}-${at.day} ${at.hour}:${at.minute}:${at.second}`;
}

/** What is typed as a date becomes an instant, so that a sent link means the same in another zone. */
function stable(text: string): string {
  if (text.trim().startsWith("now")) return text.trim();
  return String(parseInstant(text, Date.now()) ?? text);
}

/** Whose closed hours the charts shade. */
export function MarketPicker({ market }: { market: string }) {
  const venues = new Set([...Object.keys(marketClock.value), market].filter((one) => one !== NO_MARKET));
  return (
    <label class="variable" title="Closed hours of this market are shaded, half days are marked">
      Hours
      <select aria-label="Market whose closed hours are shaded" value={market} onChange={(event) => (shadedMarket.value = event.currentTarget.value)}>
        {[...venues].sort().map((mic) => <option key={mic} value={mic}>{mic}</option>)}
        <option value={NO_MARKET}>not shaded</option>
      </select>
    </label>
  );
}

export function RefreshPicker({ live, refreshMs, onChange }: { live: boolean; refreshMs: number; onChange: (ms: number) => void }) {
  useKeys(() => [{ keys: "p", what: "Pause and go on", where: "Time", run: () => (paused.value = !paused.value) }], []);
  return (
    <span class="button-group">
      <button type="button" class={`button ${paused.value ? "is-warn" : ""}`} aria-pressed={paused.value} onClick={() => (paused.value = !paused.value)} title="Pause (p)">
        {paused.value ? "❙❙ Paused" : "Pause"}
      </button>
      <select aria-label="Refresh" value={String(refreshMs)} onChange={(event) => onChange(Number(event.currentTarget.value))} disabled={!live && refreshMs === 0}>
        {REFRESHES.map(([label, ms]) => (
          <option key={ms} value={String(ms)}>{label}</option>
        ))}
      </select>
    </span>
  );
}
