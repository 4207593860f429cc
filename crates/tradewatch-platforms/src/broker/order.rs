//! Orders in Alpaca's form.

use super::refusal::Refusal;
use crate::market::{AssetClass, Decimal, Instrument, instrument};
use crate::runtime::Nanos;
use crate::runtime::clock::rfc3339;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Longest `client_order_id` accepted, as published.
pub const CLIENT_ORDER_ID_CHARS_MAX: usize = 128;

/// Largest quantity, price and notional of an order: beyond any account, and their products stay exact.
const FIGURE_MAX: Decimal = Decimal::from_int(1_000_000_000);

/// Buy or sell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Buy.
    Buy,
    /// Sell, short if need be.
    Sell,
}

impl Side {
    /// +1 for buy, −1 for sell.
    pub fn signed(self, qty: Decimal) -> Decimal {
        match self {
            Side::Buy => qty,
            Side::Sell => -qty,
        }
    }
}

/// How the price is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderType {
    /// At the opposite quote.
    Market,
    /// At the limit or better.
    Limit,
    /// A market order once the stop price is reached.
    Stop,
    /// A limit order once the stop price is reached.
    StopLimit,
    /// Not supported here.
    TrailingStop,
}

/// How long the order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeInForce {
    /// To the end of the session.
    Day,
    /// Until cancelled.
    Gtc,
    /// At the opening; not supported here.
    Opg,
    /// At the close; not supported here.
    Cls,
    /// What can be had at once.
    Ioc,
    /// All at once or nothing.
    Fok,
}

/// Where the order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// Received, on its way to the venue.
    PendingNew,
    /// Received, waits for the session.
    Accepted,
    /// At the venue.
    New,
    /// Partly filled, the rest stands.
    PartiallyFilled,
    /// Done.
    Filled,
    /// Cancelled by the client, or what `ioc` and `fok` could not fill.
    Canceled,
    /// Its time is over.
    Expired,
    /// Refused by the venue after it was received.
    Rejected,
}

impl OrderStatus {
    /// Whether it can still be filled.
    pub fn is_open(self) -> bool {
        use OrderStatus::{Accepted, New, PartiallyFilled, PendingNew};
        matches!(self, PendingNew | Accepted | New | PartiallyFilled)
    }

    /// Alpaca's word.
    pub fn as_str(self) -> &'static str {
        match self {
            OrderStatus::PendingNew => "pending_new",
            OrderStatus::Accepted => "accepted",
            OrderStatus::New => "new",
            OrderStatus::PartiallyFilled => "partially_filled",
            OrderStatus::Filled => "filled",
            OrderStatus::Canceled => "canceled",
            OrderStatus::Expired => "expired",
            OrderStatus::Rejected => "rejected",
        }
    }
}

/// The body of `POST /v2/orders`. Unknown fields are ignored, as by Alpaca.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct OrderRequest {
    /// Symbol or asset id.
    pub symbol: String,
    /// Quantity; or `notional`.
    pub qty: Option<Decimal>,
    /// Dollars; market orders only.
    pub notional: Option<Decimal>,
    /// Side.
    pub side: Side,
    /// Type.
    #[serde(rename = "type")]
    pub kind: OrderType,
    /// Time in force.
    pub time_in_force: TimeInForce,
    /// With limit types.
    pub limit_price: Option<Decimal>,
    /// With stop types.
    pub stop_price: Option<Decimal>,
    /// The client's own id; made up if absent, null or empty.
    pub client_order_id: Option<String>,
    /// Not supported here beyond being kept.
    pub extended_hours: Option<bool>,
    /// Only simple orders are supported here.
    pub order_class: Option<String>,
}

