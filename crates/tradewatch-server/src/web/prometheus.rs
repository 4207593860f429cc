//! Queries and metadata of the Prometheus HTTP API v1.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::routing::get;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use tradewatch_promql::{QueryResult, QueryValue, ValueType, format_float};
use tradewatch_tsdb::{Labels, Matcher, Metadata, Timestamp, Value};

use super::json;
use super::params::Params;
use super::respond::{ApiError, ApiResult, Success};
use crate::clock;
use crate::monitor::Monitor;
use crate::query::{Overrides, Queries, QueryError, When};

/// Steps that one range query may have, as in Prometheus.
const STEPS_MAX: u128 = 11_000;

/// The routes.
pub fn routes() -> Router<Arc<Monitor>> {
    Router::new()
        .route("/api/v1/query", get(query).post(query))
        .route("/api/v1/query_range", get(query_range).post(query_range))
        .route("/api/v1/query_exemplars", get(query_exemplars).post(query_exemplars))
        .route("/api/v1/format_query", get(format_query).post(format_query))
        .route("/api/v1/parse_query", get(parse_query).post(parse_query))
        .route("/api/v1/series", get(series).post(series))
        .route("/api/v1/labels", get(labels).post(labels))
        .route("/api/v1/label/{name}/values", get(label_values))
        .route("/api/v1/metadata", get(metadata))
}

/// The parameters of a request; a form counts only where it says that it is one.
pub fn params(query: Option<&str>, headers: &HeaderMap, body: &Bytes) -> Params {
    let is_form = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    Params::new(query, is_form.then_some(&body[..]))
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> ApiError {
        match error {
            QueryError::Parse(message) => ApiError::bad_data(message),
            QueryError::Eval(error) if error.is_deadline() => ApiError::timeout(error.to_string()),
            QueryError::Eval(error) => ApiError::execution(error.to_string()),
            QueryError::Busy(message) => ApiError::unavailable(message),
            QueryError::Internal(message) => ApiError::internal(message),
        }
    }
}

fn overrides(params: &Params) -> Result<Overrides, ApiError> {
    Ok(Overrides { timeout: params.duration("timeout")?, lookback: params.duration("lookback_delta")? })
}

fn parse(text: &str) -> Result<tradewatch_promql::Expr, ApiError> {
    Queries::parse(text).map_err(|error| ApiError::bad_data(format!("invalid parameter \"query\": {error}")))
}

