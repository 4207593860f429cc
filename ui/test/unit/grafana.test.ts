// @vitest-environment happy-dom
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { DashboardError, parseDashboard } from "../../src/grafana/parse";
import { absoluteSteps, legendName, mapValue, promName, resolveField, show, stepOf } from "../../src/grafana/field";
import { filtered, interpolate, references, sorted, type Values } from "../../src/grafana/variables";
import { transform, type Table } from "../../src/grafana/transform";
import { expand, sectionsOf } from "../../src/pages/dashboard";
import { safeLink } from "../../src/panels/table";
import type { Panel, Variable } from "../../src/grafana/model";

const FOLDER = `${import.meta.dirname}/../data/`;
const load = (file: string) => JSON.parse(readFileSync(FOLDER + file, "utf8")) as unknown;
const all = (panels: readonly Panel[]): Panel[] => panels.flatMap((panel) => [panel, ...all(panel.panels ?? [])]);

describe("dashboards as people use them", () => {
  for (const file of readdirSync(FOLDER).filter((name) => name.endsWith(".json"))) {
    test(file, () => {
      const dashboard = parseDashboard(load(file));
      const panels = all(dashboard.panels);
      expect(dashboard.title).not.toBe("");
      expect(panels.length).toBeGreaterThan(3);
      const known = ["timeseries", "stat", "gauge", "bargauge", "table", "row", "text", "heatmap", "state-timeline"];
      const unknown = panels.map((panel) => panel.type).filter((type) => !known.includes(type));
      expect(unknown).toEqual(file === "every-panel.json" ? ["nodeGraph"] : []);
      for (const panel of panels) {
        expect(panel.gridPos.x + panel.gridPos.w).toBeLessThanOrEqual(24);
        if (["timeseries", "stat", "table"].includes(panel.type)) expect(panel.targets.some((target) => target.expr)).toBe(true);
      }
    });
  }

  test("the panels of the old graph type keep axis, stack and aliases", () => {
    const panels = all(parseDashboard(load("redis-overview-legacy-graph.json")).panels).filter((panel) => panel.type === "timeseries");
    expect(panels).toHaveLength(11);
    expect(panels.some((panel) => panel.fieldConfig.defaults.unit)).toBe(true);
  });

  test("transformations of a table are all known", () => {
    const tables = all(parseDashboard(load("k8s-resources-cluster.json")).panels).filter((panel) => panel.type === "table");
    expect(tables).toHaveLength(4);
    for (const table of tables) expect(transform([], table.transformations).unknown).toEqual([]);
  });

  test("a V1 resource is unwrapped", () => {
    const inner = load("every-panel.json") as object;
    const wrapped = { apiVersion: "dashboard.grafana.app/v1beta1", kind: "Dashboard", metadata: { name: "from-name" }, spec: { ...inner, uid: undefined } };
    expect(parseDashboard(wrapped)).toMatchObject({ uid: "from-name", title: "Every panel" });
  });

  test("what cannot be shown says what it is", () => {
    expect(() => parseDashboard({ apiVersion: "dashboard.grafana.app/v2beta1", kind: "Dashboard", spec: { elements: {}, layout: {} } })).toThrow(/V2 schema/);
    expect(() => parseDashboard({ elements: {}, layout: {} })).toThrow(DashboardError);
    expect(() => parseDashboard({ hello: 1 })).toThrow(/no panels/);
    expect(() => parseDashboard(null)).toThrow(DashboardError);
  });

  test("rows of dashboards before schema 16", () => {
    const { panels } = parseDashboard({
      rows: [
        { title: "A", showTitle: true, height: "200px", panels: [{ type: "singlestat", title: "x", span: 6, thresholds: "1,2", colors: ["a", "b", "c"], targets: [{ expr: "up" }] }, { type: "graph", title: "y", span: 6, targets: [{ expr: "up" }] }] },
        { title: "B", collapse: true, panels: [{ type: "graph", title: "z", span: 12, targets: [{ expr: "up" }] }] },
      ],
    });
    expect(panels.map((panel) => [panel.type, panel.title])).toEqual([["row", "A"], ["stat", "x"], ["timeseries", "y"], ["row", "B"]]);
    expect(panels[1]!.fieldConfig.defaults.thresholds?.steps).toEqual([{ color: "a", value: null }, { color: "b", value: 1 }, { color: "c", value: 2 }]);
    expect(panels[3]!.panels).toHaveLength(1);
  });

  test("sections: rows divide, folded rows hold their panels, repeats become copies", () => {
    const { panels } = parseDashboard(load("every-panel.json"));
    const values: Values = { symbol: { values: ["A", "B", "C"], all: false } };
    const sections = sectionsOf(expand(panels, values, null));
    expect(sections.map((section) => section.row?.title)).toEqual(["Numbers", "Over time", "Lists", "Symbol $symbol", "Symbol $symbol", "Symbol $symbol"]);
    expect(sections.slice(3).map((section) => section.row?.scoped)).toEqual([{ symbol: "A" }, { symbol: "B" }, { symbol: "C" }]);
    expect(sections[5]!.panels[0]!.scoped).toEqual({ symbol: "C" });
  });
});

