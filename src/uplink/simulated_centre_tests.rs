//! The centre of a simulated world: it asks for events once more, again and again, and holds the node to its word. What is
//! replayed is what was sent, byte for byte but for its mark, in the order of `seq`, and nothing else moves for it.

use crate::domain::AssetState;
use crate::health::CommandOutcome;

use super::*;
use crate::uplink::command::{Asked, Command};
use crate::uplink::payload::When;

/// What marks an event that is replayed.
const MARK: &str = r#","replay":true}"#;
/// The clock of the centre is no matter here.
const WHEN: When = When { ts_ms: 0, tq: "none" };
/// Connections that end for an event, and refusals, make it a letter; here they only excuse that it is left out.
const EXCUSED: u32 = 10;
const STRIKE: u32 = 4;

/// A replay that the centre waits for.
#[derive(Debug)]
pub(super) struct Ask {
    id: String,
    range: (i64, i64),
    answer: String,
    /// What must come: it had been sent, and was no letter.
    must: BTreeSet<i64>,
    /// What this life of the node has published.
    came: BTreeSet<i64>,
    /// What the broker took.
    got: BTreeSet<i64>,
    /// How often the broker was seen to bear one badly.
    blame: BTreeMap<i64, u32>,
}

impl Ask {
    /// What comes from now on is in an order of its own.
    pub(super) fn forget_turns(&mut self) {
        self.came.clear();
    }
}

/// The `seq` of an event that is replayed; none of any other message.
pub(super) fn seq_of_replayed(payload: &str) -> Option<i64> {
    let event: serde_json::Value = serde_json::from_str(payload).ok().filter(|_| payload.ends_with(MARK))?;
    event["seq"].as_i64()
}

impl World {
    /// The centre asks for a part of the log once more, or for what it has asked already.
    pub(super) async fn ask(&mut self) {
        let (kit, head) = (Arc::clone(self.kit()), self.kit().store.head().borrow().0);
        let Ok(head) = u64::try_from(head - 1) else { return };
        let from = self.pick(head + 1);
        let to = from + self.pick(head + 1 - from);
        let range = (i64::try_from(from + 1).unwrap(), i64::try_from(to + 1).unwrap());
        let before = self.asked.as_ref().map(|ask| (ask.id.clone(), ask.range));
        let is_known = before.is_some();
        let again = before.filter(|_| self.pick(2) == 0);
        let is_again = again.is_some();
        self.asks += 1;
        let (id, range) = again.unwrap_or_else(|| (format!("r-{}", self.asks), range));
        let command = Command::Replay { epoch: kit.store.epoch(), from: Seq(range.0), to: Seq(range.1) };
        let must = self.must(range).await;
        let asked = Asked { id: id.clone(), command, expires_ms: i64::MAX, refusal: None };
        let answered = centre::carry_out(kit, asked, WHEN, 0).await;
        if is_again {
            assert_eq!((answered.outcome, &answered.replay), (CommandOutcome::Repeated, &None));
            assert_eq!(answered.text, self.asked.as_ref().unwrap().answer, "the same is answered the same");
        } else if is_known {
            assert_eq!(answered.outcome, CommandOutcome::Busy, "one at a time");
        } else {
            assert_eq!(answered.outcome, CommandOutcome::Running);
            let replay = answered.replay.unwrap();
            let (came, got) = (BTreeSet::new(), BTreeSet::new());
            self.asked = Some(Ask { id, range, answer: answered.text, must, came, got, blame: BTreeMap::new() });
            if !self.fails(10) {
                self.step(Input::Replay(Some((replay.through, replay.to))));
            } else {
                // It is in the store, and the process ends before it knows.
                self.crash().await;
            }
        }
    }

    /// The events of a range that are behind the cursors of their lanes and no letters.
    async fn must(&self, (from, to): (i64, i64)) -> BTreeSet<i64> {
        let looked = self.kit().store.read(move |reader| {
            let rows = reader.after(Seq(from - 1), 100_000, &Filter::default())?.rows;
            let letters: BTreeSet<i64> = reader.letters(true, 10_000)?.iter().filter_map(|letter| letter.seq).collect();
            let (scan, fix) = (reader.cursor(Lane::Scan)?, reader.cursor(Lane::Fix)?);
            let is_sent = |row: &Row| row.seq <= if row.kind == Kind::Fix { fix } else { scan };
            let sent = rows.iter().filter(|row| is_sent(row)).map(|row| row.seq.0);
            Ok(sent.filter(|seq| *seq <= to && !letters.contains(seq)).collect())
        });
        looked.await.unwrap()
    }

