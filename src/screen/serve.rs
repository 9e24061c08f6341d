//! The worker `screen`: opens the doors, accepts, and answers each connection in a task of its own.
//! It waits on: a new connection, the end of one, a timer for beats and doors that could not be opened, and the stop.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tracing::{error, warn};

use crate::health::{Ctx, Outcome, wedge};

use super::answer::Fault;
use super::bind::Doors;
use super::front::Front;
use super::{
    api, assets, conn, delivery, events, guard, history, identity, letters, probes, purge, rebuild, records, recount,
    register, session, stream, zones,
};

/// What one turn of the accept loop may take.
const TURN: Duration = Duration::from_secs(10);
/// After an accept that failed: no descriptor is free, most likely.
const PAUSE: Duration = Duration::from_millis(100);
/// Connections kept for commands on this machine when strangers hold all others.
const CONTROL_SPARE: usize = 8;

/// The worker `screen`.
///
/// # Errors
/// None: a door that cannot be opened is an alarm and is tried again.
pub(super) async fn run(front: Arc<Front>, ctx: Ctx) -> Outcome {
    let router = router(&front);
    let tcp_max = front.http.max_streams.saturating_add(front.limits.spare);
    let mut doors = Doors::new(Arc::clone(&front));
    let mut connections = JoinSet::new();
    while !ctx.stop.is_cancelled() {
        wedge::hang("screen").await;
        ctx.beat.working(TURN);
        doors.open().await;
        let wait = ctx.beat.parked(front.limits.retry);
        tokio::select! {
            // A connection that is not accepted waits in the kernel's queue, which is bounded too.
            accepted = doors.accept(connections.len() < tcp_max), if connections.len() < tcp_max + CONTROL_SPARE => match accepted {
                Ok(socket) => {
                    let (front, router, stop) = (Arc::clone(&front), router.clone(), ctx.stop.clone());
                    connections.spawn(conn::talk(front, router, socket, stop));
                }
                Err(error) => {
                    warn!(%error, "a connection could not be accepted; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(ended) = connections.join_next(), if !connections.is_empty() => note(ended),
            () = tokio::time::sleep(wait) => {}
            () = ctx.stop.cancelled() => {}
        }
    }
    drop(doors);
    front.feed.wake();
    let drained = timeout(front.limits.drain, async {
        while let Some(ended) = connections.join_next().await {
            note(ended);
        }
    });
    if drained.await.is_err() {
        warn!(n_connections = connections.len(), "connections did not end in time and are cut");
        connections.shutdown().await;
    }
    Ok(())
}

/// A call that panicked took its connection with it, nothing else.
fn note(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        error!(%error, "a call hit a bug and its connection was cut; please report this");
    }
}

/// Every call of the screen.
pub(super) fn router(front: &Arc<Front>) -> Router {
    let v1 = Router::new()
        .route("/snapshot", get(api::snapshot))
        .route("/stream", get(stream::open))
        .route("/events", get(events::list))
        .route("/events/{id}", get(events::one))
        .route("/events/{id}/delivery", get(delivery::of_event))
        .route("/delivery", get(delivery::of_code))
        .route("/assets", get(register::list))
        .route("/assets/import", post(register::import))
        .route("/assets/export", get(register::export))
        .route("/assets/{id}", get(register::one).put(register::put).delete(register::delete))
        .route("/assets/{id}/place", post(register::place))
        .route("/assets/{id}/history", get(history::history))
        .route("/zones", get(zones::show).put(zones::put))
        .route("/scans", post(register::scan))
        .route("/sources", get(api::sources))
        .route("/sheets", get(records::sheets))
        .route("/ledger", get(api::ledger))
        .route("/ledger/walk", get(recount::walk))
        .route("/ledger/close", get(recount::close))
        .route("/ledger/lanes", get(recount::lanes))
        .route("/letters", get(letters::list))
        .route("/letters/summary", get(letters::summary))
        .route("/letters/export", get(letters::export))
        .route("/letters/actions", post(letters::act))
        .route("/letters/actions/{job}", get(letters::job).delete(letters::stop))
        .route("/letters/{id}", get(letters::one))
        .route("/logs/{log}", get(records::log))
        .route("/captures/{source}", get(records::capture))
        .route("/identity", get(identity::show))
        .route("/identity/{what}", post(identity::act))
        .route("/purge", post(purge::purge))
        .route("/rebuild", post(rebuild::rebuild))
        .route("/session", get(session::show).post(session::open).delete(session::end))
        .route("/health", get(api::health));
    let page = assets::SCREENS.into_iter().fold(Router::new(), |page, screen| page.route(screen, get(assets::serve)));
    page.route("/web/{*path}", get(assets::serve))
        .route("/metrics", get(probes::metrics))
        .route("/livez", get(probes::livez))
        .route("/readyz", get(probes::readyz))
        .route("/healthz", get(probes::healthz))
        .nest("/api/v1", v1)
        .fallback(unknown)
        .method_not_allowed_fallback(not_allowed)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(front), guard::pass))
        .with_state(Arc::clone(front))
}

async fn unknown() -> Fault {
    Fault::missing("there is nothing at this address", "The page is at /, the calls are under /api/v1.")
}

async fn not_allowed() -> Fault {
    Fault::new(
        axum::http::StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this address does not take that method",
        "Most addresses are read with GET; the README names those that take more.",
    )
}