describe("fields", () => {
  const identity = { name: "orders failed", labels: { status: "failed" }, refId: "B", index: 2 };
  const override = (id: string, options: unknown, ...properties: [string, unknown][]) => ({ matcher: { id, options }, properties: properties.map(([p, value]) => ({ id: p, value })) });

  test("overrides apply in order, by name, pattern and query", () => {
    const field = resolveField(identity, { unit: "short", custom: { lineWidth: 1 } }, [
      override("byName", "orders failed", ["unit", "reqps"], ["custom.lineWidth", 3]),
      override("byRegexp", "/fail.*/", ["color", { mode: "fixed", fixedColor: "red" }], ["displayName", "failed: ${__field.labels.status}"]),
      override("byFrameRefID", "A", ["unit", "never"]),
      override("byFrameRefID", "B", ["decimals", 1]),
      override("byName", "someone else", ["unit", "never"]),
    ]);
    expect(field.config).toMatchObject({ unit: "reqps", decimals: 1, color: { mode: "fixed", fixedColor: "red" } });
    expect(field.custom).toEqual({ lineWidth: 3 });
    expect(field.title).toBe("failed: failed");
  });

  test("a pattern that does not compile matches nothing", () => {
    expect(resolveField(identity, {}, [override("byRegexp", "/(/", ["unit", "never"])]).config.unit).toBeUndefined();
  });

  test("thresholds", () => {
    const steps = [{ color: "green", value: null }, { color: "orange", value: 50 }, { color: "red", value: 80 }];
    expect([-10, 49.9, 50, 79, 80, 1e9].map((v) => stepOf(v, steps))).toEqual([0, 0, 1, 1, 2, 2]);
    expect(absoluteSteps({ min: 0, max: 200, thresholds: { mode: "percentage", steps } }).map((step) => step.value)).toEqual([null, 100, 160]);
  });

  test("value mappings", () => {
    const mappings = [
      { type: "value" as const, options: { "0": { text: "DOWN", color: "red" }, "1": { text: "UP" } } },
      { type: "range" as const, options: { from: 10, to: 20, result: { text: "teens" } } },
      { type: "special" as const, options: { match: "null+nan", result: { text: "gone" } } },
      { type: "regex" as const, options: { pattern: "/^srv-(.*)$/", result: { text: "$1" } } },
    ];
    expect([0, 1, 15, 20, 21, null, NaN, "srv-a"].map((v) => mapValue(v, mappings)?.text)).toEqual(["DOWN", "UP", "teens", "teens", undefined, "gone", "gone", "a"]);
  });

  test("a value in its colour and words", () => {
    const field = resolveField(identity, { unit: "s", color: { mode: "thresholds" }, thresholds: { steps: [{ color: "green", value: null }, { color: "#ff0000", value: 2 }] } }, []);
    expect(show(field, 2.41)).toMatchObject({ full: "2.41 s", color: "#ff0000", level: 1, mapped: false });
    expect(show(field, null)).toMatchObject({ full: "no data", mapped: true });
  });

  test("names of series", () => {
    expect(legendName("{{status}} of {{ job }}", { status: "ok", job: "x" }, "up")).toBe("ok of x");
    expect(legendName("{{missing}}", {}, "up")).toBe("");
    expect(promName({ __name__: "up", job: "x", a: "b" })).toBe('up{a="b", job="x"}');
    expect(legendName(undefined, {}, "1 + 1")).toBe("1 + 1");
  });
});

