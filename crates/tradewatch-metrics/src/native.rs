//! Native histograms: buckets of equal ratio without edges to choose, taken as values arrive.
//!
//! A family declares a schema; eight neighbouring buckets are one block of cells. Which blocks exist is kept for
//! the family, in a table of [`BLOCKS`] places; a series takes the cells of a block when its first value lands
//! there. When a family's table is full, what lies outside it is counted on a grid three schemas coarser (eight
//! buckets become one), in a table of its own, and so on down to schema -4, whose table holds every number there
//! is. A series that has such values is exposed at the coarsest of its schemas; no value is moved, lost or put
//! where it does not belong.

mod grid;

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Moment, Span, Wall};
use crate::descriptor::{BUCKETS_MAX, Descriptor, MetricKind, NativeBuckets};
use crate::encode::{Buckets, Entry, Le, Lines, Page};
use crate::exemplar::{Exemplar, Exemplars, Shown};
use crate::guard::{Timed, Timing};
use crate::histogram::bucket_of;
use crate::instrument::{Instrument, descriptor, head};
use crate::label::LabelSet;
use crate::registry::{Batch, Family, Head, Spec};
use crate::series::Keep;
use crate::slab::{self, CellKind, Scrape, ThreadCells};

use grid::Grid;
pub use grid::native_bucket_edge;

/// The coarsest schema: a bucket is sixteen octaves.
pub const SCHEMA_MIN: i8 = -4;
/// The finest schema: an octave is 256 buckets.
pub const SCHEMA_MAX: i8 = 8;
/// Sizes up to this are zero unless the declaration says otherwise; Prometheus' own choice, and the least there
/// can be.
pub const ZERO_THRESHOLD_MIN: f64 = 2.938735877055719e-39; // 2^-128

/// Buckets in a block: a cache line of cells.
const BLOCK: usize = 8;
const BLOCK_BITS: u32 = BLOCK.trailing_zeros();
/// Blocks of a family on each grid: 256 buckets, of which a series uses those that its values reach.
const BLOCKS: usize = 32;
/// By how many schemas the next grid is coarser: one of its buckets is a block.
const COARSER: i8 = BLOCK_BITS as i8;
/// Exemplars kept of one series.
const EXEMPLARS: usize = 8;
/// Cells at the head of a series: sequence, sum, zero; the classic buckets follow.
const ZERO: u32 = 2;
const CLASSIC: u32 = 3;

/// A family of native histograms with the labels `L` and the schema of `#[native(schema = 3)]`.
///
/// Without labels it derefs to its one [`NativeHistogramHandle`]. With `#[buckets(…)]` it counts exact classic
/// buckets beside the native ones, for readers that know no others.
///
/// # Cost
/// A table look-up and three stores to memory of this thread. The first value of a series in a block of eight
/// buckets takes its cells, under a lock.
pub struct NativeHistogram<L: LabelSet = ()> {
    core: Arc<Core>,
    bare: NativeHistogramHandle<'static>,
    labels: PhantomData<fn(L)>,
}

/// One native histogram. Borrowed from its family; [`NativeHistogramHandle::into_owned`] makes one to keep.
#[derive(Clone)]
pub struct NativeHistogramHandle<'a> {
    series: Keep<'a, Series>,
}

/// What a native histogram holds at one moment: all parts belong together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NativeSnapshot {
    /// The grid of the buckets, at most as fine as declared.
    pub schema: i8,
    /// Sizes up to this are in `zero_count`.
    pub zero_threshold: f64,
    /// How many values were zero, or as good as.
    pub zero_count: u64,
    /// The sum of all values.
    pub sum: f64,
    /// How many values there are.
    pub count: u64,
    /// Index and count of the buckets above zero that hold something, ascending; see [`native_bucket_edge`].
    pub positive: Vec<(i32, u64)>,
    /// The same below zero, by the size of the values.
    pub negative: Vec<(i32, u64)>,
    /// The counts of the classic buckets, each its own and not cumulative, `+Inf` last; empty without edges.
    pub classic: Vec<u64>,
}

