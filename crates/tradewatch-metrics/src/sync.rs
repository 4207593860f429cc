//! What threads share, by the names that the hot path uses: the standard library's.
//!
//! `bench/loom` compiles `slab/cells.rs`, `intern.rs` and `native/blocks.rs` once more beside a `sync` module of its
//! own that has loom's types, and runs them through every order of events that the memory model allows.

pub(crate) use std::sync::atomic::{
    AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
pub(crate) use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Between two looks at something that another thread is about to change.
#[inline]
pub(crate) fn spin() {
    std::hint::spin_loop();
}

/// The same, when it takes long.
#[inline]
pub(crate) fn give_way() {
    std::thread::yield_now();
}
