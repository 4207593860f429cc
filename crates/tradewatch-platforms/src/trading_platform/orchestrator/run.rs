//! One orchestration run: signals, sizes, orders, and a row that tells what became of them.

use super::State;
use super::sizing::{self, Signal, Sized};
use crate::runtime::http::Response;
use crate::trading_platform::database::Statement;
use crate::trading_platform::labels::Status;
use crate::trading_platform::money::{Money, Qty};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use tradewatch_metrics::Call;

const SAVE: &str = "INSERT INTO runs (run_id, status, started_at, ended_at, signals, accepted, rejected, detail) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (run_id) DO NOTHING";

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Every order was accepted, or none was needed.
    Completed,
    /// Some orders were accepted and some were not.
    Partial,
    /// Something it needs failed, or no order was accepted.
    Failed,
}

impl RunStatus {
    /// The name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            RunStatus::Completed => "completed",
            RunStatus::Partial => "partial",
            RunStatus::Failed => "failed",
        }
    }
}

/// What became of one order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OrderOutcome {
    /// Which symbol.
    pub symbol: String,
    /// `buy` or `sell`.
    pub side: String,
    /// How much.
    pub qty: Qty,
    /// Why it was not accepted; absent if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a run did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Its name.
    pub run_id: String,
    /// How it ended.
    pub status: RunStatus,
    /// The model that the signals came from.
    pub model_version: String,
    /// Checksum of its file, for whoever asks later; empty if it could not be learned.
    #[serde(default)]
    pub model_checksum: String,
    /// Signals received.
    pub signals: usize,
    /// What became of each order, in the order of their submission.
    pub orders: Vec<OrderOutcome>,
    /// What failed beside orders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Report {
    /// Orders that the gateway took.
    pub fn accepted(&self) -> usize {
        self.orders.iter().filter(|order| order.error.is_none()).count()
    }

    /// Orders that it did not.
    pub fn rejected(&self) -> usize {
        self.orders.len() - self.accepted()
    }
}

#[derive(Deserialize)]
struct Signals {
    model_version: String,
    signals: Vec<Signal>,
}

#[derive(Deserialize)]
struct Positions {
    positions: Vec<Held>,
}

#[derive(Deserialize)]
struct Held {
    symbol: String,
    qty: Qty,
}

impl State {
    /// Carries out one run and counts it. A run that fails inside counts as an error, whatever it returns.
    pub async fn run(&self) -> Report {
        let metrics = &self.metrics;
        let call = Call::start(&metrics.orchestration_duration_seconds, |outcome| {
            metrics.runs_total.at((Status::when(outcome.is_success()),)).inc();
        });
        let started = self.clock.now();
        let mut report = Report {
            run_id: format!("run-{}", started / 1_000_000),
            status: RunStatus::Completed,
            model_version: String::new(),
            model_checksum: String::new(),
            signals: 0,
            orders: Vec::new(),
            error: None,
        };
        report.error = self.carry_out(&mut report).await.err();
        report.status = status_of(&report);
        // A run that nobody can look up later did not go as it should.
        if let Err(error) = self.database.write(&[statement(&report, started, self.clock.now())]).await {
            report.error.get_or_insert(format!("the run was not recorded: {error}"));
            report.status = RunStatus::Failed;
        }
        metrics.last_run_timestamp_seconds.set(self.clock.now_seconds());
        if report.status == RunStatus::Failed {
            tracing::warn!(
                run = report.run_id,
                error = report.error,
                rejected = report.rejected(),
                "run failed"
            );
            call.error();
        } else {
            call.success();
        }
        report
    }

    async fn carry_out(&self, report: &mut Report) -> Result<(), String> {
        self.follow_prices().await;
        let request = json!({
            "symbols": self.options.symbols, "top_n": self.options.top_n, "bottom_n": self.options.bottom_n,
        });
        let url = format!("{}/api/v1/signals/generate", self.signal_service);
        let answer = self.client.post(&url, &request).await.map_err(|error| error.to_string())?;
        let signals: Signals = good(&answer)?;
        self.metrics.signals_received_total.inc_by(signals.signals.len() as u64);
        report.signals = signals.signals.len();
        report.model_version = signals.model_version;
        report.model_checksum = self.model_checksum().await.unwrap_or_default();

        let url = format!("{}/api/v1/positions", self.gateway);
        let answer = self.client.get(&url).await.map_err(|error| error.to_string())?;
        let held: Positions = good(&answer)?;
        let held: BTreeMap<String, Qty> =
            held.positions.into_iter().map(|held| (held.symbol, held.qty)).collect();
        let prices: BTreeMap<&str, Money> =
            signals.signals.iter().map(|s| (s.symbol.as_str(), s.price)).collect();
        for order in sizing::size(&signals.signals, &held, &self.options.sizing) {
            let price = prices.get(order.symbol.as_str()).copied().unwrap_or_default();
            let outcome = self.submit(&report.run_id, order, price).await;
            let accepted = outcome.error.is_none();
            self.metrics.orders_submitted_total.at((Status::when(accepted),)).inc();
            if accepted {
                self.metrics.positions_adjusted_total.inc();
            }
            report.orders.push(outcome);
        }
        Ok(())
    }