/// What the series of a family share.
struct Shared {
    head: Head,
    clock: Clock,
    wall: Wall,
    exemplars: Exemplars,
    schema: i8,
    zero_threshold: f64,
    grid: Grid,
    edges: Box<[f64]>,
    fine: Blocks,
    /// The coarser grids, each for what found no place on the one before it.
    coarse: Box<[Blocks]>,
    /// Held while a series takes cells.
    create: Mutex<()>,
}

/// Which blocks of a grid a family uses: the tag of each place, 0 if it is free.
struct Blocks {
    /// By how many schemas the grid is coarser than the declared one.
    by: u32,
    tags: [AtomicU32; BLOCKS],
}

/// The cells of a block, by its place in [`Blocks`].
type Places = [AtomicU32; BLOCKS];

struct Series {
    shared: Arc<Shared>,
    /// Its dense label index.
    index: u32,
    /// When counting began, in Unix milliseconds.
    created: u64,
    /// Sequence, sum, zero and classic buckets.
    base: u32,
    fine: Places,
    coarse: OnceLock<Box<[Places]>>,
}

pub(crate) struct Core {
    shared: Arc<Shared>,
    series: Box<[OnceLock<Arc<Series>>]>,
    /// How many series there are; the encoder sees by it whether its lines are all of them.
    len: AtomicUsize,
    /// Takes what is written to a family that failed to register.
    sink: Arc<Series>,
    les: Vec<Le>,
    encoder: Mutex<Encoder>,
}

/// A block of a grid and a sign, never 0.
#[inline(always)]
fn tag(block: i32, negative: bool) -> u32 {
    const BIAS: i32 = 1 << 20;
    (block.wrapping_add(BIAS) as u32) << 1 | u32::from(negative)
}

/// Bucket number 0 of the block and whether it is below zero.
fn untag(tag: u32) -> (i32, bool) {
    (((tag >> 1) as i32 - (1 << 20)) << BLOCK_BITS, tag & 1 == 1)
}

/// Where to look first: neighbours have places of their own, and those below zero begin half way.
#[inline(always)]
fn place(tag: u32) -> usize {
    ((tag >> 1) as usize ^ (tag as usize & 1) << (BLOCKS.trailing_zeros() - 1)) & (BLOCKS - 1)
}

impl Blocks {
    fn new(by: u32) -> Blocks {
        Blocks { by, tags: [const { AtomicU32::new(0) }; BLOCKS] }
    }

    /// The place of a block, which it takes if it has none; `None` if all are taken.
    fn find(&self, tag: u32) -> Option<usize> {
        let first = place(tag);
        (0..BLOCKS).map(|step| (first + step) & (BLOCKS - 1)).find(|at| {
            let known = self.tags[*at].compare_exchange(0, tag, Ordering::Relaxed, Ordering::Relaxed);
            known.is_ok_and(|_| true) || known == Err(tag)
        })
    }
}

impl Series {
    fn new(shared: &Arc<Shared>, index: usize, base: u32) -> Series {
        let fine = [const { AtomicU32::new(slab::SINK) }; BLOCKS];
        let (shared, created) = (Arc::clone(shared), shared.wall.millis());
        Series { shared, index: index as u32, created, base, fine, coarse: OnceLock::new() }
    }

    /// The cell of a bucket of the finest grid.
    #[inline(always)]
    fn cell(&self, key: i32, negative: bool) -> Option<u32> {
        let tag = tag(key >> BLOCK_BITS, negative);
        let at = place(tag);
        if self.shared.fine.tags[at].load(Ordering::Relaxed) == tag {
            // Acquire: the cells were zeroed (if used before) ahead of the slot's publication.
            let slot = self.fine[at].load(Ordering::Acquire);
            if slot != slab::SINK {
                return Some(slot + (key as u32 & (BLOCK as u32 - 1)));
            }
        }
        self.cell_cold(key, negative)
    }

