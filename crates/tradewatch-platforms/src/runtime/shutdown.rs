//! Asking a service to end.

use std::sync::Arc;
use tokio::sync::watch;

/// Resolves once the service should end; cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

/// Ends whatever waits on its [`Shutdown`]: on [`Trigger::fire`], or when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Trigger(Arc<watch::Sender<bool>>);

impl Shutdown {
    /// A trigger and what it ends.
    pub fn new() -> (Trigger, Shutdown) {
        let (sender, receiver) = watch::channel(false);
        (Trigger(Arc::new(sender)), Shutdown(receiver))
    }

    /// Waits until the trigger has fired or is gone.
    pub async fn wait(&self) {
        let mut receiver = self.0.clone();
        let _ = receiver.wait_for(|fired| *fired).await;
    }
}

impl Trigger {
    /// Ends everything that waits.
    pub fn fire(&self) {
        self.0.send_replace(true);
    }
}
