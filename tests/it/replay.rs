//! What the centre asks of a node through a real broker: events once more, to know what it has, and things that are no command.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bench::{Broker, Node, Site, balanced, free_port, metric, wait_for, wait_within};
use crate::clock::utc_ms;
use crate::feeder::Feeder;
use crate::upstream::Centre;

const LONG: Duration = Duration::from_secs(120);
/// Far beyond the end of any test, and within the 7 days that a node with a trusted time takes.
const LATER_MS: i64 = 3_600_000;

/// A node behind a broker whose centre has `scans` scans and the places that follow.
struct Yard {
    broker: Broker,
    site: Site,
    centre: Centre,
    node: Node,
    port: u16,
}

impl Yard {
    /// None, said aloud, without mosquitto.
    fn with(scans: u64, more: &str, env: &[(&str, &str)]) -> Option<Self> {
        let broker = Broker::start()?;
        let (site, port) = (Site::new(), free_port());
        let centre = Centre::at(broker.port, "centre");
        site.configure(&format!("{}{more}\n{}", Site::uplink(broker.port, "hold").trim_end(), Site::dock(port)));
        let node = site.start_with(env);
        let feeder = Feeder::start(port, scans, 2_000.0);
        wait_within(LONG, "every scan answered", || (feeder.oks() == scans).then_some(()));
        let yard = Self { broker, site, centre, node, port };
        yard.settled();
        Some(yard)
    }

    /// Waits until the centre has everything; the newest seq.
    fn settled(&self) -> i64 {
        wait_within(LONG, "an empty backlog", || (self.node.ledger()["events"]["unsent"] == 0).then_some(()));
        let total = self.node.ledger()["events"]["total"].as_u64().unwrap();
        wait_within(LONG, "every event at the centre", || {
            (self.centre.heard().events.len() as u64 == total).then_some(())
        });
        i64::try_from(total).unwrap()
    }

    fn epoch(&self) -> String {
        let heard = self.centre.heard();
        heard.events.values().next().unwrap()["epoch"].as_str().unwrap().to_owned()
    }

    fn replay(&self, id: &str, from: i64, to: i64) -> Value {
        json!({ "id": id, "expires_ms": utc_ms() + LATER_MS, "epoch": self.epoch(), "from": from, "to": to })
    }

    /// Where the event of a seq stands.
    fn delivery(&self, seq: i64) -> Value {
        let id = {
            let heard = self.centre.heard();
            let event = heard.events.values().find(|event| event["seq"] == seq);
            event.unwrap_or_else(|| panic!("the centre has no event {seq}"))["id"].as_str().unwrap().to_owned()
        };
        self.node.json(&format!("/api/v1/events/{id}/delivery"))
    }

    /// Takes events out of what the centre has, as a table that lost rows; how many.
    fn lose(&self, from: i64, to: i64) -> usize {
        let mut heard = self.centre.heard();
        let before = heard.events.len();
        heard.events.retain(|_, event| !(from..=to).contains(&event["seq"].as_i64().unwrap()));
        before - heard.events.len()
    }
}

fn ask(centre: &Centre, name: &str, command: &Value) {
    centre.command(name, command.to_string());
}

#[test]
pub fn a_gap_at_the_centre_is_closed_by_a_replay_that_changes_nothing_else() {
    let Some(yard) = Yard::with(400, "", &[]) else { return };
    let (before, epoch) = (yard.node.ledger(), yard.epoch());
    let lost = yard.lose(100, 239);
    assert_eq!(lost, 140);
    assert!(!yard.centre.heard().gaps().is_empty());
    let command = yard.replay("gap-1", 100, 239);
    ask(&yard.centre, "replay", &command);
    let begun = yard.centre.answer("gap-1", |answer| answer["reason"] == "running");
    let done = yard.centre.answer("gap-1", |answer| answer["reason"] == "done");
    for answer in [&begun, &done] {
        assert_eq!((&answer["cmd"], &answer["ok"], &answer["count"]), (&json!("replay"), &json!(true), &json!(140)));
        assert!(answer["ts_ms"].is_number() && answer.get("missing").is_none(), "{answer}");
    }
    // Each event was published before the answer that says so.
    {
        let heard = yard.centre.heard();
        assert_eq!(heard.gaps(), Vec::<String>::new());
        assert_eq!(heard.changed, Vec::<String>::new(), "byte for byte but for the mark");
        assert_eq!((heard.replayed.len(), heard.replayed.iter().collect::<BTreeSet<_>>().len()), (140, 140));
    }
    let after = balanced(&yard.node);
    assert_eq!(after["events"]["replayed"], 140);
    for stand in ["total", "unsent", "sent", "sent_unheard", "dead"] {
        assert_eq!(after["events"][stand], before["events"][stand], "{stand}");
    }
    assert_eq!(metric(&yard.node, "waypost_uplink_replays_total", &[]), 140.0);
    // The same once more, as a broker may deliver it: the same answer, and nothing is done.
    let answers = yard.centre.heard().answers.len();
    ask(&yard.centre, "replay", &command);
    wait_for("one more answer", || (yard.centre.heard().answers.len() > answers).then_some(()));
    assert_eq!(yard.centre.heard().answers.last(), Some(&done));
    // Something else under that id is refused.
    ask(&yard.centre, "replay", &yard.replay("gap-1", 1, 2));
    yard.centre.answer("gap-1", |answer| answer["reason"] == "id_reused" && answer["ok"] == false);
    assert_eq!(yard.centre.heard().replayed.len(), 140);
    let watermark = wait_for("the watermark", || yard.centre.heard().topics.get("watermark").cloned());
    assert_eq!((&watermark["epoch"], watermark.get("confirmed")), (&json!(epoch), None));
    assert!(yard.node.stop().success());
    let check = yard.site.ask(&["outbox", "check"]);
    assert!(check.status.success(), "{}", crate::bench::stdout(&check));
    drop(yard.broker);
}

