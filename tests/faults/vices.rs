//! Brokers that do not bear one event, at a node with the settings and waits that it has in the field.

use std::time::{Duration, Instant};

use crate::bench::{Broker, Node, Pty, Site, balanced, epoch, free_port, stderr, wait_within};
use crate::feeder::Feeder;
use crate::upstream::Centre;
use crate::wire::{Vice, Wire};

use super::{Case, Need, Seen, When, case};

pub const CASES: [Case; 1] = [case(
    "F49.minute",
    (
        "a broker refuses a topic (0x90), closes the connection on a payload, never acknowledges an event",
        "with the waits of the field all others arrive within 60 s, the one is a letter; a retry works once it is mended",
    ),
    When::Full,
    &[Need::Program("mosquitto")],
    vices,
)];

/// The promise.
const WITHIN: Duration = Duration::from_secs(60);
/// Scans beside the one.
const SCANS: u64 = 1_000;
/// The scan that a broker does not bear, as it stands in a payload; what follows from it does not hold this.
const ONE: &str = r#""code":"SEQ000000500""#;

/// A vice and the reason of the letter that it makes.
const VICES: [(Vice, &str); 3] = [
    (Vice::Refuses("/event/fix", 0x90), "topic_refused"),
    (Vice::Closes(ONE), "poison"),
    (Vice::Ignores(ONE), "poison"),
];

fn vices() -> Seen {
    let said: Vec<String> = std::thread::scope(|scope| {
        let tries = VICES.map(|(vice, reason)| scope.spawn(move || borne(vice, reason)));
        tries.into_iter().map(|one| one.join().unwrap()).collect()
    });
    Seen { times: VICES.len() as u64, said: format!("all others after {}", said.join(", ")) }
}

/// One node, one broker, one vice; what was seen.
fn borne(vice: Vice, reason: &str) -> String {
    let broker = Broker::start().expect("mosquitto is here, or the case would be skipped");
    let (wire, port, site) = (Wire::to(broker.port), free_port(), Site::new());
    wire.vice(Some(vice));
    let centre = Centre::at(broker.port, "centre");
    let mut gps = Pty::new(&site.path("gps0"));
    // Everything as it is by default, the waits above all.
    let uplink = format!("[uplink]\nurl = \"mqtt://127.0.0.1:{}\"\n\n", wire.port);
    let receiver = format!("[[gps]]\nid = \"gps0\"\nport = \"{}\"\nbaud = 9600\n\n", site.path("gps0").display());
    site.configure(&(uplink + &receiver + &Site::dock(port)));
    let node = site.start();
    gps.write(&epoch(36_000));
    let begun = Instant::now();
    let feeder = Feeder::start(port, SCANS, 500.0);
    wait_within(WITHIN, &format!("{vice:?}: all others, and the one as a letter"), || {
        let events = node.ledger()["events"].clone();
        let others = events["total"].as_u64()?.checked_sub(1)?;
        let is_all = feeder.is_done() && others > SCANS && events["unsent"] == 0 && events["dead"] == 1;
        // A broker that does not say so has taken the one all the same.
        (is_all && centre.heard().events.len() as u64 >= others).then_some(())
    });
    let took = begun.elapsed();
    let connections = wire.passed().connections;
    wire.vice(None);
    retried(&site, &node, &centre, reason);
    balanced(&node);
    assert_eq!(centre.heard().changed, Vec::<String>::new());
    assert!(node.stop().success());
    format!("{:.1} s ({reason}, {connections} connections)", took.as_secs_f64())
}

/// The one letter has its reason; a person retries it, and the centre gets its event.
fn retried(site: &Site, node: &Node, centre: &Centre, reason: &str) {
    let letters = node.json("/api/v1/letters");
    let letters = letters["items"].as_array().unwrap();
    assert_eq!((letters.len(), &letters[0]["reason"]), (1, &reason.into()), "{letters:?}");
    let out = site.ask(&["letters", "retry", &letters[0]["letter"].to_string()]);
    assert!(out.status.success(), "{}", stderr(&out));
    wait_within(WITHIN, "the one at the centre", || {
        let events = node.ledger()["events"].clone();
        let is_all = events["dead"] == 0 && events["unsent"] == 0;
        (is_all && events["total"].as_u64() == Some(centre.heard().events.len() as u64)).then_some(())
    });
    assert_eq!(node.ledger()["letters"]["open"], 0);
}
