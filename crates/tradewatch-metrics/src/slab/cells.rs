//! Cells, chunks of them, and slabs of chunks: who may write, who may read, who may free.
//!
//! Everything here takes its atomics from [`crate::sync`] and touches no static, so that `bench/loom` can compile this
//! very file against loom's and try every order of events.

#![allow(unsafe_code)] // A zeroed allocation, a chunk pointer's dereference and its reclamation, each argued beside it.

use std::ptr;

use crate::sync::{AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, OnceLock, Ordering, fence, give_way, spin};

/// Cells in one chunk: 32 KiB, the unit in which a thread takes memory.
pub(crate) const CHUNK_CELLS: usize = if cfg!(loom) { 16 } else { 4096 };
const CHUNK_BITS: u32 = CHUNK_CELLS.trailing_zeros();
/// Chunks in one slab. Four million cells for a process; beyond that new series go to the sink.
pub(crate) const CHUNKS_MAX: usize = if cfg!(loom) { 1 } else { 1024 };
/// The first cells belong to nobody: a series that cannot get a slot writes here and is never read.
pub(crate) const SINK_CELLS: u32 = 512;
/// The largest contiguous range that may be allocated; not above `SINK_CELLS`.
pub(crate) const RANGE_CELLS_MAX: usize = SINK_CELLS as usize;
/// Cells in a block, the unit in which native histograms take memory: a cache line.
pub(crate) const BLOCK_CELLS: usize = 8;
/// How often a scrape re-reads a histogram that is being written before it keeps the previous values.
const READ_SPINS_MAX: u32 = if cfg!(loom) { 0 } else { 64 };
const READ_YIELDS_MAX: u32 = if cfg!(loom) { 2 } else { 64 };

const FREE: u8 = 0;
const IN_USE: u8 = 1;
const FOLDING: u8 = 2;
pub(crate) const SHARED: u8 = 3;

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

/// Begins at a cache line, so that a block of cells is one.
#[repr(align(64))]
pub(crate) struct Chunk([AtomicU64; CHUNK_CELLS]);

impl Chunk {
    #[cfg(not(loom))]
    pub(crate) fn boxed() -> Box<Chunk> {
        // SAFETY: all bits zero is a valid `AtomicU64`, so it is a valid array of them. Zeroed memory fresh from
        // the system is not touched here: a thread pays for the pages it writes to.
        unsafe { Box::<Chunk>::new_zeroed().assume_init() }
    }

    #[cfg(loom)]
    pub(crate) fn boxed() -> Box<Chunk> {
        Box::new(Chunk(std::array::from_fn(|_| AtomicU64::new(0))))
    }

    #[inline(always)]
    pub(crate) fn cell(&self, offset: usize) -> &AtomicU64 {
        &self.0[offset & (CHUNK_CELLS - 1)]
    }
}

/// The cells of one thread, or of those that share them.
pub(crate) struct Slab {
    chunks: [AtomicPtr<Chunk>; CHUNKS_MAX],
    /// How many chunks there are, so that a scrape passes over an empty slab at once.
    len: AtomicUsize,
    state: AtomicU8,
    /// The list of all slabs.
    pub(crate) next: OnceLock<&'static Slab>,
}

impl Slab {
    #[cfg(not(loom))]
    pub(crate) const fn new(state: u8) -> Slab {
        Slab {
            chunks: [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS_MAX],
            len: AtomicUsize::new(0),
            state: AtomicU8::new(state),
            next: OnceLock::new(),
        }
    }

    #[cfg(loom)]
    pub(crate) fn new(state: u8) -> Slab {
        Slab {
            chunks: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            len: AtomicUsize::new(0),
            state: AtomicU8::new(state),
            next: OnceLock::new(),
        }
    }

    /// A new slab, leased.
    pub(crate) fn in_use() -> Slab {
        Slab::new(IN_USE)
    }

