//! The process as the kernel sees it, under the field's own names: CPU, memory, file descriptors, threads, start.

use std::fs;

use tradewatch_metrics::{Collected, Collector, Descriptor, MetricKind, RegisterError, Registry};

use MetricKind::{Counter, Gauge};

/// Name, kind, help; in the order of [`Reading::values`].
const FAMILIES: [(&str, MetricKind, &str); 8] = [
    ("process_cpu_seconds_total", Counter, "Time that all threads spent on a CPU, user and system."),
    ("process_resident_memory_bytes", Gauge, "Memory in use that is in RAM."),
    ("process_virtual_memory_bytes", Gauge, "Address space in use."),
    ("process_threads", Gauge, "Threads."),
    ("process_start_time_seconds", Gauge, "When the process started, in Unix seconds."),
    ("process_open_fds", Gauge, "Open file descriptors."),
    ("process_max_fds", Gauge, "Most file descriptors that may be open."),
    ("process_major_page_faults_total", Counter, "Page faults that waited for a disk."),
];

/// Exposes the process's own figures, read from `/proc/self` at each scrape.
///
/// Where there is no `/proc` the families are empty.
///
/// # Errors
/// If one of the names is taken.
pub fn expose_process(registry: &Registry) -> Result<(), RegisterError> {
    let families = FAMILIES.map(|(name, kind, help)| Descriptor::new(name, kind, help));
    registry.add_collector(Process { families, boot: boot_time() })
}

/// When this process started, in Unix seconds; `None` where there is no `/proc`.
pub fn start_time() -> Option<f64> {
    Reading::take(boot_time()?)?.start
}

struct Process {
    families: [Descriptor; FAMILIES.len()],
    boot: Option<f64>,
}

impl Collector for Process {
    fn families(&self) -> Vec<Descriptor> {
        self.families.to_vec()
    }

    fn collect(&self, out: &mut Collected) {
        let reading = self.boot.and_then(Reading::take).unwrap_or_default();
        for (family, value) in self.families.iter().zip(reading.values()) {
            let mut family = out.family(family);
            if let Some(value) = value {
                family.sample(&[], value);
            }
        }
    }
}

/// What the kernel said; `None` for what it did not.
#[derive(Debug, Default)]
struct Reading {
    cpu: Option<f64>,
    resident: Option<f64>,
    virtual_: Option<f64>,
    threads: Option<f64>,
    start: Option<f64>,
    open: Option<f64>,
    max: Option<f64>,
    faults: Option<f64>,
}

impl Reading {
    fn take(boot: f64) -> Option<Reading> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The second field is the program's name in parentheses, which may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        // Fields are numbered from 1 in proc(5); the first after the name is the third.
        let field = |number: usize| fields.get(number - 3)?.trim().parse::<f64>().ok();
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        Some(Reading {
            cpu: Some((field(14)? + field(15)?) / ticks),
            resident: field(24).map(|pages| pages * rustix::param::page_size() as f64),
            virtual_: field(23),
            threads: field(20),
            start: field(22).map(|since| boot + since / ticks),
            // Reading the folder opens it.
            open: fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count().saturating_sub(1) as f64),
            max: max_open(),
            faults: field(12),
        })
    }

    fn values(&self) -> [Option<f64>; FAMILIES.len()] {
        [self.cpu, self.resident, self.virtual_, self.threads, self.start, self.open, self.max, self.faults]
    }
}

fn max_open() -> Option<f64> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    Some(limit.current.map_or(f64::INFINITY, |max| max as f64))
}

fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}
