//! `/api/v1/session`: the PIN opens a session of the operator, which a cookie names; it is shown, and ended.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::http::header::{RETRY_AFTER, SET_COOKIE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};

use crate::store::Group;

use super::answer::{Answer, Fault, json, text};
use super::caller::{COOKIE_NAME, Caller};
use super::front::Front;
use super::gate::{SESSION_US, Said};
use super::register::{parsed, read};

/// A PIN and what is around it. Bytes.
const PIN_BODY_MAX: usize = 256;

type Here = State<Arc<Front>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PinBody {
    pin: String,
}

#[derive(Serialize)]
struct Standing {
    /// Whether there is a PIN.
    pin: bool,
    /// Whether who asks is the operator.
    operator: bool,
    /// How long that holds. Seconds
    #[serde(skip_serializing_if = "Option::is_none")]
    left_s: Option<i64>,
}

/// Answers whether who asks is the operator.
pub(super) async fn show(Extension(caller): Extension<Caller>) -> Answer {
    let standing = Standing { pin: caller.may_offer().is_ok(), operator: caller.is_operator(), left_s: caller.left_s };
    Ok(json(text(&standing)))
}

/// Opens a session with the PIN.
pub(super) async fn open(State(front): Here, Extension(caller): Extension<Caller>, request: Request) -> Answer {
    caller.may_offer()?;
    let PinBody { pin } = parsed(&read(request, PIN_BODY_MAX).await?, r#"{"pin":"6 to 12 digits"}"#)?;
    let said = front.gate.hear(&pin).map_err(|error| {
        Fault::new(StatusCode::SERVICE_UNAVAILABLE, "no_randomness", error.to_string(), "Try again in a moment.")
    })?;
    match said {
        Said::Open(secret) => {
            note(&front, &caller, "session", "opened").await;
            Ok(with_cookie(&front, &secret, SESSION_US / 1_000_000))
        }
        Said::Wrong(left) => {
            note(&front, &caller, "wrong_pin", "").await;
            let hint = format!("{left} more wrong ones close it for a while.");
            Err(Fault::new(StatusCode::UNAUTHORIZED, "wrong_pin", "that is not the PIN", hint))
        }
        Said::Closing(wait_s) => {
            note(&front, &caller, "wrong_pin", &format!("no PIN is taken for {wait_s} s")).await;
            Ok(closed(wait_s))
        }
        Said::Closed(wait_s) => Ok(closed(wait_s)),
        // It was there a moment ago.
        Said::NoPin => Err(Fault::new(StatusCode::FORBIDDEN, "pin_not_set", "the PIN is being changed", "Try again.")),
    }
}

/// Ends the session of who asks.
pub(super) async fn end(State(front): Here, Extension(caller): Extension<Caller>) -> Answer {
    caller.may_offer()?;
    if let Some(secret) = &caller.secret {
        front.gate.end(secret);
        note(&front, &caller, "session", "ended").await;
    }
    Ok(with_cookie(&front, "", 0))
}

/// 204 with the cookie of a session.
fn with_cookie(front: &Front, secret: &str, age_s: i64) -> Response {
    let secure = if front.tls.is_some() { "; Secure" } else { "" };
    let cookie = format!("{COOKIE_NAME}={secret}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age_s}{secure}");
    let mut response = StatusCode::NO_CONTENT.into_response();
    // Hexadecimal and our own words: always a header.
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(SET_COOKIE, value);
    }
    response
}

/// 429: no PIN is heard for a while.
fn closed(wait_s: i64) -> Response {
    let what = format!("too many wrong PINs: none is taken for {} min", (wait_s + 59) / 60);
    let hint = "Wait, or use the command line on the gateway; `waypost pin set` there opens it at once.";
    let mut response = Fault::new(StatusCode::TOO_MANY_REQUESTS, "too_many_tries", what, hint).into_response();
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait_s));
    response
}

/// Notes in log and audit what became of a session. The operator gets in also when the store takes nothing: then the log has it.
async fn note(front: &Front, caller: &Caller, what: &'static str, detail: &str) {
    tracing::info!(who = caller.who(), what, detail, "the operator's PIN was asked for");
    let (who, detail) = (caller.who().to_owned(), detail.to_owned());
    if let Err(error) = front.store.submit(Group::Now, move |txn| txn.audit(&who, what, &detail)).await {
        tracing::warn!(%error, "the audit did not take it");
    }
}
