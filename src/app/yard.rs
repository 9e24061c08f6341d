//! The plan of the yard, from a file or from the store, and the assets that receivers move on it, made once at the start.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{self, Config};
use crate::domain::Stamp;
use crate::health::ZonesState;
use crate::ingest::{Carrier, Carriers, Ground};
use crate::plan::{FenceLimits, Plan};
use crate::store::{KeptPlan, Store, StoreError};

/// The last plan file that was good, beside the store.
const KEPT_FILE: &str = "zones.kept.geojson";

/// The plan that is in force, the text of its file, and what is wrong with it.
pub(super) struct Yard {
    pub(super) ground: Ground,
    /// Of a file; one that is kept stands in the store.
    pub(super) text: Option<Arc<str>>,
    /// What the screens are told of a plan that is kept.
    pub(super) state: Option<ZonesState>,
    /// What is wrong, and what to do.
    pub(super) trouble: Option<(String, &'static str)>,
}

impl Yard {
    /// Reads the plan: from its file, and when that cannot be used from the last good one; without a file from the store.
    pub(super) async fn open(config: &Config, store: &Store) -> Result<Self, StoreError> {
        match &config.plan.zones {
            Some(path) => Ok(Self::of_file(path, &config.store.dir.join(KEPT_FILE))),
            None => Ok(Self::of_store(store.read(|reader| reader.plan(None)).await?)),
        }
    }

    fn of_store(kept: Option<KeptPlan>) -> Self {
        let (rev, after_ms) = kept.as_ref().map_or((0, 0), |kept| (kept.rev, kept.after_ms));
        let read = kept.map_or_else(|| Ok(Plan::empty()), |kept| Plan::parse(&kept.text));
        let (plan, trouble) = match read {
            Ok(plan) => (plan, None),
            // It was read when it was put there: a later version has another rule, or the row is damaged.
            Err(invalid) => {
                let first = invalid.findings.first().map(ToString::to_string).unwrap_or_default();
                let why = format!("the plan in the store, revision {rev}: {first}; there are no zones");
                (Plan::empty(), Some((why, "Save it again on the page, or `waypost plan import`.")))
            }
        };
        let state = Some(ZonesState { rev, zones: plan.zones().len() });
        Self { ground: Ground::new(plan, after_ms), text: None, state, trouble }
    }

    fn of_file(path: &Path, kept: &Path) -> Self {
        match Plan::read(path) {
            Ok((plan, text)) => {
                if let Err(error) = keep(kept, &text) {
                    tracing::warn!(file = %kept.display(), %error, "the plan could not be kept for a start at which its file is bad");
                }
                Self { ground: Ground::new(plan, 0), text: Some(text.into()), state: None, trouble: None }
            }
            Err(invalid) => {
                // What is wrong with the kept one helps nobody: it is the file of the configuration that is to be mended.
                let last = Plan::read(kept).ok();
                let then = if last.is_some() { "the last good plan is used" } else { "there are no zones" };
                let why = format!("{}; {then}", invalid.first_in_file(path));
                let trouble = Some((why, "Mend the file; `waypost check` names the line. Then restart waypost."));
                let (plan, text) = last.unzip();
                let ground = Ground::new(plan.unwrap_or_else(Plan::empty), 0);
                Self { ground, text: text.map(Into::into), state: None, trouble }
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
            let carrier = Carrier::new(asset, &ids, left, self.ground.clone(), limits(&config.plan), now);
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
