//! The cells that counters and histograms write to: a slab for each thread, one writer for each cell.
//!
//! Why: an atomic read-modify-write on a shared line costs 2 ns alone and 8 to 50 ns under contention; a
//! load and a store to a cell that only this thread writes costs 0.5 ns and never contends. A scrape sums a
//! cell over all slabs.
//!
//! Memory is bounded by the machine and not by the number of threads: beyond two threads a core, a thread
//! shares one of as many shards as there are cores and adds atomically (some 10 ns). A thread that ends leaves
//! its values behind: the next thread continues on its slab, or the next scrape adds them to the retired slab
//! and frees the memory.
//!
//! Slots are numbered across the process, so one thread-local pointer serves every registry. A slot range is
//! owned by the family that allocated it and returns to the free list (zeroed in every slab) when the family,
//! its registry and every handle are gone.
//!
//! Invariants:
//! - A slab that is `IN_USE` is written by exactly one thread, that which leased it. A `SHARED` slab is written
//!   by atomic read-modify-write only.
//! - Chunks are freed only by `Scrape::fold`, under the scrape lock, while their slab is `FOLDING`: then no
//!   thread leases it and no reader runs. Those of shared slabs are never freed.
//! - A writer never waits: the scrape lock is taken by scrapes, by families that end, and by nothing else.

mod cells;

use std::cell::Cell;
use std::collections::BTreeMap;

pub(crate) use cells::{BLOCK_CELLS, CellKind, RANGE_CELLS_MAX};
use cells::{
    CHUNK_CELLS, CHUNKS_MAX, Chunk, SHARED, SINK_CELLS, Slab, add_float, add_float_shared, add_int,
    in_one_step, in_one_step_shared, observe_own, observe_shared, read_histogram, undisturbed,
};

use crate::sync::{AtomicU64, AtomicUsize, Mutex, MutexGuard, OnceLock, Ordering, PoisonError};

/// Slot of the sink. In slot tables it also means "no slot yet".
pub(crate) const SINK: u32 = 0;
/// Head of the list of all slabs: receives the values of ended threads, written under the scrape lock.
static RETIRED: Slab = Slab::new(SHARED);
/// Second slab of the list: for writers that run after their thread's slab was given back.
static ORPHANS: Slab = Slab::new(SHARED);
/// Held by whoever reads cells of all threads; the list is the slabs that have any, kept for its memory.
static SCRAPE_LOCK: Mutex<Vec<&'static Slab>> = Mutex::new(Vec::new());
static ALLOCATOR: Mutex<Allocator> = Mutex::new(Allocator::new());

thread_local! {
    /// This thread's own slab; `None` before the first touch, after the thread's end, and for a thread that
    /// shares. Has no destructor and a constant start, so that reading it is one load.
    static SLAB: Cell<Option<&'static Slab>> = const { Cell::new(None) };
    /// Gives the slab back when the thread ends.
    static LEASE: Lease = Lease(lease());
}

struct Lease(&'static Slab);

impl Drop for Lease {
    fn drop(&mut self) {
        SLAB.set(None);
        self.0.give_back();
    }
}

/// Every slab there is, the retired one first.
fn slabs() -> impl Iterator<Item = &'static Slab> {
    let _ = RETIRED.next.get_or_init(|| &ORPHANS);
    std::iter::successors(Some(&RETIRED), |slab| slab.next.get().copied())
}

/// How many threads have a slab of their own, and how many slabs the others share.
fn shares() -> (usize, usize) {
    static SHARES: OnceLock<(usize, usize)> = OnceLock::new();
    *SHARES.get_or_init(|| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        (2 * cores, cores)
    })
}

/// A slab for a new thread: that of an ended one, values included (they are summed all the same), else a
/// fresh one, else one of those that are shared.
fn lease() -> &'static Slab {
    if let Some(slab) = slabs().find(|slab| slab.take()) {
        return slab;
    }
    let (own_max, shared_max) = shares();
    // Counted before they are made, so that threads that begin at once do not make more than there may be.
    static OWN: AtomicUsize = AtomicUsize::new(0);
    static SHARED_MADE: AtomicUsize = AtomicUsize::new(0);
    static TURN: AtomicUsize = AtomicUsize::new(0);
    if below(&OWN, own_max) {
        return append(Slab::in_use());
    }
    if below(&SHARED_MADE, shared_max) {
        return append(Slab::new(SHARED));
    }
    let turn = TURN.fetch_add(1, Ordering::Relaxed) % shared_max;
    // The retired slab and the orphans' are not leased. One that is counted may not be in the list yet.
    slabs().skip(2).filter(|slab| slab.is_shared()).nth(turn).unwrap_or(&ORPHANS)
}