    /// Leases a slab whose thread ended, its values included; false if it has a thread or is shared.
    pub(crate) fn take(&self) -> bool {
        // Acquire: what the last thread wrote is seen, and added to.
        self.state.compare_exchange(FREE, IN_USE, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Ends the lease. A shared slab stays what it is.
    pub(crate) fn give_back(&self) {
        // Release: whoever takes the slab over sees every value written by this thread.
        let _ = self.state.compare_exchange(IN_USE, FREE, Ordering::Release, Ordering::Relaxed);
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.state.load(Ordering::Relaxed) == SHARED
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len.load(Ordering::Relaxed) == 0
    }

    #[inline(always)]
    fn entry(&self, slot: u32) -> &AtomicPtr<Chunk> {
        &self.chunks[(slot >> CHUNK_BITS) as usize & (CHUNKS_MAX - 1)]
    }

    /// The chunk that holds `slot`, if this slab has one.
    #[inline(always)]
    pub(crate) fn chunk(&self, slot: u32, order: Ordering) -> Option<&Chunk> {
        let chunk = self.entry(slot).load(order);
        // SAFETY: a non-null entry came from `Box::into_raw` in `chunk_or_new`. It is freed only in
        // `Slab::fold`, which first moves the slab from FREE to FOLDING and holds the scrape lock. The callers
        // are (a) the thread that leases the slab, so the state is IN_USE and `fold` leaves it alone,
        // (b) holders of the scrape lock, who exclude `fold`, and (c) writers of a SHARED slab, which `fold`
        // never touches. The reference is used within the call of (a) to (c) that asked for it.
        unsafe { chunk.as_ref() }
    }

    /// Like [`Slab::chunk`], taking memory if there is none. Only writers of the slab call this.
    pub(crate) fn chunk_or_new(&self, slot: u32) -> &Chunk {
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

#[inline(always)]
pub(crate) fn add_int(cell: &AtomicU64, by: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

#[inline(always)]
pub(crate) fn add_float(cell: &AtomicU64, by: f64) {
    let sum = f64::from_bits(cell.load(Ordering::Relaxed)) + by;
    cell.store(sum.to_bits(), Ordering::Relaxed);
}

pub(crate) fn add_float_shared(cell: &AtomicU64, by: f64) {
    let add = |bits| Some((f64::from_bits(bits) + by).to_bits());
    let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
}

#[inline(always)]
pub(crate) fn observe_own(chunk: &Chunk, slot: u32, bucket: usize, value: f64) {
    let base = slot as usize;
    in_one_step(chunk.cell(base), || {
        add_float(chunk.cell(base + 1), value);
        add_int(chunk.cell(base + 2 + bucket), 1);
    });
}

/// The same for cells that others write to as well: they do not wait for each other, and a reader waits until
/// none is in progress.
pub(crate) fn observe_shared(chunk: &Chunk, slot: u32, bucket: usize, value: f64) {
    let base = slot as usize;
    in_one_step_shared(chunk.cell(base), || {
        add_float_shared(chunk.cell(base + 1), value);
        chunk.cell(base + 2 + bucket).fetch_add(1, Ordering::Relaxed);
    });
}

/// Writes to cells of this thread so that a reader sees all of it or nothing.
#[inline(always)]
pub(crate) fn in_one_step(sequence: &AtomicU64, write: impl FnOnce()) {
    let before = sequence.load(Ordering::Relaxed);
    // In progress while the sum and the bucket do not belong together. The fence orders that mark before the
    // values, the release store orders the values before its end.
    sequence.store(before.wrapping_add(BEGUN), Ordering::Relaxed);
    fence(Ordering::Release);
    write();
    sequence.store(before.wrapping_add(DONE), Ordering::Release);
}

/// The same for cells that others write to as well.
pub(crate) fn in_one_step_shared(sequence: &AtomicU64, write: impl FnOnce()) {
    sequence.fetch_add(BEGUN, Ordering::Relaxed);
    fence(Ordering::Release);
    write();
    sequence.fetch_add(DONE - BEGUN, Ordering::Release);
}

/// Calls `read` until no observation was in progress while it ran; false if there always was.
pub(crate) fn undisturbed(sequence: &AtomicU64, mut read: impl FnMut()) -> bool {
    for attempt in 0..READ_SPINS_MAX + READ_YIELDS_MAX {
        let before = sequence.load(Ordering::Acquire);
        read();
        // Orders the reads above before the second look at the sequence.
        fence(Ordering::Acquire);
        if before & IN_PROGRESS == 0 && sequence.load(Ordering::Relaxed) == before {
            return true;
        }
        if attempt < READ_SPINS_MAX { spin() } else { give_way() }
    }
    false
}

/// Adds one thread's buckets to `counts`, all from between two observations.
pub(crate) fn read_histogram(chunk: &Chunk, slot: u32, counts: &mut [u64]) -> Option<f64> {
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

impl Slab {
    /// Adds the cells of a slab without a thread to `retired` and frees their memory; nothing if it has one. The
    /// caller holds the scrape lock, which keeps readers away; `kinds` says what each slot holds.
    pub(crate) fn fold(&self, retired: &Slab, kinds: &[CellKind]) {
        if self.state.compare_exchange(FREE, FOLDING, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return;
        }
        for (number, entry) in self.chunks.iter().enumerate() {
            let chunk = entry.swap(ptr::null_mut(), Ordering::AcqRel);
            if chunk.is_null() {
                continue;
            }
            // SAFETY: the pointer came from `Box::into_raw` and the swap took the only copy of it. The state
            // FOLDING keeps threads from leasing the slab, the scrape lock keeps readers away.
            let chunk = unsafe { Box::from_raw(chunk) };
            chunk.retire(number, kinds, retired);
        }
        self.len.store(0, Ordering::Relaxed);
        self.state.store(FREE, Ordering::Release);
    }
}

impl Chunk {
    fn retire(&self, number: usize, kinds: &[CellKind], retired: &Slab) {
        let first = number * CHUNK_CELLS;
        for (offset, cell) in self.0.iter().enumerate() {
            let value = cell.load(Ordering::Relaxed);
            let Some(kind) = kinds.get(first + offset) else { break };
            if value == 0 || *kind == CellKind::Sequence {
                continue;
            }
            let kept = retired.chunk_or_new(first as u32).cell(offset);
            match kind {
                CellKind::Int => add_int(kept, value),
                CellKind::Float => add_float(kept, f64::from_bits(value)),
                CellKind::Sequence => {}
            }
        }
    }
}
