//! The envelope of the Prometheus API, and the one place where errors become HTTP statuses.

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};

use super::json;
use crate::error::Error;

/// An error as the API tells it.
#[derive(Clone, Debug)]
pub struct ApiError {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> ApiError {
        ApiError { status, kind, message: message.into() }
    }

    /// The request is wrong.
    pub fn bad_data(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, "bad_data", message)
    }

    /// The query is right and cannot be answered.
    pub fn execution(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "execution", message)
    }

    /// The query took too long.
    pub fn timeout(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", message)
    }

    /// Not now.
    pub fn unavailable(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }

    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// Not allowed from there, or not switched on.
    pub fn forbidden(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// Our own fault, or the disk's.
    pub fn internal(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// What is wrong.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> ApiError {
        let message = error.to_string();
        if error.is_query() || error.is_config() {
            ApiError::bad_data(message)
        } else if error.is_not_found() {
            ApiError::not_found(message)
        } else {
            ApiError::internal(message)
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = String::from("{\"status\":\"error\",\"errorType\":");
        json::string(&mut body, self.kind);
        body.push_str(",\"error\":");
        json::string(&mut body, &self.message);
        body.push('}');
        json_response(self.status, body)
    }
}

/// An answer of the Prometheus API: `data` is JSON already.
#[derive(Clone, Debug, Default)]
pub struct Success {
    /// The JSON under `data`.
    pub data: String,
    /// What may be wrong with it.
    pub warnings: Vec<String>,
    /// What one should know about it.
    pub infos: Vec<String>,
}

impl From<String> for Success {
    fn from(data: String) -> Success {
        Success { data, ..Success::default() }
    }
}

impl IntoResponse for Success {
    fn into_response(self) -> Response {
        let mut body = String::with_capacity(self.data.len() + 64);
        body.push_str("{\"status\":\"success\",\"data\":");
        body.push_str(&self.data);
        for (name, items) in [("warnings", &self.warnings), ("infos", &self.infos)] {
            if !items.is_empty() {
                body.push_str(&format!(",\"{name}\":"));
                json::strings(&mut body, items.iter().map(String::as_str));
            }
        }
        body.push('}');
        json_response(StatusCode::OK, body)
    }
}

/// A JSON answer that nobody keeps.
pub fn json_response(status: StatusCode, body: String) -> Response {
    let mut response = (status, body).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What a handler of the Prometheus API returns.
pub type ApiResult = Result<Success, ApiError>;
