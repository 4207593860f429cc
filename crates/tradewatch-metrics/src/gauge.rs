//! Gauges.

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::descriptor::{Descriptor, MetricKind};
use crate::encode::{Entry, Lines, Number, Page};
use crate::instrument::{Instrument, descriptor, head};
use crate::label::LabelSet;
use crate::observer::Observer;
use crate::registry::{Batch, Family, Head, Spec};
use crate::series::Keep;
use crate::updown::UpDownHandle;

/// A family of gauges with the labels `L`.
///
/// Without labels it derefs to its one [`GaugeHandle`]: `m.queue_length.set(3.0)`.
///
/// # Cost
/// `set` is one store. A gauge is one cell for all threads, since the last value set must win whoever set it.
pub struct Gauge<L: LabelSet = ()> {
    bare: GaugeHandle<'static>,
    labels: PhantomData<fn(L)>,
}

/// One gauge. Borrowed from its family; [`GaugeHandle::into_owned`] makes one to keep in a struct.
#[derive(Clone)]
pub struct GaugeHandle<'a> {
    core: Keep<'a, Core>,
    index: u32,
}

/// Bits of no number that anybody computes: quiet NaNs with a payload. A real NaN is stored as `f64::NAN`.
pub(crate) const NEVER: u64 = 0x7ff8_7477_0000_0001;
pub(crate) const REMOVED: u64 = 0x7ff8_7477_0000_0002;

pub(crate) struct Core {
    head: Head,
    cells: Box<[AtomicU64]>,
    /// How often each cell was written, if idle series expire: a value set again is not idle.
    touched: Option<Box<[AtomicU32]>>,
    /// Whether a callback computes the values and nothing else may set them.
    is_observable: bool,
    /// What computes the values at each scrape, if something does.
    observer: OnceLock<Observer>,
    /// How many cells were ever asked for.
    seen: AtomicUsize,
    lines: Mutex<Lines>,
    /// Takes what is written to a family that failed to register.
    sink: AtomicU64,
}

impl Core {
    pub(crate) fn new(head: Head, cardinality: usize, is_observable: bool) -> Arc<Core> {
        let cells: Box<[AtomicU64]> = (0..cardinality).map(|_| AtomicU64::new(NEVER)).collect();
        let touched = head.expires.map(|_| (0..cardinality).map(|_| AtomicU32::new(0)).collect());
        Arc::new(Core {
            head,
            cells,
            touched,
            is_observable,
            observer: OnceLock::new(),
            seen: AtomicUsize::new(0),
            lines: Mutex::default(),
            sink: AtomicU64::new(0),
        })
    }

    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    pub(crate) fn cardinality(&self) -> usize {
        self.cells.len()
    }

    /// What computes the values; there is none until a callback is given.
    pub(crate) fn observer(&self) -> &OnceLock<Observer> {
        &self.observer
    }

    /// Shows what a callback computed, and nothing else: `NEVER` where it said nothing.
    pub(crate) fn replace(&self, values: &[u64]) {
        let _lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        for (cell, value) in self.cells.iter().zip(values) {
            let before = cell.load(Ordering::Relaxed);
            let after = match (before, *value) {
                (NEVER, NEVER) => continue,
                (_, NEVER) => REMOVED,
                (_, value) => value,
            };
            cell.store(after, Ordering::Relaxed);
            if before == NEVER {
                self.seen.fetch_add(1, Ordering::Release);
            }
        }
    }

    #[inline(always)]
    fn touch(&self, index: usize) {
        if let Some(touched) = self.touched.as_ref().and_then(|touched| touched.get(index)) {
            touched.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[inline(always)]
    fn cell(&self, index: usize) -> &AtomicU64 {
        self.cells.get(index).unwrap_or(&self.sink)
    }

    #[inline(always)]
    fn set(&self, index: usize, value: f64) {
        let bits = if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
        self.cell(index).store(bits, Ordering::Relaxed);
        self.touch(index);
    }

    fn add(&self, index: usize, by: f64) {
        if !by.is_finite() {
            return self.head.reject();
        }
        let _ = self.cell(index).fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| {
            let value = if matches!(bits, NEVER | REMOVED) { 0.0 } else { f64::from_bits(bits) };
            Some((value + by).to_bits())
        });
        self.touch(index);
    }

    fn expose(&self, index: usize) {
        let cell = self.cell(index);
        let zero = 0f64.to_bits();
        if cell.compare_exchange(NEVER, zero, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.seen.fetch_add(1, Ordering::Release);
        } else {
            let _ = cell.compare_exchange(REMOVED, zero, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

impl<L: LabelSet> Gauge<L> {
    /// The gauge of these labels, which is exposed from now on, at 0 until it is set.
    #[inline(always)]
    pub fn at(&self, labels: L) -> GaugeHandle<'_> {
        let core = &self.bare.core;
        let index = labels.index();
        if matches!(core.cell(index).load(Ordering::Relaxed), NEVER | REMOVED) {
            core.expose(index);
        }
        if labels.is_overflow() {
            core.head.overflow();
        }
        GaugeHandle { core: core.lend(), index: index as u32 }
    }

    /// Stops exposing the gauge of these labels, of a symbol no longer subscribed, say. Setting it again, also
    /// by a handle taken earlier, brings it back.
    pub fn remove(&self, labels: L) {
        let cell = self.bare.core.cell(labels.index());
        let _ = cell
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| (bits != NEVER).then_some(REMOVED));
    }

    /// Exposes every combination of label values known by now, at 0 until it is set.
    pub fn expose_all(&self) {
        let core = &self.bare.core;
        let known = (0..core.cells.len()).filter(|index| L::values_at(*index).is_some());
        known.for_each(|index| core.expose(index));
    }
}

impl<'a> GaugeHandle<'a> {
    /// Sets the value. NaN and the infinities are values of a gauge and are exposed as such.
    #[inline(always)]
    pub fn set(&self, value: f64) {
        self.core.set(self.index as usize, value);
    }

    /// Sets 1 or 0.
    #[inline(always)]
    pub fn set_bool(&self, value: bool) {
        self.set(f64::from(u8::from(value)));
    }

    /// Adds `by`, which may be negative. NaN and infinities are not added but counted in
    /// `tradewatch_sdk_rejected_values_total{metric="…"}`.
    #[inline]
    pub fn add(&self, by: f64) {
        self.core.add(self.index as usize, by);
    }

    /// Adds 1.
    #[inline]
    pub fn inc(&self) {
        self.add(1.0);
    }

    /// Subtracts 1.
    #[inline]
    pub fn dec(&self) {
        self.add(-1.0);
    }

    /// The value last set.
    pub fn get(&self) -> f64 {
        match self.core.cell(self.index as usize).load(Ordering::Relaxed) {
            NEVER | REMOVED => 0.0,
            bits => f64::from_bits(bits),
        }
    }

    /// Adds 1 now and subtracts it when the guard is dropped: requests in flight, open connections.
    pub fn track(&self) -> InFlight<'a> {
        self.inc();
        InFlight(Some(Held::Gauge(self.clone())))
    }

    /// A handle that may be kept and sent anywhere.
    pub fn into_owned(self) -> GaugeHandle<'static> {
        GaugeHandle { core: self.core.into_owned(), index: self.index }
    }
}

/// Holds a gauge or an up-down counter one higher; see [`GaugeHandle::track`].
#[must_use = "the gauge goes down again when this is dropped"]
pub struct InFlight<'a>(Option<Held<'a>>);

