//! One request: sent, and what its answer means.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::wire::{Field, field};
use super::{Error, Options, headers};

/// The most of an answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// The longest pause that a receiver may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

pub(super) struct Sender {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    endpoint: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// What became of a request.
pub(super) enum Verdict {
    /// The receiver has it, but for so many points.
    Taken { rejected: u64 },
    /// To send it again is of no use.
    Refused(String),
    /// To send it again may be, after so long if the receiver says so.
    Later { why: String, after: Option<Duration> },
}

impl Sender {
    pub(super) fn new(options: &Options) -> Result<Sender, Error> {
        let endpoint: Uri = options.endpoint.parse().map_err(|error| {
            Error(format!("the endpoint is no address ({error}); write http://host:4318/v1/metrics"))
        })?;
        if !matches!(endpoint.scheme_str(), Some("http" | "https")) || endpoint.host().is_none() {
            return Err(Error("the endpoint is no address; write http://host:4318/v1/metrics".to_owned()));
        }
        // Ring by name: with two providers linked, rustls would not choose.
        let tls = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
            .map_err(|error| Error(format!("TLS: {error}")))?;
        let client = Client::builder(TokioExecutor::new()).build(tls.https_or_http().enable_http1().build());
        Ok(Sender { client, endpoint, headers: headers(&options.headers)? })
    }

    /// A body as it is sent.
    pub(super) fn packed(&self, body: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
        encoder.write_all(body).expect("writing to a Vec does not fail");
        encoder.finish().expect("writing to a Vec does not fail").into()
    }

    pub(super) async fn send(&self, body: Bytes, limit: Duration) -> Verdict {
        let later = |why: String| Verdict::Later { why, after: None };
        match tokio::time::timeout(limit, self.exchange(body)).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(why)) => later(why),
            Err(_) => later(format!("no answer within {limit:?}")),
        }
    }

    async fn exchange(&self, body: Bytes) -> Result<Verdict, String> {
        let mut request = Request::post(self.endpoint.clone())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .header(CONTENT_ENCODING, "gzip");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        let response = self.client.request(request).await.map_err(|error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            format!("{error}{}", cause.unwrap_or_default())
        })?;
        let status = response.status();
        let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let after = after.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
        let answer = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let answer = answer.map(|body| body.to_bytes()).map_err(|error| error.to_string());
        Ok(match status {
            // The head is the verdict: a request whose answer breaks off after it was taken must not be sent twice.
            _ if status.is_success() => Verdict::Taken { rejected: rejected(&answer.unwrap_or_default()) },
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => {
                Verdict::Later { why: format!("the receiver answered {status}"), after }
            }
            _ => Verdict::Refused(format!("the receiver answered {status}")),
        })
    }
}

/// `partial_success.rejected_data_points` of an `ExportMetricsServiceResponse`.
fn rejected(answer: &[u8]) -> u64 {
    let Some(Field::Bytes(partial)) = field(answer, 1) else { return 0 };
    match field(partial, 1) {
        Some(Field::Uint(count)) => count,
        _ => 0,
    }
}
