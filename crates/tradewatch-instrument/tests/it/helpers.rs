//! The documents' helpers: each end of each operation moves what it should, and is timed.

use expect_test::expect;
use tradewatch_instrument::helpers::{AlertMetrics, Collection, Goals, Models, Risk};
use tradewatch_instrument::{Broker, Clients, Service, System, Vocabulary};
use tradewatch_metrics::Registry;

use crate::world::{moved, scrape, value};

async fn fails() -> Result<(), std::io::Error> {
    Err(std::io::ErrorKind::TimedOut.into())
}

async fn succeeds() -> Result<(), std::io::Error> {
    Ok(())
}

#[test]
fn a_service_is_up_until_it_goes_away() {
    let registry = Registry::new();
    let service = Service::start(&registry, "risk_manager", "2.0.0").expect("names are free");
    let up = "service_up{service_name=\"risk_manager\"}";
    assert_eq!(value(&registry, up), 1.0);
    assert_eq!(value(&registry, "service_info{service_name=\"risk_manager\",version=\"2.0.0\"}"), 1.0);
    assert!(value(&registry, "service_start_time_seconds{service_name=\"risk_manager\"}") > 1.6e9);
    service.down();
    assert_eq!(value(&registry, up), 0.0);
    service.up();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _service = service;
        panic!("on purpose");
    }));
    assert!(caught.is_err());
    assert_eq!(value(&registry, up), 0.0, "a panic that ends main marks the service down");
    assert!(Service::start(&registry, "again", "1").is_err_and(|error| error.is_duplicate()));
}

