//! Up-down counters: what goes up and down from many threads at once.

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use crate::descriptor::{Descriptor, MetricKind};
use crate::encode::{Lines, Page};
use crate::gauge::InFlight;
use crate::instrument::{Instrument, descriptor, head};
use crate::label::LabelSet;
use crate::registry::{Batch, Family, Head, Spec};
use crate::series::{Keep, SlotTable};
use crate::slab::{self, CellKind};

/// A family of whole numbers that go up and down with the labels `L`: connections, jobs in flight.
///
/// Exposed as a gauge. It can be added to but not set, and that makes it cheaper than a [`Gauge`](crate::Gauge)
/// that many threads move: each adds to memory of its own, and a scrape sums up.
///
/// # Cost
/// As a counter: a load and a store, no lock, no shared cache line.
pub struct UpDownCounter<L: LabelSet = ()> {
    bare: UpDownHandle<'static>,
    labels: PhantomData<fn(L)>,
}

/// One up-down counter. Borrowed from its family; [`UpDownHandle::into_owned`] makes one to keep in a struct.
#[derive(Clone)]
pub struct UpDownHandle<'a> {
    core: Keep<'a, Core>,
    slot: u32,
}

pub(crate) struct Core {
    head: Head,
    slots: SlotTable,
    cardinality: usize,
    lines: Mutex<Lines>,
}

impl<L: LabelSet> UpDownCounter<L> {
    /// The counter of these labels, which is exposed from now on.
    #[inline(always)]
    pub fn at(&self, labels: L) -> UpDownHandle<'_> {
        let core = &self.bare.core;
        if labels.is_overflow() {
            core.head.overflow();
        }
        UpDownHandle { slot: core.slots.slot(labels.index()), core: core.lend() }
    }

    /// Exposes every combination of label values known by now, at 0 until it moves.
    pub fn expose_all(&self) {
        let core = &self.bare.core;
        let known = (0..core.cardinality).filter(|index| L::values_at(*index).is_some());
        known.for_each(|index| {
            core.slots.slot(index);
        });
    }
}

impl<'a> UpDownHandle<'a> {
    /// Adds 1.
    #[inline(always)]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Subtracts 1.
    #[inline(always)]
    pub fn dec(&self) {
        self.add(-1);
    }

    /// Adds `by`, which may be negative. Beyond the range of `i64` it wraps around.
    #[inline(always)]
    pub fn add(&self, by: i64) {
        slab::add(self.slot, by as u64);
    }

    /// Adds 1 now and subtracts it when the guard is dropped, on whatever thread that is.
    pub fn track(&self) -> InFlight<'a> {
        self.inc();
        InFlight::of(self.clone())
    }

    /// A handle that may be kept and sent anywhere.
    pub fn into_owned(self) -> UpDownHandle<'static> {
        UpDownHandle { core: self.core.into_owned(), slot: self.slot }
    }
}

impl<L: LabelSet> Clone for UpDownCounter<L> {
    fn clone(&self) -> Self {
        UpDownCounter { bare: self.bare.clone(), labels: PhantomData }
    }
}

impl Deref for UpDownCounter<()> {
    type Target = UpDownHandle<'static>;
    #[inline(always)]
    fn deref(&self) -> &UpDownHandle<'static> {
        &self.bare
    }
}

impl<L: LabelSet> Instrument for UpDownCounter<L> {
    fn descriptor(spec: &Spec<'_>, service: Option<String>) -> Descriptor {
        descriptor(spec, MetricKind::Gauge, L::describe(), service)
    }

    fn create(batch: &mut Batch<'_>, spec: &Spec<'_>) -> Self {
        let (head, cardinality) = head::<L>(batch, spec, Self::descriptor(spec, batch.service()));
        let slots = SlotTable::new(cardinality, &[CellKind::Int]);
        let slot = if L::LEN == 0 { slots.slot(0) } else { slab::SINK };
        let core = Arc::new(Core { head, slots, cardinality, lines: Mutex::default() });
        batch.push(Arc::clone(&core) as Arc<dyn Family>);
        UpDownCounter { bare: UpDownHandle { core: Keep::owned(core), slot }, labels: PhantomData }
    }
}

impl Family for Core {
    fn head(&self) -> &Head {
        &self.head
    }

    fn inc(&self, index: usize, by: f64) -> bool {
        // Whole numbers only; the rest is refused as a counter refuses what it cannot take.
        if by.fract() == 0.0 && by.abs() < 9e15 {
            slab::add(self.slots.slot(index), by as i64 as u64);
        } else {
            self.head.reject();
        }
        true
    }

    fn encode(&self, page: &mut Page<'_>) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = || self.slots.entries().into_iter();
        lines.refresh(self.slots.len(), entries, &self.head, page.is_proto());
        let names = &self.head.names;
        let family = page.begin(names);
        for at in 0..lines.len() {
            let value = page.scrape.sum(lines.get(at).slot) as i64;
            // What is in flight is not idle, however long it takes.
            if lines.is_idle(at, value as u64, page.now, self.head.expires) && value == 0 {
                continue;
            }
            page.gauge(names, &lines.get(at), value as f64);
        }
        page.end(family);
    }
}
