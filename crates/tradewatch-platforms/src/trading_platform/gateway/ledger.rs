//! Positions and profit from fills: first in, first out, in integers.
//!
//! The ledger is a plain function of the fills it was given, in their order: rebuilt from the database it
//! is the same to the billionth of a dollar.

use crate::trading_platform::money::{Money, Qty};
use crate::trading_platform::order::Side;
use std::collections::{BTreeMap, VecDeque};

/// Shares or coins bought (or sold short) at one price and not yet closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lot {
    /// Signed: negative lots are short.
    qty: Qty,
    price: Money,
}

/// What is held of one symbol.
#[derive(Clone, Debug, Default)]
pub struct Position {
    lots: VecDeque<Lot>,
    realized: Money,
}

/// All positions of the account, and the cash that the fills moved.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    positions: BTreeMap<String, Position>,
    cash: Money,
}

/// Profit and exposure at given prices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Valuation {
    /// Profit of closed lots since the beginning.
    pub realized: Money,
    /// Profit of open lots at the given prices.
    pub unrealized: Money,
    /// Value of long positions.
    pub long: Money,
    /// Value of short positions, as a positive amount.
    pub short: Money,
}

impl Valuation {
    /// Realised and unrealised profit together.
    pub fn total(&self) -> Money {
        self.realized + self.unrealized
    }

    /// Long plus short.
    pub fn gross(&self) -> Money {
        self.long + self.short
    }

    /// Long minus short.
    pub fn net(&self) -> Money {
        self.long - self.short
    }
}

impl Position {
    /// Signed quantity.
    pub fn qty(&self) -> Qty {
        self.lots.iter().map(|lot| lot.qty).sum()
    }

    /// What the open lots cost, signed as the quantity.
    pub fn cost(&self) -> Money {
        self.lots.iter().map(|lot| lot.qty.at(lot.price)).sum()
    }

    /// Cost per unit; zero when flat.
    pub fn average_price(&self) -> Money {
        // Dividing dollars by a quantity is the same arithmetic as by a price: both count billionths.
        Money::from_nanos(self.cost().buys_at(Money::from_nanos(self.qty().nanos())).nanos())
    }

    /// Profit of closed lots since the beginning.
    pub fn realized(&self) -> Money {
        self.realized
    }

    /// Profit of the open lots at `price`.
    pub fn unrealized(&self, price: Money) -> Money {
        self.qty().at(price) - self.cost()
    }

    /// Applies one execution and returns the profit that it realised.
    fn apply(&mut self, side: Side, qty: Qty, price: Money) -> Money {
        let mut left = side.signed(qty);
        let mut profit = Money::ZERO;
        while !left.is_zero() {
            let Some(lot) = self.lots.front_mut().filter(|lot| lot.qty.signum() == -left.signum()) else {
                self.lots.push_back(Lot { qty: left, price });
                break;
            };
            // `closed` has the sign of the lot: a long lot gains what the price rose, a short one what it fell.
            let closed = if left.abs() < lot.qty.abs() { -left } else { lot.qty };
            profit += closed.at(price) - closed.at(lot.price);
            lot.qty -= closed;
            left += closed;
            if lot.qty.is_zero() {
                self.lots.pop_front();
            }
        }
        self.realized += profit;
        profit
    }
}

impl Ledger {
    /// No positions, no cash moved.
    pub fn new() -> Ledger {
        Ledger::default()
    }

    /// Applies one execution of `qty` (positive) at `price` and returns the profit that it realised.
    pub fn apply(&mut self, symbol: &str, side: Side, qty: Qty, price: Money) -> Money {
        self.cash -= side.signed(qty).at(price);
        match self.positions.get_mut(symbol) {
            Some(position) => position.apply(side, qty, price),
            None => self.positions.entry(symbol.to_owned()).or_default().apply(side, qty, price),
        }
    }

    /// Signed quantity held of `symbol`.
    pub fn qty(&self, symbol: &str) -> Qty {
        self.positions.get(symbol).map_or(Qty::ZERO, Position::qty)
    }

    /// Every symbol that was ever traded, in order, flat ones too.
    pub fn positions(&self) -> impl Iterator<Item = (&str, &Position)> {
        self.positions.iter().map(|(symbol, position)| (symbol.as_str(), position))
    }

    /// Symbols that are held, in order.
    pub fn held(&self) -> impl Iterator<Item = (&str, &Position)> {
        self.positions().filter(|(_, position)| !position.qty().is_zero())
    }

    /// Cash that the fills moved: negative after buying.
    pub fn cash(&self) -> Money {
        self.cash
    }

    /// Values every position at `price_of(symbol)`, or at its own cost where that has no answer.
    pub fn value(&self, price_of: impl Fn(&str) -> Option<Money>) -> Valuation {
        let mut valuation = Valuation::default();
        for (symbol, position) in &self.positions {
            valuation.realized += position.realized;
            let qty = position.qty();
            if qty.is_zero() {
                continue;
            }
            let value = match price_of(symbol) {
                Some(price) => qty.at(price),
                None => position.cost(),
            };
            valuation.unrealized += value - position.cost();
            if value.signum() > 0 {
                valuation.long += value;
            } else {
                valuation.short -= value;
            }
        }
        valuation
    }
}

