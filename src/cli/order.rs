//! What a person asks for on the command line: of a running node over its control socket, else of the store under its lock.

use std::path::Path;

use serde_json::{Value, json};

use super::ask::Running;
use super::owner::{become_owner, who};
use super::run::not_opened;
use super::{Failure, exit, load};
use crate::app;
use crate::domain::{ListForm, Order, Refused, Why};
use crate::wire;

/// A request of the running node; by default without a body.
#[derive(Default)]
pub(super) struct Request {
    pub(super) method: &'static str,
    /// Below `/api/v1`, but for `/metrics`.
    pub(super) path: String,
    pub(super) mime: &'static str,
    /// Further lines of its head, each with its end.
    pub(super) head: &'static str,
    pub(super) body: Vec<u8>,
}

/// Has an order carried out; answers what became of it, as the node words it.
pub(super) fn carry_out(config: &Path, order: Order) -> Result<Value, Failure> {
    if let Some(node) = Running::find(config)? {
        return node.ask(&request(order));
    }
    let config = load(config)?.config;
    let who = who();
    become_owner(&config.store.dir)?;
    let answer = app::carry_out(&config, order, &who).map_err(|error| not_opened(&error))?;
    let carried = answer.map_err(|refused| refusal(&refused))?;
    serde_json::from_str(&wire::carried(&carried))
        .map_err(|error| Failure::new(exit::INTERNAL, format!("what became of it cannot be told: {error}")))
}

/// The call of an order.
fn request(order: Order) -> Request {
    let call = |method, path: String, body: Value| Request {
        method,
        path,
        mime: "application/json",
        body: body.to_string().into_bytes(),
        ..Request::default()
    };
    match order {
        Order::Register(thing) => {
            let body = json!({ "name": thing.name, "kind": thing.kind, "codes": thing.codes });
            call("PUT", format!("/assets/{}", encoded(&thing.asset)), body)
        }
        Order::Delete(asset) => {
            let path = format!("/assets/{}", encoded(&asset));
            Request { method: "DELETE", path, ..Request::default() }
        }
        Order::Import { bytes, form, replace } => Request {
            method: "POST",
            path: format!("/assets/import?replace={}", u8::from(replace)),
            mime: if form == ListForm::Csv { "text/csv" } else { "application/json" },
            body: bytes,
            ..Request::default()
        },
        Order::Place { asset, place, note } => {
            call("POST", format!("/assets/{}/place", encoded(&asset)), json!({ "place": place, "note": note }))
        }
        Order::Scan { code, place } => call("POST", "/scans".to_owned(), json!({ "code": code, "place": place })),
        // Who gives a file means that file, whatever is there.
        Order::Plan { bytes, expect: _ } => Request {
            method: "PUT",
            path: "/zones".to_owned(),
            mime: "application/geo+json",
            head: "If-Match: *\r\n",
            body: bytes,
        },
        Order::Letters(bulk) => super::letters::request(&bulk),
        Order::Accept => call("POST", "/identity/accept".to_owned(), json!({})),
        Order::Retire => call("POST", "/identity/retire".to_owned(), json!({})),
        Order::Renamed(was, is) => call("POST", "/identity/rename".to_owned(), json!({ "was": was, "is": is })),
        Order::Stop(job) => Request { method: "DELETE", path: format!("/letters/actions/{job}"), ..Request::default() },
    }
}

/// A name as a part of an address.
pub(super) fn encoded(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    text.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn refusal(refused: &Refused) -> Failure {
    let code = match refused.why {
        Why::Store | Why::Busy => exit::IO,
        _ => exit::NOT_WELL,
    };
    Failure::new(code, worded(&refused.message, &refused.findings, &refused.hint))
}

/// A refusal as a person reads it: what, each mistake on a line of its own, and what to do.
pub(super) fn worded(message: &str, findings: &[String], hint: &str) -> String {
    let mut text = message.to_owned();
    for finding in findings {
        text.push_str("\n  ");
        text.push_str(finding);
    }
    if !hint.is_empty() {
        text.push_str(if findings.is_empty() { ". " } else { "\n" });
        text.push_str(hint);
    }
    text
}
