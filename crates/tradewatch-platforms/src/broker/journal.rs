//! The account on disk, so that a broker that was killed goes on where it was.
//!
//! An SQLite file with the orders, the executions and the ledger with its lots. Each change is one transaction,
//! written before anybody is told; it survives the end of the process, not that of the machine.

use super::book::{Book, FILLS_MAX, Fill};
use super::ledger::Ledger;
use super::order::Order;
use crate::runtime::{Nanos, Seed};
use anyhow::Context;
use rusqlite::{Connection, OptionalExtension, params};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = OFF;
    CREATE TABLE IF NOT EXISTS orders (number INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS fills (number INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS ledger (only INTEGER PRIMARY KEY CHECK (only = 1), body TEXT NOT NULL) STRICT;
";

/// The file of one account.
#[derive(Debug)]
pub struct Journal {
    connection: Connection,
}

impl Journal {
    /// Opens or makes the file at `path`, and takes up the account that it holds, if any.
    ///
    /// # Errors
    /// If the file cannot be opened or holds something else.
    pub fn open(path: &Path, book: &mut Book, seed: Seed, now: Nanos) -> anyhow::Result<Journal> {
        let connection = Connection::open(path)?;
        connection.execute_batch(SCHEMA).context("not an account")?;
        let ledger =
            connection.query_row("SELECT body FROM ledger", [], |row| row.get::<_, String>(0)).optional()?;
        if let Some(ledger) = ledger {
            let ledger: Ledger = serde_json::from_str(&ledger).context("ledger")?;
            let orders: BTreeMap<u64, Order> = rows(&connection, "orders")?.collect::<anyhow::Result<_>>()?;
            let fills: VecDeque<Fill> =
                rows(&connection, "fills")?.map(|row| Ok(row?.1)).collect::<anyhow::Result<_>>()?;
            book.resume(ledger, orders, fills, now);
            let orders_seen = book.orders_seen();
            book.chance().resume(seed, orders_seen);
        }
        Ok(Journal { connection })
    }

    /// Writes the orders that changed, new executions, and the ledger.
    ///
    /// # Errors
    /// SQLite's; nothing is written then.
    pub fn write<'a>(
        &mut self,
        book: &mut Book,
        fills: impl Iterator<Item = &'a Fill>,
    ) -> anyhow::Result<()> {
        let transaction = self.connection.transaction()?;
        let (changed, forgotten) = book.take_changes();
        for (number, order) in changed {
            transaction
                .prepare_cached("INSERT OR REPLACE INTO orders (number, body) VALUES (?1, ?2)")?
                .execute(params![number as i64, serde_json::to_string(order)?])?;
        }
        for fill in fills {
            transaction
                .prepare_cached("INSERT INTO fills (body) VALUES (?1)")?
                .execute(params![serde_json::to_string(fill)?])?;
        }
        transaction
            .prepare_cached("DELETE FROM fills WHERE number <= (SELECT max(number) FROM fills) - ?1")?
            .execute(params![FILLS_MAX as i64])?;
        for number in forgotten {
            transaction
                .prepare_cached("DELETE FROM orders WHERE number = ?1")?
                .execute(params![number as i64])?;
        }
        transaction
            .prepare_cached("INSERT OR REPLACE INTO ledger (only, body) VALUES (1, ?1)")?
            .execute(params![serde_json::to_string(&book.ledger)?])?;
        Ok(transaction.commit()?)
    }
}

/// All rows of `table` in order.
fn rows<T: DeserializeOwned>(
    connection: &Connection,
    table: &str,
) -> anyhow::Result<impl Iterator<Item = anyhow::Result<(u64, T)>>> {
    let mut statement = connection.prepare(&format!("SELECT number, body FROM {table} ORDER BY number"))?;
    let read = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
    let read = read.collect::<Result<Vec<_>, _>>()?;
    let table = table.to_owned();
    Ok(read.into_iter().map(move |(number, body)| {
        let value = serde_json::from_str(&body).with_context(|| format!("{table}, row {number}"))?;
        Ok((number.unsigned_abs(), value))
    }))
}
