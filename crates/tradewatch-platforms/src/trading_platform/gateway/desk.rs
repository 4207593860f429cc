//! What the gateway knows: orders, positions, prices, equity, breaker. No I/O, no clock.
//!
//! The desk is the authority while the process lives; the database follows it, and at the start the desk is
//! rebuilt from there. Order updates reach it twice and out of order (answers, stream, webhooks, polls):
//! cumulative quantities make every one of them harmless to repeat.

use super::breaker::{Breaker, Observation};
use super::broker::BrokerOrder;
use super::checks::{self, Account, OrderLimits, Refusal};
use super::ledger::{EquityTrack, Ledger, Valuation};
use crate::runtime::Nanos;
use crate::trading_platform::money::{Money, Qty};
use crate::trading_platform::order::{Order, OrderRequest, OrderState, Side, day_of};
use crate::trading_platform::prices::Price;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Orders that may be live at once; more are refused.
pub const LIVE_ORDERS_MAX: usize = 1_000;
/// Fills that wait for the database at once; beyond it the oldest wait no longer, and are found again at the
/// broker after a restart.
pub const UNSAVED_FILLS_MAX: usize = 10_000;

/// One execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Its number, from 1 without holes.
    pub seq: i64,
    /// Whose.
    pub client_order_id: String,
    /// What.
    pub symbol: String,
    /// Which way.
    pub side: Side,
    /// How much; positive.
    pub qty: Qty,
    /// At what price.
    pub price: Money,
    /// When we learned of it.
    pub at: Nanos,
}

/// What the broker told of an order.
#[derive(Clone, Debug)]
pub struct Update<'u> {
    /// The order as it stands now.
    pub order: &'u BrokerOrder,
    /// Quantity and price of the execution that this update tells, if it tells one.
    pub execution: Option<(Qty, Money)>,
}

/// What an update changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effect {
    /// New executions, oldest first.
    pub fills: Vec<Fill>,
    /// The state that the order took, if it is another.
    pub state: Option<OrderState>,
    /// Time from acknowledgement to the last fill, if this was the last.
    pub fill_time: Option<Duration>,
}

/// What waits to be written.
#[derive(Clone, Debug, Default)]
pub struct Unsaved {
    /// Orders, as they stand now.
    pub orders: Vec<Order>,
    /// Executions.
    pub fills: Vec<Fill>,
    /// Settings by name.
    pub settings: BTreeMap<&'static str, String>,
}

impl Unsaved {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.orders.is_empty() && self.fills.is_empty() && self.settings.is_empty()
    }
}

/// Everything the gateway knows.
pub struct Desk {
    /// Whether it was rebuilt from the database; before that nothing is traded.
    pub loaded: bool,
    /// Whether orders are kept from the broker.
    pub dry_run: bool,
    /// The breaker.
    pub breaker: Breaker,
    /// Positions and profit.
    pub ledger: Ledger,
    /// Peak and day start of equity.
    pub track: EquityTrack,
    /// Newest prices.
    pub prices: BTreeMap<String, Price>,
    /// Whether equities trade, by the broker's clock.
    pub market_open: bool,
    /// What the broker lets us spend.
    pub buying_power: Money,
    limits: OrderLimits,
    capital: Money,
    symbols: BTreeSet<String>,
    live: BTreeMap<String, Order>,
    /// Orders that changed and are not live any more, until they are written.
    ended: BTreeMap<String, Order>,
    dirty: BTreeSet<String>,
    unsaved_fills: Vec<Fill>,
    settings: BTreeMap<&'static str, String>,
    fill_seq: i64,
}

impl Desk {
    /// The largest sum of all position values.
    pub fn gross_limit(&self) -> Money {
        self.limits.gross_notional_max
    }

    /// Sets the largest sum of all position values.
    pub fn set_gross_limit(&mut self, limit: Money) {
        self.limits.gross_notional_max = limit;
    }

