//! The plan of the yard: read by everybody, put by the operator where no file gives it. Who puts one says which he has seen.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::http::header::{CACHE_CONTROL, ETAG, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::domain::{Done, Order, UnixMs};
use crate::store::KeptPlan;
use crate::wire;

use super::answer::{Answer, Fault, json, text};
use super::caller::Caller;
use super::front::Front;
use super::guard::LIST_MAX;
use super::query::{Asked, cut};
use super::register;

#[derive(Serialize)]
struct Zones<'a> {
    /// Which plan this is: `file`, which is not changed here, or `store`.
    kept: &'static str,
    /// Of one that is kept in the store: grows with each change; 0 before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    rev: Option<i64>,
    /// When that one was put there.
    #[serde(skip_serializing_if = "Option::is_none")]
    at_ms: Option<UnixMs>,
    /// What is up on the page.
    bearing_deg: f64,
    /// A stay at a dock longer than this is too long; 0: none is.
    overstay_min: u32,
    /// The plan as it was given, GeoJSON; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<&'a RawValue>,
}

/// The plan as it is answered, and the name of this very answer.
struct Told {
    rev: i64,
    body: String,
    tag: String,
}

impl Told {
    fn new(front: &Front, kept: Option<KeptPlan>) -> Self {
        let is_file = front.yard.zones.is_some();
        let (rev, at_ms) = kept.as_ref().map_or((0, None), |kept| (kept.rev, Some(kept.at_ms)));
        // It was parsed before it was kept: it is JSON.
        let kept = kept.and_then(|kept| RawValue::from_string(kept.text).ok());
        let zones = Zones {
            kept: if is_file { "file" } else { "store" },
            rev: (!is_file).then_some(rev),
            at_ms,
            bearing_deg: front.yard.bearing_deg,
            overstay_min: front.yard.overstay_min,
            plan: if is_file { front.plan.as_deref() } else { kept.as_deref() },
        };
        let body = text(&zones);
        let epoch = front.store.epoch().to_string();
        let digest = blake3::Hasher::new().update(epoch.as_bytes()).update(body.as_bytes()).finalize();
        let tag = format!("\"{}\"", digest.to_hex().split_at(32).0);
        Self { rev, body, tag }
    }

    async fn read(front: &Front, rev: Option<i64>) -> Result<Self, Fault> {
        let kept = if front.yard.zones.is_some() { None } else { front.look(move |reader| reader.plan(rev)).await? };
        Ok(Self::new(front, kept))
    }

    /// Whether a list of tags names it.
    fn is_in(&self, tags: &str) -> bool {
        tags.split(',').map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == self.tag)
    }
}

/// Gives an answer its tag. It may be kept, and is asked for each time.
fn tagged(mut response: Response, tag: &str) -> Response {
    if let Ok(tag) = HeaderValue::from_str(tag) {
        response.headers_mut().insert(ETAG, tag);
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    response
}

/// Answers the plan of the yard; with `rev` one before it that is still kept.
pub(super) async fn show(State(front): State<Arc<Front>>, uri: Uri, headers: HeaderMap) -> Answer {
    let asked = Asked::of(&uri, &["rev"])?;
    let rev = asked.text("rev").is_some().then(|| asked.number("rev", 1, 1, i64::MAX)).transpose()?;
    let told = Told::read(&front, rev).await?;
    if let Some(rev) = rev.filter(|rev| *rev != told.rev) {
        let message = format!("revision {rev} of the plan is not kept here");
        return Err(Fault::missing(message, "Without rev it is the plan in force."));
    }
    let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    if known.is_some_and(|tags| told.is_in(tags)) {
        return Ok(tagged(StatusCode::NOT_MODIFIED.into_response(), &told.tag));
    }
    Ok(tagged(json(told.body), &told.tag))
}

/// Puts another plan in the place of the one that the operator has seen.
pub(super) async fn put(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
    headers: HeaderMap,
    request: Request,
) -> Answer {
    caller.operator()?;
    Asked::of(&uri, &[])?;
    let expect = expected(&front, &headers).await?;
    let bytes = register::body(&caller, request, LIST_MAX).await?.to_vec();
    let carried = register::carried(&front, &caller, Order::Plan { bytes, expect }).await?;
    let answer = json(wire::carried(&carried));
    let Done::Planned { rev, .. } = carried.done else { return Ok(answer) };
    Ok(match Told::read(&front, Some(rev)).await {
        Ok(told) if told.rev == rev => tagged(answer, &told.tag),
        // It was put there; who wants to change it again reads it first.
        _ => answer,
    })
}

/// The revision that whoever asks has seen; none: any.
async fn expected(front: &Front, headers: &HeaderMap) -> Result<Option<i64>, Fault> {
    let Some(tags) = headers.get(IF_MATCH) else {
        if front.yard.zones.is_some() {
            // The desk says why nothing is put there.
            return Ok(None);
        }
        let hint = "Send If-Match with the ETag of GET /api/v1/zones, or * for whatever is there.";
        let message = "the request does not say which plan it changes";
        return Err(Fault::new(StatusCode::PRECONDITION_REQUIRED, "if_match_missing", message, hint));
    };
    let tags = tags.to_str().unwrap_or_default();
    if tags.trim() == "*" || front.yard.zones.is_some() {
        return Ok(None);
    }
    let told = Told::read(front, None).await?;
    if told.is_in(tags) {
        return Ok(Some(told.rev));
    }
    let message = format!("the plan is not {} any more: it is revision {} now", cut(tags), told.rev);
    let hint = "Read it again, or put yours in its place knowingly with If-Match: *.";
    Err(Fault::new(StatusCode::PRECONDITION_FAILED, "plan_changed", message, hint))
}
