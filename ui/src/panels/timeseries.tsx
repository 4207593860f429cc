// Time series: fields to lines, and the legend below or beside them.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { align, broken } from "../chart/align";
import { color } from "../chart/palette";
import { TimeChart, type AxisSpec, type ChartData, type ChartSeries, type ThresholdLine } from "../chart/timechart";
import { serverNow } from "../data/live";
import { reduce, reducerName } from "../data/reduce";
import type { Source } from "../data/source";
import { formatText } from "../format/units";
import { dateTime } from "../format/time";
import { absoluteSteps, mapValue, seriesColor, type Field } from "../grafana/field";
import { asList, asNumber, asText, get, type Panel } from "../grafana/model";
import { theme, zone } from "../shell/settings";
import { fieldsOf, titleOf, type FieldData, type PageContext } from "./context";
import { DataTable, type TableData } from "./datatable";

const SERIES_MAX = 200;

export function TimeseriesPanel({ panel, source, page }: { panel: Panel; source: Source; page: PageContext }) {
  const host = useRef<HTMLDivElement>(null);
  const chart = useRef<TimeChart | null>(null);
  const [toggled, setToggled] = useState<ReadonlySet<string>>(new Set());
  const [isolated, setIsolated] = useState<string | null>(null);
  const onZoom = useRef(page.onZoom);
  onZoom.current = page.onZoom;
  const latestPanel = useRef({ panel, page, toggled, isolated });
  latestPanel.current = { panel, page, toggled, isolated };

  const tooltip = asText(get(panel.options, "tooltip", "mode"), "multi");
  const title = titleOf(panel, page);

  const push = useMemo(
    () => () => {
      chart.current?.setData(() => {
        const now = latestPanel.current;
        return chartData(now.panel, source, now.page, now.toggled, now.isolated);
      });
    },
    [source],
  );

  useEffect(() => {
    if (!host.current) return;
    const made = new TimeChart(host.current, {
      syncKey: page.syncKey,
      tooltip: tooltip === "single" || tooltip === "none" ? tooltip : "multi",
      tooltipSort: asText(get(panel.options, "tooltip", "sort"), "none") as "asc" | "desc" | "none",
      onZoom: (from, to) => onZoom.current(from, to),
      describe: () => title,
    });
    chart.current = made;
    push();
    const stop = source.onChange(push);
    const stopClock = serverNow.subscribe((now) => {
      // Only a chart whose data have stopped needs the clock: its gap at the right grows.
      if (source.staleSince(now) !== null) push();
    });
    return () => {
      stop();
      stopClock();
      made.destroy();
      chart.current = null;
    };
  }, [source, page.syncKey, tooltip]);

  useEffect(push, [panel, page.closed, page.notes, page.values, toggled, isolated, theme.value, zone.value]);

  source.version.value;
  theme.value;
  const fields = fieldsOf(panel, source, page).slice(0, SERIES_MAX);
  const newest = source.newest;
  const legend = legendOptions(panel);
  const empty = source.ready && fields.length === 0;
  return (
    <div class={`chart legend-${legend.show ? legend.placement : "none"}`}>
      <div class="plot" ref={host} tabIndex={0} role="figure" aria-label={figureLabel(title, fields, newest)} />
      {empty && <NoData text={panel.fieldConfig.defaults.noValue} />}
      {!source.ready && <Loading />}
      {legend.show && fields.length > 0 && (
        <Legend
          fields={fields}
          calcs={legend.calcs}
          table={legend.table}
          sortBy={legend.sortBy}
          sortDesc={legend.sortDesc}
          title={title}
          isHidden={(field) => hiddenKey(field, toggled, isolated)}
          onHover={(key) => chart.current?.highlight(key)}
          onToggle={(key, only) => {
            if (only) setIsolated(isolated === key ? null : key);
            else {
              const next = new Set(toggled);
              if (!next.delete(key)) next.add(key);
              setToggled(next);
            }
          }}
        />
      )}
    </div>
  );
}

