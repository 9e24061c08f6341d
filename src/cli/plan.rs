//! `waypost plan`: the plan of the yard that is kept in the store, as a file and back.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::ask::Running;
use super::order::carry_out;
use super::{Done, Failure, exit, load, open, places, print};
use crate::domain::Order;
use crate::plan;

/// A plan is not read on beyond this; the node says the same. Bytes.
const PLAN_MAX: u64 = plan::BYTES_MAX as u64 + 1;

#[derive(Subcommand)]
pub(super) enum Plan {
    /// Put a GeoJSON file in the place of the plan that is kept; every mistake with its line
    Import {
        /// The file; - is standard input
        file: PathBuf,
    },
    /// Write the plan as GeoJSON
    Export {
        /// One before it, by its revision: the last eight are kept
        #[arg(long, value_name = "N")]
        rev: Option<i64>,
    },
}

#[derive(Deserialize)]
struct Zones {
    plan: Option<Box<RawValue>>,
}

/// `waypost plan …`
pub(super) fn plan(config: &Path, command: Plan) -> Done {
    match command {
        Plan::Import { file } => {
            let mut bytes = Vec::new();
            let input = open((file != Path::new("-")).then_some(&*file))?;
            input.take(PLAN_MAX).read_to_end(&mut bytes)?;
            let answer = carry_out(config, Order::Plan { bytes, expect: None })?;
            if let (Ok(Some(plan)), Ok(loaded)) = (places::plan_of(config), load(config)) {
                places::strange(&plan, &loaded.config).iter().for_each(|strange| eprintln!("{strange}"));
            }
            print(&format!("{} zones, revision {}\n", answer["zones"], answer["rev"]))
        }
        Plan::Export { rev } => {
            let text = text(config, rev)?;
            let text =
                text.ok_or_else(|| Failure::new(exit::NOT_WELL, "there is no such plan; draw one on the page"))?;
            writeln!(std::io::stdout().lock(), "{}", text.trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The plan of the node; none where it has none.
pub(super) fn text(config: &Path, rev: Option<i64>) -> Result<Option<String>, Failure> {
    if let Some(node) = Running::find(config)? {
        let zones: Zones = node.get(&rev.map_or_else(|| "/zones".to_owned(), |rev| format!("/zones?rev={rev}")))?;
        return Ok(zones.plan.map(|plan| plan.get().to_owned()));
    }
    if let Some(file) = load(config)?.config.plan.zones {
        let read = plan::Plan::read(&file);
        return read.map(|(_, text)| Some(text)).map_err(|invalid| Failure::new(exit::CONFIG, invalid.in_file(&file)));
    }
    Ok(super::offline::look(config, move |reader| reader.plan(rev))?.map(|kept| kept.text))
}
