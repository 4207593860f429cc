//! The account as Alpaca's answers show it.

use super::book::{Book, Fill};
use super::ledger::Position;
use super::order::{Order, OrderStatus, Side};
use crate::market::{AssetClass, Decimal, Instrument};
use crate::runtime::Nanos;
use crate::runtime::clock::{SECOND, rfc3339};
use serde_json::{Value, json};

/// Id of the one account.
pub const ACCOUNT_ID: &str = "5a0c7a35-52a1-4a6a-9a6a-6d2f1f0a1eff";
/// Sessions that one answer of `/v2/calendar` lists at most.
const CALENDAR_DAYS_MAX: usize = 400;

/// Money in an answer: cents, at least one digit.
fn money(value: Decimal) -> String {
    value.round(2).to_string()
}

impl Book {
    /// The Account object.
    pub fn account_json(&self, created_at: Nanos) -> Value {
        let (mut long, mut short) = (Decimal::ZERO, Decimal::ZERO);
        for position in self.ledger.positions() {
            let mark = self.mark(position.instrument.symbol).unwrap_or_else(|| position.avg_entry_price());
            let value = position.market_value(mark);
            if value.is_negative() { short += value } else { long += value }
        }
        let equity = self.equity();
        let used = self.margin_used();
        let free = equity - used;
        let power = money(self.buying_power_from(free, AssetClass::UsEquity));
        let maintenance = (long - short) * Decimal::from_scaled(3, 1);
        json!({
            "id": ACCOUNT_ID,
            "account_number": "PA0000000001",
            "status": "ACTIVE",
            "crypto_status": "ACTIVE",
            "currency": "USD",
            "cash": money(self.ledger.cash()),
            "equity": money(equity),
            "last_equity": money(self.last_equity),
            "portfolio_value": money(equity),
            "long_market_value": money(long),
            "short_market_value": money(short),
            "initial_margin": money(used),
            "maintenance_margin": money(maintenance),
            "last_maintenance_margin": "0",
            "buying_power": power,
            "regt_buying_power": power,
            "daytrading_buying_power": "0",
            "options_buying_power": money(self.buying_power_from(free, AssetClass::Crypto)),
            "non_marginable_buying_power": money(self.buying_power_from(free, AssetClass::Crypto)),
            "multiplier": self.multiplier,
            "sma": "0",
            "accrued_fees": "0",
            "pending_transfer_in": "0",
            "pending_transfer_out": "0",
            "daytrade_count": 0,
            "pattern_day_trader": false,
            "trading_blocked": false,
            "transfers_blocked": false,
            "account_blocked": false,
            "trade_suspended_by_user": false,
            "shorting_enabled": true,
            "created_at": rfc3339(created_at),
        })
    }

    /// The Position object.
    pub fn position_json(&self, position: &Position) -> Value {
        let symbol = position.instrument.symbol;
        let price = self.mark(symbol).unwrap_or_else(|| position.avg_entry_price());
        let last = self.last_prices.get(symbol).copied().unwrap_or(price);
        let long = position.qty.is_positive();
        let closing = self.open_qty(symbol, if long { Side::Sell } else { Side::Buy });
        let available = (position.qty.abs() - closing).max(Decimal::ZERO);
        let profit = position.unrealized(price);
        let signed = |value: Decimal| if long { value } else { -value };
        let cost = signed(position.cost);
        json!({
            "asset_id": position.instrument.asset_id,
            "symbol": symbol,
            "exchange": position.instrument.exchange,
            "asset_class": position.instrument.class,
            "asset_marginable": position.instrument.has_sessions(),
            "avg_entry_price": position.avg_entry_price(),
            "qty": position.qty,
            "qty_available": signed(available),
            "side": if long { "long" } else { "short" },
            "market_value": position.market_value(price),
            "cost_basis": cost,
            "unrealized_pl": profit,
            "unrealized_plpc": profit.ratio(position.cost),
            "unrealized_intraday_pl": profit,
            "unrealized_intraday_plpc": profit.ratio(position.cost),
            "current_price": price,
            "lastday_price": last,
            "change_today": (price - last).ratio(last),
        })
    }

    /// The Clock object.
    pub fn clock_json(&self, now: Nanos) -> Value {
        json!({
            "timestamp": new_york(now).strftime("%Y-%m-%dT%H:%M:%S%.9f%:z").to_string(),
            "is_open": self.market.is_open(now),
            "next_open": new_york(self.market.next_open(now)).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
            "next_close": new_york(self.market.next_close(now)).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        })
    }

    /// The sessions that begin between two dates, as `/v2/calendar` lists them.
    pub fn calendar_json(&self, from: Nanos, until: Nanos) -> Value {
        let sessions = self.market.sessions(from, until, CALENDAR_DAYS_MAX);
        let day = |session: crate::market::Session| {
            let (open, close) = (new_york(session.open), new_york(session.close));
            let settles = new_york(self.market.next_open(session.close));
            json!({
                "date": open.strftime("%Y-%m-%d").to_string(),
                "open": open.strftime("%H:%M").to_string(),
                "close": close.strftime("%H:%M").to_string(),
                "session_open": "0400",
                "session_close": "2000",
                "settlement_date": settles.strftime("%Y-%m-%d").to_string(),
            })
        };
        sessions.into_iter().map(day).collect()
    }

    /// One execution as `/v2/account/activities` lists it.
    pub fn activity_json(&self, fill: &Fill) -> Value {
        let done = fill.leaves.is_zero();
        json!({
            "id": activity_id(fill),
            "activity_type": "FILL",
            "transaction_time": rfc3339(fill.at),
            "type": if done { "fill" } else { "partial_fill" },
            "price": fill.price,
            "qty": fill.qty,
            "side": fill.side,
            "symbol": fill.instrument.symbol,
            "leaves_qty": fill.leaves,
            "order_id": fill.order_id,
            "cum_qty": fill.cumulative,
            "order_status": if done { OrderStatus::Filled } else { OrderStatus::PartiallyFilled },
        })
    }

    /// Executions, oldest first.
    pub fn fills(&self) -> impl DoubleEndedIterator<Item = &Fill> {
        self.fills.iter()
    }

    /// All orders that are kept, oldest first.
    pub fn orders(&self) -> impl DoubleEndedIterator<Item = &Order> {
        self.orders.values()
    }
}

/// `20261120143000123::<execution id>`: sorts by time.
pub fn activity_id(fill: &Fill) -> String {
    let at = jiff::Timestamp::from_nanosecond(i128::from(fill.at)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let millis = fill.at.rem_euclid(SECOND) / 1_000_000;
    format!("{}{millis:03}::{}", at.strftime("%Y%m%d%H%M%S"), fill.id)
}

/// The Asset object.
pub fn asset_json(instrument: &Instrument) -> Value {
    let equity = instrument.has_sessions();
    json!({
        "id": instrument.asset_id,
        "class": instrument.class,
        "exchange": if equity { instrument.exchange } else { "OTC" },
        "symbol": instrument.symbol,
        "name": instrument.name,
        "status": "active",
        "tradable": true,
        "marginable": equity,
        "shortable": equity,
        "easy_to_borrow": equity,
        "fractionable": true,
        "attributes": [],
    })
}

fn new_york(at: Nanos) -> jiff::Zoned {
    let ts = jiff::Timestamp::from_nanosecond(i128::from(at)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let zone = jiff::tz::TimeZone::get("America/New_York").expect("the time zone database is in the binary");
    ts.to_zoned(zone)
}
