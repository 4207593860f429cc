//! Native histograms in protobuf: runs of buckets, and each count as its difference to the one before.

use super::{Le, Line, Page, proto};
use crate::exemplar::Shown;
use crate::native::NativeSnapshot;

/// Empty buckets between two that hold something are written out if there are no more than this: two bytes, as a
/// new run takes four.
const GAP_MAX: i32 = 2;

/// The fields of one side in `Histogram`.
struct Side {
    span: u32,
    delta: u32,
}

const NEGATIVE: Side = Side { span: 9, delta: 10 };
const POSITIVE: Side = Side { span: 12, delta: 13 };

impl Page<'_> {
    /// A native histogram, with its classic buckets if it has some.
    pub(crate) fn native(
        &mut self,
        line: &Line<'_>,
        snapshot: &NativeSnapshot,
        les: &[Le],
        created: u64,
        exemplars: &[Option<Shown>],
    ) {
        let metric = self.metric_proto(line);
        let histogram = proto::begin(self.out, 7);
        proto::uint(self.out, 1, snapshot.count);
        proto::double(self.out, 2, snapshot.sum);
        if !snapshot.classic.is_empty() {
            self.classic_proto(les, &snapshot.classic, &[]);
        }
        proto::sint(self.out, 5, i64::from(snapshot.schema));
        proto::double(self.out, 6, snapshot.zero_threshold);
        proto::uint(self.out, 7, snapshot.zero_count);
        self.side(&NEGATIVE, &snapshot.negative);
        self.side(&POSITIVE, &snapshot.positive);
        if snapshot.negative.is_empty() && snapshot.positive.is_empty() {
            // Without a run a reader takes it for a classic one, even with a zero bucket.
            let empty = proto::begin(self.out, POSITIVE.span);
            proto::sint(self.out, 1, 0);
            proto::uint(self.out, 2, 0);
            proto::end(self.out, empty);
        }
        if created > 0 {
            proto::timestamp(self.out, 15, created);
        }
        exemplars.iter().flatten().for_each(|exemplar| exemplar.write_proto(self.out, 16));
        proto::end(self.out, histogram);
        proto::end(self.out, metric);
    }

    /// The buckets above or below zero: where the runs are, then the counts.
    fn side(&mut self, side: &Side, buckets: &[(i32, u64)]) {
        let mut end = 0i32;
        for run in runs(buckets) {
            let (first, last) = (run[0].0, run[run.len() - 1].0);
            let span = proto::begin(self.out, side.span);
            proto::sint(self.out, 1, i64::from(first - end));
            proto::uint(self.out, 2, (last - first + 1) as u64);
            proto::end(self.out, span);
            end = last + 1;
        }
        if buckets.is_empty() {
            return;
        }
        let deltas = proto::begin(self.out, side.delta);
        let mut before = 0u64;
        for run in runs(buckets) {
            let mut next = run[0].0;
            for (bucket, count) in run {
                while next < *bucket {
                    proto::varint(self.out, proto::zigzag(0u64.wrapping_sub(before) as i64));
                    (before, next) = (0, next + 1);
                }
                proto::varint(self.out, proto::zigzag(count.wrapping_sub(before) as i64));
                (before, next) = (*count, next + 1);
            }
        }
        proto::end(self.out, deltas);
    }
}

/// Buckets without a long gap between them.
fn runs(buckets: &[(i32, u64)]) -> impl Iterator<Item = &[(i32, u64)]> {
    buckets.chunk_by(|a, b| b.0 - a.0 - 1 <= GAP_MAX)
}
