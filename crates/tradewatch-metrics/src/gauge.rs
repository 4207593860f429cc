//! Gauges.

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::descriptor::{Descriptor, MetricKind};
use crate::encode::{self, Format, Lines};
use crate::instrument::{Instrument, descriptor, head};
use crate::label::LabelSet;
use crate::registry::{Batch, Family, Head, Spec};
use crate::series::Keep;
use crate::slab::Scrape;

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
const NEVER: u64 = 0x7ff8_7477_0000_0001;
const REMOVED: u64 = 0x7ff8_7477_0000_0002;

pub(crate) struct Core {
    head: Head,
    cells: Box<[AtomicU64]>,
    /// How many cells were ever asked for.
    seen: AtomicUsize,
    lines: Mutex<Lines>,
    /// Takes what is written to a family that failed to register.
    sink: AtomicU64,
}

impl Core {
    #[inline(always)]
    fn cell(&self, index: usize) -> &AtomicU64 {
        self.cells.get(index).unwrap_or(&self.sink)
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
        let bits = if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
        self.core.cell(self.index as usize).store(bits, Ordering::Relaxed);
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
        if !by.is_finite() {
            return self.core.head.reject();
        }
        let cell = self.core.cell(self.index as usize);
        let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| {
            let value = if matches!(bits, NEVER | REMOVED) { 0.0 } else { f64::from_bits(bits) };
            Some((value + by).to_bits())
        });
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
        InFlight { gauge: Some(self.clone()) }
    }

    /// A handle that may be kept and sent anywhere.
    pub fn into_owned(self) -> GaugeHandle<'static> {
        GaugeHandle { core: self.core.into_owned(), index: self.index }
    }
}

/// Holds a gauge one higher; see [`GaugeHandle::track`].
#[must_use = "the gauge goes down again when this is dropped"]
pub struct InFlight<'a> {
    gauge: Option<GaugeHandle<'a>>,
}

impl InFlight<'_> {
    /// A guard that may be kept and sent anywhere.
    pub fn into_owned(mut self) -> InFlight<'static> {
        InFlight { gauge: self.gauge.take().map(GaugeHandle::into_owned) }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if let Some(gauge) = &self.gauge {
            gauge.dec();
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
        let (head, cardinality) = head::<L>(batch, Self::descriptor(spec, batch.service()));
        let core = Arc::new(Core {
            head,
            cells: (0..cardinality).map(|_| AtomicU64::new(NEVER)).collect(),
            seen: AtomicUsize::new(0),
            lines: Mutex::default(),
            sink: AtomicU64::new(0),
        });
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

    fn encode(&self, _: &Scrape, format: Format, out: &mut Vec<u8>) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = self.cells.iter().enumerate().filter(|(_, cell)| cell.load(Ordering::Relaxed) != NEVER);
        lines.refresh(self.seen.load(Ordering::Acquire), seen.map(|(index, _)| (index, 0)), &self.head);
        self.head.names.header(format, out);
        let name = self.head.names.sample(format);
        for line in lines.iter() {
            let bits = self.cell(line.index).load(Ordering::Relaxed);
            if matches!(bits, NEVER | REMOVED) {
                continue;
            }
            out.extend_from_slice(name);
            out.extend_from_slice(line.block);
            encode::write_f64(out, f64::from_bits(bits));
            out.push(b'\n');
        }
    }
}
