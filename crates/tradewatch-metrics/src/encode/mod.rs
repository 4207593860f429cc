//! Text 0.0.4, OpenMetrics 1.0 and Prometheus protobuf from cached pieces.
//!
//! What does not change between two scrapes (headers, names, label blocks) is made once; a line is a copy of
//! two slices and a number. Nothing is allocated unless a new series appeared.

use std::time::Duration;

use crate::descriptor::{Descriptor, MetricKind};
use crate::exemplar::Shown;
use crate::slab::Scrape;

mod lines;
mod native;
mod own;
pub(crate) mod proto;
mod text;

pub(crate) use lines::{Entry, Line, Lines};
pub(crate) use own::{Own, write_own};
pub(crate) use text::{canonical, write_f64, write_labels, write_seconds, write_u64};

/// An exposition format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Prometheus text format 0.0.4.
    Text004,
    /// OpenMetrics text format 1.0.0.
    OpenMetrics1,
    /// Prometheus protobuf, `io.prometheus.client.MetricFamily`, each with its length in front. The only
    /// format with native histograms.
    Protobuf,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 3] = [Format::Text004, Format::OpenMetrics1, Format::Protobuf];

    /// The `Content-Type` to send with it.
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::Text004 => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics1 => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    /// The format that an `Accept` header prefers, by its qualities and at the same quality by its order; text
    /// 0.0.4 if it names none.
    pub fn from_accept(accept: &str) -> Format {
        let (mut best, mut best_quality) = (Format::Text004, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut quality, mut version) = (1.0f64, None);
            let (mut proto, mut encoding) = (None, None);
            for part in parts {
                let Some((name, value)) = part.split_once('=') else { continue };
                let value = value.trim().trim_matches('"');
                match name.trim().to_ascii_lowercase().as_str() {
                    "q" => quality = value.parse().unwrap_or(0.0),
                    "version" => version = Some(value),
                    "proto" => proto = Some(value),
                    "encoding" => encoding = Some(value),
                    _ => {}
                }
            }
            let format = match (media.as_str(), version) {
                ("application/openmetrics-text", None | Some("0.0.1" | "1.0.0")) => Format::OpenMetrics1,
                ("text/plain" | "text/*" | "*/*", None | Some("0.0.4")) => Format::Text004,
                ("application/vnd.google.protobuf", _)
                    if proto == Some("io.prometheus.client.MetricFamily")
                        && encoding == Some("delimited") =>
                {
                    Format::Protobuf
                }
                _ => continue,
            };
            if quality > best_quality {
                (best, best_quality) = (format, quality);
            }
        }
        best
    }
}

/// A scrape being written.
pub(crate) struct Page<'a> {
    pub(crate) format: Format,
    /// The registry's clock, for what depends on time: expiry, the window of a summary.
    pub(crate) now: Duration,
    pub(crate) scrape: &'a Scrape,
    pub(crate) out: &'a mut Vec<u8>,
}

/// A family that was begun on a page.
#[must_use]
pub(crate) struct Begun {
    /// Where the message begins and where its metrics do; only in protobuf.
    message: Option<(usize, usize, proto::Mark)>,
}

/// The value of a counter.
#[derive(Clone, Copy)]
pub(crate) enum Number {
    Whole(u64),
    Fraction(f64),
}

/// The buckets of one classic histogram, as they belong together.
pub(crate) struct Buckets<'a> {
    pub(crate) les: &'a [Le],
    /// One count for each edge and one above them all; not cumulative.
    pub(crate) counts: &'a [u64],
    pub(crate) sum: f64,
    /// When counting began, in Unix milliseconds; 0 if nobody knows.
    pub(crate) created: u64,
    /// The exemplar of each bucket; may be shorter than `counts`.
    pub(crate) exemplars: &'a [Option<Shown>],
}

/// One edge, and `le="0.1"} ` with a comma in front if there are other labels.
pub(crate) struct Le {
    pub(crate) edge: f64,
    suffix: Vec<u8>,
}

impl Le {
    /// The edges of a histogram, `+Inf` last.
    pub(crate) fn all(labelled: bool, edges: &[f64]) -> Vec<Le> {
        edges.iter().chain([&f64::INFINITY]).map(|edge| Le::new(labelled, "le", *edge)).collect()
    }