enum Held<'a> {
    Gauge(GaugeHandle<'a>),
    UpDown(UpDownHandle<'a>),
}

impl<'a> InFlight<'a> {
    pub(crate) fn of(handle: UpDownHandle<'a>) -> InFlight<'a> {
        InFlight(Some(Held::UpDown(handle)))
    }

    /// A guard that may be kept and sent anywhere.
    pub fn into_owned(mut self) -> InFlight<'static> {
        InFlight(self.0.take().map(|held| match held {
            Held::Gauge(gauge) => Held::Gauge(gauge.into_owned()),
            Held::UpDown(counter) => Held::UpDown(counter.into_owned()),
        }))
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        match &self.0 {
            Some(Held::Gauge(gauge)) => gauge.dec(),
            Some(Held::UpDown(counter)) => counter.dec(),
            None => {}
        }
    }
}

impl<L: LabelSet> Clone for Gauge<L> {
    fn clone(&self) -> Self {
        Gauge { bare: self.bare.clone(), labels: PhantomData }
    }
}

impl Deref for Gauge<()> {
    type Target = GaugeHandle<'static>;
    #[inline(always)]
    fn deref(&self) -> &GaugeHandle<'static> {
        &self.bare
    }
}

impl<L: LabelSet> Instrument for Gauge<L> {
    fn descriptor(spec: &Spec<'_>, service: Option<String>) -> Descriptor {
        descriptor(spec, MetricKind::Gauge, L::describe(), service)
    }

    fn create(batch: &mut Batch<'_>, spec: &Spec<'_>) -> Self {
        let (head, cardinality) = head::<L>(batch, spec, Self::descriptor(spec, batch.service()));
        let core = Core::new(head, cardinality, false);
        if L::LEN == 0 {
            core.expose(0);
        }
        batch.push(Arc::clone(&core) as Arc<dyn Family>);
        Gauge { bare: GaugeHandle { core: Keep::owned(core), index: 0 }, labels: PhantomData }
    }
}

impl Family for Core {
    fn head(&self) -> &Head {
        &self.head
    }

    fn inc(&self, index: usize, by: f64) -> bool {
        if self.is_observable {
            return false;
        }
        self.expose(index);
        self.add(index, by);
        true
    }

    fn set(&self, index: usize, value: f64) -> bool {
        if self.is_observable {
            return false;
        }
        self.expose(index);
        Core::set(self, index, value);
        true
    }

    fn observed(&self) -> Option<&Core> {
        self.observer.get().map(|_| self)
    }

    fn encode(&self, page: &mut Page<'_>) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = self.cells.iter().enumerate().filter(|(_, cell)| cell.load(Ordering::Relaxed) != NEVER);
        let entries = || seen.map(|(index, _)| Entry { index, slot: 0, born: 0 });
        lines.refresh(self.seen.load(Ordering::Acquire), entries, &self.head, page.is_proto());
        let names = &self.head.names;
        let family = page.begin(names);
        for at in 0..lines.len() {
            let index = lines.get(at).index;
            let bits = self.cell(index).load(Ordering::Relaxed);
            if matches!(bits, NEVER | REMOVED) {
                continue;
            }
            if let Some(touched) = &self.touched {
                let mark = u64::from(touched[index].load(Ordering::Relaxed));
                if lines.is_idle(at, mark, page.now, self.head.expires) {
                    continue;
                }
            }
            let (line, value) = (lines.get(at), f64::from_bits(bits));
            if self.head.descriptor.kind == MetricKind::Counter {
                page.counter(names, &line, Number::Fraction(value), 0, None);
            } else {
                page.gauge(names, &line, value);
            }
        }
        page.end(family);
    }
}
