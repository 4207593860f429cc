// Columns of samples as the live socket sends them: one full frame, then the newest columns only.
//
// All series of a query share one time column. Each column is a Float64Array of twice the window's length: samples are
// appended until the array is full and the window then moves to its front, so a view is always one contiguous piece.
// A missing sample is NaN; a sample that *is* NaN is remembered in `sawNaN`, since "no observations" differs from "absent".

export type Labels = Record<string, string>;

export type WireValue = number | string | null;

export interface WireSeries {
  labels: Labels;
  t: number[];
  v: WireValue[];
}

export interface WireFrame {
  full: boolean;
  step_ms: number;
  series: WireSeries[];
  warnings?: string[];
}

export interface Column {
  key: string;
  labels: Labels;
  /** Same length as the frame's view of times. */
  values: Float64Array;
  /** The newest sample was NaN, not absent. */
  sawNaN: boolean;
}

interface Stored {
  key: string;
  labels: Labels;
  data: Float64Array;
  sawNaN: boolean;
}

export function seriesKey(labels: Labels): string {
  const names = Object.keys(labels).sort();
  let key = "";
  for (const name of names) key += `${name}\u0001${labels[name]}\u0002`;
  return key;
}

export function wireNumber(value: WireValue): number {
  if (typeof value === "number") return value;
  if (value === null || value === "NaN") return NaN;
  if (value === "+Inf" || value === "Inf") return Infinity;
  if (value === "-Inf") return -Infinity;
  return Number(value);
}

export class FrameBuffer {
  readonly capacity: number;
  stepMs: number;
  warnings: string[] = [];
  /** Counts changes of the set of series, so a chart knows when its legend has to be rebuilt. */
  shape = 0;
  private times: Float64Array;
  private start = 0;
  private end = 0;
  private readonly stored = new Map<string, Stored>();

  constructor(rangeMs: number, stepMs: number) {
    this.stepMs = Math.max(1, stepMs);
    this.capacity = Math.max(2, Math.ceil(rangeMs / this.stepMs) + 2);
    this.times = new Float64Array(this.capacity * 2);
  }

  get length(): number {
    return this.end - this.start;
  }

  get seriesCount(): number {
    return this.stored.size;
  }

  /** The newest time column, or null while empty. */
  get newest(): number | null {
    return this.end > this.start ? this.times[this.end - 1]! : null;
  }

  apply(frame: WireFrame): void {
    if (frame.step_ms > 0) this.stepMs = frame.step_ms;
    if (frame.warnings) this.warnings = frame.warnings;
    if (frame.full) this.replace(frame);
    else this.append(frame);
  }

  private replace(frame: WireFrame): void {
    const seen = new Set<number>();
    for (const series of frame.series) for (const t of series.t) seen.add(t);
    const times = [...seen].sort((a, b) => a - b).slice(-this.capacity);
    const before = [...this.stored.keys()].join("\u0003");
    this.stored.clear();
    this.start = 0;
    this.end = times.length;
    this.times.set(times, 0);
    const index = new Map(times.map((t, i) => [t, i]));
    for (const series of frame.series) {
      const stored = this.make(series.labels);
      series.t.forEach((t, i) => {
        const at = index.get(t);
        if (at !== undefined) this.put(stored, at, series.v[i] ?? null);
      });
    }
    if ([...this.stored.keys()].join("\u0003") !== before) this.shape += 1;
  }

  private append(frame: WireFrame): void {
    for (const series of frame.series) {
      const key = seriesKey(series.labels);
      let stored = this.stored.get(key);
      if (!stored) {
        stored = this.make(series.labels);
        this.shape += 1;
      }
      for (let i = 0; i < series.t.length; i++) {
        const at = this.columnAt(series.t[i]!);
        if (at >= 0) this.put(stored, at, series.v[i] ?? null);
      }
    }
  }

