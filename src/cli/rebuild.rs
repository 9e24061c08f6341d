//! `waypost rebuild`: of a running node over its control socket, else of the store under its lock, as its owner.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;

use super::ask::Running;
use super::offline::{closed, failure};
use super::owner::{become_owner, who};
use super::progress::Progress;
use super::{Done, Failure, exit, load, print};
use crate::retention;
use crate::wire;

#[derive(Args)]
pub(super) struct RebuildArgs {
    /// Only compare; exit 1 when an asset differs
    #[arg(long)]
    check: bool,
}

/// What a node answers.
#[derive(Deserialize)]
struct Rebuilt {
    assets: usize,
    different: usize,
    written: usize,
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    asset: String,
    how: String,
}

pub(super) fn rebuild(config: &Path, args: &RebuildArgs) -> Done {
    let done = match Running::find(config)? {
        Some(node) => node.post(if args.check { "/rebuild?check=1" } else { "/rebuild" }, "rebuild", "events")?,
        None => offline(config, args.check)?,
    };
    print(&words(&done))?;
    Ok(if args.check && done.different > 0 { ExitCode::from(exit::NOT_WELL) } else { ExitCode::SUCCESS })
}

fn offline(config: &Path, check: bool) -> Result<Rebuilt, Failure> {
    let who = who();
    become_owner(&load(config)?.config.store.dir)?;
    let mut progress = Progress::new("events");
    let told = |done, of| progress.tell(done, Some(of));
    let report = retention::rebuild_closed(&closed(config)?, !check, &who, told).map_err(failure)?;
    progress.end();
    let items = report.different.into_iter().map(|one| Item { asset: one.asset, how: one.how });
    Ok(Rebuilt {
        assets: report.assets,
        different: report.n_different,
        written: report.written,
        items: items.collect(),
    })
}

fn words(done: &Rebuilt) -> String {
    let mut text = String::new();
    for Item { asset, how } in &done.items {
        // A code may hold anything that can be printed on a label, and more.
        text.push_str(&format!("{}: {how}\n", wire::printable_text(asset)));
    }
    let more = done.different - done.items.len().min(done.different);
    if more > 0 {
        text.push_str(&format!("and {more} more\n"));
    }
    text.push_str(&match (done.different, done.written) {
        (0, _) => format!("{} assets, all as the events tell\n", done.assets),
        (n, 0) => format!("{} assets, {n} not as the events tell\n", done.assets),
        (n, written) => format!("{} assets, {n} not as the events told; {written} written anew\n", done.assets),
    });
    text.push_str("The history of places is not told anew: it is as it was told when it happened.\n");
    text
}
