// What a trading desk glances at: may we trade, are we losing, what do we hold, is anything old, has anybody a duty.

import "../style/desk.css";
import { createContext, type ComponentChildren } from "preact";
import { useContext, useMemo, useState } from "preact/hooks";
import { blocksOf, Timeline, type StateRow } from "../chart/timeline";
import { latest, unchangedSince } from "../data/frame";
import { connection, lostSince, marketClock, scrapeMs, serverNow } from "../data/live";
import { liveWindow, useSource, type Source } from "../data/source";
import { age, countdown, promDuration, rateInterval, sinceText, stepFor } from "../format/time";
import { formatText, MINUS, toFixed } from "../format/units";
import type { Override, Panel } from "../grafana/model";
import { learnScrapeInterval, type PageContext } from "../panels/context";
import { DataTable, type TableData } from "../panels/datatable";
import { PanelFrame, StaleBadge, useStale } from "../panels/frame";
import { bucketTable, HeatmapView } from "../panels/heatmap";
import { Spark } from "../chart/spark";
import { TimeseriesPanel, timeseriesTable } from "../panels/timeseries";
import { color } from "../chart/palette";
import { zone } from "../shell/settings";
import { useEffect } from "preact/hooks";
import { alertCounts, isOpen, muted, severityRank, sortedAlerts, useAlerts } from "../data/alerts";
import { useClosed, useNotes } from "./backdrop";
import { nextChange, SHADED_MIC, useSessions } from "../data/sessions";
import { LAST_SPECS, NOW_SPECS, PRICE_AGE_BAD_S, PRICE_AGE_WARN_S, REASONS, STATE_QUERIES, stateSpecs, type NowKey } from "./deskdata";
import { PageHead, Sign, State, useTitle } from "./page";
import { instant } from "../data/api";
import { param, search, setParams } from "../shell/router";

const RANGES: readonly (readonly [label: string, ms: number])[] = [
  ["5 min", 300_000],
  ["15 min", 900_000],
  ["1 h", 3_600_000],
  ["6 h", 21_600_000],
];

interface Now {
  get: (key: NowKey) => number;
  by: (key: NowKey, label: string) => Map<string, number>;
  error: (key: NowKey) => string | null;
  source: Source;
  /** When the gateway was heard last, in ms, while it is not heard. */
  lost: number | null;
}

export function DeskPage() {
  useTitle("Desk");
  useEffect(() => void learnScrapeInterval(), []);
  search.value;
  const rangeMs = Number(param("range") ?? "900000") || 900_000;
  const window = useMemo(() => liveWindow(rangeMs), [rangeMs]);
  const closed = useClosed(rangeMs, null, SHADED_MIC);
  const notes = useNotes(rangeMs, null);
  const page = useMemo<PageContext>(
    () => ({ window, values: {}, dashboard: "desk", syncKey: "desk", closed, notes, onZoom: (from, to) => setParams({ range: String(Math.max(300_000, to - from)) }) }),
    [window, closed, notes],
  );
  const nowWindow = useMemo(() => liveWindow(60_000), []);
  const nowSource = useSource(NOW_SPECS, nowWindow);
  const stepMs = stepFor(rangeMs, 600, Math.max(1000, scrapeMs.value));
  const states = useSource(useMemo(() => stateSpecs(stepMs), [stepMs]), window);
  const pnl = useSource(useMemo(() => [{ refId: "A", expr: 'max(execution_gateway_pnl_dollars{type="total"})', stepMs, instant: false }], [stepMs]), window);
  const silent = nowSource.version.value >= 0 && nowSource.ready && newest(nowSource, "openOrders").length === 0;
  const lastSource = useSource(LAST_SPECS, nowWindow, silent);
  const now = readNow(nowSource, silent ? lastSource : null);
  return (
    <>
      <PageHead title="Desk" subtitle="trading-platform">
        <StaleSince source={nowSource} />
        <span class="tabs" role="group" aria-label="Time range">
          {RANGES.map(([label, ms]) => (
            <button key={ms} type="button" aria-pressed={rangeMs === ms} onClick={() => setParams({ range: ms === 900_000 ? null : String(ms) })}>{label}</button>
          ))}
        </span>
      </PageHead>
      <Strip now={now} states={states} pnl={pnl} />
      <div class="desk">
        <OrderFlow page={page} stepMs={stepMs} />
        <Rejects page={page} />
        <Latency page={page} />
        <StatePanel source={states} />
        <Positions now={now} />
        <AlertPanel />
      </div>
    </>
  );
}

