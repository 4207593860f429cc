//! Query and form parameters, as the Prometheus API reads them.

use std::time::Duration;

use tradewatch_promql::{duration::parse_duration_ms, parse_selector};
use tradewatch_tsdb::{Matcher, Timestamp};

use super::respond::ApiError;

/// All parameters of a request, those of the form first.
#[derive(Clone, Debug, Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// From a query string and, for a POST, its form.
    pub fn new(query: Option<&str>, form: Option<&[u8]>) -> Params {
        let mut all: Vec<(String, String)> =
            form.map(|form| form_urlencoded::parse(form).into_owned().collect()).unwrap_or_default();
        all.extend(form_urlencoded::parse(query.unwrap_or("").as_bytes()).into_owned());
        Params(all)
    }

    /// The first value of `name`, unless it is empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, value)| known == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// All values of `name`.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of `name`, which must be there.
    pub fn need(&self, name: &str) -> Result<&str, ApiError> {
        self.get(name).ok_or_else(|| ApiError::bad_data(format!("invalid parameter {name:?}: it is missing")))
    }

    /// A time: Unix seconds or RFC 3339.
    pub fn time(&self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        // Prometheus says it twice for this one parameter.
        let twice = if name == "time" { "Invalid time value for 'time': " } else { "" };
        parse_time(text)
            .map(Some)
            .map_err(|why| ApiError::bad_data(format!("invalid parameter {name:?}: {twice}{why}")))
    }

    /// A duration: seconds or `5m`.
    pub fn duration(&self, name: &str) -> Result<Option<Duration>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        parse_duration(text)
            .map(Some)
            .map_err(|why| ApiError::bad_data(format!("invalid parameter {name:?}: {why}")))
    }

    /// `limit`: most items to return; 0 and absent mean all.
    pub fn limit(&self) -> Result<usize, ApiError> {
        let Some(text) = self.get("limit") else { return Ok(usize::MAX) };
        match text.parse::<usize>() {
            Ok(0) => Ok(usize::MAX),
            Ok(limit) => Ok(limit),
            Err(_) => Err(ApiError::bad_data(format!(
                "invalid parameter \"limit\": {text:?} is not a number of items"
            ))),
        }
    }

    /// The selectors in `match[]`; `required` refuses a request without any.
    pub fn matchers(&self, required: bool) -> Result<Vec<Vec<Matcher>>, ApiError> {
        let mut found = Vec::new();
        for text in self.all("match[]") {
            let matchers = parse_selector(text)
                .map_err(|error| ApiError::bad_data(format!("invalid parameter \"match[]\": {error}")))?;
            if matchers.iter().all(Matcher::matches_empty) {
                return Err(ApiError::bad_data("match[] must contain at least one non-empty matcher"));
            }
            found.push(matchers);
        }
        if required && found.is_empty() {
            return Err(ApiError::bad_data("no match[] parameter provided"));
        }
        Ok(found)
    }
}

/// Unix seconds or RFC 3339.
pub fn parse_time(text: &str) -> Result<Timestamp, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        if !seconds.is_finite() || seconds.abs() > 9.2e15 {
            return Err(format!("{text:?} is not a time"));
        }
        return Ok(Timestamp::from_secs_f64(seconds));
    }
    let parsed: jiff::Timestamp =
        text.parse().map_err(|_| format!("cannot parse {text:?} to a valid timestamp"))?;
    Ok(Timestamp::from_millis(parsed.as_millisecond()))
}

/// Seconds or `5m`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let millis = match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds.abs() < 9.2e12 => (seconds * 1000.0) as i64,
        Ok(_) => return Err(format!("{text:?} is too long a duration")),
        Err(_) => {
            parse_duration_ms(text).map_err(|_| format!("cannot parse {text:?} to a valid duration"))?
        }
    };
    u64::try_from(millis).map(Duration::from_millis).map_err(|_| format!("{text:?} is negative"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        assert_eq!(parse_time("1435781430.781").map(Timestamp::as_millis), Ok(1_435_781_430_781));
        assert_eq!(parse_time("2015-07-01T20:10:30.781Z").map(Timestamp::as_millis), Ok(1_435_781_430_781));
        assert_eq!(parse_time("2015-07-01T22:10:30+02:00").map(Timestamp::as_millis), Ok(1_435_781_430_000));
        assert!(parse_time("yesterday").is_err());
        assert!(parse_time("NaN").is_err());
    }

    #[test]
    fn durations_are_seconds_or_prometheus_own() {
        assert_eq!(parse_duration("15"), Ok(Duration::from_secs(15)));
        assert_eq!(parse_duration("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert!(parse_duration("-1").is_err());
        assert!(parse_duration("soon").is_err());
    }

    #[test]
    fn a_form_comes_before_the_query() {
        let params = Params::new(Some("query=a&match[]=x"), Some(b"query=b+c&match%5B%5D=y"));
        assert_eq!(params.get("query"), Some("b c"));
        assert_eq!(params.all("match[]").collect::<Vec<_>>(), ["y", "x"]);
    }
}
