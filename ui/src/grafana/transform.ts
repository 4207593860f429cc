// Tables out of query results, and the transformations that dashboards apply to them.

import type { FieldData } from "../panels/context";
import { regex } from "./field";
import { asList, asNumber, asRecord, asText, get, type Transformation } from "./model";
import { reduce, reducerName } from "../data/reduce";
import type { Labels } from "../data/frame";

export interface TableField {
  name: string;
  kind: "time" | "string" | "number";
  refId: string;
  labels: Labels;
  values: (number | string | null)[];
}

export interface Table {
  refId: string;
  fields: TableField[];
}

/** `format: table`: one row per series, a column per label. */
export function labelTable(refId: string, series: readonly FieldData[], valueName: string): Table {
  const names = new Set<string>();
  for (const one of series) for (const name of Object.keys(one.field.labels)) names.add(name);
  const field = (name: string, kind: TableField["kind"], values: TableField["values"]): TableField => ({ name, kind, refId, labels: {}, values });
  const last = series.map((one) => one.values.length - 1);
  return {
    refId,
    fields: [
      field("Time", "time", series.map((one, i) => one.t[last[i]!] ?? null)),
      ...[...names].sort().map((name) => field(name, "string", series.map((one) => one.field.labels[name] ?? ""))),
      field(valueName, "number", series.map((one, i) => one.values[last[i]!] ?? null)),
    ],
  };
}

/** One series as a table of time and value. */
export function seriesTable(one: FieldData): Table {
  const { refId } = one.field;
  return {
    refId,
    fields: [
      { name: "Time", kind: "time", refId, labels: {}, values: Array.from(one.t) },
      { name: one.field.name, kind: "number", refId, labels: one.field.labels, values: Array.from(one.values, (v) => (Number.isNaN(v) ? null : v)) },
    ],
  };
}

const HANDLED = new Set([
  "organize", "merge", "joinByField", "seriesToColumns", "filterFieldsByName", "sortBy", "renameByRegex", "reduce", "limit", "labelsToFields",
  "calculateField", "groupBy", "seriesToRows", "filterByRefId",
]);

/** Applies what is known in order; what is not known is named, so that nothing is silently different. */
export function transform(tables: Table[], steps: readonly Transformation[]): { tables: Table[]; unknown: string[] } {
  const unknown: string[] = [];
  let now = tables;
  for (const step of steps) {
    if (step.disabled) continue;
    if (!HANDLED.has(step.id)) {
      unknown.push(step.id);
      continue;
    }
    now = apply(now, step.id, step.options);
  }
  return { tables: now, unknown };
}

function apply(tables: Table[], id: string, options: Record<string, unknown>): Table[] {
  switch (id) {
    case "merge": return merge(tables);
    case "joinByField":
    case "seriesToColumns": return joinBy(tables, asText(options["byField"], "Time"), asText(options["mode"], "outer"));
    case "organize": return tables.map((table) => organize(table, options));
    case "filterFieldsByName": return tables.map((table) => filterFields(table, options));
    case "renameByRegex": return tables.map((table) => renameFields(table, options));
    case "sortBy": return tables.map((table) => sortTable(table, options));
    case "limit": {
      const n = asNumber(options["limitField"]) ?? 10;
      return tables.map((table) => ({ ...table, fields: table.fields.map((f) => ({ ...f, values: f.values.slice(0, n) })) }));
    }
    case "reduce": return reduceTables(tables, options);
    case "groupBy": return tables.map((table) => groupBy(table, options));
    case "calculateField": return tables.map((table) => calculate(table, options));
    case "seriesToRows": return seriesToRows(tables);
    case "filterByRefId": {
      const include = regex(asText(options["include"]));
      return include ? tables.filter((table) => include.test(table.refId)) : tables;
    }
    default: return tables;
  }
}

function rowCount(table: Table): number {
  return table.fields.reduce((n, field) => Math.max(n, field.values.length), 0);
}

/** Rows with the same labels become one row with the values of all queries. */
function merge(tables: Table[]): Table[] {
  if (tables.length < 2) return tables;
  const columns: TableField[] = [];
  for (const table of tables) {
    for (const field of table.fields) {
      if (!columns.some((one) => one.name === field.name)) columns.push({ ...field, values: [] });
    }
  }
  const keyNames = columns.filter((c) => c.kind === "string" && tables.every((t) => t.fields.some((f) => f.name === c.name))).map((c) => c.name);
  const rows = new Map<string, Record<string, number | string | null>>();
  let serial = 0;
  for (const table of tables) {
    for (let i = 0; i < rowCount(table); i++) {
      const row: Record<string, number | string | null> = {};
      for (const field of table.fields) row[field.name] = field.values[i] ?? null;
      const key = keyNames.length ? keyNames.map((name) => String(row[name])).join("\u0001") : `Time:${row["Time"] ?? serial++}`;
      const known = rows.get(key);
      if (!known) rows.set(key, row);
      else for (const [name, value] of Object.entries(row)) if (known[name] === undefined || known[name] === null || name === "Time") known[name] = value;
    }
  }
  for (const row of rows.values()) for (const column of columns) column.values.push(row[column.name] ?? null);
  return [{ refId: tables[0]!.refId, fields: columns }];
}

