// A latency heatmap from a classic histogram: one column per step, one row per bucket, colour by the count in it.

import { dateTime } from "../format/time";
import { formatText, toFixed, dateParts } from "../format/units";
import { announce } from "../shell/announce";
import { theme, zone } from "../shell/settings";
import type { Column } from "../data/frame";
import { hatch, type Span } from "./timechart";
import { addPaintable } from "./paint";
import { cssVar, heat } from "./palette";

export interface HeatData {
  t: Float64Array;
  /** Upper bounds in ascending order; the last may be +Inf. */
  bounds: number[];
  /** cells[row][column]: what fell into that bucket in that step; NaN is no data. */
  cells: Float64Array[];
  max: number;
  from: number;
  to: number;
  stepMs: number;
  unit: string;
  countUnit: string;
  closed: Span[];
  staleFrom: number | null;
}

/** Cumulative `le` buckets to what is in each of them. */
export function heatCells(t: Float64Array, columns: readonly Column[]): Pick<HeatData, "t" | "bounds" | "cells" | "max"> {
  const rows = columns
    .map((column) => ({ bound: column.labels["le"] === "+Inf" ? Infinity : Number(column.labels["le"]), values: column.values }))
    .filter((row) => !Number.isNaN(row.bound))
    .sort((a, b) => a.bound - b.bound);
  let max = 0;
  const cells = rows.map((row, r) => {
    const below = rows[r - 1]?.values;
    return Float64Array.from(row.values, (v, i) => {
      // A float's last bits may make a difference of equal rates slightly negative.
      const own = Math.max(0, v - (below ? below[i]! || 0 : 0));
      if (own > max) max = own;
      return Number.isNaN(v) ? NaN : own;
    });
  });
  return { t, bounds: rows.map((row) => row.bound), cells, max };
}

const LEFT = 62;
const BOTTOM = 20;

export class Heatmap {
  private read: (() => HeatData) | null = null;
  private data: HeatData | null = null;
  private readonly canvas: HTMLCanvasElement;
  private readonly tip: HTMLDivElement;
  private readonly painter: { invalidate: () => void; remove: () => void };
  private readonly resizer: ResizeObserver;
  private cursor: { column: number; row: number } | null = null;
  private readonly stops: (() => void)[];

  constructor(private readonly host: HTMLElement) {
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("aria-hidden", "true");
    this.tip = document.createElement("div");
    this.tip.className = "tip";
    this.tip.hidden = true;
    host.append(this.canvas, this.tip);
    this.painter = addPaintable(this, host, 125);
    this.resizer = new ResizeObserver(() => this.painter.invalidate());
    this.resizer.observe(host);
    host.addEventListener("pointermove", this.onMove);
    host.addEventListener("pointerleave", this.onLeave);
    host.addEventListener("keydown", this.onKey);
    host.addEventListener("blur", this.onLeave);
    this.stops = [theme.subscribe(() => this.painter?.invalidate()), zone.subscribe(() => this.painter?.invalidate())];
  }

  destroy(): void {
    this.stops.forEach((stop) => stop());
    this.painter.remove();
    this.resizer.disconnect();
    this.host.removeEventListener("pointermove", this.onMove);
    this.host.removeEventListener("pointerleave", this.onLeave);
    this.host.removeEventListener("keydown", this.onKey);
    this.host.removeEventListener("blur", this.onLeave);
    this.host.replaceChildren();
  }

  /** What is to be drawn; asked for when it is drawn. */
  setData(read: () => HeatData): void {
    this.read = read;
    this.painter.invalidate();
  }

  private area() {
    return { left: LEFT, top: 4, width: this.host.clientWidth - LEFT - 8, height: this.host.clientHeight - BOTTOM - 4 };
  }

