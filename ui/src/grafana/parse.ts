// From the JSON of a file to the model, by the shape of what is there: the number in `schemaVersion` often lies.

import {
  asList,
  asNumber,
  asRecord,
  asText,
  get,
  type Dashboard,
  type FieldOptions,
  type GridPos,
  type Override,
  type Panel,
  type Target,
  type Transformation,
  type Variable,
} from "./model";
import { readLinks, readMappings, readThresholds } from "./read";

/** The file is JSON, but not a dashboard that can be shown; the message says what it is and what to do. */
export class DashboardError extends Error {}

export function parseDashboard(input: unknown): Dashboard {
  const root = unwrap(asRecord(input));
  const notes: string[] = [];
  const panels = readPanels(root, notes);
  return {
    uid: asText(root["uid"]),
    title: asText(root["title"], "Untitled dashboard"),
    description: asText(root["description"]),
    tags: asList(root["tags"]).map((tag) => asText(tag)),
    timezone: asText(root["timezone"], "browser"),
    refresh: asText(root["refresh"]),
    graphTooltip: asNumber(root["graphTooltip"]) ?? 0,
    time: { from: asText(get(root, "time", "from"), "now-1h"), to: asText(get(root, "time", "to"), "now") },
    variables: asList(get(root, "templating", "list")).map((one) => readVariable(asRecord(one))),
    annotations: asList(get(root, "annotations", "list")).map((one) => {
      const entry = asRecord(one);
      return {
        name: asText(entry["name"]),
        enable: entry["enable"] !== false,
        iconColor: asText(entry["iconColor"]) || undefined,
        expr: asText(entry["expr"]) || asText(get(entry, "target", "expr")) || undefined,
        builtIn: entry["builtIn"] === 1 || entry["builtIn"] === true,
      };
    }),
    links: asList(root["links"]).map((one) => {
      const link = asRecord(one);
      return { title: asText(link["title"]), url: asText(link["url"]), type: asText(link["type"]), tags: asList(link["tags"]).map((t) => asText(t)) };
    }),
    panels,
    notes,
  };
}

function unwrap(root: Record<string, unknown>): Record<string, unknown> {
  const version = asText(root["apiVersion"]);
  const spec = asRecord(root["spec"]);
  if (/\/v2/.test(version) || ("elements" in root && "layout" in root) || ("elements" in spec && "layout" in spec)) {
    throw new DashboardError(
      "This is a dashboard in Grafana's V2 schema (elements and layout). Only the classic model can be shown: in Grafana choose Export, then Classic.",
    );
  }
  if (root["kind"] === "Dashboard" && "spec" in root) {
    const name = asText(get(root, "metadata", "name"));
    return { ...spec, uid: asText(spec["uid"]) || name };
  }
  // The answer of Grafana's own HTTP API wraps the model once more.
  if ("dashboard" in root && !("panels" in root)) return asRecord(root["dashboard"]);
  if (!("panels" in root) && !("rows" in root) && !("templating" in root)) {
    throw new DashboardError("This JSON has no panels: it is not a Grafana dashboard.");
  }
  return root;
}

function readPanels(root: Record<string, unknown>, notes: string[]): Panel[] {
  // Before schema 16 panels lived in rows, each with a height and spans of twelve.
  if (!Array.isArray(root["panels"]) && Array.isArray(root["rows"])) return fromRows(asList(root["rows"]), notes);
  return asList(root["panels"]).map((one) => readPanel(asRecord(one), notes));
}

