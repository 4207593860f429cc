//! A client for `/control/faults`.

use super::board::Request;
use crate::runtime::http::{Client, Response};
use crate::runtime::{Error, Net};
use serde::Serialize;
use std::marker::PhantomData;
use std::time::Duration;

/// How long a service may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Puts faults of kind `F` ([`feed::Fault`](crate::feed::Fault), [`broker::Fault`](crate::broker::Fault)) in force.
#[derive(Clone, Debug)]
pub struct Control<F> {
    client: Client,
    url: String,
    faults: PhantomData<fn(F)>,
}

impl<F: Serialize> Control<F> {
    /// The faults of the service at `base_url` (`http://127.0.0.1:8010`).
    pub fn new(net: Net, base_url: &str) -> Control<F> {
        Control {
            client: Client::new(net, TIMEOUT),
            url: format!("{base_url}/control/faults"),
            faults: PhantomData,
        }
    }

    /// Puts `fault` in force for `lasting`; returns its number.
    ///
    /// # Errors
    /// `is_connect`, `is_timeout`, `is_lost` if the service cannot be reached, `is_decode` with its own words if it
    /// refuses the fault.
    pub async fn post(&self, fault: F, lasting: Duration) -> Result<u64, Error> {
        let request = Request { fault, for_seconds: lasting.as_secs_f64() };
        let answer = accepted(self.client.post(&self.url, &request).await?)?;
        let active: serde_json::Value = answer.json()?;
        active["id"].as_u64().ok_or_else(|| Error::decode(&answer.what, "the answer has no id"))
    }

    /// Ends all faults of the service. Errors as [`Control::post`].
    pub async fn clear(&self) -> Result<(), Error> {
        accepted(self.client.delete(&self.url).await?).map(|_| ())
    }

    /// How many faults are in force. Errors as [`Control::post`].
    pub async fn count(&self) -> Result<usize, Error> {
        let active: Vec<serde_json::Value> = accepted(self.client.get(&self.url).await?)?.json()?;
        Ok(active.len())
    }
}

fn accepted(answer: Response) -> Result<Response, Error> {
    if answer.is_success() {
        return Ok(answer);
    }
    Err(Error::decode(&answer.what, format!("HTTP {}: {}", answer.status.as_u16(), answer.text())))
}
