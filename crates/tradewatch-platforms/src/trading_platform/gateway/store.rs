//! The gateway's rows: orders, fills, settings.

use super::breaker;
use super::desk::{Fill, Unsaved};
use super::ledger::EquityTrack;
use crate::trading_platform::database::{Database, Error, Row, Statement};
use crate::trading_platform::money::{Money, Qty};
use crate::trading_platform::order::{Order, OrderRequest, OrderState, Side};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

const SAVE_ORDER: &str = "INSERT INTO orders (client_order_id, broker_order_id, symbol, side, qty, limit_price, strategy, \
     reference, state, filled_qty, filled_cost, reason, created_at, acknowledged_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
     ON CONFLICT (client_order_id) DO UPDATE SET broker_order_id = excluded.broker_order_id, state = excluded.state, \
     filled_qty = excluded.filled_qty, filled_cost = excluded.filled_cost, reason = excluded.reason, \
     acknowledged_at = excluded.acknowledged_at";
const SAVE_FILL: &str = "INSERT INTO fills (seq, client_order_id, symbol, side, qty, price, at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (seq) DO NOTHING";
const SAVE_SETTING: &str = "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
const ORDER: &str = "SELECT client_order_id, broker_order_id, symbol, side, qty, limit_price, strategy, reference, state, \
     filled_qty, filled_cost, reason, created_at, acknowledged_at FROM orders WHERE client_order_id = $1";
const LIVE_ORDERS: &str = "SELECT client_order_id, broker_order_id, symbol, side, qty, limit_price, strategy, reference, \
     state, filled_qty, filled_cost, reason, created_at, acknowledged_at FROM orders \
     WHERE state IN ('pending', 'open', 'partially_filled') ORDER BY created_at, client_order_id";
const FILLS: &str = "SELECT seq, client_order_id, symbol, side, qty, price, at FROM fills ORDER BY seq";
const SETTINGS: &str = "SELECT name, value FROM settings ORDER BY name";

/// Names of the settings.
pub const BREAKER: &str = "breaker";
/// See [`BREAKER`].
pub const EQUITY: &str = "equity";
/// See [`BREAKER`].
pub const DRY_RUN: &str = "dry_run";

/// What a restart begins with.
#[derive(Debug, Default)]
pub struct Saved {
    /// Orders that may still change.
    pub orders: Vec<Order>,
    /// Every fill, in order.
    pub fills: Vec<Fill>,
    /// Where the breaker stood.
    pub breaker: Option<breaker::State>,
    /// Peak and day start of equity.
    pub equity: Option<EquityTrack>,
    /// Whether orders were kept from the broker.
    pub dry_run: Option<bool>,
}

/// Reads everything.
///
/// # Errors
/// If the database is away.
pub async fn load(database: &Database) -> Result<Saved, Error> {
    let orders = database.read(LIVE_ORDERS, Vec::new()).await?;
    let fills = database.read(FILLS, Vec::new()).await?;
    let settings = database.read(SETTINGS, Vec::new()).await?;
    let settings: BTreeMap<&str, &str> = settings.iter().map(|row| (row.text(0), row.text(1))).collect();
    Ok(Saved {
        orders: orders.iter().filter_map(order).collect(),
        fills: fills.iter().filter_map(fill).collect(),
        breaker: setting(&settings, BREAKER),
        equity: setting(&settings, EQUITY),
        dry_run: setting(&settings, DRY_RUN),
    })
}

/// The order of this id, if there is one.
///
/// # Errors
/// If the database is away.
pub async fn find(database: &Database, id: &str) -> Result<Option<Order>, Error> {
    let rows = database.read(ORDER, vec![id.into()]).await?;
    Ok(rows.first().and_then(order))
}

/// Writes one order.
///
/// # Errors
/// If the database is away.
pub async fn save_order(database: &Database, order: &Order) -> Result<(), Error> {
    database.write(&[order_statement(order)]).await
}

/// Writes everything that waits, or nothing of it.
///
/// # Errors
/// If the database is away.
pub async fn save(database: &Database, unsaved: &Unsaved) -> Result<(), Error> {
    let mut statements: Vec<Statement> = unsaved.orders.iter().map(order_statement).collect();
    statements.extend(unsaved.fills.iter().map(fill_statement));
    for (name, value) in &unsaved.settings {
        statements.push((SAVE_SETTING, vec![(*name).into(), value.as_str().into()]));
    }
    database.write(&statements).await
}

fn setting<T: DeserializeOwned>(settings: &BTreeMap<&str, &str>, name: &str) -> Option<T> {
    let text = settings.get(name)?;
    match serde_json::from_str(text) {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::warn!(name, text, %error, "a setting in the database is not understood and left out");
            None
        }
    }
}

fn order_statement(order: &Order) -> Statement {
    let request = &order.request;
    let values = vec![
        order.client_order_id.as_str().into(),
        order.broker_order_id.as_str().into(),
        request.symbol.as_str().into(),
        request.side.as_str().into(),
        request.qty.nanos().into(),
        request.limit_price.unwrap_or_default().nanos().into(),
        request.strategy.as_str().into(),
        request.reference.as_str().into(),
        order.state.as_str().into(),
        order.filled_qty.nanos().into(),
        order.filled_cost.nanos().into(),
        order.reason.as_str().into(),
        order.created_at.into(),
        order.acknowledged_at.into(),
    ];
    (SAVE_ORDER, values)
}

fn fill_statement(fill: &Fill) -> Statement {
    let values = vec![
        fill.seq.into(),
        fill.client_order_id.as_str().into(),
        fill.symbol.as_str().into(),
        fill.side.as_str().into(),
        fill.qty.nanos().into(),
        fill.price.nanos().into(),
        fill.at.into(),
    ];
    (SAVE_FILL, values)
}

fn order(row: &Row) -> Option<Order> {
    let limit_price = Money::from_nanos(row.int(5));
    Some(Order {
        client_order_id: row.text(0).to_owned(),
        broker_order_id: row.text(1).to_owned(),
        request: OrderRequest {
            symbol: row.text(2).to_owned(),
            side: Side::parse(row.text(3))?,
            qty: Qty::from_nanos(row.int(4)),
            limit_price: (!limit_price.is_zero()).then_some(limit_price),
            strategy: row.text(6).to_owned(),
            reference: row.text(7).to_owned(),
        },
        state: OrderState::parse(row.text(8))?,
        filled_qty: Qty::from_nanos(row.int(9)),
        filled_cost: Money::from_nanos(row.int(10)),
        reason: row.text(11).to_owned(),
        created_at: row.int(12),
        acknowledged_at: row.int(13),
    })
}

fn fill(row: &Row) -> Option<Fill> {
    Some(Fill {
        seq: row.int(0),
        client_order_id: row.text(1).to_owned(),
        symbol: row.text(2).to_owned(),
        side: Side::parse(row.text(3))?,
        qty: Qty::from_nanos(row.int(4)),
        price: Money::from_nanos(row.int(5)),
        at: row.int(6),
    })
}
