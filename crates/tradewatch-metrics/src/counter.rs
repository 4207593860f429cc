//! Counters.

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::clock::Wall;
use crate::descriptor::{Descriptor, MetricKind};
use crate::encode::{Lines, Number, Page};
use crate::exemplar::{Exemplar, Exemplars};
use crate::instrument::{Instrument, descriptor, head};
use crate::label::LabelSet;
use crate::registry::{Batch, Family, Head, Spec};
use crate::series::{Keep, SlotTable};
use crate::slab::{self, CellKind};

/// A family of counters with the labels `L`, a tuple of none to four [`Label`](crate::Label)s.
///
/// Without labels it derefs to its one [`CounterHandle`]: `m.runs_total.inc()`.
///
/// # Cost
/// `at` is arithmetic and one load; the first call for a combination takes a slot. An increment is a load and a
/// store to memory of this thread: no lock, no shared cache line.
pub struct Counter<L: LabelSet = ()> {
    /// Holds the family; its slot is the one series of `Counter<()>`, else the sink.
    bare: CounterHandle<'static>,
    labels: PhantomData<fn(L)>,
}

/// One counter. Borrowed from its family; [`CounterHandle::into_owned`] makes one to keep in a struct.
#[derive(Clone)]
pub struct CounterHandle<'a> {
    core: Keep<'a, Core>,
    slot: u32,
    index: u32,
}

pub(crate) struct Core {
    head: Head,
    ints: SlotTable,
    /// Only for families that were ever given a fraction.
    floats: OnceLock<SlotTable>,
    cardinality: usize,
    exemplars: Exemplars,
    wall: Wall,
    lines: Mutex<Lines>,
}

impl<L: LabelSet> Counter<L> {
    /// The counter of these labels, which is exposed from now on.
    #[inline(always)]
    pub fn at(&self, labels: L) -> CounterHandle<'_> {
        let core = &self.bare.core;
        let index = labels.index();
        CounterHandle { slot: core.ints.slot(index), core: core.lend(), index: index as u32 }
    }

    /// Exposes every combination of label values known by now, at 0 until it moves.
    ///
    /// For closed sets this makes the first event of each kind visible to `rate`, which needs two samples.
    pub fn expose_all(&self) {
        let core = &self.bare.core;
        let known = (0..core.cardinality).filter(|index| L::values_at(*index).is_some());
        known.for_each(|index| {
            core.ints.slot(index);
        });
    }
}

impl CounterHandle<'_> {
    /// Adds 1.
    #[inline(always)]
    pub fn inc(&self) {
        slab::add(self.slot, 1);
    }

    /// Adds `by`. Past `u64::MAX` the counter starts again at 0, which readers take for a counter reset.
    #[inline(always)]
    pub fn inc_by(&self, by: u64) {
        slab::add(self.slot, by);
    }

    /// Adds 1 and returns how many calls this thread (or those that share its cells) made before.
    #[inline(always)]
    pub(crate) fn next(&self) -> u64 {
        slab::next(self.slot)
    }

    /// Adds a fraction. Whole amounts are counted exactly, fractions as `f64`.
    ///
    /// A negative amount, NaN or an infinity is not added but counted in
    /// `tradewatch_sdk_rejected_values_total{metric="…"}`: a counter only grows.
    #[inline]
    pub fn add(&self, by: f64) {
        add(&self.core, self.slot, self.index, by);
    }

    /// Adds `by` and keeps an example of it: the trace, the order that was counted last.
    ///
    /// # Cost
    /// Some 50 ns more than [`CounterHandle::inc_by`], most of it the time of day. It never waits: while another
    /// thread keeps an example of the same series, this one is left out.
    pub fn inc_with_exemplar(&self, by: u64, exemplar: &Exemplar) {
        slab::add(self.slot, by);
        let core = &*self.core;
        if exemplar.is_valid() {
            core.exemplars.keep(self.index as usize, 0, exemplar, by as f64, core.wall.millis());
        } else {
            core.head.reject_exemplar();
        }
    }

    /// A handle that may be kept and sent anywhere; it stays valid as long as it is held.
    pub fn into_owned(self) -> CounterHandle<'static> {
        CounterHandle { core: self.core.into_owned(), slot: self.slot, index: self.index }
    }
}

