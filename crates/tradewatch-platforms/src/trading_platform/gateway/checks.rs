//! Pre-trade checks: what an order must pass before the broker sees it.
//!
//! A plain function of the order and of the account as the gateway knows it. Open orders count as if they
//! were filled, or two orders sent at once could pass a limit that they break together.

use crate::trading_platform::money::{Money, Qty};
use crate::trading_platform::order::{OrderRequest, Side};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Limits on orders, as the platform's risk library has them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct OrderLimits {
    /// Most shares of one symbol, long or short.
    pub shares_per_symbol_max: Qty,
    /// Most value of one symbol, as a share of equity.
    pub symbol_share_of_equity_max: f64,
    /// Most value of all positions, long plus short.
    pub gross_notional_max: Money,
    /// Most value of long positions.
    pub long_notional_max: Money,
    /// Most value of short positions.
    pub short_notional_max: Money,
    /// Oldest price to trade on, in milliseconds.
    pub price_age_ms_max: u64,
}

impl Default for OrderLimits {
    fn default() -> OrderLimits {
        OrderLimits {
            shares_per_symbol_max: Qty::whole(1_000),
            symbol_share_of_equity_max: 0.20,
            gross_notional_max: Money::whole(100_000),
            long_notional_max: Money::whole(80_000),
            short_notional_max: Money::whole(20_000),
            price_age_ms_max: 5_000,
        }
    }
}

/// What the gateway knows when it checks an order.
#[derive(Clone, Debug)]
pub struct Account {
    /// Whether the symbol may be traded at all.
    pub symbol_known: bool,
    /// Signed quantity held of the symbol, open orders included.
    pub position: Qty,
    /// Newest price of the symbol and its age.
    pub price: Option<(Money, Duration)>,
    /// Value of all long positions but this symbol, open orders included.
    pub other_long: Money,
    /// Value of all short positions but this symbol, as a positive amount, open orders included.
    pub other_short: Money,
    /// Cash plus value of positions.
    pub equity: Money,
    /// What the broker lets us spend.
    pub buying_power: Money,
    /// Whether the breaker blocks orders that add risk.
    pub breaker_blocks: bool,
    /// Whether the symbol's market is open.
    pub market_open: bool,
}

/// Which check refused an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Quantity, price or symbol make no sense.
    InvalidOrder,
    /// The symbol's market is closed.
    MarketClosed,
    /// No price, or one too old to trade on.
    StalePrice,
    /// The breaker is not in trading and the order adds risk.
    CircuitBreaker,
    /// Too much of one symbol.
    PositionLimit,
    /// Too much altogether.
    NotionalLimit,
    /// The broker would not lend that much.
    InsufficientBuyingPower,
}

/// Checks `order`; the error names the check and says what was measured against which limit.
///
/// An order that only reduces a position passes the breaker and the limits: it must stay possible to get out.
pub fn check(order: &OrderRequest, account: &Account, limits: &OrderLimits) -> Result<(), (Refusal, String)> {
    let crypto = is_crypto(&order.symbol);
    check_form(order, account, crypto)?;
    if !account.market_open {
        return Err((Refusal::MarketClosed, format!("the market of {} is closed", order.symbol)));
    }
    let price = fresh_price(order, account, limits)?;

    let before = account.position;
    let after = before + order.side.signed(order.qty);
    let reduces = after.abs() < before.abs() && after.signum() * before.signum() >= 0;
    if reduces {
        return Ok(());
    }
    if account.breaker_blocks {
        return Err((
            Refusal::CircuitBreaker,
            "the circuit breaker lets only orders pass that reduce a position".into(),
        ));
    }
    if crypto && after < Qty::ZERO {
        return Err((
            Refusal::InvalidOrder,
            format!("{} cannot be sold short: {before} held, {} to sell", order.symbol, order.qty),
        ));
    }
    check_position(order, after, price, account.equity, limits, crypto)?;
    check_notional(after, price, account, limits)?;
    let adds = after.at(price).abs()
        - if before.signum() == after.signum() { before.at(price).abs() } else { Money::ZERO };
    if adds > account.buying_power {
        return Err((
            Refusal::InsufficientBuyingPower,
            format!("needs {adds} USD, buying power {} USD", account.buying_power),
        ));
    }
    Ok(())
}

/// Whether a symbol trades around the clock, in fractions, and never short: Alpaca's crypto pairs have a slash.
pub fn is_crypto(symbol: &str) -> bool {
    symbol.contains('/')
}

