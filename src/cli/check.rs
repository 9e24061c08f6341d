//! `waypost outbox check`: the ledger recounted from the rows, of a running node a stretch at a time, else of the file under its lock.

use std::path::Path;
use std::process::ExitCode;

use super::ask::Running;
use super::offline::{closed, failure};
use super::progress::Progress;
use super::{Done, Failure, exit, print};
use crate::store::{Account, Closing, Mark, Rows, Stretch, recount};

/// The rows of a node that runs.
struct Node(Running);

impl Rows for Node {
    type Error = Failure;

    fn walk(&mut self, mark: Mark) -> Result<Stretch, Failure> {
        self.0.get(&path("walk", mark))
    }

    fn close(&mut self, mark: Mark) -> Result<Closing, Failure> {
        self.0.get(&path("close", mark))
    }

    fn lanes(&mut self, after: i64, upto: i64) -> Result<([i64; 2], i64), Failure> {
        self.0.get(&format!("/ledger/lanes?after={after}&upto={upto}"))
    }
}

fn path(what: &str, Mark { seq, kinds: [fix, scan, place, note] }: Mark) -> String {
    format!("/ledger/{what}?after={seq}&fix={fix}&scan={scan}&place={place}&note={note}")
}

/// `waypost outbox check`
pub(super) fn check(config: &Path, as_json: bool) -> Done {
    let mut progress = Progress::new("events");
    let mut told = |n: i64| progress.tell(n.unsigned_abs(), None);
    let account = match Running::find(config)? {
        Some(node) => recount(&mut Node(node), &mut told),
        None => recount(&mut closed(config)?, &mut told).map_err(failure),
    };
    progress.end();
    let Some(account) = account? else {
        let text =
            "events left the log while it was counted, again and again; ask again when retention has ended its pass";
        return Err(Failure::new(exit::NOT_WELL, text));
    };
    let well = account.is_well();
    if as_json {
        let account =
            serde_json::to_value(&account).map_err(|error| Failure::new(exit::INTERNAL, error.to_string()))?;
        print(&format!("{account:#}\n"))?;
    } else {
        print(&words(&account))?;
    }
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::from(exit::NOT_WELL) })
}

fn words(account: &Account) -> String {
    let mut text = String::new();
    let mut advice: Vec<&str> = Vec::new();
    for one in &account.differences {
        text.push_str(&match (one.ledger, one.rows) {
            (Some(ledger), Some(rows)) => format!("{}: the ledger says {ledger}, the rows say {rows}\n", one.what),
            _ => format!("{}\n", one.what),
        });
        if !advice.contains(&one.advice.as_str()) {
            advice.push(&one.advice);
        }
    }
    if account.more > 0 {
        text.push_str(&format!("and {} more like the last\n", account.more));
    }
    advice.iter().for_each(|advice| text.push_str(&format!("what to do: {advice}\n")));
    let Account { events, letters, open_letters, lines, differences, more } = account;
    text.push_str(&match differences.len() {
        0 => format!("The ledger balances: {events} events and {letters} letters ({open_letters} open) come to all {lines} of its lines.\n"),
        n => {
            let n = i64::try_from(n).unwrap_or(i64::MAX).saturating_add(*more);
            format!("The ledger does not balance: {n} differences in {events} events, {letters} letters and {lines} lines.\n")
        }
    });
    text
}
