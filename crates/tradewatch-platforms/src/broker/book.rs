//! The order book of the paper account: a plain state machine of requests, quotes and time.
//!
//! An order goes `pending_new` (or `accepted`, while it waits for a session) → `new` at the venue's
//! acknowledgement → matched after a delay. Everything that happens later stands in one ordered queue of due
//! times, so the same requests, quotes and seed give the same fills to the nanosecond.

use super::chance::{Chance, Verdict};
use super::ledger::Ledger;
use super::order::{Order, OrderRequest, OrderStatus, OrderType, PositionIntent, Side, TimeInForce};
use super::refusal::Refusal;
use crate::market::{AssetClass, Decimal, Instrument, MarketClock, instrument};
use crate::runtime::Nanos;
use crate::runtime::clock::SECOND;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Orders kept; the oldest closed one is forgotten for a new one beyond it.
pub const ORDERS_MAX: usize = 20_000;
/// Open orders; more are refused.
pub const OPEN_ORDERS_MAX: usize = 2_000;
/// Fills kept for `/v2/account/activities`.
pub const FILLS_MAX: usize = 100_000;
/// How long a `gtc` order stands.
const GTC_STANDS: Nanos = 90 * 86_400 * SECOND;

/// The account: orders, fills, positions, cash, and the last quotes.
#[derive(Debug)]
pub struct Book {
    pub(super) ledger: Ledger,
    pub(super) market: MarketClock,
    pub(super) multiplier: Decimal,
    pub(super) quotes: BTreeMap<&'static str, Quote>,
    /// Mid prices at the last close of a session.
    pub(super) last_prices: BTreeMap<&'static str, Decimal>,
    pub(super) last_equity: Decimal,
    pub(super) orders: BTreeMap<u64, Order>,
    pub(super) fills: VecDeque<Fill>,
    chance: Chance,
    quote_age_max: Nanos,
    orders_seen: u64,
    by_id: BTreeMap<String, u64>,
    by_client_id: BTreeMap<String, u64>,
    open: BTreeMap<&'static str, BTreeSet<u64>>,
    closed: VecDeque<u64>,
    due: BTreeSet<(Nanos, u64, Due)>,
    outbox: Vec<Update>,
    /// Orders that changed since [`Book::take_changes`].
    changed: BTreeSet<u64>,
    /// Orders that were forgotten since then.
    forgotten: Vec<u64>,
}

/// Best bid and offer as the broker knows them, with what its own fills have left of their sizes.
#[derive(Clone, Copy, Debug)]
pub struct Quote {
    /// Bid price.
    pub bid: Decimal,
    /// What is left of the bid size.
    pub bid_size: Decimal,
    /// Offer price.
    pub ask: Decimal,
    /// What is left of the offer size.
    pub ask_size: Decimal,
    /// When it arrived.
    pub received: Nanos,
}

impl Quote {
    /// Between bid and offer.
    pub fn mid(&self) -> Decimal {
        (self.bid + self.ask).ratio(Decimal::from_int(2))
    }
}

/// Something that happens to an order (0: to the account) at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Acknowledge,
    RejectLate,
    Match,
    Expire,
    SessionClose,
}

/// One entry of the `trade_updates` stream.
#[derive(Clone, Debug)]
pub struct Update {
    /// `new`, `fill`, `partial_fill`, `canceled`, `expired`, `rejected`, `pending_new`.
    pub event: &'static str,
    /// When.
    pub at: Nanos,
    /// The order afterwards.
    pub order: Value,
    /// With `fill` and `partial_fill`.
    pub fill: Option<Fill>,
}

/// One execution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fill {
    /// Execution id.
    pub id: String,
    /// The order.
    pub order_id: String,
    /// Its client's id.
    pub client_order_id: String,
    /// When.
    pub at: Nanos,
    /// Of what.
    #[serde(with = "instrument::by_symbol")]
    pub instrument: &'static Instrument,
    /// Side.
    pub side: Side,
    /// Quantity.
    pub qty: Decimal,
    /// Price.
    pub price: Decimal,
    /// Filled of the order, with this one.
    pub cumulative: Decimal,
    /// Not yet filled of the order.
    pub leaves: Decimal,
    /// Position afterwards.
    pub position_qty: Decimal,
}

