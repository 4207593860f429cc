// The table panel: query results as rows, through the dashboard's transformations and overrides.

import { fade, color as namedColor } from "../chart/palette";
import type { Source } from "../data/source";
import { dateTime } from "../format/time";
import { mapValue, resolveField, show } from "../grafana/field";
import { interpolate } from "../grafana/interpolate";
import { asText, get, type Panel } from "../grafana/model";
import { labelTable, seriesTable, transform, type Table } from "../grafana/transform";
import { theme, zone } from "../shell/settings";
import { fieldsOf, type PageContext } from "./context";
import { DataTable, type TableCell, type TableData } from "./datatable";
import { Loading } from "./timeseries";

const ROWS_MAX = 5000;

export function TablePanel({ panel, source, page, title }: { panel: Panel; source: Source; page: PageContext; title: string }) {
  source.version.value;
  theme.value;
  if (!source.ready) return <Loading />;
  const { data, unknown } = tableOf(panel, source, page);
  return (
    <div class="table-panel">
      {unknown.length > 0 && <p class="note-line">Shown without the transformation {unknown.join(", ")}, which is not known here.</p>}
      <DataTable data={data} caption={title} />
    </div>
  );
}

export function tableOf(panel: Panel, source: Source, page: PageContext): { data: TableData; unknown: string[] } {
  const all = fieldsOf(panel, source, page);
  const queries = source.states.length;
  const tables: Table[] = [];
  for (const state of source.states) {
    const target = panel.targets.find((one) => one.refId === state.spec.refId);
    const own = all.filter((one) => one.field.refId === state.spec.refId);
    if (target?.format === "table" || state.spec.instant) tables.push(labelTable(state.spec.refId, own, queries > 1 ? `Value #${state.spec.refId}` : "Value"));
    else tables.push(...own.map(seriesTable));
  }
  const result = transform(tables, panel.transformations);
  let shown = result.tables;
  // Several series over time and no transformation: side by side on one time column.
  if (shown.length > 1) shown = transform(shown, [{ id: shown.every((t) => t.fields.some((f) => f.name === "Time" && t.fields.length === 2)) ? "joinByField" : "merge", options: { byField: "Time" } }]).tables;
  const table = shown[0] ?? { refId: "A", fields: [] };
  return { data: present(panel, table, page), unknown: result.unknown };
}

function present(panel: Panel, table: Table, page: PageContext): TableData {
  let index = 0;
  const fields = table.fields
    .map((column) => ({
      column,
      field: resolveField(
        { name: column.name, labels: column.labels, refId: column.refId, index: column.kind === "number" ? index++ : 0, kind: column.kind },
        panel.fieldConfig.defaults,
        panel.fieldConfig.overrides,
      ),
    }))
    .filter(({ field }) => field.custom["hidden"] !== true && get(field.custom, "hideFrom", "viz") !== true);
  const ranges = fields.map(({ column, field }) => {
    let min = field.config.min ?? Infinity;
    let max = field.config.max ?? -Infinity;
    for (const v of column.values) {
      if (typeof v !== "number" || !Number.isFinite(v)) continue;
      if (field.config.min === null || field.config.min === undefined) min = Math.min(min, v);
      if (field.config.max === null || field.config.max === undefined) max = Math.max(max, v);
    }
    return { min: Math.min(min, max), max };
  });
  const count = Math.min(ROWS_MAX, table.fields.reduce((n, f) => Math.max(n, f.values.length), 0));
  const rows: TableCell[][] = [];
  for (let i = 0; i < count; i++) {
    rows.push(
      fields.map(({ column, field }, c) => {
        const raw = column.values[i] ?? null;
        const mode = asText(get(field.custom, "cellOptions", "type")) || asText(field.custom["displayMode"], "auto");
        const link = field.config.links?.[0]?.url;
        const href = link ? safeLink(interpolate(link.replace(/\$\{__value\.(?:raw|text)\}/g, String(raw ?? "")), page.values, null, "text")) : undefined;
        if (typeof raw === "string" || column.kind === "string") {
          const mapped = mapValue(raw as string, field.config.mappings ?? []);
          const tint = mapped?.color ? namedColor(mapped.color) : undefined;
          return { text: mapped?.text ?? String(raw ?? ""), color: mode.startsWith("color-text") ? tint : undefined, background: mode.startsWith("color-background") && tint ? fade(tint, 0.25) : undefined, href };
        }
        if (column.kind === "time") return { text: raw === null ? "" : dateTime(raw as number, zone.value || undefined), sort: raw ?? NaN };
        const value = raw === null || Number.isNaN(raw) ? null : (raw as number);
        const text = value === null ? { full: field.config.noValue ?? "–", color: undefined } : show(field, value, ranges[c], zone.value || undefined);
        const cell: TableCell = { text: text.full, sort: value ?? NaN, href };
        if (value === null) return cell;
        if (mode === "color-text") cell.color = text.color;
        else if (mode.startsWith("color-background")) cell.background = fade(text.color!, theme.value === "dark" ? 0.28 : 0.2);
        else if (mode === "gauge" || mode.includes("gauge")) {
          cell.color = text.color;
          const { min, max } = ranges[c]!;
          cell.share = (value - Math.min(0, min)) / (max - Math.min(0, min) || 1);
        }
        return cell;
      }),
    );
  }
  const wantedSort = get(panel.options, "sortBy");
  const first = Array.isArray(wantedSort) ? wantedSort[0] : undefined;
  const sortColumn = fields.findIndex(({ field, column }) => [field.title, column.name].includes(asText(get(first, "displayName"))));
  return {
    columns: fields.map(({ column, field }) => ({
      title: field.title,
      numeric: column.kind === "number",
      width: Number(field.custom["width"]) || undefined,
      align: ["left", "center", "right"].includes(asText(field.custom["align"])) ? (field.custom["align"] as "left") : undefined,
    })),
    rows,
    sortBy: sortColumn >= 0 ? { column: sortColumn, desc: get(first, "desc") === true } : undefined,
  };
}

/** A dashboard file may link anywhere on the web, but not run anything. */
export function safeLink(url: string): string | undefined {
  try {
    const made = new URL(url, location.href);
    // Grafana's own path of a dashboard is ours without the slug.
    const own = made.origin === location.origin && /^\/d\/([^/]+)/.exec(made.pathname);
    if (own) return `/dashboards/${own[1]}${made.search}`;
    return made.protocol === "https:" || made.protocol === "http:" ? made.href : undefined;
  } catch {
    return undefined;
  }
}
