//! The cells that counters and histograms write to: one slab for each thread, one writer for each cell.
//!
//! Why: an atomic read-modify-write on a shared line costs 2 ns alone and 8 to 50 ns under contention; a
//! load and a store to a cell that only this thread writes costs 0.5 ns and never contends. A scrape sums a
//! cell over all threads.
//!
//! Slots are numbered across the process, so one thread-local pointer serves every registry. A slot range is
//! owned by the family that allocated it and returns to the free list (zeroed in every slab) when the family,
//! its registry and every handle are gone.
//!
//! Invariants:
//! - A slab in state `IN_USE` is written by exactly one thread, that which leased it.
//! - Chunks are freed only by `Scrape::fold`, under the scrape lock, while the slab is `FOLDING`: then no thread
//!   leases it and no reader runs.
//! - A writer never waits: the scrape lock is taken by scrapes, by families that end, and by nothing else.

#![allow(unsafe_code)] // A zeroed allocation, a chunk pointer's dereference and its reclamation, each argued beside it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, Ordering, fence};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Cells in one chunk: 32 KiB, the unit in which a thread takes memory.
const CHUNK_CELLS: usize = 4096;
const CHUNK_BITS: u32 = CHUNK_CELLS.trailing_zeros();
/// Chunks in one slab. Four million cells for a process; beyond that new series go to the sink.
const CHUNKS_MAX: usize = 1024;
/// The first cells belong to nobody: a series that cannot get a slot writes here and is never read.
const SINK_CELLS: u32 = 512;
/// The largest contiguous range that may be allocated; not above `SINK_CELLS`.
pub(crate) const RANGE_CELLS_MAX: usize = SINK_CELLS as usize;
/// Slot of the sink. In slot tables it also means "no slot yet".
pub(crate) const SINK: u32 = 0;
/// How often a scrape re-reads a histogram that is being written before it keeps the previous values.
const READ_SPINS_MAX: u32 = 64;
const READ_YIELDS_MAX: u32 = 64;

const FREE: u8 = 0;
const IN_USE: u8 = 1;
const FOLDING: u8 = 2;
/// Written under a lock only: values of ended threads, and of threads whose thread-locals are gone.
const SHARED: u8 = 3;

/// What a cell holds, so that the values of an ended thread can be added to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CellKind {
    /// A `u64` that is summed, wrapping.
    Int,
    /// The bits of an `f64` that is summed.
    Float,
    /// The sequence number of a histogram's cells; means something only to its own thread.
    Sequence,
}

struct Chunk([AtomicU64; CHUNK_CELLS]);

impl Chunk {
    fn boxed() -> Box<Chunk> {
        // SAFETY: all bits zero is a valid `AtomicU64`, so it is a valid array of them. Zeroed memory fresh from
        // the system is not touched here: a thread pays for the pages it writes to.
        unsafe { Box::<Chunk>::new_zeroed().assume_init() }
    }

    #[inline(always)]
    fn cell(&self, offset: usize) -> &AtomicU64 {
        &self.0[offset & (CHUNK_CELLS - 1)]
    }
}

/// One thread's cells.
struct Slab {
    chunks: [AtomicPtr<Chunk>; CHUNKS_MAX],
    state: AtomicU8,
    next: OnceLock<&'static Slab>,
}

impl Slab {
    const fn new(state: u8) -> Slab {
        Slab {
            chunks: [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS_MAX],
            state: AtomicU8::new(state),
            next: OnceLock::new(),
        }
    }

    /// The chunk that holds `slot`, if this slab has one.
    #[inline(always)]
    fn chunk(&self, slot: u32, order: Ordering) -> Option<&Chunk> {
        let chunk = self.chunks[(slot >> CHUNK_BITS) as usize & (CHUNKS_MAX - 1)].load(order);
        // SAFETY: a non-null entry came from `Box::into_raw` in `chunk_or_new`. It is freed only in
        // `Scrape::fold`, which first moves the slab from FREE to FOLDING and holds the scrape lock. The callers
        // are (a) the thread that leases the slab, so the state is IN_USE and `fold` leaves it alone,
        // (b) holders of the scrape lock, who exclude `fold`, and (c) holders of the orphan lock on a SHARED
        // slab, which `fold` never frees.
        unsafe { chunk.as_ref() }
    }