    pub(crate) fn new(labelled: bool, label: &str, edge: f64) -> Le {
        let comma = if labelled { "," } else { "" };
        Le { edge, suffix: format!("{comma}{label}=\"{}\"}} ", canonical(edge)).into_bytes() }
    }
}

impl Page<'_> {
    pub(crate) fn is_proto(&self) -> bool {
        self.format == Format::Protobuf
    }

    /// Begins a family: its headers.
    pub(crate) fn begin(&mut self, names: &Names) -> Begun {
        match self.format {
            Format::Text004 => self.out.extend_from_slice(&names.header_text),
            Format::OpenMetrics1 => self.out.extend_from_slice(&names.header_open),
            Format::Protobuf => {
                let start = self.out.len();
                let mark = proto::begin_delimited(self.out);
                self.out.extend_from_slice(&names.header_proto);
                return Begun { message: Some((start, self.out.len(), mark)) };
            }
        }
        Begun { message: None }
    }

    pub(crate) fn end(&mut self, begun: Begun) {
        let Some((start, metrics, mark)) = begun.message else { return };
        if self.out.len() == metrics {
            // Protobuf shows no family without a metric.
            self.out.truncate(start);
        } else {
            proto::end(self.out, mark);
        }
    }

    /// A counter. The line's block has braces.
    #[inline]
    pub(crate) fn counter(
        &mut self,
        names: &Names,
        line: &Line<'_>,
        value: Number,
        created: u64,
        exemplar: Option<&Shown>,
    ) {
        let name = match self.format {
            Format::Text004 => &names.sample_text,
            Format::OpenMetrics1 => &names.sample_open,
            Format::Protobuf => return self.counter_proto(line, value, created, exemplar),
        };
        self.out.extend_from_slice(name);
        self.out.extend_from_slice(line.block);
        match value {
            Number::Whole(value) => write_u64(self.out, value),
            Number::Fraction(value) => write_f64(self.out, value),
        }
        if self.format == Format::OpenMetrics1 {
            self.exemplar(exemplar);
            self.out.push(b'\n');
            self.created(names, line, created);
        } else {
            self.out.push(b'\n');
        }
    }

    fn counter_proto(&mut self, line: &Line<'_>, value: Number, created: u64, exemplar: Option<&Shown>) {
        let metric = self.metric_proto(line);
        let counter = proto::begin(self.out, 3);
        let value = match value {
            Number::Whole(value) => value as f64,
            Number::Fraction(value) => value,
        };
        proto::double(self.out, 1, value);
        if let Some(exemplar) = exemplar {
            exemplar.write_proto(self.out, 2);
        }
        if created > 0 {
            proto::timestamp(self.out, 3, created);
        }
        proto::end(self.out, counter);
        proto::end(self.out, metric);
    }

    /// A gauge. The line's block has braces.
    #[inline]
    pub(crate) fn gauge(&mut self, names: &Names, line: &Line<'_>, value: f64) {
        let name = match self.format {
            Format::Text004 => &names.sample_text,
            Format::OpenMetrics1 => &names.sample_open,
            Format::Protobuf => {
                let metric = self.metric_proto(line);
                let gauge = proto::begin(self.out, 2);
                proto::double(self.out, 1, value);
                proto::end(self.out, gauge);
                return proto::end(self.out, metric);
            }
        };
        self.out.extend_from_slice(name);
        self.out.extend_from_slice(line.block);
        write_f64(self.out, value);
        self.out.push(b'\n');
    }

    /// A histogram with classic buckets. The line's block has no braces.
    pub(crate) fn histogram(&mut self, names: &Names, line: &Line<'_>, buckets: &Buckets<'_>) {
        if self.is_proto() {
            return self.histogram_proto(line, buckets);
        }
        let name = names.sample(self.format);
        let mut cumulative = 0u64;
        for (at, (le, count)) in buckets.les.iter().zip(buckets.counts).enumerate() {
            cumulative = cumulative.wrapping_add(*count);
            self.out.extend_from_slice(name);
            self.out.extend_from_slice(b"_bucket{");
            self.out.extend_from_slice(line.block);
            self.out.extend_from_slice(&le.suffix);
            write_u64(self.out, cumulative);
            if self.format == Format::OpenMetrics1 {
                self.exemplar(buckets.exemplars.get(at).and_then(Option::as_ref));
            }
            self.out.push(b'\n');
        }
        self.sum_and_count(names, line, buckets.sum, cumulative, buckets.created);
    }

    fn histogram_proto(&mut self, line: &Line<'_>, buckets: &Buckets<'_>) {
        let metric = self.metric_proto(line);
        let histogram = proto::begin(self.out, 7);
        proto::uint(self.out, 1, buckets.counts.iter().fold(0, |sum, count| sum.wrapping_add(*count)));
        proto::double(self.out, 2, buckets.sum);
        self.classic_proto(buckets.les, buckets.counts, buckets.exemplars);
        if buckets.created > 0 {
            proto::timestamp(self.out, 15, buckets.created);
        }
        proto::end(self.out, histogram);
        proto::end(self.out, metric);
    }

    fn classic_proto(&mut self, les: &[Le], counts: &[u64], exemplars: &[Option<Shown>]) {
        let mut cumulative = 0u64;
        for (at, (le, count)) in les.iter().zip(counts).enumerate() {
            cumulative = cumulative.wrapping_add(*count);
            let bucket = proto::begin(self.out, 3);
            proto::uint(self.out, 1, cumulative);
            proto::double(self.out, 2, le.edge);
            if let Some(Some(exemplar)) = exemplars.get(at) {
                exemplar.write_proto(self.out, 3);
            }
            proto::end(self.out, bucket);
        }
    }

    /// A summary: a value for each quantile (NaN if nothing was seen), and the sum and count since it began.
    /// The line's block has no braces.
    pub(crate) fn summary(
        &mut self,
        names: &Names,
        line: &Line<'_>,
        quantiles: &[Le],
        values: &[f64],
        (sum, count): (f64, u64),
        created: u64,
    ) {
        if self.is_proto() {
            let metric = self.metric_proto(line);
            let summary = proto::begin(self.out, 4);
            proto::uint(self.out, 1, count);
            proto::double(self.out, 2, sum);
            for (quantile, value) in quantiles.iter().zip(values) {
                let message = proto::begin(self.out, 3);
                proto::double(self.out, 1, quantile.edge);
                proto::double(self.out, 2, *value);
                proto::end(self.out, message);
            }
            if created > 0 {
                proto::timestamp(self.out, 4, created);
            }
            proto::end(self.out, summary);
            return proto::end(self.out, metric);
        }
        for (quantile, value) in quantiles.iter().zip(values) {
            self.out.extend_from_slice(names.sample(self.format));
            self.out.push(b'{');
            self.out.extend_from_slice(line.block);
            self.out.extend_from_slice(&quantile.suffix);
            write_f64(self.out, *value);
            self.out.push(b'\n');
        }
        self.sum_and_count(names, line, sum, count, created);
    }

    /// The lines that end a histogram or summary in the text formats.
    pub(crate) fn sum_and_count(
        &mut self,
        names: &Names,
        line: &Line<'_>,
        sum: f64,
        count: u64,
        created: u64,
    ) {
        for (suffix, is_sum) in [(&b"_sum"[..], true), (b"_count", false)] {
            self.out.extend_from_slice(names.sample(self.format));
            self.out.extend_from_slice(suffix);
            self.block(line);
            if is_sum {
                write_f64(self.out, sum)
            } else {
                write_u64(self.out, count)
            }
            self.out.push(b'\n');
        }
        if self.format == Format::OpenMetrics1 && created > 0 {
            self.out.extend_from_slice(&names.created_open);
            self.block(line);
            write_seconds(self.out, created);
            self.out.push(b'\n');
        }
    }

    /// A block without braces, with them and the blank before the value.
    fn block(&mut self, line: &Line<'_>) {
        if !line.block.is_empty() {
            self.out.push(b'{');
            self.out.extend_from_slice(line.block);
            self.out.push(b'}');
        }
        self.out.push(b' ');
    }

    /// Begins a metric in protobuf: its labels.
    pub(crate) fn metric_proto(&mut self, line: &Line<'_>) -> proto::Mark {
        let metric = proto::begin(self.out, 4);
        self.out.extend_from_slice(line.proto);
        metric
    }

    fn created(&mut self, names: &Names, line: &Line<'_>, created: u64) {
        if created > 0 {
            self.out.extend_from_slice(&names.created_open);
            self.out.extend_from_slice(line.block);
            write_seconds(self.out, created);
            self.out.push(b'\n');
        }
    }

    fn exemplar(&mut self, exemplar: Option<&Shown>) {
        if let Some(exemplar) = exemplar {
            exemplar.write_open(self.out);
        }
    }
}

