//! What the four instruments have in common when they are declared.

use std::sync::atomic::AtomicU64;

use crate::descriptor::{Descriptor, FAMILY_SERIES_MAX, MetricKind, unit_of_name};
use crate::encode::Names;
use crate::error::RegisterError;
use crate::label::{LabelDescriptor, LabelSet};
use crate::registry::{Batch, Head, Spec};

/// A type that may stand in a field of a metrics struct.
#[doc(hidden)]
pub trait Instrument: Sized {
    /// What the declaration says, without registering it.
    fn descriptor(spec: &Spec<'_>, service: Option<String>) -> Descriptor;
    /// Makes the instrument and adds its family to the batch.
    fn create(batch: &mut Batch<'_>, spec: &Spec<'_>) -> Self;
}

pub(crate) fn descriptor(
    spec: &Spec<'_>,
    kind: MetricKind,
    labels: Vec<LabelDescriptor>,
    service: Option<String>,
) -> Descriptor {
    Descriptor {
        name: spec.name.to_owned(),
        kind,
        unit: spec.unit.unwrap_or_else(|| unit_of_name(spec.name)).to_owned(),
        help: spec.help.trim().to_owned(),
        labels,
        buckets: if kind == MetricKind::Histogram { spec.buckets.to_vec() } else { Vec::new() },
        quantiles: if kind == MetricKind::Summary { spec.quantiles.to_vec() } else { Vec::new() },
        expires: spec.expires,
        native: spec.native,
        service,
        event: spec.event.map(str::to_owned),
        legacy_name: spec.legacy_name.map(str::to_owned),
    }
}

/// The head of a new family and how many series it may have: none if the declaration is wrong.
pub(crate) fn head<L: LabelSet>(
    batch: &mut Batch<'_>,
    spec: &Spec<'_>,
    descriptor: Descriptor,
) -> (Head, usize) {
    let mut cardinality = L::CARDINALITY;
    if cardinality > FAMILY_SERIES_MAX {
        let message = format!(
            "its labels make {cardinality} series, more than {FAMILY_SERIES_MAX}; drop a label or lower a budget"
        );
        batch.fail(RegisterError::invalid(&descriptor.name, message));
        cardinality = 0;
    }
    if let Err(error) = descriptor.check() {
        batch.fail(error);
        cardinality = 0;
    }
    let head = Head {
        names: Names::of(&descriptor),
        prefix: spec.prefix.unwrap_or_default().to_owned(),
        // One series that is always there has nothing to make room for.
        expires: descriptor.expires.filter(|_| L::LEN > 0),
        descriptor,
        values_at: L::values_at,
        index_of: L::index_of,
        refusals: L::refusals(),
        overflowed: AtomicU64::new(0),
        rejected: AtomicU64::new(0),
        rejected_exemplars: AtomicU64::new(0),
    };
    (head, cardinality)
}
