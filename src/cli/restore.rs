//! `waypost restore`: a backup in the place of the store of a node that does not run; what was there is kept.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::ask::Running;
use super::offline::failure;
use super::owner::{become_owner_of, who};
use super::progress::{Interrupt, Progress};
use super::run::not_opened;
use super::{Done, Failure, exit, load, print};
use crate::app;
use crate::store::{Plan, Present, Restoring, Sketch};
use crate::wire;

#[derive(Args)]
pub(super) struct RestoreArgs {
    /// A file that `waypost backup` wrote
    file: PathBuf,
    /// Put it in the place of the store; without it the command only says what that would do
    #[arg(long)]
    yes: bool,
}

pub(super) fn restore(config: &Path, args: &RestoreArgs) -> Done {
    if Running::find(config)?.is_some() {
        let text = "waypost runs; stop it first (`systemctl stop waypost`), then restore";
        return Err(Failure::new(exit::BUSY, text));
    }
    let config = load(config)?.config;
    let dir = &config.store.dir;
    let name = &args.file;
    let missing =
        |why: &dyn std::fmt::Display| Failure::new(exit::NO_INPUT, format!("{}: {why}; name a backup", name.display()));
    // A pipe nobody writes into would be waited for, and a device has no end before the disk is full.
    if !name.metadata().map_err(|error| missing(&error))?.is_file() {
        return Err(missing(&"it is no regular file"));
    }
    // Opened while root may be root: the owner of the store may not be let to where it lies.
    let mut file = File::open(name).map_err(|error| missing(&error))?;
    let who = who();
    // Where there is no store yet, it will be of whoever has its folder.
    let store = dir.join("waypost.db");
    become_owner_of(if store.exists() { &store } else { dir }, dir)?;
    let (mut progress, interrupt) = (Progress::new("KiB"), Interrupt::listen()?);
    let begun = Restoring::begin(dir, &mut file, name, interrupt.flag(), |done, of| {
        progress.tell(done / 1024, Some(of / 1024));
    });
    progress.end();
    let Some(restoring) = begun.map_err(failure)? else {
        return Err(Failure::new(exit::NOT_WELL, "interrupted; nothing was changed"));
    };
    print(&words(restoring.plan(), name))?;
    if interrupt.is_asked() || !args.yes {
        print("Nothing was changed. To do it, run the command again with --yes.\n")?;
        return Ok(ExitCode::from(exit::NOT_WELL));
    }
    let kept = app::restore(restoring, &config, &who).map_err(|error| not_opened(&error))?;
    let kept = kept.map_or_else(String::new, |kept| format!(" The store that was there is in {}.", kept.display()));
    print(&format!("Restored, as a new life of the store.{kept} Start it with `systemctl start waypost`.\n"))
}

fn words(plan: &Plan, name: &Path) -> String {
    let Plan { copy: Sketch { epoch, head, events, node, run_ms, .. }, present, top } = plan;
    let since = wire::rfc3339(*run_ms);
    let mut text = format!(
        "{}: the store of {node}, {events} events up to {epoch}.{head}; its last start was {since}.\n",
        name.display()
    );
    text.push_str(&match present {
        None => "There is no store to replace.\n".to_owned(),
        Some(Present::Damaged(why)) => format!("The store that is there cannot be read ({why}); it is kept.\n"),
        Some(Present::Sound { sketch, newer, unsent, .. }) => format!(
            "The store that is there, of {}, stands at {}.{}. {newer} newer events leave it, {unsent} of them not sent; \
             they stay in the file that is kept in quarantine/.\n",
            sketch.node, sketch.epoch, sketch.head
        ),
    });
    text.push_str(&match present {
        Some(Present::Sound { purges, .. }) if purges.is_empty() => String::new(),
        Some(Present::Sound { purges, .. }) => {
            format!("What was purged after the backup comes back with it, purge it again: {}.\n", purges.join("; "))
        }
        _ => "What was purged after the backup, if anything, comes back with it: purge it again.\n".to_owned(),
    });
    text.push_str(&format!(
        "Events go on at {} in a new epoch. What was sent since the backup may be sent again, under the same ids.\n",
        top.0 + 1
    ));
    text
}
