//! An axum service: requests, a database, the process, JSON logs, a secret.
//!
//! `cargo run -p tradewatch-instrument --features full --example axum_service`, then
//! `curl 127.0.0.1:8080/orders/7` and `curl 127.0.0.1:8080/metrics`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use tracing_subscriber::prelude::*;
use tradewatch_instrument::http::ServerLayer;
use tradewatch_instrument::logs::{JsonLines, LogLimits};
use tradewatch_instrument::{Clients, Database, Secret, Service, System, Vocabulary, expose_process};
use tradewatch_metrics::{Health, Registry, endpoint};

const NAME: &str = "order_service";

struct App {
    database: Database,
    url: Secret<String>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let registry = Registry::new();
    let (lines, _log) = JsonLines::new(NAME, std::io::stderr(), LogLimits::default(), &registry)?;
    tracing_subscriber::registry().with(lines).init();

    let _service = Service::start(&registry, NAME, env!("CARGO_PKG_VERSION"))?;
    expose_process(&registry)?;
    let clients = Clients::register(&registry, Vocabulary::Prometheus)?;
    let app = Arc::new(App {
        database: clients.database(NAME, System::Postgresql, "orders"),
        url: std::env::var("DATABASE_URL")
            .unwrap_or_else(|_| "postgres://gw:hunter2@db/orders".into())
            .into(),
    });

    let router = axum::Router::new()
        .route("/orders/{id}", get(order))
        .layer(ServerLayer::register(&registry, Vocabulary::Prometheus)?)
        .with_state(Arc::clone(&app))
        .merge(endpoint::router(registry, Health::new()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    tracing::info!(database = %app.url, "listening"); // "database":"***"
    axum::serve(listener, router).with_graceful_shutdown(async { _ = tokio::signal::ctrl_c().await }).await?;
    Ok(())
}

async fn order(State(app): State<Arc<App>>, Path(id): Path<u64>) -> Result<String, StatusCode> {
    // Counted and timed whether it answers, fails, or the client goes away while it waits.
    let found = app.database.query("select").run(async { look_up(id) }).await;
    found.map_err(|error| {
        tracing::warn!(id, error = &error as &dyn std::error::Error, "order_not_found");
        StatusCode::NOT_FOUND
    })
}

/// In place of a database.
fn look_up(id: u64) -> Result<String, std::io::Error> {
    if id == 7 { Ok("filled\n".into()) } else { Err(std::io::ErrorKind::NotFound.into()) }
}
