//! The execution gateway against feed, broker and cache, on virtual time.

use crate::world::{Stage, value};
use serde_json::{Value, json};
use std::time::Duration;
use tradewatch_platforms::trading_platform::ServiceName::{
    ExecutionGateway, MarketDataService, MarketFeed, PaperBroker, PriceCache,
};
use tradewatch_platforms::trading_platform::gateway::webhook;
use tradewatch_platforms::trading_platform::money::Money;

const SECOND: Duration = Duration::from_secs(1);

/// A platform without orchestrator, so that only the test's orders flow.
async fn stage() -> Stage {
    let mut options = Stage::options(11);
    options.config.orchestrator.interval_ms = 0;
    // A broker without moods: every order is taken.
    options.config.broker.behaviour.reject_share = 0.0;
    let stage = Stage::start(options);
    stage
        .until("prices", 10 * SECOND, || stage.sum(MarketDataService, "market_data_mid_price_dollars") > 0.0)
        .await;
    stage.until("broker", 10 * SECOND, || stage.gateway("broker_stream_connected") == 1.0).await;
    tokio::time::sleep(3 * SECOND).await;
    stage
}

fn buy(symbol: &str, qty: &str, reference: &str) -> Value {
    json!({"symbol": symbol, "side": "buy", "qty": qty, "reference": reference})
}

impl Stage {
    fn gateway(&self, name: &str) -> f64 {
        self.value(ExecutionGateway, &format!("execution_gateway_{name}"))
    }

    fn rejections(&self, reason: &str) -> f64 {
        self.gateway(&format!("order_rejections_total{{reason=\"{reason}\"}}"))
    }

    fn orders(&self, symbol: &str, status: &str) -> f64 {
        self.gateway(&format!("orders_total{{symbol=\"{symbol}\",side=\"buy\",status=\"{status}\"}}"))
    }

    async fn order(&self, body: &Value) -> (u16, Value) {
        self.post(ExecutionGateway, "/api/v1/orders", body).await
    }

