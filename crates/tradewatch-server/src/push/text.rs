//! What a service pushes at the moment it changes: the exposition text of a few families.
//!
//! The path names the target by `job` and `instance`. Where the monitor scrapes such a target, the samples get that
//! target's labels and relabelling: they are points of the very series that its scrapes continue, between two of them.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use tradewatch_tsdb::Labels;

use super::{Body, Failure};
use crate::clock;
use crate::monitor::Monitor;
use crate::scrape::line::Format;
use crate::scrape::{IngestOptions, ingest};
use crate::telemetry::PushProtocol;
use crate::web::respond::ApiError;

/// `POST /api/tradewatch/v1/push/{job}/{instance}`.
pub async fn receive(
    State(monitor): State<Arc<Monitor>>,
    Path((job, instance)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !monitor.options.web.enable_push_receiver {
        let how = "the push receiver needs to be enabled with --web.enable-push-receiver";
        return ApiError::not_found(how).into_response();
    }
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let format = Format::of_content_type(kind);
    let options = options_of(&monitor, &job, &instance);
    let db = monitor.db.clone();
    let read = move |text: &[u8]| -> Result<Body, String> {
        let now = clock::now();
        let mut body = Body::default();
        for (labels, sample) in
            ingest::read_once(&db, text, format, options, now).map_err(|why| why.to_string())?
        {
            body.push(super::Series { labels, samples: vec![sample] })?;
        }
        Ok(body)
    };
    match monitor.pushes.take(PushProtocol::Text, body, read).await {
        Ok(taken) if taken.refused == 0 => StatusCode::NO_CONTENT.into_response(),
        Ok(taken) => ApiError::bad_data(taken.reason()).into_response(),
        Err(Failure::Bad(why)) => ApiError::bad_data(why).into_response(),
        Err(Failure::Store(why)) => ApiError::unavailable(why).into_response(),
    }
}

fn options_of(monitor: &Monitor, job: &str, instance: &str) -> IngestOptions {
    let is = |labels: &Labels| labels.get("job") == Some(job) && labels.get("instance") == Some(instance);
    let known = monitor.scrapes.targets().into_iter().find(|target| is(target.spec.labels()));
    match known {
        Some(target) => target.spec.ingest.clone(),
        None => IngestOptions {
            target: Labels::from_pairs([("job", job), ("instance", instance)]),
            honor_timestamps: true,
            ..IngestOptions::default()
        },
    }
}