function StaleSince({ source }: { source: Source }) {
  const since = useStale(source);
  return since === null ? null : <StaleBadge since={since} />;
}

/** The newest values of one question; empty if it was not asked. */
function newest(source: Source, key: string) {
  const state = source.states.find((one) => one.spec.refId === key);
  if (!state) return [];
  const { t, columns } = state.buffer.view();
  const last = t.length - 1;
  // Only the newest column counts: a series that is missing there has ended.
  return columns.map((column) => ({ labels: column.labels, v: last < 0 ? NaN : column.values[last]! })).filter((one) => !Number.isNaN(one.v));
}

function readNow(source: Source, lastWord: Source | null): Now {
  source.version.value;
  lastWord?.version.value;
  const values = (key: NowKey) => {
    const fresh = newest(source, key);
    return fresh.length > 0 || !lastWord ? fresh : newest(lastWord, key);
  };
  const since = lastWord ? newest(lastWord, "since")[0]?.v : undefined;
  return {
    source,
    get: (key) => values(key)[0]?.v ?? NaN,
    by: (key, label) => new Map(values(key).map((one) => [one.labels[label] ?? "", one.v])),
    error: (key) => source.states.find((one) => one.spec.refId === key)?.error ?? null,
    lost: since === undefined ? null : since * 1000,
  };
}

function Strip({ now, states, pnl }: { now: Now; states: Source; pnl: Source }) {
  // Session and alerts are told by the monitor itself and are not scraped: they do not age with the samples.
  const stale = useStale(now.source) !== null;
  return (
    <Stale.Provider value={stale}>
      <section class="strip" aria-label="State of trading">
        <Lost.Provider value={now.lost}>
          <BreakerTile now={now} states={states} />
          <ModeTile now={now} />
        </Lost.Provider>
        <Stale.Provider value={false}><SessionTile /></Stale.Provider>
        <Lost.Provider value={now.lost}>
          <PnlTile now={now} source={pnl} />
          <DrawdownTile now={now} />
          <ExposureTile now={now} />
          <OrdersTile now={now} />
        </Lost.Provider>
        <AgeTile now={now} />
        <Stale.Provider value={false}><DutyTile /></Stale.Provider>
      </section>
    </Stale.Provider>
  );
}

type Tone = "good" | "bad" | "warn" | "none";

const Stale = createContext(false);
/** When the gateway was heard last, in ms, while it is not heard; its tiles then show its last word. */
const Lost = createContext<number | null>(null);

function Tile({ label, tone = "none", children, wide, title }: { label: string; tone?: Tone; children: ComponentChildren; wide?: boolean; title?: string }) {
  const lost = useContext(Lost);
  const stale = useContext(Stale) || lost !== null;
  return (
    <div class={`tile tile-${lost !== null ? "warn" : tone} ${wide ? "tile-wide" : ""} ${stale ? "is-stale" : ""}`} title={title}>
      <h2>{label}</h2>
      {children}
      {lost !== null && <span class="tile-lost tabular">▨ no sample since {sinceText(lost, serverNow.value, zone.value || undefined)}</span>}
    </div>
  );
}

/** What a tile shows when there is no sample: never a zero, never a calm green. */
function Absent({ now, what }: { now: Now; what: NowKey }) {
  const error = now.error(what);
  if (error) return <span class="tile-absent" title={error}>query failed</span>;
  if (!now.source.ready) return <span class="tile-absent">{connection.value === "open" ? "waiting" : "no connection"}</span>;
  return <span class="tile-absent">no sample</span>;
}

