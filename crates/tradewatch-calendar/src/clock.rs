//! Time as a market counts it: the `for` of a rule that asks for session time.

use std::collections::BTreeMap;
use std::iter::once;

use jiff::{SignedDuration, Timestamp};

use crate::{Calendar, Change, Overlay, Venue};

/// Sessions that are looked at in search of an instant: at two a day, those of more than a hundred years.
const STRETCHES_MAX: usize = 100_000;

/// Half-open stretches of time, in order and apart.
type Stretches = Vec<(Timestamp, Timestamp)>;

/// When which symbol of which venue is halted; the whole venue under `None`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Halts(BTreeMap<String, BTreeMap<Option<String>, Stretches>>);

impl Halts {
    pub(crate) fn of(overlay: &Overlay) -> Halts {
        let mut halts = Halts::default();
        for entry in overlay.entries() {
            if let Change::Halt(halt) = &entry.change {
                let of_venue = halts.0.entry(entry.mic.clone()).or_default();
                let stretch = (halt.from, halt.to.unwrap_or(Timestamp::MAX));
                of_venue.entry(halt.symbol.clone()).or_default().push(stretch);
            }
        }
        for stretches in halts.0.values_mut().flat_map(BTreeMap::values_mut) {
            *stretches = merged(std::mem::take(stretches));
        }
        halts
    }

    /// The halts of the venue and, where one is named, of the symbol.
    fn stretches(&self, mic: &str, symbol: Option<&str>) -> Stretches {
        let Some(of_venue) = self.0.get(mic) else { return Stretches::new() };
        let venue = of_venue.get(&None).into_iter().flatten();
        let symbol = symbol.and_then(|symbol| of_venue.get(&Some(symbol.to_owned()))).into_iter().flatten();
        let both: Stretches = venue.chain(symbol).copied().collect();
        merged(both)
    }
}

fn merged(mut stretches: Stretches) -> Stretches {
    stretches.sort_unstable();
    let mut merged = Stretches::new();
    for (from, to) in stretches {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    merged
}

/// A clock that goes while a venue trades: see [`Calendar::clock`].
#[derive(Debug)]
pub struct SessionClock<'a> {
    calendar: &'a Calendar,
    mic: &'a str,
    halts: Stretches,
}

impl Calendar {
    /// The clock of a venue, or of a symbol there. It stands while the venue is closed, in a break, before and after
    /// the regular session, and during a halt of the venue or of the symbol. Where nobody knows what the venue does
    /// (beyond the horizon, at a venue that is not known) it goes: what is counted by it must not be held up by
    /// ignorance.
    pub fn clock<'a>(&'a self, mic: &'a str, symbol: Option<&str>) -> SessionClock<'a> {
        SessionClock { calendar: self, mic, halts: self.halts.stretches(mic, symbol) }
    }
}

impl SessionClock<'_> {
    /// How far it goes within `[from, to)`.
    ///
    /// # Cost
    /// A step for each session in between.
    pub fn counted(&self, from: Timestamp, to: Timestamp) -> SignedDuration {
        let within = self.stretches(from).take_while(|(begin, _)| *begin < to);
        within.map(|(begin, end)| end.min(to).duration_since(begin)).sum()
    }

    /// The first instant from `from` on at which it goes and has gone for `amount`; at the end of a stretch, that end.
    ///
    /// `None` if that never comes.
    pub fn reaches(&self, from: Timestamp, amount: SignedDuration) -> Option<Timestamp> {
        let mut left = amount;
        for (begin, end) in self.stretches(from) {
            let length = end.duration_since(begin);
            if left <= length {
                return begin.checked_add(left).ok();
            }
            left -= length;
        }
        None
    }

    /// The latest instant in `[earliest, to]` from which it has gone for `amount` by `to`.
    pub fn began(&self, earliest: Timestamp, to: Timestamp, amount: SignedDuration) -> Timestamp {
        let within: Stretches = self.stretches(earliest).take_while(|(begin, _)| *begin < to).collect();
        if amount <= SignedDuration::ZERO {
            return to;
        }
        let mut left = amount;
        for (begin, end) in within.into_iter().rev() {
            let length = end.min(to).duration_since(begin);
            if left <= length {
                return end.min(to).checked_sub(left).unwrap_or(begin);
            }
            left -= length;
        }
        earliest
    }

    /// The stretches from `from` on in which it goes.
    fn stretches(&self, from: Timestamp) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let parts = |from| self.calendar.sessions_from(self.mic, from).flat_map(|session| session.parts());
        let all: Box<dyn Iterator<Item = (Timestamp, Timestamp)>> = match self.calendar.venue(self.mic) {
            None | Some(Venue::Always) => Box::new(once((from, Timestamp::MAX))),
            Some(Venue::Table(table)) => {
                let (first, last) = (table.horizon.from, table.horizon.to);
                let known = parts(from.max(first)).map(move |(open, close)| (open, close.min(last)));
                Box::new(once((from, first)).chain(known).chain(once((last, Timestamp::MAX))))
            }
            Some(Venue::Weekly | Venue::Virtual(_)) => Box::new(parts(from)),
        };
        // After the beginning of a halt without an end there is nothing to look for.
        let last = self.halts.last().filter(|(_, to)| *to == Timestamp::MAX).map(|(from, _)| *from);
        all.take_while(move |(begin, _)| last.is_none_or(|last| *begin < last))
            .take(STRETCHES_MAX)
            .map(move |(begin, end)| (begin.max(from), end))
            .filter(|(begin, end)| begin < end)
            .flat_map(|stretch| without(stretch, &self.halts))
    }
}

/// What is left of a stretch.
fn without((first, end): (Timestamp, Timestamp), halts: &Stretches) -> Stretches {
    let (mut left, mut begin) = (Stretches::new(), first);
    for &(from, to) in halts.iter().skip_while(|(_, to)| *to <= first).take_while(|(from, _)| *from < end) {
        if begin < from {
            left.push((begin, from));
        }
        begin = begin.max(to);
    }
    if begin < end {
        left.push((begin, end));
    }
    left
}
