//! From signals to orders.
//!
//! The best-ranked symbols are held long, the worst short, each with an equal share of its side's capital
//! and never more than the largest position. An order closes part of the distance between what is held and
//! that target: the original sent full-sized orders with every run, whatever it already held.

use crate::trading_platform::money::{Money, Qty};
use crate::trading_platform::order::Side;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How signals become orders.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Sizing {
    /// What may be invested altogether.
    pub capital: Money,
    /// Most value of one position.
    pub position_max: Money,
    /// Share of the capital for long positions.
    pub long_share: f64,
    /// Share of the capital for short positions.
    pub short_share: f64,
    /// Share of the distance to the target that one run closes.
    pub step_share: f64,
    /// Orders worth less are not sent.
    pub order_min: Money,
}

impl Default for Sizing {
    /// The defaults of the platform: capital 100,000 USD, position 20,000 USD. The shares stay inside the
    /// gateway's limits on long (80,000) and short (20,000) value, with room for the price to move.
    fn default() -> Sizing {
        Sizing {
            capital: Money::whole(100_000),
            position_max: Money::whole(20_000),
            long_share: 0.60,
            short_share: 0.15,
            step_share: 0.25,
            order_min: Money::whole(50),
        }
    }
}

/// A ranked symbol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// Which symbol.
    pub symbol: String,
    /// Predicted return in basis points; only its order matters here.
    pub predicted: f64,
    /// 1 long, −1 short, 0 flat.
    pub weight: f64,
    /// 1 is best.
    pub rank: usize,
    /// The price that the prediction was made on.
    pub price: Money,
}

/// An order to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sized {
    /// Which symbol.
    pub symbol: String,
    /// Which way.
    pub side: Side,
    /// How much; positive.
    pub qty: Qty,
}

/// Sizes one run's orders, in the order of the signals: reductions first, so that they free capital.
pub fn size(signals: &[Signal], held: &BTreeMap<String, Qty>, sizing: &Sizing) -> Vec<Sized> {
    let side_count = |sign: f64| signals.iter().filter(|s| s.weight * sign > 0.0).count().max(1) as f64;
    let long = sizing.capital.scaled(sizing.long_share / side_count(1.0)).min(sizing.position_max);
    let short = sizing.capital.scaled(sizing.short_share / side_count(-1.0)).min(sizing.position_max);
    let mut orders = Vec::new();
    for signal in signals {
        let crypto = signal.symbol.contains('/');
        let target_value = match signal.weight {
            weight if weight > 0.0 => long,
            // Coins cannot be sold short: the worst of them is not held at all.
            weight if weight < 0.0 && !crypto => -short,
            _ => Money::ZERO,
        };
        let at = held.get(&signal.symbol).copied().unwrap_or(Qty::ZERO);
        if let Some(order) = toward(signal, at, target_value, crypto, sizing) {
            let reduces = order.side.signed(order.qty).signum() == -at.signum();
            orders.push((!reduces, order));
        }
    }
    orders.sort_by_key(|(adds, _)| *adds);
    orders.into_iter().map(|(_, order)| order).collect()
}

fn toward(signal: &Signal, held: Qty, target_value: Money, crypto: bool, sizing: &Sizing) -> Option<Sized> {
    if signal.price <= Money::ZERO {
        return None;
    }
    let step = if crypto { Qty::from_nanos(100_000) } else { Qty::whole(1) };
    let distance = target_value.buys_at(signal.price) - held;
    let mut qty = Qty::from_nanos((distance.nanos() as f64 * sizing.step_share) as i64).floor_to(step);
    if !held.is_zero() && (held + qty).signum() == -held.signum() {
        // Through zero is two decisions: get out now, go the other way with the next run.
        qty = -held;
    }
    // Leftovers too small for a step are closed at once, or a position would fade for ever.
    if target_value.is_zero() && held.at(signal.price).abs() <= sizing.order_min.scaled(4.0) {
        qty = -held;
    } else if qty.at(signal.price).abs() < sizing.order_min {
        return None;
    }
    let side = match qty.signum() {
        1 => Side::Buy,
        -1 => Side::Sell,
        _ => return None,
    };
    Some(Sized { symbol: signal.symbol.clone(), side, qty: qty.abs() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(symbol: &str, weight: f64, price: i64) -> Signal {
        Signal { symbol: symbol.into(), predicted: weight, weight, rank: 1, price: Money::whole(price) }
    }

    fn held(symbol: &str, qty: &str) -> BTreeMap<String, Qty> {
        BTreeMap::from([(symbol.to_owned(), Qty::parse(qty).expect(qty))])
    }

    fn texts(orders: &[Sized]) -> Vec<String> {
        orders.iter().map(|o| format!("{} {} {}", o.side.as_str(), o.qty, o.symbol)).collect()
    }

    #[test]
    fn equal_shares_of_each_side_in_steps() {
        let signals = [signal("AAPL", 1.0, 100), signal("BTC/USD", 1.0, 60_000), signal("TSLA", -1.0, 200)];
        let orders = size(&signals, &BTreeMap::new(), &Sizing::default());
        // 20,000 each long (the largest position binds), 15,000 short; a quarter of the way.
        assert_eq!(texts(&orders), ["buy 50 AAPL", "buy 0.0833 BTC/USD", "sell 18 TSLA"]);
    }

    #[test]
    fn at_the_target_nothing_is_sent() {
        let orders = size(&[signal("AAPL", 1.0, 100)], &held("AAPL", "199"), &Sizing::default());
        assert_eq!(orders, []);
    }

    #[test]
    fn reductions_come_first_and_stop_at_zero() {
        let mut positions = held("TSLA", "10");
        positions.insert("ETH/USD".into(), Qty::whole(1));
        let signals = [signal("AAPL", 1.0, 100), signal("TSLA", -1.0, 200), signal("ETH/USD", -1.0, 2_600)];
        let orders = size(&signals, &positions, &Sizing::default());
        assert_eq!(texts(&orders), ["sell 10 TSLA", "sell 0.25 ETH/USD", "buy 50 AAPL"]);
    }

    #[test]
    fn a_remainder_is_closed_whole() {
        let orders = size(&[signal("ETH/USD", 0.0, 2_600)], &held("ETH/USD", "0.0307"), &Sizing::default());
        assert_eq!(texts(&orders), ["sell 0.0307 ETH/USD"]);
    }

    #[test]
    fn without_a_price_nothing_is_sent() {
        assert_eq!(size(&[signal("AAPL", 1.0, 0)], &BTreeMap::new(), &Sizing::default()), []);
    }
}
