//! Prometheus' remote write, versions 1.0 and 2.0.
//!
//! Source: Prometheus Remote-Write specifications 1.0 and 2.0. What can be stored of a request is stored; if
//! anything in it cannot, the answer is 400 with the reason, so that the sender does not try again.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use tradewatch_tsdb::{LABELS_PER_SERIES_MAX, Labels, Metadata, MetricKind, Sample, Timestamp};

use super::wire::{Fields, Wire};
use super::{Body, Failure, Series, Taken, UNPACKED_BYTES_MAX, check_labels, histogram};
use crate::monitor::Monitor;
use crate::telemetry::PushProtocol;

/// No snappy element gives more than 64 bytes for three.
const SNAPPY_RATIO_MAX: usize = 22;

/// `POST /api/v1/write`.
pub async fn receive(State(monitor): State<Arc<Monitor>>, headers: HeaderMap, body: Bytes) -> Response {
    if !monitor.options.web.enable_remote_write_receiver {
        let how = "remote write receiver needs to be enabled with --web.enable-remote-write-receiver\n";
        return (StatusCode::NOT_FOUND, how).into_response();
    }
    let two = match version(&headers) {
        Ok(two) => two,
        Err(why) => return (StatusCode::UNSUPPORTED_MEDIA_TYPE, why + "\n").into_response(),
    };
    let read = move |packed: &[u8]| {
        let unpacked = unpack(packed)?;
        if two { read_two(&unpacked) } else { read_one(&unpacked) }
    };
    let protocol = if two { PushProtocol::RemoteWrite2 } else { PushProtocol::RemoteWrite1 };
    let taken = monitor.pushes.take(protocol, body, read).await;
    let (status, text) = match &taken {
        Ok(taken) if taken.refused == 0 => (StatusCode::NO_CONTENT, String::new()),
        Ok(taken) => (StatusCode::BAD_REQUEST, taken.reason() + "\n"),
        Err(Failure::Bad(why)) => (StatusCode::BAD_REQUEST, format!("{why}\n")),
        Err(Failure::Store(why)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    };
    let mut response = (status, text).into_response();
    if two {
        let taken = taken.unwrap_or_else(|_| Taken::default());
        // Exemplars are read and not kept.
        for (what, count) in [("samples", taken.samples), ("histograms", taken.histograms), ("exemplars", 0)]
        {
            let name = match what {
                "samples" => "x-prometheus-remote-write-samples-written",
                "histograms" => "x-prometheus-remote-write-histograms-written",
                _ => "x-prometheus-remote-write-exemplars-written",
            };
            response.headers_mut().insert(name, HeaderValue::from(count));
        }
    }
    response
}

/// Whether the message is of version 2.0; one without a type is taken as 1.0, as Prometheus does.
fn version(headers: &HeaderMap) -> Result<bool, String> {
    let text =
        |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or("").trim();
    let encoding = text(CONTENT_ENCODING);
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("snappy") {
        return Err(format!("content encoding {encoding:?} is not known; send snappy"));
    }
    let kind = text(CONTENT_TYPE);
    let mut parts = kind.split(';').map(str::trim);
    let media = parts.next().unwrap_or("");
    if !media.is_empty() && !media.eq_ignore_ascii_case("application/x-protobuf") {
        return Err(format!("content type {kind:?} is not known; send application/x-protobuf"));
    }
    match parts.find_map(|part| part.strip_prefix("proto=")) {
        None | Some("prometheus.WriteRequest") => Ok(false),
        Some("io.prometheus.write.v2.Request") => Ok(true),
        Some(other) => Err(format!(
            "message {other:?} is not known; send prometheus.WriteRequest or io.prometheus.write.v2.Request"
        )),
    }
}

/// Unpacks snappy; what a body claims to hold is checked before a byte is set aside for it.
fn unpack(packed: &[u8]) -> Result<Vec<u8>, String> {
    let length = snap::raw::decompress_len(packed).map_err(|error| error.to_string())?;
    if length > UNPACKED_BYTES_MAX {
        return Err(format!("snappy: {length} bytes unpacked are more than {UNPACKED_BYTES_MAX}"));
    }
    if length > packed.len().saturating_mul(SNAPPY_RATIO_MAX) {
        return Err(format!("snappy: {} bytes cannot hold the {length} that they claim", packed.len()));
    }
    snap::raw::Decoder::new().decompress_vec(packed).map_err(|error| error.to_string())
}

/// Reads `prometheus.WriteRequest`.
fn read_one(message: &[u8]) -> Result<Body, String> {
    let mut body = Body::default();
    for field in Fields::of(message) {
        match field? {
            (1, value) => {
                let labels = |value: Wire<'_>, pairs: &mut Vec<_>| label(value).map(|pair| pairs.push(pair));
                add(&mut body, value.bytes()?, labels, Numbers { samples: 2, histograms: 4 })?;
            }
            (3, value) => body.metadata.push(metadata_one(value)?),
            _ => {}
        }
    }
    Ok(body)
}

/// Reads `io.prometheus.write.v2.Request`.
fn read_two(message: &[u8]) -> Result<Body, String> {
    let mut symbols: Vec<&str> = Vec::new();
    for field in Fields::of(message) {
        if let (4, value) = field? {
            symbols.push(value.text()?);
        }
    }
    if symbols.first().is_some_and(|first| !first.is_empty()) {
        return Err(format!("the first symbol must be empty, it is {:?}", symbols[0]));
    }
    let symbol = |at: u64| -> Result<String, String> {
        let found = usize::try_from(at).ok().and_then(|at| symbols.get(at));
        found.map(|text| (*text).to_owned()).ok_or_else(|| format!("symbol {at} of {}", symbols.len()))
    };
    let mut body = Body::default();
    for field in Fields::of(message) {
        let (5, value) = field? else { continue };
        let message = value.bytes()?;
        let mut refs = Vec::new();
        let labels = |value: Wire<'_>, pairs: &mut Vec<(String, String)>| -> Result<(), String> {
            refs.clear();
            value.each_varint(|at| refs.push(at))?;
            if !refs.len().is_multiple_of(2) {
                return Err(format!("{} label references are no pairs", refs.len()));
            }
            for pair in refs.chunks_exact(2).take(LABELS_PER_SERIES_MAX * 2) {
                pairs.push((symbol(pair[0])?, symbol(pair[1])?));
            }
            Ok(())
        };
        let added = add(&mut body, message, labels, Numbers { samples: 2, histograms: 3 })?;
        let Some(name) = added else { continue };
        for field in Fields::of(message) {
            let (5, value) = field? else { continue };
            let mut metadata = Metadata::default();
            for field in value.fields()? {
                match field? {
                    (1, value) => metadata.kind = kind(value.unsigned()?),
                    (3, value) => metadata.help = symbol(value.unsigned()?)?,
                    (4, value) => metadata.unit = symbol(value.unsigned()?)?,
                    _ => {}
                }
            }
            if metadata != Metadata::default() {
                body.metadata.push((family(&name, metadata.kind), metadata));
            }
        }
    }
    Ok(body)
}

