//! Histograms with classic buckets, and the timers that feed them.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Moment, Span, Wall};
use crate::descriptor::{BUCKETS_MAX, Descriptor, MetricKind};
use crate::encode::{Buckets, Le, Lines, Page};
use crate::exemplar::{Exemplar, Exemplars, Shown};
use crate::guard::{Timed, Timing};
use crate::instrument::{Instrument, descriptor, head};
use crate::label::LabelSet;
use crate::registry::{Batch, Family, Head, Spec};
use crate::series::{Keep, SlotTable};
use crate::slab;

/// A family of histograms with the labels `L` and the edges of `#[buckets(…)]`.
///
/// Without labels it derefs to its one [`HistogramHandle`].
///
/// # Cost
/// Comparing with the edges and three stores to memory of this thread; no lock.
pub struct Histogram<L: LabelSet = ()> {
    bare: HistogramHandle<'static>,
    labels: PhantomData<fn(L)>,
}

/// One histogram. Borrowed from its family; [`HistogramHandle::into_owned`] makes one to keep in a struct.
#[derive(Clone)]
pub struct HistogramHandle<'a> {
    core: Keep<'a, Core>,
    slot: u32,
    index: u32,
}

pub(crate) struct Core {
    head: Head,
    clock: Clock,
    edges: Edges,
    slots: SlotTable,
    cardinality: usize,
    exemplars: Exemplars,
    wall: Wall,
    encoder: Mutex<Encoder>,
}

impl<L: LabelSet> Histogram<L> {
    /// The histogram of these labels, which is exposed from now on.
    #[inline(always)]
    pub fn at(&self, labels: L) -> HistogramHandle<'_> {
        let core = &self.bare.core;
        let index = labels.index();
        HistogramHandle { slot: core.slots.slot(index), core: core.lend(), index: index as u32 }
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

impl Histogram<()> {
    /// Starts timing; see [`HistogramHandle::start`].
    #[inline]
    pub fn start(&self) -> Timing<'_> {
        self.at(()).start()
    }
}

impl<'a> From<&'a Histogram<()>> for HistogramHandle<'a> {
    fn from(histogram: &'a Histogram<()>) -> HistogramHandle<'a> {
        histogram.at(())
    }
}

impl<'a> HistogramHandle<'a> {
    /// Counts one value, in the family's unit.
    ///
    /// NaN and the infinities are no measurements: they are left out and counted in
    /// `tradewatch_sdk_rejected_values_total{metric="…"}`, since one of them would spoil the sum for good.
    #[inline]
    pub fn observe(&self, value: f64) {
        if !value.is_finite() {
            return self.core.head.reject();
        }
        slab::observe(self.slot, self.core.edges.bucket(value), value);
    }

    /// Counts one value and keeps it as the example of its bucket, with the trace that leads to it.
    ///
    /// # Cost
    /// Some 50 ns more than [`HistogramHandle::observe`], most of it the time of day. It never waits: while
    /// another thread keeps an example of the same bucket, this one is left out.
    pub fn observe_with_exemplar(&self, value: f64, exemplar: &Exemplar) {
        self.observe(value);
        let core = &*self.core;
        if !exemplar.is_valid() {
            core.head.reject_exemplar();
        } else if value.is_finite() {
            core.exemplars.keep(
                self.index as usize,
                core.edges.bucket(value),
                exemplar,
                value,
                core.wall.millis(),
            );
        }
    }

    /// Counts a duration, in seconds.
    #[inline]
    pub fn observe_duration(&self, duration: Duration) {
        self.observe(duration.as_secs_f64());
    }

    /// Starts timing. What is timed is recorded when the guard is stopped or dropped: on `?`, panic and
    /// cancellation too.
    #[inline]
    pub fn start(&self) -> Timing<'a> {
        Timing::start(self.clone())
    }

    /// A handle that may be kept and sent anywhere.
    pub fn into_owned(self) -> HistogramHandle<'static> {
        HistogramHandle { core: self.core.into_owned(), slot: self.slot, index: self.index }
    }
}

impl Timed for HistogramHandle<'_> {
    #[inline]
    fn observe(&self, value: f64) {
        HistogramHandle::observe(self, value);
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

/// The edges of classic buckets.
pub(crate) struct Edges {
    all: Box<[f64]>,
    /// The same if they are few, and infinities: as many comparisons whatever the number, so without a branch.
    few: [f64; EDGES_FEW],
}

/// Beyond this, halving is faster than comparing with each.
const EDGES_FEW: usize = 16;

impl Edges {
    pub(crate) fn new(edges: &[f64]) -> Edges {
        let few = std::array::from_fn(|at| edges.get(at).copied().unwrap_or(f64::INFINITY));
        Edges { all: edges.iter().copied().take(BUCKETS_MAX).collect(), few }
    }

    /// The bucket of a value: the first whose edge is not below it.
    #[inline(always)]
    pub(crate) fn bucket(&self, value: f64) -> usize {
        if self.all.len() <= EDGES_FEW {
            self.few.iter().map(|edge| usize::from(value > *edge)).sum()
        } else {
            self.all.partition_point(|edge| *edge < value)
        }
    }

    pub(crate) fn as_slice(&self) -> &[f64] {
        &self.all
    }
}

impl<L: LabelSet> Clone for Histogram<L> {
    fn clone(&self) -> Self {
        Histogram { bare: self.bare.clone(), labels: PhantomData }
    }
}

impl Deref for Histogram<()> {
    type Target = HistogramHandle<'static>;
    #[inline(always)]
    fn deref(&self) -> &HistogramHandle<'static> {
        &self.bare
    }
}