function BreakerTile({ now, states }: { now: Now; states: Source }) {
  states.version.value;
  const value = now.get("breaker");
  const quiet = now.get("quiet") > 0;
  const column = states.states[0]!.buffer.view();
  const since = column.columns[0] ? unchangedSince(column.t, column.columns[0].values) : null;
  const clock = serverNow.value;
  const zoneId = zone.value || undefined;
  const sinceLine = since && now.lost === null ? (
    <span class="tile-sub tabular">{since.exact ? `since ${sinceText(since.t, clock, zoneId)}, ${age(clock - since.t)}` : `for more than ${age(clock - since.t)}`}</span>
  ) : null;
  if (Number.isNaN(value)) return <Tile label="Circuit breaker" tone="warn"><Absent now={now} what="breaker" /></Tile>;
  if (value > 0) return <Tile label="Circuit breaker" tone="bad"><span class="tile-value"><State tone="bad">TRIPPED</State></span>{sinceLine}</Tile>;
  if (quiet) return <Tile label="Circuit breaker" tone="warn"><span class="tile-value"><State tone="warn">Quiet period</State></span>{sinceLine}</Tile>;
  return <Tile label="Circuit breaker" tone="good"><span class="tile-value"><State tone="good">Trading</State></span>{sinceLine}</Tile>;
}

function ModeTile({ now }: { now: Now }) {
  const value = now.get("dryRun");
  if (Number.isNaN(value)) return <Tile label="Mode" tone="warn"><Absent now={now} what="dryRun" /></Tile>;
  return value > 0 ? (
    <Tile label="Mode" tone="warn"><span class="tile-value"><State tone="warn">Dry run</State></span><span class="tile-sub">orders are not sent</span></Tile>
  ) : (
    <Tile label="Mode"><span class="tile-value"><State tone="info">Paper</State></span><span class="tile-sub">to the paper broker</span></Tile>
  );
}

function SessionTile() {
  const state = marketClock.value[SHADED_MIC];
  const { sessions } = useSessions(SHADED_MIC);
  const clock = serverNow.value;
  const change = sessions ? nextChange(sessions, clock) : null;
  const open = state === "open";
  if (!state) return <Tile label={`Session ${SHADED_MIC}`} tone="warn"><span class="tile-absent">not known</span></Tile>;
  return (
    <Tile label={`Session ${SHADED_MIC}`}>
      <span class="tile-value"><State tone={open ? "good" : "off"}>{open ? "Open" : state.charAt(0).toUpperCase() + state.slice(1)}</State></span>
      <span class="tile-sub tabular">{change ? `${change.what} in ${countdown(change.at - clock)}` : "no change known"}</span>
    </Tile>
  );
}

export function dollars(value: number, decimals = 2): string {
  const text = Math.abs(value).toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
  return `${value < 0 && Number(Math.abs(value).toFixed(decimals)) !== 0 ? MINUS : ""}$${text}`;
}

function signedDollars(value: number): string {
  return value > 0 ? `+${dollars(value)}` : dollars(value);
}

function PnlTile({ now, source }: { now: Now; source: Source }) {
  source.version.value;
  const pnl = now.by("pnl", "type");
  const total = pnl.get("total") ?? NaN;
  const realized = pnl.get("realized") ?? NaN;
  const unrealized = pnl.get("unrealized") ?? NaN;
  const limit = now.get("lossLimit");
  if (Number.isNaN(total)) return <Tile label="P&L today" tone="warn" wide><Absent now={now} what="pnl" /></Tile>;
  const used = limit > 0 ? Math.max(0, -total) / limit : NaN;
  const tone: Tone = used >= 1 ? "bad" : used >= 0.7 ? "warn" : "none";
  const { t, columns } = source.states[0]!.buffer.view();
  return (
    <Tile label="P&L today" tone={tone} wide>
      <span class="tile-value tabular"><Sign value={total}>{signedDollars(total)}</Sign></span>
      <span class="tile-sub tabular">realised {Number.isNaN(realized) ? "–" : signedDollars(realized)} · unrealised {Number.isNaN(unrealized) ? "–" : signedDollars(unrealized)}</span>
      <Bullet share={used} tone={tone} label={Number.isNaN(limit) ? "loss limit not known" : `${toFixed(used * 100, 0)}% of the loss limit ${dollars(limit, 0)}`} />
      {columns[0] && t.length > 2 && <Spark data={{ t, values: columns[0].values }} tint={color(total < 0 ? "red" : "green")} source={source} />}
    </Tile>
  );
}