    /// Like [`Slab::chunk`], taking memory if there is none. Only the slab's one writer calls this.
    #[cold]
    fn chunk_or_new(&self, slot: u32) -> &Chunk {
        if self.chunk(slot, Ordering::Acquire).is_none() {
            let fresh = Box::into_raw(Chunk::boxed());
            self.chunks[(slot >> CHUNK_BITS) as usize & (CHUNKS_MAX - 1)].store(fresh, Ordering::Release);
        }
        self.chunk(slot, Ordering::Acquire).expect("the entry was filled above and only `fold` empties it")
    }
}

/// Head of the list of all slabs: receives the values of ended threads, written under the scrape lock.
static RETIRED: Slab = Slab::new(SHARED);
/// Second slab of the list: for writers that run after their thread's slab was given back.
static ORPHANS: Slab = Slab::new(SHARED);
static ORPHANS_LOCK: Mutex<()> = Mutex::new(());
static SCRAPE_LOCK: Mutex<()> = Mutex::new(());
static ALLOCATOR: Mutex<Allocator> = Mutex::new(Allocator::new());

thread_local! {
    /// Has no destructor and a constant start, so that reading it is one load from thread-local memory.
    static SLAB: Cell<Option<&'static Slab>> = const { Cell::new(None) };
    /// Gives the slab back when the thread ends.
    static LEASE: Lease = Lease(lease());
}

struct Lease(&'static Slab);

impl Drop for Lease {
    fn drop(&mut self) {
        SLAB.set(None);
        // Release: whoever takes the slab over sees every value written by this thread.
        self.0.state.store(FREE, Ordering::Release);
    }
}

/// Every slab there is, the retired one first.
fn slabs() -> impl Iterator<Item = &'static Slab> {
    let _ = RETIRED.next.get_or_init(|| &ORPHANS);
    std::iter::successors(Some(&RETIRED), |slab| slab.next.get().copied())
}

/// Takes over the slab of an ended thread, its values included (they are summed all the same), or adds one.
fn lease() -> &'static Slab {
    let taken = |slab: &&Slab| {
        slab.state.compare_exchange(FREE, IN_USE, Ordering::Acquire, Ordering::Relaxed).is_ok()
    };
    if let Some(slab) = slabs().find(taken) {
        return slab;
    }
    let fresh: &'static Slab = Box::leak(Box::new(Slab::new(IN_USE)));
    let mut last = slabs().last().expect("the list has at least the retired slab");
    while last.next.set(fresh).is_err() {
        last = last.next.get().expect("set failed, so there is a next");
    }
    fresh
}

#[inline(always)]
fn own_chunk(slot: u32) -> Option<&'static Chunk> {
    SLAB.get()?.chunk(slot, Ordering::Relaxed)
}

/// Runs `write` on this thread's chunk, taking slab and memory if need be. The first touch only.
fn write_cold(slot: u32, write: impl Fn(&Chunk)) {
    match LEASE.try_with(|lease| lease.0) {
        Ok(slab) => {
            SLAB.set(Some(slab));
            write(slab.chunk_or_new(slot));
        }
        // The thread is past its thread-locals: one slab for all such writers, under a lock.
        Err(_) => {
            let _lock = ORPHANS_LOCK.lock().unwrap_or_else(PoisonError::into_inner);
            write(ORPHANS.chunk_or_new(slot));
        }
    }
}

// Functions of values, not closures: what a closure captures would be spilt on the hot path.
#[cold]
#[inline(never)]
fn add_cold(slot: u32, by: u64) {
    write_cold(slot, |chunk| add_int(chunk.cell(slot as usize), by));
}

#[cold]
#[inline(never)]
fn add_f64_cold(slot: u32, by: f64) {
    write_cold(slot, |chunk| add_float(chunk.cell(slot as usize), by));
}

