//! Faults of drills on the running demo: each acts on a process, the database, the feed, the broker, the model or a
//! service's own interface, and each is taken back when the drill says so.

use super::scene::{Stage, client, replace};
use crate::drill::{Fault, ModelFault, Post};
use anyhow::{Context, Result, ensure};
use serde_json::{Value as Json, json};
use std::path::Path;
use tradewatch_platforms::faults::DatabaseLock;
use tradewatch_platforms::trading_platform::model;

/// What a fault took away, to be given back.
#[derive(Default)]
pub struct Taken {
    lock: Option<DatabaseLock>,
    /// The model as it was.
    model: Option<Vec<u8>>,
}

impl Stage {
    /// Makes a fault happen; `seconds` is how long it lasts at most.
    ///
    /// # Errors
    /// If the demo cannot be disturbed so.
    pub async fn inject(&self, fault: &Fault, seconds: u64) -> Result<()> {
        if let Some(name) = fault.kill.as_ref().or(fault.restart.as_ref()) {
            self.supervisor.lock().await.kill(name).await?;
        }
        if let Some(name) = &fault.restart {
            self.supervisor.lock().await.start(name).await?;
        }
        if let Some(name) = &fault.hang {
            self.supervisor.lock().await.hang(name)?;
        }
        if fault.lock_database.is_some() {
            let file = self
                .database
                .clone()
                .context("the database is a PostgreSQL of yours, and not ours to lock")?;
            // Writers are waited for.
            let lock = tokio::task::spawn_blocking(move || DatabaseLock::take(&file)).await??;
            self.taken.lock().await.lock = Some(lock);
        }
        for (to, body) in [("market-feed", &fault.feed), ("paper-broker", &fault.broker)] {
            if let Some(body) = body {
                let mut body = body.clone();
                body["for_seconds"] = json!(seconds);
                self.send(to, "/control/faults", &body).await?;
            }
        }
        if let Some(change) = fault.model {
            self.spoil_model(change).await?;
        }
        if let Some(Post { to, path, body, .. }) = &fault.post {
            // A refusal may be the point of it.
            let url = self.url(to, path).await?;
            client().post(&url, body).await?;
        }
        if let Some(side) = &fault.order_past_the_gateway {
            self.order_past_the_gateway(side).await?;
        }
        Ok(())
    }

    /// Ends a fault.
    ///
    /// # Errors
    /// As [`Stage::inject`].
    pub async fn take_back(&self, fault: &Fault) -> Result<()> {
        if let Some(name) = fault.kill.as_ref().or(fault.hang.as_ref()) {
            self.supervisor.lock().await.start(name).await?;
        }
        if fault.lock_database.is_some() {
            self.taken.lock().await.lock = None;
        }
        for (of, body) in [("market-feed", &fault.feed), ("paper-broker", &fault.broker)] {
            if body.is_some() {
                let url = self.url(of, "/control/faults").await?;
                let answer = client().delete(&url).await?;
                ensure!(answer.is_success(), "{url} answered {}: {}", answer.status, answer.text());
            }
        }
        if fault.model.is_some()
            && let Some(model) = self.taken.lock().await.model.take()
        {
            replace(&self.model, &model)?;
            self.reload_model().await?;
        }
        if let Some(Post { to, undo: Some(undo), .. }) = &fault.post {
            self.send(to, &undo.path, &undo.body).await?;
        }
        if let Some(side) = &fault.order_past_the_gateway {
            self.order_past_the_gateway(if side == "buy" { "sell" } else { "buy" }).await?;
        }
        Ok(())
    }

    async fn send(&self, to: &str, path: &str, body: &Json) -> Result<()> {
        let url = self.url(to, path).await?;
        let none = json!({});
        let answer = client().post(&url, if body.is_null() { &none } else { body }).await?;
        ensure!(answer.is_success(), "{url} answered {}: {}", answer.status, answer.text());
        Ok(())
    }

    async fn spoil_model(&self, change: ModelFault) -> Result<()> {
        let read = |path: &Path| std::fs::read(path).with_context(|| format!("read {}", path.display()));
        {
            let mut taken = self.taken.lock().await;
            if taken.model.is_none() {
                taken.model = Some(read(&self.model)?);
            }
        }
        match change {
            // It may be missing already.
            ModelFault::Missing => drop(std::fs::remove_file(&self.model)),
            ModelFault::Damaged => {
                let mut damaged = model::shipped(1).context("the first shipped model")?.as_bytes().to_vec();
                if let Some(byte) = damaged.last_mut() {
                    *byte ^= 1;
                }
                replace(&self.model, &damaged)?;
            }
        }
        self.reload_model().await
    }
}
