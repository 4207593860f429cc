// One number out of a column, by Grafana's names of calculations.

export const REDUCERS = [
  "lastNotNull", "last", "firstNotNull", "first", "min", "max", "mean", "median", "sum", "count", "range", "diff", "delta", "diffperc",
  "stdDev", "variance", "allIsZero", "allIsNull", "changeCount", "distinctCount", "step", "logmin", "allValues", "uniqueValues",
] as const;

const NAMES: Record<string, string> = {
  lastNotNull: "Last", last: "Last (or none)", firstNotNull: "First", first: "First (or none)", min: "Min", max: "Max", mean: "Mean",
  median: "Median", sum: "Total", count: "Count", range: "Range", diff: "Difference", delta: "Delta", diffperc: "Difference %",
  stdDev: "Std dev", variance: "Variance", changeCount: "Changes", distinctCount: "Distinct", logmin: "Min above 0",
};

export function reducerName(id: string): string {
  if (/^p\d+$/.test(id)) return id.toUpperCase();
  return NAMES[id] ?? id;
}

/** NaN in the column means absent; the answer is NaN when there is nothing to answer with. */
export function reduce(values: ArrayLike<number>, how: string): number {
  const n = values.length;
  if (how === "last") return n ? values[n - 1]! : NaN;
  if (how === "first") return n ? values[0]! : NaN;
  if (how === "lastNotNull") {
    for (let i = n - 1; i >= 0; i--) if (!Number.isNaN(values[i]!)) return values[i]!;
    return NaN;
  }
  const present: number[] = [];
  for (let i = 0; i < n; i++) if (!Number.isNaN(values[i]!)) present.push(values[i]!);
  if (how === "count") return present.length;
  if (how === "allIsNull") return present.length === 0 ? 1 : 0;
  if (present.length === 0) return NaN;
  const first = present[0]!;
  const last = present[present.length - 1]!;
  switch (how) {
    case "firstNotNull": return first;
    case "min": return present.reduce((a, b) => (b < a ? b : a));
    case "max": return present.reduce((a, b) => (b > a ? b : a));
    case "sum": return present.reduce((a, b) => a + b, 0);
    case "mean": return present.reduce((a, b) => a + b, 0) / present.length;
    case "median": return quantile(present, 0.5);
    case "range": return reduce(present, "max") - reduce(present, "min");
    case "diff": return last - first;
    case "diffperc": return first === 0 ? NaN : (last - first) / first;
    case "delta": return increases(present);
    case "variance": return variance(present);
    case "stdDev": return Math.sqrt(variance(present));
    case "allIsZero": return present.every((v) => v === 0) ? 1 : 0;
    case "changeCount": return present.reduce((c, v, i) => c + (i > 0 && v !== present[i - 1] ? 1 : 0), 0);
    case "distinctCount": return new Set(present).size;
    case "logmin": return present.filter((v) => v > 0).reduce((a, b) => Math.min(a, b), Infinity);
    default: {
      const percentile = /^p(\d{1,2})$/.exec(how);
      return percentile ? quantile(present, Number(percentile[1]) / 100) : last;
    }
  }
}

/** A counter's growth: a fall is a reset, after which the value itself was gained. */
function increases(values: number[]): number {
  let total = 0;
  for (let i = 1; i < values.length; i++) {
    const step = values[i]! - values[i - 1]!;
    total += step >= 0 ? step : values[i]!;
  }
  return total;
}

function variance(values: number[]): number {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  return values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length;
}

function quantile(values: number[], q: number): number {
  const sorted = Float64Array.from(values).sort();
  const at = (sorted.length - 1) * q;
  const low = Math.floor(at);
  const high = Math.ceil(at);
  return sorted[low]! + (sorted[high]! - sorted[low]!) * (at - low);
}
