//! Text 0.0.4 and OpenMetrics 1.0 from cached pieces.
//!
//! What does not change between two scrapes (headers, names, label blocks) is made once; a line is a copy of
//! two slices and a number. Nothing is allocated unless a new series appeared.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::descriptor::{Descriptor, MetricKind};
use crate::registry::Head;

/// An exposition format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Prometheus text format 0.0.4.
    Text004,
    /// OpenMetrics text format 1.0.0.
    OpenMetrics1,
}

impl Format {
    /// The `Content-Type` to send with it.
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::Text004 => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics1 => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The format that an `Accept` header prefers; text 0.0.4 if it names neither.
    pub fn from_accept(accept: &str) -> Format {
        let (mut best, mut best_quality) = (Format::Text004, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let (mut quality, mut version) = (1.0f64, None);
            for part in parts {
                match part.split_once('=') {
                    Some(("q", value)) => quality = value.parse().unwrap_or(0.0),
                    Some(("version", value)) => version = Some(value.trim_matches('"')),
                    _ => {}
                }
            }
            let format = match (media, version) {
                ("application/openmetrics-text", None | Some("0.0.1" | "1.0.0")) => Format::OpenMetrics1,
                ("text/plain" | "text/*" | "*/*", None | Some("0.0.4")) => Format::Text004,
                _ => continue,
            };
            if quality > best_quality {
                (best, best_quality) = (format, quality);
            }
        }
        best
    }
}

/// A family's headers and sample names in each format.
pub(crate) struct Names {
    header_text: Vec<u8>,
    header_open: Vec<u8>,
    sample_text: Vec<u8>,
    sample_open: Vec<u8>,
}

impl Names {
    pub(crate) fn of(descriptor: &Descriptor) -> Names {
        let open = descriptor.open_metrics_name();
        let sample_open = match descriptor.kind {
            MetricKind::Counter => format!("{open}_total"),
            MetricKind::Info => format!("{open}_info"),
            MetricKind::Gauge | MetricKind::Histogram => open.clone(),
        };
        let kind_text = match descriptor.kind {
            MetricKind::Info => "gauge", // Text 0.0.4 knows no info.
            kind => kind.as_str(),
        };
        Names {
            header_text: header(&descriptor.name, kind_text, "", &descriptor.help, Format::Text004),
            header_open: header(
                &open,
                descriptor.kind.as_str(),
                unit_suffix(&open, descriptor),
                &descriptor.help,
                Format::OpenMetrics1,
            ),
            sample_text: descriptor.name.clone().into_bytes(),
            sample_open: sample_open.into_bytes(),
        }
    }

    pub(crate) fn header(&self, format: Format, out: &mut Vec<u8>) {
        out.extend_from_slice(match format {
            Format::Text004 => &self.header_text,
            Format::OpenMetrics1 => &self.header_open,
        });
    }

    /// The name of the samples, without a histogram's suffixes.
    pub(crate) fn sample(&self, format: Format) -> &[u8] {
        match format {
            Format::Text004 => &self.sample_text,
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

/// Writes `a="b",c="d"` with values escaped.
pub(crate) fn write_labels<'a>(out: &mut Vec<u8>, labels: impl Iterator<Item = (&'a str, &'a str)>) {
    for (at, (name, value)) in labels.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"=\"");
        for byte in value.bytes() {
            match byte {
                b'\\' => out.extend_from_slice(b"\\\\"),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'"' => out.extend_from_slice(b"\\\""),
                byte => out.push(byte),
            }
        }
        out.push(b'"');
    }
}

pub(crate) fn write_u64(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = value;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// The shortest decimal that reads back as the same number.
pub(crate) fn write_f64(out: &mut Vec<u8>, value: f64) {
    let size = value.abs();
    let written = if value.is_nan() {
        out.write_all(b"NaN")
    } else if value.is_infinite() {
        out.write_all(if value > 0.0 { b"+Inf" } else { b"-Inf" })
    } else if size != 0.0 && !(1e-5..1e16).contains(&size) {
        write!(out, "{value:e}")
    } else {
        write!(out, "{value}")
    };
    written.expect("writing to a Vec does not fail");
}

/// A number as OpenMetrics and Prometheus 3 write it in `le`: `0.1`, `1.0`, `1e+06`.
pub(crate) fn canonical(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').expect("{:e} writes an exponent");
    let exponent: i32 = exponent.parse().expect("{:e} writes a decimal exponent");
    if value != 0.0 && !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    format!("{value:?}")
}

/// The label blocks of a family's series, made once for each.
pub(crate) struct Lines {
    /// Whether blocks carry their braces and the blank before the value.
    braces: bool,
    seen: usize,
    bytes: Vec<u8>,
    rows: Vec<Row>,
}

struct Row {
    slot: u32,
    index: u32,
    start: u32,
    end: u32,
}

/// One series of a family.
pub(crate) struct Line<'a> {
    pub(crate) slot: u32,
    pub(crate) index: usize,
    pub(crate) block: &'a [u8],
}

