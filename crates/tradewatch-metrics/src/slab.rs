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

#![allow(unsafe_code)] // A zeroed allocation, a chunk pointer's dereference and its reclamation, each argued beside it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};
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
const SHARED: u8 = 3;

/// A histogram's sequence counts the observations in progress in its low bits and those done above them, so
/// that one writer by plain stores and many by additions leave the same trace for a reader.
const BEGUN: u64 = 1;
const DONE: u64 = 1 << 16;
const IN_PROGRESS: u64 = DONE - 1;

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

/// The cells of one thread, or of those that share them.
struct Slab {
    chunks: [AtomicPtr<Chunk>; CHUNKS_MAX],
    /// How many chunks there are, so that a scrape passes over an empty slab at once.
    len: AtomicUsize,
    state: AtomicU8,
    next: OnceLock<&'static Slab>,
}

impl Slab {
    const fn new(state: u8) -> Slab {
        Slab {
            chunks: [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS_MAX],
            len: AtomicUsize::new(0),
            state: AtomicU8::new(state),
            next: OnceLock::new(),
        }
    }

    #[inline(always)]
    fn entry(&self, slot: u32) -> &AtomicPtr<Chunk> {
        &self.chunks[(slot >> CHUNK_BITS) as usize & (CHUNKS_MAX - 1)]
    }

    /// The chunk that holds `slot`, if this slab has one.
    #[inline(always)]
    fn chunk(&self, slot: u32, order: Ordering) -> Option<&Chunk> {
        let chunk = self.entry(slot).load(order);
        // SAFETY: a non-null entry came from `Box::into_raw` in `chunk_or_new`. It is freed only in
        // `Scrape::fold`, which first moves the slab from FREE to FOLDING and holds the scrape lock. The callers
        // are (a) the thread that leases the slab, so the state is IN_USE and `fold` leaves it alone,
        // (b) holders of the scrape lock, who exclude `fold`, and (c) writers of a SHARED slab, which `fold`
        // never touches. The reference is used within the call of (a) to (c) that asked for it.
        unsafe { chunk.as_ref() }
    }

    /// Like [`Slab::chunk`], taking memory if there is none. Only writers of the slab call this.
    fn chunk_or_new(&self, slot: u32) -> &Chunk {
        if self.chunk(slot, Ordering::Acquire).is_none() {
            let fresh = Box::into_raw(Chunk::boxed());
            let (empty, success, failure) = (ptr::null_mut(), Ordering::Release, Ordering::Relaxed);
            match self.entry(slot).compare_exchange(empty, fresh, success, failure) {
                Ok(_) => {
                    self.len.fetch_add(1, Ordering::Relaxed);
                }
                // SAFETY: another writer of this shared slab was first; `fresh` came from `into_raw` above and
                // nobody else has seen it.
                Err(_) => drop(unsafe { Box::from_raw(fresh) }),
            }
        }
        self.chunk(slot, Ordering::Acquire).expect("filled above, and not freed while it has writers")
    }
}

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
        // Release: whoever takes the slab over sees every value written by this thread. A shared slab stays.
        let _ = self.0.state.compare_exchange(IN_USE, FREE, Ordering::Release, Ordering::Relaxed);
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
    let take = |slab: &&Slab| {
        slab.state.compare_exchange(FREE, IN_USE, Ordering::Acquire, Ordering::Relaxed).is_ok()
    };
    if let Some(slab) = slabs().find(take) {
        return slab;
    }
    let (own_max, shared_max) = shares();
    let is_shared = |slab: &&Slab| slab.state.load(Ordering::Relaxed) == SHARED;
    // The retired slab and the orphans' are not leased.
    let shared = || slabs().skip(2).filter(is_shared);
    if slabs().skip(2).count() - shared().count() < own_max {
        return append(Slab::new(IN_USE));
    }
    static TURN: AtomicUsize = AtomicUsize::new(0);
    let turn = TURN.fetch_add(1, Ordering::Relaxed) % shared_max;
    shared().nth(turn).unwrap_or_else(|| append(Slab::new(SHARED)))
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
    let shared = slab.state.load(Ordering::Relaxed) == SHARED;
    if !shared {
        SLAB.set(Some(slab));
    }
    (slab.chunk_or_new(slot), shared)
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