/// Where a `TimeSeries` has its samples and histograms.
#[derive(Copy, Clone)]
struct Numbers {
    samples: u32,
    histograms: u32,
}

/// Adds one `TimeSeries`; gives its name, unless its labels cannot be stored.
///
/// A message that cannot be read fails the request, labels that cannot name a series only the series.
fn add(
    body: &mut Body,
    message: &[u8],
    mut labels: impl FnMut(Wire<'_>, &mut Vec<(String, String)>) -> Result<(), String>,
    numbers: Numbers,
) -> Result<Option<String>, String> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut samples = Vec::new();
    let mut broken = None;
    for field in Fields::of(message) {
        let (number, value) = field?;
        if number == 1 {
            labels(value, &mut pairs)?;
            if pairs.len() > LABELS_PER_SERIES_MAX * 2 {
                return Err(format!("a series with more than {LABELS_PER_SERIES_MAX} labels"));
            }
        } else if number == numbers.samples {
            samples.push(sample(value)?);
        } else if number == numbers.histograms {
            match histogram::read(value.bytes()?) {
                Ok(sample) => samples.push(sample),
                Err(why) if why.starts_with("histogram: ") => broken = Some(why),
                Err(why) => return Err(why),
            }
        }
        if samples.len() > super::SAMPLES_MAX {
            return Err(format!("more than {} samples in one series", super::SAMPLES_MAX));
        }
    }
    // An empty value is no label at all.
    let count = pairs.iter().filter(|(_, value)| !value.is_empty()).count();
    let labels = Labels::from_pairs(pairs);
    if let Err(why) = check_labels(&labels, count) {
        body.refuse(samples.len(), why);
        return Ok(None);
    }
    if let Some(why) = broken {
        body.refuse(1, format!("{labels}: {why}"));
    }
    let name = labels.name().unwrap_or("").to_owned();
    if !samples.is_empty() {
        body.push(Series { labels, samples })?;
    }
    Ok(Some(name))
}