    /// An empty desk with `capital` in cash.
    pub fn new(
        capital: Money,
        limits: OrderLimits,
        breaker: Breaker,
        symbols: &[String],
        now: Nanos,
    ) -> Desk {
        Desk {
            loaded: false,
            dry_run: false,
            breaker,
            ledger: Ledger::new(),
            track: EquityTrack::new(day_of(now), capital),
            prices: BTreeMap::new(),
            market_open: false,
            buying_power: capital,
            limits,
            capital,
            symbols: symbols.iter().cloned().collect(),
            live: BTreeMap::new(),
            ended: BTreeMap::new(),
            dirty: BTreeSet::new(),
            unsaved_fills: Vec::new(),
            settings: BTreeMap::new(),
            fill_seq: 0,
        }
    }

    /// Takes what the database held: orders that may be live, and every fill in order.
    pub fn restore(&mut self, orders: Vec<Order>, fills: &[Fill]) {
        self.ledger = Ledger::new();
        for fill in fills {
            self.ledger.apply(&fill.symbol, fill.side, fill.qty, fill.price);
            self.fill_seq = self.fill_seq.max(fill.seq);
        }
        self.live = orders.into_iter().map(|order| (order.client_order_id.clone(), order)).collect();
        self.loaded = true;
    }

    /// Whether `symbol` is traded here.
    pub fn knows(&self, symbol: &str) -> bool {
        self.symbols.contains(symbol)
    }

    /// Checks an order and, if it passes, counts it as open from now on.
    ///
    /// # Errors
    /// Which check refused it, and why.
    pub fn admit(
        &mut self,
        id: &str,
        request: &OrderRequest,
        now: Nanos,
    ) -> Result<Order, (Refusal, String)> {
        if self.live.len() >= LIVE_ORDERS_MAX {
            return Err((Refusal::NotionalLimit, format!("{LIVE_ORDERS_MAX} orders are live already")));
        }
        let account = self.account(&request.symbol, now);
        checks::check(request, &account, &self.limits)?;
        let order = Order::new(id.to_owned(), request.clone(), now);
        self.live.insert(id.to_owned(), order.clone());
        Ok(order)
    }

    fn account(&self, symbol: &str, now: Nanos) -> Account {
        let (mut other_long, mut other_short) = (Money::ZERO, Money::ZERO);
        let mut held: BTreeMap<&str, Qty> =
            self.ledger.held().map(|(symbol, position)| (symbol, position.qty())).collect();
        for order in self.live.values() {
            *held.entry(&order.request.symbol).or_default() += order.open_qty();
        }
        for (other, qty) in held.iter().filter(|(other, _)| **other != symbol) {
            let value = qty.at(self.price_of(other).unwrap_or_default());
            if value > Money::ZERO { other_long += value } else { other_short -= value }
        }
        Account {
            symbol_known: self.knows(symbol),
            position: held.get(symbol).copied().unwrap_or_default(),
            price: self.prices.get(symbol).map(|price| (price.mid(), price.age(now))),
            other_long,
            other_short,
            equity: self.equity(),
            buying_power: self.buying_power,
            breaker_blocks: self.breaker.blocks(),
            market_open: self.market_open || checks::is_crypto(symbol),
        }
    }

    fn price_of(&self, symbol: &str) -> Option<Money> {
        self.prices.get(symbol).map(Price::mid)
    }

    /// Positions at the newest prices.
    pub fn valuation(&self) -> Valuation {
        self.ledger.value(|symbol| self.price_of(symbol))
    }

    /// Cash plus the value of positions.
    pub fn equity(&self) -> Money {
        self.capital + self.valuation().total()
    }

    /// An order that may still change.
    pub fn live(&self, id: &str) -> Option<&Order> {
        self.live.get(id)
    }

    /// Orders that may still change, by id.
    pub fn live_orders(&self) -> impl Iterator<Item = &Order> {
        self.live.values()
    }

    /// An order that is known here, live or just ended.
    pub fn order(&self, id: &str) -> Option<&Order> {
        self.live.get(id).or_else(|| self.ended.get(id))
    }

    /// Forgets an order that was admitted and never sent.
    pub fn forget(&mut self, id: &str) {
        self.live.remove(id);
        self.dirty.remove(id);
    }

