// Value formats by Grafana's unit ids, so that one dashboard file reads the same here and there.
// A format never loses the sign and never invents digits: without a fixed number of decimals, three significant digits remain.

export interface Formatted {
  prefix: string;
  text: string;
  suffix: string;
}

export type Formatter = (value: number, decimals?: number | null, zone?: string) => Formatted;

/** A minus that is as wide as a digit, so columns of signed numbers line up. */
export const MINUS = "\u2212";

function autoDecimals(value: number): number {
  if (value === 0 || Number.isInteger(value)) return 0;
  const magnitude = Math.floor(Math.log10(Math.abs(value)));
  return Math.min(12, Math.max(0, 2 - magnitude));
}

export function toFixed(value: number, decimals?: number | null): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : `${MINUS}Inf`;
  const text = Math.abs(value).toFixed(Math.min(20, decimals ?? autoDecimals(value)));
  return value < 0 && Number(text) !== 0 ? MINUS + text : text;
}

function plain(value: number, decimals: number | null | undefined, suffix: string): Formatted {
  return { prefix: "", text: toFixed(value, decimals), suffix };
}

/** Steps of `factor`, each with its own suffix; the last step takes everything above it. */
function scaled(factor: number, suffixes: readonly string[], symbol = "", first = 0): Formatter {
  return (value, decimals) => {
    let step = first;
    let size = value;
    if (value !== 0 && Number.isFinite(value)) {
      while (Math.abs(size) >= factor && step < suffixes.length - 1) {
        size /= factor;
        step += 1;
      }
      while (Math.abs(size) < 1 && step > 0 && first > 0) {
        size *= factor;
        step -= 1;
      }
    }
    return plain(size, decimals, (suffixes[step] ?? "") + symbol);
  };
}

const SI = ["f", "p", "n", "µ", "m", "", "k", "M", "G", "T", "P", "E"];
const IEC = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const COUNT = ["", "K", "M", "B", "T"];
const SHORT = ["", " K", " Mil", " Bil", " Tri", " Quadr", " Quint", " Sext", " Sept"];

/** `base` is the index of the unit itself in the SI list: `k` for something that is counted in thousands already. */
function si(symbol: string, base = 5): Formatter {
  return scaled(1000, SI.map((prefix) => ` ${prefix}${symbol}`), "", base);
}

function iec(symbol: string, base = 0): Formatter {
  return scaled(1024, IEC.map((prefix) => ` ${prefix}${symbol}`), "", base);
}

/** Bytes and bits never go below one, whatever the prefix table could do. */
function siUp(symbol: string, base = 5): Formatter {
  const up = scaled(1000, SI.slice(base).map((prefix) => ` ${prefix}${symbol}`));
  return up;
}

function count(symbol: string): Formatter {
  return scaled(1000, COUNT.map((prefix) => `${prefix} ${symbol}`));
}

export function currency(symbol: string, behind = false): Formatter {
  const scale = scaled(1000, COUNT);
  return (value, decimals) => {
    const amount = scale(Math.abs(value), decimals);
    const sign = value < 0 && Number(amount.text) !== 0 ? MINUS : "";
    return behind
      ? { prefix: sign, text: amount.text, suffix: `${amount.suffix} ${symbol}` }
      : { prefix: sign + symbol, text: amount.text, suffix: amount.suffix };
  };
}

const SECOND_STEPS: readonly (readonly [limit: number, divisor: number, name: string])[] = [
  [1e-6, 1e-9, "ns"],
  [1e-3, 1e-6, "µs"],
  [1, 1e-3, "ms"],
  [60, 1, "s"],
  [3600, 60, "min"],
  [86400, 3600, "hour"],
  [604800, 86400, "day"],
  [31536000, 604800, "week"],
  [Infinity, 31536000, "year"],
];

function seconds(factor: number, smallest: string): Formatter {
  const from = SECOND_STEPS.findIndex((step) => step[2] === smallest);
  return (value, decimals) => {
    if (value === 0 || !Number.isFinite(value)) return plain(value, decimals, value === 0 ? ` ${smallest}` : "");
    const size = value * factor;
    const steps = SECOND_STEPS.slice(from);
    const step = steps.find(([limit]) => Math.abs(size) < limit) ?? steps[steps.length - 1]!;
    const text = toFixed(size / step[1], decimals);
    const plural = step[2].length > 3 || step[2] === "min" || step[2] === "day";
    return { prefix: "", text, suffix: ` ${step[2]}${plural && Number(text) !== 1 ? "s" : ""}` };
  };
}

const DURATION_PARTS: readonly (readonly [number, string])[] = [
  [31536000, "year"],
  [604800, "week"],
  [86400, "day"],
  [3600, "hour"],
  [60, "minute"],
  [1, "second"],
];

