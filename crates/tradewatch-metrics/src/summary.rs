//! Summaries: quantiles over a sliding window of time.
//!
//! Writers know nothing of the window. They count into log-linear buckets, 16 to a power of two, which only grow;
//! each scrape keeps a copy of the counts now and then, and what lies in the window is the difference between now
//! and the copy of a window ago. So the window costs the hot path nothing, and no clock is read there.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Moment, Span};
use crate::descriptor::{Descriptor, MetricKind};
use crate::encode::{Le, Lines, Page};
use crate::guard::{Timed, Timing};
use crate::instrument::{Instrument, descriptor, head};
use crate::label::LabelSet;
use crate::registry::{Batch, Family, Head, Spec};
use crate::series::{Keep, SlotTable};
use crate::slab;

/// Buckets in a power of two, as bits: the highest bits of an `f64`'s fraction.
const FRACTION_BITS: u32 = 4;
/// Powers of two between the smallest and the largest value told apart.
const OCTAVES: usize = 31;
/// One below the smallest value, then 16 for each power of two, then one above the largest.
const BUCKETS: usize = (OCTAVES << FRACTION_BITS) + 2;
/// How far a summary looks back if its declaration says nothing.
const WINDOW: Duration = Duration::from_secs(600);
/// Copies kept in a window; it moves on in steps of this part of it.
const STEPS: u32 = 5;

/// A family of summaries with the labels `L` and the quantiles of `#[quantiles(…)]`, over the last
/// `#[metric(window = "10m")]`.
///
/// A histogram is the better choice for what several processes share: quantiles cannot be added up. A summary is
/// for a glance at one process.
///
/// # Accuracy
/// A quantile is that of the values of the window by nearest rank, off by at most 1/33 (3.03 %) of the value:
/// buckets are 1/16 of a power of two wide, and the answer is the value whose relative distance to both ends is the
/// same (DDSketch, VLDB 2019, section 2; log-linear buckets as in HdrHistogram). This holds from the smallest value,
/// `#[metric(smallest = 0.000001)]`, to 2^31 times that; 1e-6 if nothing is said (1 for bytes, 0.01 for usd). What
/// is smaller counts as 0, what is larger as the largest. If nothing was seen in the window the answer is NaN.
///
/// The window reaches back at least as far as declared and at most a fifth of it or one scrape further, whichever
/// is more. If the clock goes back the window begins again.
///
/// # Cost
/// A shift and three stores to memory of this thread; no lock. 4 KiB for each series and thread that touched it.
pub struct Summary<L: LabelSet = ()> {
    bare: SummaryHandle<'static>,
    labels: PhantomData<fn(L)>,
}

/// One summary. Borrowed from its family; [`SummaryHandle::into_owned`] makes one to keep in a struct.
#[derive(Clone)]
pub struct SummaryHandle<'a> {
    core: Keep<'a, Core>,
    slot: u32,
}

pub(crate) struct Core {
    head: Head,
    clock: Clock,
    scale: Scale,
    slots: SlotTable,
    cardinality: usize,
    encoder: Mutex<Encoder>,
}

/// Which bucket a value belongs to.
#[derive(Clone, Copy)]
struct Scale {
    /// The bits above the bucket's of the smallest value told from 0.
    first: u64,
}

impl Scale {
    fn new(smallest: f64) -> Scale {
        // Down to a power of two, and within what 31 more of them fit into.
        let exponent = (smallest.to_bits() >> 52).clamp(1, 2046 - OCTAVES as u64);
        Scale { first: exponent << FRACTION_BITS }
    }

    /// The value is not negative.
    #[inline(always)]
    fn bucket(self, value: f64) -> usize {
        let key = value.to_bits() >> (52 - FRACTION_BITS);
        // What is smaller than the smallest is in the first bucket, with 0.
        let above = key.saturating_sub(self.first - 1) as usize;
        above.min(BUCKETS - 1)
    }

    /// What stands for all values of a bucket.
    fn value(self, bucket: usize) -> f64 {
        let edge = |above: usize| f64::from_bits((self.first + above as u64) << (52 - FRACTION_BITS));
        match bucket {
            0 => 0.0,
            bucket if bucket == BUCKETS - 1 => edge(bucket - 1),
            bucket => {
                let (low, high) = (edge(bucket - 1), edge(bucket));
                // Never above what a number can be: high / low is at most 17/16.
                2.0 * low * (high / (low + high))
            }
        }
    }
}

impl<L: LabelSet> Summary<L> {
    /// The summary of these labels, which is exposed from now on.
    #[inline(always)]
    pub fn at(&self, labels: L) -> SummaryHandle<'_> {
        let core = &self.bare.core;
        SummaryHandle { slot: core.slots.slot(labels.index()), core: core.lend() }
    }

    /// Exposes every combination of label values known by now, empty until something is observed.
    pub fn expose_all(&self) {
        let core = &self.bare.core;
        let known = (0..core.cardinality).filter(|index| L::values_at(*index).is_some());
        known.for_each(|index| {
            core.slots.slot(index);
        });
    }
}

