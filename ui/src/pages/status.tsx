// The monitor about itself: build, store, the biggest series, flags and configuration.

import "../style/others.css";
import { useEffect, useState } from "preact/hooks";
import { prom } from "../data/api";
import { serverNow } from "../data/live";
import { age } from "../format/time";
import { formatText } from "../format/units";
import { ErrorBox } from "../panels/frame";
import { DataTable } from "../panels/datatable";
import { PageHead, useTitle } from "./page";

interface Counted {
  name: string;
  value: number;
}

interface TsdbStatus {
  headStats?: Record<string, number>;
  seriesCountByMetricName?: Counted[];
  labelValueCountByLabelName?: Counted[];
  memoryInBytesByLabelName?: Counted[];
  seriesCountByLabelValuePair?: Counted[];
}

function useStatus<T>(path: string): { data: T | null; error: string | null } {
  const [state, setState] = useState<{ data: T | null; error: string | null }>({ data: null, error: null });
  const beat = Math.floor(serverNow.value / 10_000);
  useEffect(() => {
    if (document.hidden) return;
    prom<T>(`status/${path}`).then(
      ({ data }) => setState({ data, error: null }),
      (cause: Error) => setState((before) => ({ data: before.data, error: cause.message })),
    );
  }, [path, beat]);
  return state;
}

/** What is worth a line, in words; the rest of Prometheus' answer describes a Go process. */
const WORDS: Record<string, string> = {
  numSeries: "Series in the head", numLabelPairs: "Label pairs", chunkCount: "Chunks", minTime: "Oldest sample", maxTime: "Newest sample",
  startTime: "Started", CWD: "Working directory", reloadConfigSuccess: "Last reload worked", lastConfigTime: "Configuration read", corruptionCount: "Corruptions met",
  storageRetention: "Retention", hostname: "Host", applicationVersion: "Version", revision: "Revision", branch: "Branch", buildDate: "Built", buildUser: "Built by",
};

export function StatusPage() {
  useTitle("Status");
  const build = useStatus<Record<string, string>>("buildinfo");
  const runtime = useStatus<Record<string, string | number | boolean>>("runtimeinfo");
  const tsdb = useStatus<TsdbStatus>("tsdb");
  const flags = useStatus<Record<string, string>>("flags");
  const config = useStatus<{ yaml: string }>("config");
  const errors = [build, runtime, tsdb, flags, config].map((one) => one.error).filter((one): one is string => one !== null);
  return (
    <>
      <PageHead title="Status" subtitle={build.data ? `tradewatch ${build.data["applicationVersion"] ?? build.data["version"]}` : undefined} />
      {errors.length > 0 && <ErrorBox message={[...new Set(errors)].join("\n")} />}
      <div class="status-grid">
        <Facts title="Process" facts={{ ...runtime.data, ...build.data }} />
        <Facts title="Store" facts={tsdb.data?.headStats ?? {}} />
        <Top title="Series by metric name" rows={tsdb.data?.seriesCountByMetricName} unit="series" link={(name) => `/explore?expr=${encodeURIComponent(name)}`} />
        <Top title="Series by label pair" rows={tsdb.data?.seriesCountByLabelValuePair} unit="series" link={(name) => pairLink(name)} />
        <Top title="Values by label name" rows={tsdb.data?.labelValueCountByLabelName} unit="values" />
        <Top title="Memory by label name" rows={tsdb.data?.memoryInBytesByLabelName} unit="bytes" bytes />
        {flags.data && (
          <section class="panel status-flags">
            <header class="panel-head"><h2>Flags</h2></header>
            <DataTable caption="Flags" data={{ columns: [{ title: "Flag" }, { title: "Value" }], rows: Object.entries(flags.data).sort().map(([name, value]) => [{ text: name }, { text: String(value) }]) }} />
          </section>
        )}
        {config.data?.yaml && (
          <section class="panel status-config">
            <header class="panel-head"><h2>Configuration</h2></header>
            <pre tabIndex={0} role="region" aria-label="Configuration">{config.data.yaml}</pre>
          </section>
        )}
      </div>
    </>
  );
}

function pairLink(pair: string): string {
  const at = pair.indexOf("=");
  const [name, value] = [pair.slice(0, at), pair.slice(at + 1)];
  return `/explore?expr=${encodeURIComponent(`count by (__name__) ({${name}="${value.replace(/\\/g, "\\\\").replace(/"/g, '\\"')}"})`)}`;
}

function factText(name: string, value: string | number | boolean): string {
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (/Time$/.test(name)) {
    const at = typeof value === "number" ? value : Date.parse(value);
    if (Number.isFinite(at) && at > 0) return `${new Date(at).toISOString().replace("T", " ").slice(0, 19)} UTC (${age(Math.max(0, serverNow.value - at))} ago)`;
  }
  return typeof value === "number" ? formatText("locale", value) : String(value);
}

function Facts({ title, facts }: { title: string; facts: Record<string, string | number | boolean> }) {
  const rows = Object.entries(facts).filter(([name, value]) => name in WORDS && value !== "" && value !== null);
  return (
    <section class="panel">
      <header class="panel-head"><h2>{title}</h2></header>
      <dl class="facts">
        {rows.map(([name, value]) => (
          <div key={name}><dt>{WORDS[name]}</dt><dd>{factText(name, value)}</dd></div>
        ))}
        {rows.length === 0 && <div><dt>Not known</dt><dd>–</dd></div>}
      </dl>
    </section>
  );
}

function Top({ title, rows, unit, link, bytes = false }: { title: string; rows?: Counted[]; unit: string; link?: (name: string) => string; bytes?: boolean }) {
  if (!rows) return null;
  const max = rows.reduce((m, row) => Math.max(m, row.value), 0);
  return (
    <section class="panel">
      <header class="panel-head"><h2>{title}</h2></header>
      <DataTable
        caption={title}
        data={{
          columns: [{ title: "Name" }, { title: "", width: 90 }, { title: unit, numeric: true }],
          rows: rows.slice(0, 15).map((row) => [
            { text: row.name, href: link?.(row.name) },
            { text: "", share: max ? row.value / max : 0, sort: row.value },
            { text: bytes ? formatText("bytes", row.value) : formatText("locale", row.value), sort: row.value },
          ]),
        }}
      />
    </section>
  );
}
