// What `tradewatch backtest --format json` prints, as rows of a timeline.

export interface Episode {
  alert: string;
  labels: Record<string, string>;
  pending: string;
  firing: string | null;
  told: string | null;
  resolved: string | null;
}

export interface Version {
  name: string;
  fired: number;
  precision: number | null;
  recall: number | null;
  falsePages: number;
  alerts: { name: string; severity: string; fired: number; incidentsFound: number; falsePages: number; firingSeconds: number }[];
  episodes: Episode[];
}

export interface Backtest {
  from: string;
  to: string;
  incidents: { name: string; from: string; to: string }[];
  version: Version;
  against: Version | null;
}

/** A part of a row, from 0 to 1 of its width. */
export interface Bar {
  left: number;
  width: number;
  kind: "pending" | "firing";
  title: string;
}

/** Bars of one row; a row with more is drawn with its first ones. */
const BARS_MAX = 2000;

/** The file as a backtest, or an error that says what it is instead. */
export function readBacktest(text: string): Backtest {
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch (cause) {
    throw new Error(`no JSON: ${(cause as Error).message}`);
  }
  const backtest = found as Partial<Backtest> | null;
  const times = [backtest?.from, backtest?.to].map((time) => Date.parse(time ?? ""));
  if (!backtest?.version || !Array.isArray(backtest.version.episodes) || !Array.isArray(backtest.incidents) || times.some(Number.isNaN)) {
    throw new Error("not the output of tradewatch backtest --format json");
  }
  return backtest as Backtest;
}

/** Where a stretch of time lies on a row. */
export function place(backtest: Backtest, from: string, to: string | null): { left: number; width: number } {
  const [begin, end] = [Date.parse(backtest.from), Date.parse(backtest.to)];
  const at = (time: number) => Math.min(1, Math.max(0, (time - begin) / (end - begin)));
  const left = at(Date.parse(from));
  return { left, width: at(to === null ? end : Date.parse(to)) - left };
}

/** The bars of an alert: each episode pending, then firing. */
export function bars(backtest: Backtest, version: Version, alert: string): Bar[] {
  const own = version.episodes.filter((episode) => episode.alert === alert).slice(0, BARS_MAX);
  return own.flatMap((episode) => {
    const who = Object.entries(episode.labels).filter(([name]) => name !== "alertname");
    const title = [
      who.map(([name, value]) => `${name}=${value}`).join(" "),
      `pending ${episode.pending}`,
      `firing ${episode.firing ?? "never"}`,
      `told ${episode.told ?? "nobody"}`,
      `resolved ${episode.resolved ?? "not yet"}`,
    ].join("\n");
    const parts: Bar[] = [];
    const waits = place(backtest, episode.pending, episode.firing ?? episode.resolved);
    if (waits.width > 0) parts.push({ ...waits, kind: "pending", title });
    if (episode.firing) parts.push({ ...place(backtest, episode.firing, episode.resolved), kind: "firing", title });
    return parts;
  });
}

/** The alerts that were ever pending in a version, those that fired longest first. */
export function rows(version: Version): string[] {
  const seen = new Set(version.episodes.map((episode) => episode.alert));
  const longest = [...version.alerts].sort((a, b) => b.firingSeconds - a.firingSeconds || a.name.localeCompare(b.name));
  return longest.filter((alert) => seen.has(alert.name)).map((alert) => alert.name);
}
