//! `measured`: enums as fixed labels, symbols in a read-only interner, dense storage, as its own benchmarks do it.

use std::hint::black_box;
use std::sync::Arc;

use measured::lasso::{Rodeo, RodeoReader};
use measured::metric::histogram::Thresholds;
use measured::text::BufferedTextEncoder;
use measured::{
    Counter, CounterVec, FixedCardinalityLabel, Histogram, HistogramVec, LabelGroup, MetricGroup,
};

use crate::Subject;
use crate::inputs::{self, EDGES, ENCODE_HISTOGRAM_SYMBOLS, MASK};

#[derive(Clone, Copy, FixedCardinalityLabel)]
enum Side {
    Buy,
    Sell,
}

#[derive(Clone, Copy, FixedCardinalityLabel)]
enum Status {
    New,
    Filled,
    Rejected,
    Failed,
}

#[derive(Clone, Copy, FixedCardinalityLabel)]
enum Strategy {
    S0,
    S1,
    S2,
    S3,
    S4,
    S5,
    S6,
    S7,
}

#[derive(LabelGroup)]
#[label(set = OrderSet)]
struct Order<'a> {
    #[label(fixed_with = RodeoReader)]
    symbol: &'a str,
    side: Side,
    status: Status,
}

#[derive(LabelGroup)]
#[label(set = WideSet)]
struct Wide<'a> {
    #[label(fixed_with = RodeoReader)]
    symbol: &'a str,
    side: Side,
    strategy: Strategy,
}

#[derive(LabelGroup)]
#[label(set = PairSet)]
struct Pair<'a> {
    #[label(fixed_with = RodeoReader)]
    symbol: &'a str,
    side: Side,
}

#[derive(MetricGroup)]
struct Counters {
    /// Orders.
    orders_total: CounterVec<WideSet>,
}

#[derive(MetricGroup)]
struct Histograms {
    /// Latency.
    latency_seconds: HistogramVec<PairSet, 12>,
}

const SIDES: [Side; 2] = [Side::Buy, Side::Sell];
const STATUSES: [Status; 4] = [Status::New, Status::Filled, Status::Rejected, Status::Failed];
const STRATEGIES: [Strategy; 8] = [
    Strategy::S0,
    Strategy::S1,
    Strategy::S2,
    Strategy::S3,
    Strategy::S4,
    Strategy::S5,
    Strategy::S6,
    Strategy::S7,
];

fn symbols(list: &[&'static str]) -> RodeoReader {
    list.iter().copied().collect::<Rodeo>().into_reader()
}

fn edges() -> Thresholds<12> {
    Thresholds::with_buckets(EDGES)
}

pub fn subject() -> Subject {
    let counter = Counter::new();
    let vec = CounterVec::with_label_set(OrderSet::new(symbols(inputs::symbols())));
    let histogram = Arc::new(Histogram::with_metadata(edges()));
    let timed = histogram.clone();
    Subject {
        library: "measured",
        counter: Arc::new(move |n| (0..n).for_each(|_| black_box(&counter).inc())),
        labelled: None,
        named: Arc::new(move |n| {
            let (events, symbols) = (inputs::events(), inputs::symbols());
            for step in 0..n as usize {
                let event = events[step & MASK];
                vec.inc(Order {
                    symbol: symbols[event.symbol],
                    side: SIDES[event.side],
                    status: STATUSES[event.status],
                });
            }
        }),
        histogram: Arc::new(move |n| {
            let events = inputs::events();
            (0..n as usize).for_each(|step| black_box(&*histogram).observe(events[step & MASK].latency));
        }),
        native: None,
        timer: Arc::new(move |n| {
            for _ in 0..n {
                black_box(timed.start_timer()).observe();
            }
        }),
        sampled: None,
        counters: Box::new(|| {
            let set = WideSet::new(symbols(inputs::many_symbols()));
            let group = Counters { orders_total: CounterVec::with_label_set(set) };
            for symbol in inputs::many_symbols() {
                for side in SIDES {
                    for strategy in STRATEGIES {
                        group.orders_total.inc_by(Wide { symbol, side, strategy }, 123_456);
                    }
                }
            }
            let mut encoder = BufferedTextEncoder::new();
            Box::new(move |_| {
                group.collect_group_into(&mut encoder).unwrap();
                encoder.finish().len()
            })
        }),
        histograms: Box::new(|| {
            let list = &inputs::many_symbols()[..ENCODE_HISTOGRAM_SYMBOLS];
            let set = PairSet::new(symbols(list));
            let vec = HistogramVec::with_label_set_and_metadata(set, edges());
            let group = Histograms { latency_seconds: vec };
            for symbol in list {
                SIDES.iter().for_each(|side| {
                    group.latency_seconds.observe(Pair { symbol, side: *side }, 0.003);
                });
            }
            let mut encoder = BufferedTextEncoder::new();
            Box::new(move |_| {
                group.collect_group_into(&mut encoder).unwrap();
                encoder.finish().len()
            })
        }),
    }
}
