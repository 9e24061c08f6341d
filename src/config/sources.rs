//! The rules of `[[gps]]` and `[[scanner]]`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::check::{LATER, id, is_loopback, printable};
use crate::config::finding::shown;
use crate::config::known::known;
use crate::config::merged::{MergedDoc, Source};
use crate::config::port::{self, Wrong};
use crate::config::reader::{Reader, View};
use crate::config::text::Value;
use crate::config::{Effect, Gps, Http, Line, Listen, Network, Parity, Port, ReadPoint, RepeatScope, Scanner};

/// Checks all sources; answers those that are enabled, in the order of the files.
pub(super) fn check(doc: &mut MergedDoc, node_id: &str, reader: &mut Reader) -> (Vec<Gps>, Vec<Scanner>) {
    let mut derived = Vec::new();
    let (mut gps, mut scanners) = (Vec::new(), Vec::new());
    let mut seen = Seen::default();
    for name in ["gps", "scanner"] {
        // The defaults are checked by themselves too: a wrong one is wrong without a source as well.
        let defaults = view(doc, name, None);
        if name == "gps" {
            drop(read_gps(&defaults, node_id, reader))
        } else {
            drop(read_scanner(&defaults, reader))
        }
        for source in doc.sources.get(name).into_iter().flatten() {
            let view = view(doc, name, Some(source));
            let is_enabled = reader.flag(&view, "enabled");
            let has_port = check_identity(&view, is_enabled, &mut seen, reader);
            if name == "gps" {
                let one = read_gps(&view, node_id, reader);
                if reader.text(&view, "asset") == Some("") {
                    derived.push((format!("{}.asset", view.label), (Value::Text(node_id.to_owned()), "node.id")));
                }
                if !view.is_set("clock") && matches!(one.port, Port::File(_)) && !is_unread(&one.port) {
                    derived.push((format!("{}.clock", view.label), (Value::Flag(false), "a file's time is past")));
                }
                if is_enabled && has_port {
                    check_gps(&view, &one, reader);
                    seen.port(&view, &one.port, reader);
                    gps.push(one);
                }
            } else {
                let one = read_scanner(&view, reader);
                if is_enabled && has_port {
                    check_scanner(&view, &one, reader);
                    seen.port(&view, &one.port, reader);
                    scanners.push(one);
                }
            }
        }
    }
    doc.derived.extend(derived);
    (gps, scanners)
}

/// A source as it holds, or the defaults of its kind, which borrow the sample's id and port.
fn view<'a>(doc: &'a MergedDoc, name: &str, source: Option<&'a Source>) -> View<'a> {
    #[expect(clippy::expect_used, reason = "both tables are in the packaged file; a test loads it")]
    let known = known(name).expect("a table of the packaged file");
    let shared = doc.tables.get(format!("{name}_defaults").as_str());
    let label = source.map_or_else(|| format!("{name}_defaults"), |source| format!("{name}.{}", source.label()));
    View { label, known, own: source.map(|source| &source.table), shared }
}

/// Ids and ports that are taken, and by whom.
#[derive(Default)]
struct Seen {
    ids: BTreeMap<String, String>,
    ports: BTreeMap<String, String>,
}

impl Seen {
    fn port(&mut self, view: &View<'_>, port: &Port, reader: &mut Reader) {
        let text = port.to_string();
        if is_unread(port) || matches!(port, Port::TcpListen(addr) | Port::UdpListen(addr) if addr.port() == 0) {
            return;
        }
        if let Some(first) = self.ports.get(&text) {
            let message = format!("{} is the port of {first} too", shown(&text));
            reader.error(view, "port", message, "give each source a port of its own, or turn one off: enabled = false");
        } else {
            self.ports.insert(text, view.label.clone());
        }
    }
}

/// Whether the source can be one: an id that nobody else has, and a port.
fn check_identity(view: &View<'_>, is_enabled: bool, seen: &mut Seen, reader: &mut Reader) -> bool {
    if let Some(id) = reader.parsed(view, "id", id) {
        if let Some(first) = seen.ids.get(&id) {
            let message = format!("{} is the id of {first} too", shown(&id));
            reader.error(view, "id", message, "give each source an id of its own");
        } else {
            seen.ids.insert(id, view.label.clone());
        }
    }
    if view.own_entry("port").is_some() {
        return true;
    }
    if is_enabled && !reader.is_broken {
        let remedy = "write port = \"/dev/…\" (waypost devices lists them) or tcp://host:port";
        reader.error(view, "port", "is missing", remedy);
    }
    false
}

