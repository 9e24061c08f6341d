//! The plan of the yard and the assets that receivers move on it, made once at the start.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{self, Config};
use crate::domain::Stamp;
use crate::ingest::{Carrier, Carriers};
use crate::plan::{FenceLimits, Plan};
use crate::store::{Store, StoreError};

/// The last plan file that was good, beside the store.
const KEPT_FILE: &str = "zones.kept.geojson";

/// The plan, as parsed and as text, and what is wrong with its file.
pub(super) struct Yard {
    pub(super) plan: Arc<Plan>,
    pub(super) text: Option<Arc<str>>,
    pub(super) trouble: Option<String>,
}

impl Yard {
    /// Reads the plan file; when it cannot be used, the last good one.
    pub(super) fn open(config: &Config) -> Self {
        let Some(path) = &config.plan.zones else {
            return Self { plan: Arc::new(Plan::empty()), text: None, trouble: None };
        };
        let kept = config.store.dir.join(KEPT_FILE);
        match Plan::read(path) {
            Ok((plan, text)) => {
                if let Err(error) = keep(&kept, &text) {
                    tracing::warn!(file = %kept.display(), %error, "the plan could not be kept for a start at which its file is bad");
                }
                Self { plan: Arc::new(plan), text: Some(text.into()), trouble: None }
            }
            Err(invalid) => {
                // What is wrong with the kept one helps nobody: it is the file of the configuration that is to be mended.
                let last = Plan::read(&kept).ok();
                let then = if last.is_some() { "the last good plan is used" } else { "there are no zones" };
                let trouble = Some(format!("{}; {then}", invalid.first_in_file(path)));
                let (plan, text) = last.unzip();
                Self { plan: Arc::new(plan.unwrap_or_else(Plan::empty)), text: text.map(Into::into), trouble }
            }
        }
    }

    /// The assets that receivers move, as the run before this one left them.
    pub(super) async fn carriers(&self, config: &Config, store: &Store, now: Stamp) -> Result<Carriers, StoreError> {
        let mut receivers: BTreeMap<&str, Vec<(u32, &str)>> = BTreeMap::new();
        for gps in &config.gps {
            receivers.entry(&gps.asset).or_default().push((gps.rank, &gps.id));
        }
        let mut carriers = BTreeMap::new();
        for (asset, mut ranked) in receivers {
            // A stable sort: equal ranks keep the order of the files.
            ranked.sort_by_key(|(rank, _)| *rank);
            let ids: Vec<String> = ranked.into_iter().map(|(_, id)| id.to_owned()).collect();
            let name = asset.to_owned();
            let left = store.read(move |reader| reader.carrier(&name)).await?;
            let carrier = Carrier::new(asset, &ids, left, Arc::clone(&self.plan), limits(&config.plan), now);
            carriers.insert(asset.to_owned(), carrier);
        }
        Ok(Arc::new(carriers))
    }
}

fn limits(plan: &config::Plan) -> FenceLimits {
    let ms = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    FenceLimits { exit_m: plan.exit_m, exit_fixes: plan.exit_fixes, exit_ms: ms(plan.exit), dwell_ms: ms(plan.dwell) }
}

/// Writes the plan beside the store, whole or not at all.
fn keep(path: &Path, text: &str) -> std::io::Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|kept| kept == text) {
        return Ok(());
    }
    let draft = path.with_extension("tmp");
    std::fs::write(&draft, text)?;
    std::fs::File::open(&draft)?.sync_all()?;
    std::fs::rename(draft, path)
}