    /// The cell of a bucket that is not where it is looked for first; `None` if no cells are left.
    #[cold]
    #[inline(never)]
    fn cell_cold(&self, key: i32, negative: bool) -> Option<u32> {
        let shared = &*self.shared;
        let grids = std::iter::once(&shared.fine).chain(&shared.coarse);
        let (level, key, at) = grids.enumerate().find_map(|(level, blocks)| {
            let key = grid::coarser(key, blocks.by);
            Some((level, key, blocks.find(tag(key >> BLOCK_BITS, negative))?))
        })?;
        let places = match level.checked_sub(1) {
            None => &self.fine,
            Some(level) => &self.coarse.get_or_init(|| coarse_places(shared.coarse.len()))[level],
        };
        let slot = self.take(&places[at])?;
        Some(slot + (key as u32 & (BLOCK as u32 - 1)))
    }

    /// The cells of a block, taken if the series has none there.
    fn take(&self, place: &AtomicU32) -> Option<u32> {
        let known = place.load(Ordering::Acquire);
        if known != slab::SINK {
            return Some(known);
        }
        if self.base == slab::SINK {
            return None;
        }
        let _lock = self.shared.create.lock().unwrap_or_else(PoisonError::into_inner);
        let known = place.load(Ordering::Acquire);
        if known != slab::SINK {
            return Some(known);
        }
        let slot = slab::allocate(&[CellKind::Int; BLOCK]);
        place.store(slot, Ordering::Release);
        (slot != slab::SINK).then_some(slot)
    }

    /// Each block that has cells: its grid's distance from the finest, its tag and its cells.
    fn blocks(&self) -> impl Iterator<Item = (u32, u32, u32)> {
        let shared = &*self.shared;
        let coarse = shared.coarse.iter().zip(self.coarse.get().into_iter().flatten());
        let grids = std::iter::once((&shared.fine, &self.fine)).chain(coarse);
        grids.flat_map(|(blocks, places)| {
            let pairs = blocks.tags.iter().zip(places);
            pairs.filter_map(|(tag, place)| {
                // The place is filled after its tag was set.
                let slot = place.load(Ordering::Acquire);
                (slot != slab::SINK).then(|| (blocks.by, tag.load(Ordering::Relaxed), slot))
            })
        })
    }
}

fn coarse_places(len: usize) -> Box<[Places]> {
    (0..len).map(|_| [const { AtomicU32::new(slab::SINK) }; BLOCKS]).collect()
}

impl Drop for Series {
    fn drop(&mut self) {
        // The last handle is gone, so nobody writes to these cells any more.
        let blocks: Vec<u32> = self.blocks().map(|(_, _, slot)| slot).collect();
        slab::release(blocks.into_iter(), BLOCK);
        if self.base != slab::SINK {
            slab::release(std::iter::once(self.base), self.shared.layout().len());
        }
    }
}

impl Shared {
    fn new(head: Head, cardinality: usize, (clock, wall): (Clock, Wall), spec: &Spec<'_>) -> Shared {
        let declared = spec.native.unwrap_or(NativeBuckets::DEFAULT);
        // What is out of range was refused when the declaration was checked.
        let schema = declared.schema.clamp(SCHEMA_MIN, SCHEMA_MAX);
        let steps = (1..).map(|step| COARSER * step);
        let coarse = steps.map(|by| by.min(schema - SCHEMA_MIN)).take_while({
            let mut before = 0;
            move |by| std::mem::replace(&mut before, *by) < *by
        });
        Shared {
            head,
            clock,
            wall,
            exemplars: Exemplars::new(cardinality, EXEMPLARS),
            schema,
            zero_threshold: declared.zero_threshold.max(ZERO_THRESHOLD_MIN),
            grid: Grid::new(schema),
            edges: spec.buckets.iter().copied().take(BUCKETS_MAX).collect(),
            fine: Blocks::new(0),
            coarse: coarse.map(|by| Blocks::new(by as u32)).collect(),
            create: Mutex::new(()),
        }
    }

    fn layout(&self) -> Vec<CellKind> {
        let mut layout = vec![CellKind::Sequence, CellKind::Float, CellKind::Int];
        layout.resize(CLASSIC as usize + self.classic_len(), CellKind::Int);
        layout
    }

