//! `waypost purge`: deletes the history of an asset or of a time; of a running node over its control socket, else of the store
//! under its lock, as its owner.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;

use clap::Args;

use super::ask::Running;
use super::order::Request;
use super::owner::{become_owner, who};
use super::progress::Progress;
use super::run::not_opened;
use super::{Done, Failure, exit, load, print};
use crate::app;
use crate::retention::{Purge, PurgeError};

#[derive(Args)]
#[group(required = true, multiple = false, id = "what")]
pub(super) struct What {
    /// The history of an asset, by its id, a key or a code
    #[arg(long, value_name = "KEY")]
    asset: Option<String>,
    /// What happened before a day or a time: 2026-11-20, or 2026-11-20T10:00:00Z
    #[arg(long, value_name = "DATE", value_parser = moment)]
    before: Option<i64>,
}

#[derive(Args)]
pub(super) struct PurgeArgs {
    #[command(flatten)]
    what: What,
    /// Also what the platform has not got; it counts as discarded. With an uplink the node has to be stopped
    #[arg(long)]
    unsent: bool,
    /// With --before: so many events may go at most; wanted when all that there are would go
    #[arg(long, value_name = "N", conflicts_with = "asset")]
    expect: Option<i64>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// The beginning of a day in UTC, or a time. UTC ms
fn moment(text: &str) -> Result<i64, String> {
    let day = text.parse::<jiff::civil::Date>().ok().filter(|_| text.len() == 10);
    let at = match day {
        Some(day) => day.at(0, 0, 0, 0).to_zoned(jiff::tz::TimeZone::UTC).map(|at| at.timestamp()),
        None => text.parse::<jiff::Timestamp>(),
    };
    at.map(jiff::Timestamp::as_millisecond).map_err(|_| "write 2026-11-20, or 2026-11-20T10:00:00Z".to_owned())
}

pub(super) fn purge(config: &Path, args: PurgeArgs) -> Done {
    let PurgeArgs { what: What { asset, before }, unsent, expect, yes } = args;
    let purge = Purge { asset, before_ms: before, unsent, expect, ..Purge::default() };
    if !yes {
        confirm(&purge)?;
    }
    let mut progress = Progress::new("rows");
    let told = |purge: &Purge| {
        let archived = i64::try_from(purge.archived).unwrap_or(i64::MAX);
        progress.tell((purge.events + purge.letters).saturating_add(archived).unsigned_abs(), None);
    };
    let done = match Running::find(config)? {
        Some(node) => running(&node, purge, told),
        None => offline(config, purge, told),
    };
    progress.end();
    print(&words(&done?))
}

fn running(node: &Running, mut purge: Purge, mut told: impl FnMut(&Purge)) -> Result<Purge, Failure> {
    while !purge.is_done() {
        let body = serde_json::to_vec(&purge).map_err(|error| Failure::new(exit::INTERNAL, error.to_string()))?;
        let request =
            Request { method: "POST", path: "/purge".to_owned(), mime: "application/json", body, ..Request::default() };
        purge = serde_json::from_value(node.ask(&request)?).map_err(|error| {
            Failure::new(exit::INTERNAL, format!("the node's answer cannot be understood: {error}"))
        })?;
        told(&purge);
    }
    Ok(purge)
}

fn offline(config: &Path, purge: Purge, told: impl FnMut(&Purge)) -> Result<Purge, Failure> {
    let config = load(config)?.config;
    let who = who();
    become_owner(&config.store.dir)?;
    let done = app::purge(&config, purge, &who, told).map_err(|error| not_opened(&error))?;
    done.map_err(|error| {
        let code = match error {
            PurgeError::Unknown(_) | PurgeError::Unexpected { .. } => exit::NOT_WELL,
            PurgeError::Nothing => exit::USAGE,
            PurgeError::Busy => exit::BUSY,
            _ => exit::IO,
        };
        Failure::new(code, error.to_string())
    })
}

fn confirm(purge: &Purge) -> Result<(), Failure> {
    let refused = || Failure::new(exit::USAGE, "deleting history for good wants --yes");
    if !io::stdin().is_terminal() {
        return Err(refused());
    }
    let what = purge.asset.as_ref().map_or_else(
        || format!("everything before {}", crate::wire::rfc3339(purge.before_ms.unwrap_or(0))),
        |asset| format!("the history of {asset:?}"),
    );
    write!(io::stderr(), "This deletes {what} for good, in the archive too. Type yes: ")?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    if line.trim() == "yes" { Ok(()) } else { Err(refused()) }
}

fn words(done: &Purge) -> String {
    let Purge { events, discarded, waiting, letters, archived, files, sources, .. } = done;
    let mut text = format!("Gone: {events} events, {letters} letters, {archived} lines of {files} archive files.\n");
    if *discarded > 0 {
        text.push_str(&format!("{discarded} of the events were not sent; they count as discarded.\n"));
    }
    if *waiting > 0 {
        text.push_str(&format!("{waiting} events wait for the platform and stay; --unsent deletes them too.\n"));
    }
    if done.asset.is_some() && !sources.is_empty() {
        let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
        text.push_str(&format!("The captures of {} are gone.\n", sources.join(", ")));
    }
    text.push_str(
        "The counts stay. So do the register (`waypost assets remove`), the audit and the logs of the ports, which name things but\n\
         tell no places, and what is outside: backups, exports, the folder quarantine, and what the platform has.\n",
    );
    text
}
