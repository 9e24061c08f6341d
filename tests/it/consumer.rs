//! A consumer as docs/mqtt.md wants it: what it does not have it finds by `watermark` and `prev`, as the view `gap` of
//! examples/central does, and asks for with `cmd/replay`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::clock::utc_ms;
use crate::upstream::{Centre, Place};

/// Between two looks for gaps.
const CHECK: Duration = Duration::from_secs(2);
/// What was not answered for so long is asked again, under its id: question or answer went with a broker.
const AGAIN: Duration = Duration::from_secs(10);
/// Gaps so near are asked for in one.
const NEAR: i64 = 1_000;
/// Events that one replay may name.
const MOST: i64 = 100_000;
/// Until a command expires.
const LATER_MS: i64 = 600_000;

/// What is asked of the node and not answered yet.
struct Ask {
    id: String,
    command: String,
    at: Instant,
}

/// The books of a consumer of one node, whose store has one life.
#[derive(Default)]
pub struct Consumer {
    /// Kind and `prev` by `seq`.
    rows: BTreeMap<i64, (String, Option<i64>)>,
    epoch: String,
    /// Gaps of the last look: what is only on its way is here at the next.
    held: BTreeSet<(i64, i64)>,
    open: Option<Ask>,
    looked: Option<Instant>,
    /// Replays asked for, and asked for once more because no answer came.
    pub asks: u64,
    pub repeated: u64,
    /// Events that nodes said they had sent again.
    pub counted: i64,
}

impl Consumer {
    /// Takes note of what has come, and asks for what is missing when it is time to look. Up to where the node has produced
    /// events and nothing is missing; none when it is not time, or something is.
    pub fn tend(&mut self, centre: &Centre) -> Option<i64> {
        if self.looked.is_some_and(|at| at.elapsed() < CHECK) {
            return None;
        }
        self.looked = Some(Instant::now());
        let (news, mark) = {
            let mut heard = centre.heard();
            (std::mem::take(&mut heard.news), heard.topics.get("watermark").cloned())
        };
        self.learn(news);
        self.hear(centre);
        if let Some(ask) = &mut self.open {
            if ask.at.elapsed() > AGAIN {
                ask.at = Instant::now();
                self.repeated += 1;
                centre.command("replay", ask.command.clone());
            }
            return None;
        }
        let mark = mark?;
        let holes = self.holes(&mark);
        let mut still = holes.intersection(&self.held).copied();
        if let Some((from, mut to)) = still.next() {
            for (first, last) in still {
                if first > to + NEAR || last >= from + MOST {
                    break;
                }
                to = to.max(last);
            }
            self.ask(centre, from, to.min(from + MOST - 1));
        }
        self.held = holes;
        mark["last_produced"].as_i64().filter(|_| self.held.is_empty())
    }

    fn learn(&mut self, news: Vec<Place>) {
        for Place { epoch, kind, seq, prev } in news {
            assert!(self.epoch.is_empty() || self.epoch == epoch, "the store of the node has begun a new life");
            self.epoch = epoch;
            self.rows.insert(seq, (kind, prev));
        }
    }

    fn ask(&mut self, centre: &Centre, from: i64, to: i64) {
        self.asks += 1;
        let id = format!("gap-{}", self.asks);
        let expires_ms = utc_ms() + LATER_MS;
        let command = json!({ "id": id, "expires_ms": expires_ms, "epoch": self.epoch, "from": from, "to": to });
        centre.command("replay", command.to_string());
        self.open = Some(Ask { id, command: command.to_string(), at: Instant::now() });
    }

    /// Looks whether the node has ended what it was asked for.
    fn hear(&mut self, centre: &Centre) {
        let Some(ask) = &self.open else { return };
        let answer = {
            let heard = centre.heard();
            heard.answers.iter().rev().find(|answer| answer["id"] == ask.id && answer["reason"] != "running").cloned()
        };
        let Some(answer) = answer else { return };
        assert_eq!((&answer["ok"], &answer["reason"]), (&json!(true), &json!("done")), "{}: {answer}", ask.command);
        self.counted += answer["count"].as_i64().unwrap();
        self.open = None;
    }

    /// Ranges of the log that are not here. Up to what is acknowledged in both lanes `seq` has no gaps; above, of each kind,
    /// `prev` names the event before.
    fn holes(&self, mark: &Value) -> BTreeSet<(i64, i64)> {
        assert!(self.epoch.is_empty() || mark["epoch"] == *self.epoch, "{mark}");
        let last = mark["last_produced"].as_i64().unwrap();
        let upto = |lane: &str| mark["lanes"][lane]["first_unacked"].as_i64().map_or(last, |first| first - 1);
        let upto = upto("scan").min(upto("fix"));
        let missing = mark["missing"].as_array().unwrap();
        let is_named = |from: i64, to: i64| {
            missing.iter().any(|range| range[0].as_i64() <= Some(from) && range[1].as_i64() >= Some(to))
        };
        let (mut holes, mut before, mut of_kind) = (BTreeSet::new(), 0, BTreeMap::<&str, i64>::new());
        let mut hole = |from: i64, to: i64| {
            if from <= to && !is_named(from, to) {
                holes.insert((from, to));
            }
        };
        for (seq, (kind, prev)) in &self.rows {
            hole(before + 1, upto.min(seq - 1));
            before = *seq;
            let known = of_kind.insert(kind, *seq).unwrap_or(0);
            if let Some(prev) = prev.filter(|prev| *prev != known) {
                hole(known.max(upto) + 1, prev);
            }
        }
        hole(before + 1, upto);
        holes
    }
}