    async fn position(&self, symbol: &str) -> f64 {
        self.gateway(&format!("positions_current{{symbol=\"{symbol}\"}}"))
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_is_filled_once_however_often_it_is_sent() {
    let stage = stage().await;
    let (status, first) = stage.order(&buy("AAPL", "10", "a")).await;
    assert_eq!(status, 200, "{first}");
    let (status, again) = stage.order(&buy("AAPL", "10", "a")).await;
    assert_eq!((status, &again["client_order_id"]), (200, &first["client_order_id"]));
    stage.until("filled", 30 * SECOND, || stage.gateway("open_orders") == 0.0).await;
    assert_eq!(stage.position("AAPL").await, 10.0);
    assert_eq!(stage.orders("AAPL", "success"), 1.0, "a repeat is not counted");
    let timed = "order_placement_duration_seconds_count{symbol=\"AAPL\",side=\"buy\"}";
    assert_eq!(stage.gateway(timed), 2.0, "but timed");
    assert_eq!(stage.gateway("order_fill_duration_seconds_count"), 1.0);
    // Later, from the database.
    let (_, later) = stage.order(&buy("AAPL", "10", "a")).await;
    assert_eq!(later["state"], "filled");
    let (_, other) = stage.order(&buy("AAPL", "10", "b")).await;
    assert_ne!(other["client_order_id"], first["client_order_id"]);
    // The webhook told the same fills as the stream, and they counted once.
    stage.until("filled", 30 * SECOND, || stage.gateway("open_orders") == 0.0).await;
    assert!(stage.gateway("webhook_received_total{event_type=\"fill\"}") >= 2.0);
    assert_eq!(stage.position("AAPL").await, 20.0);
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(stage.gateway("position_mismatches"), 0.0);
    let pnl = stage.get(ExecutionGateway, "/api/v1/positions/pnl/realtime").await;
    assert_ne!(pnl["unrealized"], "0", "bought at the ask, valued between: {pnl}");
}

#[tokio::test(start_paused = true)]
async fn every_refusal_is_counted_under_its_reason() {
    let mut stage = stage().await;
    let cases = [
        (json!({"symbol": "GME", "side": "buy", "qty": "1"}), "invalid_order", 1.0),
        (json!({"symbol": "AAPL", "side": "buy", "qty": "0.5"}), "invalid_order", 2.0),
        (json!({"symbol": "AAPL", "side": "buy"}), "invalid_order", 3.0),
        (json!({"symbol": "AAPL", "side": "buy", "qty": "900"}), "position_limit", 1.0),
    ];
    for (body, reason, count) in cases {
        let (status, answer) = stage.order(&body).await;
        assert!(status == 422 || status == 400, "{status} {answer}");
        assert_eq!(stage.rejections(reason), count, "{body}: {answer}");
    }
    stage
        .post(PaperBroker, "/control/faults", &json!({"kind": "reject", "share": 1.0, "for_seconds": 5}))
        .await;
    let (status, answer) = stage.order(&buy("MSFT", "1", "r")).await;
    assert_eq!((status, &answer["reason"]), (422, &json!("broker_rejected")), "{answer}");
    assert_eq!(stage.orders("MSFT", "rejected"), 1.0);

    stage.post(ExecutionGateway, "/api/v1/breaker/trip", &json!({"reason": "test"})).await;
    let (_, answer) = stage.order(&buy("MSFT", "1", "c")).await;
    assert_eq!(answer["reason"], "circuit_breaker", "{answer}");
    stage.post(ExecutionGateway, "/api/v1/breaker/reset", &json!({})).await;
    tokio::time::sleep(10 * SECOND).await;

    stage.platform.kill(MarketFeed);
    tokio::time::sleep(8 * SECOND).await;
    let (_, answer) = stage.order(&buy("MSFT", "1", "s")).await;
    assert_eq!(answer["reason"], "stale_price", "{answer}");
    assert_eq!(stage.gateway("orders_total{symbol=\"__overflow__\",side=\"buy\",status=\"rejected\"}"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_broker_is_tried_three_times_and_asked_later() {
    let stage = stage().await;
    let errors = "alpaca_api_requests_total{endpoint=\"orders\",status=\"error\"}";
    stage.post(PaperBroker, "/control/faults", &json!({"kind": "refuse", "for_seconds": 20})).await;
    stage.until("told", 2 * SECOND, || stage.gateway("alpaca_connection_status") == 0.0).await;
    stage.until("told", 2 * SECOND, || stage.gateway("broker_stream_connected") == 0.0).await;
    let (status, answer) = stage.order(&buy("AAPL", "1", "u")).await;
    assert_eq!((status, &answer["reason"]), (503, &json!("broker_unreachable")), "{answer}");
    assert_eq!(stage.gateway(errors), 3.0);
    assert_eq!(stage.gateway("open_orders"), 1.0, "nobody knows whether the broker has it");
    stage.until("back", 40 * SECOND, || stage.gateway("alpaca_connection_status") == 1.0).await;
    stage.until("ended: the broker never had it", 90 * SECOND, || stage.gateway("open_orders") == 0.0).await;
    assert_eq!(stage.position("AAPL").await, 0.0);
    assert_eq!(stage.orders("AAPL", "rejected"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_lost_does_not_lose_the_order() {
    let mut options = Stage::options(12);
    options.config.orchestrator.interval_ms = 0;
    options.config.broker.behaviour.reject_share = 0.0;
    options.config.gateway.order_timeout_ms = 300;
    let stage = Stage::start(options);
    stage.until("broker", 10 * SECOND, || stage.gateway("broker_stream_connected") == 1.0).await;
    tokio::time::sleep(5 * SECOND).await;
    // Each answer comes after the gateway gave up; the orders are carried out all the same.
    stage
        .post(
            PaperBroker,
            "/control/faults",
            &json!({"kind": "latency", "milliseconds": 800, "for_seconds": 2}),
        )
        .await;
    let (_, answer) = stage.order(&buy("AAPL", "3", "l")).await;
    stage
        .until("filled once", 60 * SECOND, || stage.gateway("positions_current{symbol=\"AAPL\"}") == 3.0)
        .await;
    tokio::time::sleep(30 * SECOND).await;
    assert_eq!(stage.position("AAPL").await, 3.0, "{answer}");
    assert_eq!(stage.gateway("position_mismatches"), 0.0);
}

#[tokio::test(start_paused = true)]
async fn fills_during_a_lost_stream_or_a_dead_gateway_are_recovered() {
    let mut stage = stage().await;
    stage.post(PaperBroker, "/control/faults", &json!({"kind": "stream_refuse", "for_seconds": 12})).await;
    // Webhooks must not help: their address answers nobody while the gateway is killed, and here they do.
    let (status, _) = stage.order(&buy("MSFT", "5", "x")).await;
    assert_eq!(status, 200);
    stage
        .until("recovered", 40 * SECOND, || stage.gateway("positions_current{symbol=\"MSFT\"}") == 5.0)
        .await;
    stage.until("stream", 40 * SECOND, || stage.gateway("broker_stream_connected") == 1.0).await;

    // An order that rests, and whose fill happens while nobody listens.
    let price: f64 = stage.value(MarketDataService, "market_data_mid_price_dollars{symbol=\"TSLA\"}");
    let limit = (price * 1.05 * 100.0).round() / 100.0;
    stage
        .post(
            PaperBroker,
            "/control/faults",
            &json!({"kind": "lost_fill", "fills": 1_000, "for_seconds": 600}),
        )
        .await;
    let body = json!({"symbol": "TSLA", "side": "buy", "qty": "4", "limit_price": limit, "reference": "y"});
    let (status, answer) = stage.order(&body).await;
    assert_eq!(status, 200, "{answer}");
    stage.platform.kill(ExecutionGateway);
    tokio::time::sleep(20 * SECOND).await;
    stage.platform.start_service(ExecutionGateway);
    stage
        .until("recovered", 30 * SECOND, || stage.gateway("positions_current{symbol=\"TSLA\"}") == 4.0)
        .await;
    assert_eq!(stage.position("MSFT").await, 5.0, "rebuilt from the database");
    tokio::time::sleep(20 * SECOND).await;
    assert_eq!(stage.gateway("position_mismatches"), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_difference_to_the_broker_that_lasts_is_shown() {
    let stage = stage().await;
    let foreign =
        json!({"symbol": "GOOGL", "qty": "2", "side": "buy", "type": "market", "time_in_force": "day"});
    stage.broker_post("/v2/orders", &foreign).await;
    stage.until("the difference", 20 * SECOND, || stage.gateway("position_mismatches") == 1.0).await;
    let undo =
        json!({"symbol": "GOOGL", "qty": "2", "side": "sell", "type": "market", "time_in_force": "day"});
    stage.broker_post("/v2/orders", &undo).await;
    stage.until("no difference", 20 * SECOND, || stage.gateway("position_mismatches") == 0.0).await;
    stage.post(PaperBroker, "/control/faults", &json!({"kind": "error", "for_seconds": 8})).await;
    let errors = "reconciliations_total{status=\"error\"}";
    stage.until("a failed comparison", 10 * SECOND, || stage.gateway(errors) >= 1.0).await;
}

#[tokio::test(start_paused = true)]
async fn breaker_and_mode_survive_a_kill() {
    let mut stage = stage().await;
    let trips = "circuit_breaker_trips_total{reason=\"manual\"}";
    let (status, answer) = stage.post(ExecutionGateway, "/api/v1/breaker/trip", &json!({})).await;
    assert_eq!((status, &answer["saved"]), (200, &json!(true)));
    assert_eq!((stage.gateway("circuit_breaker_status"), stage.gateway(trips)), (1.0, 1.0));
    stage.post(ExecutionGateway, "/api/v1/mode", &json!({"dry_run": true})).await;
    stage.platform.kill(ExecutionGateway);
    tokio::time::sleep(SECOND).await;
    stage.platform.start_service(ExecutionGateway);
    stage.until("tripped again", 5 * SECOND, || stage.gateway("circuit_breaker_status") == 1.0).await;
    assert_eq!((stage.gateway("dry_run_mode"), stage.gateway(trips)), (1.0, 0.0), "a restart is no trip");

    let (status, _) = stage.post(ExecutionGateway, "/api/v1/breaker/reset", &json!({})).await;
    assert_eq!(status, 200);
    assert_eq!(
        (stage.gateway("circuit_breaker_status"), stage.gateway("circuit_breaker_quiet_period")),
        (1.0, 1.0)
    );
    stage.until("trading", 12 * SECOND, || stage.gateway("circuit_breaker_status") == 0.0).await;
    assert_eq!(stage.gateway("circuit_breaker_quiet_period"), 0.0);
    let (status, _) = stage.post(ExecutionGateway, "/api/v1/breaker/reset", &json!({})).await;
    assert_eq!(status, 409);

    tokio::time::sleep(5 * SECOND).await;
    let (status, answer) = stage.order(&buy("AAPL", "1", "dry")).await;
    assert_eq!((status, &answer["state"]), (200, &json!("dry_run")), "{answer}");
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(stage.gateway("fills_total"), 0.0);
    assert_eq!(stage.gateway("alpaca_connection_status"), 1.0, "checked in dry run as well");
}

#[tokio::test(start_paused = true)]
async fn stale_prices_of_what_is_held_trip_the_breaker() {
    let mut stage = stage().await;
    stage.order(&json!({"symbol": "BTC/USD", "side": "buy", "qty": "0.1", "reference": "z"})).await;
    stage.until("held", 30 * SECOND, || stage.gateway("positions_current{symbol=\"BTC/USD\"}") > 0.0).await;
    stage.platform.kill(MarketFeed);
    let trips = "circuit_breaker_trips_total{reason=\"data_stale\"}";
    stage.until("tripped", 40 * SECOND, || stage.gateway(trips) == 1.0).await;
    let (status, answer) = stage.post(ExecutionGateway, "/api/v1/breaker/reset", &json!({})).await;
    assert_eq!(status, 409, "{answer}");
    assert!(answer["error"].as_str().is_some_and(|error| error.contains("price of BTC/USD")), "{answer}");
    stage.platform.start_service(MarketFeed);
    tokio::time::sleep(15 * SECOND).await;
    let (status, answer) = stage.post(ExecutionGateway, "/api/v1/breaker/reset", &json!({})).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test(start_paused = true)]
async fn too_many_broker_errors_and_losses_trip_the_breaker() {
    let mut options = Stage::options(13);
    options.config.orchestrator.interval_ms = 0;
    options.config.broker.behaviour.reject_share = 0.0;
    options.config.gateway.breaker.broker_errors_max = 4;
    options.config.gateway.breaker.daily_loss_max = Money::parse("0.01").expect("an amount");
    let stage = Stage::start(options);
    stage.until("broker", 10 * SECOND, || stage.gateway("broker_stream_connected") == 1.0).await;
    tokio::time::sleep(5 * SECOND).await;
    stage.post(PaperBroker, "/control/faults", &json!({"kind": "error", "for_seconds": 6})).await;
    stage.order(&buy("AAPL", "1", "1")).await;
    stage.order(&buy("AAPL", "1", "2")).await;
    assert_eq!(stage.gateway("circuit_breaker_trips_total{reason=\"broker_errors\"}"), 1.0);
    tokio::time::sleep(10 * SECOND).await;
    stage.post(ExecutionGateway, "/api/v1/breaker/reset", &json!({})).await;
    stage.until("trading", 20 * SECOND, || stage.gateway("circuit_breaker_status") == 0.0).await;
    let (status, answer) = stage.order(&buy("AAPL", "80", "3")).await;
    assert_eq!(status, 200, "{answer}");
    // Bought at the ask, valued between bid and ask: sooner or later that is a cent below the day's start.
    let trips = "circuit_breaker_trips_total{reason=\"daily_loss_exceeded\"}";
    stage.until("tripped", 1_800 * SECOND, || stage.gateway(trips) == 1.0).await;
}

#[tokio::test(start_paused = true)]
async fn limits_are_tightened_while_trading_and_never_loosened() {
    let stage = stage().await;
    let limits = "/api/v1/limits";
    let (status, answer) = stage.post(ExecutionGateway, limits, &json!({"gross_exposure": "1000"})).await;
    assert_eq!((status, stage.gateway("exposure_limit_dollars")), (200, 1_000.0), "{answer}");
    let (_, answer) = stage.order(&buy("AAPL", "10", "m")).await;
    assert_eq!(answer["reason"], "notional_limit", "{answer}");
    let (status, answer) = stage.post(ExecutionGateway, limits, &json!({"daily_loss": "5000.01"})).await;
    assert_eq!((status, stage.gateway("daily_loss_limit_dollars")), (422, 5_000.0), "{answer}");
    stage.post(ExecutionGateway, limits, &json!({})).await;
    let (status, answer) = stage.order(&buy("AAPL", "10", "m2")).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test(start_paused = true)]
async fn without_database_nothing_is_sent_and_nothing_is_lost() {
    let stage = stage().await;
    stage.platform.lock_database(true).expect("free");
    stage.until("told", 2 * SECOND, || stage.gateway("database_connection_status") == 0.0).await;
    let (status, answer) = stage.order(&buy("AAPL", "1", "d")).await;
    assert_eq!(status, 503, "{answer}");
    assert!(answer["error"].as_str().is_some_and(|error| error.contains("nothing was sent")), "{answer}");
    assert_eq!(stage.orders("AAPL", "failed"), 1.0);
    stage.platform.lock_database(false).expect("ours");
    stage.until("told", 2 * SECOND, || stage.gateway("database_connection_status") == 1.0).await;
    let (status, answer) = stage.order(&buy("AAPL", "1", "d")).await;
    assert_eq!(status, 200, "the same order, now taken: {answer}");
    stage.until("filled", 30 * SECOND, || stage.gateway("positions_current{symbol=\"AAPL\"}") == 1.0).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_cache_is_told_and_makes_prices_stale() {
    let mut stage = stage().await;
    stage.platform.kill(PriceCache);
    stage.until("told", 2 * SECOND, || stage.gateway("redis_connection_status") == 0.0).await;
    let told = "market_data_redis_connection_status";
    stage.until("told", 2 * SECOND, || stage.value(MarketDataService, told) == 0.0).await;
    tokio::time::sleep(7 * SECOND).await;
    let (_, answer) = stage.order(&buy("AAPL", "1", "k")).await;
    assert_eq!(answer["reason"], "stale_price", "{answer}");
    stage.platform.start_service(PriceCache);
    stage.until("told", 3 * SECOND, || stage.gateway("redis_connection_status") == 1.0).await;
    tokio::time::sleep(3 * SECOND).await;
    let (status, answer) = stage.order(&buy("AAPL", "1", "k2")).await;
    assert_eq!(status, 200, "{answer}");
    // A stopped process keeps its sockets: the gauge must fall all the same.
    stage.platform.freeze(PriceCache, true);
    stage.until("told", 2 * SECOND, || stage.gateway("redis_connection_status") == 0.0).await;
}

#[tokio::test(start_paused = true)]
async fn orders_that_stand_too_long_are_cancelled() {
    let mut options = Stage::options(14);
    options.config.orchestrator.interval_ms = 0;
    options.config.broker.behaviour.reject_share = 0.0;
    options.config.gateway.order_life_ms = 5_000;
    let stage = Stage::start(options);
    stage.until("broker", 10 * SECOND, || stage.gateway("broker_stream_connected") == 1.0).await;
    tokio::time::sleep(5 * SECOND).await;
    let low = json!({"symbol": "AAPL", "side": "buy", "qty": "1", "limit_price": "1", "reference": "low"});
    let (status, placed) = stage.order(&low).await;
    assert_eq!((status, stage.gateway("open_orders")), (200, 1.0), "{placed}");
    stage.until("cancelled", 20 * SECOND, || stage.gateway("open_orders") == 0.0).await;
    assert_eq!(stage.gateway("alpaca_api_requests_total{endpoint=\"cancel\",status=\"success\"}"), 1.0);
    stage
        .until("told", 5 * SECOND, || stage.gateway("webhook_received_total{event_type=\"canceled\"}") == 1.0)
        .await;
    let (_, other) = stage
        .order(&json!({"symbol": "AAPL", "side": "buy", "qty": "1", "limit_price": "2", "reference": "low2"}))
        .await;
    let id = other["client_order_id"].as_str().expect("placed").to_owned();
    let (status, answer) = stage.delete(ExecutionGateway, &format!("/api/v1/orders/{id}")).await;
    assert_eq!(status, 200, "{answer}");
    stage.until("cancelled", 5 * SECOND, || stage.gateway("open_orders") == 0.0).await;
    let (status, _) = stage.delete(ExecutionGateway, &format!("/api/v1/orders/{id}")).await;
    assert_eq!(status, 404);
}

#[tokio::test(start_paused = true)]
async fn webhooks_need_their_signature_where_there_is_a_secret() {
    let mut options = Stage::options(15);
    options.config.gateway.webhook_secret = "s3cret".into();
    let stage = Stage::start(options);
    tokio::time::sleep(3 * SECOND).await;
    let body = br#"{"event": "done_for_day"}"#;
    let unknown = "webhook_received_total{event_type=\"unknown\"}";
    let path = "/api/v1/webhooks/orders";
    let (status, _) = stage.post_signed(ExecutionGateway, path, body, "00").await;
    assert_eq!((status, stage.gateway(unknown)), (401, 0.0));
    let (status, _) = stage.post_signed(ExecutionGateway, path, body, &webhook::sign(b"s3cret", body)).await;
    assert_eq!((status, stage.gateway(unknown)), (200, 1.0));
}

#[tokio::test(start_paused = true)]
async fn closed_equities_are_refused_and_coins_are_not() {
    use tradewatch_platforms::market::MarketClockConfig;
    use tradewatch_platforms::trading_platform::sim;
    let mut options = Stage::options(16);
    options.config.orchestrator.interval_ms = 0;
    options.config.broker.behaviour.reject_share = 0.0;
    let opens_at = sim::START / 1_000_000_000;
    options.config.market_clock =
        MarketClockConfig::Virtual { opens_at, open_seconds: 20, closed_seconds: 86_380 };
    let stage = Stage::start(options);
    tokio::time::sleep(25 * SECOND).await;
    let (_, answer) = stage.order(&buy("AAPL", "1", "n")).await;
    assert_eq!(answer["reason"], "market_closed", "{answer}");
    let (status, answer) = stage.order(&buy("BTC/USD", "0.01", "n")).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        value(stage.registry(MarketDataService), "market_data_stale_symbols_current"),
        0.0,
        "shut is not stale"
    );
}