impl SummaryHandle<'_> {
    /// Counts one value, in the family's unit.
    ///
    /// A negative one, NaN and the infinities are left out and counted in
    /// `tradewatch_sdk_rejected_values_total{metric="…"}`: a summary is of sizes.
    #[inline]
    pub fn observe(&self, value: f64) {
        self.core.observe_in(self.slot, value);
    }

    /// Counts a duration, in seconds.
    #[inline]
    pub fn observe_duration(&self, duration: Duration) {
        self.observe(duration.as_secs_f64());
    }

    /// A handle that may be kept and sent anywhere.
    pub fn into_owned(self) -> SummaryHandle<'static> {
        SummaryHandle { core: self.core.into_owned(), slot: self.slot }
    }
}

impl<'a> SummaryHandle<'a> {
    /// Starts timing. What is timed is recorded when the guard is stopped or dropped: on `?`, panic and
    /// cancellation too.
    #[inline]
    pub fn start(&self) -> Timing<'a, SummaryHandle<'a>> {
        Timing::start(self.clone())
    }
}

impl Timed for SummaryHandle<'_> {
    #[inline]
    fn observe(&self, value: f64) {
        SummaryHandle::observe(self, value);
    }

    #[inline]
    fn now(&self) -> Moment {
        self.core.clock.now()
    }

    #[inline]
    fn since(&self, start: Moment) -> Span {
        self.core.clock.since(start)
    }
}

impl Core {
    #[inline(always)]
    fn observe_in(&self, slot: u32, value: f64) {
        if !(value >= 0.0 && value.is_finite()) {
            return self.head.reject();
        }
        slab::observe(slot, self.scale.bucket(value.abs()), value);
    }
}

impl<L: LabelSet> Clone for Summary<L> {
    fn clone(&self) -> Self {
        Summary { bare: self.bare.clone(), labels: PhantomData }
    }
}

impl Deref for Summary<()> {
    type Target = SummaryHandle<'static>;
    #[inline(always)]
    fn deref(&self) -> &SummaryHandle<'static> {
        &self.bare
    }
}

impl<L: LabelSet> Instrument for Summary<L> {
    fn descriptor(spec: &Spec<'_>, service: Option<String>) -> Descriptor {
        descriptor(spec, MetricKind::Summary, L::describe(), service)
    }

    fn create(batch: &mut Batch<'_>, spec: &Spec<'_>) -> Self {
        let (head, cardinality) = head::<L>(batch, spec, Self::descriptor(spec, batch.service()));
        let smallest = spec.smallest.unwrap_or(match head.descriptor.unit.as_str() {
            "bytes" => 1.0,
            "usd" => 0.01,
            _ => 1e-6,
        });
        if !(smallest > 0.0 && smallest.is_finite()) {
            let message = format!("smallest is {smallest}; write a number above 0, such as 0.000001");
            batch.fail(crate::error::RegisterError::invalid(spec.name, message));
        }
        let slots = SlotTable::new(cardinality, &slab::histogram_layout(BUCKETS)).with_wall(&batch.wall());
        let slot = if L::LEN == 0 { slots.slot(0) } else { slab::SINK };
        let quantiles = &head.descriptor.quantiles;
        let encoder = Encoder {
            lines: Lines::bare(),
            quantiles: quantiles.iter().map(|q| Le::new(L::LEN > 0, "quantile", *q)).collect(),
            answers: vec![0.0; quantiles.len()],
            counts: vec![0; BUCKETS],
            window: spec.window.unwrap_or(WINDOW),
            series: Vec::new(),
        };
        let (scale, encoder) = (Scale::new(smallest), Mutex::new(encoder));
        let core = Arc::new(Core { head, clock: batch.clock(), scale, slots, cardinality, encoder });
        batch.push(Arc::clone(&core) as Arc<dyn Family>);
        Summary { bare: SummaryHandle { core: Keep::owned(core), slot }, labels: PhantomData }
    }
}

/// What the encoder keeps from one scrape to the next.
struct Encoder {
    lines: Lines,
    quantiles: Vec<Le>,
    answers: Vec<f64>,
    counts: Vec<u64>,
    window: Duration,
    /// Of each line.
    series: Vec<Series>,
}

/// One summary as scrapes saw it.
struct Series {
    slot: u32,
    /// What was read last.
    sum: f64,
    last: Counts,
    /// Copies of the counts with their time, the oldest first; never empty.
    copies: VecDeque<(Duration, Counts)>,
}

/// Counts without the zeros before and after.
#[derive(Default)]
struct Counts {
    first: usize,
    counts: Vec<u64>,
}

impl Counts {
    fn set(&mut self, counts: &[u64]) {
        let first = counts.iter().position(|count| *count > 0).unwrap_or(0);
        let end = counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
        self.first = first;
        self.counts.clear();
        self.counts.extend_from_slice(&counts[first.min(end)..end]);
    }

    fn write_to(&self, counts: &mut [u64]) {
        counts.iter_mut().enumerate().for_each(|(bucket, count)| *count = self.get(bucket));
    }

    fn get(&self, bucket: usize) -> u64 {
        bucket.checked_sub(self.first).and_then(|at| self.counts.get(at)).copied().unwrap_or(0)
    }
}

