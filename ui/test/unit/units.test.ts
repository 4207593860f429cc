import { describe, expect, test } from "vitest";
import { formatText, MINUS } from "../../src/format/units";

describe("units read as in Grafana", () => {
  test.each([
    ["none", 0, "0"],
    ["none", 12.3456, "12.3"],
    ["none", 0.0123456, "0.0123"],
    ["short", 999, "999"],
    ["short", 1234567, "1.23 Mil"],
    ["short", 1500, "1.50 K"],
    ["short", -1234567, `${MINUS}1.23 Mil`],
    ["percent", 45.678, "45.7%"],
    ["percentunit", 0.137, "13.7%"],
    ["percentunit", 1, "100%"],
    ["s", 93784, "1.09 days"],
    ["s", 0.0005, "500 µs"],
    ["s", 0.25, "250 ms"],
    ["s", 1.5, "1.50 s"],
    ["s", 120, "2 mins"],
    ["s", 60, "1 min"],
    ["s", 7200, "2 hours"],
    ["s", 0, "0 s"],
    ["ms", 1500, "1.50 s"],
    ["ns", 1500, "1.50 µs"],
    ["bytes", 1024, "1 KiB"],
    ["bytes", 1536, "1.50 KiB"],
    ["bytes", 5, "5 B"],
    ["decbytes", 1500, "1.50 kB"],
    ["bps", 2_500_000, "2.50 Mb/s"],
    ["reqps", 12.34, "12.3 req/s"],
    ["reqps", 12345, "12.3K req/s"],
    ["ops", 0, "0 ops/s"],
    ["currencyUSD", 1234567.891, "$1.23M"],
    ["currencyUSD", -1234567.891, `${MINUS}$1.23M`],
    ["currencyUSD", 0, "$0"],
    ["currencyEUR", 12.5, "€12.5"],
    ["currencySEK", 100, "100 kr"],
    ["bool_on_off", 1, "On"],
    ["bool_on_off", 0, "Off"],
    ["bool_yes_no", 0, "No"],
    ["hertz", 2_400_000_000, "2.40 GHz"],
    ["hex0x", 255, "0xFF"],
    ["dtdurations", 3725, "1 hour, 2 minutes"],
    ["clocks", 3725, "01:02:05"],
    ["suffix: lots", 3, "3 lots"],
    ["prefix:#", 3, "#3"],
    ["sol", 3, "3 sol"],
  ])("%s of %d is %s", (unit, value, text) => expect(formatText(unit, value)).toBe(text));

  test("a fixed number of decimals is kept", () => {
    expect(formatText("currencyUSD", 1234.5, 2)).toBe("$1.23K");
    expect(formatText("percentunit", 0.5, 2)).toBe("50.00%");
    expect(formatText("none", 2, 3)).toBe("2.000");
  });

  test("what rounds to nothing has no sign", () => {
    expect(formatText("none", -0.001, 1)).toBe("0.0");
    expect(formatText("currencyUSD", -0.001, 2)).toBe("$0.00");
  });

  test("what is no number is named", () => {
    expect(formatText("s", NaN)).toBe("NaN");
    expect(formatText("short", Infinity)).toBe("+Inf");
    expect(formatText("percent", -Infinity)).toBe(`${MINUS}Inf%`);
  });

  test("dates follow the zone", () => {
    const at = Date.UTC(2026, 10, 20, 14, 30, 5);
    expect(formatText("dateTimeAsIso", at, null, "UTC")).toBe("2026-11-20 14:30:05");
    expect(formatText("dateTimeAsIso", at, null, "America/New_York")).toBe("2026-11-20 09:30:05");
    expect(formatText("time:YYYY/MM/DD HH:mm", at, null, "UTC")).toBe("2026/11/20 14:30");
  });
});
