//! The scheduler of tokio: workers, tasks, queues, and how busy it is.

use tokio::runtime::Handle;
use tradewatch_metrics::{Collected, Collector, Descriptor, MetricKind, RegisterError, Registry};

use MetricKind::{Counter, Gauge};

const FAMILIES: [(&str, MetricKind, &str); 5] = [
    ("tokio_workers", Gauge, "Worker threads of the runtime."),
    ("tokio_alive_tasks", Gauge, "Tasks that are spawned and have not ended."),
    ("tokio_global_queue_tasks", Gauge, "Tasks that wait in the queue of all workers."),
    ("tokio_worker_busy_seconds_total", Counter, "Time that a worker spent running tasks."),
    ("tokio_worker_parks_total", Counter, "How often a worker went to sleep for want of tasks."),
];

/// Exposes the figures of the runtime that is called in, read at each scrape.
///
/// # Errors
/// If one of the names is taken.
/// # Panics
/// Outside of a runtime.
pub fn expose_runtime(registry: &Registry) -> Result<(), RegisterError> {
    let families = FAMILIES.map(|(name, kind, help)| Descriptor::new(name, kind, help));
    registry.add_collector(Runtime { families, handle: Handle::current() })
}

struct Runtime {
    families: [Descriptor; FAMILIES.len()],
    handle: Handle,
}

impl Collector for Runtime {
    fn families(&self) -> Vec<Descriptor> {
        self.families.to_vec()
    }

    fn collect(&self, out: &mut Collected) {
        let metrics = self.handle.metrics();
        let [workers, alive, queue, busy, parks] = &self.families;
        out.family(workers).sample(&[], metrics.num_workers() as f64);
        out.family(alive).sample(&[], metrics.num_alive_tasks() as f64);
        out.family(queue).sample(&[], metrics.global_queue_depth() as f64);
        for worker in 0..metrics.num_workers() {
            let label = worker.to_string();
            let labels = [("worker", label.as_str())];
            out.family(busy).sample(&labels, metrics.worker_total_busy_duration(worker).as_secs_f64());
            out.family(parks).sample(&labels, metrics.worker_park_count(worker) as f64);
        }
    }
}