/// Counts one more, unless there are `max` already.
fn below(count: &AtomicUsize, max: usize) -> bool {
    let more = |count: usize| (count < max).then_some(count + 1);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}

fn append(slab: Slab) -> &'static Slab {
    let slab: &'static Slab = Box::leak(Box::new(slab));
    let mut last = slabs().last().expect("the list has at least the retired slab");
    while last.next.set(slab).is_err() {
        last = last.next.get().expect("set failed, so there is a next");
    }
    slab
}

#[inline(always)]
fn own_chunk(slot: u32) -> Option<&'static Chunk> {
    SLAB.get()?.chunk(slot, Ordering::Relaxed)
}

/// The chunk for a write that found none of its own, and whether others write to it too.
fn chunk_cold(slot: u32) -> (&'static Chunk, bool) {
    let slab = LEASE.try_with(|lease| lease.0).unwrap_or(&ORPHANS);
    let shared = slab.is_shared();
    if !shared {
        SLAB.set(Some(slab));
    }
    (slab.chunk_or_new(slot), shared)
}

/// Adds to an integer cell of this thread.
#[inline(always)]
pub(crate) fn add(slot: u32, by: u64) {
    match own_chunk(slot) {
        Some(chunk) => add_int(chunk.cell(slot as usize), by),
        None => add_cold(slot, by),
    }
}

/// Adds 1 to an integer cell of this thread and returns what it held.
#[inline(always)]
pub(crate) fn next(slot: u32) -> u64 {
    match own_chunk(slot) {
        Some(chunk) => {
            let before = chunk.cell(slot as usize).load(Ordering::Relaxed);
            chunk.cell(slot as usize).store(before.wrapping_add(1), Ordering::Relaxed);
            before
        }
        None => next_cold(slot),
    }
}

/// Adds to a float cell of this thread.
#[inline(always)]
pub(crate) fn add_f64(slot: u32, by: f64) {
    match own_chunk(slot) {
        Some(chunk) => add_float(chunk.cell(slot as usize), by),
        None => add_f64_cold(slot, by),
    }
}

/// Counts `value` in `bucket` and adds it to the sum, as one step for a scrape.
#[inline(always)]
pub(crate) fn observe(slot: u32, bucket: usize, value: f64) {
    match own_chunk(slot) {
        Some(chunk) => observe_own(chunk, slot, bucket, value),
        None => observe_cold(slot, bucket, value),
    }
}

// The cold halves do not unwind: said by their ABI, so that callers need not keep what they would drop.
#[cold]
#[inline(never)]
extern "C" fn add_cold(slot: u32, by: u64) {
    let (chunk, shared) = chunk_cold(slot);
    let cell = chunk.cell(slot as usize);
    if shared {
        cell.fetch_add(by, Ordering::Relaxed);
    } else {
        add_int(cell, by);
    }
}

#[cold]
#[inline(never)]
extern "C" fn next_cold(slot: u32) -> u64 {
    // Its own cell or a shared one: an atomic addition is right for both, and this is not the fast path.
    chunk_cold(slot).0.cell(slot as usize).fetch_add(1, Ordering::Relaxed)
}

#[cold]
#[inline(never)]
extern "C" fn add_f64_cold(slot: u32, by: f64) {
    let (chunk, shared) = chunk_cold(slot);
    let cell = chunk.cell(slot as usize);
    if shared { add_float_shared(cell, by) } else { add_float(cell, by) }
}

#[cold]
#[inline(never)]
extern "C" fn observe_cold(slot: u32, bucket: usize, value: f64) {
    let (chunk, shared) = chunk_cold(slot);
    if shared { observe_shared(chunk, slot, bucket, value) } else { observe_own(chunk, slot, bucket, value) }
}

