import { describe, expect, test } from "vitest";
import { age, countdown, describeRange, parseDuration, parseInstant, promDuration, rateInterval, resolve, stepFor } from "../../src/format/time";

const NOW = Date.UTC(2026, 10, 20, 14, 30, 0);

describe("time ranges", () => {
  test.each([
    ["now", NOW],
    ["now-1h", NOW - 3_600_000],
    ["now-90s", NOW - 90_000],
    ["now+5m", NOW + 300_000],
    [String(NOW), NOW],
    ["2026-11-20T14:30:00Z", NOW],
  ])("%s", (text, at) => expect(parseInstant(text, NOW)).toBe(at));

  test.each(["soon", "now-", "now-1x", "", "now/q"])("%s is none", (text) => expect(parseInstant(text, NOW)).toBeNull());

  test("only a range that ends now is pushed", () => {
    expect(resolve({ from: "now-1h", to: "now" }, NOW)).toEqual({ from: NOW - 3_600_000, to: NOW, live: true });
    expect(resolve({ from: "now-2h", to: "now-1h" }, NOW).live).toBe(false);
    expect(resolve({ from: "now/d", to: "now" }, NOW).live).toBe(false);
  });

  test("an empty or reversed range is still a range", () => {
    const { from, to } = resolve({ from: "now", to: "now-1h" }, NOW);
    expect(from).toBeLessThan(to);
  });

  test("names", () => {
    expect(describeRange({ from: "now-15m", to: "now" })).toBe("Last 15 minutes");
    expect(describeRange({ from: "now-1h", to: "now" })).toBe("Last hour");
    expect(describeRange({ from: "now-2h", to: "now-1h" })).toBe("now-2h to now-1h");
  });
});

describe("durations", () => {
  test("read", () => {
    expect(parseDuration("1h30m")).toBe(5_400_000);
    expect(parseDuration("15s")).toBe(15_000);
    expect(parseDuration("250ms")).toBe(250);
    expect(parseDuration("abc")).toBeNull();
  });
  test("written for PromQL without a loss", () => {
    for (const ms of [1, 250, 1000, 15_000, 90_000, 3_600_000, 5_400_000, 86_400_000]) expect(parseDuration(promDuration(ms))).toBe(ms);
  });
  test("ages", () => {
    expect(age(400)).toBe("0.4 s");
    expect(age(12_900)).toBe("12 s");
    expect(age(200_000)).toBe("3 min 20 s");
    expect(age(7_500_000)).toBe("2 h 5 min");
    expect(age(-1272)).toBe("\u22121.3 s");
  });
  test("countdowns", () => {
    expect(countdown(23_398_000)).toBe("6:29:58");
    expect(countdown(299_900)).toBe("04:59");
    expect(countdown(-5)).toBe("00:00");
  });
});

describe("steps", () => {
  test("never finer than asked, never more points than about fit", () => {
    expect(stepFor(3_600_000, 1000, 1000)).toBe(5000);
    expect(stepFor(900_000, 1000, 1000)).toBe(1000);
    expect(stepFor(900_000, 1000, 15_000)).toBe(15_000);
    for (const hours of [1, 3, 6, 24, 168, 720]) {
      const step = stepFor(hours * 3_600_000, 800, 1000);
      expect((hours * 3_600_000) / step).toBeLessThan(1200);
    }
  });
  test("$__rate_interval always holds four scrapes", () => {
    expect(rateInterval(15_000, 15_000)).toBe(60_000);
    expect(rateInterval(120_000, 15_000)).toBe(135_000);
    expect(rateInterval(1000, 1000)).toBe(4000);
  });
});