fn check_form(order: &OrderRequest, account: &Account, crypto: bool) -> Result<(), (Refusal, String)> {
    let invalid = |what: String| Err((Refusal::InvalidOrder, what));
    if !account.symbol_known {
        return invalid(format!("symbol {:?} is not in the universe", order.symbol));
    }
    if order.qty <= Qty::ZERO {
        return invalid(format!("quantity {} is not positive", order.qty));
    }
    if !crypto && order.qty.floor_to(Qty::whole(1)) != order.qty {
        return invalid(format!(
            "quantity {} of {} is not a whole number of shares",
            order.qty, order.symbol
        ));
    }
    match order.limit_price {
        Some(price) if price <= Money::ZERO => invalid(format!("limit price {price} is not positive")),
        _ => Ok(()),
    }
}

fn fresh_price(
    order: &OrderRequest,
    account: &Account,
    limits: &OrderLimits,
) -> Result<Money, (Refusal, String)> {
    let Some((price, age)) = account.price else {
        return Err((Refusal::StalePrice, format!("there is no price of {}", order.symbol)));
    };
    if age.as_millis() > u128::from(limits.price_age_ms_max) {
        let limit = limits.price_age_ms_max as f64 / 1e3;
        return Err((
            Refusal::StalePrice,
            format!("the price of {} is {:.1} s old, limit {limit:.1} s", order.symbol, age.as_secs_f64()),
        ));
    }
    // A buyer with a limit pays at most that; whoever sells dear still sets the exposure.
    Ok(match (order.side, order.limit_price) {
        (Side::Buy, Some(limit)) if limit > price => limit,
        _ => price,
    })
}

fn check_position(
    order: &OrderRequest,
    after: Qty,
    price: Money,
    equity: Money,
    limits: &OrderLimits,
    crypto: bool,
) -> Result<(), (Refusal, String)> {
    let symbol = &order.symbol;
    if !crypto && after.abs() > limits.shares_per_symbol_max {
        let text = format!(
            "{} shares of {symbol} held after this order, limit {}",
            after.abs(),
            limits.shares_per_symbol_max
        );
        return Err((Refusal::PositionLimit, text));
    }
    let (value, most) = (after.at(price).abs(), equity.scaled(limits.symbol_share_of_equity_max));
    if value > most {
        let text = format!(
            "{:.2} USD of {symbol} held after this order, limit {:.2} USD",
            value.to_f64(),
            most.to_f64()
        );
        return Err((Refusal::PositionLimit, text));
    }
    Ok(())
}

