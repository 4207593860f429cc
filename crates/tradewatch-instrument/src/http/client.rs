//! hyper-util's client, measured, with the time limit that it lacks.

use std::fmt;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::Connect;

use super::exchange::MeasuredBody;
use super::labels::Fault;
use super::layer::{ClientLayer, fault_of};

/// A client of hyper-util whose requests are measured and limited in time.
///
/// The client itself is also a tower service: [`ClientLayer`] measures it without this wrapper.
#[derive(Clone)]
pub struct Client<C, B> {
    inner: legacy::Client<C, B>,
    layer: ClientLayer,
    limit: Duration,
}

impl<C, B> Client<C, B>
where
    C: Connect + Clone + Send + Sync + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Measures `inner` by the families of `layer`; a response's head is waited for as long as `limit`.
    pub fn new(inner: legacy::Client<C, B>, layer: &ClientLayer, limit: Duration) -> Client<C, B> {
        Client { inner, layer: layer.clone(), limit }
    }

    /// Sends a request and waits for the head of its response. The exchange ends with the response's body.
    ///
    /// # Errors
    /// `is_timeout`, `is_connect`, or what hyper says.
    pub async fn request(
        &self,
        request: Request<B>,
    ) -> Result<Response<MeasuredBody<Incoming>>, ClientError> {
        // Dropped while it waits, the exchange is cancelled.
        let exchange = self.layer.start(&request);
        match tokio::time::timeout(self.limit, self.inner.request(request)).await {
            Ok(Ok(response)) => Ok(exchange.respond(response)),
            Ok(Err(error)) => {
                exchange.end(fault_of(&error));
                Err(ClientError(Failure::Hyper(error)))
            }
            Err(_) => {
                exchange.end(Fault::Timeout);
                Err(ClientError(Failure::Late(self.limit)))
            }
        }
    }
}

/// Why a request got no response.
#[derive(Debug)]
pub struct ClientError(Failure);

#[derive(Debug)]
enum Failure {
    Late(Duration),
    Hyper(legacy::Error),
}

impl ClientError {
    /// Whether there was no answer in time.
    pub fn is_timeout(&self) -> bool {
        matches!(self.0, Failure::Late(_))
    }

    /// Whether there was no connection.
    pub fn is_connect(&self) -> bool {
        matches!(&self.0, Failure::Hyper(error) if error.is_connect())
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Failure::Late(limit) => write!(f, "no answer within {limit:?}"),
            Failure::Hyper(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            Failure::Late(_) => None,
            Failure::Hyper(error) => error.source(),
        }
    }
}

impl crate::ErrorKind for ClientError {
    fn error_kind(&self) -> &'static str {
        match &self.0 {
            Failure::Late(_) => crate::TIMEOUT,
            Failure::Hyper(error) => fault_of(error).as_str(),
        }
    }
}
