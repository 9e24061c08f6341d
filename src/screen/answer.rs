//! How the screen answers: JSON texts, and errors that say what, with which value, and what to do.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::warn;

use crate::domain::{Cursor, Refused, Why};
use crate::health::AlreadyRunning;
use crate::retention::RebuildError;
use crate::store::StoreError;

/// The answer of a call.
pub(super) type Answer = Result<Response, Fault>;

/// Why a call is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) hint: String,
    /// What would have been right.
    pub(super) right: Option<Right>,
    /// Every mistake of a list.
    pub(super) findings: Vec<String>,
}

/// What would have been right, for who asked for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// Where the log begins now.
    Oldest(Cursor),
    /// How many there are now.
    Now(usize),
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Words<'a>,
}

#[derive(Serialize)]
struct Words<'a> {
    code: &'a str,
    message: &'a str,
    hint: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest: Option<String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    findings: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<usize>,
}

impl Fault {
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { status, code, message: message.into(), hint: hint.into(), right: None, findings: Vec::new() }
    }

    /// A request that cannot be understood.
    pub(super) fn bad(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message, hint)
    }

    /// Something that is not here.
    pub(super) fn missing(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message, hint)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        warn!(%error, "a call could not be answered from the store");
        let hint = if error.may_pass() { "Try again; it may pass." } else { "Run `waypost doctor` on the gateway." };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", error.to_string(), hint)
    }
}

impl From<AlreadyRunning> for Fault {
    fn from(running: AlreadyRunning) -> Self {
        let message = format!("already_running: {} is at work", running.job);
        Self::new(
            StatusCode::CONFLICT,
            "already_running",
            message,
            "Wait for its end, `waypost status` shows how far it is.",
        )
    }
}

impl From<RebuildError> for Fault {
    fn from(error: RebuildError) -> Self {
        match error {
            RebuildError::Busy(running) => running.into(),
            RebuildError::Store(error) => error.into(),
        }
    }
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        let status = match refused.why {
            Why::Invalid => StatusCode::BAD_REQUEST,
            Why::NotFound => StatusCode::NOT_FOUND,
            Why::Conflict | Why::CountChanged | Why::UnknownTag | Why::PlanIsFile => StatusCode::CONFLICT,
            Why::PlanChanged => StatusCode::PRECONDITION_FAILED,
            Why::Busy | Why::Store => StatusCode::SERVICE_UNAVAILABLE,
        };
        let fault = Self::new(status, refused.why.as_str(), refused.message, refused.hint);
        Self { findings: refused.findings, right: refused.now.map(Right::Now), ..fault }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let words = Words {
            code: self.code,
            message: &self.message,
            hint: &self.hint,
            oldest: if let Some(Right::Oldest(cursor)) = self.right { Some(cursor.to_string()) } else { None },
            findings: &self.findings,
            now: if let Some(Right::Now(n)) = self.right { Some(n) } else { None },
        };
        let mut response = json(text(&Envelope { error: words }));
        *response.status_mut() = self.status;
        response
    }
}

/// A JSON text as an answer that nobody may keep.
pub(super) fn json(text: String) -> Response {
    typed(text, "application/json")
}

/// A text of a media type as an answer that nobody may keep.
pub(super) fn typed(text: impl Into<Body>, mime: &'static str) -> Response {
    let mut response = Response::new(text.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(mime));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A value of ours as JSON text.
#[expect(clippy::expect_used, reason = "plain structs with string keys and finite numbers always serialise")]
pub(super) fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("a struct with string keys and finite numbers is JSON")
}