impl Default for Lines {
    fn default() -> Lines {
        Lines { braces: true, seen: 0, bytes: Vec::new(), rows: Vec::new() }
    }
}

impl Lines {
    /// Blocks without braces, for histograms, which add `le`.
    pub(crate) fn bare() -> Lines {
        Lines { braces: false, ..Lines::default() }
    }

    /// Makes the blocks again if the number of series changed. Returns whether it did.
    pub(crate) fn refresh(
        &mut self,
        seen: usize,
        entries: impl Iterator<Item = (usize, u32)>,
        head: &Head,
    ) -> bool {
        if self.seen == seen {
            return false;
        }
        self.seen = seen;
        self.bytes.clear();
        self.rows.clear();
        let names = || head.descriptor.labels.iter().map(|label| label.name.as_str());
        for (index, slot) in entries {
            let Some(values) = (head.values_at)(index) else { continue };
            let start = self.bytes.len() as u32;
            let braces = self.braces && !values.is_empty();
            if braces {
                self.bytes.push(b'{');
            }
            write_labels(&mut self.bytes, names().zip(values));
            if braces {
                self.bytes.push(b'}');
            }
            if self.braces {
                self.bytes.push(b' ');
            }
            self.rows.push(Row { slot, index: index as u32, start, end: self.bytes.len() as u32 });
        }
        true
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Line<'_>> {
        self.rows.iter().map(|row| Line {
            slot: row.slot,
            index: row.index as usize,
            block: &self.bytes[row.start as usize..row.end as usize],
        })
    }
}

fn write_own_header(name: &str, help: &str, format: Format, out: &mut Vec<u8>) {
    let family = if format == Format::Text004 { name } else { name.trim_end_matches("_total") };
    write!(out, "# HELP {family} {help}\n# TYPE {family} counter\n").expect("writing to a Vec does not fail");
}

fn write_own(name: &str, label: &str, value: &str, count: u64, out: &mut Vec<u8>) {
    writeln!(out, "{name}{{{label}=\"{value}\"}} {count}").expect("writing to a Vec does not fail");
}

/// The SDK's own counter of label values that did not fit, one series for each open label in use; two label
/// types of one name are one series. `counts` is sorted by label.
pub(crate) fn overflows(counts: &[(&'static str, &'static AtomicU64)], format: Format, out: &mut Vec<u8>) {
    const NAME: &str = "tradewatch_sdk_label_overflow_total";
    if counts.is_empty() {
        return;
    }
    write_own_header(NAME, "Label values that did not fit into the budget of their label.", format, out);
    for same in counts.chunk_by(|a, b| a.0 == b.0) {
        let count = same.iter().map(|(_, count)| count.load(Ordering::Relaxed)).sum();
        write_own(NAME, "label", same[0].0, count, out);
    }
}

/// The SDK's own counter of values that no instrument takes, one series for each metric that was given one.
pub(crate) fn rejected<'a>(heads: impl Iterator<Item = &'a Head>, format: Format, out: &mut Vec<u8>) {
    const NAME: &str = "tradewatch_sdk_rejected_values_total";
    let mut headed = false;
    for head in heads {
        let count = head.rejected.load(Ordering::Relaxed);
        if count > 0 {
            if !headed {
                write_own_header(NAME, "Values refused: not finite, or negative for a counter.", format, out);
                headed = true;
            }
            write_own(NAME, "metric", &head.descriptor.name, count, out);
        }
    }
}

/// The SDK's own counter of series that got no cells; exposed once there is one.
pub(crate) fn refused(count: u64, format: Format, out: &mut Vec<u8>) {
    const NAME: &str = "tradewatch_sdk_refused_series_total";
    if count > 0 {
        write_own_header(
            NAME,
            "Series that are not counted: the process has used up its cells.",
            format,
            out,
        );
        writeln!(out, "{NAME} {count}").expect("writing to a Vec does not fail");
    }
}