function fromRows(rows: unknown[], notes: string[]): Panel[] {
  const out: Panel[] = [];
  let y = 0;
  for (const one of rows) {
    const row = asRecord(one);
    const heightPx = asNumber(String(row["height"] ?? "250").replace("px", "")) ?? 250;
    const h = Math.max(3, Math.round(heightPx / 38));
    const panels: Panel[] = [];
    let x = 0;
    let top = y + (row["showTitle"] || row["collapse"] ? 1 : 0);
    for (const p of asList(row["panels"])) {
      const record = asRecord(p);
      const w = Math.min(24, Math.max(1, Math.round((asNumber(record["span"]) ?? 4) * 2)));
      if (x + w > 24) {
        x = 0;
        top += h;
      }
      panels.push(readPanel({ ...record, gridPos: { x, y: top, w, h } }, notes));
      x += w;
    }
    if (row["showTitle"] || row["collapse"]) {
      const header: Panel = { ...emptyPanel("row", asText(row["title"])), gridPos: { x: 0, y, w: 24, h: 1 }, collapsed: row["collapse"] === true };
      if (header.collapsed) header.panels = panels;
      out.push(header);
    }
    if (row["collapse"] !== true) out.push(...panels);
    y = top + h;
  }
  return out;
}

let nextId = 1_000_000;

function emptyPanel(type: string, title: string): Panel {
  return {
    id: nextId++,
    type,
    title,
    gridPos: { x: 0, y: 0, w: 12, h: 8 },
    targets: [],
    options: {},
    fieldConfig: { defaults: {}, overrides: [] },
    transformations: [],
  };
}

function readPanel(source: Record<string, unknown>, notes: string[]): Panel {
  const type = asText(source["type"], "unknown");
  const base = emptyPanel(type, asText(source["title"]));
  const panel: Panel = {
    ...base,
    id: asNumber(source["id"]) ?? base.id,
    description: asText(source["description"]) || undefined,
    gridPos: readGrid(source["gridPos"]),
    targets: asList(source["targets"]).map((one, i) => readTarget(asRecord(one), i)),
    options: asRecord(source["options"]),
    fieldConfig: {
      defaults: readDefaults(asRecord(get(source, "fieldConfig", "defaults"))),
      overrides: asList(get(source, "fieldConfig", "overrides")).map(readOverride),
    },
    transformations: asList(source["transformations"]).map((one): Transformation => {
      const t = asRecord(one);
      return { id: asText(t["id"]), options: asRecord(t["options"]), disabled: t["disabled"] === true };
    }),
    interval: asText(source["interval"]) || undefined,
    maxDataPoints: asNumber(source["maxDataPoints"]),
    timeFrom: asText(source["timeFrom"]) || undefined,
    timeShift: asText(source["timeShift"]) || undefined,
    transparent: source["transparent"] === true,
    repeat: asText(source["repeat"]) || undefined,
    repeatDirection: asText(source["repeatDirection"]) || undefined,
    maxPerRow: asNumber(source["maxPerRow"]),
    links: asList(source["links"]).map((one) => ({ title: asText(get(one, "title")), url: asText(get(one, "url")) })),
  };
  if (type === "row") {
    panel.collapsed = source["collapsed"] === true;
    panel.panels = asList(source["panels"]).map((one) => readPanel(asRecord(one), notes));
  }
  if (type === "graph") return fromGraph(panel, source);
  if (type === "singlestat") return fromSinglestat(panel, source);
  if (type === "table-old") panel.type = "table";
  if (type === "grafana-piechart-panel") panel.type = "piechart";
  if (source["libraryPanel"]) notes.push(`Panel "${panel.title}" is a library panel: its content is not in the file.`);
  return panel;
}

function readGrid(value: unknown): GridPos {
  const x = Math.min(23, Math.max(0, Math.trunc(asNumber(get(value, "x")) ?? 0)));
  return {
    x,
    y: Math.max(0, Math.trunc(asNumber(get(value, "y")) ?? 0)),
    w: Math.min(24 - x, Math.max(1, Math.trunc(asNumber(get(value, "w")) ?? 12))),
    h: Math.max(1, Math.trunc(asNumber(get(value, "h")) ?? 8)),
  };
}