function durationWords(factor: number): Formatter {
  return (value) => {
    if (!Number.isFinite(value)) return plain(value, null, "");
    let rest = Math.abs(value) * factor;
    const words: string[] = [];
    for (const [size, name] of DURATION_PARTS) {
      const n = Math.floor(rest / size + 1e-9);
      if (n > 0) words.push(`${n} ${name}${n === 1 ? "" : "s"}`);
      rest -= n * size;
      if (words.length === 2) break;
    }
    return { prefix: value < 0 ? MINUS : "", text: words.join(", ") || "0 seconds", suffix: "" };
  };
}

function clock(factor: number): Formatter {
  return (value) => {
    if (!Number.isFinite(value)) return plain(value, null, "");
    const total = Math.floor(Math.abs(value) * factor);
    const two = (n: number) => String(n).padStart(2, "0");
    const text = `${two(Math.floor(total / 3600))}:${two(Math.floor(total / 60) % 60)}:${two(total % 60)}`;
    return { prefix: value < 0 ? MINUS : "", text, suffix: "" };
  };
}

function words(no: string, yes: string): Formatter {
  return (value) => ({ prefix: "", text: value === 0 ? no : yes, suffix: "" });
}

function moment(withDate: "always" | "not-today", iso: boolean): Formatter {
  return (value, _decimals, zone) => {
    if (!Number.isFinite(value)) return plain(value, null, "");
    const at = dateParts(value, zone);
    const today = dateParts(Date.now(), zone);
    const date = iso ? `${at.year}-${at.month}-${at.day}` : `${at.month}/${at.day}/${at.year}`;
    const time = `${at.hour}:${at.minute}:${at.second}`;
    const short = withDate === "not-today" && at.year === today.year && at.month === today.month && at.day === today.day;
    return { prefix: "", text: short ? time : `${date} ${time}`, suffix: "" };
  };
}

const partsFormats = new Map<string, Intl.DateTimeFormat>();

export interface DateParts {
  year: string;
  month: string;
  day: string;
  hour: string;
  minute: string;
  second: string;
}

export function dateParts(ms: number, zone?: string): DateParts {
  const key = zone ?? "";
  let format = partsFormats.get(key);
  if (!format) {
    format = new Intl.DateTimeFormat("en-GB", {
      timeZone: zone || undefined,
      year: "numeric",
      month: "2-digit",
      day: "2-digit",
      hour: "2-digit",
      minute: "2-digit",
      second: "2-digit",
      hourCycle: "h23",
    });
    partsFormats.set(key, format);
  }
  const out: Record<string, string> = {};
  for (const part of format.formatToParts(ms)) out[part.type] = part.value;
  return out as unknown as DateParts;
}

function fromNow(value: number): Formatted {
  const delta = (value - Date.now()) / 1000;
  const { text, suffix } = seconds(1, "s")(Math.round(Math.abs(delta)));
  const size = `${text}${suffix}`;
  return { prefix: "", text: delta <= 0 ? `${size} ago` : `in ${size}`, suffix: "" };
}

const pure = (suffix: string): Formatter => (value, decimals) => plain(value, decimals, suffix);

const CURRENCIES: Record<string, [string, boolean?]> = {
  USD: ["$"], EUR: ["€"], GBP: ["£"], JPY: ["¥"], CNY: ["¥"], KRW: ["₩"], INR: ["₹"], RUB: ["₽"], UAH: ["₴"], BRL: ["R$"],
  CAD: ["CA$"], AUD: ["A$"], CHF: ["CHF", true], SEK: ["kr", true], NOK: ["kr", true], DKK: ["kr", true], CZK: ["Kč", true],
  PLN: ["zł", true], ZAR: ["R"], BTC: ["฿"], mBTC: ["m฿"], μBTC: ["μ฿"],
};