    fn classic_len(&self) -> usize {
        if self.edges.is_empty() { 0 } else { self.edges.len() + 1 }
    }
}

impl Core {
    #[inline(always)]
    fn series(&self, index: usize) -> &Arc<Series> {
        match self.series.get(index).map(OnceLock::get) {
            Some(Some(series)) => series,
            _ => self.create(index),
        }
    }

    #[cold]
    #[inline(never)]
    fn create(&self, index: usize) -> &Arc<Series> {
        let Some(place) = self.series.get(index) else { return &self.sink };
        place.get_or_init(|| {
            let base = slab::allocate(&self.shared.layout());
            self.len.fetch_add(1, Ordering::Release);
            Arc::new(Series::new(&self.shared, index, base))
        })
    }
}

impl<L: LabelSet> NativeHistogram<L> {
    /// The histogram of these labels, which is exposed from now on.
    #[inline(always)]
    pub fn at(&self, labels: L) -> NativeHistogramHandle<'_> {
        NativeHistogramHandle { series: Keep::Borrowed(self.core.series(labels.index())) }
    }

    /// Exposes every combination of label values known by now, empty until something is observed.
    pub fn expose_all(&self) {
        let known = (0..self.core.series.len()).filter(|index| L::values_at(*index).is_some());
        known.for_each(|index| {
            self.core.series(index);
        });
    }
}

impl NativeHistogram<()> {
    /// Starts timing; see [`NativeHistogramHandle::start`].
    #[inline]
    pub fn start(&self) -> Timing<'_, NativeHistogramHandle<'_>> {
        self.at(()).start()
    }
}

impl<'a> NativeHistogramHandle<'a> {
    /// Counts one value, in the family's unit.
    ///
    /// NaN and the infinities are left out and counted in `tradewatch_sdk_rejected_values_total{metric="…"}`.
    #[inline]
    pub fn observe(&self, value: f64) {
        let series = &*self.series;
        let shared = &*series.shared;
        let size = value.abs();
        let bucket = if size <= shared.zero_threshold {
            Some(series.base + ZERO)
        } else if size.is_finite() {
            series.cell(shared.grid.key(size), value < 0.0)
        } else {
            return shared.head.reject();
        };
        // Without a cell for the bucket the value must not be in the sum either.
        let Some(bucket) = bucket else { return slab::observe(slab::SINK, 0, value) };
        let edges = &shared.edges;
        let classic = (!edges.is_empty()).then(|| CLASSIC + bucket_of(edges, value) as u32);
        slab::observe_apart(series.base, bucket, classic, value);
    }

    /// Counts one value and keeps it as an example, with the trace that leads to it: the last one of eight ranges
    /// of buckets is shown.
    ///
    /// # Cost
    /// Some 50 ns more than [`NativeHistogramHandle::observe`], most of it the time of day. It never waits: while
    /// another thread keeps an example in the same place, this one is left out.
    pub fn observe_with_exemplar(&self, value: f64, exemplar: &Exemplar) {
        self.observe(value);
        let shared = &*self.series.shared;
        if !exemplar.is_valid() {
            shared.head.reject_exemplar();
        } else if value.is_finite() {
            // Octaves next to each other have places of their own.
            let place = (value.to_bits() >> 52) as usize % EXEMPLARS;
            shared.exemplars.keep(self.series.index as usize, place, exemplar, value, shared.wall.millis());
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
    pub fn start(&self) -> Timing<'a, NativeHistogramHandle<'a>> {
        Timing::start(self.clone())
    }

    /// What the histogram holds now; waits for a scrape in progress. For tests and reports.
    ///
    /// `None` if a thread was in the middle of an observation for too long (descheduled, say).
    pub fn snapshot(&self) -> Option<NativeSnapshot> {
        let mut reading = Reading::default();
        reading.read(&self.series, &Scrape::begin()).then_some(reading.snapshot)
    }

    /// A handle that may be kept and sent anywhere; it stays valid as long as it is held.
    pub fn into_owned(self) -> NativeHistogramHandle<'static> {
        NativeHistogramHandle { series: self.series.into_owned() }
    }
}

impl Timed for NativeHistogramHandle<'_> {
    #[inline]
    fn observe(&self, value: f64) {
        NativeHistogramHandle::observe(self, value);
    }

