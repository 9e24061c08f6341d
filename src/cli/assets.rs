//! `waypost assets`: the register and the yard, by hand.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use serde_json::Value;

use super::ask::Running;
use super::order::{carry_out, encoded};
use super::{Done, Failure, open, places, print};
use crate::domain::{ListForm, Order, Thing};
use crate::store::Listed;
use crate::wire;

/// A list is not read on beyond this; the node says the same. Bytes.
const LIST_MAX: u64 = (2 << 20) + 1;
/// Assets that one list shows.
const SHOWN: usize = 500;

#[derive(Subcommand)]
pub(super) enum Assets {
    /// List assets: registered first, then codes that were seen
    List {
        /// Only those with this in id, name, code or key
        query: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Put a list into the register, all of it or nothing; CSV or JSON as `export` writes it
    Import {
        /// The file; - is standard input
        file: PathBuf,
        /// Take out of the register what is not in the list
        #[arg(long)]
        replace: bool,
        /// How it is written; default: by the ending of its name, else CSV
        #[arg(long, value_enum)]
        format: Option<Format>,
    },
    /// Write the register as CSV: id,name,kind,codes
    Export {
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Put one asset into the register, or say anew what it is
    Add {
        /// Its name in events and on the screen
        id: String,
        /// Its codes: as printed, as digits, or as keys
        codes: Vec<String>,
        /// What people call it
        #[arg(long, default_value = "")]
        name: String,
        /// trailer, container, pallet …
        #[arg(long, default_value = "")]
        kind: String,
    },
    /// Take one asset out of the register
    Remove {
        /// The asset
        id: String,
    },
    /// Say where an asset is; undone by saying where it was
    Place {
        /// The asset, or one of its codes
        id: String,
        /// The place
        #[arg(required_unless_present = "gone")]
        place: Option<String>,
        /// At no known place
        #[arg(long, conflicts_with = "place")]
        gone: bool,
        /// Why, for the audit
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Enter a label that no scanner can read
    Scan {
        /// What is printed on it
        code: String,
        /// Where it is
        place: Option<String>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Format {
    Csv,
    Json,
}

/// `waypost assets …`
pub(super) fn assets(config: &Path, command: Assets) -> Done {
    let answer = match command {
        Assets::List { query, json } => return list(config, query, json),
        Assets::Export { json } => return export(config, json),
        Assets::Import { file, replace, format } => {
            let (bytes, form) = read(&file, format)?;
            let answer = carry_out(config, Order::Import { bytes, form, replace })?;
            let n = |what: &str| format!("{} {what}", answer[what]);
            let counts = ["added", "changed", "unchanged", "removed"].map(n);
            return print(&format!("{}\n", counts.join(", ")));
        }
        Assets::Add { id, codes, name, kind } => {
            carry_out(config, Order::Register(Thing { asset: id, name, kind, codes }))?
        }
        Assets::Remove { id } => carry_out(config, Order::Delete(id))?,
        Assets::Place { id, place, gone: _, note } => {
            // An empty place is none, as in a form that was emptied.
            let place = place.filter(|place| !place.is_empty());
            let answer = carry_out(config, Order::Place { asset: id, place: place.clone(), note })?;
            if let Some(doubt) = place.as_deref().and_then(|place| places::doubt(config, place)) {
                eprintln!("{doubt}");
            }
            return print(&placed(&answer, place.as_deref()));
        }
        Assets::Scan { code, place } => {
            let answer = carry_out(config, Order::Scan { code, place })?;
            return print(&format!("{} {} {}\n", word(&answer, "id"), word(&answer, "asset"), word(&answer, "key")));
        }
    };
    let goes_on = answer["goes_on_as"].as_str().map_or_else(String::new, |key| format!("; it goes on as {key}"));
    print(&format!("{}{goes_on}\n", word(&answer, "register")))
}

fn placed(answer: &Value, place: Option<&str>) -> String {
    let place = place.map_or_else(|| "at no known place".to_owned(), |place| format!("at {place}"));
    let before = match (answer["moved"] == true, answer["was"].as_str()) {
        (false, _) => " already".to_owned(),
        (true, Some(was)) => format!(", before at {was}"),
        (true, None) => String::new(),
    };
    format!("{} is {place}{before}\n", word(answer, "asset"))
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("-")
}

fn read(file: &Path, format: Option<Format>) -> Result<(Vec<u8>, ListForm), Failure> {
    let by_name = file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
    let form = match format {
        Some(Format::Json) => ListForm::Json,
        None if by_name => ListForm::Json,
        Some(Format::Csv) | None => ListForm::Csv,
    };
    let mut bytes = Vec::new();
    let input = open((file != Path::new("-")).then_some(file))?;
    input.take(LIST_MAX).read_to_end(&mut bytes)?;
    Ok((bytes, form))
}

/// `waypost assets export`
fn export(config: &Path, json: bool) -> Done {
    let text = match Running::find(config)? {
        Some(node) => node.text(if json { "/assets/export?format=json" } else { "/assets/export" })?,
        None => {
            let things = super::offline::look(config, |reader| reader.things())?;
            if json { wire::assets_json(&things) } else { wire::assets_csv(&things) }
        }
    };
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// `waypost assets list`
fn list(config: &Path, query: Option<String>, json: bool) -> Done {
    let query = query.unwrap_or_default();
    let answer: Value = match Running::find(config)? {
        Some(node) => node.get(&format!("/assets?limit={SHOWN}&q={}", encoded(&query)))?,
        None => {
            let words = wire::search_words(&query);
            let (found, total) = super::offline::look(config, move |reader| reader.find_assets(&words, SHOWN))?;
            let shown = found.len();
            let item = |Listed { thing, state }: Listed| {
                serde_json::from_str::<Value>(&wire::listed(thing.as_ref(), None, state.as_ref())).unwrap_or_default()
            };
            let items: Vec<Value> = found.into_iter().map(item).collect();
            serde_json::json!({ "items": items, "more": total - i64::try_from(shown).unwrap_or(total) })
        }
    };
    if json {
        return print(&format!("{:#}\n", answer["items"]));
    }
    let mut text = format!("  {:<24} {:<16} {:<24}  KIND, NAME, CODES\n", "ASSET", "PLACE", "SINCE");
    let is_empty = answer["items"].as_array().is_none_or(Vec::is_empty);
    for item in answer["items"].as_array().into_iter().flatten() {
        let since = item["since_ms"].as_i64().map_or_else(|| "-".to_owned(), wire::rfc3339);
        let codes: Vec<&str> = item["codes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mark = if item["registered"] == true { " " } else { "?" };
        let (asset, place) = (word(item, "asset"), word(item, "place"));
        let about = [word(item, "kind"), word(item, "name"), &codes.join(" | ")].map(str::to_owned).join("  ");
        let line = format!(
            "{mark} {:<24} {:<16} {since:<24}  {}",
            wire::printable_text(asset),
            place,
            wire::printable_text(&about)
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    if let Some(more) = answer["more"].as_i64().filter(|more| *more > 0) {
        text.push_str(&format!("{more} more; say what to look for, or use `waypost assets export`\n"));
    }
    print(if is_empty { "no assets\n" } else { &text })
}