/// Counts `value` in the cell `bucket`, wherever that lies, and in the cell `classic` cells behind `head` unless
/// that is 0, and adds it to the sum of `head`; as one step for a scrape.
#[inline(always)]
pub(crate) fn observe_apart(head: u32, bucket: u32, classic: u32, value: f64) {
    let own = |slab: &'static Slab| {
        Some((slab.chunk(head, Ordering::Relaxed)?, slab.chunk(bucket, Ordering::Relaxed)?))
    };
    match SLAB.get().and_then(own) {
        Some((first, second)) => observe_apart_own(first, second, head, bucket, classic, value),
        None => observe_apart_cold(head, bucket, classic, value),
    }
}

#[inline(always)]
fn observe_apart_own(first: &Chunk, second: &Chunk, head: u32, bucket: u32, classic: u32, value: f64) {
    let base = head as usize;
    in_one_step(first.cell(base), || {
        add_float(first.cell(base + 1), value);
        add_int(second.cell(bucket as usize), 1);
        if classic != 0 {
            add_int(first.cell(base + classic as usize), 1);
        }
    });
}

#[cold]
#[inline(never)]
extern "C" fn observe_apart_cold(head: u32, bucket: u32, classic: u32, value: f64) {
    let (first, shared) = chunk_cold(head);
    let (second, _) = chunk_cold(bucket);
    if !shared {
        return observe_apart_own(first, second, head, bucket, classic, value);
    }
    let base = head as usize;
    in_one_step_shared(first.cell(base), || {
        add_float_shared(first.cell(base + 1), value);
        second.cell(bucket as usize).fetch_add(1, Ordering::Relaxed);
        if classic != 0 {
            first.cell(base + classic as usize).fetch_add(1, Ordering::Relaxed);
        }
    });
}

/// The layout of a histogram's range: sequence, sum, then one cell for each bucket.
pub(crate) fn histogram_layout(buckets: usize) -> Vec<CellKind> {
    let mut layout = vec![CellKind::Sequence, CellKind::Float];
    layout.resize(2 + buckets, CellKind::Int);
    layout
}

/// The right to read cells of all threads. One at a time in a process.
pub(crate) struct Scrape(MutexGuard<'static, Vec<&'static Slab>>);

impl Scrape {
    /// Waits for another scrape to end, then takes in the values of threads that ended.
    pub(crate) fn begin() -> Scrape {
        let mut live = SCRAPE_LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        slabs().for_each(|slab| fold(&live, slab));
        // A slab that gets its first cells after this is read by the next scrape.
        live.clear();
        live.extend(slabs().filter(|slab| !slab.is_empty()));
        Scrape(live)
    }

    fn chunks(&self, slot: u32) -> impl Iterator<Item = &Chunk> {
        self.0.iter().filter_map(move |slab| slab.chunk(slot, Ordering::Acquire))
    }

    /// The sum of an integer cell over all threads, wrapping.
    pub(crate) fn sum(&self, slot: u32) -> u64 {
        self.chunks(slot)
            .fold(0, |sum, chunk| sum.wrapping_add(chunk.cell(slot as usize).load(Ordering::Relaxed)))
    }

    /// The sum of a float cell over all threads.
    pub(crate) fn sum_f64(&self, slot: u32) -> f64 {
        self.chunks(slot).map(|chunk| f64::from_bits(chunk.cell(slot as usize).load(Ordering::Relaxed))).sum()
    }

    /// Adds the buckets of a histogram over all threads to `counts` and returns their sum.
    ///
    /// `None` if a thread was in the middle of an observation for too long (descheduled, say); `counts` is
    /// then without meaning and the caller keeps what it had.
    pub(crate) fn histogram(&self, slot: u32, counts: &mut [u64]) -> Option<f64> {
        counts.fill(0);
        let mut sum = 0.0;
        for chunk in self.chunks(slot) {
            sum += read_histogram(chunk, slot, counts)?;
        }
        Some(sum)
    }

