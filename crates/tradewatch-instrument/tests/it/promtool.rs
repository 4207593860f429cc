//! Debian's promtool reads every family of both vocabularies, and remarks on the names that are declared as legacy only.

use std::io::Write;
use std::process::{Command, Stdio};

use axum::body::Body;
use axum::http::Request;
use expect_test::expect;
use tower::ServiceExt;
use tradewatch_instrument::helpers::{AlertMetrics, Collection, Goals, Models, Risk};
use tradewatch_instrument::http::{ClientLayer, ServerLayer};
use tradewatch_instrument::otlp::Resource;
use tradewatch_instrument::{Broker, Clients, Service, System, Vocabulary, expose_process, expose_runtime};
use tradewatch_metrics::{Format, Registry};

async fn fails() -> Result<(), &'static str> {
    Err("on purpose")
}

/// A registry whose every family has a series.
async fn everything(vocabulary: Vocabulary) -> Registry {
    let registry = Registry::new();
    let service = Service::start(&registry, "a", "1").expect("free");
    expose_process(&registry).expect("free");
    expose_runtime(&registry).expect("free");
    Resource::new("a").expose(&registry).expect("free");
    let clients = Clients::register(&registry, vocabulary).expect("free");
    let database = clients.database("a", System::Postgresql, "orders");
    let _open = database.connection();
    let cache = clients.cache("a");
    cache.found("price", true);
    cache.found("price", false);
    for result in [Ok(()), Err("on purpose")] {
        let run = || async move { result };
        let _ = database.query("select").run(run()).await;
        let _ = cache.operation("get").run(run()).await;
        for kind in [Broker::Rabbitmq, Broker::Kafka] {
            let broker = clients.broker("a", kind).in_group("g");
            let _ = broker.publish("q").run(run()).await;
            let _ = broker.process("q").run(run()).await;
            broker.received("q", result.err());
        }
    }
    let collector = Collection::register(&registry).expect("free").collector("c", "s");
    let _ = collector.collect().run(fails()).await;
    collector.collect().ok();
    collector.points("klines", 1);
    let model = Models::register(&registry).expect("free").model("m", "v1");
    let _ = model.predict("p").run(fails()).await;
    model.predict("p").ok();
    let _ = model.train().run(fails()).await;
    model.accuracy("accuracy", 0.5);
    model.drift("feature", 0.1);
    let goal = Goals::register(&registry).expect("free").goal("g", "monthly", "desk");
    let _ = goal.evaluate().run(fails()).await;
    goal.update(1.0, 1.0);
    let risk = Risk::register(&registry).expect("free");
    let _ = risk.check("var").run(fails()).await;
    risk.breach("var", "high");
    risk.exposure("leverage", "AAPL", 1.0);
    risk.drawdown("a", "daily", 1.0);
    let delivery = AlertMetrics::register(&registry).expect("free").delivery("risk", "email");
    delivery.triggered("high");
    let _ = delivery.deliver().run(fails()).await;
    delivery.deliver().ok();
    let server = ServerLayer::register(&registry, vocabulary).expect("free");
    let client = ClientLayer::register(&registry, vocabulary).expect("free");
    let app =
        axum::Router::new().route("/", axum::routing::get(|| async { "x" })).layer(server).layer(client);
    drop(app.oneshot(Request::new(Body::empty())).await);
    drop(service);
    registry
}

fn promtool(registry: &Registry) -> (String, Option<i32>) {
    let mut body = Vec::new();
    registry.encode(Format::Text004, &mut body);
    let mut command = Command::new("promtool"); // Debian package prometheus
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool is installed (Debian package prometheus)");
    child.stdin.take().expect("piped").write_all(&body).expect("promtool reads");
    let output = child.wait_with_output().expect("promtool ends");
    (String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(), output.status.code())
}

#[tokio::test]
async fn promtool_remarks_on_legacy_names_only() {
    let (said, _) = promtool(&everything(Vocabulary::Prometheus).await);
    expect![[r#"
        db_connections_total non-counter metrics should not have "_total" suffix
    "#]]
    .assert_eq(&said);
    let (said, _) = promtool(&everything(Vocabulary::OpenTelemetry).await);
    expect![[r#"
        db_client_connection_count non-histogram and non-summary metrics should not have "_count" suffix
    "#]]
    .assert_eq(&said);
}