/// Fixed properties of the account.
#[derive(Debug)]
pub struct Terms {
    /// Cash at the beginning.
    pub cash: Decimal,
    /// Times equity that equities may be bought or sold short for.
    pub multiplier: Decimal,
    /// A quote older than this fills nothing.
    pub quote_age_max: Nanos,
}

impl Book {
    /// An account that begins at `now`.
    pub fn new(terms: &Terms, market: MarketClock, chance: Chance, now: Nanos) -> Book {
        let first_close = market.next_close(now);
        Book {
            ledger: Ledger::new(terms.cash),
            market,
            multiplier: terms.multiplier,
            quotes: BTreeMap::new(),
            last_prices: BTreeMap::new(),
            last_equity: terms.cash,
            orders: BTreeMap::new(),
            fills: VecDeque::new(),
            chance,
            quote_age_max: terms.quote_age_max,
            orders_seen: 0,
            by_id: BTreeMap::new(),
            by_client_id: BTreeMap::new(),
            open: BTreeMap::new(),
            closed: VecDeque::new(),
            due: BTreeSet::from([(first_close, 0, Due::SessionClose)]),
            outbox: Vec::new(),
            changed: BTreeSet::new(),
            forgotten: Vec::new(),
        }
    }

    /// Takes up an account where it was left: `orders` by number, `fills` oldest first. What should have happened
    /// meanwhile happens now.
    pub fn resume(
        &mut self,
        ledger: Ledger,
        orders: BTreeMap<u64, Order>,
        fills: VecDeque<Fill>,
        now: Nanos,
    ) {
        self.ledger = ledger;
        self.fills = fills;
        self.orders_seen = orders.keys().next_back().copied().unwrap_or_default();
        for (number, order) in orders {
            self.by_id.insert(order.id.clone(), number);
            self.by_client_id.insert(order.client_order_id.clone(), number);
            if order.status.is_open() {
                self.open.entry(order.instrument.symbol).or_default().insert(number);
                self.due.insert((order.expires_at, number, Due::Expire));
                let waits = order.status == OrderStatus::Accepted && !self.market.is_open(now);
                let begins = if waits { self.market.next_open(now) } else { now };
                let is_new = matches!(order.status, OrderStatus::PendingNew | OrderStatus::Accepted);
                self.due.insert((begins, number, if is_new { Due::Acknowledge } else { Due::Match }));
            } else {
                self.closed.push_back(number);
            }
            self.orders.insert(number, order);
        }
    }

    /// Orders that were received so far.
    pub fn orders_seen(&self) -> u64 {
        self.orders_seen
    }

    /// The orders that changed since the last call, by number, and the numbers of those that were forgotten.
    pub fn take_changes(&mut self) -> (impl Iterator<Item = (u64, &Order)>, Vec<u64>) {
        let changed = std::mem::take(&mut self.changed);
        let forgotten = std::mem::take(&mut self.forgotten);
        let orders = &self.orders;
        (
            changed.into_iter().filter_map(move |number| orders.get(&number).map(|order| (number, order))),
            forgotten,
        )
    }

    /// The dice of the account.
    pub fn chance(&mut self) -> &mut Chance {
        &mut self.chance
    }

    /// What is to be told since the last call.
    pub fn take_updates(&mut self) -> Vec<Update> {
        std::mem::take(&mut self.outbox)
    }

    /// When something happens next by itself.
    pub fn next_due(&self) -> Option<Nanos> {
        self.due.first().map(|due| due.0)
    }

    /// The order with this id of the broker's.
    pub fn order(&self, id: &str) -> Option<&Order> {
        self.orders.get(self.by_id.get(id)?)
    }

