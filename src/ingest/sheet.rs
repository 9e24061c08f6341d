//! Reads of the test sheet: counted, judged, kept as a verdict on their source. They make no event and move nothing.

use crate::decoder::scan::sheet::{SheetRead, SheetVerdict};
use crate::domain::UnixMs;
use crate::store::{Outcome, Result, StoreError, Txn};

use super::{Desk, Intake};

/// Takes a read in; answers what the source's light has to say of it now, empty when nothing.
///
/// # Errors
/// As the store says; then nothing of it was kept.
pub(super) fn take(txn: &mut Txn<'_>, desk: &Desk, read: &SheetRead, at_ms: UnixMs) -> Result<String> {
    txn.frame(&desk.source, Outcome::Test);
    let before = txn.sheet(&desk.source)?.and_then(|text| SheetVerdict::from_json(&text));
    let verdict = SheetVerdict::with(before, read, at_ms);
    txn.set_sheet(&desk.source, at_ms, &verdict.to_json())?;
    Ok(advice(&verdict))
}

/// What a person should change; empty when nothing.
fn advice(verdict: &SheetVerdict) -> String {
    if verdict.is_bad() { format!("Test sheet: {} {}", verdict.text, verdict.advice) } else { String::new() }
}

impl Intake {
    /// Shows what the test sheet said before the daemon was started: the setting is as it was.
    pub(super) async fn recall_sheet(&self) -> std::result::Result<(), StoreError> {
        let source = self.desk.source.clone();
        let kept = self.node.store.read(move |reader| reader.sheet(&source)).await?;
        if let Some(verdict) = kept.and_then(|(_, text)| SheetVerdict::from_json(&text)) {
            self.ears.say(&advice(&verdict));
        }
        Ok(())
    }
}
