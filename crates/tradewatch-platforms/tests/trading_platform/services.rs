//! Signal service and orchestrator: their work, and that each of their errors shows in its series.

use crate::world::Stage;
use serde_json::json;
use std::time::Duration;
use tradewatch_platforms::trading_platform::ServiceName::{
    ExecutionGateway, MarketDataService, MarketFeed, Orchestrator, PriceCache, SignalService,
};

const SECOND: Duration = Duration::from_secs(1);

async fn stage(seed: u64) -> Stage {
    let mut options = Stage::options(seed);
    options.config.orchestrator.interval_ms = 0;
    options.config.signal.model_poll_ms = 600_000;
    let stage = Stage::start(options);
    stage
        .until("prices", 10 * SECOND, || stage.sum(MarketDataService, "market_data_mid_price_dollars") > 0.0)
        .await;
    tokio::time::sleep(6 * SECOND).await;
    stage
}

impl Stage {
    fn signal(&self, name: &str) -> f64 {
        self.value(SignalService, &format!("signal_service_{name}"))
    }

    fn requests(&self, endpoint: &str, status: &str) -> f64 {
        self.signal(&format!("requests_total{{endpoint=\"{endpoint}\",status=\"{status}\"}}"))
    }

    fn reloads(&self, status: &str) -> f64 {
        self.signal(&format!("model_reload_total{{status=\"{status}\"}}"))
    }

    fn orchestrator(&self, name: &str) -> f64 {
        self.value(Orchestrator, &format!("orchestrator_{name}"))
    }

    async fn generate(&self, body: serde_json::Value) -> (u16, serde_json::Value) {
        self.post(SignalService, "/api/v1/signals/generate", &body).await
    }

    async fn reload(&self) -> u16 {
        self.post(SignalService, "/api/v1/model/reload", &json!({})).await.0
    }

    async fn run(&self) -> (u16, serde_json::Value) {
        self.post(Orchestrator, "/api/v1/orchestration/run", &json!({})).await
    }
}

#[tokio::test(start_paused = true)]
async fn signals_come_from_live_prices_and_errors_are_counted() {
    let mut stage = stage(41).await;
    let (status, answer) = stage.generate(json!({})).await;
    assert_eq!(status, 200, "{answer}");
    let signals = answer["signals"].as_array().expect("signals");
    assert_eq!((signals.len(), answer["model_version"].as_str()), (7, Some("v1")));
    let weights: f64 = signals.iter().filter_map(|signal| signal["weight"].as_f64()).sum();
    assert_eq!(weights, 0.0, "three long, three short");
    assert_eq!(stage.signal("model_predictions_total{model_name=\"alpha_baseline\"}"), 7.0);
    assert_eq!(stage.signal("signals_generated_total{model_version=\"v1\",symbol=\"AAPL\"}"), 1.0);
    let (status, _) = stage.generate(json!({"symbols": ["AAPL", "TSLA"], "top_n": 1, "bottom_n": 1})).await;
    assert_eq!(status, 200);
    for bad in [
        json!({"symbols": ["GME"]}),
        json!({"symbols": []}),
        json!({"top_n": 0, "bottom_n": 0}),
        json!({"x": 1}),
    ] {
        let (status, answer) = stage.generate(bad).await;
        assert_eq!(status, 400, "{answer}");
    }
    assert_eq!((stage.requests("generate", "success"), stage.requests("generate", "error")), (2.0, 4.0));
    assert_eq!(stage.signal("signal_generation_duration_seconds_count"), 6.0);

    stage.platform.lock_database(true).expect("free");
    stage.until("told", 2 * SECOND, || stage.signal("database_connection_status") == 0.0).await;
    let (status, answer) = stage.generate(json!({})).await;
    assert!(
        status == 503 && answer["error"].as_str().is_some_and(|e| e.contains("not recorded")),
        "{answer}"
    );
    stage.platform.lock_database(false).expect("ours");

    stage.platform.kill(MarketFeed);
    tokio::time::sleep(15 * SECOND).await;
    let (status, answer) = stage.generate(json!({})).await;
    assert_eq!(status, 404, "every price is old: {answer}");
    stage.platform.kill(PriceCache);
    stage.until("told", 2 * SECOND, || stage.signal("redis_connection_status") == 0.0).await;
    let (status, answer) = stage.generate(json!({})).await;
    assert_eq!(status, 503, "{answer}");
}

