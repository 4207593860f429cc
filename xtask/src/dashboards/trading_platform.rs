//! The three dashboards of trading-platform.
//!
//! Every query selects the platform, so that the panels stay right where several platforms share one server. A panel
//! that may rightly show one unchanging value says so in its description, in a sentence that begins with "Constant".

use super::{Dashboard, Panel};

/// `name{platform="trading-platform",…}`
fn of(metric: &str, more: &str) -> String {
    let comma = if more.is_empty() { "" } else { "," };
    format!("{metric}{{platform=\"trading-platform\"{comma}{more}}}")
}

fn rate_by(metric: &str, by: &str) -> String {
    format!("sum by ({by}) (rate({}[1m]))", of(metric, ""))
}

fn quantiles(panel: Panel, metric: &str) -> Panel {
    [("0.5", "P50"), ("0.95", "P95"), ("0.99", "P99")].into_iter().fold(panel, |panel, (q, legend)| {
        let buckets = of(&format!("{metric}_bucket"), "");
        panel.query(format!("histogram_quantile({q}, sum by (le) (rate({buckets}[5m])))"), legend)
    })
}

fn connected(panel: Panel) -> Panel {
    panel.base_color("red").threshold(1.0, "green").mapping("0", "DISCONNECTED", "red").mapping(
        "1",
        "CONNECTED",
        "green",
    )
}

fn up(title: &'static str, job: &str) -> Panel {
    Panel::stat(title, "Whether the last scrape of the service succeeded. Constant while it stays up.")
        .query(of("up", &format!("job=\"{job}\"")), "")
        .width(6)
        .base_color("red")
        .threshold(1.0, "green")
        .mapping("0", "DOWN", "red")
        .mapping("1", "UP", "green")
}