#[test]
pub fn a_node_that_is_killed_in_a_replay_goes_on_with_it_and_answers_in_the_end() {
    // A ceiling makes the replay last: a quarter of it is 100 a second.
    let Some(mut yard) = Yard::with(400, "\nmax_per_s = 400\n", &[]) else { return };
    let head = yard.settled();
    ask(&yard.centre, "replay", &yard.replay("long", 1, head));
    wait_for("the middle of the replay", || (yard.centre.heard().replayed.len() > 150).then_some(()));
    yard.node.kill();
    let known = yard.centre.heard().replayed.len();
    assert!(i64::try_from(known).unwrap() < head, "{known} of {head}: it was not in the middle");
    yard.node = yard.site.start();
    // Meanwhile another one is refused, and the same one answered as it was.
    ask(&yard.centre, "replay", &yard.replay("other", 1, 5));
    let refused = yard.centre.answer("other", |_| true);
    assert_eq!((&refused["ok"], &refused["reason"], &refused["count"]), (&json!(false), &json!("busy"), &json!(0)));
    let done = yard.centre.answer("long", |answer| answer["reason"] == "done");
    assert_eq!((&done["ok"], &done["count"]), (&json!(true), &json!(head)));
    let heard = yard.centre.heard();
    let seen: BTreeSet<&String> = heard.replayed.iter().collect();
    assert_eq!(i64::try_from(seen.len()).unwrap(), head, "each of them");
    let twice = heard.replayed.len() - seen.len();
    assert!(twice <= 16 + 40, "{twice} came twice: the window of a replay, and what 200 ms had not written down");
    assert_eq!(heard.changed, Vec::<String>::new());
    drop(heard);
    let ledger = balanced(&yard.node);
    assert_eq!(ledger["events"]["unsent"], 0);
    // What was taken and not written down before the kill counts when it is taken again.
    assert_eq!(ledger["events"]["replayed"], head);
    eprintln!("replay: killed after {known} of {head}, {twice} came twice");
}