async fn query(
    State(monitor): State<Arc<Monitor>>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> ApiResult {
    let params = params(raw.as_deref(), &headers, &body);
    let at = params.time("time")?.unwrap_or_else(clock::now);
    let (limit, overrides) = (params.limit()?, overrides(&params)?);
    let expr = parse(params.need("query")?)?;
    let result = monitor.queries.run(expr, When::At(at), overrides).await?;
    Ok(render(result, limit, params.get("stats").is_some()))
}

async fn query_range(
    State(monitor): State<Arc<Monitor>>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> ApiResult {
    let params = params(raw.as_deref(), &headers, &body);
    params.need("start")?;
    params.need("end")?;
    params.need("step")?;
    let start = params.time("start")?.unwrap_or(Timestamp::MIN);
    let end = params.time("end")?.unwrap_or(Timestamp::MAX);
    if end < start {
        return Err(ApiError::bad_data(
            "invalid parameter \"end\": end timestamp must not be before start time",
        ));
    }
    let step = params.duration("step")?.unwrap_or_default();
    if step.as_millis() == 0 {
        return Err(ApiError::bad_data(
            "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    // Bounds what comes back, not what is read.
    if end.since(start).as_millis() / step.as_millis() > STEPS_MAX {
        return Err(ApiError::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    let (limit, overrides) = (params.limit()?, overrides(&params)?);
    let expr = parse(params.need("query")?)?;
    let kind = expr.value_type();
    if !matches!(kind, ValueType::Vector | ValueType::Scalar) {
        let kind = kind.documented();
        return Err(ApiError::bad_data(format!(
            "invalid parameter \"query\": invalid expression type {kind:?} for range query, must be Scalar or instant Vector"
        )));
    }
    let result = monitor.queries.run(expr, When::Steps { start, end, step }, overrides).await?;
    Ok(render(result, limit, params.get("stats").is_some()))
}

/// A result in the form of the API; at most `limit` series, with a warning if there were more.
pub fn render(result: QueryResult, limit: usize, stats: bool) -> Success {
    let mut data = String::from("{\"resultType\":");
    let mut warnings = result.warnings;
    let mut cut = |length: usize| {
        if length > limit {
            warnings.push("results truncated due to limit".into());
        }
    };
    match &result.value {
        QueryValue::Scalar { ts, value } => {
            data.push_str("\"scalar\",\"result\":");
            json::point(&mut data, *ts, *value);
        }
        QueryValue::String { ts, value } => {
            data.push_str("\"string\",\"result\":[");
            json::time(&mut data, *ts);
            data.push(',');
            json::string(&mut data, value);
            data.push(']');
        }
        QueryValue::Vector(samples) => {
            cut(samples.len());
            data.push_str("\"vector\",\"result\":");
            json::list(&mut data, samples.iter().take(limit), |out, sample| {
                out.push_str("{\"metric\":");
                json::labels(out, &sample.labels);
                out.push(',');
                json::value(out, sample.ts, &sample.value);
                out.push('}');
            });
        }
        QueryValue::Matrix(series) => {
            cut(series.len());
            data.push_str("\"matrix\",\"result\":");
            json::list(&mut data, series.iter().take(limit), |out, series| {
                out.push_str("{\"metric\":");
                json::labels(out, &series.labels);
                let is_float = |sample: &&tradewatch_tsdb::Sample| matches!(sample.value, Value::Float(_));
                if series.samples.iter().any(|sample| is_float(&sample)) {
                    out.push_str(",\"values\":");
                    json::list(out, series.samples.iter().filter(is_float), |out, sample| {
                        json::point(out, sample.ts, sample.value.as_float().unwrap_or(f64::NAN));
                    });
                }
                if series.samples.iter().any(|sample| !is_float(&sample)) {
                    out.push_str(",\"histograms\":");
                    json::list(
                        out,
                        series.samples.iter().filter(|sample| !is_float(sample)),
                        |out, sample| {
                            if let Value::Histogram(histogram) = &sample.value {
                                json::histogram_point(out, sample.ts, histogram);
                            }
                        },
                    );
                }
                out.push('}');
            });
        }
    }
    if stats {
        data.push_str(&format!(
            ",\"stats\":{{\"samples\":{{\"totalQueryableSamples\":{},\"seriesRead\":{}}}}}",
            result.stats.samples, result.stats.series
        ));
    }
    data.push('}');
    Success { data, warnings, infos: result.infos }
}

async fn query_exemplars(
    State(monitor): State<Arc<Monitor>>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> ApiResult {
    let params = params(raw.as_deref(), &headers, &body);
    let (start, end) = range(&params)?;
    let expr = parse(params.need("query")?)?;
    let selectors: Vec<Vec<Matcher>> =
        expr.selectors().iter().map(|found| found.selector.matchers.clone()).collect();
    let found = monitor
        .queries
        .turn(Overrides::default(), move |queries| queries.db().exemplars(&selectors, start, end));
    let mut data = String::new();
    json::list(&mut data, &found.await?, |data, (series, exemplars)| {
        data.push_str("{\"seriesLabels\":");
        json::labels(data, series);
        data.push_str(",\"exemplars\":");
        json::list(data, exemplars, |data, exemplar| {
            data.push_str("{\"labels\":");
            json::labels(data, &exemplar.labels);
            data.push_str(",\"value\":");
            json::string(data, &format_float(exemplar.value));
            data.push_str(",\"timestamp\":");
            json::time(data, exemplar.ts);
            data.push('}');
        });
        data.push('}');
    });
    Ok(data.into())
}

async fn format_query(RawQuery(raw): RawQuery, headers: HeaderMap, body: Bytes) -> ApiResult {
    let params = params(raw.as_deref(), &headers, &body);
    let mut data = String::new();
    json::string(&mut data, &parse(params.need("query")?)?.to_string());
    Ok(data.into())
}

async fn parse_query(RawQuery(raw): RawQuery, headers: HeaderMap, body: Bytes) -> ApiResult {
    let params = params(raw.as_deref(), &headers, &body);
    let expr = parse(params.need("query")?)?;
    Ok(super::tree::of(&expr).to_string().into())
}

/// The range that a request for series asks about; all of time where it does not say.
fn range(params: &Params) -> Result<(Timestamp, Timestamp), ApiError> {
    let start = params.time("start")?.unwrap_or(Timestamp::MIN);
    let end = params.time("end")?.unwrap_or(Timestamp::MAX);
    if end < start {
        return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
    }
    Ok((start, end))
}

fn truncated<T>(items: &mut Vec<T>, limit: usize) -> Vec<String> {
    let cut = items.len() > limit;
    items.truncate(limit);
    if cut { vec!["results truncated due to limit".into()] } else { Vec::new() }
}

async fn series(
    State(monitor): State<Arc<Monitor>>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> ApiResult {
    let params = params(raw.as_deref(), &headers, &body);
    let (matchers, (start, end), limit) = (params.matchers(true)?, range(&params)?, params.limit()?);
    let found = monitor.queries.turn(Overrides::default(), move |queries| {
        let sets: BTreeSet<Labels> =
            matchers.iter().flat_map(|one| queries.db().series(one, start, end)).collect();
        sets
    });
    let mut found: Vec<Labels> = found.await?.into_iter().collect();
    let warnings = truncated(&mut found, limit);
    let mut data = String::new();
    json::list(&mut data, &found, json::labels);
    Ok(Success { data, warnings, infos: Vec::new() })
}

/// Asks the store once per set of matchers, or once for everything.
async fn names(
    monitor: &Monitor,
    params: &Params,
    ask: impl Fn(&Queries, &[Matcher]) -> Vec<String> + Send + 'static,
) -> ApiResult {
    let (matchers, limit) = (params.matchers(false)?, params.limit()?);
    let found = monitor.queries.turn(Overrides::default(), move |queries| {
        if matchers.is_empty() {
            return ask(queries, &[]);
        }
        let all: BTreeSet<String> = matchers.iter().flat_map(|one| ask(queries, one)).collect();
        all.into_iter().collect()
    });
    let mut found = found.await?;
    let warnings = truncated(&mut found, limit);
    let mut data = String::new();
    json::strings(&mut data, found.iter().map(String::as_str));
    Ok(Success { data, warnings, infos: Vec::new() })
}

async fn labels(
    State(monitor): State<Arc<Monitor>>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> ApiResult {
    let params = params(raw.as_deref(), &headers, &body);
    let (start, end) = range(&params)?;
    names(&monitor, &params, move |queries, matchers| queries.db().label_names(matchers, start, end)).await
}

async fn label_values(
    State(monitor): State<Arc<Monitor>>,
    Path(name): Path<String>,
    RawQuery(raw): RawQuery,
) -> ApiResult {
    let params = Params::new(raw.as_deref(), None);
    let name = unescape_label(&name)?;
    let (start, end) = range(&params)?;
    names(&monitor, &params, move |queries, matchers| queries.db().label_values(&name, matchers, start, end))
        .await
}

/// `U__utf8_2e_name` means `utf8.name`: any UTF-8 name fits into a path that way.
fn unescape_label(name: &str) -> Result<String, ApiError> {
    let wrong = || ApiError::bad_data(format!("invalid label name: {name:?}"));
    if name.is_empty() {
        return Err(wrong());
    }
    let Some(mut rest) = name.strip_prefix("U__") else { return Ok(name.to_owned()) };
    let mut out = String::new();
    while let Some(at) = rest.find('_') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('_') {
            out.push('_');
            rest = after;
            continue;
        }
        let end = rest.find('_').ok_or_else(wrong)?;
        let code = u32::from_str_radix(&rest[..end], 16).ok().and_then(char::from_u32).ok_or_else(wrong)?;
        out.push(code);
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

async fn metadata(State(monitor): State<Arc<Monitor>>, RawQuery(raw): RawQuery) -> ApiResult {
    let params = Params::new(raw.as_deref(), None);
    let limit = params.limit()?;
    let wanted = params.get("metric").map(str::to_owned);
    let all: BTreeMap<String, Metadata> = monitor.db.metadata();
    let chosen =
        all.iter().filter(|(name, _)| wanted.as_ref().is_none_or(|wanted| wanted == *name)).take(limit);
    let mut data = String::from("{");
    for (number, (name, metadata)) in chosen.enumerate() {
        if number > 0 {
            data.push(',');
        }
        json::string(&mut data, name);
        data.push_str(":[");
        one_metadata(&mut data, metadata);
        data.push(']');
    }
    data.push('}');
    Ok(data.into())
}

/// Writes kind, help and unit as an object.
pub fn one_metadata(out: &mut String, metadata: &Metadata) {
    out.push_str("{\"type\":");
    json::string(out, metadata.kind.as_str());
    out.push_str(",\"help\":");
    json::string(out, &metadata.help);
    out.push_str(",\"unit\":");
    json::string(out, &metadata.unit);
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_label_name_fits_into_a_path() {
        assert_eq!(unescape_label("job").expect("valid"), "job");
        assert_eq!(unescape_label("U__http_2e_status__code").expect("valid"), "http.status_code");
        assert!(unescape_label("U__x_zz_y").is_err());
    }
}