/// Orders, positions, profit and loss, signals and runs.
pub fn trading_overview() -> Dashboard {
    Dashboard::new(
        "trading-overview",
        "Trading overview",
        "Orders, positions, P&L, signals and orchestration of trading-platform.",
        &["trading-platform", "trading"],
    )
    .row("Now")
    .panel(
        Panel::stat("Circuit breaker", "OPEN means that trading is allowed. Constant while nothing trips it.")
            .query(of("execution_gateway_circuit_breaker_status", ""), "")
            .threshold(1.0, "red")
            .mapping("0", "OPEN", "green")
            .mapping("1", "TRIPPED", "red"),
    )
    .panel(
        Panel::stat("Mode", "Dry run records orders without sending them. Constant until somebody switches it.")
            .query(of("execution_gateway_dry_run_mode", ""), "")
            .threshold(1.0, "yellow")
            .mapping("0", "PAPER", "green")
            .mapping("1", "DRY RUN", "yellow"),
    )
    .panel(
        Panel::stat("P&L today", "Realised and unrealised profit and loss together.")
            .query(of("execution_gateway_pnl_dollars", "type=\"total\""), "")
            .unit("currencyUSD")
            .decimals(2)
            .base_color("red")
            .threshold(0.0, "green"),
    )
    .panel(
        Panel::stat("Total orders", "Orders handled since the gateway started.")
            .query(format!("sum({})", of("execution_gateway_orders_total", "")), "")
            .decimals(0),
    )
    .panel(
        Panel::stat("Orders accepted", "Orders that the broker took, or that dry run recorded.")
            .query(format!("sum({})", of("execution_gateway_orders_total", "status=\"success\"")), "")
            .decimals(0),
    )
    .panel(
        Panel::stat("Orders rejected", "Refused by a check or by the broker, at once or later on its stream. Constant while nothing is refused.")
            .query(format!("sum({})", of("execution_gateway_order_rejections_total", "")), "")
            .decimals(0)
            .threshold(1.0, "red"),
    )
    .row("Orders")
    .panel(
        Panel::timeseries("Order rate by status", "Orders handled per second, by outcome.")
            .query(rate_by("execution_gateway_orders_total", "status"), "{{status}}")
            .unit("ops")
            .outcome_colors()
            .stacked(),
    )
    .panel(
        Panel::timeseries("Orders per second by symbol", "Orders handled per second, by symbol.")
            .query(rate_by("execution_gateway_orders_total", "symbol"), "{{symbol}}")
            .unit("ops")
            .stacked(),
    )
    .panel(
        Panel::timeseries("Orders per second by side", "Buying and selling, orders per second.")
            .query(rate_by("execution_gateway_orders_total", "side"), "{{side}}")
            .unit("ops"),
    )
    .panel(
        Panel::timeseries("Rejections by reason", "Orders refused per second, by the first reason found. Constant while nothing is refused.")
            .query(
                rate_by("execution_gateway_order_rejections_total", "reason"),
                "{{reason}}",
            )
            .unit("ops"),
    )
    .row("Positions and money")
    .panel(
        Panel::timeseries("Profit and loss", "Since the start of the trading day, FIFO.")
            .query(of("execution_gateway_pnl_dollars", ""), "{{type}}")
            .unit("currencyUSD"),
    )
    .panel(
        Panel::timeseries("Current positions", "Signed quantity held, by symbol.")
            .query(of("execution_gateway_positions_current", ""), "{{symbol}}"),
    )
    .panel(
        Panel::timeseries("Exposure", "Gross is the sum of all absolute position values, net the signed sum.")
            .query(of("execution_gateway_exposure_dollars", ""), "{{kind}}")
            .query(of("execution_gateway_exposure_limit_dollars", ""), "limit")
            .unit("currencyUSD"),
    )
    .panel(
        Panel::timeseries("Drawdown", "Loss from the highest equity so far; the breaker trips at the limit. Constant while equity stands at its highest.")
            .query(of("execution_gateway_drawdown_ratio", ""), "drawdown")
            .query(of("execution_gateway_drawdown_limit_ratio", ""), "limit")
            .unit("percentunit"),
    )
    .panel(
        Panel::gauge("Drawdown against its limit", "How much of the allowed drawdown is used; the breaker trips at 100 %. Constant while equity stands at its highest.")
            .query(format!("{} / {}", of("execution_gateway_drawdown_ratio", ""), of("execution_gateway_drawdown_limit_ratio", "")), "")
            .unit("percentunit")
            .range(0.0, 1.0)
            .threshold(0.5, "yellow")
            .threshold(0.8, "red")
            .width(6),
    )
    .panel(
        Panel::gauge("Loss against the daily limit", "How much of the allowed daily loss is used. Constant while the day is in profit.")
            .query(
                format!(
                    "clamp_min(-{}, 0) / ignoring (type) {}",
                    of("execution_gateway_pnl_dollars", "type=\"total\""),
                    of("execution_gateway_daily_loss_limit_dollars", "")
                ),
                "",
            )
            .unit("percentunit")
            .range(0.0, 1.0)
            .threshold(0.5, "yellow")
            .threshold(0.8, "red")
            .width(6),
    )
    .panel(
        Panel::timeseries("Fills", "Executions per second, by symbol.")
            .query(rate_by("execution_gateway_fills_total", "symbol"), "{{symbol}}")
            .unit("ops"),
    )
    .panel(
        Panel::timeseries("Open orders", "Orders sent and neither filled, cancelled nor rejected. Constant while every order fills at once.")
            .query(of("execution_gateway_open_orders", ""), "open")
            .steps(),
    )
    .row("Signals and runs")
    .panel(
        Panel::timeseries("Signal generation rate", "Signals per second, by model version.")
            .query(rate_by("signal_service_signals_generated_total", "model_version"), "{{model_version}}")
            .unit("ops"),
    )
    .panel(
        Panel::timeseries("Orchestration run rate", "Runs per second, by outcome; a run that fails inside counts as error.")
            .query(rate_by("orchestrator_runs_total", "status"), "{{status}}")
            .unit("ops")
            .outcome_colors(),
    )
    .panel(
        Panel::timeseries("Orders submitted by orchestration", "Orders that runs handed to the gateway, per second, by its answer.")
            .query(rate_by("orchestrator_orders_submitted_total", "status"), "{{status}}")
            .unit("ops")
            .outcome_colors(),
    )
    .panel(
        Panel::timeseries("Signals received and positions adjusted", "What the runs took in and what came of it, per second.")
            .query(format!("sum(rate({}[1m]))", of("orchestrator_signals_received_total", "")), "signals received")
            .query(format!("sum(rate({}[1m]))", of("orchestrator_positions_adjusted_total", "")), "positions adjusted")
            .unit("ops"),
    )
    .row("Market data")
    .panel(
        Panel::timeseries("Market data subscriptions", "Symbols subscribed. Constant while positions need no further symbol.")
            .query(of("market_data_subscribed_symbols_current", ""), "subscribed")
            .steps(),
    )
    .panel(
        Panel::timeseries("Messages by type", "WebSocket messages per second.")
            .query(rate_by("market_data_websocket_messages_received_total", "message_type"), "{{message_type}}")
            .unit("ops"),
    )
}

