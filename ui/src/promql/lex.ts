// PromQL as tokens: enough to colour a query and to know what could stand at the cursor. The server parses.

export type TokenKind = "comment" | "string" | "number" | "duration" | "keyword" | "function" | "aggregation" | "metric" | "label" | "operator" | "bracket" | "variable" | "space" | "other";

export interface Token {
  kind: TokenKind;
  text: string;
  start: number;
}

export const AGGREGATIONS = ["sum", "avg", "min", "max", "count", "stddev", "stdvar", "topk", "bottomk", "quantile", "count_values", "group", "limitk", "limit_ratio"];
const KEYWORDS = ["by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset", "and", "or", "unless", "atan2", "start", "end"];

export const FUNCTIONS: Record<string, string> = {
  abs: "absolute value", absent: "1 if the vector is empty", absent_over_time: "1 if the range is empty", avg_over_time: "mean over the range",
  ceil: "round up", changes: "number of changes", clamp: "limit to min and max", clamp_max: "limit to a maximum", clamp_min: "limit to a minimum",
  count_over_time: "number of samples", day_of_month: "1 to 31, UTC", day_of_week: "0 Sunday to 6, UTC", day_of_year: "1 to 366, UTC", days_in_month: "28 to 31",
  delta: "difference over the range (gauge)", deriv: "slope per second (gauge)", double_exponential_smoothing: "smoothed value", exp: "e to the power", floor: "round down",
  histogram_avg: "mean of a native histogram", histogram_count: "count of a native histogram", histogram_fraction: "share between two bounds",
  histogram_quantile: "quantile from buckets", histogram_stddev: "deviation of a histogram", histogram_stdvar: "variance of a histogram", histogram_sum: "sum of a native histogram",
  hour: "0 to 23, UTC", idelta: "difference of the last two samples", increase: "growth of a counter over the range", info: "add labels of info metrics", irate: "rate of the last two samples",
  label_join: "join labels into one", label_replace: "make a label from another by a pattern", last_over_time: "newest sample of the range", ln: "natural logarithm", log10: "decimal logarithm", log2: "binary logarithm",
  mad_over_time: "median absolute deviation", max_over_time: "maximum over the range", min_over_time: "minimum over the range", minute: "0 to 59, UTC", month: "1 to 12, UTC", pi: "3.14159…",
  predict_linear: "value in so many seconds, by the slope", present_over_time: "1 if there is a sample", quantile_over_time: "quantile over the range", rate: "growth of a counter per second",
  resets: "number of counter resets", round: "round to a multiple", scalar: "the value of a vector with one element", sgn: "sign: -1, 0, 1", sort: "ascending by value", sort_desc: "descending by value",
  sort_by_label: "ascending by labels", sort_by_label_desc: "descending by labels", sqrt: "square root", stddev_over_time: "deviation over the range", stdvar_over_time: "variance over the range",
  sum_over_time: "sum over the range", time: "evaluation time in seconds", timestamp: "time of each sample", vector: "a scalar as a vector", year: "year, UTC", acos: "arc cosine", asin: "arc sine", atan: "arc tangent",
  cos: "cosine", cosh: "hyperbolic cosine", sin: "sine", sinh: "hyperbolic sine", tan: "tangent", tanh: "hyperbolic tangent", deg: "radians to degrees", rad: "degrees to radians", ts_of_max_over_time: "time of the maximum",
  ts_of_min_over_time: "time of the minimum", ts_of_last_over_time: "time of the newest sample", first_over_time: "oldest sample of the range",
};