/// Stands for a port that could not be read, which is told already: nothing follows from it.
fn unread() -> Port {
    Port::File(PathBuf::new())
}

fn is_unread(port: &Port) -> bool {
    *port == unread()
}

fn read_gps(view: &View<'_>, node_id: &str, reader: &mut Reader) -> Gps {
    let port = reader.parsed(view, "port", |text| port::port(text, true)).unwrap_or_else(unread);
    let is_file = matches!(port, Port::File(_));
    Gps {
        id: reader.text(view, "id").unwrap_or_default().to_owned(),
        line: Line { baud: reader.baud(view), serial: serial(view, reader) },
        asset: reader.optional(view, "asset", asset).unwrap_or_else(|| node_id.to_owned()),
        rank: reader.number(view, "rank", 1..=100),
        clock: reader.flag(view, "clock") && (view.is_set("clock") || !is_file),
        parked_interval: reader.seconds(view, "parked_interval_s", 0..=86_400),
        track_interval: reader.seconds(view, "track_interval_s", 0..=86_400),
        allow: reader.list(view, "allow", 64, port::network),
        port,
    }
}

fn check_gps(view: &View<'_>, gps: &Gps, reader: &mut Reader) {
    check_allow(view, &gps.port, &gps.allow, reader);
}

fn read_scanner(view: &View<'_>, reader: &mut Reader) -> Scanner {
    let latin_1 = reader.word(view, "charset", &[("utf-8", false), ("latin-1", true)]);
    let place = match reader.text(view, "place") {
        None | Some("") => ReadPoint::Unknown,
        Some(_) => reader.parsed(view, "place", read_point).unwrap_or(ReadPoint::Unknown),
    };
    let noread = reader.text(view, "noread").unwrap_or_default();
    Scanner {
        id: reader.text(view, "id").unwrap_or_default().to_owned(),
        port: reader.parsed(view, "port", |text| port::port(text, false)).unwrap_or_else(unread),
        line: Line { baud: reader.baud(view), serial: serial(view, reader) },
        place,
        terminators: terminators(view, latin_1, reader),
        start: reader.parsed(view, "start", |text| bytes(text, latin_1, 0..=16)).unwrap_or_default(),
        prefix: reader.parsed(view, "prefix", |text| bytes(text, latin_1, 0..=64)).unwrap_or_default(),
        suffix: reader.parsed(view, "suffix", |text| bytes(text, latin_1, 0..=64)).unwrap_or_default(),
        symbol_code_id: reader.word(view, "code_id", &[("none", false), ("symbol", true)]),
        noread: if noread.is_empty() {
            String::new()
        } else {
            reader.parsed(view, "noread", |text| printable(text, 64)).unwrap_or_default()
        },
        latin_1,
        layout: reader
            .word(view, "layout", &["us", "uk", "de", "fr", "es", "cz"].map(|layout| (layout, layout)))
            .to_owned(),
        idle: reader.millis(view, "idle_ms", 10..=60_000),
        repeat_window: reader.millis(view, "repeat_window_ms", 0..=86_400_000),
        repeat_scope: reader.word(
            view,
            "repeat_scope",
            &[("previous", RepeatScope::Previous), ("code", RepeatScope::Code)],
        ),
        effect: reader.word(
            view,
            "effect",
            &[("enter", Effect::Enter), ("leave", Effect::Leave), ("none", Effect::None)],
        ),
        reply: reader.flag(view, "reply"),
        allow: reader.list(view, "allow", 64, port::network),
    }
}

fn check_scanner(view: &View<'_>, scanner: &Scanner, reader: &mut Reader) {
    if matches!(scanner.port, Port::Hid(_)) && scanner.latin_1 {
        let message = format!("\"latin-1\" is for bytes, and the keyboard of {} types characters", view.label);
        reader.error(view, "charset", message, "write charset = \"utf-8\" in its block, and the keyboard in layout");
    }
    if matches!(scanner.port, Port::Serial(_)) && reader.text(view, "baud") == Some("auto") {
        let remedy = "write its speed: mostly 9600 or 115200; for a USB scanner any does";
        reader.error(view, "baud", format!("\"auto\" {LATER}"), remedy);
    }
    let is_answered = matches!(scanner.port, Port::Tcp(..) | Port::TcpListen(_)) || is_unread(&scanner.port);
    if scanner.reply && !is_answered {
        let message = format!("{} on {} cannot be answered", view.label, scanner.port);
        let remedy = format!("only tcp:// and tcp-listen:// can: write reply = false in the block of {}", view.label);
        reader.error(view, "reply", message, remedy);
    }
    if scanner.terminators.contains(&scanner.start) {
        reader.error(view, "start", "is a terminator too", "start and end of a frame must differ");
    }
    check_allow(view, &scanner.port, &scanner.allow, reader);
}

