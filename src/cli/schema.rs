//! `waypost schema`: what goes over MQTT, as JSON Schemas and as an AsyncAPI document. The files of `docs/schema` are the
//! source; tests hold every payload against them.

use std::io;

use clap::Args;
use include_dir::{Dir, include_dir};
use serde_json::{Map, Value};

use super::{Done, Failure, exit, print};

/// A schema a topic, by its path below `<base>`, and `asyncapi.json`, which refers to them.
static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/docs/schema");
/// The document about all of them.
const ASYNCAPI: &str = "asyncapi";
/// Prints the names.
const LIST: &str = "list";

/// What to print.
#[derive(Args)]
pub(super) struct SchemaArgs {
    /// `event`, `state`, `cmd/replay` …; `asyncapi`: the document with all of them; `list`: their names; default: all
    /// schemas as one JSON object
    name: Option<String>,
}

/// Prints schemas.
pub(super) fn schema(args: &SchemaArgs) -> Done {
    match args.name.as_deref() {
        None => {
            let all: Map<String, Value> = names().map(|name| (name.to_owned(), of(name))).collect();
            pretty(&Value::Object(all))
        }
        Some(LIST) => {
            let line = |name| format!("{name:<12} {}\n", of(name)["description"].as_str().unwrap_or_default());
            print(&(names().map(line).collect::<String>() + &format!("{ASYNCAPI:<12} The AsyncAPI 3.0 document.\n")))
        }
        Some(ASYNCAPI) => pretty(&whole(of(ASYNCAPI))),
        Some(name) if names().any(|known| known == name) => print(text(name)),
        Some(name) => {
            let known: Vec<&str> = names().chain([ASYNCAPI, LIST]).collect();
            Err(Failure::new(exit::USAGE, format!("no schema {name:?}; there are {}", known.join(", "))))
        }
    }
}

/// The names of the schemas, in order.
fn names() -> impl Iterator<Item = &'static str> {
    let mut files: Vec<_> = FILES.files().chain(FILES.dirs().flat_map(Dir::files)).collect();
    files.sort_by_key(|file| file.path());
    let name = |file: &include_dir::File<'static>| file.path().to_str().and_then(|path| path.strip_suffix(".json"));
    files.into_iter().filter_map(name).filter(|name| *name != ASYNCAPI)
}

/// A file of the folder as it was written; empty when there is none.
fn text(name: &str) -> &'static str {
    FILES.get_file(format!("{name}.json")).and_then(include_dir::File::contents_utf8).unwrap_or_default()
}

/// The same as a value. The files are part of the program, and a test reads each: none is without one.
fn of(name: &str) -> Value {
    serde_json::from_str(text(name)).unwrap_or_default()
}

/// The document with the files it refers to in their places.
fn whole(document: Value) -> Value {
    let file = |value: &Value| Some(value["$ref"].as_str()?.strip_prefix("./")?.strip_suffix(".json")?.to_owned());
    match document {
        Value::Object(fields) => match file(&Value::Object(fields.clone())) {
            Some(name) => of(&name),
            None => Value::Object(fields.into_iter().map(|(key, value)| (key, whole(value))).collect()),
        },
        Value::Array(items) => Value::Array(items.into_iter().map(whole).collect()),
        other => other,
    }
}

fn pretty(value: &Value) -> Done {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
    print(&(text + "\n"))
}