    #[inline]
    fn now(&self) -> Moment {
        self.series.shared.clock.now()
    }

    #[inline]
    fn since(&self, start: Moment) -> Span {
        self.series.shared.clock.since(start)
    }
}

impl<L: LabelSet> Clone for NativeHistogram<L> {
    fn clone(&self) -> Self {
        NativeHistogram { core: Arc::clone(&self.core), bare: self.bare.clone(), labels: PhantomData }
    }
}

impl Deref for NativeHistogram<()> {
    type Target = NativeHistogramHandle<'static>;
    #[inline(always)]
    fn deref(&self) -> &NativeHistogramHandle<'static> {
        &self.bare
    }
}

impl<L: LabelSet> Instrument for NativeHistogram<L> {
    fn descriptor(spec: &Spec<'_>, service: Option<String>) -> Descriptor {
        descriptor(spec, MetricKind::Histogram, L::describe(), service)
    }

    fn create(batch: &mut Batch<'_>, spec: &Spec<'_>) -> Self {
        let (head, cardinality) = head::<L>(batch, Self::descriptor(spec, batch.service()));
        let clocks = (batch.clock(), batch.wall());
        let shared = Arc::new(Shared::new(head, cardinality, clocks, spec));
        let sink = Arc::new(Series::new(&shared, 0, slab::SINK));
        let (lines, reading) = (Lines::bare(), Reading::default());
        let encoder = Mutex::new(Encoder { lines, reading, kept: Vec::new(), exemplars: Vec::new() });
        let les = Le::all(L::LEN > 0, &shared.edges);
        let series = (0..cardinality).map(|_| OnceLock::new()).collect();
        let core = Arc::new(Core { shared, series, len: AtomicUsize::new(0), sink, les, encoder });
        batch.push(Arc::clone(&core) as Arc<dyn Family>);
        let bare = if L::LEN == 0 { core.series(0) } else { &core.sink };
        let bare = NativeHistogramHandle { series: Keep::Owned(Arc::clone(bare)) };
        NativeHistogram { core, bare, labels: PhantomData }
    }
}

/// What the encoder keeps from one scrape to the next.
struct Encoder {
    lines: Lines,
    reading: Reading,
    /// The exemplars of a series, and those of its classic buckets.
    kept: Vec<Option<Shown>>,
    exemplars: Vec<Option<Shown>>,
}

/// Reads one series after the other, keeping its memory.
#[derive(Default)]
struct Reading {
    snapshot: NativeSnapshot,
    /// What is being read of one thread, then of all: by grid, sign and bucket.
    part: Part,
    all: Vec<(u32, bool, i32, u64)>,
}

#[derive(Default)]
struct Part {
    sum: f64,
    zero: u64,
    classic: Vec<u64>,
    buckets: Vec<(u32, bool, i32, u64)>,
}

impl Reading {
    fn read(&mut self, series: &Series, scrape: &Scrape) -> bool {
        let shared = &*series.shared;
        self.clear(shared);
        let read = |reading: &mut Reading, cells: &ThreadCells<'_>| reading.part.read(series, cells);
        if !scrape.each_thread(series.base, self, read, Reading::take) {
            return false;
        }
        let Reading { snapshot, all, .. } = self;
        let by = all.iter().map(|(by, ..)| *by).max().unwrap_or(0);
        snapshot.schema = shared.schema - by as i8;
        for entry in all.iter_mut() {
            entry.2 = grid::coarser(entry.2, by - entry.0);
        }
        all.sort_unstable_by_key(|(_, negative, key, _)| (*negative, *key));
        for same in all.chunk_by(|a, b| (a.1, a.2) == (b.1, b.2)) {
            let count = same.iter().fold(0u64, |sum, entry| sum.wrapping_add(entry.3));
            let side = if same[0].1 { &mut snapshot.negative } else { &mut snapshot.positive };
            side.push((same[0].2, count));
            snapshot.count = snapshot.count.wrapping_add(count);
        }
        true
    }