#[tokio::test]
async fn collections_are_counted_and_timed_however_they_end() {
    let registry = Registry::new();
    let collector = Collection::register(&registry).expect("free").collector("binance_collector", "binance");
    let health = "data_collector_health{collector_name=\"binance_collector\",source=\"binance\"}";
    assert_eq!(scrape(&registry).get(health), Some(&0.0), "not healthy before the first success");
    collector.collect().run(succeeds()).await.expect("it succeeds");
    collector.points("klines", 500);
    assert_eq!(value(&registry, health), 1.0);
    let last =
        "data_collector_last_success_timestamp{collector_name=\"binance_collector\",source=\"binance\"}";
    assert!(value(&registry, last) > 1.6e9);
    collector.collect().run(fails()).await.expect_err("it fails");
    assert_eq!(value(&registry, health), 0.0);
    let names = [
        "data_points_collected_total",
        "data_collection_errors_total",
        "data_collection_duration_seconds_count",
    ];
    expect![[r#"
        data_collection_duration_seconds_count{collector_name="binance_collector",source="binance"} 2
        data_collection_errors_total{collector_name="binance_collector",source="binance",error_type="timeout"} 1
        data_points_collected_total{collector_name="binance_collector",source="binance",data_type="klines"} 500
    "#]]
    .assert_eq(&moved(&registry, &names));
}

#[tokio::test]
async fn models_goals_risk_and_alerts() {
    let registry = Registry::new();
    let model = Models::register(&registry).expect("free").model("lstm", "v1");
    model.predict("price_1h").run(succeeds()).await.expect("it succeeds");
    model.predict("price_1h").run(fails()).await.expect_err("it fails");
    model.train().run_sync(|| Err::<(), _>("diverged")).expect_err("it fails");
    model.accuracy("accuracy", 0.83);
    model.drift("feature", 0.16);
    let goal = Goals::register(&registry).expect("free").goal("income", "monthly_income", "desk");
    goal.evaluate().run(fails()).await.expect_err("it fails");
    assert!(!goal.update(1500.0, 2000.0) && goal.update(2001.0, 2000.0) && !goal.update(2100.0, 2000.0));
    let risk = Risk::register(&registry).expect("free");
    risk.check("exposure_limit").run_sync(|| Ok::<_, &str>(())).expect("it succeeds");
    drop(risk.check("var_exceeded"));
    risk.breach("var_exceeded", "high");
    risk.exposure("leverage", "BTCUSDC", 1.5);
    risk.drawdown("paper_1", "daily", 3.5);
    let alert = AlertMetrics::register(&registry).expect("free").delivery("risk", "telegram");
    alert.triggered("critical");
    alert.deliver().run(succeeds()).await.expect("it succeeds");
    alert.deliver().run(fails()).await.expect_err("it fails");
    let all = scrape(&registry);
    let moved: String = all
        .iter()
        .filter(|(series, value)| **value != 0.0 && !series.contains("_bucket") && !series.contains("_sum"))
        .map(|(series, value)| format!("{series} {value}\n"))
        .collect();
    expect![[r#"
        alert_delivery_duration_seconds_count{alert_type="risk",channel="telegram"} 2
        alert_delivery_failures_total{alert_type="risk",channel="telegram",error_type="timeout"} 1
        alert_delivery_success_total{alert_type="risk",channel="telegram"} 1
        alerts_triggered_total{alert_type="risk",priority="critical",channel="telegram"} 1
        current_risk_exposure{risk_type="leverage",symbol="BTCUSDC"} 1.5
        drawdown_percentage{account_id="paper_1",timeframe="daily"} 3.5
        goal_current_value{goal_id="income",goal_type="monthly_income",user_id="desk"} 2100
        goal_evaluation_duration_seconds_count{goal_type="monthly_income"} 1
        goal_evaluation_errors_total{goal_type="monthly_income",error_type="timeout"} 1
        goal_progress_percentage{goal_id="income",goal_type="monthly_income",user_id="desk"} 105
        goal_target_value{goal_id="income",goal_type="monthly_income",user_id="desk"} 2000
        goals_achieved_total{goal_type="monthly_income",user_id="desk"} 1
        ml_model_accuracy{model_name="lstm",model_version="v1",metric_type="accuracy"} 0.83
        ml_model_drift_score{model_name="lstm",model_version="v1",drift_type="feature"} 0.16
        ml_model_prediction_duration_seconds_count{model_name="lstm",model_version="v1"} 2
        ml_model_prediction_errors_total{model_name="lstm",model_version="v1",error_type="timeout"} 1
        ml_model_predictions_total{model_name="lstm",model_version="v1",prediction_type="price_1h"} 1
        ml_model_training_duration_seconds_count{model_name="lstm",model_version="v1"} 1
        ml_model_training_errors_total{model_name="lstm",model_version="v1",error_type="error"} 1
        risk_check_duration_seconds_count{limit_type="exposure_limit"} 1
        risk_check_duration_seconds_count{limit_type="var_exceeded"} 1
        risk_check_errors_total{limit_type="var_exceeded",error_type="unfinished"} 1
        risk_limit_breaches_total{limit_type="var_exceeded",severity="high"} 1
    "#]]
    .assert_eq(&moved);
}

#[tokio::test]
async fn the_original_timed_successes_only_and_this_does_not() {
    for vocabulary in [Vocabulary::Prometheus, Vocabulary::OpenTelemetry] {
        let registry = Registry::new();
        let clients = Clients::register(&registry, vocabulary).expect("free");
        let db = clients.database("strategy_service", System::Postgresql, "mastertrade");
        db.query("select").run(succeeds()).await.expect("it succeeds");
        db.query("select").run(fails()).await.expect_err("it fails");
        let cache = clients.cache("strategy_service");
        let hit = cache.lookup("indicator", async { Ok::<_, String>(Some(1)) }).await;
        assert_eq!(hit, Ok(Some(1)));
        assert_eq!(cache.lookup("indicator", async { Ok::<Option<u8>, String>(None) }).await, Ok(None));
        cache.lookup("indicator", async { Err::<Option<u8>, _>("down") }).await.expect_err("it fails");
        let broker = clients.broker("strategy_service", Broker::Rabbitmq);
        broker.publish("trading_signals").run(succeeds()).await.expect("it succeeds");
        broker.publish("trading_signals").run(fails()).await.expect_err("it fails");
        broker.received("trading_signals", None);
        broker.process("trading_signals").run(fails()).await.expect_err("it fails");
        let kafka = clients.broker("dispatcher", Broker::Kafka).in_group("trigger-dispatcher");
        kafka.publish("signals").run(fails()).await.expect_err("it fails");
        kafka.received("signals", None);
        kafka.process("signals").run(succeeds()).await.expect("it succeeds");
        let moved: String = scrape(&registry)
            .iter()
            .filter(|(series, value)| {
                **value != 0.0 && !series.contains("_bucket") && !series.contains("_sum")
            })
            .map(|(series, value)| format!("{series} {value}\n"))
            .collect();
        let expected = match vocabulary {
            Vocabulary::Prometheus => expect![[r#"
                db_query_duration_seconds_count{service_name="strategy_service",query_type="select"} 2
                db_query_errors_total{service_name="strategy_service",error_type="timeout"} 1
                kafka_message_processing_duration_seconds_count{topic="signals",consumer_group="trigger-dispatcher"} 1
                kafka_messages_consumed_total{topic="signals",consumer_group="trigger-dispatcher"} 1
                kafka_publish_duration_seconds_count{topic="signals"} 1
                kafka_publish_failure_total{topic="signals",error="timeout"} 1
                rabbitmq_message_processing_duration_seconds_count{service_name="strategy_service",queue="trading_signals"} 1
                rabbitmq_message_processing_errors_total{service_name="strategy_service",queue="trading_signals",error_type="timeout"} 1
                rabbitmq_messages_consumed_total{service_name="strategy_service",queue="trading_signals"} 1
                rabbitmq_messages_published_total{service_name="strategy_service",queue="trading_signals"} 1
                rabbitmq_publish_duration_seconds_count{service_name="strategy_service",queue="trading_signals"} 2
                rabbitmq_publish_errors_total{service_name="strategy_service",queue="trading_signals",error_type="timeout"} 1
                redis_cache_hits_total{service_name="strategy_service",cache_key="indicator"} 1
                redis_cache_misses_total{service_name="strategy_service",cache_key="indicator"} 1
                redis_operation_errors_total{service_name="strategy_service",operation="get",error_type="error"} 1
                redis_operations_duration_seconds_count{service_name="strategy_service",operation="get"} 3
            "#]],
            Vocabulary::OpenTelemetry => expect![[r#"
                db_client_operation_duration_seconds_count{db_system_name="postgresql",db_namespace="mastertrade",db_operation_name="select",error_type="timeout"} 1
                db_client_operation_duration_seconds_count{db_system_name="postgresql",db_namespace="mastertrade",db_operation_name="select"} 1
                db_client_operation_duration_seconds_count{db_system_name="redis",db_operation_name="get",error_type="error"} 1
                db_client_operation_duration_seconds_count{db_system_name="redis",db_operation_name="get"} 2
                messaging_client_consumed_messages_total{messaging_system="kafka",messaging_destination_name="signals",messaging_operation_name="consume"} 1
                messaging_client_consumed_messages_total{messaging_system="rabbitmq",messaging_destination_name="trading_signals",messaging_operation_name="consume"} 1
                messaging_client_operation_duration_seconds_count{messaging_system="kafka",messaging_destination_name="signals",messaging_operation_name="publish",error_type="timeout"} 1
                messaging_client_operation_duration_seconds_count{messaging_system="rabbitmq",messaging_destination_name="trading_signals",messaging_operation_name="publish",error_type="timeout"} 1
                messaging_client_operation_duration_seconds_count{messaging_system="rabbitmq",messaging_destination_name="trading_signals",messaging_operation_name="publish"} 1
                messaging_client_sent_messages_total{messaging_system="kafka",messaging_destination_name="signals",messaging_operation_name="publish",error_type="timeout"} 1
                messaging_client_sent_messages_total{messaging_system="rabbitmq",messaging_destination_name="trading_signals",messaging_operation_name="publish",error_type="timeout"} 1
                messaging_client_sent_messages_total{messaging_system="rabbitmq",messaging_destination_name="trading_signals",messaging_operation_name="publish"} 1
                messaging_process_duration_seconds_count{messaging_system="kafka",messaging_destination_name="signals",messaging_operation_name="process"} 1
                messaging_process_duration_seconds_count{messaging_system="rabbitmq",messaging_destination_name="trading_signals",messaging_operation_name="process",error_type="timeout"} 1
                redis_cache_hits_total{service_name="strategy_service",cache_key="indicator"} 1
                redis_cache_misses_total{service_name="strategy_service",cache_key="indicator"} 1
            "#]],
        };
        expected.assert_eq(&moved);
    }
}
