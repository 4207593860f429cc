//! What the kernel and the runtime say.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tradewatch_instrument::{expose_process, expose_runtime};
use tradewatch_metrics::Registry;

use crate::world::value;

#[test]
fn the_process_is_what_the_kernel_says() {
    let registry = Registry::new();
    expose_process(&registry).expect("free");
    assert!(expose_process(&registry).is_err_and(|error| error.is_duplicate()));
    let cpu = value(&registry, "process_cpu_seconds_total");
    let fds = value(&registry, "process_open_fds");
    let files: Vec<_> = (0..200).map(|_| std::fs::File::open("/dev/null").expect("a device")).collect();
    assert!(value(&registry, "process_open_fds") >= fds + 100.0, "other tests may close some");
    drop(files);
    let begun = Instant::now();
    while value(&registry, "process_cpu_seconds_total") < cpu + 0.05 {
        assert!(begun.elapsed() < Duration::from_secs(60), "a busy loop uses no CPU time");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
    let started = value(&registry, "process_start_time_seconds");
    assert!(started > now - 3600.0 && started <= now + 1.0, "{started} {now}");
    assert!(value(&registry, "process_resident_memory_bytes") > 1e6);
    assert!(value(&registry, "process_virtual_memory_bytes") > 1e6);
    assert!(value(&registry, "process_threads") >= 1.0);
    assert!(value(&registry, "process_max_fds") >= 200.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_runtime_shows_tasks_that_live_and_work_that_is_done() {
    let registry = Registry::new();
    expose_runtime(&registry).expect("free");
    assert_eq!(value(&registry, "tokio_workers"), 2.0);
    let before = value(&registry, "tokio_alive_tasks");
    let tasks: Vec<_> = (0..10).map(|_| tokio::spawn(std::future::pending::<()>())).collect();
    assert_eq!(value(&registry, "tokio_alive_tasks"), before + 10.0);
    tasks.iter().for_each(|task| task.abort());
    let busy = || {
        (0..2)
            .map(|n| value(&registry, &format!("tokio_worker_busy_seconds_total{{worker=\"{n}\"}}")))
            .sum::<f64>()
    };
    let begun = Instant::now();
    while busy() <= 0.0 || value(&registry, "tokio_alive_tasks") > before {
        assert!(begun.elapsed() < Duration::from_secs(60), "work is not shown");
        tokio::spawn(async { std::hint::black_box((0..10_000).sum::<u64>()) }).await.expect("no panic");
    }
}
