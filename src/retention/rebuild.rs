//! `waypost rebuild`: the places told anew from the base and the events, and held against the table.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::clock::Clock;
use crate::domain::{AssetState, Seq, Stage};
use crate::health::{AlreadyRunning, Chore};
use crate::projection::{Rebuild, difference};
use crate::store::{Closed, Filter, Group, Look, Reader, Result, Span, Store, StoreError, Txn};

use super::purge::TURN_WAIT;

/// Events read at once.
const PAGE: usize = 2_000;
/// Differences that a report tells.
const TOLD_MAX: usize = 20;
/// How often it begins again because events left the log meanwhile.
const TRIES: usize = 3;

/// An asset whose place is not what the log tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The asset.
    pub asset: String,
    /// How, in words.
    pub how: String,
}

/// What a rebuild found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Assets compared.
    pub assets: usize,
    /// Assets that differ.
    pub n_different: usize,
    /// The first 20 of them.
    pub different: Vec<Difference>,
    /// Assets whose place was written anew.
    pub written: usize,
}

/// The table against the log at one moment.
#[derive(Clone, Default)]
struct Comparison {
    base: Seq,
    through: Seq,
    /// What the log tells of those that differ.
    rebuild: Rebuild,
    names: BTreeSet<String>,
    report: Report,
}

/// Why the places were not told anew.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// Rows are being removed. What was heard of them before would be written back after they have gone.
    #[error(transparent)]
    Busy(#[from] AlreadyRunning),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Compares on a running node, beside its writer; with `write` sets right what differs. `who` asked for it. The chore is
/// over when nothing works on it any more, also for who went away before that.
///
/// # Errors
/// As [`RebuildError`] says; nothing was written then.
pub async fn rebuild(store: &Store, write: bool, who: &str, chore: Chore) -> std::result::Result<Report, RebuildError> {
    let turn = tokio::time::timeout(TURN_WAIT, store.turn().lock()).await;
    let _turn = turn.map_err(|_| AlreadyRunning { job: "a purge or retention" })?;
    let chore = Arc::new(chore);
    Ok(told_anew(store, write, who, move |done, total| chore.at(done, Some(total))).await?)
}

/// As [`rebuild`], as a part of other work that has the store's turn. `told` hears how many events are heard, of how many.
pub(super) async fn told_anew(
    store: &Store,
    write: bool,
    who: &str,
    told: impl Fn(u64, u64) + Send + Sync + 'static,
) -> Result<Report> {
    let told = Arc::new(told);
    for _ in 0..TRIES {
        let told = Arc::clone(&told);
        let compared = store.read(move |reader| compare(reader, |done, total| told(done, total))).await?;
        let Some(found) = compared else { continue };
        if !write || found.names.is_empty() {
            return Ok(found.report);
        }
        let (report, who) = (found.report.clone(), who.to_owned());
        if let Some(written) = store.submit(Group::Now, move |txn| mend(txn, &found, &who)).await? {
            return Ok(Report { written, ..report });
        }
    }
    Err(moved_on())
}

/// As [`rebuild`], for a store that nobody runs. `told` hears how many events are heard, of how many.
///
/// # Errors
/// As the store says; nothing was written then.
pub fn rebuild_closed(store: &Closed, write: bool, who: &str, told: impl FnMut(u64, u64)) -> Result<Report> {
    let Some(found) = store.read(|reader| compare(reader, told))? else { return Err(moved_on()) };
    if !write || found.names.is_empty() {
        return Ok(found.report);
    }
    let written = store.change(&Clock::system(), |txn| mend(txn, &found, who))?.ok_or_else(moved_on)?;
    Ok(Report { written, ..found.report })
}

fn moved_on() -> StoreError {
    StoreError::Statement { cause: "events left the log while it was told; ask again".into() }
}

/// Tells the places from the log and compares. None: events left the log meanwhile.
fn compare(reader: &Reader<'_>, mut progress: impl FnMut(u64, u64)) -> Look<Option<Comparison>> {
    let (Span { base, head, .. }, told, names) =
        reader.snapshot(|reader| Ok((reader.span()?, reader.all_told()?, reader.names(None)?)))?;
    let mut rebuild = Rebuild::new(told, names);
    let mut at = base;
    let events = |upto: Seq| u64::try_from(upto.0 - base.0).unwrap_or(0);
    while hear_page(reader, &mut rebuild, &mut at)? {
        progress(events(at), events(head).max(events(at)));
    }
    reader.snapshot(|reader| {
        if reader.span()?.base != base {
            return Ok(None);
        }
        while hear_page(reader, &mut rebuild, &mut at)? {}
        let (mut report, mut names, mut seen) = (Report::default(), BTreeSet::new(), BTreeSet::new());
        let mut note = |name: &str, is: Option<&AssetState>| {
            report.assets += 1;
            if let Some(how) = difference(is, rebuild.asset(name).as_ref()) {
                report.n_different += 1;
                if report.different.len() < TOLD_MAX {
                    report.different.push(Difference { asset: name.to_owned(), how });
                }
                names.insert(name.to_owned());
            }
        };
        let mut after = String::new();
        loop {
            let page = reader.assets_after(&after, PAGE)?;
            let Some(last) = page.last() else { break };
            after = last.asset.clone();
            for state in page {
                note(&state.asset, Some(&state));
                seen.insert(state.asset);
            }
        }
        rebuild.names().filter(|name| !seen.contains(*name)).for_each(|name| note(name, None));
        let rebuild = rebuild.only(&names);
        Ok(Some(Comparison { base, through: at, rebuild, names, report }))
    })
}

/// Hears the next events. Answers whether there may be more.
fn hear_page(reader: &Reader<'_>, rebuild: &mut Rebuild, at: &mut Seq) -> Look<bool> {
    let page = reader.after(*at, PAGE, &Filter::default())?;
    page.rows.iter().for_each(|row| rebuild.hear(row));
    *at = page.seen;
    Ok(page.more)
}

/// Writes what the log tells of those that differ, with the events that came since. None: events left the log meanwhile.
fn mend(txn: &mut Txn<'_>, found: &Comparison, who: &str) -> Result<Option<usize>> {
    if txn.base()? != found.base {
        return Ok(None);
    }
    let (mut rebuild, mut at, mut written) = (found.rebuild.clone(), found.through, 0);
    loop {
        let rows = txn.rows_after(at, PAGE)?;
        let Some(last) = rows.last() else { break };
        at = last.seq;
        rows.iter().for_each(|row| rebuild.hear(row));
    }
    for name in &found.names {
        let (is, told) = (txn.asset(name)?, rebuild.asset(name));
        if difference(is.as_ref(), told.as_ref()).is_none() {
            continue;
        }
        match told {
            Some(told) => {
                let is_lost = is.is_none();
                txn.set_asset(&AssetState { gps_place: is.and_then(|is| is.gps_place), ..told })?;
                if is_lost {
                    txn.find_history(name)?;
                }
            }
            None => txn.forget_asset(name)?,
        }
        written += 1;
    }
    let detail = format!("{who}: {written} of {} assets were not as the log tells, and are now", found.report.assets);
    txn.log_failure(Stage::Store, "rebuild", &detail)?;
    Ok(Some(written))
}