export function NoData({ text }: { text?: string }) {
  return <div class="no-data">{text ?? "No data: nothing matches this query in this range"}</div>;
}

export function Loading() {
  return <div class="no-data is-loading">waiting for data</div>;
}

function hiddenKey(field: FieldData, toggled: ReadonlySet<string>, isolated: string | null): boolean {
  if (isolated !== null) return field.key !== isolated;
  const byFile = get(field.field.custom, "hideFrom", "viz") === true;
  return byFile !== toggled.has(field.key);
}

function figureLabel(title: string, fields: readonly FieldData[], newest: number | null): string {
  const names = fields.slice(0, 3).map((one) => one.field.title);
  const more = fields.length > 3 ? ` and ${fields.length - 3} more` : "";
  const series = fields.length ? `${fields.length} series: ${names.join(", ")}${more}` : "no data";
  return `Chart ${title}: ${series}.${newest ? ` Newest ${dateTime(newest, zone.peek() || undefined)}.` : ""} Arrow keys move the cursor.`;
}

export function chartData(panel: Panel, source: Source, page: PageContext, toggled: ReadonlySet<string>, isolated: string | null): ChartData {
  const fields = fieldsOf(panel, source, page).slice(0, SERIES_MAX);
  const frames = new Map<Float64Array, Float64Array[]>();
  const order: FieldData[] = [];
  // Fields of one query share a time column: keep them together so that it is compared once.
  for (const one of fields) {
    const same = [...frames.keys()].find((t) => t.buffer === one.t.buffer && t.byteOffset === one.t.byteOffset && t.length === one.t.length);
    const key = same ?? one.t;
    frames.set(key, [...(frames.get(key) ?? []), one.values]);
  }
  for (const t of frames.keys()) {
    order.push(...fields.filter((one) => one.t.buffer === t.buffer && one.t.byteOffset === t.byteOffset && one.t.length === t.length));
  }
  const stepMs = Math.max(...source.states.map((state) => state.buffer.stepMs));
  const aligned = broken(align([...frames].map(([t, columns]) => ({ t, columns }))), stepMs);
  const axes: Record<string, AxisSpec> = {};
  const series = order.map((one, i) => seriesOf(one, aligned.columns[i]!, axes, hiddenKey(one, toggled, isolated)));
  // The drawing order is the file's: the map above may have regrouped.
  series.sort((a, b) => fields.findIndex((f) => f.key === a.key) - fields.findIndex((f) => f.key === b.key));
  if (Object.keys(axes).length === 0) axes["y"] = { side: "left", ...axisRange(panel.fieldConfig.defaults) };
  const now = serverNow.peek();
  const extent = source.extent(now);
  const stale = source.staleSince(now);
  return {
    t: aligned.t,
    series,
    axes,
    from: extent.from,
    to: extent.to,
    closed: page.closed,
    notes: page.notes,
    thresholds: thresholdLines(panel, Object.keys(axes)[0]!),
    staleFrom: stale,
  };
}

function axisRange(config: { unit?: string; decimals?: number | null; min?: number | null; max?: number | null }) {
  return { unit: config.unit, decimals: config.decimals, min: config.min, max: config.max };
}

