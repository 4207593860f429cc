//! Native histograms: buckets of equal ratio without edges to choose, taken as values arrive.
//!
//! A family declares a schema; eight neighbouring buckets are one block of cells. Which blocks exist is kept for
//! the family, in a table of [`BLOCKS`] places; a series takes the cells of a block when its first value lands
//! there. When a family's table is full, what lies outside it is counted on a grid three schemas coarser (eight
//! buckets become one), in a table of its own, and so on down to schema -4, whose table holds every number there
//! is. A series that has such values is exposed at the coarsest of its schemas; no value is moved, lost or put
//! where it does not belong.

mod blocks;
mod grid;

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Moment, Span, Wall};
use crate::descriptor::{Descriptor, MetricKind, NativeBuckets};
use crate::encode::{Buckets, Entry, Le, Lines, Page};
use crate::exemplar::{Exemplar, Exemplars, Shown};
use crate::guard::{Timed, Timing};
use crate::histogram::Edges;
use crate::instrument::{Instrument, descriptor, head};
use crate::label::LabelSet;
use crate::registry::{Batch, Family, Head, Spec};
use crate::series::Keep;
use crate::slab::{self, CellKind, Scrape, ThreadCells};

use blocks::{BLOCKS, Blocks};
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
const BLOCK: usize = slab::BLOCK_CELLS;
const BLOCK_BITS: u32 = BLOCK.trailing_zeros();
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
    /// The bits of the smallest size that is not zero, and how many there are up to infinity; none if the family
    /// has classic buckets too, or buckets so wide that its keys are made otherwise.
    quick_from: u64,
    quick_span: u64,
    is_classic: bool,
    grid: Grid,
    edges: Edges,
    fine: Blocks,
    /// The coarser grids, each for what found no place on the one before it.
    coarse: Box<[Blocks]>,
    /// Held while a series takes cells.
    create: Mutex<()>,
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
fn tag(block: i32, negative: bool) -> u32 {
    (block.wrapping_add(TAG_BIAS) as u32) << 1 | u32::from(negative)
}

/// The first bucket of the block and whether it is below zero.
fn untag(tag: u32) -> (i32, bool) {
    (((tag >> 1) as i32 - TAG_BIAS) << BLOCK_BITS, tag & 1 == 1)
}

const TAG_BIAS: i32 = 1 << 20;

/// What a place holds: nothing (0), or the number of a block of cells and, in the high bits, what tells apart the
/// blocks of keys that are looked for first in the same place.
const CELLS_BITS: u32 = 19;
const CELLS: u32 = (1 << CELLS_BITS) - 1;
/// Of a block that is not in the place where it is looked for first.
const FOREIGN: u32 = u32::MAX >> CELLS_BITS;

/// Where a block of keys is looked for first: neighbours have places of their own, and those of numbers below
/// zero begin half way.
#[inline(always)]
fn home(block: u32, value: f64) -> usize {
    const HALF: u32 = BLOCKS as u32 / 2;
    let sign = (value.to_bits() >> (63 - HALF.trailing_zeros())) as u32 & HALF;
    ((block ^ sign) & (BLOCKS as u32 - 1)) as usize
}

/// What the high bits of a place say of a block that is at home there: never 0, since the keys of sizes that are
/// not zero are large.
#[inline(always)]
fn mark(block: u32) -> u32 {
    block >> BLOCKS.trailing_zeros()
}

impl Series {
    fn new(shared: &Arc<Shared>, index: usize, base: u32) -> Series {
        let fine = [const { AtomicU32::new(0) }; BLOCKS];
        let (shared, created) = (Arc::clone(shared), shared.wall.millis());
        Series { shared, index: index as u32, created, base, fine, coarse: OnceLock::new() }
    }