impl OrderRequest {
    /// Checks everything that needs no account and no price; returns the instrument.
    ///
    /// # Errors
    /// 422 with what is wrong and the value.
    pub fn check(&self) -> Result<&'static Instrument, Refusal> {
        let invalid = |message: String| Err(Refusal::invalid(message));
        let Some(instrument) = instrument::find(&self.symbol) else {
            return invalid(format!(
                "asset \"{}\" not found",
                self.symbol.chars().take(24).collect::<String>()
            ));
        };
        if !matches!(self.order_class.as_deref(), None | Some("" | "simple")) {
            return invalid("only simple orders are supported by this broker".to_owned());
        }
        if self.client_order_id.as_ref().is_some_and(|id| id.chars().count() > CLIENT_ORDER_ID_CHARS_MAX) {
            return invalid(format!(
                "client_order_id must be no more than {CLIENT_ORDER_ID_CHARS_MAX} characters"
            ));
        }
        let figures = [
            ("qty", self.qty),
            ("notional", self.notional),
            ("limit_price", self.limit_price),
            ("stop_price", self.stop_price),
        ];
        if let Some((name, _)) =
            figures.iter().find(|(_, figure)| figure.is_some_and(|value| value > FIGURE_MAX))
        {
            return invalid(format!("{name} must be at most {FIGURE_MAX}"));
        }
        self.check_quantity(instrument)?;
        self.check_prices(instrument)?;
        self.check_time_in_force(instrument)?;
        Ok(instrument)
    }

    fn check_quantity(&self, instrument: &Instrument) -> Result<(), Refusal> {
        let invalid = |message: &str| Err(Refusal::invalid(message));
        match (self.qty, self.notional) {
            (None, None) => invalid("qty or notional is required"),
            (Some(_), Some(_)) => invalid("only one of qty or notional is accepted"),
            (Some(qty), None) if !qty.is_positive() => invalid("qty must be > 0"),
            (None, Some(notional)) if notional < Decimal::ONE => invalid("notional must be at least 1"),
            (None, Some(_)) if self.kind != OrderType::Market => invalid("notional needs a market order"),
            (qty, notional) => {
                let fractional = notional.is_some() || qty.is_some_and(|qty| !qty.is_whole());
                if fractional && instrument.has_sessions() && self.time_in_force != TimeInForce::Day {
                    return invalid("fractional orders must be DAY orders");
                }
                Ok(())
            }
        }
    }

    fn check_prices(&self, instrument: &Instrument) -> Result<(), Refusal> {
        let (limit, stop) = match self.kind {
            OrderType::Market => (false, false),
            OrderType::Limit => (true, false),
            OrderType::Stop => (false, true),
            OrderType::StopLimit => (true, true),
            OrderType::TrailingStop => {
                return Err(Refusal::invalid("trailing_stop is not supported by this broker"));
            }
        };
        for (name, price, needed) in
            [("limit_price", self.limit_price, limit), ("stop_price", self.stop_price, stop)]
        {
            match price {
                None if needed => {
                    return Err(Refusal::invalid(format!("{name} is required for this order type")));
                }
                Some(_) if !needed => {
                    return Err(Refusal::invalid(format!("this order type must not have {name}")));
                }
                Some(price) if !price.is_positive() => {
                    return Err(Refusal::invalid(format!("{name} must be > 0")));
                }
                Some(price) if !price.is_multiple_of(instrument.tick()) => {
                    return Err(Refusal::invalid(format!(
                        "invalid {name} {price}. sub-penny increment does not fulfill minimum pricing criteria"
                    )));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn check_time_in_force(&self, instrument: &Instrument) -> Result<(), Refusal> {
        let allowed: &[TimeInForce] = match instrument.class {
            AssetClass::Crypto => &[TimeInForce::Gtc, TimeInForce::Ioc],
            AssetClass::UsEquity => &[TimeInForce::Day, TimeInForce::Gtc, TimeInForce::Ioc, TimeInForce::Fok],
        };
        if allowed.contains(&self.time_in_force) {
            return Ok(());
        }
        let class = if instrument.class == AssetClass::Crypto { "crypto " } else { "" };
        Err(Refusal::invalid(format!("invalid {class}time_in_force")))
    }
}

/// What an order does to the position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PositionIntent {
    /// Makes or enlarges a long position.
    BuyToOpen,
    /// Makes a short position smaller.
    BuyToClose,
    /// Makes or enlarges a short position.
    SellToOpen,
    /// Makes a long position smaller.
    SellToClose,
}

/// An order as the broker keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// The broker's id.
    pub id: String,
    /// The client's id.
    pub client_order_id: String,
    /// What is traded.
    #[serde(with = "instrument::by_symbol")]
    pub instrument: &'static Instrument,
    /// Side.
    pub side: Side,
    /// Type.
    pub kind: OrderType,
    /// Time in force.
    pub time_in_force: TimeInForce,
    /// Quantity to fill; worked out from the quote for a notional order.
    pub qty: Decimal,
    /// Dollars, if it was ordered so.
    pub notional: Option<Decimal>,
    /// Limit.
    pub limit_price: Option<Decimal>,
    /// Stop.
    pub stop_price: Option<Decimal>,
    /// Whether a stop has been reached (always for other types).
    pub triggered: bool,
    /// Whether the venue may match it.
    pub at_venue: bool,
    /// Kept for the answer.
    pub extended_hours: bool,
    /// Where it stands.
    pub status: OrderStatus,
    /// Filled so far.
    pub filled_qty: Decimal,
    /// Sum of price × quantity of its fills.
    pub filled_value: Decimal,
    /// When it was received.
    pub position_intent: PositionIntent,
    /// Received.
    pub created_at: Nanos,
    /// Last change.
    pub updated_at: Nanos,
    /// When it ends by itself.
    pub expires_at: Nanos,
    /// Last fill.
    pub filled_at: Option<Nanos>,
    /// Cancelled.
    pub canceled_at: Option<Nanos>,
    /// Expired.
    pub expired_at: Option<Nanos>,
    /// Rejected.
    pub failed_at: Option<Nanos>,
}

impl Order {
    /// Quantity that is not filled.
    pub fn remaining(&self) -> Decimal {
        self.qty - self.filled_qty
    }

    /// Mean price of its fills.
    pub fn filled_avg_price(&self) -> Option<Decimal> {
        self.filled_qty.is_positive().then(|| self.filled_value.ratio(self.filled_qty))
    }

    /// The Order object of the published API.
    pub fn json(&self) -> Value {
        let stamp = |at: Option<Nanos>| at.map(rfc3339);
        json!({
            "id": self.id,
            "client_order_id": self.client_order_id,
            "created_at": rfc3339(self.created_at),
            "updated_at": rfc3339(self.updated_at),
            "submitted_at": rfc3339(self.created_at),
            "filled_at": stamp(self.filled_at),
            "expired_at": stamp(self.expired_at),
            "expires_at": rfc3339(self.expires_at),
            "canceled_at": stamp(self.canceled_at),
            "failed_at": stamp(self.failed_at),
            "replaced_at": null,
            "replaced_by": null,
            "replaces": null,
            "asset_id": self.instrument.asset_id,
            "symbol": self.instrument.symbol,
            "asset_class": self.instrument.class,
            "notional": self.notional,
            "qty": if self.notional.is_some() { None } else { Some(self.qty) },
            "filled_qty": self.filled_qty,
            "filled_avg_price": self.filled_avg_price(),
            "order_class": "",
            "order_type": self.kind,
            "type": self.kind,
            "side": self.side,
            "time_in_force": self.time_in_force,
            "limit_price": self.limit_price,
            "stop_price": self.stop_price,
            "status": self.status,
            "extended_hours": self.extended_hours,
            "legs": null,
            "trail_percent": null,
            "trail_price": null,
            "hwm": null,
            "position_intent": self.position_intent,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: Value) -> String {
        match serde_json::from_value::<OrderRequest>(body) {
            Err(error) => error.to_string(),
            Ok(request) => request.check().map_or_else(|refusal| refusal.message, |i| i.symbol.to_owned()),
        }
    }

    fn order(symbol: &str, change: Value) -> Value {
        let mut body =
            json!({"symbol": symbol, "qty": "1", "side": "buy", "type": "market", "time_in_force": "day"});
        let fields = body.as_object_mut().expect("an object");
        for (name, value) in change.as_object().expect("an object") {
            fields.insert(name.clone(), value.clone());
        }
        body
    }

    #[test]
    fn requests_are_checked() {
        assert_eq!(check(order("AAPL", json!({}))), "AAPL");
        assert_eq!(check(order("BTCUSD", json!({"time_in_force": "gtc", "qty": 0.001}))), "BTC/USD");
        assert_eq!(check(order("BTC/USD", json!({}))), "invalid crypto time_in_force");
        assert_eq!(check(order("GME", json!({}))), "asset \"GME\" not found");
        assert_eq!(check(order("AAPL", json!({"qty": null}))), "qty or notional is required");
        assert_eq!(check(order("AAPL", json!({"notional": 100}))), "only one of qty or notional is accepted");
        assert_eq!(check(order("AAPL", json!({"qty": "0"}))), "qty must be > 0");
        assert_eq!(check(order("AAPL", json!({"qty": "-3"}))), "qty must be > 0");
        assert_eq!(
            check(order("AAPL", json!({"qty": "999999999999999999"}))),
            "qty must be at most 1000000000"
        );
        assert_eq!(
            check(order("AAPL", json!({"qty": "0.5", "time_in_force": "gtc"}))),
            "fractional orders must be DAY orders"
        );
        assert_eq!(
            check(order("AAPL", json!({"type": "limit"}))),
            "limit_price is required for this order type"
        );
        assert_eq!(
            check(order("AAPL", json!({"limit_price": 1}))),
            "this order type must not have limit_price"
        );
        assert_eq!(
            check(order("AAPL", json!({"type": "limit", "limit_price": "230.123"}))),
            "invalid limit_price 230.123. sub-penny increment does not fulfill minimum pricing criteria"
        );
        assert_eq!(check(order("AAPL", json!({"type": "limit", "limit_price": 230.12}))), "AAPL");
        assert_eq!(check(order("AAPL", json!({"time_in_force": "opg"}))), "invalid time_in_force");
        assert_eq!(
            check(order("AAPL", json!({"order_class": "bracket"}))),
            "only simple orders are supported by this broker"
        );
        assert!(check(order("AAPL", json!({"client_order_id": "x".repeat(129)}))).contains("128 characters"));
        assert!(check(order("AAPL", json!({"side": "hold"}))).contains("unknown variant `hold`"));
    }
}