function joinBy(tables: Table[], by: string, mode: string): Table[] {
  const keyed = tables.filter((table) => table.fields.some((f) => f.name === by));
  if (keyed.length < 2) return keyed.length ? keyed : tables;
  const keys = new Map<number | string | null, number>();
  for (const table of keyed) for (const v of table.fields.find((f) => f.name === by)!.values) if (!keys.has(v)) keys.set(v, keys.size);
  const key = keyed[0]!.fields.find((f) => f.name === by)!;
  const all = [...keys.keys()];
  let keep = all.map(() => true);
  if (mode === "inner") {
    keep = all.map((k) => keyed.every((table) => table.fields.find((f) => f.name === by)!.values.includes(k)));
  }
  const fields: TableField[] = [{ ...key, values: all }];
  const seen = new Map<string, number>();
  for (const table of keyed) {
    const own = table.fields.find((f) => f.name === by)!;
    for (const field of table.fields) {
      if (field === own) continue;
      const values: TableField["values"] = all.map(() => null);
      own.values.forEach((k, i) => (values[keys.get(k)!] = field.values[i] ?? null));
      const count = (seen.get(field.name) ?? 0) + 1;
      seen.set(field.name, count);
      fields.push({ ...field, name: count > 1 ? `${field.name} ${count}` : field.name, values });
    }
  }
  // The first of several columns with one name gets its number too, as later steps refer to "Time 1".
  for (const field of fields) if ((seen.get(field.name) ?? 0) > 1) field.name = `${field.name} 1`;
  const order = all.map((_, i) => i).filter((i) => keep[i]);
  if (by === "Time") order.sort((a, b) => Number(all[a]) - Number(all[b]));
  return [{ refId: keyed[0]!.refId, fields: fields.map((f) => ({ ...f, values: order.map((i) => f.values[i] ?? null) })) }];
}

function organize(table: Table, options: Record<string, unknown>): Table {
  const exclude = asRecord(options["excludeByName"]);
  const include = asRecord(options["includeByName"]);
  const order = asRecord(options["indexByName"]);
  const rename = asRecord(options["renameByName"]);
  const anyIncluded = Object.values(include).some((v) => v === true);
  const fields = table.fields
    .filter((f) => exclude[f.name] !== true && (!anyIncluded || include[f.name] === true))
    .map((f, i) => ({ f, at: asNumber(order[f.name]) ?? 1000 + i }))
    .sort((a, b) => a.at - b.at)
    .map(({ f }) => ({ ...f, name: asText(rename[f.name]) || f.name }));
  return { ...table, fields };
}

function filterFields(table: Table, options: Record<string, unknown>): Table {
  const names = asList(get(options, "include", "names")).map((one) => asText(one));
  const pattern = regex(asText(get(options, "include", "pattern")));
  const hasPattern = asText(get(options, "include", "pattern")) !== "";
  const drop = asList(get(options, "exclude", "names")).map((one) => asText(one));
  const dropPattern = asText(get(options, "exclude", "pattern"));
  return {
    ...table,
    fields: table.fields.filter((f) => {
      const wanted = names.length || hasPattern ? names.includes(f.name) || (hasPattern && (pattern?.test(f.name) ?? false)) : true;
      return wanted && !drop.includes(f.name) && !(dropPattern && regex(dropPattern)?.test(f.name));
    }),
  };
}

function renameFields(table: Table, options: Record<string, unknown>): Table {
  const pattern = regex(asText(options["regex"]));
  if (!pattern) return table;
  return { ...table, fields: table.fields.map((f) => ({ ...f, name: f.name.replace(pattern, asText(options["renamePattern"])) })) };
}

function sortTable(table: Table, options: Record<string, unknown>): Table {
  const by = asRecord(asList(options["sort"])[0]);
  const field = table.fields.find((f) => f.name === asText(by["field"]));
  if (!field) return table;
  const sign = by["desc"] === true ? -1 : 1;
  const order = field.values.map((_, i) => i).sort((a, b) => sign * compare(field.values[a] ?? null, field.values[b] ?? null));
  return { ...table, fields: table.fields.map((f) => ({ ...f, values: order.map((i) => f.values[i] ?? null) })) };
}

function compare(a: number | string | null, b: number | string | null): number {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a ?? "").localeCompare(String(b ?? ""), "en", { numeric: true });
}

function numbers(field: TableField): number[] {
  return field.values.map((v) => (typeof v === "number" ? v : NaN));
}