/// A family's headers and sample names in each format.
pub(crate) struct Names {
    header_text: Vec<u8>,
    header_open: Vec<u8>,
    header_proto: Vec<u8>,
    sample_text: Vec<u8>,
    sample_open: Vec<u8>,
    created_open: Vec<u8>,
}

impl Names {
    pub(crate) fn of(descriptor: &Descriptor) -> Names {
        let open = descriptor.open_metrics_name();
        let sample_open = match descriptor.kind {
            MetricKind::Counter => format!("{open}_total"),
            MetricKind::Info => format!("{open}_info"),
            MetricKind::Gauge | MetricKind::Histogram | MetricKind::Summary => open.clone(),
        };
        let kind_text = match descriptor.kind {
            MetricKind::Info => "gauge", // Text 0.0.4 knows no info.
            kind => kind.as_str(),
        };
        let unit = unit_suffix(&open, descriptor);
        Names {
            header_text: header(&descriptor.name, kind_text, "", &descriptor.help, Format::Text004),
            header_open: header(
                &open,
                descriptor.kind.as_str(),
                unit,
                &descriptor.help,
                Format::OpenMetrics1,
            ),
            header_proto: header_proto(descriptor, unit),
            sample_text: descriptor.name.clone().into_bytes(),
            sample_open: sample_open.into_bytes(),
            created_open: format!("{open}_created").into_bytes(),
        }
    }

