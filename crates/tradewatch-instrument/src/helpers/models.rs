//! Models: predictions, training, accuracy, drift.

use tradewatch_metrics::{Counter, Gauge, Histogram, Metrics, RegisterError, Registry, open_label};

use crate::labels::ErrorType;
use crate::running::{End, Running};

open_label!(struct ModelName("model_name"), budget = 16);
open_label!(struct ModelVersion("model_version"), budget = 32);
open_label!(struct PredictionType("prediction_type"), budget = 16);
open_label!(struct MetricType("metric_type"), budget = 8);
open_label!(struct DriftType("drift_type"), budget = 8);

type Labels = (ModelName, ModelVersion);

#[derive(Metrics, Clone)]
struct ModelMetrics {
    /// Predictions made.
    ml_model_predictions_total: Counter<(ModelName, ModelVersion, PredictionType)>,
    /// Predictions that did not succeed, by the kind of error.
    ml_model_prediction_errors_total: Counter<(ModelName, ModelVersion, ErrorType)>,
    /// Time of one prediction, however it ended.
    #[buckets(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0)]
    ml_model_prediction_duration_seconds: Histogram<Labels>,
    /// Accuracy at the last evaluation.
    ml_model_accuracy: Gauge<(ModelName, ModelVersion, MetricType)>,
    /// Drift score at the last evaluation.
    ml_model_drift_score: Gauge<(ModelName, ModelVersion, DriftType)>,
    /// Time of one training, however it ended.
    #[buckets(10.0, 60.0, 300.0, 600.0, 1800.0, 3600.0)]
    ml_model_training_duration_seconds: Histogram<Labels>,
    /// Trainings that did not succeed, by the kind of error.
    ml_model_training_errors_total: Counter<(ModelName, ModelVersion, ErrorType)>,
}

/// The models of a process.
#[derive(Clone)]
pub struct Models {
    registry: Registry,
    metrics: ModelMetrics,
}

/// One version of a model.
#[derive(Clone)]
pub struct Model {
    of: Models,
    labels: Labels,
}

impl Models {
    /// Registers the families.
    ///
    /// # Errors
    /// If one of the names is taken.
    pub fn register(registry: &Registry) -> Result<Models, RegisterError> {
        Ok(Models { metrics: ModelMetrics::register(registry)?, registry: registry.clone() })
    }

    /// A model. Versions are few: past 32 the rest is `__overflow__`, so a version is `v7`, not a run's id.
    pub fn model(&self, name: &str, version: &str) -> Model {
        Model { of: self.clone(), labels: (ModelName::intern(name), ModelVersion::intern(version)) }
    }
}

impl Model {
    /// Starts a prediction of this type: `price_1h`.
    pub fn predict<'a>(&'a self, kind: &'a str) -> Running<impl FnOnce(End) + 'a> {
        Running::start(self.of.registry.stopwatch(), move |end| {
            let (m, (name, version)) = (&self.of.metrics, self.labels);
            m.ml_model_prediction_duration_seconds.at(self.labels).observe_duration(end.took);
            match end.error {
                None => {
                    m.ml_model_predictions_total.at((name, version, PredictionType::intern(kind))).inc();
                }
                Some(error) => m.ml_model_prediction_errors_total.at((name, version, error)).inc(),
            }
        })
    }

    /// Starts a training.
    pub fn train(&self) -> Running<impl FnOnce(End) + '_> {
        Running::start(self.of.registry.stopwatch(), |end| {
            let (m, (name, version)) = (&self.of.metrics, self.labels);
            m.ml_model_training_duration_seconds.at(self.labels).observe_duration(end.took);
            if let Some(error) = end.error {
                m.ml_model_training_errors_total.at((name, version, error)).inc();
            }
        })
    }

    /// Sets a measure of accuracy: `accuracy`, `precision` …
    pub fn accuracy(&self, measure: &str, value: f64) {
        let (name, version) = self.labels;
        self.of.metrics.ml_model_accuracy.at((name, version, MetricType::intern(measure))).set(value);
    }

    /// Sets a drift score: `feature`, `prediction` …
    pub fn drift(&self, kind: &str, score: f64) {
        let (name, version) = self.labels;
        self.of.metrics.ml_model_drift_score.at((name, version, DriftType::intern(kind))).set(score);
    }
}
