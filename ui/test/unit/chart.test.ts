// @vitest-environment happy-dom
import { describe, expect, test } from "vitest";
import { align, broken, stack, withGaps } from "../../src/chart/align";
import { heatCells } from "../../src/chart/heatmap";
import { blocksOf } from "../../src/chart/timeline";
import { axisLabels } from "../../src/chart/timechart";
import { reduce } from "../../src/data/reduce";
import { closedSpans, shortSpans } from "../../src/pages/backdrop";
import { lead, monthOf } from "../../src/pages/calendarmonth";
import { factText } from "../../src/pages/calendarfacts";
import { marketText } from "../../src/pages/markettext";
import { joined, marketOf, nextChange } from "../../src/data/sessions";

const f = (...v: number[]) => Float64Array.from(v);

test("frames with the same times are not copied, others are joined", () => {
  const t = f(1, 2, 3);
  const a = f(1, 1, 1);
  expect(align([{ t, columns: [a] }, { t: f(1, 2, 3), columns: [f(2, 2, 2)] }]).columns[0]).toBe(a);
  const joinedUp = align([{ t: f(1, 3), columns: [f(10, 30)] }, { t: f(2, 3), columns: [f(20, 33)] }]);
  expect([...joinedUp.t]).toEqual([1, 2, 3]);
  expect([...joinedUp.columns[0]!]).toEqual([10, NaN, 30]);
  expect([...joinedUp.columns[1]!]).toEqual([NaN, 20, 33]);
  expect(align([{ t: f(), columns: [f()] }, { t, columns: [a] }]).columns[0]!.length).toBe(3);
});

test("stacks add up; what is absent adds nothing, and only where all are absent is a gap", () => {
  const [a, b, c] = stack([f(1, 2, NaN, 3), f(1, NaN, NaN, 1), f(1, 1, NaN, 1)], false);
  expect([...a!]).toEqual([1, 2, NaN, 3]);
  expect([...b!]).toEqual([2, 2, NaN, 4]);
  expect([...c!]).toEqual([3, 3, NaN, 5]);
  expect([...stack([f(1, 0), f(3, 0)], true)[1]!]).toEqual([1, 0]);
});

test("gaps are nulls, and so is what a logarithm does not have", () => {
  expect(withGaps(f(1, NaN, Infinity, -1), false)).toEqual([1, null, null, -1]);
  expect(withGaps(f(1, 0, -1), true)).toEqual([1, null, null]);
});

test("no line goes through a time of which nothing is known", () => {
  const { t, columns } = broken({ t: f(10, 20, 100, 110, 200), columns: [f(1, 2, 3, 4, 5)] }, 10);
  expect([...t]).toEqual([10, 20, 30, 100, 110, 120, 200]);
  expect([...columns[0]!]).toEqual([1, 2, NaN, 3, 4, NaN, 5]);
  const whole = { t: f(10, 20, 60), columns: [f(1, 2, 3)] };
  expect(broken(whole, 10)).toEqual(whole);
});

test("axis labels have the fewest decimals that are exact", () => {
  expect(axisLabels([0, 0.5, 1], { unit: "none" })).toEqual(["0.0", "0.5", "1.0"]);
  expect(axisLabels([0, 1, 2], { unit: "none" })).toEqual(["0", "1", "2"]);
  expect(axisLabels([0, 0.25, 0.5], { unit: "s" })).toEqual(["0 s", "250 ms", "500 ms"]);
  expect(axisLabels([0, 1500, 3000], { unit: "currencyUSD" })).toEqual(["$0", "$1.5K", "$3.0K"]);
  expect(axisLabels([0, 0.9, 1, 1.1], { unit: "s" })).toEqual(["0.0 s", "900 ms", "1.0 s", "1.1 s"]);
});

test("cumulative buckets become what lies in each", () => {
  const column = (le: string, ...v: number[]) => ({ key: le, labels: { le }, values: f(...v), sawNaN: false });
  const { bounds, cells, max } = heatCells(f(1, 2), [column("+Inf", 10, NaN), column("0.1", 4, 1), column("1", 9, 1)]);
  expect(bounds).toEqual([0.1, 1, Infinity]);
  expect(cells.map((row) => [...row])).toEqual([[4, 1], [5, 0], [1, NaN]]);
  expect(max).toBe(5);
});

describe("states over time", () => {
  const read = (v: number) => ({ text: String(v), tone: "good" as const });
  test("equal values are one block; a hole is shown as one", () => {
    const blocks = blocksOf(f(0, 1, 2, 3, 10, 11), f(1, 1, 0, 0, 0, 0), 1, 12, read);
    expect(blocks.map(({ from, to, text }) => [from, to, text])).toEqual([[0, 2, "1"], [2, 3, "0"], [3, 10, "no data"], [10, 12, "0"]]);
  });
  test("what has stopped does not go on looking fine", () => {
    const blocks = blocksOf(f(0, 1, 2), f(1, 1, 1), 1, 50, read);
    expect(blocks[blocks.length - 1]).toMatchObject({ from: 2, to: 50, tone: "none" });
  });
});

