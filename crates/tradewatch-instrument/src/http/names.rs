//! What HTTP metrics are called, and where each number of an exchange goes.

use tradewatch_metrics::{Counter, Histogram, Metrics, RegisterError, Registry, UpDownCounter};

use super::labels::{
    ClientLabels, Fault, FaultLabel, Handler, MethodLabel, Peer, Place, RequestMethod, Route, ServerLabels,
    Status, StatusLabel,
};
use crate::labels::{Optional, Vocabulary};

/// Edges of requests: the documents' fourteen from 5 ms to 10 s, which are the semantic conventions' as well.
const EDGES: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// Edges of bodies.
const SIZES: [f64; 8] = [64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 1048576.0, 16777216.0];

/// Takes a set of families out of the registry's budget. OpenTelemetry gives each request a route, a method, a status
/// and the kind of its error; the last two follow from each other, so their product is far from what can be.
fn allow<T>(
    registry: &Registry,
    register: fn(&Registry) -> Result<T, RegisterError>,
) -> Result<(), RegisterError> {
    let alone = Registry::new();
    alone.set_series_max(u64::MAX);
    register(&alone)?;
    let series = alone.describe().iter().fold(0u64, |sum, family| sum.saturating_add(family.series_max()));
    registry.allow_series(series);
    Ok(())
}

#[derive(Metrics)]
struct ServerDocuments {
    /// HTTP requests served, by route, method and class of the status.
    http_requests_total: Counter<(Handler, MethodLabel, StatusLabel)>,
    /// Time from a request's head to its response's last byte, however it ended.
    #[buckets(EDGES)]
    http_request_duration_seconds: Histogram<(Handler, MethodLabel)>,
    /// Size of request bodies, as announced.
    #[buckets(SIZES)]
    http_request_size_bytes: Histogram<(Handler,)>,
    /// Size of response bodies, as sent.
    #[buckets(SIZES)]
    http_response_size_bytes: Histogram<(Handler,)>,
    /// HTTP requests being served now.
    http_requests_inprogress: UpDownCounter<(Handler, MethodLabel)>,
    /// HTTP requests that ended without a whole response, or too late, by the kind of error.
    http_request_errors_total: Counter<(Handler, MethodLabel, FaultLabel)>,
}

#[derive(Metrics)]
struct ServerConventions {
    /// Duration of HTTP server requests.
    #[buckets(EDGES)]
    http_server_request_duration_seconds: Histogram<ServerLabels>,
    /// Number of active HTTP server requests.
    http_server_active_requests: UpDownCounter<(RequestMethod,)>,
    /// Size of HTTP server request bodies.
    #[buckets(SIZES)]
    http_server_request_body_size_bytes: Histogram<(RequestMethod, Optional<Route>)>,
    /// Size of HTTP server response bodies.
    #[buckets(SIZES)]
    http_server_response_body_size_bytes: Histogram<(RequestMethod, Optional<Route>)>,
}

#[derive(Metrics)]
struct ClientDocuments {
    /// HTTP requests sent, by peer, method and class of the status.
    http_client_requests_total: Counter<(Peer, MethodLabel, StatusLabel)>,
    /// Time from sending a request to its response's last byte, however it ended.
    #[buckets(EDGES)]
    http_client_request_duration_seconds: Histogram<(Peer, MethodLabel)>,
    /// HTTP requests that wait for their response.
    http_client_requests_inprogress: UpDownCounter<(Peer,)>,
    /// HTTP requests that got no whole response, by the kind of error.
    http_client_request_errors_total: Counter<(Peer, MethodLabel, FaultLabel)>,
}

#[derive(Metrics)]
struct ClientConventions {
    /// Duration of HTTP client requests.
    #[buckets(EDGES)]
    http_client_request_duration_seconds: Histogram<ClientLabels>,
    /// Number of active HTTP client requests.
    http_client_active_requests: UpDownCounter<(RequestMethod,)>,
}

/// The metrics of one side in one vocabulary, and the clock they are timed by.
pub(super) struct Names {
    pub(super) registry: Registry,
    /// Whether statuses are told by class only; the semantic conventions always tell the code.
    pub(super) class_only: bool,
    kind: Kind,
}

enum Kind {
    ServerDocuments(Box<ServerDocuments>),
    ServerConventions(Box<ServerConventions>),
    ClientDocuments(Box<ClientDocuments>),
    ClientConventions(Box<ClientConventions>),
}

