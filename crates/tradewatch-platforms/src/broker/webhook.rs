//! Posts trade updates to whoever asked for them.

use super::Shared;
use crate::runtime::{Tasks, http};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Updates that wait for one address; more are dropped and logged.
const QUEUE_MAX: usize = 4_096;
/// Attempts per update, the first included.
const ATTEMPTS_MAX: u32 = 4;
const TIMEOUT: Duration = Duration::from_secs(2);

/// Starts one poster per configured address, which keeps the order of the updates.
pub fn start(shared: &Arc<Shared>, tasks: &Tasks) -> Vec<mpsc::Sender<Arc<str>>> {
    let client = http::Client::new(shared.net.clone(), TIMEOUT);
    let poster = |url: &String| {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        tasks.spawn(post_all(client.clone(), url.clone(), receiver));
        sender
    };
    shared.config.webhooks.iter().map(poster).collect()
}

async fn post_all(client: http::Client, url: String, mut updates: mpsc::Receiver<Arc<str>>) {
    while let Some(body) = updates.recv().await {
        let mut pause = Duration::from_millis(250);
        for attempt in 1..=ATTEMPTS_MAX {
            let bytes = bytes::Bytes::copy_from_slice(body.as_bytes());
            match client.request(axum::http::Method::POST, &url, Some(bytes)).await {
                // A refusal of the receiver's would be the same the next time.
                Ok(answer) if !answer.status.is_server_error() => break,
                Ok(answer) if attempt == ATTEMPTS_MAX => {
                    tracing::warn!(%url, status = answer.status.as_u16(), "an update was not taken");
                }
                Err(error) if attempt == ATTEMPTS_MAX => {
                    tracing::warn!(%error, "an update was not delivered")
                }
                _ => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
            }
        }
    }
}