const UNITS: Record<string, Formatter> = {
  none: pure(""),
  string: pure(""),
  short: scaled(1000, SHORT),
  sishort: scaled(1000, SI, "", 5),
  percent: pure("%"),
  percentunit: (value, decimals) => plain(value * 100, decimals, "%"),
  humidity: pure("%H"),
  dB: pure(" dB"),
  hex: (value) => plainText(Number.isFinite(value) ? Math.trunc(value).toString(16).toUpperCase() : String(value)),
  hex0x: (value) => plainText(Number.isFinite(value) ? `0x${Math.trunc(value).toString(16).toUpperCase()}` : String(value)),
  sci: (value, decimals) => plainText(value.toExponential(decimals ?? undefined)),
  locale: (value, decimals) => plainText(value.toLocaleString("en-US", { maximumFractionDigits: decimals ?? 3 })),
  // Time.
  ns: seconds(1e-9, "ns"),
  µs: seconds(1e-6, "µs"),
  us: seconds(1e-6, "µs"),
  ms: seconds(1e-3, "ms"),
  s: (value, decimals) => seconds(1, Math.abs(value) < 1 && value !== 0 ? "ns" : "s")(value, decimals),
  m: seconds(60, "min"),
  h: seconds(3600, "hour"),
  d: seconds(86400, "day"),
  dtdurationms: durationWords(1e-3),
  dtdurations: durationWords(1),
  dthms: clock(1),
  dtdhms: clock(1),
  clockms: clock(1e-3),
  clocks: clock(1),
  timeticks: seconds(0.01, "ms"),
  dateTimeAsIso: moment("always", true),
  dateTimeAsIsoNoDateIfToday: moment("not-today", true),
  dateTimeAsUS: moment("always", false),
  dateTimeAsUSNoDateIfToday: moment("not-today", false),
  dateTimeAsLocal: moment("always", true),
  dateTimeAsLocalNoDateIfToday: moment("not-today", true),
  dateTimeAsSystem: moment("always", true),
  dateTimeFromNow: fromNow,
  // Data.
  bytes: iec("B"),
  decbytes: siUp("B"),
  bits: iec("b"),
  decbits: siUp("b"),
  kbytes: iec("B", 1),
  deckbytes: siUp("B", 6),
  mbytes: iec("B", 2),
  decmbytes: siUp("B", 7),
  gbytes: iec("B", 3),
  decgbytes: siUp("B", 8),
  tbytes: iec("B", 4),
  binBps: iec("B/s"),
  Bps: siUp("B/s"),
  binbps: iec("b/s"),
  bps: siUp("b/s"),
  KiBs: iec("B/s", 1),
  KBs: siUp("B/s", 6),
  Kbits: siUp("b/s", 6),
  MiBs: iec("B/s", 2),
  MBs: siUp("B/s", 7),
  Mbits: siUp("b/s", 7),
  GBs: siUp("B/s", 8),
  Gbits: siUp("b/s", 8),
  pps: siUp("p/s"),
  // Throughput.
  cps: count("c/s"),
  ops: count("ops/s"),
  reqps: count("req/s"),
  rps: count("rd/s"),
  wps: count("wr/s"),
  iops: count("io/s"),
  eps: count("evt/s"),
  mps: count("msg/s"),
  recps: count("rec/s"),
  rowsps: count("rows/s"),
  opm: count("ops/m"),
  reqpm: count("req/m"),
  rpm: count("rd/m"),
  wpm: count("wr/m"),
  cpm: count("c/m"),
  mpm: count("msg/m"),
  // Physical.
  hertz: si("Hz"),
  rotrpm: (value, decimals) => plain(value, decimals, " rpm"),
  celsius: pure(" °C"),
  fahrenheit: pure(" °F"),
  kelvin: pure(" K"),
  watt: si("W"),
  volt: si("V"),
  amp: si("A"),
  joule: si("J"),
  // Boolean.
  bool: words("False", "True"),
  bool_yes_no: words("No", "Yes"),
  bool_on_off: words("Off", "On"),
};

function plainText(text: string): Formatted {
  return { prefix: "", text, suffix: "" };
}

const made = new Map<string, Formatter>();

/** The formatter of a unit id; an unknown id is shown behind the number, as Grafana does with custom units. */
export function formatter(unit: string | undefined | null): Formatter {
  if (!unit) return UNITS["none"]!;
  const known = UNITS[unit];
  if (known) return known;
  let built = made.get(unit);
  if (!built) {
    built = custom(unit);
    made.set(unit, built);
  }
  return built;
}

function custom(unit: string): Formatter {
  if (unit.startsWith("currency")) {
    const code = unit.slice("currency".length);
    if (code.startsWith(":")) return currency(code.slice(1).replace(/^(fin|financial):/, ""));
    const found = CURRENCIES[code];
    return found ? currency(found[0], found[1]) : currency(code, true);
  }
  const colon = unit.indexOf(":");
  const kind = colon < 0 ? "" : unit.slice(0, colon);
  const rest = unit.slice(colon + 1);
  switch (kind) {
    case "suffix":
      return pure(rest);
    case "prefix":
      return (value, decimals) => ({ prefix: rest, text: toFixed(value, decimals), suffix: "" });
    case "si":
      return siWithBase(rest);
    case "count":
      return count(rest);
    case "bool": {
      const [yes = "True", no = "False"] = rest.split("/");
      return words(no, yes);
    }
    case "time":
      return pattern(rest);
    default:
      return pure(` ${unit}`);
  }
}

/** `si:mF`: the prefix in front of the symbol says where the value stands already. */
function siWithBase(text: string): Formatter {
  const base = text.length > 1 ? SI.indexOf(text[0]!) : -1;
  return base >= 0 ? si(text.slice(1), base) : si(text);
}

function pattern(format: string): Formatter {
  return (value, _decimals, zone) => {
    const at = dateParts(value, zone);
    const text = format.replace(/YYYY|MM|DD|HH|mm|ss/g, (token) => {
      switch (token) {
        case "YYYY": return at.year;
        case "MM": return at.month;
        case "DD": return at.day;
        case "HH": return at.hour;
        case "mm": return at.minute;
        default: return at.second;
      }
    });
    return plainText(text);
  };
}

export function formatText(unit: string | undefined, value: number, decimals?: number | null, zone?: string): string {
  const { prefix, text, suffix } = formatter(unit)(value, decimals, zone);
  return prefix + text + suffix;
}
