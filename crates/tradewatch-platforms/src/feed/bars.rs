//! Minute bars, built from the trades that the feed sends.

use super::tick::{Body, Tick};
use crate::market::Instrument;
use crate::runtime::Nanos;
use crate::runtime::clock::SECOND;
use std::collections::BTreeMap;

const MINUTE: Nanos = 60 * SECOND;

/// The minute that is being built, per symbol.
#[derive(Debug, Default)]
pub struct Bars {
    open: BTreeMap<&'static str, Building>,
    minute: Option<Nanos>,
}

#[derive(Debug)]
struct Building {
    instrument: &'static Instrument,
    open: f64,
    high: f64,
    low: f64,
    close: f64,
    volume: f64,
    value: f64,
    trades: u64,
}

impl Bars {
    /// When the running minute ends, if there is one.
    pub fn due(&self) -> Option<Nanos> {
        self.minute.map(|minute| minute + MINUTE)
    }

    /// Takes a trade into account; other events only begin a minute.
    pub fn record(&mut self, tick: &Tick) {
        self.minute.get_or_insert(tick.due - tick.due.rem_euclid(MINUTE));
        let Body::Trade { price, size, .. } = tick.body else { return };
        let bar = self.open.entry(tick.instrument.symbol).or_insert(Building {
            instrument: tick.instrument,
            open: price,
            high: price,
            low: price,
            close: price,
            volume: 0.0,
            value: 0.0,
            trades: 0,
        });
        bar.high = bar.high.max(price);
        bar.low = bar.low.min(price);
        bar.close = price;
        bar.volume += size;
        bar.value += price * size;
        bar.trades += 1;
    }

    /// Ends the running minute: one bar per symbol that traded.
    pub fn take(&mut self) -> Vec<Tick> {
        let Some(minute) = self.minute.take() else { return Vec::new() };
        let built = std::mem::take(&mut self.open);
        let bar = |bar: Building| Tick {
            instrument: bar.instrument,
            due: minute + MINUTE,
            at: minute,
            body: Body::Bar {
                open: bar.open,
                high: bar.high,
                low: bar.low,
                close: bar.close,
                volume: bar.volume,
                trades: bar.trades,
                vwap: bar.value / bar.volume,
            },
        };
        built.into_values().map(bar).collect()
    }
}
