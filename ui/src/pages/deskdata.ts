// The questions that the desk page asks, each under a short name.

import { type QuerySpec } from "../data/source";

/** Small numbers at the top: the newest sample of each. */
export const NOW_QUERIES = {
  breaker: "max(execution_gateway_circuit_breaker_status)",
  quiet: "max(execution_gateway_circuit_breaker_quiet_period)",
  dryRun: "max(execution_gateway_dry_run_mode)",
  pnl: "execution_gateway_pnl_dollars",
  lossLimit: "max(execution_gateway_daily_loss_limit_dollars)",
  drawdown: "max(execution_gateway_drawdown_ratio)",
  drawdownLimit: "max(execution_gateway_drawdown_limit_ratio)",
  exposure: "execution_gateway_exposure_dollars",
  exposureLimit: "max(execution_gateway_exposure_limit_dollars)",
  equity: "max(execution_gateway_equity_dollars)",
  openOrders: "sum(execution_gateway_open_orders)",
  staleSymbols: "max(market_data_stale_symbols_current)",
  priceAge: "max by (symbol) (market_data_price_age_seconds)",
  mid: "max by (symbol) (market_data_mid_price_dollars)",
  position: "sum by (symbol) (execution_gateway_positions_current)",
  mismatches: "max(execution_gateway_position_mismatches)",
  up: 'up{job!="tradewatch"}',
} as const;

export type NowKey = keyof typeof NOW_QUERIES;

/** How far back the last word of a lost gateway is looked for. */
const LAST_WORD = "1h";

/** What the gateway said last, asked when it says nothing: a trader needs the last known exposure most then. */
export const LAST_SPECS: QuerySpec[] = [
  ...Object.entries(NOW_QUERIES)
    .filter(([, expr]) => expr.includes("execution_gateway_"))
    .map(([refId, expr]) => ({ refId, expr: lastWord(expr), stepMs: 1000, instant: true })),
  { refId: "since", expr: `max(ts_of_last_over_time(execution_gateway_open_orders[${LAST_WORD}]))`, stepMs: 1000, instant: true },
];

/** The same question about the last sample instead of the newest that is not stale. */
export function lastWord(expr: string): string {
  return expr.replace(/execution_gateway_\w+/g, (name) => `last_over_time(${name}[${LAST_WORD}])`);
}

export const NOW_SPECS: QuerySpec[] = Object.entries(NOW_QUERIES).map(([refId, expr]) => ({ refId, expr, stepMs: 1000, instant: true }));

export interface StateQuery {
  name: string;
  expr: string;
  /** One row per value of this label, named after it. */
  by?: string;
  on: { text: string; tone: "good" | "bad" | "warn" | "off" };
  off: { text: string; tone: "good" | "bad" | "warn" | "off" };
}

export const STATE_QUERIES: readonly StateQuery[] = [
  { name: "Circuit breaker", expr: "max(execution_gateway_circuit_breaker_status)", on: { text: "tripped", tone: "bad" }, off: { text: "closed: trading", tone: "good" } },
  { name: "Mode", expr: "max(execution_gateway_dry_run_mode)", on: { text: "dry run", tone: "warn" }, off: { text: "paper", tone: "good" } },
  { name: "", expr: 'up{job!="tradewatch"}', by: "job", on: { text: "up", tone: "good" }, off: { text: "down", tone: "bad" } },
  { name: "Broker API", expr: "max(execution_gateway_alpaca_connection_status)", on: { text: "connected", tone: "good" }, off: { text: "lost", tone: "bad" } },
  { name: "Broker stream", expr: "max(execution_gateway_broker_stream_connected)", on: { text: "connected", tone: "good" }, off: { text: "lost", tone: "bad" } },
  { name: "Market data feed", expr: "max(market_data_websocket_connection_status)", on: { text: "connected", tone: "good" }, off: { text: "lost", tone: "bad" } },
  { name: "Databases", expr: 'min({__name__=~"(execution_gateway|signal_service|orchestrator)_database_connection_status"})', on: { text: "connected", tone: "good" }, off: { text: "lost", tone: "bad" } },
  { name: "Price cache", expr: 'min({__name__=~"(execution_gateway|signal_service|market_data)_redis_connection_status"})', on: { text: "connected", tone: "good" }, off: { text: "lost", tone: "bad" } },
  { name: "Model", expr: "max(signal_service_model_loaded_status)", on: { text: "loaded", tone: "good" }, off: { text: "missing", tone: "bad" } },
  { name: "Session", expr: "tradewatch_market_open", by: "mic", on: { text: "open", tone: "good" }, off: { text: "closed", tone: "off" } },
];

export function stateSpecs(stepMs: number): QuerySpec[] {
  return STATE_QUERIES.map((query, i) => ({ refId: String(i), expr: query.expr, stepMs, instant: false }));
}

export const REASONS: Record<string, string> = {
  broker_rejected: "broker rejected",
  broker_unreachable: "broker unreachable",
  invalid_order: "invalid order",
  insufficient_buying_power: "insufficient buying power",
  position_limit: "position limit",
  notional_limit: "notional limit",
  circuit_breaker: "circuit breaker",
  stale_price: "stale price",
  market_closed: "market closed",
};

/** Prices older than this stop a trader from trusting them; the gateway refuses orders on them as well. */
export const PRICE_AGE_WARN_S = 5;
export const PRICE_AGE_BAD_S = 15;