#[cold]
#[inline(never)]
fn observe_cold(slot: u32, bucket: usize, value: f64) {
    write_cold(slot, |chunk| write_observation(chunk, slot, bucket, value));
}

#[inline(always)]
fn add_int(cell: &AtomicU64, by: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

#[inline(always)]
fn add_float(cell: &AtomicU64, by: f64) {
    let sum = f64::from_bits(cell.load(Ordering::Relaxed)) + by;
    cell.store(sum.to_bits(), Ordering::Relaxed);
}

/// Adds to an integer cell of this thread.
#[inline(always)]
pub(crate) fn add(slot: u32, by: u64) {
    match own_chunk(slot) {
        Some(chunk) => add_int(chunk.cell(slot as usize), by),
        None => add_cold(slot, by),
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

/// The layout of a histogram's range: sequence, sum, then one cell for each bucket.
pub(crate) fn histogram_layout(buckets: usize) -> Vec<CellKind> {
    let mut layout = vec![CellKind::Sequence, CellKind::Float];
    layout.resize(2 + buckets, CellKind::Int);
    layout
}

#[inline(always)]
fn write_observation(chunk: &Chunk, slot: u32, bucket: usize, value: f64) {
    let base = slot as usize;
    let sequence = chunk.cell(base);
    let before = sequence.load(Ordering::Relaxed);
    // Odd while the sum and the bucket do not belong together. The fence orders the odd number before the
    // values, the release store orders the values before the even one.
    sequence.store(before.wrapping_add(1), Ordering::Relaxed);
    fence(Ordering::Release);
    add_float(chunk.cell(base + 1), value);
    add_int(chunk.cell(base + 2 + bucket), 1);
    sequence.store(before.wrapping_add(2), Ordering::Release);
}

/// Counts `value` in `bucket` and adds it to the sum, as one step for a scrape.
#[inline(always)]
pub(crate) fn observe(slot: u32, bucket: usize, value: f64) {
    match own_chunk(slot) {
        Some(chunk) => write_observation(chunk, slot, bucket, value),
        None => observe_cold(slot, bucket, value),
    }
}

/// The right to read cells of all threads. One at a time in a process.
pub(crate) struct Scrape(#[allow(dead_code)] MutexGuard<'static, ()>);

impl Scrape {
    /// Waits for another scrape to end, then takes in the values of threads that ended.
    pub(crate) fn begin() -> Scrape {
        let scrape = Scrape(SCRAPE_LOCK.lock().unwrap_or_else(PoisonError::into_inner));
        scrape.fold();
        scrape
    }

    /// Adds the cells of slabs without a thread to the retired slab and frees their memory.
    fn fold(&self) {
        for slab in slabs() {
            let empty = slab.chunks.iter().all(|chunk| chunk.load(Ordering::Relaxed).is_null());
            if empty
                || slab.state.compare_exchange(FREE, FOLDING, Ordering::Acquire, Ordering::Relaxed).is_err()
            {
                continue;
            }
            let allocator = ALLOCATOR.lock().unwrap_or_else(PoisonError::into_inner);
            for (number, entry) in slab.chunks.iter().enumerate() {
                let chunk = entry.swap(ptr::null_mut(), Ordering::AcqRel);
                if chunk.is_null() {
                    continue;
                }
                // SAFETY: the pointer came from `Box::into_raw` and the swap took the only copy of it. The
                // state FOLDING keeps threads from leasing the slab, the scrape lock keeps readers away.
                let chunk = unsafe { Box::from_raw(chunk) };
                retire(&chunk, number, &allocator.kinds);
            }
            drop(allocator);
            slab.state.store(FREE, Ordering::Release);
        }
    }

    /// The sum of an integer cell over all threads, wrapping.
    pub(crate) fn sum(&self, slot: u32) -> u64 {
        let cells = slabs().filter_map(|slab| slab.chunk(slot, Ordering::Acquire));
        cells.fold(0, |sum, chunk| sum.wrapping_add(chunk.cell(slot as usize).load(Ordering::Relaxed)))
    }

    /// The sum of a float cell over all threads.
    pub(crate) fn sum_f64(&self, slot: u32) -> f64 {
        let cells = slabs().filter_map(|slab| slab.chunk(slot, Ordering::Acquire));
        cells.map(|chunk| f64::from_bits(chunk.cell(slot as usize).load(Ordering::Relaxed))).sum()
    }

    /// Adds the buckets of a histogram over all threads to `counts` and returns their sum.
    ///
    /// `None` if a thread was in the middle of an observation for too long (descheduled, say); `counts` is
    /// then without meaning and the caller keeps what it had.
    pub(crate) fn histogram(&self, slot: u32, counts: &mut [u64]) -> Option<f64> {
        counts.fill(0);
        let mut sum = 0.0;
        for chunk in slabs().filter_map(|slab| slab.chunk(slot, Ordering::Acquire)) {
            sum += read_histogram(chunk, slot, counts)?;
        }
        Some(sum)
    }
}

/// Adds one thread's buckets to `counts`, all from between two observations.
fn read_histogram(chunk: &Chunk, slot: u32, counts: &mut [u64]) -> Option<f64> {
    let base = slot as usize;
    let sequence = chunk.cell(base);
    let mut copy = [0u64; RANGE_CELLS_MAX];
    let copy = &mut copy[..counts.len()];
    for attempt in 0..READ_SPINS_MAX + READ_YIELDS_MAX {
        let before = sequence.load(Ordering::Acquire);
        let sum = chunk.cell(base + 1).load(Ordering::Relaxed);
        for (bucket, value) in copy.iter_mut().enumerate() {
            *value = chunk.cell(base + 2 + bucket).load(Ordering::Relaxed);
        }
        // Orders the reads above before the second look at the sequence.
        fence(Ordering::Acquire);
        if before.is_multiple_of(2) && sequence.load(Ordering::Relaxed) == before {
            counts.iter_mut().zip(copy.iter()).for_each(|(total, one)| *total = total.wrapping_add(*one));
            return Some(f64::from_bits(sum));
        }
        if attempt < READ_SPINS_MAX { std::hint::spin_loop() } else { std::thread::yield_now() }
    }
    None
}

fn retire(chunk: &Chunk, number: usize, kinds: &[CellKind]) {
    let first = number * CHUNK_CELLS;
    for (offset, cell) in chunk.0.iter().enumerate() {
        let value = cell.load(Ordering::Relaxed);
        let Some(kind) = kinds.get(first + offset) else { break };
        if value == 0 || *kind == CellKind::Sequence {
            continue;
        }
        let kept = RETIRED.chunk_or_new(first as u32).cell(offset);
        match kind {
            CellKind::Int => add_int(kept, value),
            CellKind::Float => add_float(kept, f64::from_bits(value)),
            CellKind::Sequence => {}
        }
    }
}

struct Allocator {
    /// What each slot up to the highest ever given out holds.
    kinds: Vec<CellKind>,
    /// Ranges to give out again, by length.
    free: BTreeMap<usize, Vec<u32>>,
}

impl Allocator {
    const fn new() -> Allocator {
        Allocator { kinds: Vec::new(), free: BTreeMap::new() }
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
        let skipped = if left < len { left } else { 0 };
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

/// Takes a contiguous range of cells, zero in every thread. `None` if the process has used up its cells.
pub(crate) fn allocate(layout: &[CellKind]) -> Option<u32> {
    ALLOCATOR.lock().unwrap_or_else(PoisonError::into_inner).allocate(layout)
}

/// Gives ranges back. The caller vouches that no handle to them is left, so that nobody writes to them.
pub(crate) fn release(ranges: impl Iterator<Item = u32>, len: usize) {
    let _scrape = SCRAPE_LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    for base in ranges {
        for slab in slabs() {
            let Some(chunk) = slab.chunk(base, Ordering::Acquire) else { continue };
            (0..len).for_each(|offset| chunk.cell(base as usize + offset).store(0, Ordering::Relaxed));
        }
        let mut allocator = ALLOCATOR.lock().unwrap_or_else(PoisonError::into_inner);
        allocator.free.entry(len).or_default().push(base);
    }
}
