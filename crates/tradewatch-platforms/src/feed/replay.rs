//! Plays the recording in a loop.
//!
//! All stamps are shifted by one constant, so the recorded difference between event and receipt stays as it was.
//! Every second pass is the recording reflected in price (bid becomes a constant minus ask, buyers become sellers):
//! it begins where the first pass ended and ends where that began. So prices join at both seams without a jump
//! that nobody traded and without a drift over the day. Trade ids and sequence numbers go on, and the pause at
//! the seam is shorter than pauses inside the recording.

use super::recording::{Event, Kind, Recording};
use super::tick::{Body, Tick};
use crate::market::{Instrument, instrument};
use crate::runtime::Nanos;
use crate::runtime::clock::{MILLISECOND, SECOND};

/// Pause between two passes.
const SEAM: Nanos = 50 * MILLISECOND;

/// Slowest and fastest replay.
pub const SPEED: (f64, f64) = (0.001, 1_000.0);

/// The recording of one symbol, played from a start time on, for ever.
#[derive(Debug)]
pub struct Replay {
    instrument: &'static Instrument,
    events: Vec<Event>,
    timeline: Timeline,
    /// Bid of the first quote plus ask of the last: what a reflected price is subtracted from.
    reflection: i64,
    trade_ids: i64,
    quote_interval: Nanos,
    quote_last: Option<Nanos>,
    trades: bool,
    pass: i64,
    next: usize,
}

/// Maps recorded receipt times onto the clock; shared by all symbols, so that they stay in step.
#[derive(Clone, Copy, Debug)]
pub struct Timeline {
    start: Nanos,
    origin: Nanos,
    period: Nanos,
    speed: f64,
}

impl Timeline {
    /// A loop over all `recordings` that begins at `start` and runs `speed` times as fast as recorded.
    pub fn new(recordings: &[Recording], start: Nanos, speed: f64) -> Timeline {
        let received = |pick: fn(&Recording) -> Option<&Event>| {
            recordings.iter().filter_map(pick).map(|event| event.received).collect::<Vec<_>>()
        };
        let origin = received(|r| r.events.first()).into_iter().min().unwrap_or_default();
        let end = received(|r| r.events.last()).into_iter().max().unwrap_or_default();
        Timeline { start, origin, period: end - origin + SEAM, speed: speed.clamp(SPEED.0, SPEED.1) }
    }

    /// Time of the recording's beginning by the recorder's clock.
    pub fn recorded_from(&self) -> Nanos {
        self.origin
    }

    fn due(&self, pass: i64, received: Nanos) -> Nanos {
        let into = pass * self.period + (received - self.origin);
        self.start + if self.speed == 1.0 { into } else { (into as f64 / self.speed) as Nanos }
    }
}

impl Replay {
    /// Plays `recording` on `timeline`, at most `quotes_per_second` quotes a second (0: all of them; what exceeds it
    /// is left out, so that the stamps of the others stay true). `None` if the symbol is not an instrument.
    pub fn new(recording: Recording, timeline: Timeline, quotes_per_second: f64) -> Option<Replay> {
        let instrument = instrument::find(&recording.symbol)?;
        let quotes = || {
            recording.events.iter().filter_map(|event| match event.kind {
                Kind::Quote { bid, ask, .. } => Some((bid, ask)),
                Kind::Trade { .. } => None,
            })
        };
        let reflection = quotes().next()?.0 + quotes().next_back()?.1;
        let ids = || {
            recording.events.iter().filter_map(|event| match event.kind {
                Kind::Trade { id, .. } => Some(id),
                Kind::Quote { .. } => None,
            })
        };
        let trade_ids = ids().next_back().unwrap_or_default() - ids().next().unwrap_or_default() + 1;
        let quote_interval =
            if quotes_per_second > 0.0 { (SECOND as f64 / quotes_per_second) as Nanos } else { 0 };
        Some(Replay {
            instrument,
            events: recording.events,
            timeline,
            reflection,
            trade_ids,
            quote_interval,
            quote_last: None,
            trades: true,
            pass: 0,
            next: 0,
        })
    }

    /// Whether trades are played (the default). Leaving them out while nobody wants them saves a simulated day
    /// four million events.
    pub fn set_trades(&mut self, trades: bool) {
        self.trades = trades;
    }

    /// When the next message is due.
    pub fn due(&self) -> Nanos {
        self.timeline.due(self.pass, self.events[self.next].received)
    }

    /// The next message, and on to the one after it.
    pub fn take(&mut self) -> Tick {
        let due = self.due();
        let event = self.events[self.next];
        let tick =
            Tick { instrument: self.instrument, due, at: due + event.ahead, body: self.body(event.kind) };
        if matches!(event.kind, Kind::Quote { .. }) {
            self.quote_last = Some(due);
        }
        loop {
            self.step();
            if !self.is_left_out() {
                return tick;
            }
        }
    }

    fn step(&mut self) {
        self.next += 1;
        if self.next == self.events.len() {
            self.next = 0;
            self.pass += 1;
        }
    }

