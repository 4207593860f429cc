//! Which blocks of buckets the series of a family use.

use crate::sync::{AtomicU32, Ordering};

/// Blocks of a family on each grid: 256 buckets, of which a series uses those that its values reach.
pub(crate) const BLOCKS: usize = if cfg!(loom) { 2 } else { 32 };

/// Which blocks of a grid a family uses: the tag of each place, 0 if it is free.
pub(crate) struct Blocks {
    /// By how many schemas the grid is coarser than the declared one.
    pub(crate) by: u32,
    pub(crate) tags: [AtomicU32; BLOCKS],
}

impl Blocks {
    pub(crate) fn new(by: u32) -> Blocks {
        Blocks { by, tags: std::array::from_fn(|_| AtomicU32::new(0)) }
    }

    /// The place of a block, which it takes if it has none, looked for from `first` on; `None` if all are taken.
    pub(crate) fn find(&self, tag: u32, first: usize) -> Option<usize> {
        (0..BLOCKS).map(|step| (first + step) & (BLOCKS - 1)).find(|at| {
            let place = &self.tags[*at];
            let take = || place.compare_exchange(0, tag, Ordering::Relaxed, Ordering::Relaxed);
            match place.load(Ordering::Relaxed) {
                0 => take().is_ok() || place.load(Ordering::Relaxed) == tag,
                known => known == tag,
            }
        })
    }
}