#[tokio::test(start_paused = true)]
async fn models_are_exchanged_refused_and_withdrawn() {
    let stage = stage(42).await;
    assert_eq!(
        (stage.signal("model_loaded_status"), stage.signal("model_version"), stage.reloads("success")),
        (1.0, 1.0, 1.0)
    );
    let score = stage.signal("model_holdout_score_ratio");
    assert!(score > 0.5, "{score}");
    assert_eq!(stage.reload().await, 200, "the same file is no reload");
    assert_eq!(stage.reloads("success"), 1.0);

    stage.platform.write_model(b"tradewatch-model/1 sha256=00\n{}\n").expect("writable");
    assert_eq!((stage.reload().await, stage.reloads("error")), (422, 1.0));
    assert_eq!(
        (stage.signal("model_loaded_status"), stage.signal("model_version")),
        (1.0, 1.0),
        "the good one serves on"
    );
    assert_eq!(stage.generate(json!({})).await.0, 200);

    stage.platform.remove_model().expect("there");
    assert_eq!((stage.reload().await, stage.reloads("failed")), (503, 1.0));
    assert_eq!((stage.signal("model_loaded_status"), stage.signal("model_version")), (0.0, 0.0), "withdrawn");
    let (status, answer) = stage.generate(json!({})).await;
    assert!(status == 503 && answer["error"].as_str().is_some_and(|e| e.contains("is missing")), "{answer}");
    assert_eq!(
        (stage.requests("model_reload", "error"), stage.requests("model_reload", "success")),
        (2.0, 1.0)
    );
    let info = stage.get(SignalService, "/api/v1/model/info").await;
    assert!(info["error"].is_string() && stage.requests("model_info", "error") == 1.0, "{info}");

    stage.platform.ship_model(2).expect("shipped");
    assert_eq!((stage.reload().await, stage.reloads("success")), (200, 2.0));
    assert_eq!((stage.signal("model_loaded_status"), stage.signal("model_version")), (1.0, 2.0));
    let info = stage.get(SignalService, "/api/v1/model/info").await;
    assert_eq!(info["version"], "v2", "{info}");
    assert_eq!(stage.generate(json!({})).await.1["model_version"], "v2");
}

#[tokio::test(start_paused = true)]
async fn a_service_without_model_is_not_ready_and_takes_it_when_it_comes() {
    let mut options = Stage::options(43);
    options.model = None;
    options.config.orchestrator.interval_ms = 0;
    let stage = Stage::start(options);
    tokio::time::sleep(3 * SECOND).await;
    let ready = stage.get(SignalService, "/ready").await;
    assert_eq!(
        (ready["status"].as_str(), stage.signal("model_loaded_status")),
        (Some("not ready"), 0.0),
        "{ready}"
    );
    stage.platform.ship_model(1).expect("shipped");
    stage.until("taken by the poll", 4 * SECOND, || stage.signal("model_loaded_status") == 1.0).await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(stage.get(SignalService, "/ready").await["status"], "ready");
}

#[tokio::test(start_paused = true)]
async fn runs_send_orders_and_a_failure_inside_is_an_error() {
    let mut stage = stage(44).await;
    let (status, report) = stage.run().await;
    assert_eq!(status, 200, "{report}");
    let accepted = stage.orchestrator("orders_submitted_total{status=\"success\"}");
    assert!(accepted >= 3.0, "{report}");
    assert_eq!(stage.orchestrator("positions_adjusted_total"), accepted);
    assert_eq!(stage.orchestrator("signals_received_total"), 7.0);
    assert_eq!(stage.orchestrator("runs_total{status=\"success\"}"), 1.0);
    assert!(stage.orchestrator("last_run_timestamp_seconds") > 1.7e9);
    assert_eq!(report["model_checksum"].as_str().map(str::len), Some(64), "{report}");

    stage.post(ExecutionGateway, "/api/v1/breaker/trip", &json!({})).await;
    let (status, report) = stage.run().await;
    assert!(
        stage.orchestrator("orders_submitted_total{status=\"error\"}") >= 1.0,
        "partial results are told: {report}"
    );
    assert_ne!(report["status"], "completed", "{status} {report}");

    stage.platform.kill(SignalService);
    stage.until("told", 2 * SECOND, || stage.orchestrator("signal_service_available") == 0.0).await;
    let errors = "runs_total{status=\"error\"}";
    let before = stage.orchestrator(errors);
    let (status, report) = stage.run().await;
    assert_eq!((status, stage.orchestrator(errors)), (503, before + 1.0), "{report}");
    stage.platform.start_service(SignalService);
    stage.until("told", 3 * SECOND, || stage.orchestrator("signal_service_available") == 1.0).await;

    stage.platform.kill(ExecutionGateway);
    stage.until("told", 2 * SECOND, || stage.orchestrator("execution_gateway_available") == 0.0).await;
    stage.platform.start_service(ExecutionGateway);
    stage.platform.lock_database(true).expect("free");
    stage.until("told", 2 * SECOND, || stage.orchestrator("database_connection_status") == 0.0).await;
    let (_, report) = stage.run().await;
    assert_eq!(stage.orchestrator("runs_total{status=\"error\"}"), before + 2.0, "{report}");
    stage.platform.lock_database(false).expect("ours");
    stage.until("told", 3 * SECOND, || stage.orchestrator("database_connection_status") == 1.0).await;
}