    /// Ends an order without the broker: refused, dry run.
    pub fn end(&mut self, id: &str, state: OrderState, reason: &str) -> Option<Order> {
        let mut order = self.live.remove(id)?;
        order.state = state;
        order.reason = reason.to_owned();
        self.dirty.insert(id.to_owned());
        self.ended.insert(id.to_owned(), order.clone());
        Some(order)
    }

    /// Applies what the broker told of an order of ours; `None` if it is not live here.
    pub fn update(&mut self, update: &Update<'_>, now: Nanos) -> Option<Effect> {
        let told = update.order;
        let order = self.live.get_mut(&told.client_order_id)?;
        let mut effect = Effect::default();
        if order.broker_order_id.is_empty() {
            order.broker_order_id = told.id.clone();
            order.acknowledged_at = now;
            self.dirty.insert(told.client_order_id.clone());
        }
        for (qty, price) in executions(order, update) {
            self.fill_seq += 1;
            order.filled_qty += qty;
            order.filled_cost += qty.at(price);
            let (symbol, side) = (order.request.symbol.clone(), order.request.side);
            self.ledger.apply(&symbol, side, qty, price);
            let id = told.client_order_id.clone();
            effect.fills.push(Fill {
                seq: self.fill_seq,
                client_order_id: id,
                symbol,
                side,
                qty,
                price,
                at: now,
            });
        }
        let state = state_of(&told.status, order.filled_qty);
        if state != order.state && (order.filled_qty >= told.filled_qty || state.is_live()) {
            order.state = state;
            effect.state = Some(state);
        }
        if effect.state == Some(OrderState::Filled) {
            effect.fill_time = Some(Duration::from_nanos((now - order.acknowledged_at).max(0) as u64));
        }
        if !effect.fills.is_empty() || effect.state.is_some() {
            self.dirty.insert(told.client_order_id.clone());
        }
        if !order.state.is_live()
            && let Some(order) = self.live.remove(&told.client_order_id)
        {
            self.ended.insert(told.client_order_id.clone(), order);
        }
        let room = UNSAVED_FILLS_MAX.saturating_sub(self.unsaved_fills.len());
        self.unsaved_fills.extend(effect.fills.iter().take(room).cloned());
        Some(effect)
    }

    /// Remembers a setting to be written.
    pub fn set(&mut self, name: &'static str, value: String) {
        self.settings.insert(name, value);
    }

    /// Takes what waits to be written.
    pub fn take_unsaved(&mut self) -> Unsaved {
        let dirty = std::mem::take(&mut self.dirty);
        let orders =
            dirty.iter().filter_map(|id| self.live.get(id).cloned().or_else(|| self.ended.remove(id)));
        Unsaved {
            orders: orders.collect(),
            fills: std::mem::take(&mut self.unsaved_fills),
            settings: std::mem::take(&mut self.settings),
        }
    }

    /// Puts back what could not be written; what changed meanwhile is newer and stays.
    pub fn put_back(&mut self, unsaved: Unsaved) {
        for order in unsaved.orders {
            let id = order.client_order_id.clone();
            if !self.live.contains_key(&id) && !self.ended.contains_key(&id) {
                self.ended.insert(id.clone(), order);
            }
            self.dirty.insert(id);
        }
        let newer = std::mem::replace(&mut self.unsaved_fills, unsaved.fills);
        self.unsaved_fills.extend(newer);
        for (name, value) in unsaved.settings {
            self.settings.entry(name).or_insert(value);
        }
    }

    /// Looks at equity and prices at `now`: what the breaker is to be shown.
    pub fn observe(&mut self, now: Nanos) -> (Valuation, Money, Observation) {
        let valuation = self.valuation();
        let equity = self.capital + valuation.total();
        if self.track.update(day_of(now), equity) {
            let text = serde_json::to_string(&self.track).expect("plain data");
            self.set("equity", text);
        }
        let trades = |symbol: &str| self.market_open || checks::is_crypto(symbol);
        let ages = self
            .ledger
            .held()
            .filter(|(symbol, _)| trades(symbol))
            .filter_map(|(symbol, _)| Some((symbol.to_owned(), self.prices.get(symbol)?.age(now))));
        let observation = Observation {
            day_pnl: self.track.day_pnl(equity),
            drawdown_ratio: self.track.drawdown_ratio(equity),
            oldest_price: ages.max_by_key(|(_, age)| *age),
        };
        (valuation, equity, observation)
    }

