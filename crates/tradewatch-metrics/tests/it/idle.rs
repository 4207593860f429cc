//! Series that nobody moves any more, and up-down counters.

use tradewatch_metrics::*;

use crate::fixture::*;

#[derive(Metrics, Clone)]
#[metrics(prefix = "desk")]
struct Desk {
    /// Orders by side.
    #[metric(expires = "1m")]
    orders_total: Counter<(Side,)>,
    /// Positions by side.
    #[metric(expires = "1m", unit = "shares")]
    positions_current: Gauge<(Side,)>,
    /// Waits by side.
    #[metric(expires = "1m")]
    #[buckets(0.1, 1)]
    wait_seconds: Histogram<(Side,)>,
    /// Waits by side.
    #[metric(expires = "1m")]
    #[quantiles(0.5)]
    queue_seconds: Summary<(Side,)>,
    /// Orders in flight by side.
    #[metric(expires = "1m")]
    in_flight_current: UpDownCounter<(Side,)>,
    /// Always there.
    #[metric(expires = "1m")]
    ticks_total: Counter,
}

const SERIES: [&str; 5] = [
    "desk_orders_total{side=\"buy\"}",
    "desk_positions_current{side=\"buy\"}",
    "desk_wait_seconds_count{side=\"buy\"}",
    "desk_queue_seconds_count{side=\"buy\"}",
    "desk_in_flight_current{side=\"buy\"}",
];

fn shown(registry: &Registry) -> [Option<f64>; 5] {
    SERIES.map(|series| value(registry, series))
}

#[test]
fn idle_series_are_hidden_and_a_handle_brings_them_back() {
    let hand = Hand::default();
    let registry = hand.registry();
    let m = Desk::register(&registry).unwrap();
    let orders = m.orders_total.at((Side::Buy,)).into_owned();
    let position = m.positions_current.at((Side::Buy,)).into_owned();
    let wait = m.wait_seconds.at((Side::Buy,)).into_owned();
    let queue = m.queue_seconds.at((Side::Buy,)).into_owned();
    let in_flight = m.in_flight_current.at((Side::Buy,)).into_owned();
    let touch = || {
        orders.inc_by(5);
        position.set(7.0);
        wait.observe(0.5);
        queue.observe(0.5);
        drop(in_flight.track());
    };
    touch();
    let all = |count: f64| [Some(5.0 * count), Some(7.0), Some(count), Some(count), Some(0.0)];
    assert_eq!(shown(&registry), all(1.0));
    hand.set(59_999);
    assert_eq!(shown(&registry), all(1.0));
    // A gauge that is set to the same value is not idle.
    position.set(7.0);
    assert_eq!(value(&registry, SERIES[1]), Some(7.0));
    hand.set(60_000);
    assert_eq!(shown(&registry), [None, Some(7.0), None, None, None]);
    hand.set(119_999);
    assert_eq!(shown(&registry), [None; 5]);
    assert_eq!(value(&registry, "desk_ticks_total"), Some(0.0), "without labels there is nothing to expire");
    m.ticks_total.inc();
    // The handles are those of before, and the values go on where they were: no reset, the same `_created`.
    touch();
    let mut back = all(2.0);
    back[4] = None; // It went up and down between two scrapes; nobody saw it move.
    assert_eq!(shown(&registry), back);
    assert!(
        text(&registry, Format::OpenMetrics1).contains("desk_orders_created{side=\"buy\"} 1763640000\n"),
        "{}",
        text(&registry, Format::OpenMetrics1)
    );
    // What is in flight is shown however long it takes.
    let busy = in_flight.track();
    assert_eq!(value(&registry, SERIES[4]), Some(1.0));
    hand.set(10_000_000);
    assert_eq!(shown(&registry), [None, None, None, None, Some(1.0)]);
    drop(busy);
    assert_eq!(value(&registry, SERIES[4]), Some(0.0));
}

#[test]
fn a_clock_that_goes_back_begins_the_wait_again() {
    let hand = Hand::default();
    hand.set(1_000_000);
    let registry = hand.registry();
    let m = Desk::register(&registry).unwrap();
    m.orders_total.at((Side::Buy,)).inc();
    assert_eq!(value(&registry, SERIES[0]), Some(1.0));
    hand.set(0);
    assert_eq!(value(&registry, SERIES[0]), Some(1.0));
    hand.set(59_999);
    assert_eq!(value(&registry, SERIES[0]), Some(1.0));
    hand.set(60_000);
    assert_eq!(value(&registry, SERIES[0]), None);
}

#[test]
fn series_that_come_later_do_not_wake_idle_ones() {
    let hand = Hand::default();
    let registry = hand.registry();
    let m = Desk::register(&registry).unwrap();
    m.orders_total.at((Side::Sell,)).inc();
    assert_eq!(value(&registry, "desk_orders_total{side=\"sell\"}"), Some(1.0));
    hand.set(60_000);
    m.orders_total.at((Side::Buy,)).inc();
    assert_eq!(value(&registry, "desk_orders_total{side=\"sell\"}"), None);
    assert_eq!(value(&registry, SERIES[0]), Some(1.0));
}

#[test]
fn up_down_counters_add_up_over_threads_that_ended() {
    #[derive(Metrics)]
    struct Pool {
        /// Jobs in flight.
        jobs_current: UpDownCounter,
    }
    let registry = Registry::new();
    let m = Pool::register(&registry).unwrap();
    let guards: Vec<_> = std::thread::scope(|scope| {
        let start = |_| {
            let m = &m;
            scope.spawn(move || {
                m.jobs_current.add(10);
                m.jobs_current.add(-13);
                m.jobs_current.track().into_owned()
            })
        };
        let threads: Vec<_> = (0..8).map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(value(&registry, "jobs_current"), Some(-16.0));
    drop(guards); // On another thread than they were made.
    assert_eq!(value(&registry, "jobs_current"), Some(-24.0));
    m.jobs_current.inc();
    m.jobs_current.dec();
    assert_eq!(value(&registry, "jobs_current"), Some(-24.0));
}