    /// The order with this id of the client's.
    pub fn order_by_client_id(&self, id: &str) -> Option<&Order> {
        self.orders.get(self.by_client_id.get(id)?)
    }

    /// Orders that can still be filled, oldest first.
    pub fn open_orders(&self) -> impl Iterator<Item = &Order> {
        let mut numbers: Vec<u64> = self.open.values().flatten().copied().collect();
        numbers.sort_unstable();
        numbers.into_iter().filter_map(|number| self.orders.get(&number))
    }

    /// Takes an order, or says why not.
    ///
    /// # Errors
    /// Alpaca's refusals: 422 for parameters, 403 for buying power, balance and denials.
    pub fn submit(
        &mut self,
        request: &OrderRequest,
        verdict: Verdict,
        now: Nanos,
    ) -> Result<&Order, Refusal> {
        let instrument = request.check()?;
        let client_order_id = match request.client_order_id.as_deref() {
            Some(id) if !id.is_empty() => id.to_owned(),
            _ => self.chance.id(),
        };
        if self.by_client_id.contains_key(&client_order_id) {
            return Err(Refusal::duplicate_client_order_id());
        }
        let is_open = !instrument.has_sessions() || self.market.is_open(now);
        if !is_open && matches!(request.time_in_force, TimeInForce::Ioc | TimeInForce::Fok) {
            return Err(Refusal::invalid("ioc and fok orders are only accepted while the market is open"));
        }
        if self.open.values().map(BTreeSet::len).sum::<usize>() >= OPEN_ORDERS_MAX {
            return Err(Refusal::denied(format!("{OPEN_ORDERS_MAX} orders are open")));
        }
        let (price, qty) = self.estimate(request, instrument)?;
        self.check_account(instrument, request.side, qty, price)?;
        if verdict == Verdict::Deny {
            return Err(Refusal::denied("order denied by the venue's risk control"));
        }
        let order = self.new_order(request, instrument, client_order_id, qty, is_open, now);
        Ok(self.enter(order, verdict, now))
    }

    /// Price and quantity to reckon with before the order is filled.
    fn estimate(
        &self,
        request: &OrderRequest,
        instrument: &'static Instrument,
    ) -> Result<(Decimal, Decimal), Refusal> {
        let quote = self.quotes.get(instrument.symbol);
        let quoted = quote.map(|quote| if request.side == Side::Buy { quote.ask } else { quote.bid });
        let price = request.limit_price.or(request.stop_price).or(quoted).filter(|price| price.is_positive());
        let Some(price) = price else {
            return Err(Refusal::denied(format!("no quote for {} yet", instrument.symbol)));
        };
        let qty = match (request.qty, request.notional) {
            (Some(qty), _) => qty,
            (None, Some(notional)) => notional.ratio(price).round(instrument.qty_digits),
            (None, None) => Decimal::ZERO,
        };
        if qty.is_positive() { Ok((price, qty)) } else { Err(Refusal::invalid("qty must be > 0")) }
    }

    fn check_account(
        &self,
        instrument: &'static Instrument,
        side: Side,
        qty: Decimal,
        price: Decimal,
    ) -> Result<(), Refusal> {
        if instrument.class == AssetClass::Crypto && side == Side::Sell {
            let available = self.ledger.qty(instrument.symbol) - self.open_qty(instrument.symbol, Side::Sell);
            if qty > available {
                return Err(Refusal::balance(instrument.symbol, qty, available));
            }
        }
        let more =
            self.margin_of(instrument, price, Some((side, qty))) - self.margin_of(instrument, price, None);
        let free = self.equity() - self.margin_used();
        if more.is_positive() && more > free {
            let available = self.buying_power_from(free, instrument.class);
            return Err(Refusal::buying_power(available, price * qty));
        }
        Ok(())
    }

