//! The model that serves, and how it is exchanged while the service runs.

use super::State;
use super::metrics::ReloadStatus;
use crate::runtime::Nanos;
use crate::runtime::clock::rfc3339;
use crate::trading_platform::model::{LoadError, Model};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::MissedTickBehavior;

const ACTIVATED: &str = "INSERT INTO models (checksum, strategy, version, activated_at) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (checksum) DO UPDATE SET activated_at = excluded.activated_at";

/// A model in use.
#[derive(Debug)]
pub struct Active {
    /// The model.
    pub model: Model,
    /// Checksum of its file.
    pub checksum: String,
    /// Since when it serves.
    pub activated_at: Nanos,
}

/// What a look at the file brought.
#[derive(Debug)]
pub enum Reload {
    /// The file is the one that serves already.
    Unchanged,
    /// A new model serves.
    Activated(Arc<Active>),
}

/// Which model serves and where its file is.
#[derive(Debug)]
pub struct Models {
    path: PathBuf,
    active: Mutex<Option<Arc<Active>>>,
    last_error: Mutex<Option<String>>,
}

impl Models {
    /// No model yet; it will come from `path`.
    pub fn new(path: &Path) -> Models {
        Models { path: path.to_owned(), active: Mutex::new(None), last_error: Mutex::new(None) }
    }

    /// The model that serves.
    pub fn active(&self) -> Option<Arc<Active>> {
        self.lock().clone()
    }

    /// Whether a model serves, or why not.
    pub fn ready(&self) -> Result<(), String> {
        if self.lock().is_some() {
            return Ok(());
        }
        let error = self.last_error.lock().expect("nobody panics while holding it").clone();
        Err(error.unwrap_or_else(|| String::from("no model was loaded yet")))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Active>>> {
        self.active.lock().expect("nobody panics while holding the model")
    }
}

impl State {
    /// Looks at the model file and takes it if it is new and whole.
    ///
    /// A refused or unreadable file leaves the model that serves in place. A file that is gone withdraws it:
    /// removing the file is how a strategy is stopped.
    ///
    /// # Errors
    /// Why the file was not taken. It is counted: refused as `error`, missing and unreadable as `failed`.
    pub async fn reload(&self) -> Result<Reload, LoadError> {
        let models = &self.models;
        let loaded = Model::load(&models.path);
        let known = models.active().map(|active| active.checksum.clone());
        let (model, checksum) = match loaded {
            Ok((_, checksum)) if Some(&checksum) == known.as_ref() => return Ok(Reload::Unchanged),
            Ok(loaded) => loaded,
            Err(error) => {
                let status = if error.is_refused() { ReloadStatus::Error } else { ReloadStatus::Failed };
                self.metrics.model_reload_total.at((status,)).inc();
                if error.is_missing() {
                    *models.lock() = None;
                }
                self.show_model();
                *models.last_error.lock().expect("nobody panics while holding it") = Some(error.to_string());
                tracing::warn!(%error, "the model was not taken");
                return Err(error);
            }
        };
        let active = Arc::new(Active { model, checksum, activated_at: self.clock.now() });
        *models.lock() = Some(active.clone());
        self.metrics.model_reload_total.at((ReloadStatus::Success,)).inc();
        self.show_model();
        tracing::info!(
            version = active.model.version,
            score = active.model.holdout.score_ratio,
            "model activated"
        );
        let values = vec![
            active.checksum.as_str().into(),
            active.model.strategy.as_str().into(),
            i64::from(active.model.version).into(),
            active.activated_at.into(),
        ];
        if let Err(error) = self.database.write(&[(ACTIVATED, values)]).await {
            // The model is good whether or not its activation could be written down.
            tracing::warn!(%error, "the activation was not recorded");
        }
        Ok(Reload::Activated(active))
    }

    /// Shows in the metrics which model serves.
    fn show_model(&self) {
        let metrics = &self.metrics;
        let active = self.models.active();
        metrics.model_loaded_status.set_bool(active.is_some());
        let Some(active) = active else {
            metrics.model_version.set(0.0);
            metrics.model_holdout_score_ratio.set(0.0);
            metrics.model_version_info.clear();
            return;
        };
        let model = &active.model;
        metrics.model_version.set(f64::from(model.version));
        metrics.model_holdout_score_ratio.set(model.holdout.score_ratio);
        metrics.model_version_info.set([
            &model.semantic_version(),
            &model.strategy,
            &rfc3339(active.activated_at),
        ]);
    }
}

/// Looks at the model file on schedule.
pub async fn poll(state: Arc<State>) {
    let period = Duration::from_millis(state.options.model_poll_ms);
    // The first look was at the start.
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        state.reload().await.ok(); // Counted and logged there.
    }
}