#[inline]
fn add(core: &Core, slot: u32, index: u32, by: f64) {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0; // 2^53
    if !(by >= 0.0 && by.is_finite()) {
        return core.head.reject();
    }
    if by <= EXACT_MAX && by.fract() == 0.0 {
        return slab::add(slot, by as u64);
    }
    let floats = core.floats.get_or_init(|| SlotTable::new(core.cardinality, &[CellKind::Float]));
    slab::add_f64(floats.slot(index as usize), by);
}

impl<L: LabelSet> Clone for Counter<L> {
    fn clone(&self) -> Self {
        Counter { bare: self.bare.clone(), labels: PhantomData }
    }
}

impl Deref for Counter<()> {
    type Target = CounterHandle<'static>;
    #[inline(always)]
    fn deref(&self) -> &CounterHandle<'static> {
        &self.bare
    }
}

impl<L: LabelSet> Instrument for Counter<L> {
    fn descriptor(spec: &Spec<'_>, service: Option<String>) -> Descriptor {
        descriptor(spec, MetricKind::Counter, L::describe(), service)
    }

    fn create(batch: &mut Batch<'_>, spec: &Spec<'_>) -> Self {
        let (head, cardinality) = head::<L>(batch, spec, Self::descriptor(spec, batch.service()));
        let wall = batch.wall();
        let ints = SlotTable::new(cardinality, &[CellKind::Int]).with_wall(&wall);
        let slot = if L::LEN == 0 { ints.slot(0) } else { slab::SINK };
        let core = Arc::new(Core {
            head,
            ints,
            floats: OnceLock::new(),
            cardinality,
            exemplars: Exemplars::new(cardinality, 1),
            wall,
            lines: Mutex::default(),
        });
        batch.push(Arc::clone(&core) as Arc<dyn Family>);
        Counter { bare: CounterHandle { core: Keep::owned(core), slot, index: 0 }, labels: PhantomData }
    }
}

impl Family for Core {
    fn head(&self) -> &Head {
        &self.head
    }

    fn inc(&self, index: usize, by: f64) -> bool {
        let (core, index) = (self, index as u32);
        add(core, core.ints.slot(index as usize), index, by);
        true
    }

    fn encode(&self, page: &mut Page<'_>) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = || self.ints.entries().into_iter();
        lines.refresh(self.ints.len(), entries, &self.head, page.is_proto());
        let names = &self.head.names;
        let family = page.begin(names);
        for at in 0..lines.len() {
            let line = lines.get(at);
            let whole = page.scrape.sum(line.slot);
            let fraction = self.floats.get().and_then(|floats| floats.peek(line.index));
            let value = match fraction {
                Some(slot) => Number::Fraction(whole as f64 + page.scrape.sum_f64(slot)),
                None => Number::Whole(whole),
            };
            if self.head.expires.is_some() {
                let mark = match value {
                    Number::Whole(value) => value,
                    Number::Fraction(value) => value.to_bits(),
                };
                if lines.is_idle(at, mark, page.now, self.head.expires) {
                    continue;
                }
            }
            let line = lines.get(at);
            let exemplar = self.exemplars.read(line.index, 0);
            page.counter(names, &line, value, self.ints.created(line.born), exemplar.as_ref());
        }
        page.end(family);
        let overflowed = lines.overflows().map(|at| page.scrape.sum(lines.get(at).slot));
        self.head.overflowed.store(overflowed.fold(0, u64::wrapping_add), Ordering::Relaxed);
    }
}