    fn new_order(
        &mut self,
        request: &OrderRequest,
        instrument: &'static Instrument,
        client_order_id: String,
        qty: Decimal,
        is_open: bool,
        now: Nanos,
    ) -> Order {
        let held = self.ledger.qty(instrument.symbol);
        let position_intent = match request.side {
            Side::Buy if held.is_negative() => PositionIntent::BuyToClose,
            Side::Buy => PositionIntent::BuyToOpen,
            Side::Sell if held.is_positive() => PositionIntent::SellToClose,
            Side::Sell => PositionIntent::SellToOpen,
        };
        let expires_at = match request.time_in_force {
            TimeInForce::Gtc => now + GTC_STANDS,
            _ if instrument.has_sessions() => self.market.next_close(now),
            _ => now + 86_400 * SECOND,
        };
        Order {
            id: self.chance.id(),
            client_order_id,
            instrument,
            side: request.side,
            kind: request.kind,
            time_in_force: request.time_in_force,
            qty,
            notional: request.notional,
            limit_price: request.limit_price,
            stop_price: request.stop_price,
            triggered: !matches!(request.kind, OrderType::Stop | OrderType::StopLimit),
            at_venue: false,
            extended_hours: request.extended_hours.unwrap_or(false),
            status: if is_open { OrderStatus::PendingNew } else { OrderStatus::Accepted },
            filled_qty: Decimal::ZERO,
            filled_value: Decimal::ZERO,
            position_intent,
            created_at: now,
            updated_at: now,
            expires_at,
            filled_at: None,
            canceled_at: None,
            expired_at: None,
            failed_at: None,
        }
    }

    fn enter(&mut self, order: Order, verdict: Verdict, now: Nanos) -> &Order {
        self.orders_seen += 1;
        let number = self.orders_seen;
        let begins = if order.status == OrderStatus::Accepted { self.market.next_open(now) } else { now };
        let acknowledged = begins + self.chance.ack_delay().as_nanos() as Nanos;
        let next = if verdict == Verdict::RejectLate { Due::RejectLate } else { Due::Acknowledge };
        self.due.insert((acknowledged, number, next));
        self.due.insert((order.expires_at, number, Due::Expire));
        self.by_id.insert(order.id.clone(), number);
        self.by_client_id.insert(order.client_order_id.clone(), number);
        self.open.entry(order.instrument.symbol).or_default().insert(number);
        let event = order.status.as_str();
        self.tell(number, event, &order, None, now);
        self.forget_oldest();
        self.orders.entry(number).or_insert(order)
    }

    fn forget_oldest(&mut self) {
        while self.orders.len() >= ORDERS_MAX {
            let Some(number) = self.closed.pop_front() else { return };
            if let Some(order) = self.orders.remove(&number) {
                self.by_id.remove(&order.id);
                self.by_client_id.remove(&order.client_order_id);
                self.forgotten.push(number);
            }
        }
    }

    /// Cancels an order.
    ///
    /// # Errors
    /// 404 if there is none, 422 if it is over.
    pub fn cancel(&mut self, id: &str, now: Nanos) -> Result<(), Refusal> {
        let number =
            *self.by_id.get(id).ok_or_else(|| Refusal::not_found(format!("order not found for {id}")))?;
        let status = self.orders[&number].status;
        if !status.is_open() {
            return Err(Refusal::invalid(format!("order is already in \"{}\" state", status.as_str())));
        }
        self.end(number, OrderStatus::Canceled, now);
        Ok(())
    }

    /// Takes a quote and fills what it allows.
    pub fn quote(&mut self, instrument: &'static Instrument, quote: Quote) {
        self.quotes.insert(instrument.symbol, quote);
        self.last_prices.entry(instrument.symbol).or_insert_with(|| quote.mid());
        let numbers: Vec<u64> = self.open.get(instrument.symbol).into_iter().flatten().copied().collect();
        for number in numbers {
            if self.orders.get(&number).is_some_and(|order| order.at_venue) {
                self.match_order(number, quote.received);
            }
        }
    }

