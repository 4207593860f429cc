// Ask one PromQL question, see it as a graph and as a table, send it as a link.

import "../style/explore.css";
import { useEffect, useMemo, useState } from "preact/hooks";
import { scrapeMs, serverNow } from "../data/live";
import { useSource, type Window } from "../data/source";
import { resolve, rateInterval, stepFor, type TimeRange } from "../format/time";
import type { Panel } from "../grafana/model";
import { interpolate } from "../grafana/interpolate";
import { learnScrapeInterval, type PageContext } from "../panels/context";
import { PanelFrame } from "../panels/frame";
import { TablePanel } from "../panels/table";
import { TimeseriesPanel, timeseriesTable } from "../panels/timeseries";
import { Editor } from "../promql/editor";
import { errorWithCaret } from "../promql/highlight";
import { unitFor } from "../promql/units";
import { toast } from "../shell/announce";
import { search, setParams } from "../shell/router";
import { MarketPicker, RefreshPicker, TimePicker } from "../shell/timepicker";
import { useKeys } from "../shell/keys";
import { useClosed, useMarket, useNotes } from "./backdrop";
import { PageHead, useTitle } from "./page";

const EXAMPLES: readonly (readonly [what: string, expr: string])[] = [
  ["Orders per second, by outcome", "sum by (status) (rate(execution_gateway_orders_total[1m]))"],
  ["95th percentile of order placement", "histogram_quantile(0.95, sum by (le) (rate(execution_gateway_order_placement_duration_seconds_bucket[5m])))"],
  ["Which targets are up", "up"],
  ["Age of prices", "market_data_price_age_seconds"],
];

export function ExplorePage() {
  useTitle("Explore");
  const params = new URLSearchParams(search.value);
  const exprs = params.getAll("expr").filter((expr) => expr.trim() !== "");
  const key = JSON.stringify(exprs);
  const [drafts, setDrafts] = useState<string[]>(exprs.length ? exprs : [""]);
  useEffect(() => setDrafts(exprs.length ? exprs : [""]), [key]);
  useEffect(() => void learnScrapeInterval(), []);
  const range: TimeRange = { from: params.get("from") ?? "now-1h", to: params.get("to") ?? "now" };
  const tab = params.get("tab") === "table" ? "table" : "graph";
  const stacked = params.get("stack") === "1";
  const refreshMs = Number(params.get("refresh") ?? "-1");
  const run = (next = drafts) => setParams({ expr: next.map((one) => one.trim()).filter(Boolean) });
  const window = useMemo<Window>(() => {
    const now = resolve(range, serverNow.peek());
    return { from: now.from, to: now.to, live: now.live && refreshMs < 0, refreshMs: now.live && refreshMs > 0 ? refreshMs : 0 };
  }, [range.from, range.to, refreshMs, key]);
  const fixed = window.live ? null : window;
  const market = useMarket();
  const closed = useClosed(window.to - window.from, fixed, market);
  const notes = useNotes(window.to - window.from, fixed);
  const page = useMemo<PageContext>(
    () => ({ window, values: {}, dashboard: "", syncKey: undefined, closed, notes, onZoom: (from, to) => setParams({ from: String(from), to: String(to) }) }),
    [window, closed, notes],
  );
  useKeys(() => [{ keys: "v", what: "Graph or table", where: "Explore", run: () => setParams({ tab: tab === "graph" ? "table" : null }) }], [tab]);
  return (
    <>
      <PageHead title="Explore">
        <button
          type="button"
          class="button"
          onClick={() => {
            navigator.clipboard?.writeText(location.href).then(
              () => toast("Link copied"),
              () => toast("The link is in the address bar; the browser did not allow to copy it", true),
            );
          }}
        >
          Copy link
        </button>
        <MarketPicker market={market} />
        <TimePicker range={range} onChange={(next) => setParams({ from: next.from === "now-1h" ? null : next.from, to: next.to === "now" ? null : next.to })} />
        <RefreshPicker live={resolve(range, serverNow.peek()).live} refreshMs={refreshMs} onChange={(ms) => setParams({ refresh: ms === -1 ? null : String(ms) })} />
      </PageHead>
      <form
        class="queries"
        onSubmit={(event) => {
          event.preventDefault();
          run();
        }}
      >
        {drafts.map((draft, i) => (
          <div class="query" key={i}>
            <span class="query-ref" aria-hidden="true">{String.fromCharCode(65 + i)}</span>
            <Editor label={`Query ${String.fromCharCode(65 + i)}`} value={draft} autofocus={i === 0 && exprs.length === 0} onChange={(text) => setDrafts(drafts.map((one, n) => (n === i ? text : one)))} onRun={() => run()} />
            {drafts.length > 1 && (
              <button type="button" class="tool" aria-label={`Remove query ${String.fromCharCode(65 + i)}`} onClick={() => { const next = drafts.filter((_, n) => n !== i); setDrafts(next); run(next); }}>✕</button>
            )}
          </div>
        ))}
        <div class="query-actions">
          <button type="submit" class="button primary">Run <kbd>↵</kbd></button>
          <button type="button" class="button" disabled={drafts.length >= 8} onClick={() => setDrafts([...drafts, ""])}>Add query</button>
          <span class="page-gap" />
          <label class="check"><input type="checkbox" checked={stacked} onChange={(event) => setParams({ stack: event.currentTarget.checked ? "1" : null })} /> Stack</label>
          <span class="tabs" role="group" aria-label="View">
            <button type="button" aria-pressed={tab === "graph"} onClick={() => setParams({ tab: null })}>Graph</button>
            <button type="button" aria-pressed={tab === "table"} onClick={() => setParams({ tab: "table" })}>Table</button>
          </span>
        </div>
      </form>
      {exprs.length === 0 ? (
        <section class="examples">
          <h2>Questions to start with</h2>
          <ul>
            {EXAMPLES.map(([what, expr]) => (
              <li key={expr}><a href={`/explore?expr=${encodeURIComponent(expr)}`}>{what}</a><code>{expr}</code></li>
            ))}
          </ul>
        </section>
      ) : tab === "graph" ? (
        <Graph exprs={exprs} page={page} stacked={stacked} />
      ) : (
        <Instant exprs={exprs} page={page} />
      )}
    </>
  );
}

