//! The series in memory: identity, samples, index. Plain data; the locks are `db.rs`'s.

use std::collections::{BTreeMap, HashMap};

use crate::error::{Error, Kind};
use crate::postings::Postings;
use crate::{Labels, Metadata, Sample, Timestamp};

/// One series: what it is called and what it holds.
#[derive(Debug)]
pub struct MemSeries {
    pub labels: Labels,
    pub samples: Vec<Sample>,
}

impl MemSeries {
    pub fn overlaps(&self, start: Timestamp, end: Timestamp) -> bool {
        match (self.samples.first(), self.samples.last()) {
            (Some(first), Some(last)) => first.ts <= end && last.ts >= start,
            _ => false,
        }
    }
}

/// Everything the store knows, without a lock.
#[derive(Debug, Default)]
pub struct Head {
    pub series: HashMap<u32, MemSeries>,
    pub by_labels: HashMap<Labels, u32>,
    pub postings: Postings,
    pub metadata: BTreeMap<String, Metadata>,
    next_id: u32,
}

/// What a sample would be to its series.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Fit {
    /// Newer than everything: it is to be kept.
    New,
    /// The newest sample once more: nothing to do.
    Same,
}

impl Head {
    /// Adds a series that is not there yet.
    pub fn add_series(&mut self, labels: Labels) -> u32 {
        let id = self.next_id;
        self.next_id += 1;
        self.postings.add(id, &labels);
        self.by_labels.insert(labels.clone(), id);
        self.series.insert(id, MemSeries { labels, samples: Vec::new() });
        id
    }

    /// Whether `sample` fits behind the last one of its series.
    pub fn check(&self, id: u32, sample: &Sample) -> Result<Fit, Error> {
        let series = self.series.get(&id).ok_or_else(|| Error::new(Kind::UnknownSeries { id }))?;
        match series.samples.last() {
            Some(last) => fit(last, sample),
            None => Ok(Fit::New),
        }
    }

    /// Adds a checked sample.
    pub fn push(&mut self, id: u32, sample: Sample) {
        if let Some(series) = self.series.get_mut(&id) {
            series.samples.push(sample);
        }
    }
}

/// Whether `sample` may follow `last` within one series.
pub fn fit(last: &Sample, sample: &Sample) -> Result<Fit, Error> {
    if sample.ts > last.ts {
        Ok(Fit::New)
    } else if sample.ts < last.ts {
        Err(Error::new(Kind::OutOfOrder { ts: sample.ts, last: last.ts }))
    } else if sample.value.same_bits(&last.value) {
        Ok(Fit::Same)
    } else {
        Err(Error::new(Kind::Duplicate { ts: sample.ts }))
    }
}
