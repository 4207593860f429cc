// Rows and columns that can be sorted and paged; the readable twin of every chart.

import { useState } from "preact/hooks";
import type { ComponentChildren } from "preact";

export interface TableColumn {
  title: string;
  numeric?: boolean;
  width?: number;
  align?: "left" | "center" | "right";
}

export interface TableCell {
  text: string;
  /** What it sorts by; the text when missing. */
  sort?: number | string;
  color?: string;
  background?: string;
  /** 0 to 1: a bar behind or below the text. */
  share?: number;
  href?: string;
  content?: ComponentChildren;
}

export interface TableData {
  columns: TableColumn[];
  rows: TableCell[][];
  sortBy?: { column: number; desc: boolean };
}

const PAGE_ROWS = 100;

export function DataTable({ data, caption, showCaption = false, filter = false }: { data: TableData; caption: string; showCaption?: boolean; filter?: boolean }) {
  const [sort, setSort] = useState<{ column: number; desc: boolean } | null>(null);
  const [page, setPage] = useState(0);
  const order = sort ?? data.sortBy ?? null;
  const rows = order ? sortRows(data.rows, order.column, order.desc) : data.rows;
  const pages = Math.max(1, Math.ceil(rows.length / PAGE_ROWS));
  const at = Math.min(page, pages - 1);
  const shown = rows.slice(at * PAGE_ROWS, (at + 1) * PAGE_ROWS);
  return (
    <div class="table-wrap" tabIndex={0} role="region" aria-label={`${caption}, table`} data-filter={filter || undefined}>
      <table class="data">
        <caption class={showCaption ? "" : "sr"}>{caption}</caption>
        <thead>
          <tr>
            {data.columns.map((column, i) => (
              <th key={i} scope="col" class={alignOf(column)} aria-sort={order?.column === i ? (order.desc ? "descending" : "ascending") : undefined} style={column.width ? { width: `${column.width}px` } : undefined}>
                <button type="button" onClick={() => setSort({ column: i, desc: order?.column === i ? !order.desc : Boolean(column.numeric) })}>
                  {column.title || <span class="sr">Column {i + 1}</span>}
                  <span class="sort-mark" aria-hidden="true">{order?.column === i ? (order.desc ? "▾" : "▴") : ""}</span>
                </button>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {shown.map((row, r) => (
            <tr key={r}>
              {row.map((cell, i) => (
                <td key={i} class={alignOf(data.columns[i] ?? { title: "" })} style={cell.background ? { background: cell.background } : undefined}>
                  {cell.share !== undefined && (
                    <span class="cell-bar" aria-hidden="true">
                      <span style={{ width: `${Math.round(Math.min(1, Math.max(0, cell.share)) * 100)}%`, background: cell.color }} />
                    </span>
                  )}
                  {cell.content ?? (cell.href ? <a href={cell.href}>{cell.text}</a> : <span style={cell.color && cell.share === undefined ? { color: cell.color } : undefined}>{cell.text}</span>)}
                </td>
              ))}
            </tr>
          ))}
          {shown.length === 0 && (
            <tr>
              <td colSpan={Math.max(1, data.columns.length)} class="empty-cell">no data</td>
            </tr>
          )}
        </tbody>
      </table>
      {pages > 1 && (
        <nav class="pager" aria-label={`Pages of ${caption}`}>
          <button type="button" disabled={at === 0} onClick={() => setPage(at - 1)}>Previous</button>
          <span>
            rows {at * PAGE_ROWS + 1} to {Math.min(rows.length, (at + 1) * PAGE_ROWS)} of {rows.length}
          </span>
          <button type="button" disabled={at >= pages - 1} onClick={() => setPage(at + 1)}>Next</button>
        </nav>
      )}
    </div>
  );
}

function alignOf(column: TableColumn): string {
  return column.align && column.align !== "left" ? `cell-${column.align}` : column.numeric ? "num" : "";
}

export function sortRows(rows: TableCell[][], column: number, desc: boolean): TableCell[][] {
  const key = (row: TableCell[]) => row[column]?.sort ?? row[column]?.text ?? "";
  return [...rows].sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    if (typeof x === "number" && typeof y === "number") {
      // What has no number comes last in both directions.
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) === Number.isNaN(y) ? 0 : Number.isNaN(x) ? 1 : -1;
      return desc ? y - x : x - y;
    }
    const order = String(x).localeCompare(String(y), "en", { numeric: true });
    return desc ? -order : order;
  });
}
