//! Tasks that end with their service.
//!
//! A killed process takes its tasks with it. So that a service killed in a virtual run does the same, it
//! starts its tasks here instead of with `tokio::spawn`, which would let them outlive it.

use std::future::Future;
use std::sync::{Arc, Mutex, Weak};
use tokio::task::JoinSet;

/// Owns the tasks of one service: dropping it aborts them all.
#[derive(Debug, Default)]
pub struct Tasks(Arc<Mutex<JoinSet<()>>>);

/// Starts tasks in a [`Tasks`]; cheap to clone, and may be held by those tasks.
#[derive(Clone, Debug)]
pub struct Spawner(Weak<Mutex<JoinSet<()>>>);

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Tasks {
        Tasks::default()
    }

    /// A handle that starts tasks here.
    pub fn spawner(&self) -> Spawner {
        Spawner(Arc::downgrade(&self.0))
    }

    /// Starts `task`. It is aborted when `self` is dropped.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.spawner().spawn(task);
    }

    /// Tasks that have not ended.
    pub fn len(&self) -> usize {
        let mut set = self.0.lock().expect("no task panics while it holds the lock");
        reap(&mut set);
        set.len()
    }

    /// Whether all tasks have ended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        if let Ok(mut set) = self.0.lock() {
            set.abort_all();
        }
    }
}

impl Spawner {
    /// Starts `task`, unless the service has ended meanwhile.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let Some(tasks) = self.0.upgrade() else { return };
        let mut set = tasks.lock().expect("no task panics while it holds the lock");
        reap(&mut set);
        set.spawn(task);
    }
}

/// Forgets ended tasks, so that the set holds only living ones.
fn reap(set: &mut JoinSet<()>) {
    while let Some(ended) = set.try_join_next() {
        if let Err(error) = ended
            && error.is_panic()
        {
            tracing::error!(%error, "a task panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::sync::oneshot;

    #[tokio::test(start_paused = true)]
    async fn tasks_end_with_their_owner() {
        let tasks = Tasks::new();
        let (sender, receiver) = oneshot::channel::<()>();
        let spawner = tasks.spawner();
        tasks.spawn(async move {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            let _ = sender.send(());
        });
        tasks.spawn(async {});
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(tasks.len(), 1);
        drop(tasks);
        assert!(receiver.await.is_err(), "the task was aborted, so its sender is gone");
        spawner.spawn(async { panic!("never starts") });
    }
}
