//! The register and what became of an order, as JSON and as the lists that people edit.

use serde::Serialize;
use serde_json::json;

use crate::domain::{AssetState, Binding, Carried, Done, Registered, Thing};

use super::{asset, text};

#[derive(Serialize)]
struct Named<'a> {
    registered: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    codes: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<&'a [String]>,
}

#[derive(Serialize)]
struct Unseen<'a> {
    asset: &'a str,
}

/// An asset as a JSON object: how it is now, where it was seen, and what the register says of it. `keys` are those of its
/// codes, when they are told.
#[must_use]
pub fn listed(thing: Option<&Thing>, keys: Option<&[String]>, state: Option<&AssetState>) -> String {
    let mut json = match (state, thing) {
        (Some(state), _) => asset(state),
        (None, thing) => text(&Unseen { asset: thing.map_or("", |thing| &thing.asset) }),
    };
    let some = |text: &'_ String| !text.is_empty();
    let named = text(&Named {
        registered: thing.is_some(),
        name: thing.map(|thing| &thing.name).filter(|name| some(name)).map(String::as_str),
        kind: thing.map(|thing| &thing.kind).filter(|kind| some(kind)).map(String::as_str),
        codes: thing.map(|thing| thing.codes.as_slice()),
        keys,
    });
    // Both are objects we wrote: `{…}` and `{…}` become one.
    json.pop();
    json.push(',');
    json.push_str(&named[1..]);
    json
}

#[derive(Serialize)]
struct Item<'a> {
    id: &'a str,
    name: &'a str,
    kind: &'a str,
    codes: &'a [String],
}