    /// Does everything that is due by `now`.
    pub fn advance(&mut self, now: Nanos) {
        while let Some((at, number, due)) = self.due.first().copied() {
            if at > now {
                return;
            }
            self.due.pop_first();
            match due {
                Due::Acknowledge => self.acknowledge(number, at),
                Due::RejectLate => self.end(number, OrderStatus::Rejected, at),
                Due::Match => {
                    if let Some(order) = self.orders.get_mut(&number) {
                        order.at_venue = true;
                    }
                    self.match_order(number, at);
                    self.end_immediate(number, at);
                }
                Due::Expire => self.end(number, OrderStatus::Expired, at),
                Due::SessionClose => self.close_session(at),
            }
        }
    }

    fn acknowledge(&mut self, number: u64, at: Nanos) {
        let Some(order) = self.orders.get_mut(&number) else { return };
        if !matches!(order.status, OrderStatus::PendingNew | OrderStatus::Accepted) {
            return;
        }
        order.status = OrderStatus::New;
        order.updated_at = at;
        let order = order.clone();
        self.tell(number, "new", &order, None, at);
        let delay = self.chance.fill_delay().as_nanos() as Nanos;
        self.due.insert((at + delay, number, Due::Match));
    }

    /// Fills what the present quote allows of one order.
    fn match_order(&mut self, number: u64, now: Nanos) {
        let Some(order) = self.orders.get_mut(&number) else { return };
        let instrument = order.instrument;
        let trading = !instrument.has_sessions() || self.market.is_open(now);
        let Some(quote) = self.quotes.get_mut(instrument.symbol) else { return };
        if !order.status.is_open() || !trading || now - quote.received > self.quote_age_max {
            return;
        }
        let (price, size) = match order.side {
            Side::Buy => (quote.ask, &mut quote.ask_size),
            Side::Sell => (quote.bid, &mut quote.bid_size),
        };
        let reaches = |level: Decimal| if order.side == Side::Buy { price >= level } else { price <= level };
        if !order.triggered && order.stop_price.is_some_and(reaches) {
            order.triggered = true;
        }
        let within = |limit: Decimal| if order.side == Side::Buy { price <= limit } else { price >= limit };
        let qty = order.remaining().min(*size);
        let all_or_none = order.time_in_force == TimeInForce::Fok && qty < order.remaining();
        if !order.triggered || !order.limit_price.is_none_or(within) || !qty.is_positive() || all_or_none {
            return;
        }
        *size -= qty;
        self.fill(number, qty, price, now);
    }

    fn fill(&mut self, number: u64, qty: Decimal, price: Decimal, now: Nanos) {
        let id = self.chance.id();
        let Some(order) = self.orders.get_mut(&number) else { return };
        self.ledger.book(order.instrument, order.side, qty, price);
        order.filled_qty += qty;
        order.filled_value += price * qty;
        order.filled_at = Some(now);
        order.updated_at = now;
        let done = order.remaining().is_zero();
        order.status = if done { OrderStatus::Filled } else { OrderStatus::PartiallyFilled };
        let fill = Fill {
            id,
            order_id: order.id.clone(),
            client_order_id: order.client_order_id.clone(),
            at: now,
            instrument: order.instrument,
            side: order.side,
            qty,
            price,
            cumulative: order.filled_qty,
            leaves: order.remaining(),
            position_qty: self.ledger.qty(order.instrument.symbol),
        };
        let order = order.clone();
        if done {
            self.close(number, &order);
        }
        if self.fills.len() >= FILLS_MAX {
            self.fills.pop_front();
        }
        self.fills.push_back(fill.clone());
        self.tell(number, if done { "fill" } else { "partial_fill" }, &order, Some(fill), now);
    }

    /// What `ioc` and `fok` could not fill at once is cancelled.
    fn end_immediate(&mut self, number: u64, now: Nanos) {
        let immediate = |order: &Order| matches!(order.time_in_force, TimeInForce::Ioc | TimeInForce::Fok);
        if self.orders.get(&number).is_some_and(immediate) {
            self.end(number, OrderStatus::Canceled, now);
        }
    }