function readTarget(source: Record<string, unknown>, index: number): Target {
  return {
    refId: asText(source["refId"]) || String.fromCharCode(65 + (index % 26)),
    expr: asText(source["expr"]),
    legendFormat: asText(source["legendFormat"]) || undefined,
    format: asText(source["format"]) || undefined,
    instant: source["instant"] === true,
    range: source["range"] === true,
    hide: source["hide"] === true,
    interval: asText(source["interval"]) || undefined,
    intervalFactor: asNumber(source["intervalFactor"]),
  };
}

function readDefaults(source: Record<string, unknown>): FieldOptions {
  const color = asRecord(source["color"]);
  return {
    unit: asText(source["unit"]) || undefined,
    decimals: asNumber(source["decimals"]) ?? null,
    min: asNumber(source["min"]) ?? null,
    max: asNumber(source["max"]) ?? null,
    displayName: asText(source["displayName"]) || undefined,
    noValue: asText(source["noValue"]) || undefined,
    color: Object.keys(color).length ? { mode: asText(color["mode"]), fixedColor: asText(color["fixedColor"]) || undefined } : undefined,
    thresholds: readThresholds(source["thresholds"]),
    mappings: readMappings(source["mappings"]),
    links: readLinks(source["links"]),
    custom: asRecord(source["custom"]),
  };
}

function readOverride(value: unknown): Override {
  return {
    matcher: { id: asText(get(value, "matcher", "id")), options: get(value, "matcher", "options") },
    properties: asList(get(value, "properties")).map((one) => ({ id: asText(get(one, "id")), value: get(one, "value") })),
  };
}

function readVariable(source: Record<string, unknown>): Variable {
  const query = source["query"];
  const current = get(source, "current", "value");
  const options = asList(source["options"])
    .map((one) => ({ text: asText(get(one, "text")), value: asText(get(one, "value")) }))
    .filter((one) => one.value !== "");
  return {
    name: asText(source["name"]),
    type: asText(source["type"], "query"),
    label: asText(source["label"]) || undefined,
    description: asText(source["description"]) || undefined,
    query: typeof query === "string" ? query : asText(get(query, "query")) || asText(source["definition"]),
    regex: asText(source["regex"]) || undefined,
    multi: source["multi"] === true,
    includeAll: source["includeAll"] === true,
    allValue: asText(source["allValue"]) || null,
    hide: asNumber(source["hide"]) ?? 0,
    sort: asNumber(source["sort"]) ?? 0,
    current: Array.isArray(current) ? current.map((one) => asText(one)) : asText(current) ? [asText(current)] : [],
    options,
  };
}