function reduceTables(tables: Table[], options: Record<string, unknown>): Table[] {
  const calcs = asList(options["reducers"]).map((one) => asText(one));
  const numeric = tables.flatMap((table) => table.fields.filter((f) => f.kind === "number"));
  if (asText(options["mode"]) === "reduceFields") {
    const calc = calcs[0] ?? "lastNotNull";
    return tables.map((table) => ({ ...table, fields: table.fields.filter((f) => f.kind === "number").map((f) => ({ ...f, values: [reduce(numbers(f), calc)] })) }));
  }
  const base = { refId: tables[0]?.refId ?? "A", labels: {} };
  const labelNames = options["labelsToFields"] === true ? [...new Set(numeric.flatMap((f) => Object.keys(f.labels)))].sort() : [];
  return [
    {
      refId: base.refId,
      fields: [
        { ...base, name: "Field", kind: "string", values: numeric.map((f) => f.name) },
        ...labelNames.map((name): TableField => ({ ...base, name, kind: "string", values: numeric.map((f) => f.labels[name] ?? "") })),
        ...calcs.map((calc): TableField => ({ ...base, name: reducerName(calc), kind: "number", values: numeric.map((f) => nullNaN(reduce(numbers(f), calc))) })),
      ],
    },
  ];
}

function nullNaN(v: number): number | null {
  return Number.isNaN(v) ? null : v;
}

function groupBy(table: Table, options: Record<string, unknown>): Table {
  const settings = asRecord(options["fields"]);
  const of = (name: string) => asRecord(settings[name]);
  const keys = table.fields.filter((f) => of(f.name)["operation"] === "groupby");
  if (keys.length === 0) return table;
  const groups = new Map<string, number[]>();
  for (let i = 0; i < rowCount(table); i++) {
    const key = keys.map((f) => String(f.values[i])).join("\u0001");
    groups.set(key, [...(groups.get(key) ?? []), i]);
  }
  const rows = [...groups.values()];
  const fields: TableField[] = keys.map((f) => ({ ...f, values: rows.map((row) => f.values[row[0]!] ?? null) }));
  for (const f of table.fields) {
    if (of(f.name)["operation"] !== "aggregate") continue;
    for (const calc of asList(of(f.name)["aggregations"]).map((one) => asText(one))) {
      const all = numbers(f);
      fields.push({ ...f, name: `${f.name} (${calc})`, kind: "number", values: rows.map((row) => nullNaN(reduce(row.map((i) => all[i]!), calc))) });
    }
  }
  return { ...table, fields };
}

function calculate(table: Table, options: Record<string, unknown>): Table {
  const n = rowCount(table);
  const mode = asText(options["mode"], "reduceRow");
  const values: (number | null)[] = [];
  let name = asText(options["alias"]);
  if (mode === "binary") {
    const side = (value: unknown): ((i: number) => number) => {
      const text = asText(get(value, "fixed")) || asText(get(value, "matcher", "options")) || asText(value);
      const field = table.fields.find((f) => f.name === text);
      if (field) return (i) => (typeof field.values[i] === "number" ? (field.values[i] as number) : NaN);
      const fixed = asNumber(text) ?? NaN;
      return () => fixed;
    };
    const left = side(get(options, "binary", "left"));
    const right = side(get(options, "binary", "right"));
    const op = asText(get(options, "binary", "operator"), "+");
    for (let i = 0; i < n; i++) {
      const [a, b] = [left(i), right(i)];
      values.push(nullNaN(op === "-" ? a - b : op === "*" ? a * b : op === "/" ? a / b : op === "%" ? a % b : op === "**" ? a ** b : a + b));
    }
    name ||= `${asText(get(options, "binary", "left"))} ${op} ${asText(get(options, "binary", "right"))}`;
  } else {
    const wanted = asList(get(options, "reduce", "include")).map((one) => asText(one));
    const calc = asText(get(options, "reduce", "reducer"), "sum");
    const inputs = table.fields.filter((f) => f.kind === "number" && (wanted.length === 0 || wanted.includes(f.name)));
    for (let i = 0; i < n; i++) values.push(nullNaN(reduce(inputs.map((f) => (typeof f.values[i] === "number" ? (f.values[i] as number) : NaN)), calc)));
    name ||= reducerName(calc);
  }
  const made: TableField = { name, kind: "number", refId: table.refId, labels: {}, values };
  const keep = options["replaceFields"] === true ? table.fields.filter((f) => f.kind === "time") : table.fields;
  return { ...table, fields: [...keep, made] };
}

function seriesToRows(tables: Table[]): Table[] {
  const rows: { t: number; metric: string; v: number | string | null }[] = [];
  for (const table of tables) {
    const time = table.fields.find((f) => f.kind === "time");
    for (const f of table.fields) {
      if (f.kind === "number") f.values.forEach((v, i) => rows.push({ t: Number(time?.values[i] ?? 0), metric: f.name, v }));
    }
  }
  rows.sort((a, b) => b.t - a.t);
  const base = { refId: tables[0]?.refId ?? "A", labels: {} };
  return [
    {
      refId: base.refId,
      fields: [
        { ...base, name: "Time", kind: "time", values: rows.map((r) => r.t) },
        { ...base, name: "Metric", kind: "string", values: rows.map((r) => r.metric) },
        { ...base, name: "Value", kind: "number", values: rows.map((r) => r.v) },
      ],
    },
  ];
}
