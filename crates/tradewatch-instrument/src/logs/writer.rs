//! The queue between those who log and the thread that writes.

use std::io::{BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::SystemTime;

use super::{LogLimits, LogMetrics, line};

/// Lines in the queue at most; bytes are bounded by [`LogLimits::queue_bytes`].
const QUEUE_LINES_MAX: usize = 16_384;

/// Lines between two announcements of what was dropped, while more come than can be written.
const ANNOUNCE_LINES: usize = 1_024;

pub(super) struct Queue {
    lines: SyncSender<Vec<u8>>,
    shared: Arc<Shared>,
    bytes_max: usize,
    metrics: LogMetrics,
}

struct Shared {
    bytes: AtomicUsize,
    /// Lines dropped that no line has announced yet.
    unannounced: AtomicU64,
    stopping: AtomicBool,
}

impl Queue {
    /// Queues a line, or drops it. Never waits.
    pub(super) fn push(&self, line: Vec<u8>) {
        let bytes = line.len();
        let before = self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
        let dropped = before + bytes > self.bytes_max
            || self.shared.stopping.load(Ordering::Relaxed)
            || matches!(
                self.lines.try_send(line),
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_))
            );
        if dropped {
            self.shared.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.shared.unannounced.fetch_add(1, Ordering::Relaxed);
            self.metrics.log_lines_dropped_total.inc();
        } else {
            self.metrics.log_queue_bytes.set((before + bytes) as f64);
        }
    }
}

/// Ends a log: dropped, it waits until what is queued is written. Keep it until the end of `main`.
#[must_use = "the log ends when this is dropped"]
pub struct LogGuard {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.queue.shared.stopping.store(true, Ordering::Relaxed);
        // An empty line ends the thread; where the queue is full it sees `stopping` when it has written all.
        let _ = self.queue.lines.try_send(Vec::new());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // A writer that panicked has nothing left to write.
        }
    }
}

pub(super) fn start(
    service: &str,
    out: impl Write + Send + 'static,
    limits: LogLimits,
    metrics: LogMetrics,
) -> (Arc<Queue>, LogGuard) {
    let (lines, received) = sync_channel(QUEUE_LINES_MAX);
    let shared = Arc::new(Shared {
        bytes: AtomicUsize::new(0),
        unannounced: AtomicU64::new(0),
        stopping: AtomicBool::new(false),
    });
    let writer = Writer {
        out: BufWriter::with_capacity(64 << 10, out),
        service: service.to_owned(),
        shared: Arc::clone(&shared),
        metrics: metrics.clone(),
    };
    let thread = std::thread::Builder::new().name("log".to_owned()).spawn(move || writer.run(&received));
    let thread = thread.expect("the system has a thread for the log");
    let queue = Arc::new(Queue { lines, shared, bytes_max: limits.queue_bytes, metrics });
    (Arc::clone(&queue), LogGuard { queue, thread: Some(thread) })
}

struct Writer<W: Write> {
    out: BufWriter<W>,
    service: String,
    shared: Arc<Shared>,
    metrics: LogMetrics,
}

impl<W: Write> Writer<W> {
    fn run(mut self, lines: &Receiver<Vec<u8>>) {
        'open: while let Ok(first) = lines.recv() {
            let (mut next, mut written) = (Some(first), 0usize);
            while let Some(line) = next {
                if line.is_empty() {
                    break 'open;
                }
                self.write(&line);
                written += 1;
                if written.is_multiple_of(ANNOUNCE_LINES) {
                    self.announce(); // The queue may never be empty.
                }
                next = lines.try_recv().ok();
            }
            self.announce();
            self.flush();
            if self.shared.stopping.load(Ordering::Relaxed) {
                break;
            }
        }
        while let Ok(line) = lines.try_recv() {
            self.write(&line);
        }
        self.announce();
        self.flush();
    }

    fn write(&mut self, line: &[u8]) {
        if self.out.write_all(line).is_err() {
            self.metrics.log_write_errors_total.inc(); // There is no other place to say it.
        }
        let before = self.shared.bytes.fetch_sub(line.len(), Ordering::Relaxed);
        self.metrics.log_queue_bytes.set(before.saturating_sub(line.len()) as f64);
    }

    fn flush(&mut self) {
        if self.out.flush().is_err() {
            self.metrics.log_write_errors_total.inc();
        }
    }

    /// Says how many lines were dropped since it was last said.
    fn announce(&mut self) {
        let dropped = self.shared.unannounced.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let mut line = line::Head {
                timestamp: SystemTime::now(),
                level: "warn",
                service: &self.service,
                event: "log_lines_dropped".to_owned(),
                target: module_path!(),
                trace: None,
            }
            .begin();
            line.extend_from_slice(format!(",\"count\":{dropped}}}\n").as_bytes());
            if self.out.write_all(&line).is_err() {
                self.metrics.log_write_errors_total.inc();
            }
        }
    }
}