    /// A message is published: one that is replayed has its share of the window and its turn.
    pub(super) fn goes_again(&mut self, payload: &str) {
        let Some(seq) = seq_of_replayed(payload) else { return };
        let ask = self.asked.as_mut().expect("nothing is replayed unasked");
        assert!((ask.range.0..=ask.range.1).contains(&seq), "{seq} is none of {ask:?}");
        let is_in_turn = ask.came.contains(&seq) || ask.came.last().is_none_or(|last| *last < seq);
        assert!(is_in_turn, "{seq} is replayed for the first time after {:?}", ask.came.last());
        ask.came.insert(seq);
        let flying = self.broker.wire.iter().filter(|(_, _, payload)| payload.ends_with(MARK)).count();
        let window = RULES.window.min(self.broker.receive_max);
        assert!(flying < (window / 4).max(1), "{flying} fly already, of a window of {window}");
    }

    /// The broker has answered an event that is replayed.
    pub(super) fn came_again(&mut self, seq: i64, code: u8, payload: &str) {
        let first = format!("{}}}", payload.strip_suffix(MARK).unwrap());
        let taken = self.broker.taken.get(&id_of(payload));
        assert_eq!(taken, Some(&first), "{seq} had been sent, byte for byte but for its mark");
        let Some(ask) = &mut self.asked else { return };
        match code {
            0 => _ = ask.got.insert(seq),
            0x90 | 0x99 => *ask.blame.entry(seq).or_default() += EXCUSED,
            0x80.. => *ask.blame.entry(seq).or_default() += 1,
            _ => {}
        }
    }

    /// A connection ends, perhaps for the event that is alone or the oldest on it.
    pub(super) fn blame_for_the_end(&mut self) {
        let first = self.broker.wire.iter().find_map(|(_, event, payload)| match seq_of_replayed(payload) {
            None => event.map(|_| None),
            seq => Some(seq),
        });
        if let (Some(Some(seq)), Some(ask)) = (first, &mut self.asked) {
            *ask.blame.entry(seq).or_default() += STRIKE;
        }
    }

    /// The node writes the end of a replay down when it has come, and is told so some time later.
    pub(super) async fn end_replay(&mut self) {
        if self.node().ending {
            if !self.fails(3) {
                self.node().ending = false;
                self.step(Input::Replay(None));
            }
            return;
        }
        if !self.node().session.is_replayed() || self.fails(8) {
            return;
        }
        let answered = centre::end(self.kit().store.clone(), WHEN).await.unwrap();
        // It is in, and the answer is not: then it is ended again, and there is none.
        self.node().ending = !self.fails(8);
        let Some(answered) = answered else { return };
        let ask = self.asked.take().unwrap();
        let text: serde_json::Value = serde_json::from_str(&answered.text).unwrap();
        assert_eq!((&text["id"], &text["ok"], &text["reason"]), (&ask.id.clone().into(), &true.into(), &"done".into()));
        let excused = |seq: &&i64| ask.blame.get(seq).is_some_and(|blame| *blame >= EXCUSED);
        let left_out = ask.must.difference(&ask.got).find(|seq| !excused(seq));
        assert_eq!(left_out, None, "it must come: {ask:?}");
        let (count, missing) = (text["count"].as_i64().unwrap(), text["missing"].as_i64().unwrap_or(0));
        assert!(count <= i64::try_from(ask.got.len()).unwrap(), "{count} are said to have been taken: {ask:?}");
        assert!(
            count >= i64::try_from(ask.must.iter().filter(|seq| !excused(seq)).count()).unwrap(),
            "{count}: {ask:?}"
        );
        assert_eq!(count + missing, ask.range.1 - ask.range.0 + 1);
        self.replayed += count;
    }

    /// The counts of the ledger but for what was replayed, the cursors, and where the asset is.
    pub(super) async fn stands(&self) -> (BTreeMap<String, i64>, [Seq; 2], Option<AssetState>) {
        let looked = self.kit().store.read(|reader| {
            let events = reader.ledger()?.events;
            let stands = events.iter().filter(|(word, _)| word.as_str() != "replayed");
            let stands = stands.map(|(word, n)| (word.to_string(), *n)).collect();
            let cursors = [reader.cursor(Lane::Scan)?, reader.cursor(Lane::Fix)?];
            Ok((stands, cursors, reader.asset("TRK-07")?))
        });
        looked.await.unwrap()
    }
}