#[test]
pub fn what_is_no_command_is_refused_with_its_reason_and_harms_nothing() {
    let Some(yard) = Yard::with(20, "", &[]) else { return };
    let later_ms = utc_ms() + LATER_MS;
    let strange = "00000000000000ff";
    let refused = [
        ("reboot", json!({ "id": "a1", "expires_ms": later_ms }), "a1", "unknown_command"),
        ("ping", json!({ "id": "a2", "expires_ms": later_ms, "shell": "rm" }), "a2", "malformed"),
        ("ping", json!({ "id": "a3", "expires_ms": 1_000 }), "a3", "expired"),
        ("ping", json!({ "id": "a/../b", "expires_ms": later_ms }), "-", "bad_id"),
        ("ping", json!([]), "-", "malformed"),
        ("ping", json!({ "id": "x".repeat(70_000), "expires_ms": later_ms }), "-", "too_large"),
        ("ping", json!({ "id": "x".repeat(2_000), "expires_ms": later_ms }), "-", "too_large"),
        (
            "replay",
            json!({ "id": "a4", "expires_ms": later_ms, "epoch": strange, "from": 1, "to": 2 }),
            "a4",
            "wrong_epoch",
        ),
        ("confirm", json!({ "id": "a5", "expires_ms": later_ms, "epoch": strange, "through": 1 }), "a5", "wrong_epoch"),
        (
            "confirm",
            json!({ "id": "a6", "expires_ms": later_ms, "epoch": yard.epoch(), "through": 1_000_000 }),
            "a6",
            "bad_range",
        ),
        ("replay", yard.replay("a7", 5, 1_000), "a7", "bad_range"),
        ("replay", yard.replay("a8", 1, 100_001), "a8", "too_many"),
    ];
    for (name, command, id, reason) in &refused {
        let answers = yard.centre.heard().answers.len();
        ask(&yard.centre, name, command);
        if command["id"].as_str().is_some_and(|id| id.len() > 65_536) {
            // Larger than the node takes at all: the broker keeps it back, and the connection stands.
            continue;
        }
        wait_for(&format!("the answer {reason}"), || (yard.centre.heard().answers.len() > answers).then_some(()));
        let answer = yard.centre.heard().answers.last().cloned().unwrap();
        assert_eq!((&answer["id"], &answer["reason"], &answer["ok"]), (&json!(id), &json!(reason), &json!(false)));
    }
    yard.centre.command_kept("ping", json!({ "id": "kept", "expires_ms": later_ms }).to_string());
    let kept = yard.centre.answer("kept", |_| true);
    assert_eq!((&kept["ok"], &kept["reason"]), (&json!(false), &json!("retained")));
    yard.centre.command_kept("ping", Vec::new());
    yard.centre.command("ping", vec![0xff; 300]);
    yard.centre.answer("-", |answer| answer["reason"] == "malformed");
    // The node lives, answers, and has written down what it refused.
    ask(&yard.centre, "ping", &json!({ "id": "alive", "expires_ms": later_ms }));
    let alive = yard.centre.answer("alive", |_| true);
    assert_eq!((&alive["ok"], &alive["cmd"], &alive["reason"]), (&json!(true), &json!("ping"), &json!("done")));
    assert!(metric(&yard.node, "waypost_uplink_commands_total", &["outcome=\"wrong_epoch\""]) >= 2.0);
    assert!(metric(&yard.node, "waypost_uplink_commands_total", &["outcome=\"malformed\""]) >= 3.0);
    assert_eq!(balanced(&yard.node)["events"].get("replayed"), None);
    assert_eq!(yard.centre.heard().replayed.len(), 0);
}

#[test]
pub fn the_centre_confirms_and_the_node_remembers_it() {
    let Some(mut yard) = Yard::with(60, "\nconfirm = true\n", &[]) else { return };
    let confirm = |id: &str, through: i64| json!({ "id": id, "expires_ms": utc_ms() + LATER_MS, "epoch": yard.epoch(), "through": through });
    ask(&yard.centre, "confirm", &confirm("c1", 40));
    let first = yard.centre.answer("c1", |_| true);
    assert_eq!((&first["ok"], &first["reason"], &first["count"]), (&json!(true), &json!("done"), &json!(40)));
    ask(&yard.centre, "confirm", &confirm("c2", 30));
    let back = yard.centre.answer("c2", |_| true);
    assert_eq!((&back["ok"], &back["reason"], &back["count"]), (&json!(true), &json!("unchanged"), &json!(0)));
    wait_for("the watermark", || {
        yard.centre.heard().topics.get("watermark").filter(|watermark| watermark["confirmed"] == 40).cloned()
    });
    assert_eq!(yard.node.ledger()["confirmed"], 40);
    for (seq, state) in [(40, "confirmed"), (41, "acknowledged")] {
        let delivery = yard.delivery(seq);
        assert_eq!((&delivery["state"], &delivery["seq"]), (&json!(state), &json!(seq)), "{delivery}");
        assert!(delivery["acked_ms"].is_number() && delivery["connected_ms"].is_number(), "{delivery}");
        assert!(delivery["broker"].as_str().unwrap().starts_with("mqtt://127.0.0.1:"), "{delivery}");
    }
    yard.node.kill();
    yard.node = yard.site.start();
    assert_eq!(yard.node.ledger()["confirmed"], 40);
    assert_eq!(balanced(&yard.node)["events"]["unsent"], 0);
}