    /// Shows `read` the cells of each thread that has some at `head`, the first of which is a sequence, until it
    /// has seen them from between two observations; then calls `take`, once for each thread.
    ///
    /// False if a thread was in the middle of an observation for too long; what was taken is then incomplete.
    pub(crate) fn each_thread<S>(
        &self,
        head: u32,
        state: &mut S,
        read: impl Fn(&mut S, &ThreadCells<'_>),
        take: impl Fn(&mut S),
    ) -> bool {
        self.0.iter().all(|slab| {
            let Some(chunk) = slab.chunk(head, Ordering::Acquire) else { return true };
            let whole = undisturbed(chunk.cell(head as usize), || read(state, &ThreadCells(slab)));
            if whole {
                take(state);
            }
            whole
        })
    }
}

/// The cells of one thread, as a scrape reads them.
pub(crate) struct ThreadCells<'a>(&'a Slab);

impl ThreadCells<'_> {
    /// What a cell holds; 0 if the thread never wrote near it.
    pub(crate) fn load(&self, slot: u32) -> u64 {
        let chunk = self.0.chunk(slot, Ordering::Acquire);
        chunk.map_or(0, |chunk| chunk.cell(slot as usize).load(Ordering::Relaxed))
    }
}

/// Adds the cells of a slab without a thread to the retired slab and frees their memory. The list stands for
/// the scrape lock.
fn fold(_held: &MutexGuard<'static, Vec<&'static Slab>>, slab: &Slab) {
    if slab.is_empty() {
        return;
    }
    let allocator = ALLOCATOR.lock().unwrap_or_else(PoisonError::into_inner);
    slab.fold(&RETIRED, &allocator.kinds);
}

struct Allocator {
    /// What each slot up to the highest ever given out holds.
    kinds: Vec<CellKind>,
    /// Ranges to give out again, by length.
    free: BTreeMap<usize, Vec<u32>>,
    /// Blocks to give out again.
    blocks: Vec<u32>,
}

impl Allocator {
    const fn new() -> Allocator {
        Allocator { kinds: Vec::new(), free: BTreeMap::new(), blocks: Vec::new() }
    }

    fn allocate(&mut self, layout: &[CellKind]) -> Option<u32> {
        assert!(layout.len() <= RANGE_CELLS_MAX, "families bound their edges before they ask for cells");
        let base = match self.free.get_mut(&layout.len()).and_then(Vec::pop) {
            Some(base) => base,
            None => self.extend(layout.len())?,
        };
        self.kinds[base as usize..base as usize + layout.len()].copy_from_slice(layout);
        Some(base)
    }

    /// A fresh range at the end, never across the border of two chunks.
    fn extend(&mut self, len: usize) -> Option<u32> {
        if self.kinds.is_empty() {
            self.kinds.resize(SINK_CELLS as usize, CellKind::Sequence);
        }
        let left = CHUNK_CELLS - self.kinds.len() % CHUNK_CELLS;
        self.skip(if left < len { left } else { 0 }, len)
    }

    /// A block of cells at the begin of a cache line.
    fn allocate_block(&mut self) -> Option<u32> {
        let base = match self.blocks.pop() {
            Some(base) => base,
            None => {
                // Several at once, so that few cells are left over between blocks and ranges.
                const CELLS: usize = 32 * BLOCK_CELLS;
                self.extend(0)?;
                let to_line = self.kinds.len().wrapping_neg() % BLOCK_CELLS;
                let left = CHUNK_CELLS - self.kinds.len() % CHUNK_CELLS;
                let base = self.skip(if left < to_line + CELLS { left } else { to_line }, CELLS)?;
                self.blocks.extend((1..32).rev().map(|block| base + (block * BLOCK_CELLS) as u32));
                base
            }
        };
        self.kinds[base as usize..][..BLOCK_CELLS].fill(CellKind::Int);
        Some(base)
    }

    /// A fresh range of `len` cells behind `skipped` ones, which are kept for small ranges.
    fn skip(&mut self, skipped: usize, len: usize) -> Option<u32> {
        if self.kinds.len() + skipped + len > CHUNK_CELLS * CHUNKS_MAX {
            return None;
        }
        for _ in 0..skipped {
            self.free.entry(1).or_default().push(self.kinds.len() as u32);
            self.kinds.push(CellKind::Int);
        }
        let base = self.kinds.len() as u32;
        self.kinds.resize(self.kinds.len() + len, CellKind::Int);
        Some(base)
    }
}