impl Series {
    fn new(slot: u32, now: Duration) -> Series {
        Series { slot, sum: 0.0, last: Counts::default(), copies: VecDeque::from([(now, Counts::default())]) }
    }

    /// Takes in what a scrape read.
    fn advance(&mut self, now: Duration, window: Duration, counts: &[u64]) {
        let newest = self.copies.back().map_or(Duration::ZERO, |(at, _)| *at);
        if now < newest {
            // The clock went back: how old the copies are is not known any more.
            while self.copies.len() > 1 {
                self.copies.pop_front();
            }
            self.copies[0].0 = now;
        }
        // The oldest copy is the newest that is a window old.
        let mut spare = Counts::default();
        while self.copies.get(1).is_some_and(|(at, _)| now.saturating_sub(*at) >= window) {
            spare = self.copies.pop_front().map(|(_, counts)| counts).unwrap_or_default();
        }
        if now.saturating_sub(newest) >= window / STEPS {
            spare.set(counts);
            self.copies.push_back((now, spare));
        }
    }

    /// The value of each quantile, by nearest rank.
    fn answer(&self, scale: Scale, counts: &[u64], quantiles: &[Le], answers: &mut [f64]) {
        let base = &self.copies[0].1;
        let within = |bucket: usize| counts[bucket].wrapping_sub(base.get(bucket));
        let total: u64 = (0..BUCKETS).map(within).sum();
        answers.fill(f64::NAN);
        if total == 0 {
            return;
        }
        let mut asked = quantiles.iter().zip(answers).peekable();
        let mut passed = 0;
        for bucket in 0..BUCKETS {
            passed += within(bucket);
            while let Some((_, answer)) =
                asked.next_if(|(quantile, _)| passed as f64 >= (quantile.edge * total as f64).ceil().max(1.0))
            {
                *answer = scale.value(bucket);
            }
        }
    }
}

impl Encoder {
    fn refresh(&mut self, core: &Core, page: &Page<'_>) {
        let entries = || core.slots.entries().into_iter();
        if self.lines.refresh(core.slots.len(), entries, &core.head, page.is_proto()) {
            let mut known: std::collections::HashMap<u32, Series> =
                self.series.drain(..).map(|series| (series.slot, series)).collect();
            let series = |slot: u32| known.remove(&slot).unwrap_or_else(|| Series::new(slot, page.now));
            self.series = self.lines.iter().map(|line| line.slot).map(series).collect();
        }
    }
}

impl Family for Core {
    fn head(&self) -> &Head {
        &self.head
    }

    fn observe(&self, index: usize, value: f64) -> bool {
        self.observe_in(self.slots.slot(index), value);
        true
    }

    fn encode(&self, page: &mut Page<'_>) {
        let mut encoder = self.encoder.lock().unwrap_or_else(PoisonError::into_inner);
        encoder.refresh(self, page);
        let Encoder { lines, quantiles, answers, counts, window, series } = &mut *encoder;
        let names = &self.head.names;
        let family = page.begin(names);
        for (at, series) in series.iter_mut().enumerate() {
            match page.scrape.histogram(series.slot, counts) {
                Some(sum) => {
                    series.sum = sum;
                    series.advance(page.now, *window, counts);
                    series.last.set(counts);
                }
                // A writer was caught in the middle for too long: as it was at the last scrape.
                None => series.last.write_to(counts),
            }
            let count = counts.iter().fold(0u64, |sum, count| sum.wrapping_add(*count));
            if lines.is_idle(at, count, page.now, self.head.expires) {
                continue;
            }
            series.answer(self.scale, counts, quantiles, answers);
            let line = lines.get(at);
            let created = self.slots.created(line.born);
            page.summary(names, &line, quantiles, answers, (series.sum, count), created);
        }
        page.end(family);
        let counts = lines.overflows().flat_map(|at| &series[at].last.counts);
        let overflowed = counts.fold(0u64, |sum, count| sum.wrapping_add(*count));
        self.head.overflowed.store(overflowed, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every value lies in the bucket whose answer is within 1/33 of it.
    #[test]
    fn answers_are_within_the_bound() {
        for smallest in [1e-6, 1.0, 0.01, 5e-324, 1e300] {
            let scale = Scale::new(smallest);
            let mut value = f64::from_bits(scale.first << (52 - FRACTION_BITS));
            let largest = value * 2f64.powi(OCTAVES as i32) * 0.999_999;
            assert!(value <= smallest.max(f64::MIN_POSITIVE), "{value} {smallest}");
            while value < largest {
                let answer = scale.value(scale.bucket(value));
                assert!((answer - value).abs() <= value / 33.0 * 1.000_001, "{smallest} {value} {answer}");
                value *= 1.000_37;
            }
            assert_eq!(scale.bucket(0.0), 0);
            assert_eq!(scale.bucket(f64::MAX), BUCKETS - 1);
        }
        assert_eq!(Scale::new(1e-6).bucket(9e-7), 0);
        assert_eq!(Scale::new(1e-6).value(0), 0.0);
    }
}
