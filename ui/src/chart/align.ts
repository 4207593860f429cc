// Several frames on one time column, and the sums that stacking needs.

export interface Aligned {
  t: Float64Array;
  /** One array for each column of each frame, in order. */
  columns: Float64Array[];
}

export function align(frames: readonly { t: Float64Array; columns: readonly Float64Array[] }[]): Aligned {
  const filled = frames.filter((frame) => frame.t.length > 0);
  const first = filled[0];
  if (!first) return { t: new Float64Array(0), columns: frames.flatMap((f) => f.columns.map(() => new Float64Array(0))) };
  if (filled.every((frame) => sameTimes(frame.t, first.t))) {
    const blank = new Float64Array(first.t.length).fill(NaN);
    return { t: first.t, columns: frames.flatMap((frame) => (frame.t.length ? [...frame.columns] : frame.columns.map(() => blank))) };
  }
  const all = new Set<number>();
  for (const frame of filled) for (const t of frame.t) all.add(t);
  const t = Float64Array.from(all).sort();
  const columns: Float64Array[] = [];
  for (const frame of frames) {
    for (const column of frame.columns) {
      const out = new Float64Array(t.length).fill(NaN);
      let at = 0;
      for (let i = 0; i < frame.t.length; i++) {
        while (t[at]! < frame.t[i]!) at += 1;
        out[at] = column[i]!;
      }
      columns.push(out);
    }
  }
  return { t, columns };
}

/** So many steps without any column are a gap: the live line may leave one out under load. */
const GAP_STEPS = 4;

/** A column of nothing after each one that the next does not follow soon, so that no line is drawn through a gap. */
export function broken({ t, columns }: Aligned, stepMs: number): Aligned {
  const after: number[] = [];
  for (let i = 1; i < t.length; i++) if (t[i]! - t[i - 1]! > GAP_STEPS * stepMs) after.push(i);
  if (after.length === 0) return { t, columns };
  const spread = (values: Float64Array, between: (i: number) => number) => {
    const out = new Float64Array(values.length + after.length);
    let from = 0;
    after.forEach((i, n) => {
      out.set(values.subarray(from, i), from + n);
      out[i + n] = between(i);
      from = i;
    });
    out.set(values.subarray(from), from + after.length);
    return out;
  };
  return { t: spread(t, (i) => t[i - 1]! + stepMs), columns: columns.map((values) => spread(values, () => NaN)) };
}

function sameTimes(a: Float64Array, b: Float64Array): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/**
 * Running sums over the columns of one stack. What is absent while others are there adds nothing, so that the area above
 * it keeps its floor; where all are absent there is a gap.
 */
export function stack(columns: readonly Float64Array[], percent: boolean): Float64Array[] {
  const n = columns[0]?.length ?? 0;
  const total = new Float64Array(n).fill(NaN);
  for (const column of columns) {
    for (let i = 0; i < n; i++) {
      if (!Number.isNaN(column[i]!)) total[i] = (Number.isNaN(total[i]!) ? 0 : total[i]!) + column[i]!;
    }
  }
  const running = new Float64Array(n);
  return columns.map((column) => {
    const out = new Float64Array(n);
    for (let i = 0; i < n; i++) {
      const all = total[i]!;
      const v = Number.isNaN(column[i]!) ? 0 : column[i]!;
      running[i]! += percent ? (all === 0 ? 0 : v / all) : v;
      out[i] = Number.isNaN(all) ? NaN : running[i]!;
    }
    return out;
  });
}

/** uPlot's gaps are nulls. */
export function withGaps(values: Float64Array, positiveOnly: boolean): (number | null)[] {
  const out: (number | null)[] = new Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const v = values[i]!;
    out[i] = Number.isFinite(v) && (!positiveOnly || v > 0) ? v : null;
  }
  return out;
}