  private make(labels: Labels): Stored {
    const key = seriesKey(labels);
    const stored = { key, labels, data: new Float64Array(this.capacity * 2).fill(NaN), sawNaN: false };
    this.stored.set(key, stored);
    return stored;
  }

  private put(stored: Stored, at: number, value: WireValue): void {
    stored.data[at] = wireNumber(value);
    if (at === this.end - 1) stored.sawNaN = value === "NaN";
  }

  /** The index of column `t`, made when it is new; -1 when it is older than the window. */
  private columnAt(t: number): number {
    const newest = this.newest;
    if (newest === null || t > newest) {
      this.push(t);
      return this.end - 1;
    }
    let low = this.start;
    let high = this.end - 1;
    while (low < high) {
      const mid = (low + high) >> 1;
      if (this.times[mid]! < t) low = mid + 1;
      else high = mid;
    }
    if (this.times[low] === t) return low;
    return t < this.times[this.start]! ? -1 : this.insert(low, t);
  }

  private push(t: number): void {
    if (this.end === this.times.length) this.moveToFront();
    this.times[this.end] = t;
    for (const stored of this.stored.values()) stored.data[this.end] = NaN;
    this.end += 1;
    if (this.end - this.start > this.capacity) this.start += 1;
  }

  /** Rare: a column between two others, when two series of one query do not share their grid. */
  private insert(at: number, t: number): number {
    if (this.end === this.times.length) at -= this.moveToFront();
    this.times.copyWithin(at + 1, at, this.end);
    this.times[at] = t;
    for (const stored of this.stored.values()) {
      stored.data.copyWithin(at + 1, at, this.end);
      stored.data[at] = NaN;
    }
    this.end += 1;
    if (this.end - this.start > this.capacity) this.start += 1;
    return at;
  }

  private moveToFront(): number {
    const shift = this.end - Math.min(this.length, this.capacity);
    this.times.copyWithin(0, shift, this.end);
    for (const stored of this.stored.values()) {
      stored.data.copyWithin(0, shift, this.end);
      stored.data.fill(NaN, this.end - shift);
    }
    this.end -= shift;
    this.start = 0;
    return shift;
  }

  /** Forgets what is older than `from` and the series that have nothing left. */
  trim(from: number): void {
    while (this.start < this.end && this.times[this.start]! < from) this.start += 1;
    for (const [key, stored] of this.stored) {
      let empty = true;
      for (let i = this.end - 1; i >= this.start && empty; i--) empty = Number.isNaN(stored.data[i]!);
      if (empty && !stored.sawNaN) {
        this.stored.delete(key);
        this.shape += 1;
      }
    }
  }

  /** Views into the buffer: valid until the next `apply`, to be read and not kept. */
  view(): { t: Float64Array; columns: Column[] } {
    const t = this.times.subarray(this.start, this.end);
    const columns: Column[] = [];
    for (const stored of this.stored.values()) {
      columns.push({ key: stored.key, labels: stored.labels, values: stored.data.subarray(this.start, this.end), sawNaN: stored.sawNaN });
    }
    return { t, columns };
  }
}

/** The newest sample of a column with the time it has, or null when there is none. */
export function latest(t: Float64Array, values: Float64Array): { t: number; v: number } | null {
  for (let i = values.length - 1; i >= 0; i--) {
    const v = values[i]!;
    if (!Number.isNaN(v)) return { t: t[i]!, v };
  }
  return null;
}

/** Since when a column has the value it has now; `exact` is false when it had it through the whole window. */
export function unchangedSince(t: Float64Array, values: Float64Array): { t: number; exact: boolean } | null {
  let i = values.length - 1;
  while (i >= 0 && Number.isNaN(values[i]!)) i -= 1;
  if (i < 0) return null;
  const now = values[i]!;
  let since = t[i]!;
  for (; i >= 0; i--) {
    const v = values[i]!;
    if (Number.isNaN(v)) continue;
    if (v !== now) return { t: since, exact: true };
    since = t[i]!;
  }
  return { t: since, exact: false };
}
