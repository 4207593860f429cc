//! The labels of HTTP metrics: closed sets as tables, places as interned templates.

use crate::labels::Optional;
use http::{Method, StatusCode};
use tradewatch_metrics::{Label, LabelDescriptor, LabelSet, Refusals, open_label};

/// The route of every request that no route took: a scanner's paths make one series, not thousands.
pub const UNMATCHED: &str = "unmatched";

/// How many routes, and how many peers, have series of their own.
const PLACES: usize = 128;

open_label!(pub(super) struct Handler("handler"), budget = PLACES);
open_label!(pub(super) struct Route("http_route"), budget = PLACES);
open_label!(pub(super) struct Peer("peer"), budget = PLACES);

/// An interned route or peer, whatever its label is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u16);

macro_rules! places {
    ($($label:ident),+) => {$(
        impl $label {
            pub(super) fn place(text: &str) -> Place {
                Place($label::intern(text).0)
            }
            pub(super) fn at(place: Place) -> $label {
                $label(place.0)
            }
        }
    )+};
}
places!(Handler, Route, Peer);

impl Route {
    /// No label for what no route took: such a request has no `http.route`.
    pub(super) fn matched(place: Place) -> Optional<Route> {
        let route = Route::at(place);
        Optional((route.as_str() != UNMATCHED).then_some(route))
    }
}

/// A table as a label: the index of a value is its place in the table.
macro_rules! table_label {
    ($($name:ident($label:literal) = $table:expr;)+) => {$(
        #[derive(Clone, Copy)]
        pub(super) struct $name(pub(super) u8);

        impl Label for $name {
            const NAME: &'static str = $label;
            const CARDINALITY: usize = $table.len();
            const BUDGET: Option<usize> = None;
            #[inline]
            fn index(&self) -> usize {
                usize::from(self.0)
            }
            fn value_at(index: usize) -> Option<&'static str> {
                $table.get(index).copied()
            }
        }
    )+};
}

/// `_OTHER` is the semantic conventions' word for what is not of RFC 9110 or RFC 5789.
static METHODS: [&str; 10] =
    ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT", "TRACE", "_OTHER"];

#[inline]
pub(super) fn method(method: &Method) -> u8 {
    match *method {
        Method::GET => 0,
        Method::POST => 1,
        Method::PUT => 2,
        Method::DELETE => 3,
        Method::PATCH => 4,
        Method::HEAD => 5,
        Method::OPTIONS => 6,
        Method::CONNECT => 7,
        Method::TRACE => 8,
        _ => 9,
    }
}

/// The codes that have a series of their own; 0 is none. Others are their class.
static STATUSES: [&str; 56] = [
    "", "1xx", "2xx", "3xx", "4xx", "5xx", "100", "101", "103", "200", "201", "202", "203", "204", "205",
    "206", "300", "301", "302", "303", "304", "307", "308", "400", "401", "402", "403", "404", "405", "406",
    "407", "408", "409", "410", "411", "412", "413", "414", "415", "416", "417", "422", "423", "425", "426",
    "428", "429", "431", "451", "499", "500", "501", "502", "503", "504", "505",
];

/// What nginx counts for a client that went away before its answer.
const CLIENT_GONE: u16 = 499;

/// Index into [`STATUSES`] for each code from 100 on.
static STATUS_OF: [u8; 500] = status_table();

const fn status_table() -> [u8; 500] {
    let mut table = [0; 500];
    let mut code = 0;
    while code < 500 {
        table[code] = (code / 100 + 1) as u8;
        code += 1;
    }
    let mut at = 6;
    while at < STATUSES.len() {
        let text = STATUSES[at].as_bytes();
        let code =
            (text[0] - b'0') as usize * 100 + (text[1] - b'0') as usize * 10 + (text[2] - b'0') as usize;
        table[code - 100] = at as u8;
        at += 1;
    }
    table
}

/// An index into the statuses; 0 while there is no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Status(pub(super) u8);

impl Status {
    #[inline]
    pub(super) fn of(code: StatusCode) -> Status {
        Status::of_code(code.as_u16())
    }

    fn of_code(code: u16) -> Status {
        Status(STATUS_OF.get(usize::from(code).wrapping_sub(100)).copied().unwrap_or(5))
    }

    pub(super) fn as_str(self) -> &'static str {
        STATUSES[usize::from(self.0)]
    }

    /// 1 to 5, the first digit; 0 for no answer.
    pub(super) fn class(self) -> u8 {
        self.as_str().as_bytes().first().map_or(0, |digit| digit - b'0')
    }

    /// As the documents' library counts it: a request that never got an answer is a 5xx, except that a client that
    /// went away is a 499.
    pub(super) fn or_of(self, fault: Fault, class_only: bool) -> Status {
        let told = match (self, fault) {
            (Status(0), Fault::Cancelled) => Status::of_code(CLIENT_GONE),
            (Status(0), _) => Status::of_code(500),
            (status, _) => status,
        };
        if class_only { Status(told.class()) } else { told }
    }
}

/// Why a request did not end as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[cfg_attr(not(feature = "http-client"), allow(dead_code))] // Only a client connects.
pub(super) enum Fault {
    None,
    Cancelled,
    Panic,
    Timeout,
    Connect,
    Body,
    Service,
}

static FAULTS: [&str; 7] = ["", "cancelled", "panic", "timeout", "connection", "response_body", "error"];

#[cfg(feature = "http-client")]
impl Fault {
    pub(super) fn as_str(self) -> &'static str {
        FAULTS[self as usize]
    }
}

table_label! {
    MethodLabel("method") = METHODS;
    RequestMethod("http_request_method") = METHODS;
    StatusLabel("status") = STATUSES;
    FaultLabel("error_type") = FAULTS;
}

