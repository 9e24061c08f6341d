//! A gateway that does not know what time it is, from outside: its clock stands at 1970 and is set about, it is killed, and
//! in the end a receiver tells it the time. What the centre has is then in order, whole and right.

use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::bench::{Broker, Node, Pty, Site, binary, repository, wait_within};
use crate::upstream::Centre;

const YEAR_MS: i64 = 31_556_952_000;
const LONG: Duration = Duration::from_secs(120);

/// What time it is. UTC ms
pub fn utc_ms() -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid place for the answer and outlives the call.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut now) }, 0);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}

/// A receiver that sees the sky until it is dropped.
struct Sky(Child);

impl Sky {
    fn at(site: &Site) -> Self {
        let mut command = binary();
        command.args(["simulate", "gps", "--rate", "5", "--loop", "--seed", "1", "--link"]).arg(site.path("gps0"));
        command.arg("--route").arg(repository("hardware/demo/route.geojson"));
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Sky {
    fn drop(&mut self) {
        // It takes its link with it: a node that found that later would open whatever has the number of its pty by then.
        // SAFETY: a signal to our own child, which is not yet waited for.
        unsafe { libc::kill(i32::try_from(self.0.id()).unwrap(), libc::SIGTERM) };
        self.0.wait().unwrap();
    }
}

/// Scans with the true times between which each was made.
struct Scans<'a> {
    node: &'a Node,
    made: &'a mut Vec<(String, i64, i64)>,
}

impl Scans<'_> {
    fn make(&mut self, door: &mut Pty, n: usize) {
        for _ in 0..n {
            let code = format!("PALLET-{}", self.made.len());
            let from_ms = utc_ms();
            door.write(format!("{code}\r\n").as_bytes());
            wait_within(LONG, "the scan", || {
                let (_, page) = self.node.get(&format!("/api/v1/events?kind=scan&code={code}&before=&limit=1"));
                page.contains(&code).then_some(())
            });
            self.made.push((code, from_ms, utc_ms()));
        }
    }
}

/// The time of an event as `docs/mqtt.md` has the centre put it right, and how sure it is; none where nothing is said of it.
fn put_right(event: &Value, word: &Value) -> Option<(i64, i64)> {
    let n = |value: &Value, key: &str| value[key].as_i64().unwrap();
    if !matches!(event["tq"].as_str(), Some("none" | "rtc")) || event["ts_ms"] != event["received_ms"] {
        return Some((n(event, "ts_ms"), 1_100));
    }
    let mono_ms = n(event, "mono_ms");
    let covers = |span: &&Value| n(span, "from_mono_ms") <= mono_ms && mono_ms < n(span, "to_mono_ms");
    let span = word["spans"].as_array()?.iter().find(covers).filter(|_| word["boot"] == event["boot"])?;
    Some((n(event, "ts_ms") + n(span, "offset_ms"), n(span, "err_ms")))
}

#[test]
pub fn a_gateway_at_1970_that_is_set_about_and_killed_is_put_right_by_the_first_receiver() {
    let Some(broker) = Broker::start() else { return };
    let site = Site::new();
    let wall = site.path("wall");
    let set = |off_ms: i64| {
        std::fs::write(site.path("wall.new"), off_ms.to_string()).unwrap();
        std::fs::rename(site.path("wall.new"), &wall).unwrap();
    };
    let env = [("WAYPOST_WALL", wall.to_str().unwrap())];
    let centre = Centre::at(broker.port, "centre");
    let mut door = Pty::new(&site.path("door-3"));
    site.configure(&format!(
        "{}[[gps]]\nid = \"gps0\"\nport = \"{}\"\nbaud = 9600\nasset = \"TRK-07\"\n\n\
         [[scanner]]\nid = \"door-3\"\nport = \"{}\"\nplace = \"door-3\"\nrepeat_window_ms = 0\n",
        Site::uplink(broker.port, "accept"),
        site.path("gps0").display(),
        site.path("door-3").display()
    ));
    let mut made = Vec::new();
    set(-56 * YEAR_MS);
    let mut node = site.start_with(&env);
    Scans { node: &node, made: &mut made }.make(&mut door, 5);
    for off_ms in [20 * YEAR_MS, -3_600_000, 1024 * 7 * 86_400_000, -YEAR_MS] {
        set(off_ms);
        Scans { node: &node, made: &mut made }.make(&mut door, 5);
    }
    node.kill();
    node = site.start_with(&env);
    Scans { node: &node, made: &mut made }.make(&mut door, 5);
    assert_ne!(node.json("/api/v1/health")["clock"]["tq"], "gnss");
    let sky = Sky::at(&site);
    let health = wait_within(LONG, "the time by the receiver", || {
        let health = node.json("/api/v1/health");
        (health["clock"]["tq"] == "gnss" && health["clock"]["rev"].is_i64()).then_some(health)
    });
    assert_eq!((&health["clock"]["by"], &health["clock"]["rev"]), (&"gps0".into(), &1.into()), "{}", health["clock"]);
    // From now on nothing that is done to the wall clock moves anything.
    for off_ms in [20 * YEAR_MS, -3_600_000] {
        set(off_ms);
        Scans { node: &node, made: &mut made }.make(&mut door, 3);
    }
    wait_within(LONG, "an empty backlog", || {
        let ledger = node.ledger();
        (ledger["events"]["unsent"] == 0 && ledger["balance"] == 0).then_some(())
    });
    drop(sky);
    let heard = centre.heard();
    assert_eq!(heard.gaps(), Vec::<String>::new());
    let word = &heard.topics["clock"];
    let mut scans: Vec<&Value> = heard.events.values().filter(|event| event["kind"] == "scan").collect();
    scans.sort_by_key(|scan| scan["seq"].as_i64());
    let codes: Vec<&str> = scans.iter().map(|scan| scan["code"].as_str().unwrap()).collect();
    assert_eq!(codes, made.iter().map(|(code, _, _)| code.as_str()).collect::<Vec<_>>(), "none lost, none reordered");
    let mut worst_ms = 0;
    for (scan, (_, from_ms, to_ms)) in scans.iter().zip(&made) {
        let (ms, err_ms) = put_right(scan, word).unwrap_or_else(|| panic!("nothing is said of {scan}: {word}"));
        assert!((from_ms - err_ms..=to_ms + err_ms).contains(&ms), "{scan} at {ms}, made {from_ms} to {to_ms}: {word}");
        worst_ms = worst_ms.max((from_ms - ms).max(ms - to_ms));
    }
    let corrected = scans.iter().filter(|scan| scan["tq"] != "gnss").count();
    assert!(corrected >= 30, "{corrected} were stamped by the wall clock");
    eprintln!(
        "clock: {corrected} of {} scans put right, {} spans, at worst {worst_ms} ms off",
        scans.len(),
        word["spans"].as_array().unwrap().len()
    );
    drop(heard);
    assert!(node.stop().success());
}