    /// Asks for the prices of the symbols that are traded. That it failed shows in the signals.
    async fn follow_prices(&self) {
        let url = format!("{}/api/v1/subscribe", self.market_data);
        let asked = self.client.post(&url, &json!({"symbols": self.options.symbols})).await;
        match asked {
            Ok(answer) if answer.is_success() => {}
            Ok(answer) => tracing::debug!(answer = answer.text(), "prices are not subscribed"),
            Err(error) => tracing::debug!(%error, "prices are not subscribed"),
        }
    }

    async fn model_checksum(&self) -> Option<String> {
        let answer = self.client.get(&format!("{}/api/v1/model/info", self.signal_service)).await.ok()?;
        let info: serde_json::Value = answer.json().ok()?;
        Some(info["checksum"].as_str()?.to_owned())
    }

    async fn submit(&self, run_id: &str, order: Sized, price: Money) -> OrderOutcome {
        let mut body = json!({
            "symbol": order.symbol, "side": order.side, "qty": order.qty,
            "strategy": self.options.strategy, "reference": run_id,
        });
        if let Some(limit) = self.options.limit_price(&order, price) {
            body["limit_price"] = json!(limit);
        }
        let url = format!("{}/api/v1/orders", self.gateway);
        let error = match self.orders.post(&url, &body).await {
            Ok(answer) if answer.is_success() => None,
            Ok(answer) => Some(told(&answer)),
            Err(error) => Some(error.to_string()),
        };
        OrderOutcome { symbol: order.symbol, side: order.side.as_str().into(), qty: order.qty, error }
    }
}

fn status_of(report: &Report) -> RunStatus {
    match (&report.error, report.accepted(), report.rejected()) {
        (Some(_), _, _) => RunStatus::Failed,
        (None, 0, 1..) => RunStatus::Failed,
        (None, _, 0) => RunStatus::Completed,
        (None, _, _) => RunStatus::Partial,
    }
}

fn good<T: serde::de::DeserializeOwned>(answer: &Response) -> Result<T, String> {
    if answer.is_success() { answer.json().map_err(|error| error.to_string()) } else { Err(told(answer)) }
}

/// What a service said when it said no.
fn told(answer: &Response) -> String {
    let body = answer.json::<serde_json::Value>().ok();
    let text = body.as_ref().and_then(|body| body["error"].as_str()).map(str::to_owned);
    let text = text.unwrap_or_else(|| answer.text().chars().take(120).collect());
    format!("{}: HTTP {} {text}", answer.what, answer.status.as_u16())
}

fn statement(report: &Report, started: i64, ended: i64) -> Statement {
    let detail = serde_json::to_string(report).expect("plain data");
    let values = vec![
        report.run_id.as_str().into(),
        report.status.as_str().into(),
        started.into(),
        ended.into(),
        (report.signals as i64).into(),
        (report.accepted() as i64).into(),
        (report.rejected() as i64).into(),
        detail.into(),
    ];
    (SAVE, values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_is_told_and_nothing_accepted_is_a_failure() {
        let outcome = |error: Option<&str>| OrderOutcome {
            symbol: "A".into(),
            side: "buy".into(),
            qty: Qty::whole(1),
            error: error.map(str::to_owned),
        };
        let status = |orders: Vec<OrderOutcome>, error: Option<&str>| {
            status_of(&Report {
                run_id: String::new(),
                status: RunStatus::Completed,
                model_version: String::new(),
                model_checksum: String::new(),
                signals: 0,
                orders,
                error: error.map(str::to_owned),
            })
        };
        assert_eq!(status(vec![], None), RunStatus::Completed);
        assert_eq!(status(vec![outcome(None)], None), RunStatus::Completed);
        assert_eq!(status(vec![outcome(None), outcome(Some("no"))], None), RunStatus::Partial);
        assert_eq!(status(vec![outcome(Some("no"))], None), RunStatus::Failed);
        assert_eq!(status(vec![outcome(None)], Some("no signals")), RunStatus::Failed);
    }
}
