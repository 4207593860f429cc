//! The books balance: the broker's account against an independent recomputation from the executions.

use crate::world::{Trader, World, calm};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use tradewatch_platforms::broker::{Behaviour, Config};
use tradewatch_platforms::runtime::{Rng, run_virtual};

/// Exact sums in 10^−18 dollars; nothing of the crate's own arithmetic.
type Exact = i128;
const DOLLAR: Exact = 1_000_000_000_000_000_000;

/// `text` in 10^−`digits`.
fn units(text: &str, digits: usize) -> i128 {
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    assert!(fraction.len() <= digits, "{text}");
    let padded = format!("{whole}{fraction:0<digits$}");
    sign * padded.parse::<i128>().expect("digits")
}

#[derive(Default)]
struct Book {
    cash: Exact,
    realized: Exact,
    /// Per symbol: signed quantity in 10^−9 and price in 10^−9 of each lot, oldest first.
    lots: BTreeMap<String, VecDeque<(i128, i128)>>,
}

impl Book {
    fn fill(&mut self, symbol: &str, side: &str, qty: &str, price: &str) {
        let price = units(price, 9);
        let mut qty = units(qty, 9) * if side == "buy" { 1 } else { -1 };
        self.cash -= qty * price;
        let lots = self.lots.entry(symbol.to_owned()).or_default();
        while let Some((held, paid)) = lots.front_mut() {
            if qty == 0 || held.signum() == qty.signum() {
                break;
            }
            let closed = if held.abs() <= qty.abs() { *held } else { -qty };
            self.realized += closed * (price - *paid);
            *held -= closed;
            qty += closed;
            if *held == 0 {
                lots.pop_front();
            }
        }
        if qty != 0 {
            lots.push_back((qty, price));
        }
    }

    fn qty(&self, symbol: &str) -> i128 {
        self.lots.get(symbol).into_iter().flatten().map(|lot| lot.0).sum()
    }

    fn cost(&self, symbol: &str) -> Exact {
        self.lots.get(symbol).into_iter().flatten().map(|(qty, price)| qty * price).sum()
    }
}

fn field<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} of {value} is text"))
}

fn assert_cents(what: &str, ours: Exact, theirs: &str) {
    let theirs = units(theirs, 18);
    assert!((ours - theirs).abs() <= DOLLAR / 200, "{what}: recomputed {ours}, broker {theirs} (10^-18 USD)");
}

/// Trades at random for `rounds` and returns all trade updates.
async fn trade(world: &World, trader: &Trader, seed: u64, rounds: usize) -> Vec<Value> {
    let mut rng = Rng::new(seed);
    let mut stream = world.stream().await;
    let mut updates = Vec::new();
    let symbols = ["AAPL", "MSFT", "GOOGL", "AMZN", "TSLA", "BTC/USD", "ETH/USD"];
    for round in 0..rounds {
        let symbol = symbols[rng.below(symbols.len() as u64) as usize];
        let crypto = symbol.contains('/');
        let qty = match symbol {
            "BTC/USD" => format!("0.{:05}", 1 + rng.below(30_000)),
            "ETH/USD" => format!("{}.{:04}", rng.below(3), 1 + rng.below(9_000)),
            _ if rng.chance(0.2) => format!("{}.{:03}", rng.below(20), 1 + rng.below(999)),
            _ => (1 + rng.below(250)).to_string(),
        };
        let qty = if rng.chance(0.45) { format!("-{qty}") } else { qty };
        let fractional = qty.contains('.') && !crypto;
        let fields = if rng.chance(0.2) && !fractional {
            let near = trader.get("/v2/positions").await;
            let held = near.as_array().into_iter().flatten().find(|position| position["symbol"] == symbol);
            match held.map(|position| units(field(position, "current_price"), 9) / 10_000_000) {
                Some(cents) => {
                    let cents = cents + rng.below(21) as i128 - 10;
                    json!({"type": "limit", "limit_price": format!("{}.{:02}", cents / 100, cents % 100)})
                }
                None => json!({}),
            }
        } else if rng.chance(0.1) && !fractional {
            json!({"time_in_force": "ioc"})
        } else {
            json!({})
        };
        let (status, _) = trader.order(symbol, &qty, fields).await;
        assert!(matches!(status, 200 | 403), "HTTP {status}");
        updates.extend(stream.updates(rng.exponential(4.0)).await.0);
        if round % 50 == 49 {
            trader.call("delete", "/v2/orders", "/v2/orders", None).await;
        }
    }
    updates.extend(stream.updates(30.0).await.0);
    trader.call("delete", "/v2/orders", "/v2/orders", None).await;
    updates.extend(stream.updates(5.0).await.0);
    updates
}

