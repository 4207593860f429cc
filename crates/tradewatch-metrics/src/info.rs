//! Infos: facts as labels of a constant 1, such as a version.

use std::sync::{Arc, Mutex, PoisonError};

use crate::descriptor::{Descriptor, MetricKind};
use crate::encode::{self, Line, Page, proto};
use crate::error::RegisterError;
use crate::instrument::{Instrument, descriptor, head};
use crate::label::LabelDescriptor;
use crate::registry::{Batch, Family, Head, Spec};

/// Facts under the `N` label names of `#[labels("…", …)]`, as one series of value 1.
///
/// It is not exposed before the first [`Info::set`]. Setting it again replaces the series, so it never grows.
/// Not for the hot path: it takes a lock and allocates.
pub struct Info<const N: usize> {
    core: Arc<Core<N>>,
}

struct Core<const N: usize> {
    head: Head,
    values: Mutex<Option<[String; N]>>,
}

impl<const N: usize> Info<N> {
    /// Replaces the facts, in the order of the declared label names.
    pub fn set(&self, values: [&str; N]) {
        let values = values.map(str::to_owned);
        *self.core.values.lock().unwrap_or_else(PoisonError::into_inner) = Some(values);
    }

    /// Takes the facts away.
    pub fn clear(&self) {
        *self.core.values.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl<const N: usize> Clone for Info<N> {
    fn clone(&self) -> Self {
        Info { core: Arc::clone(&self.core) }
    }
}

impl<const N: usize> Instrument for Info<N> {
    fn descriptor(spec: &Spec<'_>, service: Option<String>) -> Descriptor {
        let label = |name: &&str| LabelDescriptor { name: (*name).to_owned(), values: None, budget: Some(1) };
        let labels = spec.info_labels.iter().map(label).collect();
        let kind = if spec.info_as_gauge { MetricKind::Gauge } else { MetricKind::Info };
        descriptor(spec, kind, labels, service)
    }

    fn create(batch: &mut Batch<'_>, spec: &Spec<'_>) -> Self {
        let descriptor = Self::descriptor(spec, batch.service());
        if descriptor.labels.len() != N {
            let message = format!("Info<{N}> with {} label names; make them agree", descriptor.labels.len());
            batch.fail(RegisterError::invalid(&descriptor.name, message));
        }
        let (head, _) = head::<()>(batch, spec, descriptor);
        let core = Arc::new(Core { head, values: Mutex::new(None) });
        batch.push(Arc::clone(&core) as Arc<dyn Family>);
        Info { core }
    }
}

impl<const N: usize> Family for Core<N> {
    fn head(&self) -> &Head {
        &self.head
    }

    fn encode(&self, page: &mut Page<'_>) {
        let family = page.begin(&self.head.names);
        if let Some(values) = &*self.values.lock().unwrap_or_else(PoisonError::into_inner) {
            let names = self.head.descriptor.labels.iter().map(|label| label.name.as_str());
            let labels = names.zip(values.iter().map(String::as_str));
            let (mut block, mut message) = (Vec::new(), Vec::new());
            if page.is_proto() {
                labels.for_each(|(name, value)| proto::label(&mut message, name, value));
            } else {
                block.push(b'{');
                encode::write_labels(&mut block, labels);
                block.extend_from_slice(b"} ");
            }
            let line = Line { slot: 0, index: 0, born: 0, block: &block, proto: &message };
            page.gauge(&self.head.names, &line, 1.0);
        }
        page.end(family);
    }
}