function Bullet({ share, tone, label }: { share: number; tone: Tone; label: string }) {
  const width = Number.isNaN(share) ? 0 : Math.min(1, Math.max(0, share));
  return (
    <span class={`bullet bullet-${tone}`} title={label}>
      <span class="bullet-track" aria-hidden="true">
        <span class="bullet-fill" style={{ width: `${width * 100}%` }} />
        <i style={{ left: "70%" }} />
      </span>
      <span class="bullet-text">{label}</span>
    </span>
  );
}

function DrawdownTile({ now }: { now: Now }) {
  const value = now.get("drawdown");
  const limit = now.get("drawdownLimit");
  if (Number.isNaN(value)) return <Tile label="Drawdown" tone="warn"><Absent now={now} what="drawdown" /></Tile>;
  const used = limit > 0 ? value / limit : NaN;
  const tone: Tone = used >= 1 ? "bad" : used >= 0.7 ? "warn" : "none";
  return (
    <Tile label="Drawdown" tone={tone}>
      <span class="tile-value tabular">{toFixed(value * 100, 2)}%</span>
      <Bullet share={used} tone={tone} label={Number.isNaN(limit) ? "limit not known" : `limit ${toFixed(limit * 100, 0)}%`} />
    </Tile>
  );
}

function ExposureTile({ now }: { now: Now }) {
  const exposure = now.by("exposure", "kind");
  const gross = exposure.get("gross") ?? NaN;
  const net = exposure.get("net") ?? NaN;
  const limit = now.get("exposureLimit");
  if (Number.isNaN(gross)) return <Tile label="Exposure" tone="warn"><Absent now={now} what="exposure" /></Tile>;
  const used = limit > 0 ? gross / limit : NaN;
  const tone: Tone = used >= 1 ? "bad" : used >= 0.8 ? "warn" : "none";
  return (
    <Tile label="Exposure gross" tone={tone}>
      <span class="tile-value tabular">{dollars(gross, 0)}</span>
      <span class="tile-sub tabular">net {Number.isNaN(net) ? "–" : <Sign value={net}>{dollars(net, 0)}</Sign>}</span>
      <Bullet share={used} tone={tone} label={Number.isNaN(limit) ? "limit not known" : `limit ${dollars(limit, 0)}`} />
    </Tile>
  );
}

function OrdersTile({ now }: { now: Now }) {
  const value = now.get("openOrders");
  const mismatches = now.get("mismatches");
  if (Number.isNaN(value)) return <Tile label="Open orders" tone="warn"><Absent now={now} what="openOrders" /></Tile>;
  return (
    <Tile label="Open orders" tone={mismatches > 0 ? "bad" : "none"}>
      <span class="tile-value tabular">{toFixed(value, 0)}</span>
      <span class="tile-sub">{Number.isNaN(mismatches) ? "" : mismatches > 0 ? <span class="bad">✕ {mismatches} positions differ</span> : "reconciled with broker"}</span>
    </Tile>
  );
}

/** The equities' session is over, or has not begun. */
function isShut(): boolean {
  const state = marketClock.value[SHADED_MIC];
  return state !== undefined && state !== "open";
}