const PATTERN =
  /(?<comment>#[^\n]*)|(?<string>"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?|`[^`]*`?)|(?<variable>\$\{[^}]*\}|\$\w+)|(?<duration>(?:\d+(?:ms|[smhdwy]))+\b)|(?<number>0x[\da-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|\b(?:NaN|Inf|inf|nan)\b)|(?<word>[a-zA-Z_:][\w:]*)|(?<operator>=~|!~|!=|==|<=|>=|[-+*/%^<>=@,])|(?<bracket>[(){}[\]])|(?<space>\s+)|(?<other>.)/gs;

export function lex(text: string): Token[] {
  const out: Token[] = [];
  const stack: string[] = [];
  let grouping = false;
  let lastWord = "";
  for (const match of text.matchAll(PATTERN)) {
    const groups = match.groups!;
    const value = match[0];
    let kind: TokenKind = "other";
    if (groups["comment"] !== undefined) kind = "comment";
    else if (groups["string"] !== undefined) kind = "string";
    else if (groups["variable"] !== undefined) kind = "variable";
    else if (groups["duration"] !== undefined) kind = "duration";
    else if (groups["number"] !== undefined) kind = "number";
    else if (groups["operator"] !== undefined) kind = "operator";
    else if (groups["space"] !== undefined) kind = "space";
    else if (groups["bracket"] !== undefined) {
      kind = "bracket";
      if ("({[".includes(value)) {
        stack.push(value === "(" && grouping ? "g" : value);
        grouping = false;
      } else stack.pop();
    } else if (groups["word"] !== undefined) {
      const inside = stack[stack.length - 1];
      const lower = value.toLowerCase();
      if (inside === "{" || inside === "g") kind = "label";
      else if (KEYWORDS.includes(lower)) kind = "keyword";
      else if (AGGREGATIONS.includes(lower) && /^\s*(\(|by\b|without\b)/i.test(text.slice(match.index + value.length))) kind = "aggregation";
      else if (value in FUNCTIONS && /^\s*\(/.test(text.slice(match.index + value.length))) kind = "function";
      else kind = "metric";
      lastWord = lower;
      grouping = kind === "keyword" && ["by", "without", "on", "ignoring", "group_left", "group_right"].includes(lastWord);
    }
    if (kind !== "space" && kind !== "keyword" && kind !== "bracket") grouping = false;
    out.push({ kind, text: value, start: match.index });
  }
  return out;
}

export type Spot =
  | { where: "expression"; prefix: string; from: number }
  | { where: "label"; prefix: string; from: number; metric: string | null }
  | { where: "value"; prefix: string; from: number; label: string; metric: string | null }
  | { where: "duration"; prefix: string; from: number }
  | { where: "nowhere" };

/** What could be completed at `cursor`. */
export function spotAt(text: string, cursor: number): Spot {
  const before = text.slice(0, cursor);
  const tokens = lex(before);
  const last = tokens[tokens.length - 1];
  const open: { bracket: string; at: number }[] = [];
  tokens.forEach((token, i) => {
    if (token.kind !== "bracket") return;
    if ("({[".includes(token.text)) open.push({ bracket: token.text, at: i });
    else open.pop();
  });
  const inner = open[open.length - 1];
  if (last?.kind === "comment") return { where: "nowhere" };
  const solid = tokens.filter((token) => token.kind !== "space");
  if (last?.kind === "string" && !(last.text.length > 1 && last.text.endsWith(last.text[0]!))) {
    if (inner?.bracket !== "{") return { where: "nowhere" };
    const n = solid.length;
    const label = solid[n - 3]?.kind === "label" ? solid[n - 3]!.text : "";
    return label ? { where: "value", prefix: last.text.slice(1), from: last.start + 1, label, metric: metricOf(tokens, inner.at) } : { where: "nowhere" };
  }
  const word = last && ["metric", "label", "function", "aggregation", "keyword"].includes(last.kind) ? last : null;
  const prefix = word?.text ?? "";
  const from = word?.start ?? cursor;
  if (inner?.bracket === "{") {
    const prior = solid[solid.length - (word ? 2 : 1)];
    if (prior && (prior.text === "{" || prior.text === ",")) return { where: "label", prefix, from, metric: metricOf(tokens, inner.at) };
    return { where: "nowhere" };
  }
  if (inner?.bracket === "[") return { where: "duration", prefix: last && /duration|number|variable/.test(last.kind) ? last.text : "", from: last && /duration|number|variable/.test(last.kind) ? last.start : cursor };
  if (inner?.bracket === "(") {
    const opener = tokens.slice(0, inner.at).filter((token) => token.kind !== "space").pop();
    if (opener?.kind === "keyword" && opener.text.toLowerCase() !== "bool") return { where: "label", prefix, from, metric: tokens.find((token) => token.kind === "metric")?.text ?? anyMetric(text) };
  }
  if (last && (last.kind === "number" || last.kind === "duration")) return { where: "nowhere" };
  return { where: "expression", prefix, from };
}

function metricOf(tokens: readonly Token[], bracket: number): string | null {
  const prior = tokens.slice(0, bracket).filter((token) => token.kind !== "space").pop();
  return prior?.kind === "metric" ? prior.text : null;
}

function anyMetric(text: string): string | null {
  return lex(text).find((token) => token.kind === "metric")?.text ?? null;
}

/** A block of code holds one query per line, unless a bracket or an operator says that the next line belongs to it. */
export function splitQueries(code: string): string[] {
  const out: string[] = [];
  let current = "";
  for (const line of code.split("\n")) {
    // Empty lines and comments between queries belong to none of them.
    if ((line.trim() === "" || line.trim().startsWith("#")) && (current === "" || complete(current))) continue;
    const solid = lex(line).filter((token) => token.kind !== "space" && token.kind !== "comment");
    const first = solid[0];
    if (current !== "" && complete(current) && first && !continues(first)) {
      out.push(current.trim());
      current = "";
    }
    current += (current ? "\n" : "") + line;
  }
  if (current.trim()) out.push(current.trim());
  return out;
}

const JOINING = new Set(["and", "or", "unless", "atan2", "on", "ignoring", "group_left", "group_right", "offset", "bool", "by", "without"]);

function continues(token: Token): boolean {
  return token.kind === "operator" || (token.kind === "keyword" && JOINING.has(token.text.toLowerCase())) || (token.kind === "bracket" && ")]}".includes(token.text));
}

function complete(text: string): boolean {
  const solid = lex(text).filter((token) => token.kind !== "space" && token.kind !== "comment");
  const depth = solid.reduce((n, token) => n + (token.kind !== "bracket" ? 0 : "({[".includes(token.text) ? 1 : -1), 0);
  const last = solid[solid.length - 1];
  return depth === 0 && last !== undefined && last.kind !== "operator" && !(last.kind === "keyword" && JOINING.has(last.text.toLowerCase()));
}
