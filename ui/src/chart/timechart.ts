// Lines, areas, bars and points over time, drawn by uPlot. What uPlot lacks is here: stacks, shading of closed hours,
// incidents, thresholds, a tooltip, and a cursor that the arrow keys move.

import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { formatter } from "../format/units";
import { dateTime } from "../format/time";
import { dateParts } from "../format/units";
import { theme, zone } from "../shell/settings";
import { announce } from "../shell/announce";
import { stack, withGaps } from "./align";
import { addPaintable } from "./paint";
import { cssVar, fade } from "./palette";

export interface AxisSpec {
  side: "left" | "right" | "hidden";
  unit?: string;
  decimals?: number | null;
  min?: number | null;
  max?: number | null;
  softMin?: number;
  softMax?: number;
  log?: number;
  label?: string;
  zeroBased?: boolean;
}

export interface ChartSeries {
  key: string;
  title: string;
  color: string;
  values: Float64Array;
  axis: string;
  width: number;
  fill: number;
  gradient: boolean;
  style: "line" | "bars" | "points";
  interpolation: "linear" | "smooth" | "stepBefore" | "stepAfter";
  points: "auto" | "always" | "never";
  pointSize: number;
  dash?: number[];
  spanNulls: boolean;
  stack?: { group: string; percent: boolean };
  hidden: boolean;
  /** The value at a time, with its unit, as the tooltip shows it. */
  text: (value: number) => string;
}

export interface Span {
  from: number;
  to: number;
  label?: string;
  color?: string;
  /** Open, but not as usual: marked at the top instead of shaded. */
  short?: boolean;
}

export interface ThresholdLine {
  axis: string;
  value: number;
  color: string;
  /** Upper bound of the coloured area; undefined draws a line only. */
  until?: number;
  line: boolean;
  dashed: boolean;
}

export interface ChartData {
  t: Float64Array;
  series: ChartSeries[];
  axes: Record<string, AxisSpec>;
  from: number;
  to: number;
  closed: Span[];
  notes: Span[];
  thresholds: ThresholdLine[];
  /** From here on there are no data: hatched. */
  staleFrom: number | null;
}

export interface ChartOptions {
  syncKey?: string;
  tooltip: "multi" | "single" | "none";
  tooltipSort: "asc" | "desc" | "none";
  onZoom?: (from: number, to: number) => void;
  describe: () => string;
}

const FONT = '11px "Inter", "Segoe UI", "Helvetica Neue", "DejaVu Sans Condensed", sans-serif';
const TOOLTIP_ROWS_MAX = 14;

export class TimeChart {
  private plot: uPlot | null = null;
  private read: (() => ChartData) | null = null;
  private data: ChartData | null = null;
  private signature = "";
  private readonly painter: { invalidate: () => void; remove: () => void };
  private readonly resizer: ResizeObserver;
  private readonly tip: HTMLDivElement;
  private hovered = false;
  private byKeyboard = false;
  private width = 0;
  private height = 0;
  private readonly stopTheme: () => void;

  constructor(
    private readonly host: HTMLElement,
    private readonly options: ChartOptions,
  ) {
    this.painter = addPaintable(this, host, 125);
    this.tip = document.createElement("div");
    this.tip.className = "tip";
    this.tip.hidden = true;
    this.tip.setAttribute("aria-hidden", "true");
    this.resizer = new ResizeObserver(() => {
      const { clientWidth, clientHeight } = host;
      if (clientWidth === this.width && clientHeight === this.height) return;
      this.width = clientWidth;
      this.height = clientHeight;
      if (this.plot && this.width > 0 && this.height > 0) this.plot.setSize({ width: this.width, height: this.height });
      else this.painter.invalidate();
    });
    this.width = host.clientWidth;
    this.height = host.clientHeight;
    this.resizer.observe(host);
    host.addEventListener("keydown", this.onKey);
    host.addEventListener("blur", this.onBlur);
    const stops = [theme.subscribe(() => this.restyle()), zone.subscribe(() => this.restyle())];
    this.stopTheme = () => stops.forEach((stop) => stop());
  }

  private restyle(): void {
    this.signature = "";
    this.painter?.invalidate();
  }

  destroy(): void {
    this.stopTheme();
    this.painter.remove();
    this.resizer.disconnect();
    this.host.removeEventListener("keydown", this.onKey);
    this.host.removeEventListener("blur", this.onBlur);
    this.plot?.destroy();
    this.plot = null;
    this.tip.remove();
  }