    /// The cell of a value's bucket, if its block is where it is looked for first.
    #[inline(always)]
    fn cell(&self, value: f64) -> Option<u32> {
        let key = self.shared.grid.quick_key(value);
        let block = key >> BLOCK_BITS;
        // Acquire: the cells were zeroed (if used before) ahead of the place's publication.
        let place = self.fine[home(block, value)].load(Ordering::Acquire);
        // Without the mark there is left what is below it, if it was that mark.
        let cells = place ^ mark(block) << CELLS_BITS;
        (cells <= CELLS).then_some(cells << BLOCK_BITS | key & (BLOCK as u32 - 1))
    }

    /// The cell of a bucket that is not where it is looked for first; in the sink if no cells are left.
    fn cell_elsewhere(&self, value: f64) -> u32 {
        let shared = &*self.shared;
        let key = shared.grid.key(value);
        let (finest, negative) = shared.grid.index(key);
        let home = home(key >> BLOCK_BITS, value);
        let grids = std::iter::once(&shared.fine).chain(&shared.coarse);
        let found = grids.enumerate().find_map(|(level, blocks)| {
            let index = grid::coarser(finest, blocks.by);
            let tag = tag(index >> BLOCK_BITS, negative);
            let first = if level == 0 { home } else { (tag >> 1) as usize };
            Some((level, index, blocks.find(tag, first)?))
        });
        let Some((level, index, at)) = found else { return slab::SINK };
        let (places, mark) = match level.checked_sub(1) {
            None if at == home && shared.has_marks() => (&self.fine, mark(key >> BLOCK_BITS)),
            None => (&self.fine, FOREIGN),
            Some(level) => (&self.coarse.get_or_init(|| coarse_places(shared.coarse.len()))[level], FOREIGN),
        };
        match self.take(&places[at], mark) {
            slab::SINK => slab::SINK,
            slot => slot | index as u32 & (BLOCK as u32 - 1),
        }
    }

    /// The cells of a block, taken if the series has none there; the sink if there are no more.
    fn take(&self, place: &AtomicU32, mark: u32) -> u32 {
        let known = || (place.load(Ordering::Acquire) & CELLS) << BLOCK_BITS;
        if known() != slab::SINK || self.base == slab::SINK {
            return known();
        }
        let _lock = self.shared.create.lock().unwrap_or_else(PoisonError::into_inner);
        if known() != slab::SINK {
            return known();
        }
        let slot = slab::allocate_block();
        if slot != slab::SINK {
            place.store(slot >> BLOCK_BITS | mark << CELLS_BITS, Ordering::Release);
        }
        slot
    }

    /// What is not an ordinary value in a block that is in its place, or has classic buckets beside it.
    #[inline(never)]
    extern "C" fn observe_slowly(&self, value: f64) {
        let shared = &*self.shared;
        if !value.is_finite() {
            return shared.head.reject();
        }
        let here = || shared.has_marks().then(|| self.cell(value)).flatten();
        let bucket = if value.abs() <= shared.zero_threshold {
            self.base + ZERO
        } else {
            here().unwrap_or_else(|| self.cell_elsewhere(value))
        };
        if bucket == slab::SINK {
            // Without a cell for the bucket the value must not be in the sum either.
            return slab::observe(slab::SINK, 0, value);
        }
        let classic = if shared.is_classic { CLASSIC + shared.edges.bucket(value) as u32 } else { 0 };
        slab::observe_apart(self.base, bucket, classic, value);
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
                let slot = (place.load(Ordering::Acquire) & CELLS) << BLOCK_BITS;
                (slot != slab::SINK).then(|| (blocks.by, tag.load(Ordering::Relaxed), slot))
            })
        })
    }
}

fn coarse_places(len: usize) -> Box<[Places]> {
    (0..len).map(|_| [const { AtomicU32::new(0) }; BLOCKS]).collect()
}