/// How a request ended, for the semantic conventions: status and `error_type` in one, since the second mostly
/// follows from the first and a product of both would be large and empty.
#[derive(Clone, Copy)]
struct Ending {
    status: Status,
    fault: Fault,
}

impl Ending {
    const CARDINALITY: usize = STATUSES.len() * FAULTS.len();

    fn index(self) -> usize {
        usize::from(self.status.0) * FAULTS.len() + self.fault as usize
    }

    /// Status code and `error_type` at an index. `erroneous` is the lowest class of statuses that are errors.
    fn values_at(index: usize, erroneous: u8) -> Option<[&'static str; 2]> {
        let status = STATUSES.get(index / FAULTS.len())?;
        let fault = FAULTS[index % FAULTS.len()];
        let class = status.as_bytes().first().map_or(0, |digit| digit - b'0');
        Some([status, if fault.is_empty() && class >= erroneous { status } else { fault }])
    }
}

fn descriptor(name: &str, values: Option<&[&str]>) -> LabelDescriptor {
    let owned = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    LabelDescriptor {
        name: name.to_owned(),
        budget: values.is_none().then_some(PLACES),
        values: values.map(owned),
    }
}

/// `http_request_method`, `http_route`, `http_response_status_code`, `error_type`.
#[derive(Clone, Copy)]
pub(super) struct ServerLabels {
    pub(super) method: u8,
    pub(super) place: Place,
    pub(super) status: Status,
    pub(super) fault: Fault,
}

impl LabelSet for ServerLabels {
    const CARDINALITY: usize = METHODS.len() * (PLACES + 1) * Ending::CARDINALITY;
    const LEN: usize = 4;

    #[inline]
    fn index(&self) -> usize {
        let ending = Ending { status: self.status, fault: self.fault }.index();
        (usize::from(self.method) * (PLACES + 1) + usize::from(self.place.0)) * Ending::CARDINALITY + ending
    }

    fn describe() -> Vec<LabelDescriptor> {
        vec![
            descriptor("http_request_method", Some(&METHODS)),
            descriptor("http_route", None),
            descriptor("http_response_status_code", Some(&STATUSES[1..])),
            descriptor("error_type", None),
        ]
    }

    fn values_at(index: usize) -> Option<Vec<&'static str>> {
        let (rest, ending) = (index / Ending::CARDINALITY, index % Ending::CARDINALITY);
        let [status, error] = Ending::values_at(ending, 5)?;
        let route = Route::value_at(rest % (PLACES + 1))?;
        let route = if route == UNMATCHED { "" } else { route };
        Some(vec![METHODS.get(rest / (PLACES + 1))?, route, status, error])
    }

    fn refusals() -> Vec<(&'static str, &'static Refusals)> {
        Route::refusals().map(|refusals| (Route::NAME, refusals)).into_iter().collect()
    }
}

/// `http_request_method`, `server_address`, `server_port`, `http_response_status_code`, `error_type`.
#[derive(Clone, Copy)]
pub(super) struct ClientLabels(pub(super) ServerLabels);

impl LabelSet for ClientLabels {
    const CARDINALITY: usize = ServerLabels::CARDINALITY;
    const LEN: usize = 5;

    fn index(&self) -> usize {
        self.0.index()
    }

    fn describe() -> Vec<LabelDescriptor> {
        vec![
            descriptor("http_request_method", Some(&METHODS)),
            descriptor("server_address", None),
            descriptor("server_port", None),
            descriptor("http_response_status_code", Some(&STATUSES[1..])),
            descriptor("error_type", None),
        ]
    }

    fn values_at(index: usize) -> Option<Vec<&'static str>> {
        let (rest, ending) = (index / Ending::CARDINALITY, index % Ending::CARDINALITY);
        // To a client, 4xx is an error, too.
        let [status, error] = Ending::values_at(ending, 4)?;
        let peer = Peer::value_at(rest % (PLACES + 1))?;
        let (address, port) = peer.rsplit_once(':').unwrap_or((peer, ""));
        Some(vec![METHODS.get(rest / (PLACES + 1))?, address, port, status, error])
    }

    fn refusals() -> Vec<(&'static str, &'static Refusals)> {
        Peer::refusals().map(|refusals| (Peer::NAME, refusals)).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_themselves_or_their_class() {
        for (code, text) in
            [(200, "200"), (226, "2xx"), (404, "404"), (418, "4xx"), (511, "5xx"), (599, "5xx")]
        {
            assert_eq!(Status::of_code(code).as_str(), text);
        }
        assert_eq!(Status::of_code(900).as_str(), "5xx");
        assert_eq!(Status::of_code(404).class(), 4);
        let none = Status::default();
        assert_eq!(none.or_of(Fault::Cancelled, false).as_str(), "499");
        assert_eq!(none.or_of(Fault::Panic, true).as_str(), "5xx");
        assert_eq!(Status::of_code(204).or_of(Fault::Body, true).as_str(), "2xx");
    }

    #[test]
    fn label_sets_read_back() {
        let place = Route::place("/orders/{id}");
        let labels = ServerLabels { method: 1, place, status: Status::of_code(503), fault: Fault::None };
        assert_eq!(ServerLabels::values_at(labels.index()), Some(vec!["POST", "/orders/{id}", "503", "503"]));
        let peer = Peer::place("broker.example:443");
        let labels =
            ServerLabels { method: 0, place: peer, status: Status::of_code(404), fault: Fault::Body };
        assert_eq!(
            ClientLabels::values_at(labels.index()),
            Some(vec!["GET", "broker.example", "443", "404", "response_body"])
        );
    }
}