function panelFor(exprs: readonly string[], type: string, stacked: boolean): Panel {
  return {
    id: 1,
    type,
    title: exprs.length === 1 ? exprs[0]! : `${exprs.length} queries`,
    gridPos: { x: 0, y: 0, w: 24, h: 12 },
    targets: exprs.map((expr, i) => ({ refId: String.fromCharCode(65 + i), expr, legendFormat: "__short", format: type === "table" ? "table" : undefined, instant: type === "table" })),
    options: { legend: { showLegend: true, displayMode: "table", placement: "bottom", calcs: ["lastNotNull", "min", "max", "mean"] }, tooltip: { mode: "multi", sort: "desc" } },
    fieldConfig: {
      defaults: { unit: unitFor(exprs), custom: { fillOpacity: stacked ? 40 : 0, lineWidth: 1.25, stacking: { mode: stacked ? "normal" : "none", group: "A" } } },
      overrides: [],
    },
    transformations: [],
  };
}

function explain(expr: string, window: Window, points: number): { expr: string; stepMs: number } {
  const rangeMs = window.to - window.from;
  const stepMs = stepFor(rangeMs, points, Math.max(1000, scrapeMs.value));
  const builtIns = { intervalMs: stepMs, rateIntervalMs: rateInterval(stepMs, scrapeMs.value), rangeMs, from: window.from, to: window.to, dashboard: "" };
  return { expr: interpolate(expr, {}, builtIns, "promql"), stepMs };
}

function Graph({ exprs, page, stacked }: { exprs: readonly string[]; page: PageContext; stacked: boolean }) {
  const specs = exprs.map((expr, i) => ({ refId: String.fromCharCode(65 + i), instant: false, ...explain(expr, page.window, 1000) }));
  const source = useSource(specs, page.window);
  const panel = useMemo(() => panelFor(exprs, "timeseries", stacked), [JSON.stringify(exprs), stacked]);
  source.version.value;
  const failed = source.states.filter((state) => state.error);
  return (
    <>
      <QueryErrors states={failed} />
      {failed.length < source.states.length && (
        <div class="explore-graph">
          <PanelFrame title="Graph" source={failed.length ? undefined : source} table={() => timeseriesTable(panel, source, page)} extra={<Facts source={source} />}>
            <TimeseriesPanel panel={panel} source={source} page={page} />
          </PanelFrame>
        </div>
      )}
    </>
  );
}

function Facts({ source }: { source: ReturnType<typeof useSource> }) {
  source.version.value;
  const series = source.states.reduce((n, state) => n + state.buffer.seriesCount, 0);
  return <span class="dim">{series} series · step {source.stepMs / 1000} s</span>;
}

function Instant({ exprs, page }: { exprs: readonly string[]; page: PageContext }) {
  const specs = exprs.map((expr, i) => ({ refId: String.fromCharCode(65 + i), instant: true, expr: explain(expr, page.window, 1000).expr, stepMs: Math.max(1000, scrapeMs.value) }));
  const source = useSource(specs, page.window);
  const panel = useMemo(() => panelFor(exprs, "table", false), [JSON.stringify(exprs)]);
  source.version.value;
  const failed = source.states.filter((state) => state.error);
  return (
    <>
      <QueryErrors states={failed} />
      {failed.length < source.states.length && (
        <div class="explore-table">
          <PanelFrame title="Table" source={failed.length ? undefined : source} extra={<Facts source={source} />}>
            <TablePanel panel={panel} source={source} page={page} title="Result" />
          </PanelFrame>
        </div>
      )}
    </>
  );
}

function QueryErrors({ states }: { states: readonly { error: string | null; spec: { expr: string; refId: string } }[] }) {
  if (states.length === 0) return null;
  return (
    <div class="query-errors" role="alert">
      {states.map((state) => (
        <div key={state.spec.refId} class="error-box">
          <span class="error-mark" aria-hidden="true">✕</span>
          <pre>{errorWithCaret(state.error ?? "", state.spec.expr)}</pre>
        </div>
      ))}
    </div>
  );
}
