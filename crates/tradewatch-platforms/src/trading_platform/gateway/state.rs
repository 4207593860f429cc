//! What the tasks and requests of the gateway share, and what they do to the desk and the metrics together.

use super::Options;
use super::breaker::{self, ResetRefused, TripCause};
use super::broker::{Broker, BrokerOrder};
use super::desk::{Desk, Update};
use super::http::LimitsRequest;
use super::metrics::{ExposureKind, GatewayMetrics, PnlType, RejectReason};
use super::store;
use crate::runtime::{Clock, Net};
use crate::trading_platform::database::Database;
use crate::trading_platform::labels::Symbol;
use crate::trading_platform::money::{Money, Qty};
use crate::trading_platform::order::OrderState;
use crate::trading_platform::prices::{Price, PriceCache};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// Shared by all of the gateway.
pub struct State {
    /// What can be set.
    pub options: Options,
    /// The clock.
    pub clock: Clock,
    /// The network.
    pub net: Net,
    /// The metrics.
    pub metrics: GatewayMetrics,
    /// The database.
    pub database: Database,
    /// The price cache.
    pub cache: PriceCache,
    /// The broker's trading API.
    pub broker: Broker,
    /// Where the broker's stream is.
    pub stream_url: String,
    /// Told when something waits to be written.
    pub unsaved: Notify,
    /// Whether the desk was rebuilt from the database.
    pub loaded: watch::Sender<bool>,
    desk: Mutex<Desk>,
}

impl State {
    /// Puts the parts together.
    pub fn new(
        options: Options,
        clock: Clock,
        net: Net,
        metrics: GatewayMetrics,
        database: Database,
        cache: PriceCache,
        broker: Broker,
        stream_url: String,
    ) -> State {
        let breaker = breaker::Breaker::new(options.breaker.clone(), None);
        let mut desk =
            Desk::new(options.capital, options.limits.clone(), breaker, &options.symbols, clock.now());
        desk.dry_run = options.dry_run;
        show_limits(&metrics, &options.breaker, options.limits.gross_notional_max);
        metrics.order_rejections_total.expose_all();
        metrics.circuit_breaker_trips_total.expose_all();
        metrics.alpaca_api_requests_total.expose_all();
        metrics.reconciliations_total.expose_all();
        metrics.webhook_received_total.expose_all();
        let loaded = watch::Sender::new(false);
        State {
            options,
            clock,
            net,
            metrics,
            database,
            cache,
            broker,
            stream_url,
            unsaved: Notify::new(),
            loaded,
            desk: Mutex::new(desk),
        }
    }