  /** What is to be drawn; asked for when it is drawn, so a chart out of sight costs nothing. */
  setData(read: () => ChartData): void {
    this.read = read;
    this.painter.invalidate();
  }

  /** Brings one series to the front, as when the pointer is on its legend entry. */
  highlight(key: string | null): void {
    if (!this.plot || !this.data) return;
    const at = key === null ? -1 : this.data.series.findIndex((series) => series.key === key);
    this.plot.setSeries(at < 0 ? null : at + 1, { focus: at >= 0 }, false);
  }

  paint(): void {
    if (!this.read || this.width <= 0 || this.height <= 0) return;
    const data = this.read();
    this.data = data;
    const signature = JSON.stringify([
      data.axes,
      data.series.map(({ values: _values, text: _text, ...rest }) => rest),
      theme.peek(),
      zone.peek(),
    ]);
    const columns = this.columns(data);
    if (!this.plot || signature !== this.signature) {
      this.signature = signature;
      const cursor = this.plot?.cursor.idx ?? null;
      this.plot?.destroy();
      this.plot = new uPlot(this.uplotOptions(data), columns, this.host);
      this.plot.root.append(this.tip);
      if (this.byKeyboard && cursor !== null) this.moveTo(cursor, false);
    } else {
      this.plot.setData(columns, false);
    }
    this.plot.setScale("x", { min: data.from, max: data.to });
    if (this.hovered || this.byKeyboard) this.showTip();
  }

  private columns(data: ChartData): uPlot.AlignedData {
    const drawn = data.series.map((series) => series.values);
    const groups = new Map<string, number[]>();
    data.series.forEach((series, i) => {
      if (series.stack && !series.hidden) groups.set(series.stack.group, [...(groups.get(series.stack.group) ?? []), i]);
    });
    for (const indices of groups.values()) {
      const sums = stack(indices.map((i) => drawn[i]!), data.series[indices[0]!]!.stack!.percent);
      indices.forEach((i, n) => (drawn[i] = sums[n]!));
    }
    const columns = data.series.map((series, i) => withGaps(drawn[i]!, Boolean(data.axes[series.axis]?.log)));
    return [Array.from(data.t), ...columns] as uPlot.AlignedData;
  }

  private uplotOptions(data: ChartData): uPlot.Options {
    const zoneId = zone.peek();
    const grid = cssVar("--grid");
    const text = cssVar("--text-dim");
    const scales: uPlot.Scales = { x: { time: true, auto: false } };
    const axes: uPlot.Axis[] = [
      {
        stroke: text,
        font: FONT,
        grid: { stroke: grid, width: 1 },
        ticks: { show: false },
        size: 22,
        gap: 4,
        space: 76,
        values: (_u, splits, _axis, _space, increment) => timeLabels(splits, increment, zoneId),
      },
    ];
    let gridded = false;
    for (const [key, axis] of Object.entries(data.axes)) {
      scales[key] = yScale(axis);
      if (axis.side === "hidden") continue;
      axes.push({
        scale: key,
        side: axis.side === "right" ? 1 : 3,
        stroke: text,
        font: FONT,
        grid: { show: !gridded, stroke: grid, width: 1 },
        ticks: { show: false },
        gap: 6,
        space: 26,
        label: axis.label,
        labelFont: FONT,
        labelSize: axis.label ? 18 : 0,
        values: (_u, splits) => axisLabels(splits, axis, zoneId),
        size: (u, values) => {
          if (!values) return 40;
          u.ctx.save();
          u.ctx.font = FONT;
          const widest = values.reduce((w, v) => Math.max(w, v ? u.ctx.measureText(v).width : 0), 0);
          u.ctx.restore();
          return Math.ceil(widest) + 14;
        },
      });
      gridded = true;
    }
    const bands: uPlot.Band[] = [];
    const lastOf = new Map<string, number>();
    data.series.forEach((series, i) => {
      if (!series.stack || series.hidden) return;
      const below = lastOf.get(series.stack.group);
      if (below !== undefined) bands.push({ series: [i + 1, below + 1] });
      lastOf.set(series.stack.group, i);
    });
    return {
      width: this.width,
      height: this.height,
      ms: 1,
      padding: [6, Object.values(data.axes).some((axis) => axis.side === "right") ? 0 : 10, 0, 0],
      legend: { show: false },
      tzDate: (ts) => (zoneId ? uPlot.tzDate(new Date(ts), zoneId) : new Date(ts)),
      focus: { alpha: 0.22 },
      scales,
      axes,
      bands,
      series: [{}, ...data.series.map((series) => plotSeries(series))],
      cursor: {
        y: false,
        drag: { x: true, y: false, setScale: false, dist: 6 },
        focus: { prox: this.options.tooltip === "single" ? 24 : -1 },
        points: { size: 6, width: 1.5 },
        ...(this.options.syncKey ? { sync: { key: this.options.syncKey, setSeries: false } } : {}),
      },
      hooks: {
        drawClear: [(u) => this.drawGround(u)],
        draw: [(u) => this.drawMarks(u)],
        setCursor: [() => (this.hovered || this.byKeyboard ? this.showTip() : this.hideTip())],
        setSelect: [
          (u) => {
            if (u.select.width < 6) return;
            const from = u.posToVal(u.select.left, "x");
            const to = u.posToVal(u.select.left + u.select.width, "x");
            u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            this.options.onZoom?.(Math.round(from), Math.round(to));
          },
        ],
        ready: [
          (u) => {
            u.over.addEventListener("pointerenter", () => {
              this.hovered = true;
              this.byKeyboard = false;
            });
            u.over.addEventListener("pointerleave", () => {
              this.hovered = false;
              this.hideTip();
            });
          },
        ],
      },
    };
  }