/// Who may send to a port that others reach must be said.
fn check_allow(view: &View<'_>, port: &Port, allow: &[Network], reader: &mut Reader) {
    let (Port::TcpListen(addr) | Port::UdpListen(addr)) = port else { return };
    if is_loopback(addr.ip()) {
        return;
    }
    if view.is_empty_list("allow") {
        let remedy = "write allow = [\"192.168.7.0/24\"] with the network the senders are in";
        reader.error(view, "port", format!("{addr} is reached from outside and allow is empty"), remedy);
    }
    if let Some(all) = allow.iter().find(|network| network.bits == 0) {
        let message = format!("{}/0 is everybody who reaches this machine", all.addr);
        reader.warn(view, "allow", message, "name the network the senders are in");
    }
}

/// The screen and the sources cannot listen on one port.
pub(super) fn check_doors(doc: &MergedDoc, http: &Http, scanners: &[Scanner], gps: &[Gps], reader: &mut Reader) {
    let ports = gps.iter().map(|gps| ("gps", &gps.id, &gps.port));
    for (name, id, port) in ports.chain(scanners.iter().map(|scanner| ("scanner", &scanner.id, &scanner.port))) {
        let Port::TcpListen(addr) = port else { continue };
        let is_taken = addr.port() != 0 && http.listen.iter().any(|listen| overlaps(listen, *addr));
        let source = doc.sources.get(name).into_iter().flatten().find(|source| source.id == *id);
        if is_taken && let Some(source) = source {
            let message = format!("{addr} is where the screen listens (http.listen)");
            reader.error(&view(doc, name, Some(source)), "port", message, "take another port number for one of them");
        }
    }
}

fn overlaps(listen: &Listen, addr: SocketAddr) -> bool {
    match listen {
        Listen::Addr(screen) => {
            let (a, b) = (screen.ip(), addr.ip());
            screen.port() == addr.port() && (a == b || a.is_unspecified() || b.is_unspecified())
        }
        Listen::Interface(_, port) => *port == addr.port() && addr.ip().is_unspecified(),
    }
}

fn serial(view: &View<'_>, reader: &mut Reader) -> (u8, Parity, u8) {
    let parse = |text: &str| {
        port::serial(text).ok_or_else(|| {
            (
                format!("{} is no line setting", shown(text)),
                "write data bits, parity, stop bits, as in \"8N1\" or \"7E1\"".into(),
            )
        })
    };
    reader.parsed(view, "serial", parse).unwrap_or((8, Parity::None, 1))
}

fn asset(text: &str) -> Result<String, Wrong> {
    if text.trim() != text {
        return Err((format!("{} has spaces at an end", shown(text)), "leave them out".into()));
    }
    printable(text, 64)
}

fn read_point(text: &str) -> Result<ReadPoint, Wrong> {
    if let Some(aboard) = text.strip_prefix('@') {
        return asset(aboard).map(ReadPoint::Aboard);
    }
    let is_place = text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b' ' | b'.' | b'_' | b'-'))
        && !text.trim().is_empty();
    if is_place {
        return Ok(ReadPoint::Place(text.to_owned()));
    }
    let remedy = "write 1 to 64 letters a-z A-Z, digits, space . _ -, or @ and an asset";
    Err((format!("{} is no id of a place", shown(text)), remedy.into()))
}

fn terminators(view: &View<'_>, latin_1: bool, reader: &mut Reader) -> Vec<Vec<u8>> {
    if view.is_empty_list("terminators") {
        reader.error(view, "terminators", "is empty: no frame would ever end", "write [\"\\r\", \"\\n\"]");
    }
    reader.list(view, "terminators", 16, |text| bytes(text, latin_1, 1..=8))
}

/// The bytes a scanner sends for a text.
fn bytes(text: &str, latin_1: bool, length: std::ops::RangeInclusive<usize>) -> Result<Vec<u8>, Wrong> {
    let bytes = if latin_1 {
        let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
        bytes.ok_or_else(|| (format!("{} is not Latin-1", shown(text)), "write characters up to \\u00ff".into()))?
    } else {
        text.as_bytes().to_vec()
    };
    if length.contains(&bytes.len()) {
        return Ok(bytes);
    }
    let (low, high) = length.into_inner();
    Err((format!("{} has {} bytes", shown(text), bytes.len()), format!("write {low} to {high} bytes")))
}