function seriesOf(data: FieldData, aligned: Float64Array, axes: Record<string, AxisSpec>, hidden: boolean): ChartSeries {
  const { field } = data;
  const { custom, config } = field;
  const drawStyle = asText(custom["drawStyle"], "line");
  const stacking = asText(get(custom, "stacking", "mode"), "none");
  const negate = custom["transform"] === "negative-Y";
  const fill = (asNumber(custom["fillOpacity"]) ?? 0) / 100;
  const placement = asText(custom["axisPlacement"], "auto");
  const scale = get(custom, "scaleDistribution", "type");
  const percent = stacking === "percent";
  const unit = percent ? "percentunit" : (config.unit ?? "");
  const side = placement === "right" ? "right" : placement === "hidden" ? "hidden" : "left";
  const key = `${side === "right" ? "r" : "y"}:${unit}`;
  const known = axes[key];
  const zeroBased = stacking !== "none" || drawStyle === "bars" || fill >= 0.3;
  if (!known) {
    const lefts = Object.values(axes).some((axis) => axis.side === "left");
    axes[key] = {
      // A second unit goes to the right by itself.
      side: side === "left" && lefts && placement === "auto" ? "right" : side,
      unit,
      decimals: config.decimals,
      min: config.min,
      max: config.max,
      softMin: asNumber(custom["axisSoftMin"]),
      softMax: asNumber(custom["axisSoftMax"]),
      log: scale === "log" ? (asNumber(get(custom, "scaleDistribution", "log")) ?? 10) : undefined,
      label: asText(custom["axisLabel"]) || undefined,
      zeroBased,
    };
  } else if (zeroBased) known.zeroBased = true;
  const last = reduce(data.values, "lastNotNull");
  const dash = custom["lineStyle"] && get(custom, "lineStyle", "fill") !== "solid" ? asList(get(custom, "lineStyle", "dash")).map((n) => asNumber(n) ?? 4) : undefined;
  const points = asText(custom["showPoints"], "auto");
  return {
    key: data.key,
    title: field.title,
    color: seriesColor(field, last),
    values: negate ? aligned.map((v) => -v) : aligned,
    axis: key,
    width: asNumber(custom["lineWidth"]) ?? 1.25,
    fill,
    gradient: asText(custom["gradientMode"], "none") !== "none",
    style: drawStyle === "bars" ? "bars" : drawStyle === "points" ? "points" : "line",
    interpolation: asText(custom["lineInterpolation"], "linear") as ChartSeries["interpolation"],
    points: points === "always" || points === "never" ? points : "auto",
    pointSize: asNumber(custom["pointSize"]) ?? 4,
    dash: dash && dash.length ? dash : undefined,
    spanNulls: custom["spanNulls"] === true || (typeof custom["spanNulls"] === "number" && custom["spanNulls"] > 0),
    stack: stacking === "none" ? undefined : { group: `${asText(get(custom, "stacking", "group"), "A")}${negate ? "-" : ""}:${key}`, percent },
    hidden,
    text: (value) => valueText(field, negate ? -value : value),
  };
}

export function valueText(field: Field, value: number): string {
  const mapped = mapValue(value, field.config.mappings ?? []);
  return mapped?.text ?? formatText(field.config.unit, value, field.config.decimals, zone.peek() || undefined);
}

function thresholdLines(panel: Panel, axis: string): ThresholdLine[] {
  const { defaults } = panel.fieldConfig;
  const mode = asText(get(defaults.custom, "thresholdsStyle", "mode"), "off");
  if (mode === "off") return [];
  const steps = absoluteSteps(defaults);
  const lines: ThresholdLine[] = [];
  steps.forEach((step, i) => {
    const tint = color(step.color);
    if (mode.includes("area")) {
      lines.push({ axis, value: step.value ?? -Infinity, until: steps[i + 1]?.value ?? Infinity, color: tint, line: false, dashed: false });
    }
    if (step.value !== null && (mode.includes("line") || mode.includes("dashed"))) {
      lines.push({ axis, value: step.value, color: tint, line: true, dashed: mode.includes("dashed") });
    }
  });
  return lines;
}

function legendOptions(panel: Panel) {
  const legend = get(panel.options, "legend");
  const mode = asText(get(legend, "displayMode"), "list");
  return {
    show: get(legend, "showLegend") !== false && mode !== "hidden",
    table: mode === "table",
    placement: asText(get(legend, "placement"), "bottom") === "right" ? "right" : "bottom",
    calcs: asList(get(legend, "calcs")).map((one) => asText(one)),
    sortBy: asText(get(legend, "sortBy")),
    sortDesc: get(legend, "sortDesc") === true,
  };
}

interface LegendProps {
  fields: FieldData[];
  calcs: string[];
  table: boolean;
  sortBy: string;
  sortDesc: boolean;
  title: string;
  isHidden: (field: FieldData) => boolean;
  onHover: (key: string | null) => void;
  onToggle: (key: string, only: boolean) => void;
}