#[test]
pub fn with_3_1_1_a_message_that_is_too_large_costs_one_connection_and_no_event() {
    let Some(yard) = Yard::with(20, "\nprotocol = \"3.1.1\"\n", &[]) else { return };
    // Such a broker does not know what the node takes: the connection ends, and the session with it that would bring it again.
    yard.centre.command("ping", vec![b' '; 70_000]);
    wait_within(LONG, "the end of the connection", || {
        (metric(&yard.node, "waypost_uplink_reconnects_total", &["reason=\"client\""]) >= 1.0).then_some(())
    });
    let ping = || json!({ "id": "after", "expires_ms": utc_ms() + LATER_MS });
    let mut asked = std::time::Instant::now();
    ask(&yard.centre, "ping", &ping());
    wait_within(LONG, "an answer after it", || {
        // One that came while the node was away went with the old session: the centre asks again, under the same id.
        if asked.elapsed() > Duration::from_secs(2) {
            asked = std::time::Instant::now();
            ask(&yard.centre, "ping", &ping());
        }
        yard.centre.heard().answers.iter().any(|answer| answer["id"] == "after" && answer["ok"] == true).then_some(())
    });
    assert_eq!(metric(&yard.node, "waypost_uplink_reconnects_total", &["reason=\"client\""]), 1.0);
    assert_eq!(balanced(&yard.node)["letters"]["total"], 0);
}

#[test]
pub fn whether_an_event_arrived_is_answered_by_its_id_and_by_its_code() {
    let Some(mut yard) = Yard::with(10, "", &[]) else { return };
    yard.broker.down();
    let feeder = Feeder::start(yard.port, 5, 2_000.0);
    wait_within(LONG, "five more scans", || (feeder.oks() == 5).then_some(()));
    let told = feeder.told().ok.clone();
    let (code, id) = told.last().unwrap();
    let waits = yard.node.json(&format!("/api/v1/events/{id}/delivery"));
    assert_eq!((&waits["state"], &waits["code"]), (&json!("waiting"), &json!(code)), "{waits}");
    assert!(waits["ahead"].as_i64().unwrap() >= 4 && waits["waiting_s"].is_number(), "{waits}");
    // The same code was read before, and that read has arrived.
    let by_code = yard.node.json(&format!("/api/v1/delivery?code={code}"));
    let states: Vec<&str> =
        by_code["items"].as_array().unwrap().iter().map(|item| item["state"].as_str().unwrap()).collect();
    assert_eq!((states, &by_code["more"]), (vec!["waiting", "acknowledged"], &json!(false)), "{by_code}");
    // So it is under the key that the code became, with what it moved.
    let by_key = yard.node.json(&format!("/api/v1/delivery?code=raw:{code}"));
    let kinds: Vec<&str> =
        by_key["items"].as_array().unwrap().iter().map(|item| item["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"scan") && kinds.contains(&"place"), "{by_key}");
    assert_eq!(yard.node.json("/api/v1/delivery?code=nobody")["items"], json!([]));
    assert_eq!(yard.node.get(&format!("/api/v1/events/{}/delivery", "0".repeat(32))).0, 404);
    assert_eq!(yard.node.get("/api/v1/events/nonsense/delivery").0, 400);
    assert_eq!(yard.node.get("/api/v1/delivery").0, 400);
    yard.broker.up();
    yard.settled();
    assert_eq!(yard.node.json(&format!("/api/v1/events/{id}/delivery"))["state"], "acknowledged");
}

#[test]
pub fn what_has_left_the_log_comes_again_out_of_the_archive() {
    let mark = tempfile::NamedTempFile::new().unwrap();
    let mark = mark.path().display().to_string();
    let env = [("WAYPOST_KEEP_MS", "1500"), ("WAYPOST_NTP_MARK", mark.as_str())];
    let Some(yard) = Yard::with(300, "", &env) else { return };
    // Newer events bear witness to the time, and with them those before leave.
    let newer = Feeder::start(yard.port, u64::MAX, 50.0);
    wait_within(LONG, "events that have left", || {
        (yard.node.json("/api/v1/health")["oldest"].as_str()?.rsplit('.').next()?.parse::<i64>().ok()? > 100)
            .then_some(())
    });
    newer.enough();
    wait_within(LONG, "every scan answered", || newer.is_done().then_some(()));
    let head = yard.settled();
    let gone = yard.delivery(50);
    assert_eq!((&gone["state"], &gone["seq"]), (&json!("archived"), &json!(50)), "{gone}");
    let lost = yard.lose(1, head);
    assert_eq!(i64::try_from(lost).unwrap(), head);
    let epoch = yard.node.json("/api/v1/health")["cursor"].as_str().unwrap().split('.').next().unwrap().to_owned();
    let command = json!({ "id": "old", "expires_ms": utc_ms() + LATER_MS, "epoch": epoch, "from": 1, "to": head });
    ask(&yard.centre, "replay", &command);
    let done = yard.centre.answer("old", |answer| answer["reason"] == "done");
    assert_eq!((&done["ok"], &done["count"], done.get("missing")), (&json!(true), &json!(head), None), "{done}");
    let heard = yard.centre.heard();
    assert_eq!(i64::try_from(heard.events.len()).unwrap(), head);
    assert_eq!((heard.changed.clone(), heard.gaps()), (Vec::new(), Vec::new()));
}