function AgeTile({ now }: { now: Now }) {
  const shut = isShut();
  const all = [...now.by("priceAge", "symbol")];
  // Outside its session nobody quotes an equity: its price grows old and nothing is wrong.
  const ages = shut ? all.filter(([symbol]) => symbol.includes("/")) : all;
  const stale = now.get("staleSymbols");
  if (ages.length === 0 && all.length > 0) return <Tile label="Oldest price"><span class="tile-value">–</span><span class="tile-sub">{SHADED_MIC} is closed</span></Tile>;
  if (ages.length === 0) return <Tile label="Oldest price" tone="warn"><Absent now={now} what="priceAge" /></Tile>;
  const [symbol, worst] = ages.reduce((a, b) => (b[1] > a[1] ? b : a));
  // A difference of 1.3 s is the feed's clock and no reason to worry; what grows is.
  const tone: Tone = worst >= PRICE_AGE_BAD_S ? "bad" : worst >= PRICE_AGE_WARN_S ? "warn" : "none";
  return (
    <Tile label="Oldest price" tone={tone} title={shut ? `of what trades now: ${SHADED_MIC} is closed` : undefined}>
      <span class="tile-value tabular">{tone !== "none" && <span aria-hidden="true">▲ </span>}{age(worst * 1000)}</span>
      <span class="tile-sub">{symbol}{stale > 0 && !shut ? ` · ${stale} symbols stale` : ""}</span>
    </Tile>
  );
}

function DutyTile() {
  const alerts = useAlerts();
  const counts = alertCounts.value;
  if (alerts === null || counts === null) return <Tile label="Alerts to take" tone="warn"><span class="tile-absent">not known</span></Tile>;
  const grave = alerts.some((alert) => alert.state === "firing" && !alert.acknowledged && !muted(alert) && severityRank(alert.severity) <= 2);
  const tone: Tone = grave ? "bad" : counts.open ? "warn" : lostSince.value !== null ? "warn" : "good";
  return (
    <Tile label="Alerts to take" tone={tone}>
      <span class="tile-value tabular"><a href="/alerts">{counts.open ? <State tone="bad">{counts.open}</State> : <State tone="good">0</State>}</a></span>
      <span class="tile-sub">{counts.firing} firing in all</span>
    </Tile>
  );
}

function chartPanel(title: string, targets: readonly (readonly [refId: string, expr: string, legend: string])[], unit: string, custom: Record<string, unknown>, colors: Record<string, string>, calcs: string[]): Panel {
  const overrides: Override[] = Object.entries(colors).map(([name, tint]) => ({ matcher: { id: "byName", options: name }, properties: [{ id: "color", value: { mode: "fixed", fixedColor: tint } }] }));
  return {
    id: 0,
    type: "timeseries",
    title,
    gridPos: { x: 0, y: 0, w: 12, h: 8 },
    targets: targets.map(([refId, expr, legendFormat]) => ({ refId, expr, legendFormat })),
    options: { legend: { showLegend: true, displayMode: "list", placement: "bottom", calcs }, tooltip: { mode: "multi", sort: "none" } },
    fieldConfig: { defaults: { unit, min: 0, custom: { lineWidth: 1.5, ...custom }, mappings: [] }, overrides },
    transformations: [],
  };
}

function OrderFlow({ page, stepMs }: { page: PageContext; stepMs: number }) {
  const rate = promDuration(Math.max(15_000, rateInterval(stepMs, scrapeMs.value)));
  const panel = useMemo(
    () =>
      chartPanel(
        "Order flow",
        [
          ["A", `sum by (status) (rate(execution_gateway_orders_total[${rate}]))`, "{{status}}"],
          ["B", `sum(rate(execution_gateway_fills_total[${rate}]))`, "fills"],
        ],
        "ops",
        { fillOpacity: 8 },
        { success: "green", rejected: "orange", failed: "red", fills: "blue" },
        ["lastNotNull"],
      ),
    [rate],
  );
  // "orders/s" reads better than "ops/s".
  panel.fieldConfig.defaults.unit = "suffix: /s";
  const source = useSource(useMemo(() => panel.targets.map((t) => ({ refId: t.refId, expr: t.expr, stepMs, instant: false })), [panel, stepMs]), page.window);
  return (
    <div class="desk-flow">
      <PanelFrame title="Order flow" description={`Orders handled by the gateway per second by outcome, and fills; rate over ${rate}`} source={source} table={() => timeseriesTable(panel, source, page)} exploreUrl={`/explore?expr=${encodeURIComponent(panel.targets[0]!.expr)}`}>
        <TimeseriesPanel panel={panel} source={source} page={page} />
      </PanelFrame>
    </div>
  );
}

