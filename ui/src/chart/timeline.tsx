// States over time: one row per thing that has a state, one block per time it stayed in it.

import { serverNow } from "../data/live";
import { dateTime, timeOfDay } from "../format/time";
import { announce } from "../shell/announce";
import { zone } from "../shell/settings";
import { dateParts } from "../format/units";
import { ticks } from "./heatmap";
import { useEffect, useRef, useState } from "preact/hooks";

export interface StateBlock {
  from: number;
  to: number;
  text: string;
  /** Class of the colour; the text inside says the same. */
  tone: "good" | "bad" | "warn" | "off" | "none";
  color?: string;
}

export interface StateRow {
  name: string;
  blocks: StateBlock[];
}

/** Runs of equal values; a gap longer than two steps is a block of its own without a state. */
export function blocksOf(t: Float64Array, values: Float64Array, stepMs: number, end: number, read: (v: number) => Pick<StateBlock, "text" | "tone" | "color">): StateBlock[] {
  const out: StateBlock[] = [];
  let current: (StateBlock & { value: number }) | null = null;
  let previous = -Infinity;
  for (let i = 0; i < t.length; i++) {
    const v = values[i]!;
    if (Number.isNaN(v)) continue;
    const at = t[i]!;
    if (current && current.value === v && at - previous <= stepMs * 2.5) {
      current.to = at;
    } else {
      if (current) {
        const gap = at - previous > stepMs * 2.5;
        current.to = gap ? previous : at;
        if (gap) out.push({ from: previous, to: at, text: "no data", tone: "none" });
      }
      current = { from: at, to: at, value: v, ...read(v) };
      out.push(current);
    }
    previous = at;
  }
  if (current) {
    if (end - previous > stepMs * 3) out.push({ from: previous, to: end, text: "no data", tone: "none" });
    else current.to = end;
  }
  return out;
}

export function Timeline({ rows, from, to, label }: { rows: StateRow[]; from: number; to: number; label: string }) {
  const box = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(600);
  const [cursor, setCursor] = useState<{ row: number; block: number } | null>(null);
  useEffect(() => {
    if (!box.current) return;
    const observer = new ResizeObserver((entries) => setWidth(entries[0]!.contentRect.width));
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  const span = to - from || 1;
  const pct = (t: number) => `${(Math.min(1, Math.max(0, (t - from) / span)) * 100).toFixed(3)}%`;
  const say = (row: number, block: number) => {
    const one = rows[row]?.blocks[block];
    if (!one) return;
    announce(`${rows[row]!.name}: ${one.text}, ${timeOfDay(one.from, zone.peek() || undefined)} to ${timeOfDay(one.to, zone.peek() || undefined)}`);
  };
  const onKey = (event: KeyboardEvent) => {
    const at = cursor ?? { row: 0, block: rows[0]?.blocks.length ?? 0 };
    const next = { ...at };
    switch (event.key) {
      case "ArrowLeft": next.block -= 1; break;
      case "ArrowRight": next.block += 1; break;
      case "ArrowUp": next.row -= 1; break;
      case "ArrowDown": next.row += 1; break;
      case "Escape": setCursor(null); return;
      default: return;
    }
    event.preventDefault();
    event.stopPropagation();
    next.row = Math.min(rows.length - 1, Math.max(0, next.row));
    const count = rows[next.row]?.blocks.length ?? 0;
    next.block = Math.min(count - 1, Math.max(0, next.row === at.row ? next.block : count - 1));
    setCursor(next);
    say(next.row, next.block);
  };
  const zoneId = zone.value || undefined;
  const nameWidth = 128;
  return (
    <div class="timeline" ref={box} tabIndex={0} role="figure" aria-label={`${label}: ${rows.map((row) => `${row.name} ${row.blocks[row.blocks.length - 1]?.text ?? "no data"}`).join(", ")}. Arrow keys move through the states.`} onKeyDown={onKey} onBlur={() => setCursor(null)}>
      {rows.map((row, r) => (
        <div class="timeline-row" key={row.name}>
          <span class="timeline-name" title={row.name}>{row.name}</span>
          <span class="timeline-track">
            {row.blocks.map((block, b) => {
              if (block.to < from) return null;
              const wide = ((Math.min(to, block.to) - Math.max(from, block.from)) / span) * Math.max(0, width - nameWidth);
              return (
                <span
                  key={b}
                  class={`block tone-${block.tone} ${cursor?.row === r && cursor.block === b ? "is-cursor" : ""}`}
                  style={{ left: pct(block.from), width: `max(1px, calc(${pct(block.to)} - ${pct(block.from)}))`, ...(block.color ? { background: block.color } : {}) }}
                  title={`${row.name}: ${block.text}\n${dateTime(block.from, zoneId)} to ${dateTime(block.to, zoneId)}`}
                >
                  {wide > block.text.length * 7 + 8 ? block.text : wide > 12 && block.tone === "bad" ? "✕" : ""}
                </span>
              );
            })}
          </span>
        </div>
      ))}
      <div class="timeline-axis" aria-hidden="true">
        {ticks(from, to, Math.max(100, width - nameWidth)).map((t) => {
          const at = dateParts(t, zoneId);
          return (
            <span key={t} style={{ left: pct(t) }}>
              {span < 300_000 ? `${at.hour}:${at.minute}:${at.second}` : `${at.hour}:${at.minute}`}
            </span>
          );
        })}
      </div>
    </div>
  );
}

export { serverNow };
