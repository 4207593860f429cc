//! Follows a replay: threads, a progress bar, and Ctrl-C.

use std::io::IsTerminal as _;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tradewatch_alert::replay::{Follow, Task};
use tradewatch_tsdb::Timestamp;

/// Cells of the bar.
const WIDTH: usize = 30;

/// Set by Ctrl-C.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C ends replays after the chunk under way, and the process the second time.
pub fn end_on_interrupt() {
    tokio::spawn(async {
        if tokio::signal::ctrl_c().await.is_ok() {
            INTERRUPTED.store(true, Ordering::Relaxed);
            eprintln!("\nends after this part; press again to end at once");
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(130);
            }
        }
    });
}

/// Runs tasks on all cores and shows how far a replay is, on a terminal.
pub struct Bar {
    what: String,
    begin: Instant,
    shown: bool,
}

impl Bar {
    /// A bar under this title.
    pub fn new(what: &str) -> Bar {
        Bar { what: what.to_owned(), begin: Instant::now(), shown: std::io::stderr().is_terminal() }
    }

    /// Takes the bar from the terminal.
    pub fn end(&self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}

impl Follow for Bar {
    fn progress(&mut self, from: Timestamp, done: Timestamp, to: Timestamp) -> ControlFlow<()> {
        let share = done.since(from).as_secs_f64() / to.since(from).as_secs_f64().max(1e-3);
        if self.shown {
            let full = ((share * WIDTH as f64) as usize).min(WIDTH);
            let left = self.begin.elapsed().as_secs_f64() * (1.0 - share) / share.max(1e-6);
            eprint!(
                "\r{} [{}{}] {:3.0} %  {} left\x1b[K",
                self.what,
                "#".repeat(full),
                "·".repeat(WIDTH - full),
                share * 100.0,
                super::print::length(left)
            );
        }
        if INTERRUPTED.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn run(&mut self, tasks: Vec<Task<'_>>) {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(tasks.len());
        let queue = Mutex::new(tasks.into_iter());
        let next = || queue.lock().expect("no panic while tasks are handed out").next();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(task) = next() {
                        task();
                    }
                });
            }
        });
    }
}