    /// The desk. Never held across a wait.
    pub fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().expect("nobody panics while holding the desk")
    }

    /// Waits until the desk was rebuilt from the database.
    pub async fn until_loaded(&self) {
        let mut loaded = self.loaded.subscribe();
        let _ = loaded.wait_for(|loaded| *loaded).await;
    }

    /// Applies what the broker told of an order: positions, counters and the database follow.
    pub fn apply(&self, order: &BrokerOrder, execution: Option<(Qty, Money)>) {
        let now = self.clock.now();
        let mut desk = self.desk();
        let Some(effect) = desk.update(&Update { order, execution }, now) else { return };
        for fill in &effect.fills {
            let label = Symbol::intern(&fill.symbol);
            self.metrics.fills_total.at((label, fill.side)).inc();
            self.metrics.positions_current.at((label,)).set(desk.ledger.qty(&fill.symbol).to_f64());
        }
        if let Some(time) = effect.fill_time {
            self.metrics.order_fill_duration_seconds.observe_duration(time);
        }
        // Accepted first and rejected later: its request was answered with success, its reason counts here.
        if effect.state == Some(OrderState::Rejected) {
            self.metrics.order_rejections_total.at((RejectReason::BrokerRejected,)).inc();
        }
        self.show_open_orders(&desk);
        drop(desk);
        self.unsaved.notify_one();
    }

    /// Shows how many orders may still change.
    pub fn show_open_orders(&self, desk: &Desk) {
        self.metrics.open_orders.set(desk.live_orders().count() as f64);
    }

    /// Shows every position; closed ones as 0.
    pub fn show_positions(&self, desk: &Desk) {
        for (symbol, position) in desk.ledger.positions() {
            self.metrics.positions_current.at((Symbol::intern(symbol),)).set(position.qty().to_f64());
        }
    }

    /// Takes newer prices and looks at equity, exposure and the breaker.
    pub fn assess(&self, prices: BTreeMap<String, Price>) {
        let now = self.clock.now();
        let mut desk = self.desk();
        desk.prices.extend(prices);
        let (valuation, equity, observation) = desk.observe(now);
        let metrics = &self.metrics;
        metrics.pnl_dollars.at((PnlType::Realized,)).set(valuation.realized.to_f64());
        metrics.pnl_dollars.at((PnlType::Unrealized,)).set(valuation.unrealized.to_f64());
        metrics.pnl_dollars.at((PnlType::Total,)).set(valuation.total().to_f64());
        metrics.exposure_dollars.at((ExposureKind::Gross,)).set(valuation.gross().to_f64());
        metrics.exposure_dollars.at((ExposureKind::Net,)).set(valuation.net().to_f64());
        metrics.equity_dollars.set(equity.to_f64());
        metrics.drawdown_ratio.set(observation.drawdown_ratio);
        let tripped = desk.breaker.observe(observation, now);
        let resumed = desk.breaker.tick(now);
        if let Some(cause) = tripped {
            self.tripped(&mut desk, cause);
        } else if resumed {
            tracing::info!("the circuit breaker lets orders pass again");
            self.breaker_changed(&mut desk);
        }
        drop(desk);
        self.unsaved.notify_one();
    }

    /// A call to the broker about an order failed.
    pub fn broker_failed(&self) {
        let mut desk = self.desk();
        if let Some(cause) = desk.breaker.broker_error(self.clock.now()) {
            self.tripped(&mut desk, cause);
        }
    }

    /// Trips the breaker by hand. Returns whether that is news.
    pub fn trip(&self, detail: &str) -> bool {
        let mut desk = self.desk();
        let news = desk.breaker.trip(TripCause::Manual, detail, self.clock.now());
        if news {
            self.tripped(&mut desk, TripCause::Manual);
        }
        news
    }

    /// Resets the breaker.
    ///
    /// # Errors
    /// See [`ResetRefused`].
    pub fn reset(&self) -> Result<(), ResetRefused> {
        let mut desk = self.desk();
        desk.breaker.reset(self.clock.now())?;
        self.breaker_changed(&mut desk);
        Ok(())
    }

    /// Keeps orders from the broker, or not.
    pub fn set_dry_run(&self, dry_run: bool) {
        let mut desk = self.desk();
        desk.dry_run = dry_run;
        desk.set(store::DRY_RUN, dry_run.to_string());
        self.metrics.dry_run_mode.set_bool(dry_run);
    }

    /// Tightens limits while trading. Loosening beyond the configuration takes a restart, and so a second person.
    ///
    /// # Errors
    /// A limit that is not positive, or looser than the configuration; nothing is changed then.
    pub fn set_limits(&self, request: &LimitsRequest) -> Result<(), String> {
        let (breaker, most) = (&self.options.breaker, self.options.limits.gross_notional_max);
        let daily_loss_max = request.daily_loss.unwrap_or(breaker.daily_loss_max);
        let drawdown_ratio_max = request.drawdown_ratio.unwrap_or(breaker.drawdown_ratio_max);
        let gross = request.gross_exposure.unwrap_or(most);
        if daily_loss_max <= Money::ZERO || daily_loss_max > breaker.daily_loss_max {
            return Err(format!(
                "daily_loss {daily_loss_max} is not above 0 and at most {}",
                breaker.daily_loss_max
            ));
        }
        if !(drawdown_ratio_max > 0.0 && drawdown_ratio_max <= breaker.drawdown_ratio_max) {
            return Err(format!(
                "drawdown_ratio {drawdown_ratio_max} is not above 0 and at most {}",
                breaker.drawdown_ratio_max
            ));
        }
        if gross <= Money::ZERO || gross > most {
            return Err(format!("gross_exposure {gross} is not above 0 and at most {most}"));
        }
        let limits = breaker::Limits { daily_loss_max, drawdown_ratio_max, ..breaker.clone() };
        show_limits(&self.metrics, &limits, gross);
        let mut desk = self.desk();
        desk.breaker.set_limits(limits);
        desk.set_gross_limit(gross);
        Ok(())
    }

    /// Takes what the database held.
    pub fn restore(&self, saved: store::Saved) {
        let mut desk = self.desk();
        desk.restore(saved.orders, &saved.fills);
        if let Some(track) = saved.equity {
            desk.track = track;
        }
        desk.dry_run = saved.dry_run.unwrap_or(desk.dry_run);
        let limits = desk.breaker.limits().clone();
        // What a person did while the database was away counts more than what it remembers.
        if !desk.breaker.blocks() {
            desk.breaker = breaker::Breaker::new(limits, saved.breaker);
        }
        self.metrics.dry_run_mode.set_bool(desk.dry_run);
        self.show_breaker(&desk);
        self.show_positions(&desk);
        self.show_open_orders(&desk);
        drop(desk);
        self.loaded.send_replace(true);
    }

    /// Writes everything that waits; what cannot be written waits on.
    ///
    /// # Errors
    /// If the database is away.
    pub async fn flush(&self) -> Result<(), crate::trading_platform::database::Error> {
        let unsaved = {
            let mut desk = self.desk();
            // Before it was read nothing may be written over it.
            if !desk.loaded {
                return Ok(());
            }
            desk.take_unsaved()
        };
        if unsaved.is_empty() {
            return Ok(());
        }
        let saved = store::save(&self.database, &unsaved).await;
        if saved.is_err() {
            self.desk().put_back(unsaved);
        }
        saved
    }

    /// How long a retry waits: base, doubled, up to the cap.
    pub fn retry_wait(&self, attempt: u32) -> Duration {
        let base = Duration::from_millis(self.options.retry_base_ms);
        let cap = Duration::from_millis(self.options.retry_cap_ms);
        base.saturating_mul(1 << attempt.min(16)).min(cap)
    }

    fn tripped(&self, desk: &mut Desk, cause: TripCause) {
        self.metrics.circuit_breaker_trips_total.at((cause.into(),)).inc();
        tracing::warn!(cause = cause.as_str(), state = ?desk.breaker.state(), "the circuit breaker tripped");
        self.breaker_changed(desk);
    }

    fn breaker_changed(&self, desk: &mut Desk) {
        let text = serde_json::to_string(desk.breaker.state()).expect("plain data");
        desk.set(store::BREAKER, text);
        self.show_breaker(desk);
        self.unsaved.notify_one();
    }

    fn show_breaker(&self, desk: &Desk) {
        self.metrics.circuit_breaker_status.set_bool(desk.breaker.blocks());
        let quiet = matches!(desk.breaker.state(), breaker::State::Quiet { .. });
        self.metrics.circuit_breaker_quiet_period.set_bool(quiet);
    }
}

fn show_limits(metrics: &GatewayMetrics, limits: &breaker::Limits, gross: Money) {
    metrics.exposure_limit_dollars.set(gross.to_f64());
    metrics.daily_loss_limit_dollars.set(limits.daily_loss_max.to_f64());
    metrics.drawdown_limit_ratio.set(limits.drawdown_ratio_max);
}