/** The graph panel of Grafana before 8, as a time series. */
function fromGraph(panel: Panel, source: Record<string, unknown>): Panel {
  const fill = asNumber(source["fill"]) ?? 1;
  const axis = asRecord(asList(source["yaxes"])[0]);
  const legend = asRecord(source["legend"]);
  const stacked = source["stack"] === true;
  const calcs: string[] = [];
  const names: Record<string, string> = { current: "lastNotNull", avg: "mean", min: "min", max: "max", total: "sum" };
  for (const [old, now] of Object.entries(names)) if (legend[old] === true) calcs.push(now);
  panel.type = "timeseries";
  panel.fieldConfig.defaults = {
    unit: asText(axis["format"]) || asText(asList(source["y_formats"])[0]) || undefined,
    decimals: asNumber(source["decimals"]) ?? null,
    min: asNumber(axis["min"]) ?? null,
    max: asNumber(axis["max"]) ?? null,
    mappings: [],
    custom: {
      drawStyle: source["bars"] === true ? "bars" : source["lines"] === false && source["points"] === true ? "points" : "line",
      fillOpacity: fill * 10,
      lineWidth: asNumber(source["linewidth"]) ?? 1,
      lineInterpolation: source["steppedLine"] === true ? "stepAfter" : "linear",
      showPoints: source["points"] === true ? "always" : "never",
      spanNulls: source["nullPointMode"] === "connected",
      stacking: { mode: stacked ? (source["percentage"] === true ? "percent" : "normal") : "none", group: "A" },
      scaleDistribution: (asNumber(axis["logBase"]) ?? 1) > 1 ? { type: "log", log: asNumber(axis["logBase"]) } : { type: "linear" },
    },
  };
  panel.fieldConfig.overrides = asList(source["seriesOverrides"]).map((one): Override => {
    const alias = asText(get(one, "alias"));
    const slashed = /^\/(.*)\/$/.exec(alias);
    const properties: { id: string; value?: unknown }[] = [];
    const setting = asRecord(one);
    if (setting["yaxis"] === 2) {
      properties.push({ id: "custom.axisPlacement", value: "right" });
      const right = asText(get(asList(source["yaxes"])[1], "format"));
      if (right) properties.push({ id: "unit", value: right });
    }
    if (setting["transform"] === "negative-Y") properties.push({ id: "custom.transform", value: "negative-Y" });
    if (asNumber(setting["fill"]) !== undefined) properties.push({ id: "custom.fillOpacity", value: asNumber(setting["fill"])! * 10 });
    if (asNumber(setting["linewidth"]) !== undefined) properties.push({ id: "custom.lineWidth", value: asNumber(setting["linewidth"]) });
    if (typeof setting["color"] === "string") properties.push({ id: "color", value: { mode: "fixed", fixedColor: setting["color"] } });
    if (setting["stack"] === false) properties.push({ id: "custom.stacking", value: { mode: "none" } });
    return { matcher: slashed ? { id: "byRegexp", options: slashed[1] } : { id: "byName", options: alias }, properties };
  });
  for (const [name, value] of Object.entries(asRecord(source["aliasColors"]))) {
    panel.fieldConfig.overrides.push({ matcher: { id: "byName", options: name }, properties: [{ id: "color", value: { mode: "fixed", fixedColor: value } }] });
  }
  panel.options = {
    legend: {
      showLegend: legend["show"] !== false,
      displayMode: legend["alignAsTable"] === true ? "table" : "list",
      placement: legend["rightSide"] === true ? "right" : "bottom",
      calcs: legend["values"] === true ? calcs : [],
    },
    tooltip: { mode: get(source, "tooltip", "shared") === false ? "single" : "multi", sort: "none" },
  };
  return panel;
}

function fromSinglestat(panel: Panel, source: Record<string, unknown>): Panel {
  const bounds = asText(source["thresholds"]).split(",").map((one) => asNumber(one)).filter((one) => one !== undefined);
  const colors = asList(source["colors"]).map((one) => asText(one));
  const how: Record<string, string> = { avg: "mean", current: "lastNotNull", total: "sum", min: "min", max: "max", first: "first", delta: "delta", diff: "diff", range: "range" };
  const gauge = get(source, "gauge", "show") === true;
  panel.type = gauge ? "gauge" : "stat";
  panel.fieldConfig.defaults = {
    unit: asText(source["format"]) || undefined,
    decimals: asNumber(source["decimals"]) ?? null,
    min: gauge ? (asNumber(get(source, "gauge", "minValue")) ?? null) : null,
    max: gauge ? (asNumber(get(source, "gauge", "maxValue")) ?? null) : null,
    mappings: readMappings(asList(source["valueMaps"]).map((one) => ({ type: 1, value: get(one, "value"), text: get(one, "text") }))),
    thresholds: colors.length
      ? { mode: "absolute", steps: colors.slice(0, bounds.length + 1).map((c, i) => ({ color: c, value: i === 0 ? null : bounds[i - 1]! })) }
      : undefined,
    color: { mode: "thresholds" },
    custom: {},
  };
  panel.options = {
    reduceOptions: { calcs: [how[asText(source["valueName"])] ?? "mean"] },
    colorMode: source["colorBackground"] === true ? "background" : source["colorValue"] === true ? "value" : "none",
    graphMode: get(source, "sparkline", "show") === true ? "area" : "none",
    textMode: "value",
  };
  return panel;
}