  private drawGround(u: uPlot): void {
    const { data } = this;
    if (!data) return;
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    const x = (t: number) => Math.round(u.valToPos(t, "x", true));
    const block = (from: number, to: number) => {
      const left = Math.max(bbox.left, x(from));
      const right = Math.min(bbox.left + bbox.width, x(to));
      if (right > left) ctx.fillRect(left, bbox.top, right - left, bbox.height);
    };
    ctx.fillStyle = cssVar("--closed");
    for (const span of data.closed) if (!span.short) block(span.from, span.to);
    if (data.staleFrom !== null) {
      ctx.fillStyle = hatch(ctx) ?? cssVar("--closed");
      block(data.staleFrom, data.to);
    }
    for (const line of data.thresholds) {
      if (line.until === undefined || !u.scales[line.axis]) continue;
      const top = u.valToPos(Math.min(line.until, u.scales[line.axis]!.max ?? line.until), line.axis, true);
      const bottom = u.valToPos(Math.max(line.value, u.scales[line.axis]!.min ?? line.value), line.axis, true);
      ctx.fillStyle = fade(line.color, 0.1);
      if (bottom > top) ctx.fillRect(bbox.left, top, bbox.width, bottom - top);
    }
    ctx.restore();
  }

  /** A bar along the top of a half day, with its name where there is room. */
  private drawShort(u: uPlot, from: number, to: number, label: string): void {
    const { ctx, bbox } = u;
    const ratio = devicePixelRatio || 1;
    const left = Math.max(bbox.left, from);
    const right = Math.min(bbox.left + bbox.width, to);
    if (right <= left) return;
    ctx.fillStyle = cssVar("--note");
    ctx.fillRect(left, bbox.top, right - left, 3 * ratio);
    ctx.font = `${10.5 * ratio}px ${getComputedStyle(document.body).fontFamily}`;
    if (ctx.measureText(label).width + 8 * ratio < right - left) {
      ctx.textBaseline = "top";
      ctx.textAlign = "left";
      ctx.fillStyle = cssVar("--text-dim");
      ctx.fillText(label, left + 4 * ratio, bbox.top + 5 * ratio);
    }
  }

