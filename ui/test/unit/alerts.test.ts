// Folding and counting: what stands on the alerts page in a storm.

import { describe, expect, test } from "vitest";
import { countAlerts, FOLD_FROM, foldAlerts, sortAlerts, worstCase } from "../../src/data/alerts";
import type { Alert, AlertName } from "../../src/data/api";

function alert(name: string, at: number, more: Partial<Alert> = {}): Alert {
  return { fingerprint: `${name}${at}`, name, state: "firing", severity: "warning", labels: {}, annotations: {}, since: at, active_at: at, value: 1, acknowledged: null, silenced_by: [], inhibited_by: [], runbook: null, last_notified: null, ...more };
}

const many = (name: string, count: number, more: Partial<Alert> = {}) => Array.from({ length: count }, (_, i) => alert(name, 1000 + i, more));

describe("folding", () => {
  test("few alerts stand alone, many of one name and state share a line", () => {
    const alerts = sortAlerts([...many("Few", FOLD_FROM - 1), ...many("Many", FOLD_FROM), ...many("Many", 2, { state: "resolved" }), alert("Grave", 1, { severity: "critical" })]);
    const lines = foldAlerts(alerts, null);
    expect(lines[0]!.name).toBe("Grave");
    expect(lines.filter((line) => line.name === "Few")).toHaveLength(FOLD_FROM - 1);
    expect(lines.filter((line) => line.name === "Many").map((line) => [line.alerts[0]!.state, line.alerts.length])).toEqual([["firing", FOLD_FROM], ["resolved", 1], ["resolved", 1]]);
    expect(new Set(lines.map((line) => line.key)).size).toBe(lines.length);
  });

  test("a line says how many there are beyond those that are known", () => {
    const named: AlertName = { name: "Many", severity: "warning", firing: 9_000, open: 8_000, open_critical: 0, held_back: 1_000, pending: 0, resolved: 0, oldest: 5, newest: 9_999 };
    const [line] = foldAlerts(sortAlerts(many("Many", 3)), [named]);
    expect([line!.named.firing, line!.named.oldest, line!.alerts.length]).toEqual([9_000, 5, 3]);
  });
});

test("what is held back or acknowledged is not to be taken", () => {
  const counts = countAlerts([
    alert("A", 1, { severity: "critical" }),
    alert("B", 1, { severity: "critical", acknowledged: { by: "ada", at: 2 } }),
    alert("C", 1, { silenced_by: ["s"] }),
    alert("D", 1, { state: "pending" }),
    alert("E", 1, { state: "resolved" }),
  ]);
  expect(counts).toEqual({ firing: 3, open: 1, open_critical: 1, held_back: 1, pending: 1, resolved: 1 });
});

test("the worst case names its parts and the limit", () => {
  const budget = { scrape: 1, evaluation: 0, hold: 60, grouping: 0.5, total: 61.5, rts6: true, withinLimit: false };
  expect(worstCase(budget)).toBe("62 s at worst from fault to notification: scrape 1 s + for 60 s + grouping 0.5 s; beyond the 5 s of RTS 6");
  expect(worstCase({ ...budget, records: 15, joining: 5, worst: 81 })).toContain("81 s at worst from fault to notification: scrape 1 s + records 15 s + for 60 s + grouping 5 s");
  expect(worstCase({ ...budget, hold: 0, grouping: 0, total: 1, rts6: false, withinLimit: true })).toBe("1 s at worst from fault to notification: scrape 1 s");
});