function Rejects({ page }: { page: PageContext }) {
  const window = promDuration(page.window.to - page.window.from);
  const expr = `sum by (reason) (increase(execution_gateway_order_rejections_total[${window}]))`;
  const source = useSource(useMemo(() => [{ refId: "A", expr, stepMs: 1000, instant: true }], [expr]), page.window);
  source.version.value;
  const { t, columns } = source.states[0]!.buffer.view();
  const rows = columns
    .map((column) => ({ reason: column.labels["reason"] ?? "", n: t.length ? column.values[t.length - 1]! : NaN }))
    .filter((row) => !Number.isNaN(row.n))
    .sort((a, b) => b.n - a.n || a.reason.localeCompare(b.reason));
  const total = rows.reduce((sum, row) => sum + row.n, 0);
  const seen = rows.filter((row) => row.n >= 0.5);
  const none = rows.filter((row) => row.n < 0.5);
  const data: TableData = {
    columns: [{ title: "Reason" }, { title: "", width: 80 }, { title: "Orders", numeric: true }, { title: "Share", numeric: true }],
    rows: seen.map((row) => [
      { text: REASONS[row.reason] ?? row.reason },
      { text: "", share: total ? row.n / total : 0, color: color("orange"), sort: row.n },
      { text: toFixed(Math.round(row.n), 0), sort: row.n },
      { text: total ? `${toFixed((row.n / total) * 100, 0)}%` : "–", sort: row.n },
    ]),
  };
  return (
    <div class="desk-rejects">
      <PanelFrame title={`Rejects by reason, last ${window}`} source={source} exploreUrl={`/explore?expr=${encodeURIComponent(expr)}`} extra={rows.length > 0 && <span class="dim tabular">{toFixed(Math.round(total), 0)} in all</span>}>
        {!source.ready ? <div class="no-data is-loading">waiting for data</div> : rows.length === 0 ? <div class="no-data">No rejection has been counted yet: the counter has no series</div> : (
          <>
            {seen.length > 0 ? <DataTable data={data} caption="Rejects by reason" /> : <p class="quiet-line"><State tone="good">No order was rejected</State></p>}
            {none.length > 0 && seen.length > 0 && <p class="dim foot-line">none: {none.map((row) => REASONS[row.reason] ?? row.reason).join(", ")}</p>}
          </>
        )}
      </PanelFrame>
    </div>
  );
}

const LATENCIES = [
  { id: "placement", name: "Placement", metric: "execution_gateway_order_placement_duration_seconds", what: "Time from receiving an order request to its answer" },
  { id: "fill", name: "Fill", metric: "execution_gateway_order_fill_duration_seconds", what: "Time from the broker's acknowledgement to the full fill" },
] as const;

