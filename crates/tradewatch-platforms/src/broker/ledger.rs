//! Cash and positions, first in first out.

use super::order::Side;
use crate::market::{Decimal, Instrument, instrument};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// One account's cash and positions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ledger {
    cash: Decimal,
    realized: Decimal,
    positions: BTreeMap<String, Position>,
}

/// What is held of one instrument. Lots are all long or all short, oldest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Position {
    /// Of what.
    #[serde(with = "instrument::by_symbol")]
    pub instrument: &'static Instrument,
    /// Positive when long, negative when short.
    pub qty: Decimal,
    /// Sum of lot quantity × lot price; positive for both sides.
    pub cost: Decimal,
    lots: VecDeque<Lot>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Lot {
    qty: Decimal,
    price: Decimal,
}

impl Position {
    /// Mean entry price of what is held.
    pub fn avg_entry_price(&self) -> Decimal {
        self.cost.ratio(self.qty.abs())
    }

    /// Worth at `price`; negative when short.
    pub fn market_value(&self, price: Decimal) -> Decimal {
        self.qty * price
    }

    /// Profit at `price` that is not realised.
    pub fn unrealized(&self, price: Decimal) -> Decimal {
        if self.qty.is_negative() { self.cost - self.qty.abs() * price } else { self.qty * price - self.cost }
    }
}

impl Ledger {
    /// An account with `cash` and nothing else.
    pub fn new(cash: Decimal) -> Ledger {
        Ledger { cash, realized: Decimal::ZERO, positions: BTreeMap::new() }
    }

    /// Cash; grows with short sales.
    pub fn cash(&self) -> Decimal {
        self.cash
    }

    /// Profit of everything closed so far.
    pub fn realized(&self) -> Decimal {
        self.realized
    }

    /// Positions that are not flat, by symbol.
    pub fn positions(&self) -> impl Iterator<Item = &Position> {
        self.positions.values()
    }

    /// The position in `symbol`, if it is not flat.
    pub fn position(&self, symbol: &str) -> Option<&Position> {
        self.positions.get(symbol)
    }

    /// Quantity held of `symbol`; zero when flat.
    pub fn qty(&self, symbol: &str) -> Decimal {
        self.position(symbol).map_or(Decimal::ZERO, |position| position.qty)
    }

    /// Books a fill: cash moves, lots close first in first out, the rest opens a new lot.
    pub fn book(&mut self, instrument: &'static Instrument, side: Side, qty: Decimal, price: Decimal) {
        self.cash -= side.signed(price * qty);
        let position = self.positions.entry(instrument.symbol.to_owned()).or_insert_with(|| Position {
            instrument,
            qty: Decimal::ZERO,
            cost: Decimal::ZERO,
            lots: VecDeque::new(),
        });
        let closes = position.qty.signum() == -side.signed(Decimal::ONE).signum();
        let mut left = qty;
        while closes && left.is_positive() {
            let Some(lot) = position.lots.front_mut() else { break };
            let closed = left.min(lot.qty);
            let (opened_at, closed_at) = (lot.price * closed, price * closed);
            self.realized += if side == Side::Sell { closed_at - opened_at } else { opened_at - closed_at };
            position.cost -= opened_at;
            lot.qty -= closed;
            left -= closed;
            if lot.qty.is_zero() {
                position.lots.pop_front();
            }
        }
        if left.is_positive() {
            position.lots.push_back(Lot { qty: left, price });
            position.cost += price * left;
        }
        position.qty += side.signed(qty);
        if position.qty.is_zero() {
            self.positions.remove(instrument.symbol);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::instrument;
    use proptest::prelude::*;

    fn dec(text: &str) -> Decimal {
        text.parse().expect("a decimal")
    }

    fn book(fills: &[(Side, &str, &str)]) -> Ledger {
        let aapl = instrument::find("AAPL").expect("an instrument");
        let mut ledger = Ledger::new(dec("1000"));
        for (side, qty, price) in fills {
            ledger.book(aapl, *side, dec(qty), dec(price));
        }
        ledger
    }

    #[test]
    fn the_oldest_lot_closes_first() {
        let ledger = book(&[(Side::Buy, "2", "10"), (Side::Buy, "2", "20"), (Side::Sell, "3", "30")]);
        assert_eq!(ledger.realized(), dec("50"), "2 × (30 − 10) + 1 × (30 − 20)");
        let position = ledger.position("AAPL").expect("one left");
        assert_eq!((position.qty, position.avg_entry_price()), (dec("1"), dec("20")));
        assert_eq!(ledger.cash(), dec("1030"));
        assert_eq!(position.unrealized(dec("25")), dec("5"));
    }

    #[test]
    fn one_order_may_go_from_long_to_short() {
        let ledger = book(&[(Side::Buy, "2", "10"), (Side::Sell, "5", "12")]);
        let position = ledger.position("AAPL").expect("short");
        assert_eq!((position.qty, position.cost, ledger.realized()), (dec("-3"), dec("36"), dec("4")));
        assert_eq!(position.unrealized(dec("11")), dec("3"));
        let flat = book(&[(Side::Sell, "5", "12"), (Side::Buy, "5", "13")]);
        assert_eq!((flat.positions().count(), flat.realized(), flat.cash()), (0, dec("-5"), dec("995")));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn money_is_conserved(fills in proptest::collection::vec((any::<bool>(), 1_i64..500, 1_i64..100_000), 1..60)) {
            let aapl = instrument::find("AAPL").expect("an instrument");
            let mut ledger = Ledger::new(Decimal::ZERO);
            let mut last = Decimal::ZERO;
            for (buy, qty, cents) in fills {
                let side = if buy { Side::Buy } else { Side::Sell };
                last = Decimal::from_scaled(cents, 2);
                ledger.book(aapl, side, Decimal::from_int(qty), last);
            }
            let (worth, unrealized) = ledger
                .position("AAPL")
                .map_or((Decimal::ZERO, Decimal::ZERO), |p| (p.market_value(last), p.unrealized(last)));
            prop_assert_eq!(ledger.cash() + worth, ledger.realized() + unrealized);
        }
    }
}
