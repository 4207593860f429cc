//! A pool of workers that take jobs from a queue, pushed over OTLP; run it in as many processes as you like.
//!
//! `cargo run -p tradewatch-instrument --features full --example worker_pool -- http://127.0.0.1:4318/v1/metrics`

use std::time::Duration;

use tokio::sync::mpsc;
use tradewatch_instrument::otlp::{self, Options, Resource};
use tradewatch_instrument::{Broker, Clients, Messaging, Vocabulary, expose_runtime};
use tradewatch_metrics::Registry;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let registry = Registry::new();
    expose_runtime(&registry)?;
    let clients = Clients::register(&registry, Vocabulary::OpenTelemetry)?;
    let jobs = clients.broker("order_executor", Broker::Rabbitmq);

    // Each process has an instance id of its own, so that no receiver takes the counts of one for another's.
    let resource = Resource::new("order_executor").with("deployment.environment.name", "paper");
    let endpoint = std::env::args().nth(1).unwrap_or_else(|| Options::default().endpoint);
    let push = otlp::start(&registry, resource, Options { endpoint, ..Options::default() })?;

    let (queue, received) = async_queue();
    let workers: Vec<_> =
        received.into_iter().map(|jobs_of| tokio::spawn(work(jobs_of, jobs.clone()))).collect();
    for job in 0..100u64 {
        queue[job as usize % queue.len()].send(job).await?;
    }
    drop(queue);
    for worker in workers {
        worker.await?;
    }
    // What moved since the last push is pushed before the process ends.
    if let Err(error) = push.shutdown().await {
        eprintln!("the last push: {error}");
    }
    Ok(())
}

type Jobs = mpsc::Receiver<u64>;

fn async_queue() -> (Vec<mpsc::Sender<u64>>, Vec<Jobs>) {
    (0..4).map(|_| mpsc::channel(8)).unzip()
}

async fn work(mut queue: Jobs, jobs: Messaging) {
    while let Some(job) = queue.recv().await {
        jobs.received("order_requests", None);
        // A job that fails, panics or takes too long is counted as that, and timed all the same.
        let late = || "late";
        let done =
            jobs.process("order_requests").run_within(Duration::from_secs(1), execute(job), late).await;
        if let Err(why) = done {
            eprintln!("job {job}: {why}");
        }
    }
}

async fn execute(job: u64) -> Result<(), &'static str> {
    tokio::time::sleep(Duration::from_millis(job % 10)).await;
    if job % 10 == 9 { Err("no margin") } else { Ok(()) }
}