impl<L: LabelSet> Instrument for Histogram<L> {
    fn descriptor(spec: &Spec<'_>, service: Option<String>) -> Descriptor {
        descriptor(spec, MetricKind::Histogram, L::describe(), service)
    }

    fn create(batch: &mut Batch<'_>, spec: &Spec<'_>) -> Self {
        let (head, cardinality) = head::<L>(batch, spec, Self::descriptor(spec, batch.service()));
        let edges = Edges::new(spec.buckets);
        let (clock, wall, buckets) = (batch.clock(), batch.wall(), edges.as_slice().len() + 1);
        let slots = SlotTable::new(cardinality, &slab::histogram_layout(buckets)).with_wall(&wall);
        let slot = if L::LEN == 0 { slots.slot(0) } else { slab::SINK };
        let encoder = Mutex::new(Encoder::new(L::LEN > 0, edges.as_slice()));
        let exemplars = Exemplars::new(cardinality, buckets);
        let core = Arc::new(Core { head, clock, edges, slots, cardinality, exemplars, wall, encoder });
        batch.push(Arc::clone(&core) as Arc<dyn Family>);
        Histogram { bare: HistogramHandle { core: Keep::owned(core), slot, index: 0 }, labels: PhantomData }
    }
}

/// What the encoder keeps from one scrape to the next.
struct Encoder {
    lines: Lines,
    les: Vec<Le>,
    counts: Vec<u64>,
    exemplars: Vec<Option<Shown>>,
    /// The values exposed last for each line: sum, then the counts. They are shown again if a thread is caught
    /// in the middle of an observation for too long: a little old, but belonging together.
    last: Vec<(f64, Vec<u64>)>,
}

impl Encoder {
    fn new(labelled: bool, edges: &[f64]) -> Encoder {
        Encoder {
            lines: Lines::bare(),
            les: Le::all(labelled, edges),
            counts: vec![0; edges.len() + 1],
            exemplars: Vec::new(),
            last: Vec::new(),
        }
    }

    fn refresh(&mut self, core: &Core, proto: bool) {
        let entries = || core.slots.entries().into_iter();
        if self.lines.len() == core.slots.len() {
            self.lines.refresh(core.slots.len(), entries, &core.head, proto);
            return;
        }
        let before: Vec<u32> = self.lines.iter().map(|line| line.slot).collect();
        self.lines.refresh(core.slots.len(), entries, &core.head, proto);
        // Lines moved; what was shown of a series moves with it, or it could seem to go back to nothing.
        let mut shown: HashMap<u32, (f64, Vec<u64>)> = before.into_iter().zip(self.last.drain(..)).collect();
        let empty = || (0.0, vec![0; self.counts.len()]);
        self.last = self.lines.iter().map(|line| shown.remove(&line.slot).unwrap_or_else(empty)).collect();
    }
}

impl Family for Core {
    fn head(&self) -> &Head {
        &self.head
    }

    fn observe(&self, index: usize, value: f64) -> bool {
        if value.is_finite() {
            slab::observe(self.slots.slot(index), self.edges.bucket(value), value);
        } else {
            self.head.reject();
        }
        true
    }

    fn encode(&self, page: &mut Page<'_>) {
        let mut encoder = self.encoder.lock().unwrap_or_else(PoisonError::into_inner);
        encoder.refresh(self, page.is_proto());
        let Encoder { lines, les, counts, exemplars, last } = &mut *encoder;
        let names = &self.head.names;
        let family = page.begin(names);
        for (at, shown) in last.iter_mut().enumerate().take(lines.len()) {
            if let Some(sum) = page.scrape.histogram(lines.get(at).slot, counts) {
                shown.0 = sum;
                shown.1.copy_from_slice(counts);
            }
            if self.head.expires.is_some() {
                let mark = shown.1.iter().fold(0u64, |sum, count| sum.wrapping_add(*count));
                if lines.is_idle(at, mark, page.now, self.head.expires) {
                    continue;
                }
            }
            let line = lines.get(at);
            self.exemplars.read_all(line.index, exemplars);
            let (sum, counts) = (shown.0, &shown.1[..]);
            let created = self.slots.created(line.born);
            page.histogram(names, &line, &Buckets { les, counts, sum, created, exemplars });
        }
        page.end(family);
        let counts = lines.overflows().flat_map(|at| &last[at].1);
        let overflowed = counts.fold(0u64, |sum, count| sum.wrapping_add(*count));
        self.head.overflowed.store(overflowed, Ordering::Relaxed);
    }
}