    fn is_left_out(&self) -> bool {
        match self.events[self.next].kind {
            Kind::Quote { .. } => self.quote_last.is_some_and(|last| self.due() - last < self.quote_interval),
            Kind::Trade { .. } => !self.trades,
        }
    }

    fn body(&self, kind: Kind) -> Body {
        let reflected = self.pass % 2 == 1;
        match kind {
            Kind::Quote { bid, ask, bid_size, ask_size } if reflected => Body::Quote {
                bid: cents(self.reflection - ask),
                bid_size: coins(ask_size),
                ask: cents(self.reflection - bid),
                ask_size: coins(bid_size),
            },
            Kind::Quote { bid, ask, bid_size, ask_size } => Body::Quote {
                bid: cents(bid),
                bid_size: coins(bid_size),
                ask: cents(ask),
                ask_size: coins(ask_size),
            },
            Kind::Trade { id, price, size, taker_buys } => Body::Trade {
                id: id + self.pass * self.trade_ids,
                price: cents(if reflected { self.reflection - price } else { price }),
                size: coins(size),
                taker_buys: taker_buys != reflected,
            },
        }
    }
}

fn cents(units: i64) -> f64 {
    units as f64 / 100.0
}

fn coins(units: i64) -> f64 {
    units as f64 / 100_000_000.0
}

#[cfg(test)]
mod tests {
    use super::super::recording::embedded;
    use super::*;

    fn ticks(speed: f64, quotes_per_second: f64, count: usize) -> Vec<Tick> {
        let recordings = embedded();
        let timeline = Timeline::new(&recordings, 1_000 * SECOND, speed);
        let btc = recordings.into_iter().find(|r| r.symbol == "BTC/USD").expect("embedded");
        let mut replay = Replay::new(btc, timeline, quotes_per_second).expect("an instrument");
        (0..count).map(|_| replay.take()).collect()
    }

    #[test]
    fn the_seam_is_clean() {
        let per_pass = 28_040 + 9_757;
        let ticks = ticks(1.0, 0.0, 3 * per_pass);
        assert!(ticks.windows(2).all(|pair| pair[0].due <= pair[1].due), "receipt never goes back");
        let pause = ticks.windows(2).map(|pair| pair[1].due - pair[0].due).max().expect("pairs");
        let at_seam = ticks[per_pass].due - ticks[per_pass - 1].due;
        assert!(at_seam < pause, "the pause at the seam ({at_seam} ns) is not the longest ({pause} ns)");
        let mut ids = Vec::new();
        for tick in &ticks {
            match tick.body {
                Body::Quote { bid, ask, .. } => {
                    assert!(bid < ask, "{bid} {ask}");
                }
                Body::Trade { id, .. } => ids.push(id),
                Body::Bar { .. } => panic!("the recording has no bars"),
            }
            assert_eq!(
                (tick.at - tick.due) / (100 * MILLISECOND),
                12,
                "event minus receipt stays near 1.27 s"
            );
        }
        assert!(ids.windows(2).all(|pair| pair[0] + 1 == pair[1]));
        let prices = |tick: &Tick| match tick.body {
            Body::Quote { bid, ask, .. } => Some((bid, ask)),
            _ => None,
        };
        let first_from = |at: usize| ticks[at..].iter().find_map(prices).expect("quotes");
        let last_before = |at: usize| ticks[..at].iter().rev().find_map(prices).expect("quotes");
        assert_eq!(last_before(per_pass), first_from(per_pass), "no jump at the first seam");
        assert_eq!(last_before(2 * per_pass), first_from(2 * per_pass), "nor at the second");
        assert_eq!(first_from(0), first_from(2 * per_pass), "after two passes it begins again");
        assert_ne!(first_from(0), first_from(per_pass), "the recording itself ends elsewhere than it began");
    }

    #[test]
    fn sampling_and_speed_change_rate_and_not_stamps() {
        let all = ticks(1.0, 0.0, 1000);
        let sampled = ticks(1.0, 1.0, 100);
        assert!(
            sampled
                .iter()
                .all(|tick| all.iter().any(|other| other.due == tick.due) || tick.due > all[999].due)
        );
        let quotes: Vec<&Tick> =
            sampled.iter().filter(|tick| matches!(tick.body, Body::Quote { .. })).collect();
        assert!(quotes.windows(2).all(|pair| pair[1].due - pair[0].due >= SECOND));
        let fast = ticks(10.0, 0.0, 1000);
        assert_eq!(
            (fast[999].due - fast[0].due) / MILLISECOND,
            (all[999].due - all[0].due) / 10 / MILLISECOND
        );
        assert_eq!(fast[500].at - fast[500].due, all[500].at - all[500].due);
        let recordings = embedded();
        let timeline = Timeline::new(&recordings, 0, 1.0);
        let mut quiet =
            Replay::new(recordings.into_iter().next().expect("two"), timeline, 0.0).expect("known");
        quiet.set_trades(false);
        assert!((0..1000).all(|_| matches!(quiet.take().body, Body::Quote { .. })));
    }
}