    /// Symbols whose quantity differs from `theirs`, with the difference (ours minus theirs).
    pub fn differences(&self, theirs: &BTreeMap<String, Qty>) -> BTreeMap<String, Qty> {
        let mut symbols: BTreeSet<&str> = self.ledger.held().map(|(symbol, _)| symbol).collect();
        symbols.extend(theirs.keys().map(String::as_str));
        let difference =
            |symbol: &str| self.ledger.qty(symbol) - theirs.get(symbol).copied().unwrap_or_default();
        symbols
            .into_iter()
            .map(|symbol| (symbol.to_owned(), difference(symbol)))
            .filter(|(_, difference)| !difference.is_zero())
            .collect()
    }
}

/// The executions that an update brings beyond what is known: the one it tells, and before it whatever was
/// missed while nobody listened, at the price that makes the sums agree.
fn executions(order: &Order, update: &Update<'_>) -> Vec<(Qty, Money)> {
    let new = update.order.filled_qty - order.filled_qty;
    if new <= Qty::ZERO {
        return Vec::new();
    }
    let new_cost = update.order.filled_cost() - order.filled_cost;
    match update.execution {
        Some((qty, price)) if qty == new => vec![(qty, price)],
        Some((qty, price)) if qty < new => {
            let missed = new - qty;
            vec![(missed, price_for(new_cost - qty.at(price), missed)), (qty, price)]
        }
        _ => vec![(new, price_for(new_cost, new))],
    }
}

fn price_for(cost: Money, qty: Qty) -> Money {
    // Dollars divided by a quantity: the same arithmetic as by a price, both count billionths.
    Money::from_nanos(cost.buys_at(Money::from_nanos(qty.nanos())).nanos())
}

fn state_of(status: &str, filled: Qty) -> OrderState {
    match status {
        "filled" => OrderState::Filled,
        "canceled" | "expired" | "done_for_day" | "replaced" => OrderState::Canceled,
        "rejected" | "suspended" => OrderState::Rejected,
        _ if filled.is_zero() => OrderState::Open,
        _ => OrderState::PartiallyFilled,
    }
}

#[cfg(test)]
mod tests {
    use super::super::breaker::Limits;
    use super::*;

    fn qty(text: &str) -> Qty {
        Qty::parse(text).expect(text)
    }

    fn usd(text: &str) -> Money {
        Money::parse(text).expect(text)
    }

    /// A desk with one pending order `a` to buy ten AAPL.
    fn desk() -> Desk {
        let breaker = Breaker::new(Limits::default(), None);
        let symbols = ["AAPL".to_owned()];
        let mut desk = Desk::new(usd("100000"), OrderLimits::default(), breaker, &symbols, 0);
        desk.market_open = true;
        let price = Price {
            symbol: "AAPL".into(),
            bid: usd("99.99"),
            bid_size: qty("1"),
            ask: usd("100.01"),
            ask_size: qty("1"),
            venue_at: 0,
            at: 0,
            synthetic: true,
        };
        desk.prices.insert("AAPL".into(), price);
        desk.restore(Vec::new(), &[]);
        desk.admit("a", &request(), 0).expect("well within the limits");
        desk
    }