  private drawMarks(u: uPlot): void {
    const { data } = this;
    if (!data) return;
    const { ctx, bbox } = u;
    const ratio = devicePixelRatio;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.lineWidth = ratio;
    for (const line of data.thresholds) {
      const scale = u.scales[line.axis];
      if (!line.line || !scale || line.value < (scale.min ?? -Infinity) || line.value > (scale.max ?? Infinity)) continue;
      const y = Math.round(u.valToPos(line.value, line.axis, true)) + 0.5;
      ctx.strokeStyle = line.color;
      ctx.setLineDash(line.dashed ? [6 * ratio, 4 * ratio] : []);
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
    }
    const pixel = (t: number) => Math.round(u.valToPos(t, "x", true));
    for (const span of data.closed) if (span.short) this.drawShort(u, pixel(span.from), pixel(span.to), span.label ?? "");
    for (const note of data.notes) {
      if (note.to < data.from || note.from > data.to) continue;
      const x = Math.round(u.valToPos(note.from, "x", true)) + 0.5;
      const tint = note.color ?? cssVar("--note");
      if (note.to > note.from) {
        ctx.fillStyle = fade(tint, 0.12);
        ctx.fillRect(x, bbox.top, u.valToPos(note.to, "x", true) - x, bbox.height);
      }
      ctx.strokeStyle = tint;
      ctx.setLineDash([4 * ratio, 3 * ratio]);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.fillStyle = tint;
      ctx.beginPath();
      ctx.moveTo(x - 4 * ratio, bbox.top + bbox.height);
      ctx.lineTo(x + 4 * ratio, bbox.top + bbox.height);
      ctx.lineTo(x, bbox.top + bbox.height - 6 * ratio);
      ctx.fill();
    }
    ctx.restore();
  }

  private readonly onBlur = () => {
    this.byKeyboard = false;
    this.hideTip();
    this.plot?.setCursor({ left: -10, top: -10 });
  };

  private readonly onKey = (event: KeyboardEvent) => {
    if (!this.plot || !this.data || event.target !== this.host || event.ctrlKey || event.metaKey || event.altKey) return;
    const n = this.data.t.length;
    if (n === 0) return;
    const at = this.byKeyboard ? (this.plot.cursor.idx ?? n - 1) : n;
    const jump = event.shiftKey ? Math.max(1, Math.round(n / 20)) : 1;
    let to: number;
    switch (event.key) {
      case "ArrowLeft": to = at - jump; break;
      case "ArrowRight": to = at + jump; break;
      case "Home": to = 0; break;
      case "End": to = n - 1; break;
      case "Escape": this.onBlur(); return;
      default: return;
    }
    event.preventDefault();
    event.stopPropagation();
    this.byKeyboard = true;
    this.moveTo(Math.min(n - 1, Math.max(0, to)), true);
  };

  private moveTo(index: number, say: boolean): void {
    const { plot, data } = this;
    if (!plot || !data) return;
    plot.setCursor({ left: plot.valToPos(data.t[index]!, "x"), top: plot.over.clientHeight / 2 });
    if (say) announce(this.reading(index));
  }

  /** One point in time in words, for the live region. */
  private reading(index: number): string {
    const { data } = this;
    if (!data) return "";
    const rows = this.rows(index).slice(0, TOOLTIP_ROWS_MAX);
    const values = rows.map((row) => `${row.title} ${row.text}`).join("; ");
    return `${dateTime(data.t[index]!, zone.peek() || undefined)}: ${values || "no data"}`;
  }

  private rows(index: number): { title: string; text: string; color: string; value: number; key: string }[] {
    const rows = (this.data?.series ?? [])
      .filter((series) => !series.hidden)
      .map((series) => ({ key: series.key, title: series.title, color: series.color, value: series.values[index] ?? NaN, text: "" }))
      .filter((row) => !Number.isNaN(row.value));
    const text = new Map(this.data?.series.map((series) => [series.key, series.text]));
    for (const row of rows) row.text = text.get(row.key)!(row.value);
    if (this.options.tooltipSort === "desc") rows.sort((a, b) => b.value - a.value);
    if (this.options.tooltipSort === "asc") rows.sort((a, b) => a.value - b.value);
    return rows;
  }

  private hideTip(): void {
    this.tip.hidden = true;
  }