fn check_notional(
    after: Qty,
    price: Money,
    account: &Account,
    limits: &OrderLimits,
) -> Result<(), (Refusal, String)> {
    let value = after.at(price);
    let long = account.other_long + value.max(Money::ZERO);
    let short = account.other_short + (-value).max(Money::ZERO);
    for (name, amount, most, concerned) in [
        ("long positions", long, limits.long_notional_max, value > Money::ZERO),
        ("short positions", short, limits.short_notional_max, value < Money::ZERO),
        ("all positions", long + short, limits.gross_notional_max, true),
    ] {
        if concerned && amount > most {
            let text = format!(
                "{:.2} USD of {name} after this order, limit {:.2} USD",
                amount.to_f64(),
                most.to_f64()
            );
            return Err((Refusal::NotionalLimit, text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(symbol: &str, side: Side, qty: &str) -> OrderRequest {
        OrderRequest {
            symbol: symbol.into(),
            side,
            qty: Qty::parse(qty).expect(qty),
            limit_price: None,
            strategy: "s".into(),
            reference: String::new(),
        }
    }

    fn account() -> Account {
        Account {
            symbol_known: true,
            position: Qty::ZERO,
            price: Some((Money::whole(100), Duration::from_secs(1))),
            other_long: Money::ZERO,
            other_short: Money::ZERO,
            equity: Money::whole(100_000),
            buying_power: Money::whole(100_000),
            breaker_blocks: false,
            market_open: true,
        }
    }

    fn refusal(order: &OrderRequest, account: &Account) -> Option<Refusal> {
        check(order, account, &OrderLimits::default()).err().map(|(refusal, _)| refusal)
    }

    #[test]
    fn every_limit_refuses_just_above_and_not_at_it() {
        let cases: [(&str, OrderRequest, Account, Option<Refusal>); 17] = [
            ("plain", order("AAPL", Side::Buy, "1"), account(), None),
            (
                "unknown",
                order("XXX", Side::Buy, "1"),
                Account { symbol_known: false, ..account() },
                Some(Refusal::InvalidOrder),
            ),
            ("zero", order("AAPL", Side::Buy, "0"), account(), Some(Refusal::InvalidOrder)),
            ("fraction", order("AAPL", Side::Buy, "0.5"), account(), Some(Refusal::InvalidOrder)),
            ("fraction of a coin", order("BTC/USD", Side::Buy, "0.5"), account(), None),
            ("short coin", order("BTC/USD", Side::Sell, "0.5"), account(), Some(Refusal::InvalidOrder)),
            (
                "closed",
                order("AAPL", Side::Buy, "1"),
                Account { market_open: false, ..account() },
                Some(Refusal::MarketClosed),
            ),
            (
                "no price",
                order("AAPL", Side::Buy, "1"),
                Account { price: None, ..account() },
                Some(Refusal::StalePrice),
            ),
            ("at share", order("AAPL", Side::Buy, "200"), account(), None),
            ("above share", order("AAPL", Side::Buy, "201"), account(), Some(Refusal::PositionLimit)),
            ("short at limit", order("AAPL", Side::Sell, "200"), account(), None),
            (
                "short above",
                order("AAPL", Side::Sell, "100"),
                Account { other_short: Money::whole(10_001), ..account() },
                Some(Refusal::NotionalLimit),
            ),
            (
                "long at limit",
                order("AAPL", Side::Buy, "100"),
                Account { other_long: Money::whole(70_000), ..account() },
                None,
            ),
            (
                "long above",
                order("AAPL", Side::Buy, "100"),
                Account { other_long: Money::whole(70_001), ..account() },
                Some(Refusal::NotionalLimit),
            ),
            (
                "gross above",
                order("AAPL", Side::Buy, "100"),
                Account { other_long: Money::whole(70_000), other_short: Money::whole(20_001), ..account() },
                Some(Refusal::NotionalLimit),
            ),
            (
                "poor",
                order("AAPL", Side::Buy, "100"),
                Account { buying_power: Money::whole(9_999), ..account() },
                Some(Refusal::InsufficientBuyingPower),
            ),
            (
                "breaker",
                order("AAPL", Side::Buy, "1"),
                Account { breaker_blocks: true, ..account() },
                Some(Refusal::CircuitBreaker),
            ),
        ];
        for (name, order, account, expected) in cases {
            assert_eq!(refusal(&order, &account), expected, "{name}");
        }
    }

    #[test]
    fn share_limit_counts_shares_where_they_are_cheap() {
        let cheap = Account { price: Some((Money::whole(1), Duration::ZERO)), ..account() };
        assert_eq!(refusal(&order("AAPL", Side::Buy, "1000"), &cheap), None);
        assert_eq!(refusal(&order("AAPL", Side::Buy, "1001"), &cheap), Some(Refusal::PositionLimit));
    }

    #[test]
    fn a_price_is_stale_just_after_its_limit() {
        let at = |ms| Account { price: Some((Money::whole(100), Duration::from_millis(ms))), ..account() };
        assert_eq!(refusal(&order("AAPL", Side::Buy, "1"), &at(5_000)), None);
        assert_eq!(refusal(&order("AAPL", Side::Buy, "1"), &at(5_001)), Some(Refusal::StalePrice));
    }

    #[test]
    fn a_way_out_stays_open() {
        let held = Account {
            position: Qty::whole(900),
            breaker_blocks: true,
            other_long: Money::whole(90_000),
            buying_power: Money::ZERO,
            ..account()
        };
        assert_eq!(refusal(&order("AAPL", Side::Sell, "500"), &held), None);
        assert_eq!(refusal(&order("AAPL", Side::Sell, "900"), &held), None, "to flat");
        assert_eq!(
            refusal(&order("AAPL", Side::Sell, "901"), &held),
            Some(Refusal::CircuitBreaker),
            "through flat is new risk"
        );
        assert_eq!(refusal(&order("AAPL", Side::Buy, "1"), &held), Some(Refusal::CircuitBreaker));
    }

    #[test]
    fn a_high_limit_price_counts() {
        let mut dear = order("AAPL", Side::Buy, "150");
        dear.limit_price = Some(Money::whole(140));
        assert_eq!(refusal(&dear, &account()), Some(Refusal::PositionLimit));
        dear.limit_price = Some(Money::whole(-1));
        assert_eq!(refusal(&dear, &account()), Some(Refusal::InvalidOrder));
    }
}