impl Drop for Series {
    fn drop(&mut self) {
        // The last handle is gone, so nobody writes to these cells any more.
        let blocks: Vec<u32> = self.blocks().map(|(_, _, slot)| slot).collect();
        slab::release_blocks(blocks.into_iter());
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
        let zero_threshold = declared.zero_threshold.clamp(ZERO_THRESHOLD_MIN, f64::MAX);
        let quick_from = zero_threshold.to_bits() + 1;
        let is_quick = spec.buckets.is_empty() && schema >= 0;
        let grid = Grid::new(schema);
        Shared {
            head,
            clock,
            wall,
            exemplars: Exemplars::new(cardinality, EXEMPLARS),
            schema,
            zero_threshold,
            quick_from,
            quick_span: if is_quick { f64::INFINITY.to_bits() - quick_from } else { 0 },
            is_classic: !spec.buckets.is_empty(),
            grid,
            edges: Edges::new(spec.buckets),
            fine: Blocks::new(0),
            coarse: coarse.map(|by| Blocks::new(by as u32)).collect(),
            create: Mutex::new(()),
        }
    }

    /// Whether blocks can be told apart by their marks: not where a sign is one of the lowest bits of a key.
    fn has_marks(&self) -> bool {
        self.schema >= 0
    }

    fn layout(&self) -> Vec<CellKind> {
        let mut layout = vec![CellKind::Sequence, CellKind::Float, CellKind::Int];
        layout.resize(CLASSIC as usize + self.classic_len(), CellKind::Int);
        layout
    }

    fn classic_len(&self) -> usize {
        match self.edges.as_slice().len() {
            0 => 0,
            edges => edges + 1,
        }
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
        NativeHistogramHandle { series: Keep::borrowed(self.core.series(labels.index())) }
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
    #[inline(always)]
    pub fn observe(&self, value: f64) {
        let series = &*self.series;
        let shared = &*series.shared;
        // Sizes as bits are in the order of the numbers: one comparison for zero, infinity and NaN.
        let size = value.abs().to_bits();
        if size.wrapping_sub(shared.quick_from) < shared.quick_span
            && let Some(bucket) = series.cell(value)
        {
            return slab::observe_apart(series.base, bucket, 0, value);
        }
        series.observe_slowly(value);
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
        let (head, cardinality) = head::<L>(batch, spec, Self::descriptor(spec, batch.service()));
        let clocks = (batch.clock(), batch.wall());
        let shared = Arc::new(Shared::new(head, cardinality, clocks, spec));
        let sink = Arc::new(Series::new(&shared, 0, slab::SINK));
        let (lines, reading) = (Lines::bare(), Reading::default());
        let encoder = Mutex::new(Encoder { lines, reading, kept: Vec::new(), exemplars: Vec::new() });
        let les = Le::all(L::LEN > 0, shared.edges.as_slice());
        let series = (0..cardinality).map(|_| OnceLock::new()).collect();
        let core = Arc::new(Core { shared, series, len: AtomicUsize::new(0), sink, les, encoder });
        batch.push(Arc::clone(&core) as Arc<dyn Family>);
        let bare = if L::LEN == 0 { core.series(0) } else { &core.sink };
        let bare = NativeHistogramHandle { series: Keep::owned(Arc::clone(bare)) };
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

    fn observe(&self, index: usize, value: f64) -> bool {
        NativeHistogramHandle { series: Keep::borrowed(self.series(index)) }.observe(value);
        true
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
        let mut overflowed = 0u64;
        for at in 0..lines.len() {
            let index = lines.get(at).index;
            let Some(series) = self.series[index].get().filter(|series| reading.read(series, page.scrape))
            else {
                continue;
            };
            let snapshot = &reading.snapshot;
            if lines.overflows().any(|overflow| overflow == at) {
                overflowed = overflowed.wrapping_add(snapshot.count);
            }
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
                let place = &mut exemplars[shared.edges.bucket(exemplar.value())];
                let newer = place.as_ref().is_none_or(|known| known.millis() <= exemplar.millis());
                if newer {
                    *place = Some(exemplar);
                }
            }
            let sum = snapshot.sum;
            page.histogram(names, &line, &Buckets { les: &self.les, counts, sum, created, exemplars });
        }
        page.end(family);
        shared.head.overflowed.store(overflowed, Ordering::Relaxed);
    }
}