/// Peak, day start and fall of equity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EquityTrack {
    /// Day since the epoch, in UTC, that `day_start` belongs to.
    pub day: i64,
    /// Equity at the start of that day.
    pub day_start: Money,
    /// Highest equity ever seen.
    pub peak: Money,
}

impl EquityTrack {
    /// Begins with `equity` on `day`.
    pub fn new(day: i64, equity: Money) -> EquityTrack {
        EquityTrack { day, day_start: equity, peak: equity }
    }

    /// Equity is `equity` on `day`. Returns whether the day or the peak changed, so that it is worth saving.
    pub fn update(&mut self, day: i64, equity: Money) -> bool {
        let before = *self;
        if day != self.day {
            self.day = day;
            self.day_start = equity;
        }
        self.peak = self.peak.max(equity);
        *self != before
    }

    /// Profit since the start of the day.
    pub fn day_pnl(&self, equity: Money) -> Money {
        equity - self.day_start
    }

    /// Fall from the peak, in parts of one; zero where the peak is not positive.
    pub fn drawdown_ratio(&self, equity: Money) -> f64 {
        if self.peak <= Money::ZERO {
            return 0.0;
        }
        ((self.peak - equity).to_f64() / self.peak.to_f64()).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn qty(text: &str) -> Qty {
        Qty::parse(text).expect(text)
    }

    fn usd(text: &str) -> Money {
        Money::parse(text).expect(text)
    }

    #[test]
    fn lots_close_first_in_first_out() {
        let mut ledger = Ledger::new();
        assert_eq!(ledger.apply("AAPL", Side::Buy, qty("100"), usd("10")), Money::ZERO);
        assert_eq!(ledger.apply("AAPL", Side::Buy, qty("100"), usd("12")), Money::ZERO);
        assert_eq!(ledger.apply("AAPL", Side::Sell, qty("150"), usd("13")), usd("350"));
        assert_eq!(ledger.qty("AAPL"), qty("50"));
        let valuation = ledger.value(|_| Some(usd("11")));
        assert_eq!(
            (valuation.realized, valuation.unrealized, valuation.long),
            (usd("350"), usd("-50"), usd("550"))
        );
        assert_eq!(ledger.cash(), usd("-250"));
    }

    #[test]
    fn a_sale_through_zero_opens_a_short() {
        let mut ledger = Ledger::new();
        ledger.apply("TSLA", Side::Buy, qty("10"), usd("200"));
        assert_eq!(ledger.apply("TSLA", Side::Sell, qty("25"), usd("210")), usd("100"));
        assert_eq!(ledger.qty("TSLA"), qty("-15"));
        let (_, position) = ledger.held().next().expect("short of TSLA");
        assert_eq!(position.average_price(), usd("210"));
        assert_eq!(position.unrealized(usd("200")), usd("150"));
        assert_eq!(ledger.apply("TSLA", Side::Buy, qty("15"), usd("190")), usd("300"));
        assert_eq!(ledger.held().count(), 0);
        assert_eq!(ledger.value(|_| None), Valuation { realized: usd("400"), ..Valuation::default() });
    }

    #[test]
    fn drawdown_is_from_the_peak_and_the_day_begins_anew() {
        let mut track = EquityTrack::new(1, usd("100000"));
        assert!(track.update(1, usd("110000")));
        assert!(!track.update(1, usd("99000")));
        assert_eq!(track.day_pnl(usd("99000")), usd("-1000"));
        assert!((track.drawdown_ratio(usd("99000")) - 0.1).abs() < 1e-12);
        assert!(track.update(2, usd("99000")));
        assert_eq!(track.day_pnl(usd("99000")), Money::ZERO);
        assert_eq!(track.peak, usd("110000"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever is traded: cash plus value is profit, to the billionth.
        #[test]
        fn cash_and_value_and_profit_agree(fills in prop::collection::vec((any::<bool>(), 1_i64..2_000, 1_i64..100_000), 1..200), last in 1_i64..100_000) {
            let mut ledger = Ledger::new();
            let mut held = Qty::ZERO;
            for (buy, units, cents) in fills {
                let side = if buy { Side::Buy } else { Side::Sell };
                // Hundred-thousandths of a coin and cents: products are exact, so nothing is rounded.
                let quantity = Qty::from_nanos(units * 10_000);
                ledger.apply("BTC/USD", side, quantity, Money::from_nanos(cents * 10_000_000));
                held += side.signed(quantity);
            }
            let price = Money::from_nanos(last * 10_000_000);
            prop_assert_eq!(ledger.qty("BTC/USD"), held);
            prop_assert_eq!(ledger.value(|_| Some(price)).total(), ledger.cash() + held.at(price));
        }
    }
}
