//! The register, and what people ask of the node: to name a thing, to place it, to enter a label.
//! Reads are for everybody; whatever changes something needs the operator, and goes to the desk as an order.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Bytes, to_bytes};
use axum::extract::{Extension, Path, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode, Uri};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::domain::{Carried, ListForm, Order, Refused, Thing, UnixMs, Why};
use crate::store::Listed;
use crate::wire;

use super::answer::{Answer, Fault, json, text, typed};
use super::caller::Caller;
use super::feed::{Frame, Item};
use super::front::Front;
use super::guard::{BODY_MAX, LIST_MAX, too_large};
use super::query::{Asked, cut};
use super::render;

/// How long a body may be on its way.
const BODY_WAIT: Duration = Duration::from_secs(30);
/// How long an order may take before whoever asked is told to look again.
const ORDER_WAIT: Duration = Duration::from_secs(50);
/// Assets of one frame.
const TOLD: usize = 128;

type Here = State<Arc<Front>>;
type Asker = Extension<Caller>;

#[derive(Serialize)]
struct List {
    t: UnixMs,
    items: Vec<Box<RawValue>>,
    more: i64,
}

/// Answers the assets, registered first; with `q` those of which it is in the id, the name, a code or a key.
pub(super) async fn list(State(front): Here, uri: Uri) -> Answer {
    let asked = Asked::of(&uri, &["q", "limit"])?;
    let (limit, words) = (asked.limit(100, 500)?, asked.text("q").map_or_else(Vec::new, wire::search_words));
    let board = front.board.clone();
    let (found, total) = front.look(move |reader| reader.find_assets(&words, limit)).await?;
    let more = total - i64::try_from(found.len()).unwrap_or(total);
    let items = found.into_iter().filter_map(|Listed { thing, state }| {
        let state = state.map(|stored| render::newest(&board, stored));
        RawValue::from_string(wire::listed(thing.as_ref(), None, state.as_ref())).ok()
    });
    Ok(json(text(&List { t: front.now_ms(), items: items.collect(), more: more.max(0) })))
}

/// Answers one asset: how it is now, and what the register says of it.
pub(super) async fn one(State(front): Here, Path(name): Path<String>) -> Answer {
    let asked = name.clone();
    let (thing, keys, state) =
        front.look(move |reader| Ok((reader.thing(&name)?, reader.keys_of(&name)?, reader.asset(&name)?))).await?;
    if thing.is_none() && state.is_none() {
        let message = format!("no asset {:?} is registered or has been seen", cut(&asked));
        return Err(Fault::missing(message, "GET /api/v1/assets lists them."));
    }
    let state = state.map(|stored| render::newest(&front.board, stored));
    Ok(json(wire::listed(thing.as_ref(), thing.as_ref().map(|_| keys.as_slice()), state.as_ref())))
}

