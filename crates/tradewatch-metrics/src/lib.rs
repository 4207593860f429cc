#![doc = include_str!("../README.md")]

extern crate self as tradewatch_metrics;

mod clock;
mod collector;
mod counter;
mod descriptor;
mod dynamic;
mod encode;
#[cfg(feature = "endpoint")]
pub mod endpoint;
mod error;
mod exemplar;
mod gauge;
mod guard;
#[cfg(feature = "endpoint")]
mod health;
mod histogram;
mod info;
mod instrument;
mod intern;
mod label;
mod native;
mod observable;
mod observer;
mod overview;
pub mod parse;
#[cfg(feature = "endpoint")]
mod push;
mod registry;
mod report;
mod rules;
mod series;
mod slab;
mod summary;
mod sync;
mod updown;

pub use clock::Stopwatch;
pub use collector::{Collected, CollectedFamily, Collector};
pub use counter::{Counter, CounterHandle};
pub use descriptor::{
    BUCKETS_MAX, Descriptor, FAMILY_SERIES_MAX, MetricKind, NativeBuckets, QUANTILES_MAX, valid_metric_name,
};
pub use dynamic::Dynamic;
pub use encode::Format;
pub use error::RegisterError;
pub use exemplar::{EXEMPLAR_BYTES_MAX, EXEMPLAR_LABELS_MAX, Exemplar};
pub use gauge::{Gauge, GaugeHandle, InFlight};
pub use guard::{Call, Outcome, SampledTimer, SampledTiming, Timing};
#[cfg(feature = "endpoint")]
pub use health::{DependencyState, Health};
pub use histogram::{Histogram, HistogramHandle};
pub use info::Info;
pub use intern::{LABEL_VALUE_BYTES_MAX, OVERFLOW};
pub use label::{Label, LabelDescriptor, LabelSet};
pub use native::{
    NativeHistogram, NativeHistogramHandle, NativeSnapshot, SCHEMA_MAX, SCHEMA_MIN, ZERO_THRESHOLD_MIN,
    native_bucket_edge,
};
pub use observable::{ObservableCounter, ObservableGauge, Readings};
pub use observer::CALLBACK_LIMIT;
#[cfg(feature = "endpoint")]
pub use push::{Push, PushOptions, PushStats};
pub use registry::{REGISTRY_SERIES_MAX, Registry};
pub use report::{Problem, ProblemKind};
pub use summary::{Summary, SummaryHandle};
pub use tradewatch_metrics_derive::{Label, Metrics};
pub use updown::{UpDownCounter, UpDownHandle};

#[doc(hidden)]
pub use guard::Timed;
#[doc(hidden)]
pub use instrument::Instrument;
#[doc(hidden)]
pub use intern::{LabelPool, Refusals, table_len};
#[doc(hidden)]
pub use label::valid_label_name;
#[doc(hidden)]
pub use registry::{Batch, Spec};
#[doc(hidden)]
pub use rules::is_identifier_label;

/// A struct whose fields are metrics; made by `#[derive(Metrics)]`.
pub trait Metrics: Sized {
    /// What the struct declares, in order of its fields, without registering anything.
    fn descriptors() -> Vec<Descriptor>;

    /// Makes the instruments and puts them into the registry: all of them, or none.
    ///
    /// # Errors
    /// A name that is taken, or a declaration that breaks a rule; the message says what to write.
    fn register(registry: &Registry) -> Result<Self, RegisterError>;

    /// Makes the instruments as part of another struct's registration.
    #[doc(hidden)]
    fn create(batch: &mut Batch<'_>) -> Self;
}