/// Series that got no cells since the process had used them up. What they count is lost.
pub(crate) static REFUSED: AtomicU64 = AtomicU64::new(0);

/// Takes a contiguous range of cells, zero in every thread; the sink if the process has used up its cells.
pub(crate) fn allocate(layout: &[CellKind]) -> u32 {
    let base = ALLOCATOR.lock().unwrap_or_else(PoisonError::into_inner).allocate(layout);
    base.unwrap_or_else(|| {
        REFUSED.fetch_add(1, Ordering::Relaxed);
        SINK
    })
}

/// Takes a block of [`BLOCK_CELLS`] integers at the begin of a cache line; the sink if there are no more.
pub(crate) fn allocate_block() -> u32 {
    let base = ALLOCATOR.lock().unwrap_or_else(PoisonError::into_inner).allocate_block();
    base.unwrap_or_else(|| {
        REFUSED.fetch_add(1, Ordering::Relaxed);
        SINK
    })
}

/// Gives blocks back, as [`release`] does with ranges.
pub(crate) fn release_blocks(blocks: impl Iterator<Item = u32>) {
    give_back(blocks, BLOCK_CELLS, |allocator, base| allocator.blocks.push(base));
}

/// Gives ranges back. The caller vouches that no handle to them is left, so that nobody writes to them.
pub(crate) fn release(ranges: impl Iterator<Item = u32>, len: usize) {
    give_back(ranges, len, |allocator, base| allocator.free.entry(len).or_default().push(base));
}

fn give_back(ranges: impl Iterator<Item = u32>, len: usize, keep: impl Fn(&mut Allocator, u32)) {
    let _scrape = SCRAPE_LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    for base in ranges {
        for slab in slabs() {
            let Some(chunk) = slab.chunk(base, Ordering::Acquire) else { continue };
            (0..len).for_each(|offset| chunk.cell(base as usize + offset).store(0, Ordering::Relaxed));
        }
        let mut allocator = ALLOCATOR.lock().unwrap_or_else(PoisonError::into_inner);
        keep(&mut allocator, base);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    struct EndOnDrop<'a>(&'a AtomicBool);

    impl Drop for EndOnDrop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn ranges_stay_in_their_chunk_and_are_given_out_again() {
        let mut allocator = Allocator::new();
        let layout = histogram_layout(100);
        let mut bases = Vec::new();
        while let Some(base) = allocator.allocate(&layout) {
            assert!(base >= SINK_CELLS && base as usize % CHUNK_CELLS + layout.len() <= CHUNK_CELLS);
            bases.push(base);
        }
        assert!(
            bases.len() > 40_000 && bases.windows(2).all(|pair| pair[1] - pair[0] >= layout.len() as u32)
        );
        // What was left over at the borders of chunks serves small ranges.
        assert!(allocator.allocate(&[CellKind::Float]).is_some());
        allocator.free.entry(layout.len()).or_default().push(bases[7]);
        assert_eq!(allocator.allocate(&layout), Some(bases[7]));
        assert_eq!(allocator.allocate(&layout), None);
    }

    /// Plain and shared writers on cells of one histogram leave sequences a reader understands.
    #[test]
    fn readers_see_observations_whole() {
        let (own, shared) = (Chunk::boxed(), Chunk::boxed());
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    observe_own(&own, 8, 1, 3.0);
                }
            });
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        observe_shared(&shared, 8, 1, 3.0);
                    }
                });
            }
            // Ends the writers however this ends, or a failure would hang the test.
            let _end = EndOnDrop(&done);
            // Until both kinds of writer have been at it for a while.
            let mut least = 0;
            while least < 100_000 {
                least = u64::MAX;
                for chunk in [&own, &shared] {
                    let mut counts = [0; 3];
                    if let Some(sum) = read_histogram(chunk, 8, &mut counts) {
                        assert_eq!((sum, counts[0], counts[2]), (3.0 * counts[1] as f64, 0, 0));
                    }
                    least = least.min(counts[1]);
                }
            }
        });
        let mut counts = [0; 3];
        assert!(
            read_histogram(&own, 8, &mut counts).is_some()
                && read_histogram(&shared, 8, &mut counts).is_some()
        );
    }
}
