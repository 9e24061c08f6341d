//! The ledger as it reads outside: on the screen, the stream and in `waypost outbox stat`, with a node and without one.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::SerializeMap as _;

use crate::domain::UnixMs;

use super::ledger::{FRAME_OUTCOMES, Ledger, SourceLedger};

/// Where events stand, in the order of the contract.
const EVENTS: [&str; 8] = ["total", "unsent", "sent", "sent_unheard", "local", "dead", "discarded", "lost"];
/// Where letters stand, in the order of the contract.
const LETTERS: [&str; 6] = ["total", "open", "retried", "discarded", "expired", "sampled"];

/// Numbers under fixed names, all of them, zeros too, in their order.
pub struct Named<'a>(&'a BTreeMap<String, i64>, &'static [&'static str]);

impl<'a> Named<'a> {
    /// Those of `names`; one that is not counted is 0.
    #[must_use]
    pub const fn new(counts: &'a BTreeMap<String, i64>, names: &'static [&'static str]) -> Self {
        Self(counts, names)
    }
}

impl Serialize for Named<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.1.iter().map(|name| (*name, self.0.get(*name).copied().unwrap_or(0))))
    }
}

/// One source; the policies of thinned frames are absent while nothing was thinned.
struct SourceSheet<'a>(&'a SourceLedger);

impl Serialize for SourceSheet<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let SourceLedger { frames, outcomes, reasons, policies } = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("frames", frames)?;
        for name in FRAME_OUTCOMES {
            map.serialize_entry(name, &outcomes.get(name).copied().unwrap_or(0))?;
        }
        map.serialize_entry("reasons", reasons)?;
        if !policies.is_empty() {
            map.serialize_entry("policies", policies)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
struct LedgerSheet<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    t: Option<UnixMs>,
    balance: i64,
    sources: BTreeMap<&'a str, SourceSheet<'a>>,
    events: Named<'a>,
    letters: Named<'a>,
}

impl Ledger {
    /// The ledger as the contract writes it, JSON; `sources` are those that are configured, so that a silent one is seen too,
    /// `t` is when, UTC ms.
    #[must_use]
    pub fn told(&self, sources: &[String], t: Option<UnixMs>) -> String {
        let silent = SourceLedger::default();
        let mut by_id: BTreeMap<&str, SourceSheet<'_>> =
            sources.iter().map(|id| (id.as_str(), SourceSheet(&silent))).collect();
        by_id.extend(self.sources.iter().map(|(id, source)| (id.as_str(), SourceSheet(source))));
        let sheet = LedgerSheet {
            t,
            balance: self.imbalance(),
            sources: by_id,
            events: Named(&self.events, &EVENTS),
            letters: Named(&self.letters, &LETTERS),
        };
        // Maps with texts as keys and numbers cannot fail.
        serde_json::to_string(&sheet).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_has_counted_nothing_stands_in_the_ledger_with_zeros() {
        let sheet: serde_json::Value =
            serde_json::from_str(&Ledger::default().told(&["gps0".into()], Some(7))).unwrap();
        let zeros = serde_json::json!({"frames":0,"stored":0,"repeat":0,"duplicate":0,"no_fix":0,"thinned":0,
            "rejected":0,"test":0,"reasons":{}});
        assert_eq!(sheet["sources"]["gps0"], zeros);
        assert_eq!((&sheet["t"], &sheet["balance"]), (&serde_json::json!(7), &serde_json::json!(0)));
    }
}