function Latency({ page }: { page: PageContext }) {
  const [kind, setKind] = useState<(typeof LATENCIES)[number]["id"]>("placement");
  const chosen = LATENCIES.find((one) => one.id === kind)!;
  const rangeMs = page.window.to - page.window.from;
  const stepMs = stepFor(rangeMs, 90, Math.max(5000, 4 * scrapeMs.value));
  const step = promDuration(stepMs);
  const expr = `sum by (le) (increase(${chosen.metric}_bucket[${step}]))`;
  const source = useSource(useMemo(() => [{ refId: "A", expr, stepMs, instant: false }], [expr, stepMs]), page.window);
  const quantiles = useSource(
    useMemo(() => [0.5, 0.95, 0.99].map((q) => ({ refId: `p${q * 100}`, expr: `histogram_quantile(${q}, sum by (le) (rate(${chosen.metric}_bucket[5m])))`, stepMs: 5000, instant: true })), [chosen]),
    page.window,
  );
  quantiles.version.value;
  const read = (i: number) => {
    const { t, columns } = quantiles.states[i]!.buffer.view();
    const value = columns[0] ? latest(t, columns[0].values) : null;
    return value ? formatText("s", value.v) : "–";
  };
  return (
    <div class="desk-latency">
      <PanelFrame
        title="Order latency"
        description={`${chosen.what}. Each column is ${step}, each row a bucket of the histogram, brightness the number of orders.`}
        source={source}
        table={() => bucketTable(source, "s")}
        exploreUrl={`/explore?expr=${encodeURIComponent(`histogram_quantile(0.95, sum by (le) (rate(${chosen.metric}_bucket[5m])))`)}`}
        extra={
          <>
            <span class="quantiles tabular" title="over the last 5 minutes">p50 <b>{read(0)}</b> p95 <b>{read(1)}</b> p99 <b>{read(2)}</b></span>
            <span class="tabs" role="group" aria-label="Which latency">
              {LATENCIES.map((one) => <button key={one.id} type="button" aria-pressed={kind === one.id} onClick={() => setKind(one.id)}>{one.name}</button>)}
            </span>
          </>
        }
      >
        <HeatmapView source={source} unit="s" countUnit="orders" closed={page.closed} label={`Order ${chosen.name.toLowerCase()} latency`} />
      </PanelFrame>
    </div>
  );
}

function stateRows(source: Source): { rows: StateRow[]; from: number; to: number } {
  const { from, to } = source.extent(serverNow.peek());
  const rows: StateRow[] = [];
  STATE_QUERIES.forEach((query, i) => {
    const { t, columns } = source.states[i]!.buffer.view();
    const sorted = [...columns].sort((a, b) => a.key.localeCompare(b.key));
    if (sorted.length === 0 && !query.by) rows.push({ name: query.name, blocks: [{ from, to, text: "no data", tone: "none" }] });
    for (const column of sorted) {
      const name = query.by ? [query.name, column.labels[query.by] ?? ""].filter(Boolean).join(" ") : query.name;
      rows.push({ name, blocks: blocksOf(t, column.values, source.stepMs, to, (v) => (v > 0 ? query.on : query.off)) });
    }
  });
  return { rows, from, to };
}

function StatePanel({ source }: { source: Source }) {
  source.version.value;
  serverNow.value;
  const { rows, from, to } = stateRows(source);
  const table = (): TableData => ({
    columns: [{ title: "What" }, { title: "State" }, { title: "From" }, { title: "To" }, { title: "Lasted", numeric: true }],
    rows: rows.flatMap((row) =>
      row.blocks.map((block) => [
        { text: row.name },
        { text: block.text },
        { text: sinceText(block.from, to, zone.peek() || undefined), sort: block.from },
        { text: sinceText(block.to, to, zone.peek() || undefined), sort: block.to },
        { text: age(block.to - block.from), sort: block.to - block.from },
      ]),
    ),
  });
  return (
    <div class="desk-states">
      <PanelFrame title="States" source={source} table={table}>
        <Timeline rows={rows} from={from} to={to} label="States" />
      </PanelFrame>
    </div>
  );
}