  private showTip(): void {
    const { plot, data, tip } = this;
    const index = plot?.cursor.idx;
    if (!plot || !data || index === null || index === undefined || (plot.cursor.left ?? -1) < 0 || this.options.tooltip === "none") {
      this.hideTip();
      return;
    }
    let rows = this.rows(index);
    if (this.options.tooltip === "single" && !this.byKeyboard && rows.length > 1) {
      const y = plot.cursor.top ?? 0;
      const distance = (key: string) => {
        const at = data.series.findIndex((series) => series.key === key);
        const drawn = plot.data[at + 1]?.[index];
        return drawn === null || drawn === undefined ? Infinity : Math.abs(plot.valToPos(drawn, data.series[at]!.axis) - y);
      };
      rows = [rows.reduce((best, row) => (distance(row.key) < distance(best.key) ? row : best))];
    }
    const more = rows.length - TOOLTIP_ROWS_MAX;
    const head = document.createElement("div");
    head.className = "tip-time";
    head.textContent = dateTime(data.t[index]!, zone.peek() || undefined);
    const lines = rows.slice(0, TOOLTIP_ROWS_MAX).map((row) => {
      const line = document.createElement("div");
      line.className = "tip-row";
      const swatch = document.createElement("i");
      swatch.style.background = row.color;
      const title = document.createElement("span");
      title.textContent = row.title;
      const value = document.createElement("b");
      value.textContent = row.text;
      line.append(swatch, title, value);
      return line;
    });
    const t = data.t[index]!;
    const near = (data.to - data.from) / 150;
    for (const note of data.notes) {
      if (t < note.from - near || t > note.to + near || !note.label) continue;
      const line = document.createElement("div");
      line.className = "tip-note";
      line.textContent = note.label;
      lines.push(line);
    }
    const market = data.closed.find((span) => t >= span.from && t < span.to);
    if (market) {
      const line = document.createElement("div");
      line.className = "tip-note";
      line.textContent = market.label ?? "market closed";
      lines.push(line);
    }
    if (rows.length === 0) {
      const line = document.createElement("div");
      line.className = "tip-note";
      line.textContent = "no data here";
      lines.push(line);
    }
    if (more > 0) {
      const line = document.createElement("div");
      line.className = "tip-note";
      line.textContent = `and ${more} more`;
      lines.push(line);
    }
    tip.replaceChildren(head, ...lines);
    tip.hidden = false;
    const overLeft = plot.over.offsetLeft;
    const x = overLeft + (plot.cursor.left ?? 0);
    const width = tip.offsetWidth;
    const left = x + 14 + width > this.width ? x - width - 14 : x + 14;
    tip.style.left = `${Math.max(0, Math.round(left))}px`;
    const top = Math.min(Math.max(0, (plot.cursor.top ?? 0) - 10), Math.max(0, this.height - tip.offsetHeight));
    tip.style.top = `${Math.round(top)}px`;
  }
}

let hatchFor: { theme: string; pattern: CanvasPattern | null } | null = null;

/** Diagonal lines: the sign for "there is nothing here", in every chart the same. */
export function hatch(ctx: CanvasRenderingContext2D): CanvasPattern | null {
  if (hatchFor?.theme === theme.peek()) return hatchFor.pattern;
  const tile = document.createElement("canvas");
  const size = 8;
  tile.width = tile.height = size;
  const pen = tile.getContext("2d");
  if (!pen) return null;
  pen.strokeStyle = cssVar("--hatch");
  pen.lineWidth = 1;
  pen.beginPath();
  for (const shift of [-size, 0, size]) {
    pen.moveTo(shift, size);
    pen.lineTo(shift + size, 0);
  }
  pen.stroke();
  hatchFor = { theme: theme.peek(), pattern: ctx.createPattern(tile, "repeat") };
  return hatchFor.pattern;
}

function plotSeries(series: ChartSeries): uPlot.Series {
  const paths = uPlot.paths;
  let builder: uPlot.Series.PathBuilder | undefined;
  if (series.style === "bars") builder = paths.bars!({ size: [0.7, 40, 1], align: 0 });
  else if (series.style === "points") builder = () => null;
  else if (series.interpolation === "smooth") builder = paths.spline!();
  else if (series.interpolation === "stepAfter") builder = paths.stepped!({ align: 1 });
  else if (series.interpolation === "stepBefore") builder = paths.stepped!({ align: -1 });
  const fill = series.style === "points" ? 0 : series.style === "bars" ? Math.max(series.fill, 0.35) : series.fill;
  return {
    label: series.title,
    scale: series.axis,
    show: !series.hidden,
    stroke: series.color,
    width: series.style === "points" ? 0 : series.width,
    dash: series.dash,
    spanGaps: series.spanNulls,
    paths: builder,
    fill: fill > 0 ? (series.gradient ? gradient(series.color, fill) : fade(series.color, fill)) : undefined,
    points: {
      size: series.pointSize,
      fill: series.color,
      stroke: series.color,
      width: 0,
      ...(series.points === "always" || series.style === "points" ? { show: true } : series.points === "never" ? { show: false } : {}),
      // A sample between two gaps has no line to belong to: it is shown as a point whatever the settings say.
      filter: (u, seriesIndex, show) => {
        if (show) return null;
        const values = u.data[seriesIndex]!;
        const alone: number[] = [];
        for (let i = 0; i < values.length; i++) {
          if (values[i] != null && values[i - 1] == null && values[i + 1] == null) alone.push(i);
        }
        return alone.length && alone.length < 500 ? alone : null;
      },
    },
  };
}

