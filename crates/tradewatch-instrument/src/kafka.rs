//! krafka, measured. The one module that knows its API, which changes with every release.

use std::time::Duration;

use krafka::Record;
use krafka::consumer::{Consumer as Inner, ConsumerRecord};
use krafka::error::KrafkaError;
use krafka::producer::RecordMetadata;

use crate::call::{CallError, within};
use crate::clients::Messaging;
use crate::labels::{ErrorKind, TIMEOUT};

/// Why a call failed.
pub type Error = CallError<KrafkaError>;

/// Sends records, measured; a record is published when the broker has acknowledged it.
pub struct Producer {
    inner: krafka::producer::Producer,
    messaging: Messaging,
    limit: Duration,
}

impl Producer {
    /// Measures what `inner` sends; each record waits for the broker for at most `limit`.
    pub fn new(inner: krafka::producer::Producer, messaging: Messaging, limit: Duration) -> Producer {
        Producer { inner, messaging, limit }
    }

    /// The producer itself, to close it, say.
    pub fn inner(&self) -> &krafka::producer::Producer {
        &self.inner
    }

    /// Sends one record.
    ///
    /// # Errors
    /// `Timeout`, or why it was not acknowledged.
    pub async fn send(&self, record: Record) -> Result<RecordMetadata, Error> {
        let topic = record.topic.clone();
        self.messaging.publish(&topic).run(within(self.limit, self.inner.send(record))).await
    }
}

/// Receives records, measured.
pub struct Consumer {
    inner: Inner,
    messaging: Messaging,
    limit: Duration,
}

impl Consumer {
    /// Measures what `inner` receives; each record is processed for at most `limit`. The group is `messaging`'s.
    pub fn new(inner: Inner, messaging: Messaging, limit: Duration) -> Consumer {
        Consumer { inner, messaging, limit }
    }

    /// The consumer itself: to subscribe, commit, close.
    pub fn inner(&self) -> &Inner {
        &self.inner
    }

    /// Waits for a record and processes it. `None` when the consumer was closed.
    ///
    /// The inner result is what `work` made of it; committing is the caller's, since whether a failed record is
    /// passed over is.
    ///
    /// # Errors
    /// If nothing could be received; `topic` is then counted as `unknown`.
    pub async fn process<T, E: ErrorKind>(
        &self,
        work: impl AsyncFnOnce(&ConsumerRecord) -> Result<T, E>,
    ) -> Result<Option<Result<T, CallError<E>>>, KrafkaError> {
        let record = match self.inner.recv().await {
            Ok(Some(record)) => record,
            Ok(None) => return Ok(None),
            Err(error) => {
                self.messaging.received("unknown", Some(error.error_kind()));
                return Err(error);
            }
        };
        self.messaging.received(&record.topic, None);
        let work = within(self.limit, work(&record));
        Ok(Some(self.messaging.process(&record.topic).run(work).await))
    }
}

impl ErrorKind for KrafkaError {
    fn error_kind(&self) -> &'static str {
        match self {
            KrafkaError::Network(_) => "connection",
            KrafkaError::Timeout { .. } | KrafkaError::DeliveryTimeout { .. } => TIMEOUT,
            KrafkaError::Auth { .. } => "permission_denied",
            KrafkaError::Broker { .. } => "server",
            KrafkaError::UnknownTopic { .. } => "unknown_topic",
            KrafkaError::Closed { .. } => "closed",
            KrafkaError::Serialization { .. } | KrafkaError::RecordDeserialization { .. } => "serialization",
            KrafkaError::Fenced { .. } => "fenced",
            _ => "client",
        }
    }
}