    /// Ends an open order without a fill; an order that is over stays as it is.
    fn end(&mut self, number: u64, status: OrderStatus, now: Nanos) {
        let Some(order) = self.orders.get_mut(&number) else { return };
        if !order.status.is_open() {
            return;
        }
        order.status = status;
        order.updated_at = now;
        match status {
            OrderStatus::Canceled => order.canceled_at = Some(now),
            OrderStatus::Expired => order.expired_at = Some(now),
            _ => order.failed_at = Some(now),
        }
        let order = order.clone();
        self.close(number, &order);
        self.tell(number, status.as_str(), &order, None, now);
    }

    fn close(&mut self, number: u64, order: &Order) {
        if let Some(open) = self.open.get_mut(order.instrument.symbol) {
            open.remove(&number);
        }
        self.due.remove(&(order.expires_at, number, Due::Expire));
        self.closed.push_back(number);
    }

    fn close_session(&mut self, at: Nanos) {
        self.last_equity = self.equity();
        self.last_prices = self.quotes.iter().map(|(symbol, quote)| (*symbol, quote.mid())).collect();
        self.due.insert((self.market.next_close(at), 0, Due::SessionClose));
    }

    fn tell(&mut self, number: u64, event: &'static str, order: &Order, fill: Option<Fill>, at: Nanos) {
        self.changed.insert(number);
        self.outbox.push(Update { event, at, order: order.json(), fill });
    }

    /// Quantity of open orders on one side.
    pub(super) fn open_qty(&self, symbol: &str, side: Side) -> Decimal {
        let open = self.open.get(symbol).into_iter().flatten().filter_map(|number| self.orders.get(number));
        open.filter(|order| order.side == side).map(Order::remaining).sum()
    }

    /// The price that positions are valued at: mid of the last quote.
    pub(super) fn mark(&self, symbol: &str) -> Option<Decimal> {
        self.quotes.get(symbol).map(Quote::mid)
    }

    /// Cash and positions at the last quotes.
    pub fn equity(&self) -> Decimal {
        let worth = |position: &super::ledger::Position| {
            let mark = self.mark(position.instrument.symbol);
            position.market_value(mark.unwrap_or_else(|| position.avg_entry_price()))
        };
        self.ledger.cash() + self.ledger.positions().map(worth).sum()
    }

    /// Equity that positions and open orders tie up.
    pub(super) fn margin_used(&self) -> Decimal {
        let margin = |instrument: &'static Instrument| {
            let mark = self.mark(instrument.symbol).unwrap_or(Decimal::ZERO);
            self.margin_of(instrument, mark, None)
        };
        instrument::ALL.iter().map(margin).sum()
    }

    /// Equity that one instrument ties up: the largest position its open orders (and `more`) can lead to.
    fn margin_of(
        &self,
        instrument: &'static Instrument,
        price: Decimal,
        more: Option<(Side, Decimal)>,
    ) -> Decimal {
        let held = self.ledger.qty(instrument.symbol);
        let on = |side| {
            let added = more.filter(|(other, _)| *other == side).map_or(Decimal::ZERO, |(_, qty)| qty);
            self.open_qty(instrument.symbol, side) + added
        };
        let (bought, sold) = (held + on(Side::Buy), held - on(Side::Sell));
        let largest = held.abs().max(bought.abs()).max(sold.abs());
        (largest * price).ratio(self.leverage(instrument.class))
    }

    fn leverage(&self, class: AssetClass) -> Decimal {
        match class {
            AssetClass::UsEquity => self.multiplier,
            AssetClass::Crypto => Decimal::ONE,
        }
    }

    /// Dollars of `class` that `free` equity carries.
    pub(super) fn buying_power_from(&self, free: Decimal, class: AssetClass) -> Decimal {
        (free * self.leverage(class)).max(Decimal::ZERO)
    }
}
