//! lapin, measured and limited in time.

use std::time::Duration;

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicPublishOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation};

use crate::call::{CallError, within};
use crate::clients::Messaging;
use crate::labels::ErrorKind;

/// Why a call failed.
pub type Error = CallError<Failure>;

/// What the broker or the client says.
#[derive(Debug)]
pub enum Failure {
    /// lapin's error.
    Client(lapin::Error),
    /// The broker would not take the message.
    Refused,
    /// No queue is bound to where the message went. Only a message published as mandatory is returned.
    Unroutable,
    /// The channel or the connection is gone: there is nothing more to consume.
    Ended,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Client(error) => write!(f, "{error}"),
            Failure::Refused => f.write_str("the broker refused the message"),
            Failure::Unroutable => f.write_str("no queue takes the message"),
            Failure::Ended => f.write_str("the broker ended the consumer, or the connection"),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Failure::Client(error) => Some(error),
            _ => None,
        }
    }
}

impl ErrorKind for Failure {
    fn error_kind(&self) -> &'static str {
        match self {
            Failure::Client(error) => error.error_kind(),
            Failure::Refused => "refused",
            Failure::Unroutable => "unroutable",
            Failure::Ended => "connection",
        }
    }
}

impl ErrorKind for lapin::Error {
    fn error_kind(&self) -> &'static str {
        use lapin::ErrorKind as Kind;
        match self.kind() {
            Kind::IOError(error) | Kind::RuntimeShutdownError(error) => error.error_kind(),
            Kind::MissingHeartbeatError | Kind::InvalidConnectionState(_) => "connection",
            Kind::InvalidChannelState(..) | Kind::InvalidChannel(_) => "channel",
            Kind::ProtocolError(_) => "server",
            _ => "client",
        }
    }
}

/// Publishes on one channel, measured. On a channel in confirm mode a message is published when the broker says so.
///
/// The label is the exchange, or the queue's name where the default exchange is used: a routing key may be anything.
#[derive(Clone)]
pub struct Publisher {
    channel: Channel,
    messaging: Messaging,
    limit: Duration,
}

impl Publisher {
    /// Measures what is published on `channel`; each message waits for the broker for at most `limit`.
    pub fn new(channel: Channel, messaging: Messaging, limit: Duration) -> Publisher {
        Publisher { channel, messaging, limit }
    }

    /// Publishes one message, which must find a queue.
    ///
    /// # Errors
    /// `Timeout`, or why it was not published.
    pub async fn publish(
        &self,
        exchange: &str,
        routing_key: &str,
        payload: &[u8],
        properties: BasicProperties,
    ) -> Result<(), Error> {
        let destination = if exchange.is_empty() { routing_key } else { exchange };
        let work = async {
            let options = BasicPublishOptions { mandatory: true, ..Default::default() };
            let (exchange, key) = (ShortString::from(exchange), ShortString::from(routing_key));
            let sent = self.channel.basic_publish(exchange, key, options, payload, properties);
            match sent.await.map_err(Failure::Client)?.await.map_err(Failure::Client)? {
                Confirmation::Ack(None) | Confirmation::NotRequested => Ok(()),
                Confirmation::Ack(Some(_)) => Err(Failure::Unroutable),
                Confirmation::Nack(_) => Err(Failure::Refused),
            }
        };
        self.messaging.publish(destination).run(within(self.limit, work)).await
    }
}

/// Consumes one queue, measured.
pub struct Consumer {
    inner: lapin::Consumer,
    messaging: Messaging,
    queue: String,
    limit: Duration,
}

impl Consumer {
    /// Measures what `inner` receives; each message is processed for at most `limit`.
    pub fn new(inner: lapin::Consumer, messaging: Messaging, limit: Duration) -> Consumer {
        let queue = inner.queue().as_str().to_owned();
        Consumer { inner, messaging, queue, limit }
    }

    /// Waits for a message and processes it: acknowledged if `work` succeeds, else given back to the queue once and
    /// after that to the dead letters.
    ///
    /// `Ok` is what `work` made of it, an error of `work` included: the message is settled. Dropped while it works,
    /// the message stays unsettled and the broker gives it to another consumer when the channel closes.
    ///
    /// # Errors
    /// If nothing can be received or settled any more.
    pub async fn process<T, E: ErrorKind>(
        &mut self,
        work: impl AsyncFnOnce(&Delivery) -> Result<T, E>,
    ) -> Result<Result<T, CallError<E>>, Error> {
        let delivery = match self.inner.next().await {
            Some(Ok(delivery)) => delivery,
            Some(Err(error)) => return Err(self.lost(Failure::Client(error))),
            None => return Err(self.lost(Failure::Ended)),
        };
        self.messaging.received(&self.queue, None);
        let work = within(self.limit, work(&delivery));
        let outcome = self.messaging.process(&self.queue).run(work).await;
        let settled = if outcome.is_ok() {
            delivery.ack(BasicAckOptions::default()).await
        } else {
            let options = BasicNackOptions { requeue: !delivery.redelivered, ..Default::default() };
            delivery.nack(options).await
        };
        match settled {
            Ok(_) => Ok(outcome),
            Err(error) => Err(self.lost(Failure::Client(error))),
        }
    }

    fn lost(&self, failure: Failure) -> Error {
        self.messaging.received(&self.queue, Some(failure.error_kind()));
        CallError::Failed(failure)
    }
}
