//! What threads share in the SDK, in every order of events that the memory model allows.
//!
//! The modules are the SDK's own files, not copies; only `sync` differs, which has loom's types here. Sizes are cut down
//! where a constant says `cfg!(loom)`, since the number of orders grows fast.

#![cfg(test)]
#![allow(dead_code)] // Each file is compiled whole and used in part.

#[path = "../../../crates/tradewatch-metrics/src/native/blocks.rs"]
mod blocks;
#[path = "../../../crates/tradewatch-metrics/src/slab/cells.rs"]
mod cells;
#[path = "../../../crates/tradewatch-metrics/src/intern.rs"]
mod intern;
#[path = "../../../crates/tradewatch-metrics/src/rules.rs"]
mod rules;
mod sync;

use std::sync::Arc;

use blocks::Blocks;
use cells::{CellKind, SHARED, Slab, add_float, add_int, in_one_step, in_one_step_shared, undisturbed};
use intern::LabelPool;
use sync::{AtomicU64, Ordering};

/// Explores every order with at most this many forced switches between threads.
const PREEMPTIONS_MAX: usize = 3;

fn model(body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS_MAX);
    builder.check(body);
}

/// Sequence, sum, count.
struct Cells([AtomicU64; 3]);

impl Cells {
    fn new() -> Arc<Cells> {
        Arc::new(Cells(std::array::from_fn(|_| AtomicU64::new(0))))
    }

    /// What a reader sees: nothing, or a sum and a count that belong together.
    fn check(&self) {
        let mut seen = (0, 0);
        let whole = undisturbed(&self.0[0], || {
            seen = (self.0[1].load(Ordering::Relaxed), self.0[2].load(Ordering::Relaxed));
        });
        if whole {
            assert_eq!(f64::from_bits(seen.0), 3.0 * seen.1 as f64);
        }
    }
}

#[test]
fn a_reader_sees_whole_observations_of_one_writer() {
    model(|| {
        let cells = Cells::new();
        let writer = cells.clone();
        let thread = loom::thread::spawn(move || {
            for _ in 0..2 {
                in_one_step(&writer.0[0], || {
                    add_float(&writer.0[1], 3.0);
                    add_int(&writer.0[2], 1);
                });
            }
        });
        cells.check();
        thread.join().unwrap();
        cells.check();
        assert_eq!(cells.0[2].load(Ordering::Relaxed), 2);
    });
}

#[test]
fn a_reader_sees_whole_observations_of_writers_that_share() {
    model(|| {
        let cells = Cells::new();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let writer = cells.clone();
                loom::thread::spawn(move || {
                    in_one_step_shared(&writer.0[0], || {
                        cells::add_float_shared(&writer.0[1], 3.0);
                        writer.0[2].fetch_add(1, Ordering::Relaxed);
                    });
                })
            })
            .collect();
        cells.check();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        cells.check();
        assert_eq!(cells.0[2].load(Ordering::Relaxed), 2);
    });
}

#[test]
fn writers_that_share_a_slab_agree_on_its_chunk() {
    model(|| {
        let slab = Arc::new(Slab::new(SHARED));
        let add = |slab: &Slab| {
            slab.chunk_or_new(3).cell(3).fetch_add(1, Ordering::Relaxed);
        };
        let other = slab.clone();
        let thread = loom::thread::spawn(move || add(&other));
        add(&slab);
        thread.join().unwrap();
        assert_eq!(slab.chunk_or_new(3).cell(3).load(Ordering::Relaxed), 2);
    });
}

/// A thread ends, another takes its slab over, a scrape folds it: in whatever order, what was added is there once.
#[test]
fn what_an_ended_thread_added_is_counted_once() {
    model(|| {
        let slab = Arc::new(Slab::in_use());
        let retired = Arc::new(Slab::new(SHARED));
        let add = |slab: &Slab| add_int(slab.chunk_or_new(1).cell(1), 1);
        let first = slab.clone();
        let first = loom::thread::spawn(move || {
            add(&first);
            first.give_back();
        });
        let second = slab.clone();
        let second = loom::thread::spawn(move || {
            let taken = second.take();
            if taken {
                add(&second);
                second.give_back();
            }
            u64::from(taken)
        });
        // The scrape: one at a time, as its lock says.
        let kinds = [CellKind::Sequence, CellKind::Int];
        slab.fold(&retired, &kinds);
        first.join().unwrap();
        let expected = 1 + second.join().unwrap();
        slab.fold(&retired, &kinds);
        let sum = |slab: &Slab| {
            slab.chunk(1, Ordering::Acquire).map_or(0, |chunk| chunk.cell(1).load(Ordering::Relaxed))
        };
        assert_eq!((sum(&retired), sum(&slab)), (expected, 0));
    });
}

#[test]
fn threads_that_intern_agree() {
    model(|| {
        let pool: &'static LabelPool<3, 8> = Box::leak(Box::new(LabelPool::new()));
        let thread = loom::thread::spawn(move || (pool.intern("a"), pool.intern("b")));
        let here = (pool.intern("b"), pool.intern("a"));
        let there = thread.join().unwrap();
        assert_eq!((here.0, here.1), (there.1, there.0));
        assert!(here.0 != here.1 && here.0 != 0 && here.1 != 0);
        // The budget is two: a third is the overflow's.
        assert_eq!(pool.intern("c"), 0);
        assert_eq!(pool.value_at(here.1 as usize), Some("a"));
    });
}

#[test]
fn blocks_have_one_place_each() {
    model(|| {
        let blocks = Arc::new(Blocks::new(0));
        let other = blocks.clone();
        let thread = loom::thread::spawn(move || (other.find(5, 0), other.find(7, 0)));
        let here = (blocks.find(7, 0), blocks.find(5, 0));
        let there = thread.join().unwrap();
        assert_eq!((here.0, here.1), (there.1, there.0));
        assert!(here.0.is_some() && here.1.is_some() && here.0 != here.1);
        assert_eq!(blocks.find(9, 0), None, "two places are taken");
    });
}
