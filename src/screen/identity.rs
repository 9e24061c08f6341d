//! `/api/v1/identity`: who the node is, to which machine it is bound, and what a person says to that.

use std::sync::Arc;

use axum::extract::{Extension, Path, Request, State};
use axum::http::Uri;
use serde::Deserialize;

use crate::domain::Order;
use crate::wire;

use super::answer::{Answer, Fault, json};
use super::caller::Caller;
use super::front::Front;
use super::guard::BODY_MAX;
use super::query::{Asked, cut};
use super::register::{body, order, parsed};

/// Answers who the node is and to which machine it is bound.
pub(super) async fn show(State(front): State<Arc<Front>>, Extension(caller): Extension<Caller>, uri: Uri) -> Answer {
    caller.operator()?;
    Asked::of(&uri, &[])?;
    let binding = front.look(|reader| reader.binding()).await?;
    Ok(json(wire::identity(&front.node.site, &front.node.id, &binding)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NameBody {
    was: String,
    is: String,
}

/// Accepts the machine, ends the node, or notes the name that its configuration gives it from the next start on.
pub(super) async fn act(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Path(what): Path<String>,
    request: Request,
) -> Answer {
    let asked = match what.as_str() {
        "accept" => Order::Accept,
        "retire" => Order::Retire,
        "rename" => {
            let bytes = body(&caller, request, BODY_MAX).await?;
            let NameBody { was, is } = parsed(&bytes, r#"{"was":"halden/wp-07","is":"halden/wp-08"}"#)?;
            Order::Renamed(was, is)
        }
        _ => {
            let message = format!("nothing can be done with an identity that is called {:?}", cut(&what));
            return Err(Fault::missing(message, "POST accept, retire or rename."));
        }
    };
    order(&front, &caller, asked).await
}