fn add_float_shared(cell: &AtomicU64, by: f64) {
    let add = |bits| Some((f64::from_bits(bits) + by).to_bits());
    let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
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

#[cold]
#[inline(never)]
fn add_cold(slot: u32, by: u64) {
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
fn next_cold(slot: u32) -> u64 {
    // Its own cell or a shared one: an atomic addition is right for both, and this is not the fast path.
    chunk_cold(slot).0.cell(slot as usize).fetch_add(1, Ordering::Relaxed)
}

#[cold]
#[inline(never)]
fn add_f64_cold(slot: u32, by: f64) {
    let (chunk, shared) = chunk_cold(slot);
    let cell = chunk.cell(slot as usize);
    if shared { add_float_shared(cell, by) } else { add_float(cell, by) }
}

#[cold]
#[inline(never)]
fn observe_cold(slot: u32, bucket: usize, value: f64) {
    let (chunk, shared) = chunk_cold(slot);
    if shared { observe_shared(chunk, slot, bucket, value) } else { observe_own(chunk, slot, bucket, value) }
}

#[inline(always)]
fn observe_own(chunk: &Chunk, slot: u32, bucket: usize, value: f64) {
    let base = slot as usize;
    in_one_step(chunk.cell(base), || {
        add_float(chunk.cell(base + 1), value);
        add_int(chunk.cell(base + 2 + bucket), 1);
    });
}

/// The same for cells that others write to as well: they do not wait for each other, and a reader waits until
/// none is in progress.
fn observe_shared(chunk: &Chunk, slot: u32, bucket: usize, value: f64) {
    let base = slot as usize;
    in_one_step_shared(chunk.cell(base), || {
        add_float_shared(chunk.cell(base + 1), value);
        chunk.cell(base + 2 + bucket).fetch_add(1, Ordering::Relaxed);
    });
}

/// Writes to cells of this thread so that a reader sees all of it or nothing.
#[inline(always)]
fn in_one_step(sequence: &AtomicU64, write: impl FnOnce()) {
    let before = sequence.load(Ordering::Relaxed);
    // In progress while the sum and the bucket do not belong together. The fence orders that mark before the
    // values, the release store orders the values before its end.
    sequence.store(before.wrapping_add(BEGUN), Ordering::Relaxed);
    fence(Ordering::Release);
    write();
    sequence.store(before.wrapping_add(DONE), Ordering::Release);
}

/// The same for cells that others write to as well.
fn in_one_step_shared(sequence: &AtomicU64, write: impl FnOnce()) {
    sequence.fetch_add(BEGUN, Ordering::Relaxed);
    fence(Ordering::Release);
    write();
    sequence.fetch_add(DONE - BEGUN, Ordering::Release);
}

/// Counts `value` in the cell `bucket`, wherever that lies, and in the cell `classic` behind `head` if there is
/// one, and adds it to the sum of `head`; as one step for a scrape.
#[inline(always)]
pub(crate) fn observe_apart(head: u32, bucket: u32, classic: Option<u32>, value: f64) {
    let own = |slab: &'static Slab| {
        Some((slab.chunk(head, Ordering::Relaxed)?, slab.chunk(bucket, Ordering::Relaxed)?))
    };
    match SLAB.get().and_then(own) {
        Some((first, second)) => observe_apart_own(first, second, head, bucket, classic, value),
        None => observe_apart_cold(head, bucket, classic, value),
    }
}

#[inline(always)]
fn observe_apart_own(
    first: &Chunk,
    second: &Chunk,
    head: u32,
    bucket: u32,
    classic: Option<u32>,
    value: f64,
) {
    let base = head as usize;
    in_one_step(first.cell(base), || {
        add_float(first.cell(base + 1), value);
        add_int(second.cell(bucket as usize), 1);
        if let Some(classic) = classic {
            add_int(first.cell(base + classic as usize), 1);
        }
    });
}

#[cold]
#[inline(never)]
fn observe_apart_cold(head: u32, bucket: u32, classic: Option<u32>, value: f64) {
    let (first, shared) = chunk_cold(head);
    let (second, _) = chunk_cold(bucket);
    if !shared {
        return observe_apart_own(first, second, head, bucket, classic, value);
    }
    let base = head as usize;
    in_one_step_shared(first.cell(base), || {
        add_float_shared(first.cell(base + 1), value);
        second.cell(bucket as usize).fetch_add(1, Ordering::Relaxed);
        if let Some(classic) = classic {
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
        live.extend(slabs().filter(|slab| slab.len.load(Ordering::Relaxed) > 0));
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

/// Calls `read` until no observation was in progress while it ran; false if there always was.
fn undisturbed(sequence: &AtomicU64, mut read: impl FnMut()) -> bool {
    for attempt in 0..READ_SPINS_MAX + READ_YIELDS_MAX {
        let before = sequence.load(Ordering::Acquire);
        read();
        // Orders the reads above before the second look at the sequence.
        fence(Ordering::Acquire);
        if before & IN_PROGRESS == 0 && sequence.load(Ordering::Relaxed) == before {
            return true;
        }
        if attempt < READ_SPINS_MAX { std::hint::spin_loop() } else { std::thread::yield_now() }
    }
    false
}

/// Adds one thread's buckets to `counts`, all from between two observations.
fn read_histogram(chunk: &Chunk, slot: u32, counts: &mut [u64]) -> Option<f64> {
    let base = slot as usize;
    let (mut sum, mut copy) = (0, [0u64; RANGE_CELLS_MAX]);
    let copy = &mut copy[..counts.len()];
    let whole = undisturbed(chunk.cell(base), || {
        sum = chunk.cell(base + 1).load(Ordering::Relaxed);
        for (bucket, value) in copy.iter_mut().enumerate() {
            *value = chunk.cell(base + 2 + bucket).load(Ordering::Relaxed);
        }
    });
    if !whole {
        return None;
    }
    counts.iter_mut().zip(copy.iter()).for_each(|(total, one)| *total = total.wrapping_add(*one));
    Some(f64::from_bits(sum))
}

/// Adds the cells of a slab without a thread to the retired slab and frees their memory. The list stands for
/// the scrape lock.
fn fold(_held: &MutexGuard<'static, Vec<&'static Slab>>, slab: &Slab) {
    if slab.len.load(Ordering::Relaxed) == 0
        || slab.state.compare_exchange(FREE, FOLDING, Ordering::Acquire, Ordering::Relaxed).is_err()
    {
        return;
    }
    let allocator = ALLOCATOR.lock().unwrap_or_else(PoisonError::into_inner);
    for (number, entry) in slab.chunks.iter().enumerate() {
        let chunk = entry.swap(ptr::null_mut(), Ordering::AcqRel);
        if chunk.is_null() {
            continue;
        }
        // SAFETY: the pointer came from `Box::into_raw` and the swap took the only copy of it. The state
        // FOLDING keeps threads from leasing the slab, the scrape lock keeps readers away.
        let chunk = unsafe { Box::from_raw(chunk) };
        retire(&chunk, number, &allocator.kinds);
    }
    drop(allocator);
    slab.len.store(0, Ordering::Relaxed);
    slab.state.store(FREE, Ordering::Release);
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