    /// The name of the samples, without a histogram's suffixes.
    pub(crate) fn sample(&self, format: Format) -> &[u8] {
        match format {
            Format::Text004 | Format::Protobuf => &self.sample_text,
            Format::OpenMetrics1 => &self.sample_open,
        }
    }
}

/// OpenMetrics allows a UNIT line only if the name ends in the unit, and never for an info.
fn unit_suffix<'a>(open_name: &str, descriptor: &'a Descriptor) -> &'a str {
    let unit = descriptor.unit.as_str();
    let said = open_name.strip_suffix(unit).is_some_and(|rest| rest.len() > 1 && rest.ends_with('_'));
    if unit.is_empty() || !said || descriptor.kind == MetricKind::Info { "" } else { unit }
}

/// Name, help, type and unit: the fields 1, 2, 3 and 5 of `MetricFamily`.
fn header_proto(descriptor: &Descriptor, unit: &str) -> Vec<u8> {
    let mut out = Vec::new();
    proto::bytes(&mut out, 1, descriptor.name.as_bytes());
    proto::bytes(&mut out, 2, descriptor.help.as_bytes());
    let kind = match descriptor.kind {
        MetricKind::Counter => 0,
        MetricKind::Gauge | MetricKind::Info => 1,
        MetricKind::Summary => 2,
        MetricKind::Histogram => 4,
    };
    proto::uint(&mut out, 3, kind);
    if !unit.is_empty() {
        proto::bytes(&mut out, 5, unit.as_bytes());
    }
    out
}

fn header(name: &str, kind: &str, unit: &str, help: &str, format: Format) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(b"# HELP ");
    out.extend_from_slice(name.as_bytes());
    out.push(b' ');
    for byte in help.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'"' if format == Format::OpenMetrics1 => out.extend_from_slice(b"\\\""),
            byte => out.push(byte),
        }
    }
    out.extend_from_slice(format!("\n# TYPE {name} {kind}\n").as_bytes());
    if !unit.is_empty() {
        out.extend_from_slice(format!("# UNIT {name} {unit}\n").as_bytes());
    }
    out
}
