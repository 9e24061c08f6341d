//! Who makes a call: a command on this machine, the operator by a session, or somebody. The guard finds it out once; a call
//! that needs the operator asks [`Caller::operator`].

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::header::{COOKIE, HOST, HeaderName, ORIGIN};
use axum::http::{HeaderMap, Method, StatusCode};

use super::answer::Fault;
use super::conn::Conn;
use super::front::Front;

/// The header that a page of another origin cannot send unasked.
const WAYPOST: HeaderName = HeaderName::from_static("x-waypost");
/// The cookie of a session.
pub(super) const COOKIE_NAME: &str = "waypost_session";

/// Who makes one call.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    who: String,
    /// Whether it may do what only the operator may, else why not.
    standing: Result<(), Fault>,
    /// Whether it may offer a PIN, else why not.
    offer: Result<(), Fault>,
    /// How long its session holds. Seconds
    pub(super) left_s: Option<i64>,
    /// The secret of its session.
    pub(super) secret: Option<String>,
}

/// What of a request says who makes it.
pub(super) struct Marks {
    conn: Option<Arc<Conn>>,
    from_here: Result<(), Fault>,
    secrets: Vec<String>,
}

impl Marks {
    /// Reads them from a request.
    pub(super) fn of(request: &Request) -> Self {
        let headers = request.headers();
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        Self {
            conn: request.extensions().get::<Arc<Conn>>().cloned(),
            from_here: if reads { Ok(()) } else { from_here(headers) },
            secrets: secrets(headers),
        }
    }

    /// Finds out who it is.
    pub(super) async fn caller(self, front: &Front) -> Caller {
        let Self { conn, from_here, secrets } = self;
        if let Some(conn) = conn.as_deref().filter(|conn| conn.is_control()) {
            let who = conn.uid.map_or_else(|| "an unknown user".to_owned(), |uid| format!("uid {uid}"));
            let offer = Err(Fault::bad("a command on this machine needs no session", "Ask without one."));
            return Caller { who, standing: Ok(()), offer, left_s: None, secret: None };
        }
        let at = conn
            .and_then(|conn| conn.peer)
            .map_or_else(|| "an unknown address".to_owned(), |ip: IpAddr| ip.to_string());
        let offer = match front.gate.look().await {
            Ok(true) => from_here,
            Ok(false) => Err(pin_not_set()),
            Err(error) => {
                tracing::warn!(%error, file = %front.http.pin_file.display(), "the PIN cannot be used; nobody is the operator");
                let text = format!("this needs the operator session, and the PIN cannot be used: {error}");
                Err(Fault::new(StatusCode::FORBIDDEN, "pin_not_set", text, "Run `waypost check` on the gateway."))
            }
        };
        let found = secrets.into_iter().find_map(|secret| Some((front.gate.holds(&secret)?, secret)));
        let (left_s, secret) = found.unzip();
        let standing = offer.clone().and_then(|()| if left_s.is_some() { Ok(()) } else { Err(session_needed()) });
        let who = if left_s.is_some() { format!("operator at {at}") } else { format!("somebody at {at}") };
        Caller { who, standing, offer, left_s, secret }
    }
}

impl Caller {
    /// Whether it may do what only the operator may: a command on this machine, or who has opened a session.
    ///
    /// # Errors
    /// 403 when no PIN is set, or it does not come from our own page; 401 when there is no session.
    pub(super) fn operator(&self) -> Result<(), Fault> {
        self.standing.clone()
    }

    /// As [`Caller::operator`], in one word.
    pub(super) const fn is_operator(&self) -> bool {
        self.standing.is_ok()
    }

    /// Whether it may offer a PIN.
    ///
    /// # Errors
    /// 403 when no PIN is set, or it does not come from our own page.
    pub(super) fn may_offer(&self) -> Result<(), Fault> {
        self.offer.clone()
    }

    /// Its name in the audit.
    pub(super) fn who(&self) -> &str {
        &self.who
    }
}

/// Whether a changing request comes from a page of ours: another one can send neither the header nor our origin.
fn from_here(headers: &HeaderMap) -> Result<(), Fault> {
    let refused = |code, what: String, hint: &str| Err(Fault::new(StatusCode::FORBIDDEN, code, what, hint));
    if headers.get(WAYPOST).is_none_or(|value| value.as_bytes() != b"1") {
        let hint = "Send X-Waypost: 1 with what changes something.";
        return refused("header_missing", "the request has no header X-Waypost: 1".to_owned(), hint);
    }
    let hint = "Send an Origin that is exactly the Host of the request, as a page of this node does.";
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (origin, host) = (text(ORIGIN), text(HOST));
    if headers.get_all(ORIGIN).iter().nth(1).is_some() {
        return refused("foreign_origin", "the request names two origins".to_owned(), hint);
    }
    // A proxy on this machine may have taken the TLS off: either scheme is ours.
    let named = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    if host.is_empty() || named.is_none_or(|named| !named.eq_ignore_ascii_case(host)) {
        let what = format!("the request comes from {:?}, not from this node's page", super::query::cut(origin));
        return refused("foreign_origin", what, hint);
    }
    Ok(())
}

/// What the cookies of our name hold; a page of another port of this machine may have set one too.
fn secrets(headers: &HeaderMap) -> Vec<String> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| *name == COOKIE_NAME)
        .map(|(_, secret)| secret.to_owned())
        .take(SECRETS_MAX)
        .collect()
}

/// Cookies of our name that are looked at.
const SECRETS_MAX: usize = 8;

/// What needs the operator session while no PIN is set.
fn pin_not_set() -> Fault {
    Fault::new(
        StatusCode::FORBIDDEN,
        "pin_not_set",
        "this needs the operator session, and no PIN is set",
        "Run `waypost pin set` on the gateway, or use its command line.",
    )
}

fn session_needed() -> Fault {
    let hint = "Open one with the PIN: POST /api/v1/session.";
    Fault::new(StatusCode::UNAUTHORIZED, "session_needed", "this needs the operator session", hint)
}