    fn request() -> OrderRequest {
        serde_json::from_str(r#"{"symbol": "AAPL", "side": "buy", "qty": "10"}"#).expect("a request")
    }

    fn told(status: &str, filled: &str, average: &str) -> BrokerOrder {
        BrokerOrder {
            id: "b".into(),
            client_order_id: "a".into(),
            status: status.into(),
            filled_qty: qty(filled),
            filled_avg_price: Some(usd(average)),
        }
    }

    fn update(desk: &mut Desk, order: &BrokerOrder, execution: Option<(&str, &str)>) -> Vec<String> {
        let execution = execution.map(|(quantity, price)| (qty(quantity), usd(price)));
        let effect = desk.update(&Update { order, execution }, 1);
        let fills = effect.map(|effect| effect.fills).unwrap_or_default();
        fills.iter().map(|fill| format!("{} {} at {}", fill.seq, fill.qty, fill.price)).collect()
    }

    #[test]
    fn what_is_told_twice_counts_once_and_out_of_order_does_no_harm() {
        let mut desk = desk();
        let partial = told("partially_filled", "4", "100");
        assert_eq!(update(&mut desk, &partial, Some(("4", "100"))), ["1 4 at 100"]);
        assert_eq!(update(&mut desk, &partial, Some(("4", "100"))), [""; 0], "by webhook as well");
        assert_eq!(update(&mut desk, &told("new", "0", "0"), None), [""; 0], "late news");
        assert_eq!(desk.live("a").map(|order| order.state), Some(OrderState::PartiallyFilled));
        assert_eq!(update(&mut desk, &told("filled", "10", "100.6"), Some(("6", "101"))), ["2 6 at 101"]);
        assert_eq!(desk.live_orders().count(), 0);
        assert_eq!(update(&mut desk, &partial, Some(("4", "100"))), [""; 0]);
        assert_eq!((desk.ledger.qty("AAPL"), desk.ledger.cash()), (qty("10"), usd("-1006")));
    }

    #[test]
    fn what_was_missed_is_found_in_the_sums() {
        let mut desk = desk();
        // Four at 100 and three at 101 were missed; three at 102 are told: together 1009.
        assert_eq!(
            update(&mut desk, &told("filled", "10", "100.9"), Some(("3", "102"))),
            ["1 7 at 100.428571428", "2 3 at 102"]
        );
        assert_eq!(desk.ledger.cash().cents(), -100_900);
        let mut other = super::tests::desk();
        assert_eq!(update(&mut other, &told("canceled", "10", "100.9"), None), ["1 10 at 100.9"], "by poll");
    }

    #[test]
    fn what_was_not_written_is_written_later_with_its_newest_state() {
        let mut desk = desk();
        update(&mut desk, &told("partially_filled", "4", "100"), Some(("4", "100")));
        let unsaved = desk.take_unsaved();
        assert_eq!((unsaved.orders.len(), unsaved.fills.len()), (1, 1));
        assert!(desk.take_unsaved().is_empty());
        update(&mut desk, &told("filled", "10", "100"), Some(("6", "100")));
        desk.put_back(unsaved);
        let unsaved = desk.take_unsaved();
        assert_eq!(unsaved.orders.iter().map(|order| order.state).collect::<Vec<_>>(), [OrderState::Filled]);
        assert_eq!(unsaved.fills.iter().map(|fill| fill.seq).collect::<Vec<_>>(), [1, 2]);
        let mut again = super::tests::desk();
        again.restore(Vec::new(), &unsaved.fills);
        assert_eq!(again.ledger.qty("AAPL"), qty("10"), "rebuilt from what was written");
    }

    #[test]
    fn open_orders_count_against_the_limits() {
        let mut desk = desk();
        let most = |desk: &mut Desk, quantity: &str| {
            let mut request = request();
            request.qty = qty(quantity);
            desk.admit(quantity, &request, 0).map(|_| ()).map_err(|(refusal, _)| refusal)
        };
        // A fifth of 100,000 at 100 each are 200 shares, and ten are open.
        assert_eq!(most(&mut desk, "191"), Err(Refusal::PositionLimit));
        assert_eq!(most(&mut desk, "190"), Ok(()));
        desk.end("a", OrderState::Canceled, "");
        assert_eq!(most(&mut desk, "10"), Ok(()), "an ended order is not open");
    }

    #[test]
    fn differences_name_both_sides() {
        let mut desk = desk();
        update(&mut desk, &told("filled", "10", "100"), None);
        let theirs = BTreeMap::from([("AAPL".to_owned(), qty("7")), ("TSLA".to_owned(), qty("1"))]);
        let differences = desk.differences(&theirs);
        assert_eq!(
            differences,
            BTreeMap::from([("AAPL".to_owned(), qty("3")), ("TSLA".to_owned(), qty("-1"))])
        );
    }
}
