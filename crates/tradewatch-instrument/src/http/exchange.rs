//! A request on its way: counted once, when its response's body is through or cannot be any more.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower::BoxError;
use tradewatch_metrics::Stopwatch;

use super::labels::{Fault, Place, Status};
use super::names::{Ended, Names};

/// Dropped before its end it was cancelled, or it panicked.
pub(super) struct Exchange {
    names: Arc<Names>,
    watch: Stopwatch,
    method: u8,
    place: Place,
    status: Status,
    late: bool,
    request_bytes: Option<u64>,
    sent: u64,
    /// The response's announced size; what is dropped when so much was sent is whole.
    announced: Option<u64>,
    ended: bool,
}

/// A response body of a known size up to this leaves with its head, and its request ends there.
const WHOLE_BYTES_MAX: u64 = 16 * 1024;
/// The index of HEAD, whose response has no body whatever it announces.
const HEAD: u8 = 5;

impl Exchange {
    #[inline]
    pub(super) fn start(
        names: &Arc<Names>,
        method: u8,
        place: Place,
        request_bytes: Option<u64>,
    ) -> Exchange {
        names.in_flight(method, place, 1);
        Exchange {
            watch: names.registry.stopwatch(),
            names: Arc::clone(names),
            method,
            place,
            status: Status::default(),
            late: false,
            request_bytes,
            sent: 0,
            announced: None,
            ended: false,
        }
    }

    /// The head of the response is there.
    #[inline]
    fn head<B>(&mut self, response: &Response<B>) {
        self.status = Status::of(response.status());
        self.late = matches!(response.status(), StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT);
    }

    /// The head of the response is there; its body ends the exchange, unless it is so short that it leaves with the
    /// head: then it is not wrapped, which would take an allocation.
    #[inline]
    pub(super) fn respond_to_axum<B>(mut self, response: Response<B>) -> Response<axum::body::Body>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.head(&response);
        match response.body().size_hint().exact() {
            Some(size) if size <= WHOLE_BYTES_MAX => {
                self.sent = if self.method == HEAD { 0 } else { size };
                self.end(Fault::None);
                // What is axum's own body already stays as it is.
                response.map(axum::body::Body::new)
            }
            _ => self.respond(response).map(axum::body::Body::new),
        }
    }

    /// The head of the response is there; its body ends the exchange.
    #[inline]
    pub(super) fn respond<B: Body>(mut self, response: Response<B>) -> Response<MeasuredBody<B>> {
        self.head(&response);
        response.map(|body| {
            self.announced = body.size_hint().exact();
            if self.method == HEAD || body.is_end_stream() {
                self.end(Fault::None);
                return MeasuredBody { inner: body, exchange: None };
            }
            MeasuredBody { inner: body, exchange: Some(self) }
        })
    }

    #[inline]
    pub(super) fn end(mut self, fault: Fault) {
        self.finish(fault);
    }

    fn finish(&mut self, fault: Fault) {
        self.ended = true;
        let fault = if fault == Fault::None && self.late { Fault::Timeout } else { fault };
        self.names.in_flight(self.method, self.place, -1);
        self.names.ended(&Ended {
            method: self.method,
            place: self.place,
            status: self.status,
            fault,
            seconds: self.watch.elapsed_seconds(),
            request_bytes: self.request_bytes,
            response_bytes: self.sent,
        });
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let whole = self.announced == Some(self.sent) && self.status != Status::default();
        let fault = match () {
            () if whole => Fault::None,
            () if std::thread::panicking() => Fault::Panic,
            () => Fault::Cancelled,
        };
        self.finish(fault);
    }
}

impl<B> std::fmt::Debug for MeasuredBody<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MeasuredBody").finish_non_exhaustive()
    }
}

/// The size of a body, if it is known before it is read.
pub(super) fn announced<B: Body>(body: &B, headers: &HeaderMap) -> Option<u64> {
    let header = || headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
    body.size_hint().exact().or_else(header)
}

pin_project! {
    /// A response body that is counted, and that ends the measuring of its request.
    pub struct MeasuredBody<B> {
        #[pin]
        inner: B,
        exchange: Option<Exchange>,
    }
}

impl<B: Body> Body for MeasuredBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(context));
        let fault = match &frame {
            Some(Ok(frame)) => {
                if let (Some(data), Some(exchange)) = (frame.data_ref(), this.exchange.as_mut()) {
                    exchange.sent += data.remaining() as u64;
                }
                this.inner.is_end_stream().then_some(Fault::None)
            }
            Some(Err(_)) => Some(Fault::Body),
            None => Some(Fault::None),
        };
        if let Some(fault) = fault
            && let Some(exchange) = this.exchange.take()
        {
            exchange.end(fault);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
