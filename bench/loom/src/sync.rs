//! Loom's atomics under the names of the SDK's `sync`.

pub(crate) use loom::sync::Mutex;
pub(crate) use loom::sync::atomic::{
    AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
/// Loom has none; values are set under a lock and read after an index that was published.
pub(crate) use std::sync::{OnceLock, PoisonError};

pub(crate) fn spin() {
    loom::hint::spin_loop();
}

pub(crate) fn give_way() {
    loom::thread::yield_now();
}