describe("reducers", () => {
  const v = [NaN, 3, 1, NaN, 2, NaN];
  test.each([["lastNotNull", 2], ["last", NaN], ["min", 1], ["max", 3], ["mean", 2], ["sum", 6], ["count", 3], ["range", 2], ["diff", -1], ["median", 2], ["firstNotNull", 3], ["p50", 2], ["changeCount", 2]])("%s", (how, expected) => expect(reduce(v, how)).toBe(expected));
  test("delta knows a reset", () => expect(reduce([1, 5, 2, 4], "delta")).toBe(8));
  test("nothing gives nothing", () => expect(reduce([NaN], "mean")).toBeNaN());
});

describe("sessions", () => {
  const s = (open_ms: number, close_ms: number) => ({ open_ms, close_ms });
  test("closed is what lies between", () => expect(closedSpans([s(10, 20), s(30, 40)], 0, 50)).toEqual([{ from: 0, to: 10 }, { from: 20, to: 30 }, { from: 40, to: 50 }]));
  test("open all the time shades nothing", () => expect(closedSpans([s(-5, 100)], 0, 50)).toEqual([]));
  test("a half day is marked, and does not melt into its neighbour", () => {
    const friday = Date.parse("2026-11-27T14:30:00Z");
    const half = { open_ms: friday, close_ms: friday + 12_600_000, special: true };
    expect(shortSpans([s(0, 10), half], 0, friday + 1)).toEqual([{ from: half.open_ms, to: half.close_ms, short: true, label: "half day" }]);
    const saturday = { ...half, open_ms: friday + 86_400_000, close_ms: friday + 90_000_000 };
    expect(shortSpans([saturday], 0, friday * 2)[0]!.label).toBe("special session");
    expect(shortSpans([half], 0, friday)).toEqual([]);
    expect(joined([s(0, 10), { open_ms: 10, close_ms: 20, special: true }])).toHaveLength(2);
  });
  test("the market of a page: chosen, variable, tag, platform", () => {
    expect(marketOf("XLON", "XTKS", ["market:XETR"], ["XNYS"])).toBe("XLON");
    expect(marketOf("", "XTKS", ["market:XETR"], ["XNYS"])).toBe("XTKS");
    expect(marketOf("", undefined, ["a", "market:XETR"], ["XNYS"])).toBe("XETR");
    expect(marketOf("", undefined, [], ["CRYPTO", "XLON"])).toBe("XLON");
    expect(marketOf("", undefined, [], ["CRYPTO"])).toBe("XNYS");
  });
  test("a month begins on its weekday and ends on its last day", () => {
    const now = Date.parse("2026-11-20T12:00:00Z");
    expect(monthOf(now, "America/New_York", 0)).toEqual({ title: "November 2026", from: "2026-11-01", to: "2026-11-30" });
    expect(monthOf(now, "UTC", 3)).toEqual({ title: "February 2027", from: "2027-02-01", to: "2027-02-28" });
    // It is still October in New York.
    expect(monthOf(Date.parse("2026-11-01T02:00:00Z"), "America/New_York", 0).from).toBe("2026-10-01");
    expect([lead("2026-11-01"), lead("2027-02-01")]).toEqual([6, 0]);
  });
  test("halts and closures in words", () => {
    const from = Date.parse("2026-11-20T15:31:00Z");
    const fact = { id: 1, source: "person" as const, mic: "XNYS", reason: "LULD pause" };
    expect(factText({ ...fact, kind: "halt", symbol: "AAPL", from, until: from + 300_000 }, "UTC")).toMatch(/^AAPL halted from 2026-11-20 15:31.* until 2026-11-20 15:36/);
    expect(factText({ ...fact, kind: "halt", symbol: null, from, until: null }, "UTC")).toMatch(/^the whole venue halted from .* until nobody knows when$/);
    expect(factText({ ...fact, kind: "hours", date: "2026-11-27", hours: "09:30-13:00" })).toBe("open 09:30-13:00 on 2026-11-27");
    const halted = { mic: "XNYS", state: "halted", symbol: "AAPL", since: from, until: null, reason: "LULD pause" };
    expect(marketText(halted, "pending", from + 60_000, "UTC")).toMatch(/^held back: AAPL halted on XNYS since 15:31.*, LULD pause$/);
    expect(marketText({ ...halted, symbol: null }, "firing", from, "UTC")).toMatch(/^XNYS halted since /);
    expect(marketText({ mic: "XNYS", state: "closed", until: from }, "pending", from, "UTC")).toMatch(/^held back: XNYS is closed, opens 2026-11-20 15:31/);
    expect(marketText({ mic: "XBOM", state: "unknown", until: null }, "firing", from)).toBe("nobody knows what XBOM does: all time counts");
  });
  test("midnight is no close", () => {
    expect(joined([s(10, 20), s(0, 10)])).toEqual([s(0, 20)]);
    expect(nextChange([s(0, 10), s(10, 20)], 5)).toEqual({ at: 20, what: "closes" });
    expect(nextChange([s(10, 20)], 5)).toEqual({ at: 10, what: "opens" });
    expect(nextChange([s(10, 20)], 25)).toBeNull();
  });
});