  paint(): void {
    if (!this.read) return;
    this.data = this.read();
    const { data, canvas, host } = this;
    const ratio = devicePixelRatio || 1;
    const { clientWidth: w, clientHeight: h } = host;
    if (!data || w < 80 || h < 40) return;
    canvas.width = Math.round(w * ratio);
    canvas.height = Math.round(h * ratio);
    canvas.style.width = `${w}px`;
    canvas.style.height = `${h}px`;
    const ctx = canvas.getContext("2d");
    if (!ctx) return;
    ctx.scale(ratio, ratio);
    const { left, top, width, height } = this.area();
    const x = (t: number) => left + ((t - data.from) / (data.to - data.from)) * width;
    const rows = Math.max(1, data.bounds.length);
    const rowHeight = height / rows;
    const y = (row: number) => top + height - (row + 1) * rowHeight;
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, top, width, height);
    ctx.clip();
    ctx.fillStyle = cssVar("--closed");
    for (const span of data.closed) if (!span.short) ctx.fillRect(x(span.from), top, x(span.to) - x(span.from), height);
    if (data.staleFrom !== null) {
      ctx.fillStyle = hatch(ctx) ?? cssVar("--closed");
      ctx.fillRect(x(data.staleFrom), top, x(data.to) - x(data.staleFrom), height);
    }
    for (let row = 0; row < data.bounds.length; row++) {
      const values = data.cells[row]!;
      for (let i = 0; i < data.t.length; i++) {
        const v = values[i]!;
        if (!(v > 0)) continue;
        const right = x(data.t[i]!);
        const cell = x(data.t[i]! - data.stepMs);
        // The square root keeps single orders visible beside a burst.
        ctx.fillStyle = heat(0.12 + 0.88 * Math.sqrt(v / (data.max || 1)));
        ctx.fillRect(cell, y(row) + 0.5, Math.max(1, right - cell - 0.5), rowHeight - 1);
      }
    }
    if (this.cursor) {
      const t = data.t[this.cursor.column];
      if (t !== undefined) {
        ctx.strokeStyle = cssVar("--text");
        ctx.lineWidth = 1.5;
        ctx.strokeRect(x(t - data.stepMs) - 0.5, y(this.cursor.row) + 0.5, x(t) - x(t - data.stepMs), rowHeight - 1);
      }
    }
    ctx.restore();
    ctx.fillStyle = cssVar("--text-dim");
    ctx.font = '11px "Inter", "Segoe UI", "Helvetica Neue", "DejaVu Sans Condensed", sans-serif';
    ctx.textAlign = "right";
    ctx.textBaseline = "middle";
    const every = Math.ceil(14 / rowHeight);
    for (let row = 0; row < rows; row += 1) {
      if (row % every !== 0 && row !== rows - 1) continue;
      const bound = data.bounds[row];
      if (bound !== undefined) ctx.fillText(this.boundText(row), left - 6, y(row) + rowHeight / 2);
    }
    ctx.textAlign = "center";
    ctx.textBaseline = "top";
    for (const t of ticks(data.from, data.to, width)) {
      const at = dateParts(t, zone.peek() || undefined);
      ctx.fillText(data.to - data.from < 300_000 ? `${at.hour}:${at.minute}:${at.second}` : `${at.hour}:${at.minute}`, x(t), top + height + 6);
    }
  }

  private boundText(row: number): string {
    const { data } = this;
    const bound = data?.bounds[row];
    if (!data || bound === undefined) return "";
    if (bound === Infinity) return `> ${formatText(data.unit, data.bounds[row - 1] ?? 0)}`;
    return `≤ ${formatText(data.unit, bound)}`;
  }

  private reading(column: number, row: number): string[] {
    const { data } = this;
    if (!data || data.t[column] === undefined) return [];
    const v = data.cells[row]?.[column] ?? NaN;
    const total = data.cells.reduce((sum, values) => sum + (values[column]! || 0), 0);
    const share = total > 0 && !Number.isNaN(v) ? ` (${toFixed((v / total) * 100, 0)}%)` : "";
    return [dateTime(data.t[column]!, zone.peek() || undefined), `${this.boundText(row)}: ${Number.isNaN(v) ? "no data" : `${toFixed(Math.round(v * 10) / 10)} ${data.countUnit}${share}`}`];
  }

  private showTip(): void {
    const { data, cursor, tip } = this;
    if (!data || !cursor) {
      tip.hidden = true;
      return;
    }
    tip.replaceChildren(
      ...this.reading(cursor.column, cursor.row).map((line, i) => {
        const div = document.createElement("div");
        div.className = i === 0 ? "tip-time" : "tip-row";
        div.textContent = line;
        return div;
      }),
    );
    tip.hidden = false;
    const { left, top, width, height } = this.area();
    const px = left + ((data.t[cursor.column]! - data.from) / (data.to - data.from)) * width;
    const py = top + height - (cursor.row + 1) * (height / Math.max(1, data.bounds.length));
    tip.style.left = `${px + 12 + tip.offsetWidth > left + width ? px - tip.offsetWidth - 12 : px + 12}px`;
    tip.style.top = `${Math.min(Math.max(0, py), Math.max(0, this.host.clientHeight - tip.offsetHeight))}px`;
  }

  private readonly onMove = (event: PointerEvent) => {
    const { data } = this;
    if (!data || data.t.length === 0) return;
    const box = this.host.getBoundingClientRect();
    const { left, top, width, height } = this.area();
    const t = data.from + ((event.clientX - box.left - left) / width) * (data.to - data.from);
    const row = Math.floor((top + height - (event.clientY - box.top)) / (height / Math.max(1, data.bounds.length)));
    let column = -1;
    for (let i = 0; i < data.t.length; i++) if (t <= data.t[i]! && t > data.t[i]! - data.stepMs) column = i;
    this.cursor = column >= 0 && row >= 0 && row < data.bounds.length ? { column, row } : null;
    this.showTip();
    this.painter.invalidate();
  };

  private readonly onLeave = () => {
    this.cursor = null;
    this.showTip();
    this.painter.invalidate();
  };

  private readonly onKey = (event: KeyboardEvent) => {
    const { data } = this;
    if (!data || data.t.length === 0 || data.bounds.length === 0) return;
    const last = data.t.length - 1;
    const at = this.cursor ?? { column: last + 1, row: 0 };
    const next = { ...at };
    switch (event.key) {
      case "ArrowLeft": next.column -= 1; break;
      case "ArrowRight": next.column += 1; break;
      case "ArrowUp": next.row += 1; break;
      case "ArrowDown": next.row -= 1; break;
      case "Home": next.column = 0; break;
      case "End": next.column = last; break;
      case "Escape": this.onLeave(); return;
      default: return;
    }
    event.preventDefault();
    event.stopPropagation();
    this.cursor = { column: Math.min(last, Math.max(0, next.column)), row: Math.min(data.bounds.length - 1, Math.max(0, next.row)) };
    this.showTip();
    this.painter.invalidate();
    announce(this.reading(this.cursor.column, this.cursor.row).join(", "));
  };
}

const TICKS = [1000, 5000, 10_000, 30_000, 60_000, 120_000, 300_000, 600_000, 900_000, 1_800_000, 3_600_000, 7_200_000, 14_400_000, 21_600_000, 43_200_000, 86_400_000];

/** Round times on a canvas axis, about 90 pixels apart. */
export function ticks(from: number, to: number, width: number): number[] {
  const step = TICKS.find((one) => ((to - from) / one) * 90 <= width) ?? 86_400_000;
  const out: number[] = [];
  for (let t = Math.ceil(from / step) * step; t <= to; t += step) out.push(t);
  return out;
}