export function Legend({ fields, calcs, table, sortBy, sortDesc, title, isHidden, onHover, onToggle }: LegendProps) {
  const listed = fields.filter((one) => get(one.field.custom, "hideFrom", "legend") !== true);
  const value = (one: FieldData, calc: string) => {
    const v = reduce(one.values, calc);
    return Number.isNaN(v) ? "–" : calc === "diffperc" ? formatText("percentunit", v) : calc === "count" || calc === "changeCount" || calc === "distinctCount" ? String(v) : valueText(one.field, v);
  };
  const sortCalc = calcs.find((calc) => reducerName(calc) === sortBy || calc === sortBy);
  const ordered = sortCalc
    ? [...listed].sort((a, b) => (reduce(a.values, sortCalc) - reduce(b.values, sortCalc) || 0) * (sortDesc ? -1 : 1))
    : sortBy === "Name"
      ? [...listed].sort((a, b) => a.field.title.localeCompare(b.field.title) * (sortDesc ? -1 : 1))
      : listed;
  const entry = (one: FieldData) => (
    <button
      type="button"
      class="legend-entry"
      aria-pressed={!isHidden(one)}
      title={`${one.field.title}: click shows it alone, Ctrl and click hides it`}
      onClick={(event) => onToggle(one.key, !(event.ctrlKey || event.metaKey))}
      onMouseEnter={() => onHover(one.key)}
      onMouseLeave={() => onHover(null)}
      onFocus={() => onHover(one.key)}
      onBlur={() => onHover(null)}
    >
      <i style={{ background: seriesColor(one.field, reduce(one.values, "lastNotNull")) }} />
      <span>{one.field.title}</span>
    </button>
  );
  if (table) {
    return (
      <div class="legend legend-table" tabIndex={0} role="region" aria-label={`Legend of ${title}`}>
        <table>
          <thead>
            <tr>
              <th scope="col"><span class="sr">Series</span></th>
              {calcs.map((calc) => (
                <th key={calc} scope="col" class="num">{reducerName(calc)}</th>
              ))}
            </tr>
          </thead>
          <tbody>
            {ordered.map((one) => (
              <tr key={one.key} class={isHidden(one) ? "is-off" : ""}>
                <td>{entry(one)}</td>
                {calcs.map((calc) => (
                  <td key={calc} class="num">{value(one, calc)}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    );
  }
  return (
    <div class="legend" tabIndex={0} role="region" aria-label={`Legend of ${title}`}>
      {ordered.map((one) => (
        <span key={one.key} class={`legend-item ${isHidden(one) ? "is-off" : ""}`}>
          {entry(one)}
          {calcs.map((calc) => (
            <span key={calc} class="legend-calc">
              {calcs.length > 1 || calc !== "lastNotNull" ? `${reducerName(calc)}: ` : ""}
              {value(one, calc)}
            </span>
          ))}
        </span>
      ))}
    </div>
  );
}

/** The chart as rows, newest first. */
export function timeseriesTable(panel: Panel, source: Source, page: PageContext): TableData {
  const fields = fieldsOf(panel, source, page).slice(0, 40);
  const times = new Map<Float64Array, Float64Array[]>();
  const data = align(fields.map((one) => ({ t: one.t, columns: [one.values] })));
  times.clear();
  const rows: TableData["rows"] = [];
  for (let i = data.t.length - 1; i >= 0; i--) {
    rows.push([
      { text: dateTime(data.t[i]!, zone.peek() || undefined), sort: data.t[i]! },
      ...fields.map((one, n) => {
        const v = data.columns[n]![i]!;
        return Number.isNaN(v) ? { text: "–", sort: NaN } : { text: valueText(one.field, v), sort: v };
      }),
    ]);
  }
  return { columns: [{ title: "Time" }, ...fields.map((one) => ({ title: one.field.title, numeric: true }))], rows };
}

export { DataTable };
