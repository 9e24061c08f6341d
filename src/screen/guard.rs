//! What every request passes: whose name it calls us by, how much it sends, and what every answer carries.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, HOST, HeaderName, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::config::Read;

use super::answer::Fault;
use super::assets::CONTENT_POLICY;
use super::caller::Marks;
use super::conn::Conn;
use super::front::Front;
use super::query::cut;

/// A request's body, at most. Bytes.
pub(super) const BODY_MAX: usize = 64 * 1024;
/// A list of assets, or a plan. Bytes.
pub(super) const LIST_MAX: usize = 2 << 20;
/// The calls that take one.
pub(super) const IMPORT: &str = "/api/v1/assets/import";
const ZONES: &str = "/api/v1/zones";
/// The call that makes an operator of who has the PIN.
const SESSION: &str = "/api/v1/session";

/// Lets a request pass or answers it, and counts it.
pub(super) async fn pass(State(front): State<Arc<Front>>, mut request: Request, next: Next) -> Response {
    let checked = match check(&front, &request) {
        Ok(()) => admit(&front, &mut request).await,
        Err(fault) => Err(fault),
    };
    answer(&front, checked, request, next).await
}

/// The same for who speaks no TLS where it is spoken: nobody asks who it is, for nothing of that may be told in the clear.
pub(super) async fn pass_in_the_clear(State(front): State<Arc<Front>>, request: Request, next: Next) -> Response {
    answer(&front, check(&front, &request), request, next).await
}

async fn answer(front: &Front, checked: Result<(), Fault>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = match checked {
        Ok(()) => next.run(request).await,
        Err(fault) => {
            let mut response = fault.into_response();
            // What a stranger goes on sending is not read.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            response
        }
    };
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, CONTENT_POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ] {
        put(&mut response, name, value);
    }
    front.tally.http_requests(route.as_ref().map_or("unmatched", MatchedPath::as_str), response.status().as_u16());
    response
}

/// Sets a header unless the answer has it.
fn put(response: &mut Response, name: HeaderName, value: &'static str) {
    response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
}

/// Finds out who calls, for the call; with `http.read = "pin"` only the operator passes, and who wants to become it.
async fn admit(front: &Front, request: &mut Request) -> Result<(), Fault> {
    let path = request.uri().path();
    if !path.starts_with("/api/") {
        return Ok(());
    }
    let is_session = path == SESSION;
    let caller = Marks::of(request).caller(front).await;
    if front.http.read == Read::Pin && !is_session {
        caller.operator()?;
    }
    request.extensions_mut().insert(caller);
    Ok(())
}

fn check(front: &Front, request: &Request) -> Result<(), Fault> {
    let conn = request.extensions().get::<Arc<Conn>>();
    let control = conn.is_some_and(|conn| conn.is_control());
    if request.headers().get_all(HOST).iter().nth(1).is_some() {
        // Whoever stands between may have looked at the other one.
        return Err(Fault::bad("the request names two hosts", "Send one Host header."));
    }
    if !control {
        let host = request.uri().host().map(str::to_owned).or_else(|| {
            let value = request.headers().get(HOST)?.to_str().ok()?;
            Some(without_port(value)?.to_owned())
        });
        let host = host.unwrap_or_default();
        if !is_ours(&host, conn.and_then(|conn| conn.local), &front.names) {
            return Err(Fault::new(
                StatusCode::MISDIRECTED_REQUEST,
                "unknown_host",
                format!("this node is not called {:?}", cut(&host)),
                "Use its address or its name; a further name is added under http.hosts.",
            ));
        }
    }
    let most = if [IMPORT, ZONES].contains(&request.uri().path()) { LIST_MAX } else { BODY_MAX };
    let length = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if let Some(length) = length.filter(|length| usize::try_from(*length).map_or(true, |length| length > most)) {
        return Err(too_large(&format!("the body has {length} bytes"), most));
    }
    Ok(())
}

/// A body that is not read.
pub(super) fn too_large(what: &str, most: usize) -> Fault {
    let hint = format!("Send at most {most} bytes.");
    Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", what, hint)
}

/// A `Host` without its port; none when it cannot be one.
fn without_port(host: &str) -> Option<&str> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (name, port) = rest.split_once(']')?;
            (name, port.strip_prefix(':').or(port.is_empty().then_some("")))
        }
        None => host.split_once(':').map_or((host, Some("")), |(name, port)| (name, Some(port))),
    };
    port.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit())).then_some(name)
}

/// Whether a host is one of our names, or the very address of the connection: a page of somebody else whose name was
/// pointed at us (DNS rebinding) says its own.
fn is_ours(host: &str, local: Option<IpAddr>, names: &[String]) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = host.parse::<IpAddr>() {
        return local == Some(address.to_canonical());
    }
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    names.contains(&host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_names_and_the_address_of_the_connection_are_ours() {
        let names = ["localhost".to_owned(), "wp-07.local".to_owned()];
        let ours =
            |host: &str, local: &str| without_port(host).is_some_and(|host| is_ours(host, local.parse().ok(), &names));
        for (host, local, expect) in [
            ("192.168.7.4:8080", "192.168.7.4", true),
            ("192.168.7.5:8080", "192.168.7.4", false),
            ("[::1]:8080", "::1", true),
            ("[::1]", "::1", true),
            ("[::1]x", "::1", false),
            ("WP-07.local.:80", "10.0.0.1", true),
            ("localhost", "127.0.0.1", true),
            ("evil.example", "127.0.0.1", false),
            ("localhost:80@evil", "127.0.0.1", false),
            ("", "127.0.0.1", false),
        ] {
            assert_eq!(ours(host, local), expect, "{host} at {local}");
        }
    }
}
