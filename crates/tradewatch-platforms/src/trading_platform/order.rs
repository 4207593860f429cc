//! Orders as the platform's services speak of them.

use super::money::{Money, Qty};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tradewatch_metrics::Label;

/// Hexadecimal digits of a client order id.
const CLIENT_ORDER_ID_LEN: usize = 32;

/// Which way.
#[derive(Label, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// More of the symbol.
    Buy,
    /// Less of it.
    Sell,
}

impl Side {
    /// `qty` with the sign of this side.
    pub fn signed(self, qty: Qty) -> Qty {
        match self {
            Side::Buy => qty,
            Side::Sell => -qty,
        }
    }

    /// The name in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Side::Buy => "buy",
            Side::Sell => "sell",
        }
    }

    /// The inverse of [`Side::as_str`].
    pub fn parse(text: &str) -> Option<Side> {
        [Side::Buy, Side::Sell].into_iter().find(|side| side.as_str() == text)
    }
}

/// What the gateway is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRequest {
    /// `AAPL` or `BTC/USD`.
    pub symbol: String,
    /// Which way.
    pub side: Side,
    /// How much; positive.
    pub qty: Qty,
    /// Absent for a market order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_price: Option<Money>,
    /// Who decided; part of the identity.
    #[serde(default = "default_strategy")]
    pub strategy: String,
    /// What sets two otherwise equal orders of one day apart: the orchestrator sends its run.
    #[serde(default)]
    pub reference: String,
}

fn default_strategy() -> String {
    String::from("alpha_baseline")
}

impl OrderRequest {
    /// The identity of this order on `day` (days since the epoch, UTC): equal requests get equal ids, so
    /// that a repeat is recognised here and at the broker.
    pub fn client_order_id(&self, day: i64) -> String {
        let limit = self.limit_price.map(|price| price.to_string()).unwrap_or_default();
        let identity = [
            self.strategy.as_str(),
            self.reference.as_str(),
            self.symbol.as_str(),
            self.side.as_str(),
            &self.qty.to_string(),
            &limit,
            &day.to_string(),
        ]
        // A separator that no field holds, or "a" + "bc" would be "ab" + "c".
        .join("\u{1f}");
        let digest = Sha256::digest(identity.as_bytes());
        let mut id: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        id.truncate(CLIENT_ORDER_ID_LEN);
        id
    }
}

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// Saved, not yet answered by the broker; after a lost connection nobody knows until it is asked for.
    Pending,
    /// At the broker, nothing filled.
    Open,
    /// At the broker, filled in part.
    PartiallyFilled,
    /// Done.
    Filled,
    /// Cancelled, with or without a partial fill.
    Canceled,
    /// Refused by a check of ours or by the broker.
    Rejected,
    /// Handled by the rules but not sent, since the gateway was in dry run.
    DryRun,
    /// Something of ours broke.
    Failed,
}

impl OrderState {
    const ALL: [OrderState; 8] = [
        OrderState::Pending,
        OrderState::Open,
        OrderState::PartiallyFilled,
        OrderState::Filled,
        OrderState::Canceled,
        OrderState::Rejected,
        OrderState::DryRun,
        OrderState::Failed,
    ];

    /// The name in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            OrderState::Pending => "pending",
            OrderState::Open => "open",
            OrderState::PartiallyFilled => "partially_filled",
            OrderState::Filled => "filled",
            OrderState::Canceled => "canceled",
            OrderState::Rejected => "rejected",
            OrderState::DryRun => "dry_run",
            OrderState::Failed => "failed",
        }
    }

    /// The inverse of [`OrderState::as_str`].
    pub fn parse(text: &str) -> Option<OrderState> {
        OrderState::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether the broker may still change it.
    pub fn is_live(self) -> bool {
        matches!(self, OrderState::Pending | OrderState::Open | OrderState::PartiallyFilled)
    }
}

/// An order as the gateway keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Our identity for it.
    pub client_order_id: String,
    /// The broker's; empty until it answered.
    #[serde(default)]
    pub broker_order_id: String,
    /// What was asked.
    #[serde(flatten)]
    pub request: OrderRequest,
    /// Where it stands.
    pub state: OrderState,
    /// How much was filled.
    pub filled_qty: Qty,
    /// What the fills cost together, unsigned.
    pub filled_cost: Money,
    /// Why it was refused or failed; else empty.
    #[serde(default)]
    pub reason: String,
    /// When it was accepted here, in nanoseconds since the epoch.
    pub created_at: i64,
    /// When the broker acknowledged it; 0 before.
    #[serde(default)]
    pub acknowledged_at: i64,
}

impl Order {
    /// A new order, pending.
    pub fn new(client_order_id: String, request: OrderRequest, now: i64) -> Order {
        Order {
            client_order_id,
            broker_order_id: String::new(),
            request,
            state: OrderState::Pending,
            filled_qty: Qty::ZERO,
            filled_cost: Money::ZERO,
            reason: String::new(),
            created_at: now,
            acknowledged_at: 0,
        }
    }

    /// What may still be filled, with the sign of the side; zero once it is done.
    pub fn open_qty(&self) -> Qty {
        if self.state.is_live() {
            self.request.side.signed(self.request.qty - self.filled_qty)
        } else {
            Qty::ZERO
        }
    }
}

/// Days since the epoch in UTC.
pub fn day_of(now: i64) -> i64 {
    now.div_euclid(86_400 * 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> OrderRequest {
        serde_json::from_str(r#"{"symbol":"BTC/USD","side":"buy","qty":"0.5","reference":"run-1"}"#)
            .expect("a request")
    }

    #[test]
    fn the_id_depends_on_every_part_and_on_nothing_else() {
        let id = request().client_order_id(20_000);
        assert_eq!(id.len(), CLIENT_ORDER_ID_LEN);
        assert_eq!(request().client_order_id(20_000), id);
        let mut others = vec![request().client_order_id(20_001)];
        let changes: [fn(&mut OrderRequest); 6] = [
            |r| r.side = Side::Sell,
            |r| r.qty = Qty::whole(1),
            |r| r.reference = "run-2".into(),
            |r| r.strategy = "x".into(),
            |r| r.symbol = "ETH/USD".into(),
            |r| r.limit_price = Some(Money::whole(1)),
        ];
        for change in changes {
            let mut other = request();
            change(&mut other);
            others.push(other.client_order_id(20_000));
        }
        assert!(!others.contains(&id));
        others.sort();
        others.dedup();
        assert_eq!(others.len(), 7);
    }

    #[test]
    fn quantities_come_as_numbers_or_strings() {
        let number: OrderRequest =
            serde_json::from_str(r#"{"symbol":"BTC/USD","side":"buy","qty":0.5,"reference":"run-1"}"#)
                .expect("a request");
        assert_eq!(number, request());
        assert!(serde_json::from_str::<OrderRequest>(r#"{"symbol":"A","side":"hold","qty":1}"#).is_err());
    }

    #[test]
    fn states_and_sides_read_back() {
        for state in OrderState::ALL {
            assert_eq!(OrderState::parse(state.as_str()), Some(state));
        }
        assert_eq!(Side::parse("sell"), Some(Side::Sell));
        assert_eq!(day_of(86_400_000_000_000 - 1), 0);
    }
}