function gradient(tint: string, alpha: number): (u: uPlot) => CanvasGradient {
  return (u) => {
    const ramp = u.ctx.createLinearGradient(0, u.bbox.top, 0, u.bbox.top + u.bbox.height);
    ramp.addColorStop(0, fade(tint, Math.min(1, alpha * 1.6)));
    ramp.addColorStop(1, fade(tint, alpha * 0.15));
    return ramp;
  };
}

function yScale(axis: AxisSpec): uPlot.Scale {
  if (axis.log) {
    return {
      distr: 3,
      log: axis.log === 2 ? 2 : 10,
      range: (_u, min, max) => {
        if (min === null || max === null || !(min > 0)) return [0.1, 10];
        const base = axis.log === 2 ? 2 : 10;
        const down = base ** Math.floor(Math.log(min) / Math.log(base));
        const up = base ** Math.ceil(Math.log(max) / Math.log(base));
        return [axis.min && axis.min > 0 ? axis.min : down, axis.max ?? (up > down ? up : down * base)];
      },
    };
  }
  return {
    range: (_u, dataMin, dataMax) => {
      let min = dataMin ?? 0;
      let max = dataMax ?? 1;
      if (axis.zeroBased) {
        min = Math.min(0, min);
        max = Math.max(0, max);
      }
      if (axis.softMin !== undefined) min = Math.min(min, axis.softMin);
      if (axis.softMax !== undefined) max = Math.max(max, axis.softMax);
      if (min === max) {
        if (min === 0) max = 1;
        else if (min > 0) [min, max] = [0, min * 1.5];
        else [min, max] = [max * 1.5, 0];
      }
      const [low, high] = uPlot.rangeNum(min, max, 0.08, true);
      return [axis.min ?? low, axis.max ?? high];
    },
  };
}

/** The fewest decimals that tell the ticks of one unit exactly: 0, 0.5, 1.0 and not 0, 0.500, 1; 900 ms beside 1.1 s. */
export function axisLabels(splits: (number | null)[], axis: Pick<AxisSpec, "unit" | "decimals">, zoneId?: string): string[] {
  const format = formatter(axis.unit);
  const decimalsOf = new Map<string, number | null>();
  const suffixOf = (v: number) => format(v, axis.decimals ?? 0, zoneId).suffix;
  const exact = (v: number, decimals: number) => format(v, decimals + 1, zoneId).text === format(v, decimals, zoneId).text + (decimals === 0 ? ".0" : "0");
  const present = splits.filter((v): v is number => v !== null);
  for (const v of present) {
    const suffix = suffixOf(v);
    if (axis.decimals !== null && axis.decimals !== undefined) decimalsOf.set(suffix, axis.decimals);
    if (decimalsOf.has(suffix)) continue;
    const same = present.filter((other) => suffixOf(other) === suffix);
    let decimals = 0;
    while (decimals < 6 && !same.every((other) => exact(other, decimals))) decimals += 1;
    decimalsOf.set(suffix, decimals < 6 ? decimals : null);
  }
  return splits.map((v) => {
    if (v === null) return "";
    const { prefix, text, suffix } = format(v, decimalsOf.get(suffixOf(v)), zoneId);
    return prefix + text + suffix;
  });
}

function timeLabels(splits: number[], increment: number, zoneId: string): string[] {
  let day = "";
  return splits.map((t, i) => {
    const at = dateParts(t, zoneId || undefined);
    const date = `${at.month}-${at.day}`;
    if (increment >= 86_400_000) return date;
    const clock = `${at.hour}:${at.minute}`;
    const fine = increment < 1000 ? `${clock}:${at.second}.${String(Math.round(t % 1000)).padStart(3, "0")}` : increment < 60_000 ? `${clock}:${at.second}` : clock;
    const turned = i > 0 && date !== day;
    day = date;
    return turned ? `${date} ${clock}` : fine;
  });
}
