//! The one signal that ends all tasks.

use tokio::sync::watch;

/// Returns when the monitor stops, or its handle is gone.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Either way there is nothing left to wait for.
    drop(stop.wait_for(|stop| *stop).await);
}
