//! From a dense label index to a slot: the table behind every labelled counter and histogram.

#![allow(unsafe_code)] // One pointer for borrowed and owned handles, argued beside each use.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::Wall;
use crate::encode::Entry;
use crate::slab::{self, CellKind};

/// The resolution in which a table keeps when each series began: milliseconds.
const BORN_MILLIS: u64 = 100;

/// One slot for each label combination, taken when the combination is first asked for.
pub(crate) struct SlotTable {
    slots: Box<[AtomicU32]>,
    layout: Box<[CellKind]>,
    /// Index and time of birth of each combination, in the order they were asked for.
    births: Mutex<Vec<(u32, u32)>>,
    wall: Wall,
    /// What times of birth count from, in Unix milliseconds.
    epoch: u64,
    /// How many combinations have a slot; the encoder sees by it whether its cached lines are all of them.
    len: AtomicUsize,
}

impl SlotTable {
    pub(crate) fn new(cardinality: usize, layout: &[CellKind]) -> SlotTable {
        SlotTable {
            slots: (0..cardinality).map(|_| AtomicU32::new(slab::SINK)).collect(),
            layout: layout.into(),
            births: Mutex::default(),
            epoch: Wall::default().millis(),
            wall: Wall::default(),
            len: AtomicUsize::new(0),
        }
    }

    /// Tells by another clock when series began.
    pub(crate) fn with_wall(mut self, wall: &Wall) -> SlotTable {
        self.epoch = wall.millis();
        self.wall = wall.clone();
        self
    }

    /// The slot of a combination, which exists from now on.
    #[inline(always)]
    pub(crate) fn slot(&self, index: usize) -> u32 {
        // Acquire: the cells were zeroed (if used before) ahead of the slot's publication.
        match self.slots.get(index).map(|slot| slot.load(Ordering::Acquire)) {
            Some(slab::SINK) | None => self.create(index),
            Some(slot) => slot,
        }
    }

    /// The slot of a combination, if it exists.
    pub(crate) fn peek(&self, index: usize) -> Option<u32> {
        let slot = self.slots.get(index)?.load(Ordering::Acquire);
        (slot != slab::SINK).then_some(slot)
    }

    #[cold]
    #[inline(never)]
    fn create(&self, index: usize) -> u32 {
        let Some(entry) = self.slots.get(index) else { return slab::SINK };
        let mut births = self.births.lock().unwrap_or_else(PoisonError::into_inner);
        let known = entry.load(Ordering::Acquire);
        if known != slab::SINK {
            return known;
        }
        let slot = slab::allocate(&self.layout);
        if slot != slab::SINK {
            // Rounded down, so that nothing is counted before the series began.
            let born = self.wall.millis().saturating_sub(self.epoch) / BORN_MILLIS;
            births.push((index as u32, u32::try_from(born).unwrap_or(u32::MAX)));
            entry.store(slot, Ordering::Release);
            self.len.fetch_add(1, Ordering::Release);
        }
        slot
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Each combination that exists, by index.
    ///
    /// Sorts and allocates; asked for only when [`SlotTable::len`] changed.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let births = self.births.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let entry = |(index, born): (u32, u32)| {
            let slot = self.slots[index as usize].load(Ordering::Acquire);
            Entry { index: index as usize, slot, born }
        };
        let mut entries: Vec<Entry> = births.into_iter().map(entry).collect();
        entries.sort_unstable_by_key(|entry| entry.index);
        entries
    }

    /// When a series began, in Unix milliseconds, from what its entry says.
    pub(crate) fn created(&self, born: u32) -> u64 {
        self.epoch + u64::from(born) * BORN_MILLIS
    }
}

impl Drop for SlotTable {
    fn drop(&mut self) {
        // Every handle holds the family that holds this table, so nobody writes to these cells any more.
        let used = self.slots.iter_mut().map(|slot| *slot.get_mut()).filter(|slot| *slot != slab::SINK);
        slab::release(used.collect::<Vec<_>>().into_iter(), self.layout.len());
    }
}

/// How a handle reaches its family: borrowed on the hot path (no reference count is touched), owned to be kept.
///
/// One pointer either way, so that following it takes no branch: an enum of the two costs every observation five
/// instructions.
pub(crate) struct Keep<'a, T> {
    /// From an `Arc`, which `borrow` keeps alive, or of which this holds one count.
    to: NonNull<T>,
    owned: bool,
    borrow: PhantomData<&'a Arc<T>>,
}

impl<'a, T> Keep<'a, T> {
    #[inline(always)]
    pub(crate) fn borrowed(arc: &'a Arc<T>) -> Keep<'a, T> {
        // SAFETY: an `Arc` points somewhere.
        let to = unsafe { NonNull::new_unchecked(Arc::as_ptr(arc).cast_mut()) };
        Keep { to, owned: false, borrow: PhantomData }
    }

    /// The same, borrowed.
    #[inline(always)]
    pub(crate) fn lend(&self) -> Keep<'_, T> {
        Keep { to: self.to, owned: false, borrow: PhantomData }
    }

    pub(crate) fn owned(arc: Arc<T>) -> Keep<'static, T> {
        // SAFETY: an `Arc` points somewhere.
        let to = unsafe { NonNull::new_unchecked(Arc::into_raw(arc).cast_mut()) };
        Keep { to, owned: true, borrow: PhantomData }
    }

    pub(crate) fn into_owned(self) -> Keep<'static, T> {
        Keep::owned(self.share())
    }

    /// Another count of what is kept.
    pub(crate) fn share(&self) -> Arc<T> {
        // SAFETY: `to` came from `Arc::as_ptr` or `Arc::into_raw`, of an `Arc` that is alive: borrowed for `'a`, or by
        // the count held here. So a count may be added by it, and that count is the one given away.
        unsafe {
            Arc::increment_strong_count(self.to.as_ptr());
            Arc::from_raw(self.to.as_ptr())
        }
    }
}

impl<T> Clone for Keep<'_, T> {
    #[inline]
    fn clone(&self) -> Self {
        if self.owned {
            std::mem::forget(self.share());
        }
        Keep { to: self.to, owned: self.owned, borrow: PhantomData }
    }
}

impl<T> Drop for Keep<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if self.owned {
            // SAFETY: `to` came from `Arc::into_raw`, or is a copy for which `clone` added a count; this gives it back.
            drop(unsafe { Arc::from_raw(self.to.as_ptr()) });
        }
    }
}

impl<T> std::ops::Deref for Keep<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the `Arc` behind the pointer is alive, see `share`.
        unsafe { self.to.as_ref() }
    }
}

// SAFETY: it is a reference to an `Arc`, or an `Arc`, both of which may go where `T` may be shared.
unsafe impl<T: Send + Sync> Send for Keep<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Keep<'_, T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_what_is_kept_add_up() {
        let arc = Arc::new(7);
        let borrowed = Keep::borrowed(&arc);
        assert_eq!((*borrowed.clone(), Arc::strong_count(&arc)), (7, 1));
        let owned = borrowed.clone().into_owned();
        let again = owned.clone();
        assert_eq!((*owned, *again, Arc::strong_count(&arc)), (7, 7, 3));
        drop((owned, borrowed));
        let last = again.into_owned();
        assert_eq!(Arc::strong_count(&arc), 2);
        drop(arc);
        assert_eq!(*last, 7);
    }
}
