//! The label blocks of a family's series, made once for each and kept from scrape to scrape.

use std::time::Duration;

use super::proto;
use super::text::write_labels;
use crate::intern::OVERFLOW;
use crate::registry::Head;

/// The blocks of one family, by label index.
pub(crate) struct Lines {
    /// Whether blocks carry their braces and the blank before the value.
    braces: bool,
    seen: usize,
    bytes: Vec<u8>,
    rows: Vec<Row>,
    /// The labels as protobuf, made once somebody asks for it; where each series' ends.
    proto: Option<(Vec<u8>, Vec<u32>)>,
    /// The series that have [`OVERFLOW`] among their labels.
    overflows: Vec<u32>,
    /// When each series moved last; empty if series of this family do not expire.
    idle: Vec<Idle>,
}

struct Row {
    slot: u32,
    index: u32,
    end: u32,
    born: u32,
}

/// What one scrape remembers of a series for the next, to see whether it moved.
#[derive(Clone, Copy)]
struct Idle {
    mark: u64,
    since: Duration,
}

/// A series that exists.
pub(crate) struct Entry {
    /// Its dense label index.
    pub(crate) index: usize,
    /// Its cells.
    pub(crate) slot: u32,
    /// When it began, as its table tells time; 0 if it does not matter.
    pub(crate) born: u32,
}

/// One series of a family.
#[derive(Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) slot: u32,
    pub(crate) index: usize,
    pub(crate) born: u32,
    /// The labels as text.
    pub(crate) block: &'a [u8],
    /// The labels as protobuf; empty unless asked for.
    pub(crate) proto: &'a [u8],
}

impl Default for Lines {
    fn default() -> Lines {
        Lines {
            braces: true,
            seen: 0,
            bytes: Vec::new(),
            rows: Vec::new(),
            proto: None,
            overflows: Vec::new(),
            idle: Vec::new(),
        }
    }
}

impl Lines {
    /// Blocks without braces, for histograms, which add `le`.
    pub(crate) fn bare() -> Lines {
        Lines { braces: false, ..Lines::default() }
    }

    /// Makes the blocks again if the number of series changed. Returns whether it did.
    pub(crate) fn refresh<I: Iterator<Item = Entry>>(
        &mut self,
        seen: usize,
        entries: impl FnOnce() -> I,
        head: &Head,
        proto: bool,
    ) -> bool {
        let same = self.seen == seen;
        if !same {
            self.seen = seen;
            self.rebuild(entries(), head);
        }
        if (proto && self.proto.is_none()) || (!same && self.proto.is_some()) {
            self.build_proto(head);
        }
        !same
    }

    fn rebuild(&mut self, entries: impl Iterator<Item = Entry>, head: &Head) {
        let before = std::mem::take(&mut self.rows);
        let marks = std::mem::take(&mut self.idle);
        let mut known = before.iter().map(|row| row.index).zip(marks).peekable();
        let expires = head.expires.is_some();
        self.bytes.clear();
        self.overflows.clear();
        let names = || head.descriptor.labels.iter().map(|label| label.name.as_str());
        for Entry { index, slot, born } in entries {
            let Some(values) = (head.values_at)(index) else { continue };
            if !head.refusals.is_empty() && values.contains(&OVERFLOW) {
                self.overflows.push(self.rows.len() as u32);
            }
            let braces = self.braces && !values.is_empty();
            if braces {
                self.bytes.push(b'{');
            }
            write_labels(&mut self.bytes, names().zip(values));
            if braces {
                self.bytes.push(b'}');
            }
            if self.braces {
                self.bytes.push(b' ');
            }
            self.rows.push(Row { slot, index: index as u32, end: self.bytes.len() as u32, born });
            if expires {
                // Both lists are by index, and series only ever come.
                while known.peek().is_some_and(|(known, _)| *known < index as u32) {
                    known.next();
                }
                let kept = known.next_if(|(known, _)| *known == index as u32).map(|(_, idle)| idle);
                self.idle.push(kept.unwrap_or(Idle { mark: u64::MAX, since: Duration::MAX }));
            }
        }
    }

    fn build_proto(&mut self, head: &Head) {
        let (bytes, ends) = self.proto.get_or_insert_default();
        bytes.clear();
        ends.clear();
        for row in &self.rows {
            let values = (head.values_at)(row.index as usize).unwrap_or_default();
            for (label, value) in head.descriptor.labels.iter().zip(values) {
                proto::label(bytes, &label.name, value);
            }
            ends.push(bytes.len() as u32);
        }
    }

    /// The positions of the series that stand for what did not fit into a label's budget.
    pub(crate) fn overflows(&self) -> impl Iterator<Item = usize> {
        self.overflows.iter().map(|at| *at as usize)
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether the series at a position has not moved for `after`. `mark` is what changes when it does.
    pub(crate) fn is_idle(&mut self, at: usize, mark: u64, now: Duration, after: Option<Duration>) -> bool {
        let (Some(idle), Some(after)) = (self.idle.get_mut(at), after) else { return false };
        // A clock that went back begins the wait again.
        if idle.mark != mark || now < idle.since {
            *idle = Idle { mark, since: now };
        }
        now - idle.since >= after
    }

    pub(crate) fn get(&self, at: usize) -> Line<'_> {
        let row = &self.rows[at];
        let from =
            |end: fn(&Row) -> u32| at.checked_sub(1).map_or(0, |before| end(&self.rows[before]) as usize);
        let proto = self.proto.as_ref().map_or(&[][..], |(bytes, ends)| {
            let start = at.checked_sub(1).map_or(0, |before| ends[before] as usize);
            &bytes[start..ends[at] as usize]
        });
        Line {
            slot: row.slot,
            index: row.index as usize,
            born: row.born,
            block: &self.bytes[from(|row| row.end)..row.end as usize],
            proto,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Line<'_>> {
        (0..self.rows.len()).map(|at| self.get(at))
    }
}