function Positions({ now }: { now: Now }) {
  const quantity = now.by("position", "symbol");
  const mid = now.by("mid", "symbol");
  const ages = now.by("priceAge", "symbol");
  const shut = isShut();
  const symbols = [...new Set([...quantity.keys(), ...mid.keys()])].filter(Boolean).sort();
  const notional = (symbol: string) => (quantity.get(symbol) ?? NaN) * (mid.get(symbol) ?? NaN);
  const biggest = Math.max(1, ...symbols.map((symbol) => Math.abs(notional(symbol)) || 0));
  const data: TableData = {
    columns: [{ title: "Symbol" }, { title: "Quantity", numeric: true }, { title: "Price", numeric: true }, { title: "Price age", numeric: true }, { title: "Value", numeric: true }, { title: "short ◂ ▸ long", width: 120 }],
    sortBy: { column: 4, desc: true },
    rows: symbols.map((symbol) => {
      const q = quantity.get(symbol) ?? NaN;
      const value = notional(symbol);
      const seconds = ages.get(symbol) ?? NaN;
      const tone = shut && !symbol.includes("/") ? "" : seconds >= PRICE_AGE_BAD_S ? "bad" : seconds >= PRICE_AGE_WARN_S ? "warn" : "";
      const share = Number.isNaN(value) ? 0 : Math.abs(value) / biggest / 2;
      return [
        { text: symbol, content: <b>{symbol}</b> },
        { text: "", sort: q, content: Number.isNaN(q) ? <span class="dim">–</span> : <Sign value={q}>{quantityText(q)}</Sign> },
        { text: Number.isNaN(mid.get(symbol) ?? NaN) ? "–" : dollars(mid.get(symbol)!), sort: mid.get(symbol) ?? NaN },
        { text: "", sort: seconds, content: Number.isNaN(seconds) ? <span class="dim">–</span> : <span class={tone}>{tone ? "▲ " : ""}{age(seconds * 1000)}</span> },
        { text: Number.isNaN(value) ? "–" : dollars(value, 0), sort: Number.isNaN(value) ? NaN : Math.abs(value) },
        {
          text: "",
          sort: Number.isNaN(value) ? NaN : value,
          content: (
            <span class="pos-bar" aria-hidden="true">
              <i class={value < 0 ? "is-short" : "is-long"} style={value < 0 ? { right: "50%", width: `${share * 100}%` } : { left: "50%", width: `${share * 100}%` }} />
            </span>
          ),
        },
      ];
    }),
  };
  return (
    <div class="desk-positions">
      <PanelFrame title="Positions" source={now.source} extra={now.lost !== null && <StaleBadge since={now.lost} />}>
        {symbols.length === 0 ? <div class={`no-data ${now.source.ready ? "" : "is-loading"}`}>{now.source.ready ? "No sample of any position now" : "waiting for data"}</div> : <DataTable data={data} caption="Positions" />}
      </PanelFrame>
    </div>
  );
}

function quantityText(q: number): string {
  const text = Math.abs(q).toLocaleString("en-US", { maximumFractionDigits: 4 });
  return q < 0 ? MINUS + text : text;
}

const DESK_ALERTS_MAX = 50;

function AlertPanel() {
  const alerts = useAlerts();
  const clock = serverNow.value;
  const all = (sortedAlerts.value ?? []).filter(isOpen);
  // In a storm nobody reads on: the worst ones, and how many more there are.
  const open = all.slice(0, DESK_ALERTS_MAX);
  const more = (alertCounts.value ? alertCounts.value.firing + alertCounts.value.pending : all.length) - open.length;
  const zoneId = zone.value || undefined;
  return (
    <div class="desk-alerts">
      <PanelFrame title="Alerts" extra={<a class="dim" href="/alerts">all</a>}>
        {alerts === null ? <div class="no-data is-loading">waiting for data</div> : open.length === 0 ? (
          <p class="quiet-line">{lostSince.value === null ? <State tone="good">Nothing is firing or pending</State> : <State tone="warn">Not known without a connection</State>}</p>
        ) : (
          <ul class="mini-alerts" tabIndex={0} aria-label="Open alerts">
            {open.map((alert) => {
              const since = instant(alert.since) ?? instant(alert.active_at);
              return (
                <li key={alert.fingerprint} class={`mini-alert mini-${alert.state} ${muted(alert) ? "is-quiet" : ""}`}>
                  <State tone={alert.state === "firing" ? "bad" : "warn"}>{alert.severity}</State>
                  <a href={`/alerts?q=${encodeURIComponent(alert.name)}`}>{alert.name}</a>
                  <span class="mini-text">{alert.annotations["summary"] ?? ""}</span>
                  <span class="dim tabular">{alert.acknowledged ? `ack ${alert.acknowledged.by} · ` : ""}{since ? sinceText(since, clock, zoneId) : ""}</span>
                </li>
              );
            })}
            {more > 0 && <li class="mini-alert"><a href="/alerts">{more} more</a></li>}
          </ul>
        )}
      </PanelFrame>
    </div>
  );
}
