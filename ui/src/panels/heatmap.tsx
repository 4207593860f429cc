// A heatmap out of classic histogram buckets; used by dashboards and by the desk.

import { useEffect, useRef } from "preact/hooks";
import { Heatmap, heatCells, type HeatData } from "../chart/heatmap";
import type { Column } from "../data/frame";
import { serverNow } from "../data/live";
import type { Source } from "../data/source";
import { dateTime } from "../format/time";
import { formatText } from "../format/units";
import { asText, get, type Panel } from "../grafana/model";
import { zone } from "../shell/settings";
import type { PageContext } from "./context";
import type { TableData } from "./datatable";
import { titleOf } from "./context";
import { Loading, NoData } from "./timeseries";
import type { Span } from "../chart/timechart";

function bucketColumns(source: Source): { t: Float64Array; columns: Column[] } {
  const state = source.states[0];
  if (!state) return { t: new Float64Array(0), columns: [] };
  const { t, columns } = state.buffer.view();
  return { t, columns: columns.filter((column) => column.labels["le"] !== undefined) };
}

export function heatData(source: Source, unit: string, countUnit: string, closed: Span[]): HeatData {
  const { t, columns } = bucketColumns(source);
  const cells = heatCells(t, columns);
  const now = serverNow.peek();
  const extent = source.extent(now);
  return { ...cells, ...extent, stepMs: source.stepMs, unit, countUnit, closed, staleFrom: source.staleSince(now) };
}

export function HeatmapView({ source, unit, countUnit, closed, label }: { source: Source; unit: string; countUnit: string; closed: Span[]; label: string }) {
  const host = useRef<HTMLDivElement>(null);
  const map = useRef<Heatmap | null>(null);
  const latest = useRef({ closed, unit });
  latest.current = { closed, unit };
  useEffect(() => {
    if (!host.current) return;
    const made = new Heatmap(host.current);
    map.current = made;
    const push = () => made.setData(() => heatData(source, latest.current.unit, countUnit, latest.current.closed));
    push();
    const stop = source.onChange(push);
    const stopClock = serverNow.subscribe((now) => source.staleSince(now) !== null && push());
    return () => {
      stop();
      stopClock();
      made.destroy();
    };
  }, [source, countUnit]);
  useEffect(() => map.current?.setData(() => heatData(source, latest.current.unit, countUnit, latest.current.closed)), [closed, unit]);
  source.version.value;
  const { columns } = bucketColumns(source);
  return (
    <div class="chart legend-none">
      <div class="plot" ref={host} tabIndex={0} role="figure" aria-label={`${label}: heatmap of ${columns.length} buckets over time. Arrow keys move through the cells.`} />
      {source.ready && columns.length === 0 && <NoData />}
      {!source.ready && <Loading />}
    </div>
  );
}

export function HeatmapPanel({ panel, source, page }: { panel: Panel; source: Source; page: PageContext }) {
  const unit = asText(get(panel.options, "yAxis", "unit")) || panel.fieldConfig.defaults.unit || "s";
  return <HeatmapView source={source} unit={unit} countUnit="" closed={page.closed} label={titleOf(panel, page)} />;
}

export function bucketTable(source: Source, unit: string): TableData {
  const { t, columns } = bucketColumns(source);
  const { bounds, cells } = heatCells(t, columns);
  const rows: TableData["rows"] = [];
  for (let i = t.length - 1; i >= 0; i--) {
    rows.push([
      { text: dateTime(t[i]!, zone.peek() || undefined), sort: t[i]! },
      ...cells.map((row) => ({ text: Number.isNaN(row[i]!) ? "–" : formatText("none", Math.round(row[i]! * 100) / 100), sort: row[i]! })),
    ]);
  }
  return {
    columns: [{ title: "Time" }, ...bounds.map((bound, r) => ({ title: bound === Infinity ? `> ${formatText(unit, bounds[r - 1] ?? 0)}` : `≤ ${formatText(unit, bound)}`, numeric: true }))],
    rows,
  };
}

export function heatmapTable(panel: Panel, source: Source, _page: PageContext): TableData {
  return bucketTable(source, asText(get(panel.options, "yAxis", "unit")) || panel.fieldConfig.defaults.unit || "s");
}
