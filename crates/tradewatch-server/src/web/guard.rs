//! Who may ask what: the host that a request names, where its page comes from, who sends it.
//!
//! The monitor listens on the loopback address without a password. A browser on the same machine can be
//! made to talk to it by any page, so: the `Host` must be ours (against DNS rebinding), and whatever
//! changes something, or opens a socket, must come from our own pages or from no page at all.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Method};

/// What is checked before a handler sees a request.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// Whether `Host` must be an IP address, `localhost` or one of `hosts`.
    pub check_host: bool,
    /// Names that are ours beside those.
    pub hosts: Vec<String>,
}

impl Guard {
    /// Why a request is refused, if it is.
    pub fn refuse(&self, method: &Method, headers: &HeaderMap, is_socket: bool) -> Option<String> {
        let host = headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or("");
        if self.check_host && !self.is_ours(host) {
            return Some(format!(
                "host {host:?} is not a name of this monitor; use its address, or name it with --web.external-url"
            ));
        }
        let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        if reads && !is_socket {
            return None;
        }
        if let Some(origin) = headers.get(ORIGIN) {
            let origin = origin.to_str().unwrap_or("null");
            let from = origin.split_once("://").map_or("", |(_, authority)| authority);
            if from.is_empty() || !from.eq_ignore_ascii_case(host) && !self.is_external(from) {
                return Some(format!("origin {origin:?} is not this monitor"));
            }
        } else if headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
            return Some("the request comes from a page of another site".into());
        }
        None
    }

    fn is_ours(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        let name = authority.host().trim_start_matches('[').trim_end_matches(']');
        name.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || name.to_ascii_lowercase().ends_with(".localhost")
            || self.is_external(host)
            || self.is_external(name)
    }

    fn is_external(&self, host: &str) -> bool {
        self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, pairs: &[(&'static str, &str)], socket: bool) -> bool {
        let guard = Guard { check_host: true, hosts: vec!["monitor.desk:9090".into()] };
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().expect("a header"));
        }
        guard.refuse(&method, &headers, socket).is_none()
    }

    #[test]
    fn only_our_own_names_are_answered() {
        for (host, good) in [
            ("127.0.0.1:9090", true),
            ("[::1]:9090", true),
            ("localhost:9090", true),
            ("LOCALHOST", true),
            ("monitor.desk:9090", true),
            ("evil.example:9090", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
        ] {
            assert_eq!(check(Method::GET, &[("host", host)], false), good, "{host}");
        }
    }

    #[test]
    fn changes_come_from_our_own_pages() {
        let host = ("host", "127.0.0.1:9090");
        assert!(check(Method::POST, &[host], false), "curl sends no Origin");
        assert!(check(Method::POST, &[host, ("origin", "http://127.0.0.1:9090")], false));
        assert!(!check(Method::POST, &[host, ("origin", "http://evil.example")], false));
        assert!(!check(Method::POST, &[host, ("origin", "null")], false));
        assert!(!check(Method::DELETE, &[host, ("sec-fetch-site", "cross-site")], false));
        assert!(
            check(Method::GET, &[host, ("origin", "http://evil.example")], false),
            "reading is left to the browser's own rules"
        );
        assert!(!check(Method::GET, &[host, ("origin", "http://evil.example")], true), "a socket is not");
    }
}
