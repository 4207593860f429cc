//! Faults of the simulated world: each acts on a process, a socket, the database, the broker, the feed or the model.

use super::file::{Fault, ModelFault, service};
use anyhow::{Context, Result, bail};
use serde_json::{Value as Json, json};
use std::time::Duration;
use tradewatch_platforms::runtime::http::Client;
use tradewatch_platforms::trading_platform::{ServiceName, model, sim};

/// How long a call to a service may take.
const CALL_MAX: Duration = Duration::from_secs(60);
/// Writers of the database are waited for so long before it is taken for unlockable, in seconds.
const LOCK_TRIES: u32 = 10;

/// The faults of one drill, second by second.
pub struct Faults<'f> {
    faults: Vec<&'f Fault>,
    /// The database is busy: it is tried again in the next second, so many times already.
    lock_tries: u32,
    /// A killed service is gone with the next second, and started then.
    restarts: Vec<ServiceName>,
}

impl<'f> Faults<'f> {
    /// None of them has happened.
    pub fn new(faults: impl IntoIterator<Item = &'f Fault>) -> Faults<'f> {
        Faults { faults: faults.into_iter().collect(), lock_tries: 0, restarts: Vec::new() }
    }

    /// Makes happen what is due `since` seconds after the first; `left` is how many seconds they last on.
    ///
    /// # Errors
    /// If the world cannot be disturbed so.
    pub fn inject(&mut self, platform: &mut sim::Platform, since: u64, left: u64) -> Result<()> {
        for fault in &self.faults {
            let due = fault.is_due(since);
            let locks = fault.lock_database.is_some();
            let again = locks && self.lock_tries > 0;
            if !(due || again) {
                continue;
            }
            match inject(fault, platform, since, left) {
                // Somebody else is writing just now.
                Err(error) if locks && self.lock_tries < LOCK_TRIES => {
                    tracing::debug!(%error, "the database is busy");
                    self.lock_tries += 1;
                }
                Err(error) => return Err(error).with_context(|| format!("inject {fault:?}")),
                Ok(()) if locks => self.lock_tries = 0,
                Ok(()) => self.restarts.extend(fault.restart.as_deref().map(service).transpose()?),
            }
        }
        Ok(())
    }

    /// Starts what was killed to be started at once. To be called at the beginning of each second.
    pub fn restart(&mut self, platform: &mut sim::Platform) {
        for name in self.restarts.drain(..) {
            platform.start_service(name);
        }
    }

    /// Ends all of them.
    ///
    /// # Errors
    /// As [`Faults::inject`].
    pub fn take_back(&mut self, platform: &mut sim::Platform) -> Result<()> {
        self.lock_tries = 0;
        for fault in &self.faults {
            take_back(fault, platform).with_context(|| format!("take back {fault:?}"))?;
        }
        Ok(())
    }
}

/// Makes a fault happen, `since` seconds after the first of its drill; `lasts` is how many seconds are left of it.
fn inject(fault: &Fault, platform: &mut sim::Platform, since: u64, lasts: u64) -> Result<()> {
    if let Some(name) = &fault.hook {
        bail!("the hook {name:?} is a command of yours: run it with --live --hooks FILE");
    }
    if let Some(name) = &fault.kill {
        platform.kill(service(name)?);
    }
    if let Some(name) = &fault.restart {
        platform.kill(service(name)?);
    }
    if let Some(name) = &fault.hang {
        platform.freeze(service(name)?, true);
    }
    if fault.lock_database.is_some() {
        platform.lock_database(true)?;
    }
    for (to, body) in [(ServiceName::MarketFeed, &fault.feed), (ServiceName::PaperBroker, &fault.broker)] {
        if let Some(body) = body {
            let mut body = body.clone();
            body["for_seconds"] = json!(lasts);
            platform.post(to, "/control/faults", body);
        }
    }
    if let Some(change) = fault.model {
        match change {
            ModelFault::Missing => drop(platform.remove_model()), // It may be missing already.
            ModelFault::Damaged => {
                let mut bytes = model::shipped(1).context("the first shipped model")?.as_bytes().to_vec();
                if let Some(byte) = bytes.last_mut() {
                    *byte ^= 1;
                }
                platform.write_model(&bytes)?;
            }
        }
        platform.post(ServiceName::SignalService, "/api/v1/model/reload", json!({}));
    }
    if let Some(post) = &fault.post {
        platform.post(service(&post.to)?, &post.path, post.body_at(since)?);
    }
    if let Some(side) = &fault.order_past_the_gateway {
        order_past_the_gateway(platform, side);
    }
    Ok(())
}

/// Ends a fault.
fn take_back(fault: &Fault, platform: &mut sim::Platform) -> Result<()> {
    if let Some(name) = &fault.kill {
        platform.start_service(service(name)?);
    }
    if let Some(name) = &fault.hang {
        platform.freeze(service(name)?, false);
    }
    if fault.lock_database.is_some() {
        platform.lock_database(false)?;
    }
    for (of, body) in [(ServiceName::MarketFeed, &fault.feed), (ServiceName::PaperBroker, &fault.broker)] {
        if body.is_some() {
            let client = Client::new(platform.net().clone(), CALL_MAX);
            let url = format!("{}/control/faults", platform.config().url(of));
            tokio::spawn(async move {
                if let Err(error) = client.delete(&url).await {
                    tracing::warn!(%error, "the faults were not ended; their time ends them");
                }
            });
        }
    }
    if fault.model.is_some() {
        platform.ship_model(1)?;
        platform.post(ServiceName::SignalService, "/api/v1/model/reload", json!({}));
    }
    if let Some(post) = &fault.post
        && let Some(undo) = &post.undo
    {
        platform.post(service(&post.to)?, &undo.path, or_empty(&undo.body));
    }
    if let Some(side) = &fault.order_past_the_gateway {
        order_past_the_gateway(platform, if side == "buy" { "sell" } else { "buy" });
    }
    Ok(())
}

fn or_empty(body: &Json) -> Json {
    if body.is_null() { json!({}) } else { body.clone() }
}

/// Sends an order straight to the broker; it refuses some by chance, so it is asked a few times.
fn order_past_the_gateway(platform: &sim::Platform, side: &str) {
    let config = platform.config();
    let client = Client::new(platform.net().clone(), CALL_MAX)
        .with_header("APCA-API-KEY-ID", &config.broker.key_id)
        .with_header("APCA-API-SECRET-KEY", config.broker.secret_key.expose());
    let url = format!("{}/v2/orders", config.url(ServiceName::PaperBroker));
    let order =
        json!({ "symbol": "AAPL", "qty": "1", "side": side, "type": "market", "time_in_force": "day" });
    tokio::spawn(async move {
        for _ in 0..5 {
            if client.post(&url, &order).await.is_ok_and(|answer| answer.is_success()) {
                return;
            }
        }
        tracing::warn!(url, "the broker took no order past the gateway");
    });
}
