//! What the HTTP layer adds to a request above a layer that does nothing: an axum router called in process, its
//! response read to the end.

use std::hint::black_box;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::http::Request;
use axum::response::Response;
use axum::routing::get;
use tower::{Layer, Service};
use tradewatch_instrument::Vocabulary;
use tradewatch_instrument::http::ServerLayer;
use tradewatch_metrics::Registry;

use crate::measure::{Op, Variant, measure};

/// Nanoseconds a request that the layer may add.
const TARGET_NS: f64 = 200.0;

/// A layer whose service hands everything on.
#[derive(Clone)]
struct Empty;

#[derive(Clone)]
struct Through<S>(S);

impl<S> Layer<S> for Empty {
    type Service = Through<S>;
    fn layer(&self, inner: S) -> Through<S> {
        Through(inner)
    }
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for Through<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }
    fn call(&mut self, request: Request<Body>) -> S::Future {
        self.0.call(request)
    }
}

fn routes() -> Router {
    Router::new().route("/api/v1/orders/{id}", get(|| async { "filled" }))
}

fn op(router: Router) -> Op {
    Arc::new(move |n| {
        let mut router = router.clone();
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..n {
            let request = Request::get("/api/v1/orders/7").body(Body::empty()).expect("valid");
            let mut future = pin!(Service::<Request<Body>>::call(&mut router, request));
            let Poll::Ready(Ok(response)) = future.as_mut().poll(&mut context) else {
                unreachable!("it does not wait")
            };
            let response: Response = response;
            let mut body = response.into_body();
            while let Poll::Ready(Some(frame)) = Pin::new(&mut body).poll_frame(&mut context) {
                black_box(frame.expect("a whole body"));
            }
        }
    })
}

/// Prints what the layer costs in each vocabulary and returns how many targets were missed.
pub fn report(rounds: usize) -> u32 {
    let layer = |vocabulary| ServerLayer::register(&Registry::new(), vocabulary).expect("the names are free");
    let variants = [
        Variant { library: "empty layer", op: op(routes().layer(Empty)) },
        Variant { library: "Prometheus", op: op(routes().layer(layer(Vocabulary::Prometheus))) },
        Variant { library: "OpenTelemetry", op: op(routes().layer(layer(Vocabulary::OpenTelemetry))) },
    ];
    let costs = measure(&variants, rounds);
    println!(
        "\n| HTTP layer | threads | a request | above the empty layer | target | |\n|---|---|---|---|---|---|"
    );
    let mut missed = 0;
    for (threads, ns) in
        [("1", costs.iter().map(|c| c.one).collect::<Vec<_>>()), ("2", costs.iter().map(|c| c.two).collect())]
    {
        for (variant, cost) in variants.iter().zip(&ns).skip(1) {
            let added = cost - ns[0];
            let met = added <= TARGET_NS;
            missed += u32::from(!met);
            println!(
                "| {} | {threads} | {cost:.0} ns | {added:.0} ns | {TARGET_NS} ns | {} |",
                variant.library,
                if met { "met" } else { "MISSED" }
            );
        }
    }
    missed
}
