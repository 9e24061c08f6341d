//! `POST /api/v1/purge`: one step of a purge at a time; `waypost purge` gives back what the step before answered until all is gone.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::StatusCode;

use crate::health::State as Posted;
use crate::retention::{Purge, PurgeError};

use super::answer::{Answer, Fault, json, text};
use super::caller::Caller;
use super::front::Front;
use super::guard::BODY_MAX;
use super::register::{body, parsed};

/// Does the next step.
pub(super) async fn purge(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Answer {
    let purge: Purge =
        parsed(&body(&caller, request, BODY_MAX).await?, r#"{"asset":"TRK-07"} or {"before_ms":1795132800000}"#)?;
    let sends = matches!(front.board.get("uplink", ""), Some(Posted::Uplink(uplink)) if uplink.configured);
    if purge.unsent && sends {
        return Err(Fault::new(
            StatusCode::CONFLICT,
            "on_its_way",
            "what is on its way to the platform cannot be called back while the node runs",
            "Stop waypost, then purge with --unsent; or leave --unsent out: what is not sent stays.",
        ));
    }
    let purge = purge.step(&front.store, caller.who()).await.map_err(fault)?;
    if purge.is_done() {
        let (forget, sources) = (Arc::clone(&front.forget), purge.captures(front.now_ms()).clone());
        let forgotten = tokio::task::spawn_blocking(move || sources.iter().try_for_each(|source| forget(source)));
        let forgotten = forgotten.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        forgotten.map_err(|error| fault(PurgeError::Archive(error)))?;
    }
    Ok(json(text(&purge)))
}

fn fault(error: PurgeError) -> Fault {
    let words = error.to_string();
    match error {
        PurgeError::Unknown(_) => Fault::missing(words, "`waypost assets list` shows them."),
        PurgeError::Nothing => Fault::bad(words, "Give asset or before_ms."),
        PurgeError::Unexpected { .. } => {
            Fault::new(StatusCode::CONFLICT, "count_changed", words, "Give expect: so many events may go at most.")
        }
        PurgeError::Busy => {
            Fault::new(StatusCode::SERVICE_UNAVAILABLE, "already_running", words, "Ask again when it has ended.")
        }
        PurgeError::Store(error) => error.into(),
        PurgeError::Archive(_) | PurgeError::Reader => {
            Fault::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", words, "Check the disk, then ask again.")
        }
    }
}