/// Is everything there, and can it reach what it needs?
pub fn service_health() -> Dashboard {
    let services = ["execution_gateway", "signal_service", "orchestrator"];
    let database = services.into_iter().zip(["gateway", "signals", "orchestrator"]).fold(
        connected(
            Panel::stat(
                "Database connections",
                "Each service's own write check. Constant while the database answers.",
            )
            .width(8),
        ),
        |panel, (service, legend)| {
            panel.query(of(&format!("{service}_database_connection_status"), ""), legend)
        },
    );
    Dashboard::new(
        "service-health",
        "Service health",
        "Availability of the services of trading-platform and of what they depend on.",
        &["trading-platform", "health"],
    )
    .row("Services")
    .panel(up("Execution gateway", "execution-gateway"))
    .panel(up("Signal service", "signal-service"))
    .panel(up("Orchestrator", "orchestrator"))
    .panel(up("Market data service", "market-data-service"))
    .row("Connections")
    .panel(database)
    .panel(
        connected(Panel::stat("Price cache connections", "Redis, or the built-in cache. Constant while it answers.").width(8))
            .query(of("execution_gateway_redis_connection_status", ""), "gateway")
            .query(of("signal_service_redis_connection_status", ""), "signals")
            .query(of("market_data_redis_connection_status", ""), "market data"),
    )
    .panel(
        connected(Panel::stat("WebSocket and broker", "Streams and the broker's API. Constant while they stand.").width(8))
            .query(of("market_data_websocket_connection_status", ""), "market data")
            .query(of("execution_gateway_alpaca_connection_status", ""), "broker API")
            .query(of("execution_gateway_broker_stream_connected", ""), "broker stream"),
    )
    .panel(
        Panel::stat("Service reachability", "What the orchestrator can reach. Constant while both answer.")
            .query(of("orchestrator_signal_service_available", ""), "signals")
            .query(of("orchestrator_execution_gateway_available", ""), "gateway")
            .width(8)
            .base_color("red")
            .threshold(1.0, "green")
            .mapping("0", "UNREACHABLE", "red")
            .mapping("1", "REACHABLE", "green"),
    )
    .panel(
        Panel::stat("Model", "Whether the signal service has a usable model. Constant while it has one.")
            .query(of("signal_service_model_loaded_status", ""), "")
            .width(8)
            .base_color("red")
            .threshold(1.0, "green")
            .mapping("0", "NOT LOADED", "red")
            .mapping("1", "LOADED", "green"),
    )
    .panel(
        Panel::stat("Trading circuit breaker", "OPEN means that trading is allowed. Constant while nothing trips it.")
            .query(of("execution_gateway_circuit_breaker_status", ""), "")
            .width(8)
            .threshold(1.0, "red")
            .mapping("0", "OPEN", "green")
            .mapping("1", "TRIPPED", "red"),
    )
    .row("Over time")
    .panel(
        Panel::timeseries("Service uptime", "1 while the last scrape succeeded. Constant while everything stays up.")
            .query(of("up", ""), "{{job}}")
            .range(0.0, 1.0)
            .steps(),
    )
    .panel(
        Panel::timeseries("Connection states", "1 while connected. Constant while everything stands.")
            .query(of("execution_gateway_database_connection_status", ""), "gateway database")
            .query(of("execution_gateway_redis_connection_status", ""), "gateway cache")
            .query(of("execution_gateway_alpaca_connection_status", ""), "broker")
            .query(of("market_data_websocket_connection_status", ""), "market data stream")
            .range(0.0, 1.0)
            .steps(),
    )
    .panel(
        Panel::timeseries("Price age by symbol", "Seconds since the last message of each symbol, measured by the service itself.")
            .query(of("market_data_price_age_seconds", ""), "{{symbol}}")
            .unit("s"),
    )
    .panel(
        Panel::timeseries("Sequence gaps", "Messages missed per minute, by symbol. Constant while the feed is whole.")
            .query(format!("sum by (symbol) (increase({}[1m])) or vector(0)", of("market_data_sequence_gaps_total", "")), "{{symbol}}"),
    )
    .panel(
        Panel::timeseries("Reconnects", "Attempts to reconnect the market data stream, per minute. Constant while it stands.")
            .query(format!("sum(increase({}[1m]))", of("market_data_reconnect_attempts_total", "")), "attempts"),
    )
    .panel(
        Panel::timeseries("Position syncs", "Comparisons of subscriptions with open positions, per minute, by outcome.")
            .query(format!("sum by (status) (increase({}[1m]))", of("market_data_position_syncs_total", "")), "{{status}}")
            .outcome_colors(),
    )
    .panel(
        Panel::timeseries("Stale symbols and venue clock", "Symbols without a fresh price, and the venue's clock against ours. Constant while the feed is fresh and the clocks agree.")
            .query(of("market_data_stale_symbols_current", ""), "stale symbols")
            .query(of("market_data_venue_clock_offset_seconds", ""), "venue clock offset (s)"),
    )
    .panel(
        Panel::timeseries("Reconciliation", "Symbols whose position differs from the broker's, and comparisons per minute. Constant while both agree.")
            .query(of("execution_gateway_position_mismatches", ""), "mismatches")
            .query(format!("sum by (status) (increase({}[1m]))", of("execution_gateway_reconciliations_total", "")), "{{status}}")
            .outcome_colors(),
    )
}

