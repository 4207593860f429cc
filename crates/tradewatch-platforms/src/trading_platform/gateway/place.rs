//! One order, from the request to the answer.
//!
//! ```text
//!  known id? ─yes─▶ the stored order
//!     │no
//!  checks ─refused─▶ saved as rejected
//!     │
//!  saved as pending ─database away─▶ failed, nothing was sent
//!     │
//!  dry run? ─yes─▶ saved as dry_run
//!     │no
//!  broker: up to three tries, only where it could not be reached
//! ```
//! The order is in the database before the broker hears of it. So whatever dies in between, the next start
//! asks the broker for it by our id.

use super::broker::BrokerError;
use super::metrics::{OrderStatus, RejectReason};
use super::state::State;
use super::store;
use crate::trading_platform::labels::Symbol;
use crate::trading_platform::order::{Order, OrderRequest, OrderState, day_of};

/// Tries at the broker.
const TRIES: u32 = 3;
/// Longest reference and strategy that are stored.
const TEXT_CHARS_MAX: usize = 128;

/// How a request ended.
#[derive(Clone, Debug)]
pub enum Placed {
    /// It was known already; nothing was done.
    Repeated(Order),
    /// The broker has it, or dry run stored it.
    Accepted(Order),
    /// A check or the broker refused it, or the broker could not be reached.
    Rejected {
        /// The order as stored.
        order: Order,
        /// Which reason.
        reason: RejectReason,
    },
    /// Something of ours broke; nothing was sent.
    Failed(String),
}

impl State {
    /// Handles one order request and counts it.
    pub async fn place(&self, request: OrderRequest) -> Placed {
        let known = self.desk().knows(&request.symbol);
        // A symbol that nobody trades must not take a place in the label's budget.
        let symbol = if known { Symbol::intern(&request.symbol) } else { Symbol::OVERFLOW };
        let side = request.side;
        let timing = self.metrics.order_placement_duration_seconds.at((symbol, side)).start();
        let placed = self.handle(request).await;
        timing.stop();
        let status = match &placed {
            Placed::Repeated(_) => return placed,
            Placed::Accepted(_) => OrderStatus::Success,
            Placed::Rejected { reason, .. } => {
                self.metrics.order_rejections_total.at((*reason,)).inc();
                OrderStatus::Rejected
            }
            Placed::Failed(_) => OrderStatus::Failed,
        };
        self.metrics.orders_total.at((symbol, side, status)).inc();
        self.show_open_orders(&self.desk());
        placed
    }

    async fn handle(&self, mut request: OrderRequest) -> Placed {
        for text in [&mut request.strategy, &mut request.reference] {
            *text = text.chars().take(TEXT_CHARS_MAX).collect();
        }
        if !self.desk().loaded {
            return Placed::Failed(
                "orders cannot be taken before the database was read; nothing was sent".into(),
            );
        }
        let now = self.clock.now();
        let id = request.client_order_id(day_of(now));
        if let Some(order) = self.desk().order(&id) {
            return Placed::Repeated(order.clone());
        }
        match store::find(&self.database, &id).await {
            Ok(Some(order)) => return Placed::Repeated(order),
            Ok(None) => {}
            Err(error) => return Placed::Failed(format!("{error}; nothing was sent")),
        }
        // The newest price; without the cache the last known one decides by its age.
        if let Ok(prices) = self.cache.get(std::slice::from_ref(&request.symbol)).await {
            self.desk().prices.extend(prices);
        }
        let admitted = {
            let mut desk = self.desk();
            // The same request may have come in while we were waiting.
            match desk.order(&id) {
                Some(order) => return Placed::Repeated(order.clone()),
                None => desk.admit(&id, &request, self.clock.now()),
            }
        };
        let order = match admitted {
            Ok(order) => order,
            Err((refusal, why)) => {
                return self.refuse(Order::new(id, request, now), refusal.into(), why).await;
            }
        };
        if let Err(error) = store::save_order(&self.database, &order).await {
            self.desk().forget(&id);
            return Placed::Failed(format!("{error}; nothing was sent"));
        }
        if self.desk().dry_run {
            let ended = self.desk().end(&id, OrderState::DryRun, "");
            self.unsaved.notify_one();
            return Placed::Accepted(ended.unwrap_or(order));
        }
        self.send(order).await
    }

    /// Stores an order that a check refused. That it was refused holds whether or not it could be stored.
    async fn refuse(&self, mut order: Order, reason: RejectReason, why: String) -> Placed {
        order.state = OrderState::Rejected;
        order.reason = why;
        if let Err(error) = store::save_order(&self.database, &order).await {
            tracing::warn!(%error, id = order.client_order_id, "a refused order was not stored");
        }
        Placed::Rejected { order, reason }
    }

    async fn send(&self, order: Order) -> Placed {
        let id = order.client_order_id.clone();
        let mut attempt = 0;
        let why = loop {
            match self.broker.submit(&id, &order.request).await {
                Ok(told) => {
                    self.apply(&told, None);
                    let now = self.desk().order(&id).cloned();
                    return Placed::Accepted(now.unwrap_or(order));
                }
                Err(BrokerError::Rejected(why)) => {
                    let ended = self.desk().end(&id, OrderState::Rejected, &why);
                    self.unsaved.notify_one();
                    return Placed::Rejected {
                        order: ended.unwrap_or(order),
                        reason: RejectReason::BrokerRejected,
                    };
                }
                Err(error) => {
                    self.broker_failed();
                    attempt += 1;
                    if attempt == TRIES {
                        break error.to_string();
                    }
                    tokio::time::sleep(self.retry_wait(attempt - 1)).await;
                }
            }
        };
        // It stays pending: the broker may have it all the same. Recovery asks, and ends or adopts it.
        tracing::warn!(
            id,
            why,
            "the broker could not be reached; the order is open until it can be asked for"
        );
        let mut told = order;
        told.reason = why;
        Placed::Rejected { order: told, reason: RejectReason::BrokerUnreachable }
    }

    /// Asks the broker for every live order: after a lost stream, after a restart, and for those whose
    /// submission was never answered. Nothing that happened meanwhile is lost.
    ///
    /// # Errors
    /// If the broker cannot be reached.
    pub async fn recover(&self) -> Result<(), BrokerError> {
        let live: Vec<Order> = self.desk().live_orders().cloned().collect();
        for order in live {
            match self.broker.by_client_id(&order.client_order_id).await {
                Ok(told) => self.apply(&told, None),
                Err(BrokerError::NotFound)
                    if order.state == OrderState::Pending && self.is_settled(&order) =>
                {
                    let why = "the broker never received it";
                    self.desk().end(&order.client_order_id, OrderState::Rejected, why);
                    self.unsaved.notify_one();
                }
                // It was acknowledged and is gone: the broker has lost it, and nothing will ever be told of it.
                Err(BrokerError::NotFound) if order.state != OrderState::Pending => {
                    let why = "the broker does not know it any more";
                    tracing::warn!(id = order.client_order_id, why, "order ended");
                    self.desk().end(&order.client_order_id, OrderState::Canceled, why);
                    self.unsaved.notify_one();
                }
                Err(BrokerError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        self.show_open_orders(&self.desk());
        Ok(())
    }

    /// Whether no submission of this order can be under way any more.
    fn is_settled(&self, order: &Order) -> bool {
        let waits: u64 = (0..TRIES).map(|attempt| self.retry_wait(attempt).as_millis() as u64).sum();
        let longest = u64::from(TRIES) * self.options.order_timeout_ms + waits;
        self.clock.now() - order.created_at > longest as i64 * 1_000_000
    }
}
