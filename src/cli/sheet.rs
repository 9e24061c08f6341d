//! The test sheet at the command line: the page to print, and what it says of each scanner.

use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::ask::Running;
use super::offline::{closed, failure};
use super::{Done, Failure, exit, print};
use crate::decoder::scan::sheet::PAGE;
use crate::wire;

/// `waypost sheet`
pub(super) fn sheet(config: &Path, as_json: bool, as_page: bool) -> Done {
    if as_page {
        return print(PAGE);
    }
    let sheets = verdicts(config)?;
    if as_json {
        print(&format!("{:#}\n", Value::Array(sheets.clone())))?;
    } else {
        print(&words(&sheets))?;
    }
    let well = sheets.iter().all(|sheet| sheet["verdict"]["grade"] != "bad");
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::from(exit::NOT_WELL) })
}

/// What the test sheet says of each scanner: of the running node, else of the store under its lock.
pub(super) fn verdicts(config: &Path) -> Result<Vec<Value>, Failure> {
    if let Some(node) = Running::find(config)? {
        let answer: Value = node.get("/sheets")?;
        return Ok(answer["items"].as_array().cloned().unwrap_or_default());
    }
    let kept = closed(config)?.read(|reader| reader.sheets()).map_err(failure)?;
    let item = |(source, at_ms, verdict): (String, i64, String)| {
        let verdict: Value = serde_json::from_str(&verdict).unwrap_or_default();
        json!({ "source": source, "at_ms": at_ms, "verdict": verdict })
    };
    Ok(kept.into_iter().map(item).collect())
}

/// The verdicts for a person, as `GET /api/v1/sheets` lists them: a line a code, below each what to change.
pub(super) fn words(sheets: &[Value]) -> String {
    let text_of = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut text = String::new();
    for sheet in sheets {
        let verdict = &sheet["verdict"];
        let at = wire::rfc3339(sheet["at_ms"].as_i64().unwrap_or(0));
        text.push_str(&format!("{} {at} {}\n", text_of(&sheet["source"]), text_of(&verdict["text"])));
        for line in verdict["codes"].as_array().into_iter().flatten() {
            let (grade, name) = (text_of(&line["grade"]), text_of(&line["name"]));
            text.push_str(&format!("  {:<7} {} {name}\n", grade, line["number"]));
            for told in line["findings"].as_array().into_iter().flatten() {
                text.push_str(&format!("          {} {}\n", text_of(&told["text"]), text_of(&told["advice"])));
            }
        }
    }
    if sheets.is_empty() {
        text.push_str("no test sheet was read yet; print it with `waypost sheet --svg`, scan it from code 1 on\n");
    }
    text
}