/// Answers the whole register as a list that an import takes: `format=csv` (default) or `json`.
pub(super) async fn export(State(front): Here, Extension(caller): Asker, uri: Uri) -> Answer {
    caller.operator()?;
    let asked = Asked::of(&uri, &["format"])?;
    let form = asked.text("format").unwrap_or("csv").to_owned();
    let things = front.look(|reader| reader.things()).await?;
    match form.as_str() {
        "csv" => Ok(typed(wire::assets_csv(&things), "text/csv; charset=utf-8; header=present")),
        "json" => Ok(json(wire::assets_json(&things))),
        _ => Err(Fault::bad(format!("format is {:?}", cut(&form)), "Give csv or json.")),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ThingBody {
    #[serde(default)]
    name: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    codes: Vec<String>,
}

/// Puts one asset into the register, whole.
pub(super) async fn put(
    State(front): Here,
    Extension(caller): Asker,
    Path(asset): Path<String>,
    request: Request,
) -> Answer {
    let ThingBody { name, kind, codes } =
        parsed(&body(&caller, request, BODY_MAX).await?, r#"{"name":"","kind":"trailer","codes":["…"]}"#)?;
    order(&front, &caller, Order::Register(Thing { asset, name, kind, codes })).await
}

/// Takes one asset out of the register.
pub(super) async fn delete(State(front): Here, Extension(caller): Asker, Path(asset): Path<String>) -> Answer {
    order(&front, &caller, Order::Delete(asset)).await
}

/// Puts a list into the register, all or none; with `replace=1` what is not in it is taken out.
pub(super) async fn import(
    State(front): Here,
    Extension(caller): Asker,
    uri: Uri,
    headers: HeaderMap,
    request: Request,
) -> Answer {
    caller.operator()?;
    let replace = Asked::of(&uri, &["replace"])?.number("replace", 0, 0, 1)? == 1;
    let mime = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let form = match mime.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "text/csv" => ListForm::Csv,
        "application/json" => ListForm::Json,
        _ => {
            let message = format!("the content type is {:?}", cut(mime));
            let hint = "Send text/csv or application/json.";
            return Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_type", message, hint));
        }
    };
    let bytes = body(&caller, request, LIST_MAX).await?.to_vec();
    order(&front, &caller, Order::Import { bytes, form, replace }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlaceBody {
    /// Text or null; to leave it out is a slip, not "nowhere".
    place: Value,
    #[serde(default)]
    note: String,
}

/// Says where an asset is.
pub(super) async fn place(
    State(front): Here,
    Extension(caller): Asker,
    Path(asset): Path<String>,
    request: Request,
) -> Answer {
    const SHAPE: &str = r#"{"place":"dock-3","note":""}, or null for no place"#;
    let PlaceBody { place, note } = parsed(&body(&caller, request, BODY_MAX).await?, SHAPE)?;
    let place = match place {
        Value::Null => None,
        Value::String(place) => Some(place),
        _ => return Err(Fault::bad("place is neither a text nor null", format!("Send {SHAPE}."))),
    };
    order(&front, &caller, Order::Place { asset, place, note }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScanBody {
    code: String,
    #[serde(default)]
    place: Option<String>,
}

/// Enters a label that no scanner can read.
pub(super) async fn scan(State(front): Here, Extension(caller): Asker, request: Request) -> Answer {
    let ScanBody { code, place } =
        parsed(&body(&caller, request, BODY_MAX).await?, r#"{"code":"…","place":"dock-3"}"#)?;
    order(&front, &caller, Order::Scan { code, place }).await
}

/// The body of a request of the operator; a stranger's is not read.
pub(super) async fn body(caller: &Caller, request: Request, most: usize) -> Result<Bytes, Fault> {
    caller.operator()?;
    read(request, most).await
}

/// The body of a request.
pub(super) async fn read(request: Request, most: usize) -> Result<Bytes, Fault> {
    let slow = || Fault::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "the body did not come", "Send it at once.");
    let read = timeout(BODY_WAIT, to_bytes(request.into_body(), most)).await.map_err(|_| slow())?;
    read.map_err(|error| too_large(&format!("the body cannot be read: {error}"), most))
}

/// A body as what it says.
pub(super) fn parsed<T: DeserializeOwned>(bytes: &[u8], shape: &str) -> Result<T, Fault> {
    serde_json::from_slice(bytes)
        .map_err(|error| Fault::bad(format!("the body cannot be understood: {error}"), format!("Send {shape}.")))
}

/// Hands an order to the desk and answers what became of it.
pub(super) async fn order(front: &Front, caller: &Caller, order: Order) -> Answer {
    Ok(json(wire::carried(&carried(front, caller, order).await?)))
}

/// Hands an order to the desk and waits for what became of it.
pub(super) async fn carried(front: &Front, caller: &Caller, order: Order) -> Result<Carried, Fault> {
    caller.operator()?;
    let who = caller.who().to_owned();
    let (reply, answer) = oneshot::channel();
    front.desk.try_send((order, who, reply)).map_err(|error| match error {
        TrySendError::Full(_) => Refused::new(Why::Busy, "too many orders wait already", "Try again in a moment."),
        TrySendError::Closed(_) => Refused::new(Why::Store, "the node is going down", "Try again when it is back."),
    })?;
    let lost = |what: &str| Refused::new(Why::Store, what, "It may still be carried out: look, then ask again.");
    let answer = timeout(ORDER_WAIT, answer).await.map_err(|_| lost("the order takes long"))?;
    let carried = answer.map_err(|_| lost("the desk was started anew"))??;
    tell(front, &carried.touched).await;
    Ok(carried)
}

/// Tells the streams of assets that changed or are gone without an event that says so.
async fn tell(front: &Front, assets: &[String]) {
    if front.feed.streams() == 0 {
        return;
    }
    for some in assets.chunks(TOLD) {
        let (board, names) = (front.board.clone(), some.to_vec());
        let items = front.look(move |reader| {
            let item = |name: &String| {
                Ok(match reader.asset(name)? {
                    Some(stored) => Item::put("asset", wire::asset(&render::newest(&board, stored))),
                    None => render::gone("asset", name),
                })
            };
            names.iter().map(item).collect::<crate::store::Look<Vec<_>>>()
        });
        match items.await {
            Ok(items) => front.feed.push(Frame::new(front.clock.now(), None, None, &items)),
            Err(error) => {
                tracing::warn!(%error, "streams were not told of an asset; a page shows it when it is loaded anew")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixStream;

    use super::*;
    use crate::screen::rig::{Client, Rig};

    async fn place(rig: &Rig) -> (u16, Value) {
        let socket = UnixStream::connect(&rig.control).await.unwrap();
        let (line, body) = ("POST /api/v1/assets/TRL-7/place HTTP/1.1\r\nHost: waypost", r#"{"place":"gate"}"#);
        let request = format!("{line}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        Client::ask(socket, &request).await.json().await
    }

    #[tokio::test]
    async fn an_order_that_finds_no_place_at_the_desk_is_told_to_come_again() {
        let mut rig = Rig::start().await;
        // The desk has room for one and nobody is at it: one of the two waits, the other is told so at once.
        let (status, answer) = tokio::select! { told = place(&rig) => told, told = place(&rig) => told };
        assert_eq!((status, &answer["error"]["code"]), (503, &"busy".into()), "{answer}");
        assert_eq!(answer["error"]["hint"], "Try again in a moment.");
        let (order, who, reply) = rig.orders.recv().await.unwrap();
        assert!(matches!(order, Order::Place { place: Some(place), .. } if place == "gate"));
        // SAFETY: takes and touches nothing, and cannot fail.
        assert_eq!(who, format!("uid {}", unsafe { libc::getuid() }));
        drop(reply);
        rig.orders.close();
        let (status, answer) = place(&rig).await;
        assert_eq!((status, &answer["error"]["code"]), (503, &"store_unavailable".into()), "{answer}");
    }

    #[tokio::test]
    async fn a_list_may_be_longer_than_other_bodies_and_is_bounded_too() {
        let rig = Rig::start().await;
        for (path, length, expect) in [
            ("assets/import", LIST_MAX + 1, 413),
            ("assets/TRL-7/place", BODY_MAX + 1, 413),
            ("assets/import", LIST_MAX, 415),
        ] {
            let socket = UnixStream::connect(&rig.control).await.unwrap();
            let line = format!("POST /api/v1/{path} HTTP/1.1\r\nHost: waypost\r\nConnection: close");
            let head = format!("{line}\r\nContent-Length: {length}\r\n\r\n");
            assert_eq!(Client::ask(socket, &head).await.status, expect, "{path} {length}");
        }
        // Without a length it is cut off where it grows too long.
        let socket = UnixStream::connect(&rig.control).await.unwrap();
        let line = "POST /api/v1/scans HTTP/1.1\r\nHost: waypost\r\nConnection: close\r\nTransfer-Encoding: chunked";
        let chunk = format!("{:x}\r\n{}\r\n0\r\n\r\n", BODY_MAX + 1, "x".repeat(BODY_MAX + 1));
        assert_eq!(Client::ask(socket, &format!("{line}\r\n\r\n{chunk}")).await.status, 413);
    }
}