/// One seeded run; compares everything and returns its executions as text.
fn run(seed: u64, rounds: usize) -> String {
    run_virtual(async {
        let world = World::start(1800, Config { behaviour: Behaviour::default(), seed, ..calm() }).await;
        let trader = world.trader();
        let updates = trade(&world, &trader, seed, rounds).await;
        let fills: Vec<&Value> =
            updates.iter().filter(|update| update.get("execution_id").is_some()).collect();
        let mut book = Book { cash: 100_000 * DOLLAR, ..Book::default() };
        let mut log = String::new();
        let mut per_order: BTreeMap<&str, i128> = BTreeMap::new();
        for fill in &fills {
            let order = &fill["order"];
            let (symbol, qty, price) = (field(order, "symbol"), field(fill, "qty"), field(fill, "price"));
            book.fill(symbol, field(order, "side"), qty, price);
            assert_eq!(units(field(fill, "position_qty"), 9), book.qty(symbol), "position after each fill");
            *per_order.entry(field(order, "id")).or_default() += units(qty, 9);
            log +=
                &format!("{} {symbol} {} {qty} @ {price}\n", field(fill, "timestamp"), field(order, "side"));
        }
        assert!(fills.len() > rounds / 2, "{} fills in {rounds} rounds", fills.len());
        compare(&trader, &world, &book, &per_order, &fills).await;
        log
    })
}

async fn compare(
    trader: &Trader,
    world: &World,
    book: &Book,
    per_order: &BTreeMap<&str, i128>,
    fills: &[&Value],
) {
    assert_cents("cash", book.cash, field(&trader.get("/v2/account").await, "cash"));
    let ledger: Value = trader
        .client
        .get(&format!("{}/control/ledger", world.broker))
        .await
        .and_then(|answer| answer.json())
        .expect("a ledger");
    assert_cents("realised, first in first out", book.realized, field(&ledger, "realized"));
    let positions = trader.get("/v2/positions").await;
    let positions = positions.as_array().expect("a list");
    let held = book.lots.keys().filter(|symbol| book.qty(symbol) != 0).count();
    assert_eq!(positions.len(), held);
    for position in positions {
        let symbol = field(position, "symbol");
        assert_eq!(units(field(position, "qty"), 9), book.qty(symbol), "{symbol}");
        assert_cents(symbol, book.cost(symbol), field(position, "cost_basis"));
        let worth = book.qty(symbol) * units(field(position, "current_price"), 9);
        assert_cents(symbol, worth, field(position, "market_value"));
        assert_cents(symbol, worth - book.cost(symbol), field(position, "unrealized_pl"));
    }
    for (id, filled) in per_order {
        assert_eq!(units(field(&trader.order_state(id).await, "filled_qty"), 9), *filled, "order {id}");
    }
    let mut listed = Vec::new();
    let mut token = String::new();
    loop {
        let page = trader.get(&format!("/v2/account/activities?direction=asc{token}")).await;
        let page = page.as_array().expect("a list").clone();
        let Some(last) = page.last() else { break };
        token = format!("&page_token={}", field(last, "id"));
        listed.extend(page);
    }
    assert_eq!(listed.len(), fills.len(), "the activities list what the stream told");
    for (activity, fill) in listed.iter().zip(fills) {
        assert_eq!((&activity["qty"], &activity["price"]), (&fill["qty"], &fill["price"]));
    }
}

#[test]
fn a_run_reconciles_to_the_cent_and_repeats_from_its_seed() {
    let first = run(42, 300);
    assert_eq!(first, run(42, 300), "the same seed gives the same executions to the nanosecond");
    assert_ne!(first, run(43, 60));
}