fn label(value: Wire<'_>) -> Result<(String, String), String> {
    let (mut name, mut text) = ("", "");
    for field in value.fields()? {
        match field? {
            (1, value) => name = value.text()?,
            (2, value) => text = value.text()?,
            _ => {}
        }
    }
    Ok((name.to_owned(), text.to_owned()))
}

fn sample(value: Wire<'_>) -> Result<Sample, String> {
    let (mut number, mut ts, mut start) = (0.0, 0, 0);
    for field in value.fields()? {
        match field? {
            (1, value) => number = value.double()?,
            (2, value) => ts = value.signed()?,
            (3, value) => start = value.signed()?,
            _ => {}
        }
    }
    let start = (start != 0).then(|| Timestamp::from_millis(start));
    Ok(Sample { start, ..Sample::float(Timestamp::from_millis(ts), number) })
}

fn metadata_one(value: Wire<'_>) -> Result<(String, Metadata), String> {
    let (mut family, mut metadata) = (String::new(), Metadata::default());
    for field in value.fields()? {
        match field? {
            (1, value) => metadata.kind = kind(value.unsigned()?),
            (2, value) => family = value.text()?.to_owned(),
            (4, value) => metadata.help = value.text()?.to_owned(),
            (5, value) => metadata.unit = value.text()?.to_owned(),
            _ => {}
        }
    }
    Ok((family, metadata))
}

/// Both versions number the kinds alike.
fn kind(number: u64) -> MetricKind {
    match number {
        1 => MetricKind::Counter,
        2 => MetricKind::Gauge,
        3 => MetricKind::Histogram,
        4 => MetricKind::GaugeHistogram,
        5 => MetricKind::Summary,
        6 => MetricKind::Info,
        7 => MetricKind::StateSet,
        _ => MetricKind::Unknown,
    }
}

/// The family that a series of a classic histogram or summary belongs to.
fn family(name: &str, kind: MetricKind) -> String {
    let suffixes: &[&str] = match kind {
        MetricKind::Histogram | MetricKind::GaugeHistogram => &["_bucket", "_count", "_sum"],
        MetricKind::Summary => &["_count", "_sum"],
        _ => &[],
    };
    suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_the_message_decides_its_version() {
        let of = |kind: &str, encoding: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, kind.parse().expect("a header"));
            headers.insert(CONTENT_ENCODING, encoding.parse().expect("a header"));
            version(&headers)
        };
        assert_eq!(version(&HeaderMap::new()), Ok(false));
        assert_eq!(of("application/x-protobuf", "snappy"), Ok(false));
        assert_eq!(of("application/x-protobuf;proto=io.prometheus.write.v2.Request", "snappy"), Ok(true));
        assert!(of("application/x-protobuf; proto=v3", "snappy").is_err());
        assert!(of("text/plain", "snappy").is_err() && of("application/x-protobuf", "zstd").is_err());
    }

    #[test]
    fn a_claim_that_cannot_be_true_costs_nothing() {
        // 4 GiB claimed in five bytes, 15 MiB in six, an empty body, and a copy from before the beginning.
        for wrong in [
            &[0xff, 0xff, 0xff, 0xff, 0x0f][..],
            &[0x80, 0x80, 0xc0, 0x07, 0x00, 0x00],
            &[],
            &[4, 0x01, 0x05],
        ] {
            assert!(unpack(wrong).is_err(), "{wrong:?}");
        }
        // The real thing may shrink a lot and is taken.
        let packed = snap::raw::Encoder::new().compress_vec(&vec![b' '; 1 << 20]).expect("packs");
        assert_eq!(unpack(&packed).map(|bytes| bytes.len()), Ok(1 << 20));
    }
}
