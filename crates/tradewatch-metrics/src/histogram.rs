//! Histograms with classic buckets, and the timers that feed them.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Moment, Span};
use crate::descriptor::{BUCKETS_MAX, Descriptor, MetricKind};
use crate::encode::{self, Format, Lines};
use crate::guard::{Timed, Timing};
use crate::instrument::{Instrument, descriptor, head};
use crate::label::LabelSet;
use crate::registry::{Batch, Family, Head, Spec};
use crate::series::{Keep, SlotTable};
use crate::slab::{self, Scrape};

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
}

pub(crate) struct Core {
    head: Head,
    clock: Clock,
    edges: Edges,
    slots: SlotTable,
    cardinality: usize,
    encoder: Mutex<Encoder>,
}

impl<L: LabelSet> Histogram<L> {
    /// The histogram of these labels, which is exposed from now on.
    #[inline(always)]
    pub fn at(&self, labels: L) -> HistogramHandle<'_> {
        let core = &self.bare.core;
        HistogramHandle { slot: core.slots.slot(labels.index()), core: core.lend() }
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
        HistogramHandle { core: self.core.into_owned(), slot: self.slot }
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
        let (head, cardinality) = head::<L>(batch, Self::descriptor(spec, batch.service()));
        let edges = Edges::new(spec.buckets);
        let slots = SlotTable::new(cardinality, &slab::histogram_layout(edges.as_slice().len() + 1));
        let slot = if L::LEN == 0 { slots.slot(0) } else { slab::SINK };
        let encoder = Mutex::new(Encoder::new(L::LEN > 0, edges.as_slice()));
        let core = Arc::new(Core { head, clock: batch.clock(), edges, slots, cardinality, encoder });
        batch.push(Arc::clone(&core) as Arc<dyn Family>);
        Histogram { bare: HistogramHandle { core: Keep::owned(core), slot }, labels: PhantomData }
    }
}

/// What the encoder keeps from one scrape to the next.
struct Encoder {
    lines: Lines,
    suffixes: Suffixes,
    counts: Vec<u64>,
    /// The values exposed last for each line: sum, then the counts. They are shown again if a thread is caught
    /// in the middle of an observation for too long: a little old, but belonging together.
    last: Vec<(f64, Vec<u64>)>,
}

impl Encoder {
    fn new(labelled: bool, edges: &[f64]) -> Encoder {
        Encoder {
            lines: Lines::bare(),
            suffixes: Suffixes::new(labelled, edges),
            counts: vec![0; edges.len() + 1],
            last: Vec::new(),
        }
    }

    fn refresh(&mut self, core: &Core) {
        if self.lines.len() == core.slots.len() {
            return;
        }
        let before: Vec<u32> = self.lines.iter().map(|line| line.slot).collect();
        self.lines.refresh(core.slots.len(), core.slots.entries(), &core.head);
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

    fn encode(&self, scrape: &Scrape, format: Format, out: &mut Vec<u8>) {
        let mut encoder = self.encoder.lock().unwrap_or_else(PoisonError::into_inner);
        encoder.refresh(self);
        let Encoder { lines, suffixes, counts, last } = &mut *encoder;
        self.head.names.header(format, out);
        let name = self.head.names.sample(format);
        for (line, shown) in lines.iter().zip(last) {
            if let Some(sum) = scrape.histogram(line.slot, counts) {
                shown.0 = sum;
                shown.1.copy_from_slice(counts);
            }
            suffixes.write(name, line.block, &shown.1, shown.0, out);
        }
    }
}

/// What distinguishes the lines of one classic histogram.
pub(crate) struct Suffixes {
    /// `le="0.1"} ` for each bucket, `+Inf` last; with a comma in front if there are other labels.
    buckets: Vec<Vec<u8>>,
}

impl Suffixes {
    pub(crate) fn new(labelled: bool, edges: &[f64]) -> Suffixes {
        let comma = if labelled { "," } else { "" };
        let les = edges.iter().map(|edge| encode::canonical(*edge)).chain(["+Inf".to_owned()]);
        Suffixes { buckets: les.map(|le| format!("{comma}le=\"{le}\"}} ").into_bytes()).collect() }
    }

    /// Writes buckets, sum and count; `counts` are each bucket's own, `+Inf` last.
    pub(crate) fn write(&self, name: &[u8], block: &[u8], counts: &[u64], sum: f64, out: &mut Vec<u8>) {
        let mut cumulative = 0u64;
        for (suffix, count) in self.buckets.iter().zip(counts) {
            cumulative = cumulative.wrapping_add(*count);
            out.extend_from_slice(name);
            out.extend_from_slice(b"_bucket{");
            out.extend_from_slice(block);
            out.extend_from_slice(suffix);
            encode::write_u64(out, cumulative);
            out.push(b'\n');
        }
        for (suffix, is_sum) in [(&b"_sum"[..], true), (b"_count", false)] {
            out.extend_from_slice(name);
            out.extend_from_slice(suffix);
            if !block.is_empty() {
                out.push(b'{');
                out.extend_from_slice(block);
                out.push(b'}');
            }
            out.push(b' ');
            if is_sum {
                encode::write_f64(out, sum)
            } else {
                encode::write_u64(out, cumulative)
            }
            out.push(b'\n');
        }
    }
}
