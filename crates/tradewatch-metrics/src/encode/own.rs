//! What the SDK tells about itself: counters of what it had to refuse.

use std::io::Write;

use super::{Format, Page, proto};

/// One of the SDK's own counters.
pub(crate) struct Own {
    /// Its name in text 0.0.4, with `_total`.
    pub(crate) name: &'static str,
    /// What it tells.
    pub(crate) help: &'static str,
    /// The names of its labels.
    pub(crate) labels: &'static [&'static str],
}

/// Writes one of the SDK's own counters: a series for each of `rows`, and nothing if there are none. Nothing is
/// allocated.
pub(crate) fn write_own<'a, const N: usize>(
    page: &mut Page<'_>,
    own: &Own,
    rows: impl Iterator<Item = ([&'a str; N], u64)>,
) {
    let mut rows = rows.peekable();
    if rows.peek().is_none() {
        return;
    }
    if page.is_proto() {
        let family = proto::begin_delimited(page.out);
        proto::bytes(page.out, 1, own.name.as_bytes());
        proto::bytes(page.out, 2, own.help.as_bytes());
        proto::uint(page.out, 3, 0);
        for (values, count) in rows {
            let metric = proto::begin(page.out, 4);
            for (name, value) in own.labels.iter().zip(values) {
                proto::label(page.out, name, value);
            }
            let counter = proto::begin(page.out, 3);
            proto::double(page.out, 1, count as f64);
            proto::end(page.out, counter);
            proto::end(page.out, metric);
        }
        return proto::end(page.out, family);
    }
    let text = page.format == Format::Text004;
    let family = if text { own.name } else { own.name.trim_end_matches("_total") };
    write!(page.out, "# HELP {family} {}\n# TYPE {family} counter\n", own.help)
        .expect("writing to a Vec does not fail");
    for (values, count) in rows {
        page.out.extend_from_slice(own.name.as_bytes());
        if N > 0 {
            page.out.push(b'{');
            super::write_labels(page.out, own.labels.iter().copied().zip(values));
            page.out.push(b'}');
        }
        page.out.push(b' ');
        super::write_u64(page.out, count);
        page.out.push(b'\n');
    }
}
