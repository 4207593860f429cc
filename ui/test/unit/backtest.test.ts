import { describe, expect, test } from "vitest";
import { bars, place, readBacktest, rows } from "../../src/pages/backtestdata";

const episode = (alert: string, pending: string, firing: string | null, resolved: string | null) => ({ alert, labels: { alertname: alert, job: "feed" }, pending, firing, told: firing, resolved });
const time = (minute: number) => `2026-03-02T14:${String(minute).padStart(2, "0")}:00.000Z`;
const alert = (name: string, firingSeconds: number) => ({ name, severity: "high", fired: 1, incidentsFound: 0, falsePages: 0, firingSeconds });
const text = JSON.stringify({
  from: time(0),
  to: time(40),
  incidents: [{ name: "feed lost", from: time(10), to: time(20) }],
  against: null,
  version: {
    name: "rules",
    fired: 1,
    precision: 1,
    recall: 1,
    falsePages: 0,
    alerts: [alert("Quiet", 0), alert("Slow", 60), alert("Lost", 600)],
    episodes: [episode("Lost", time(10), time(20), time(30)), episode("Slow", time(30), null, null)],
  },
});

describe("the timeline of a backtest", () => {
  const backtest = readBacktest(text);

  test("bars lie where the times are", () => {
    expect(bars(backtest, backtest.version, "Lost").map((bar) => [bar.kind, bar.left, bar.width])).toEqual([
      ["pending", 0.25, 0.25],
      ["firing", 0.5, 0.25],
    ]);
    expect(bars(backtest, backtest.version, "Slow").map((bar) => [bar.kind, bar.left, bar.width])).toEqual([["pending", 0.75, 0.25]]);
    expect(place(backtest, time(10), time(20))).toEqual({ left: 0.25, width: 0.25 });
    expect(bars(backtest, backtest.version, "Lost")[0]!.title).toContain("job=feed");
  });

  test("alerts that were never pending have no row, the longest come first", () => {
    expect(rows(backtest.version)).toEqual(["Lost", "Slow"]);
  });

  test("another file is refused with a reason", () => {
    expect(() => readBacktest("x")).toThrow(/no JSON/);
    expect(() => readBacktest("{}")).toThrow(/not the output of tradewatch backtest/);
    expect(() => readBacktest("null")).toThrow(/not the output/);
  });
});