/// The register as a JSON array, an asset a line; what an import takes.
#[must_use]
pub fn assets_json(things: &[Thing]) -> String {
    let lines: Vec<String> =
        things.iter().map(|Thing { asset, name, kind, codes }| text(&Item { id: asset, name, kind, codes })).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

/// The register as CSV (RFC 4180): `id,name,kind,codes`, codes between bars; what an import takes.
#[must_use]
pub fn assets_csv(things: &[Thing]) -> String {
    let mut csv = String::from("id,name,kind,codes\r\n");
    for Thing { asset, name, kind, codes } in things {
        let codes: Vec<String> = codes.iter().map(|code| code.replace('\\', "\\\\").replace('|', "\\|")).collect();
        let fields = [asset, name, kind, &codes.join("|")].map(|field| quoted(&guarded(field)));
        csv.push_str(&fields.join(","));
        csv.push_str("\r\n");
    }
    csv
}

/// A field that a spreadsheet does not take for a formula.
pub(super) fn guarded(field: &str) -> String {
    if field.starts_with(['=', '+', '-', '@', '\'', '\t', '\r']) { format!("'{field}") } else { field.to_owned() }
}

pub(super) fn quoted(field: &str) -> String {
    let plain = !field.contains(['"', ',', ';', '\t', '\r', '\n']) && field.trim() == field;
    if plain { field.to_owned() } else { format!("\"{}\"", field.replace('"', "\"\"")) }
}

/// What is looked for: the text, its digits without what groups them, and the digits of the key in a label that was read
/// into the field, without the id of its symbology and the GS1 identifier in front.
#[must_use]
pub fn search_words(q: &str) -> Vec<String> {
    let is_number = |text: &str| text.len() >= 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    let compact: String = q.chars().filter(|c| !matches!(c, ' ' | '-' | '(' | ')')).collect();
    let data = match compact.strip_prefix(']').and_then(|rest| rest.get(2..)) {
        Some(data) => data,
        None => &compact,
    };
    let mut words = vec![q.trim().to_lowercase()];
    words.extend(is_number(data).then(|| data.to_owned()));
    // What follows a key on its label names no asset.
    for (ai, length) in
        [("00", 18), ("01", 14), ("02", 14), ("401", 30), ("402", 17), ("414", 13), ("8003", 30), ("8004", 30)]
    {
        let key: String = data.strip_prefix(ai).unwrap_or_default().chars().take(length).collect();
        words.extend(is_number(&key).then_some(key));
    }
    words.retain(|word| !word.is_empty());
    words.sort();
    words.dedup();
    words
}

/// Text from outside as it is safe on a terminal: control characters are escaped, the rest stays.
#[must_use]
pub fn printable_text(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

/// Who the node is and to which machine it is bound, as a JSON object.
#[must_use]
pub fn identity(site: &str, node: &str, binding: &Binding) -> String {
    let Binding { standing, by, machine, woke_on } = binding;
    let standing = standing.as_str();
    json!({ "site": site, "node": node, "standing": standing, "bound_by": by, "machine": machine, "woke_on": woke_on })
        .to_string()
}

/// What became of an order, as a JSON object.
#[must_use]
pub fn carried(carried: &Carried) -> String {
    let value = match &carried.done {
        Done::Registered(what) => {
            let what = match what {
                Registered::Added => "added",
                Registered::Changed => "changed",
                Registered::Unchanged => "unchanged",
            };
            json!({ "register": what })
        }
        Done::Deleted(goes_on_as) => json!({ "register": "deleted", "goes_on_as": goes_on_as }),
        Done::Imported { added, changed, unchanged, removed } => {
            json!({ "added": added, "changed": changed, "unchanged": unchanged, "removed": removed })
        }
        Done::Placed { asset, was, id } => {
            json!({ "asset": asset, "was": was, "moved": id.is_some(), "id": id.map(|id| id.to_string()) })
        }
        Done::Scanned { id, asset, key } => json!({ "id": id.to_string(), "asset": asset, "key": key }),
        Done::Planned { rev, zones, .. } => json!({ "rev": rev, "zones": zones }),
        Done::Letters(job) => return super::job(job),
        Done::Stands(standing) => json!({ "standing": standing.as_str() }),
    };
    value.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_list_is_written_so_that_no_spreadsheet_runs_it() {
        let thing = |asset: &str, name: &str, codes: &[&str]| Thing {
            asset: asset.into(),
            name: name.into(),
            kind: "trailer".into(),
            codes: codes.iter().map(|code| (*code).to_owned()).collect(),
        };
        let things = [thing("TRL-7", "=1+1", &["CSQU 305438 3", "A|B\\C"]), thing("TRL-8", "Blue, \"big\"", &[])];
        assert_eq!(
            assets_csv(&things),
            "id,name,kind,codes\r\nTRL-7,'=1+1,trailer,CSQU 305438 3|A\\|B\\\\C\r\nTRL-8,\"Blue, \"\"big\"\"\",trailer,\r\n"
        );
        let json: Value = serde_json::from_str(&assets_json(&things)).unwrap();
        assert_eq!(json[1], json!({ "id": "TRL-8", "name": "Blue, \"big\"", "kind": "trailer", "codes": [] }));
    }

    #[test]
    fn the_digits_of_a_label_find_its_key() {
        for q in [
            "00376104250021234569",
            "(00) 3 7610425 002123456 9",
            "00 37610425",
            "376104250021234569",
            "]C100376104250021234569",
        ] {
            let (key, words) = ("sscc:376104250021234569", search_words(q));
            assert!(words.iter().any(|word| key.contains(word.as_str())), "{q}: {words:?}");
        }
        assert!(search_words("]d2010952123456789910A").contains(&"09521234567899".to_owned()));
        assert!(search_words("(01)09521234567899(10)A").contains(&"09521234567899".to_owned()));
        assert_eq!(search_words("TRL-7"), ["trl-7"]);
        assert_eq!(search_words(" "), Vec::<String>::new());
    }

    #[test]
    fn an_asset_that_was_never_seen_is_listed_all_the_same() {
        let thing = Thing { asset: "TRL-7".into(), codes: vec!["A".into()], ..Thing::default() };
        let keys = ["raw:A".to_owned()];
        assert_eq!(
            listed(Some(&thing), Some(&keys), None),
            r#"{"asset":"TRL-7","registered":true,"codes":["A"],"keys":["raw:A"]}"#
        );
    }
}