    fn clear(&mut self, shared: &Shared) {
        let Reading { snapshot, all, .. } = self;
        all.clear();
        snapshot.zero_threshold = shared.zero_threshold;
        (snapshot.zero_count, snapshot.count, snapshot.sum) = (0, 0, 0.0);
        snapshot.positive.clear();
        snapshot.negative.clear();
        snapshot.classic.clear();
        snapshot.classic.resize(shared.classic_len(), 0);
    }

    /// Adds what was read of one thread.
    fn take(&mut self) {
        let Reading { snapshot, part, all } = self;
        snapshot.sum += part.sum;
        snapshot.zero_count = snapshot.zero_count.wrapping_add(part.zero);
        snapshot.count = snapshot.count.wrapping_add(part.zero);
        for (total, one) in snapshot.classic.iter_mut().zip(&part.classic) {
            *total = total.wrapping_add(*one);
        }
        all.extend_from_slice(&part.buckets);
    }
}

impl Part {
    fn read(&mut self, series: &Series, cells: &ThreadCells<'_>) {
        let base = series.base;
        self.sum = f64::from_bits(cells.load(base + 1));
        self.zero = cells.load(base + ZERO);
        self.classic.clear();
        let classic = 0..series.shared.classic_len() as u32;
        self.classic.extend(classic.map(|at| cells.load(base + CLASSIC + at)));
        self.buckets.clear();
        for (by, tag, slot) in series.blocks() {
            let (first, negative) = untag(tag);
            let counts = (0..BLOCK as u32).map(|at| (first + at as i32, cells.load(slot + at)));
            self.buckets.extend(
                counts.filter(|(_, count)| *count > 0).map(|(key, count)| (by, negative, key, count)),
            );
        }
    }
}

impl Family for Core {
    fn head(&self) -> &Head {
        &self.shared.head
    }

    /// In text there are only classic buckets: those of the edges, or none but `+Inf`.
    ///
    /// A series that a thread is caught writing to for too long is left out of this scrape.
    fn encode(&self, page: &mut Page<'_>) {
        let mut encoder = self.encoder.lock().unwrap_or_else(PoisonError::into_inner);
        let Encoder { lines, reading, kept, exemplars } = &mut *encoder;
        let known = self.series.iter().enumerate();
        let entries =
            || known.filter_map(|(index, series)| Some(Entry { index, slot: series.get()?.base, born: 0 }));
        let shared = &*self.shared;
        lines.refresh(self.len.load(Ordering::Acquire), entries, &shared.head, page.is_proto());
        let names = &shared.head.names;
        let family = page.begin(names);
        for at in 0..lines.len() {
            let index = lines.get(at).index;
            let Some(series) = self.series[index].get().filter(|series| reading.read(series, page.scrape))
            else {
                continue;
            };
            let snapshot = &reading.snapshot;
            if lines.is_idle(at, snapshot.count, page.now, shared.head.expires) {
                continue;
            }
            let (line, created) = (lines.get(at), series.created);
            shared.exemplars.read_all(index, kept);
            if page.is_proto() {
                page.native(&line, snapshot, &self.les, created, kept);
                continue;
            }
            let (whole, classic) = ([snapshot.count], snapshot.classic.as_slice());
            let counts = if classic.is_empty() { &whole } else { classic };
            exemplars.clear();
            exemplars.resize_with(counts.len(), || None);
            for exemplar in kept.drain(..).flatten() {
                let place = &mut exemplars[bucket_of(&shared.edges, exemplar.value())];
                let newer = place.as_ref().is_none_or(|known| known.millis() <= exemplar.millis());
                if newer {
                    *place = Some(exemplar);
                }
            }
            let sum = snapshot.sum;
            page.histogram(names, &line, &Buckets { les: &self.les, counts, sum, created, exemplars });
        }
        page.end(family);
    }
}