/// Latencies as quantiles, and how much is asked of each service.
pub fn performance() -> Dashboard {
    Dashboard::new(
        "performance",
        "Performance",
        "Latencies as P50, P95 and P99, and request rates of trading-platform.",
        &["trading-platform", "performance"],
    )
    .row("Latency")
    .panel(quantiles(
        Panel::timeseries(
            "Order placement latency",
            "From receiving an order request to its answer. Alert at 2 s (P95).",
        )
        .unit("s")
        .threshold(2.0, "red"),
        "execution_gateway_order_placement_duration_seconds",
    ))
    .panel(quantiles(
        Panel::timeseries(
            "Signal generation latency",
            "From a request for signals to its answer. Alert at 10 s (P95).",
        )
        .unit("s")
        .threshold(10.0, "red"),
        "signal_service_signal_generation_duration_seconds",
    ))
    .panel(quantiles(
        Panel::timeseries(
            "Orchestration duration",
            "A whole run: signals, sizing, orders, record. Alert at 60 s (P95).",
        )
        .unit("s")
        .threshold(60.0, "red"),
        "orchestrator_orchestration_duration_seconds",
    ))
    .panel(quantiles(
        Panel::timeseries(
            "Market data subscription latency",
            "From a request to subscribe to the feed's confirmation.",
        )
        .unit("s")
        .threshold(1.0, "red"),
        "market_data_subscription_duration_seconds",
    ))
    .panel(quantiles(
        Panel::timeseries("Order fill latency", "From the broker's acknowledgement to the complete fill.")
            .unit("s"),
        "execution_gateway_order_fill_duration_seconds",
    ))
    .row("Requests")
    .panel(
        Panel::timeseries("Request rate", "Requests per second, by service.")
            .query(format!("sum(rate({}[1m]))", of("execution_gateway_orders_total", "")), "orders")
            .query(format!("sum(rate({}[1m]))", of("signal_service_requests_total", "")), "signal requests")
            .query(format!("sum(rate({}[1m]))", of("orchestrator_runs_total", "")), "runs")
            .query(
                format!("sum(rate({}[1m]))", of("market_data_subscription_requests_total", "")),
                "subscription requests",
            )
            .unit("reqps"),
    )
    .panel(
        Panel::timeseries("Calls to the broker", "Calls per second, by endpoint and result.")
            .query(
                rate_by("execution_gateway_alpaca_api_requests_total", "endpoint, status"),
                "{{endpoint}} {{status}}",
            )
            .unit("reqps"),
    )
    .panel(
        Panel::timeseries(
            "Signal requests by endpoint",
            "Requests per second to the signal service, by endpoint and outcome.",
        )
        .query(rate_by("signal_service_requests_total", "endpoint, status"), "{{endpoint}} {{status}}")
        .unit("reqps"),
    )
    .panel(
        Panel::timeseries("Subscription requests", "Requests to subscribe and unsubscribe, per minute.")
            .query(
                format!(
                    "sum by (operation, status) (increase({}[1m]))",
                    of("market_data_subscription_requests_total", "")
                ),
                "{{operation}} {{status}}",
            ),
    )
    .row("Model")
    .panel(
        Panel::timeseries("Predictions", "Rows predicted per second, by model.")
            .query(rate_by("signal_service_model_predictions_total", "model_name"), "{{model_name}}")
            .unit("ops"),
    )
    .panel(
        Panel::timeseries(
            "Model version and reloads",
            "The version in use, and reloads per minute by outcome. Constant between releases.",
        )
        .query(of("signal_service_model_version", ""), "version")
        .query(
            format!("sum by (status) (increase({}[1m]))", of("signal_service_model_reload_total", "")),
            "reload {{status}}",
        )
        .steps(),
    )
    .panel(
        Panel::table("Model in use", "The labels of the loaded model. Constant between releases.")
            .query(of("signal_service_model_version_info", ""), ""),
    )
    .panel(
        Panel::timeseries("Broker events", "Order events that the broker pushed, per second, by type.")
            .query(rate_by("execution_gateway_webhook_received_total", "event_type"), "{{event_type}}")
            .unit("ops"),
    )
}