/// What is known of a request at its end.
pub(super) struct Ended {
    pub(super) method: u8,
    pub(super) place: Place,
    pub(super) status: Status,
    pub(super) fault: Fault,
    pub(super) seconds: f64,
    pub(super) request_bytes: Option<u64>,
    pub(super) response_bytes: u64,
}

impl Names {
    pub(super) fn server(registry: &Registry, vocabulary: Vocabulary) -> Result<Names, RegisterError> {
        let kind = match vocabulary {
            Vocabulary::Prometheus => Kind::ServerDocuments(Box::new(ServerDocuments::register(registry)?)),
            Vocabulary::OpenTelemetry => {
                allow::<ServerConventions>(registry, ServerConventions::register)?;
                Kind::ServerConventions(Box::new(ServerConventions::register(registry)?))
            }
        };
        Ok(Names { registry: registry.clone(), class_only: true, kind })
    }

    pub(super) fn client(registry: &Registry, vocabulary: Vocabulary) -> Result<Names, RegisterError> {
        let kind = match vocabulary {
            Vocabulary::Prometheus => Kind::ClientDocuments(Box::new(ClientDocuments::register(registry)?)),
            Vocabulary::OpenTelemetry => {
                allow::<ClientConventions>(registry, ClientConventions::register)?;
                Kind::ClientConventions(Box::new(ClientConventions::register(registry)?))
            }
        };
        Ok(Names { registry: registry.clone(), class_only: true, kind })
    }

    pub(super) fn place(&self, text: &str) -> Place {
        match &self.kind {
            Kind::ServerDocuments(_) => Handler::place(text),
            Kind::ServerConventions(_) => Route::place(text),
            Kind::ClientDocuments(_) | Kind::ClientConventions(_) => Peer::place(text),
        }
    }

    /// Adds to the requests in flight: 1 at the start, -1 at the end.
    #[inline]
    pub(super) fn in_flight(&self, method: u8, place: Place, by: i64) {
        match &self.kind {
            Kind::ServerDocuments(m) => {
                m.http_requests_inprogress.at((Handler::at(place), MethodLabel(method))).add(by);
            }
            Kind::ServerConventions(m) => m.http_server_active_requests.at((RequestMethod(method),)).add(by),
            Kind::ClientDocuments(m) => m.http_client_requests_inprogress.at((Peer::at(place),)).add(by),
            Kind::ClientConventions(m) => m.http_client_active_requests.at((RequestMethod(method),)).add(by),
        }
    }

    #[inline]
    pub(super) fn ended(&self, end: &Ended) {
        let fault = end.fault;
        let method = MethodLabel(end.method);
        let labels = ServerLabels { method: end.method, place: end.place, status: end.status, fault };
        match &self.kind {
            Kind::ServerDocuments(m) => {
                let handler = Handler::at(end.place);
                let status = StatusLabel(end.status.or_of(fault, self.class_only).0);
                m.http_requests_total.at((handler, method, status)).inc();
                m.http_request_duration_seconds.at((handler, method)).observe(end.seconds);
                if let Some(bytes) = end.request_bytes {
                    m.http_request_size_bytes.at((handler,)).observe(bytes as f64);
                }
                m.http_response_size_bytes.at((handler,)).observe(end.response_bytes as f64);
                if fault != Fault::None {
                    m.http_request_errors_total.at((handler, method, FaultLabel(fault as u8))).inc();
                }
            }
            Kind::ServerConventions(m) => {
                let by_route = (RequestMethod(end.method), Route::matched(end.place));
                m.http_server_request_duration_seconds.at(labels).observe(end.seconds);
                if let Some(bytes) = end.request_bytes {
                    m.http_server_request_body_size_bytes.at(by_route).observe(bytes as f64);
                }
                m.http_server_response_body_size_bytes.at(by_route).observe(end.response_bytes as f64);
            }
            Kind::ClientDocuments(m) => {
                let peer = Peer::at(end.place);
                // Without an answer there is no status.
                let status = StatusLabel(if self.class_only { end.status.class() } else { end.status.0 });
                m.http_client_requests_total.at((peer, method, status)).inc();
                m.http_client_request_duration_seconds.at((peer, method)).observe(end.seconds);
                if fault != Fault::None {
                    m.http_client_request_errors_total.at((peer, method, FaultLabel(fault as u8))).inc();
                }
            }
            Kind::ClientConventions(m) => {
                m.http_client_request_duration_seconds.at(ClientLabels(labels)).observe(end.seconds);
            }
        }
    }
}