describe("variables", () => {
  const definition = (more: Partial<Variable> = {}): Variable => ({ name: "x", type: "query", query: "", multi: false, includeAll: false, hide: 0, sort: 0, current: [], options: [], ...more });
  const values: Values = {
    one: { values: ["BTC/USD"], all: false, definition: definition() },
    many: { values: ["a.b", "c"], all: false, definition: definition({ multi: true }) },
    all: { values: ["a", "b"], all: true, definition: definition({ multi: true, includeAll: true, allValue: ".+" }) },
    quoted: { values: ['say "hi"'], all: false, definition: definition() },
  };
  const builtIns = { intervalMs: 15_000, rateIntervalMs: 60_000, rangeMs: 3_600_000, from: 1, to: 2, dashboard: "D" };

  test.each([
    ['up{s="$one"}', 'up{s="BTC/USD"}'],
    ['up{s=~"$many"}', 'up{s=~"(a\\\\.b|c)"}'],
    ['up{s=~"${many:pipe}"}', 'up{s=~"a.b|c"}'],
    ['up{s=~"${many:regex}"}', 'up{s=~"(a\\.b|c)"}'],
    ['up{s=~"$all"}', 'up{s=~".+"}'],
    ['up{s="[[one]]"}', 'up{s="BTC/USD"}'],
    ['up{s="$quoted"}', 'up{s="say \\"hi\\""}'],
    ["rate(x[$__rate_interval])", "rate(x[1m])"],
    ["rate(x[${__interval}]) / $__range_s", "rate(x[15s]) / 3600"],
    ["increase(x[$__range])", "increase(x[3600s])"],
    ["$unknown stays", "$unknown stays"],
  ])("%s", (text, expected) => expect(interpolate(text, values, builtIns, "promql")).toBe(expected));

  test("in titles several values are listed", () => {
    expect(interpolate("Prices of $many, $all", values, null, "text")).toBe("Prices of a.b + c, All");
  });

  test("references, patterns, order", () => {
    expect(references("label_values(up{job=~\"$job\", a=\"${b:pipe}\"}[$__range], [[c]])")).toEqual(["job", "b", "c"]);
    expect(filtered(["srv-1", "srv-2", "other"], "/srv-(.*)/").map((c) => c.value)).toEqual(["1", "2"]);
    expect(filtered(["a=1"], "/(?<text>\\w)=(?<value>\\d)/")).toEqual([{ text: "a", value: "1" }]);
    const named = (list: string[]) => list.map((text) => ({ text, value: text }));
    expect(sorted(named(["b10", "b9", "b1"]), 3).map((c) => c.text)).toEqual(["b1", "b9", "b10"]);
    expect(sorted(named(["a", "c", "b"]), 2).map((c) => c.text)).toEqual(["c", "b", "a"]);
  });
});

describe("transformations", () => {
  const table = (refId: string, rows: Record<string, (string | number | null)[]>): Table => ({
    refId,
    fields: Object.entries(rows).map(([name, values]) => ({ name, values, refId, labels: {}, kind: name === "Time" ? "time" : typeof values[0] === "number" ? "number" : "string" })),
  });
  const plain = (t: Table) => Object.fromEntries(t.fields.map((f) => [f.name, f.values]));

  test("merge joins the rows with the same labels", () => {
    const { tables } = transform([table("A", { symbol: ["x", "y"], "Value #A": [1, 2] }), table("B", { symbol: ["y", "z"], "Value #B": [20, 30] })], [{ id: "merge", options: {} }]);
    expect(plain(tables[0]!)).toEqual({ symbol: ["x", "y", "z"], "Value #A": [1, 2, null], "Value #B": [null, 20, 30] });
  });

  test("joinByField and organize, as the cluster dashboard has them", () => {
    const { tables } = transform(
      [table("A", { Time: [1], ns: ["a"], Value: [1] }), table("B", { Time: [2], ns: ["a"], Value: [5] })],
      [
        { id: "joinByField", options: { byField: "ns", mode: "outer" } },
        { id: "organize", options: { excludeByName: { "Time 1": true, "Time 2": true }, renameByName: { "Value 1": "Pods", "Value 2": "CPU" }, indexByName: { "Value 2": 0, ns: 1, "Value 1": 2 } } },
      ],
    );
    expect(tables[0]!.fields.map((f) => f.name)).toEqual(["CPU", "ns", "Pods"]);
  });

  test("an unknown one is named", () => expect(transform([], [{ id: "rowsToFields", options: {} }]).unknown).toEqual(["rowsToFields"]));
});

test("links run nothing", () => {
  expect(safeLink("javascript:alert(1)")).toBeUndefined();
  expect(safeLink("data:text/html,x")).toBeUndefined();
  expect(safeLink("https://example.org/a")).toBe("https://example.org/a");
  expect(safeLink("/d/service-health/slug?var-x=1")).toBe("/dashboards/service-health?var-x=1");
});
