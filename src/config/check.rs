//! The rules: turns the merged document into a checked `Config`, and notes every value that breaks one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::config::finding::{nearest, shown};
use crate::config::known::{DEFAULT, known};
use crate::config::load::DEFAULT_FILE;
use crate::config::merged::MergedDoc;
use crate::config::port::{self, Wrong};
use crate::config::reader::{Reader, View};
use crate::config::text::{Entry, Spot, Table, Value};
use crate::config::{
    Assets, Config, FullPolicy, Http, Listen, Machine, MotionLimits, NoSubscriber, Node, Plan, Protocol, Read,
    SendFrom, Store, Unknown, Uplink,
};

/// Said of what cannot be used yet.
pub(super) const LATER: &str = "is not in this version yet";

/// Whether a text is `[A-Za-z0-9_-]{1,64}`: ids become topic levels, labels and file names.
#[must_use]
pub fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

pub(super) fn id(text: &str) -> Result<String, Wrong> {
    if is_id(text) {
        return Ok(text.to_owned());
    }
    Err((format!("{} is no id", shown(text)), "write 1 to 64 letters a-z A-Z, digits, _ and -".into()))
}

/// Text for people: no control characters.
pub(super) fn printable(text: &str, max: usize) -> Result<String, Wrong> {
    if !text.is_empty() && text.chars().count() <= max && !text.chars().any(char::is_control) {
        return Ok(text.to_owned());
    }
    Err((format!("{} cannot be shown on one line", shown(text)), format!("write 1 to {max} printable characters")))
}

/// Checks the whole; the document learns what follows from elsewhere.
pub(super) fn check(doc: &mut MergedDoc, machine: &Machine, main_file: &Path, reader: &mut Reader) -> Config {
    let node = node(doc, machine, main_file, reader);
    derive_from_node(doc, &node.id);
    let (gps, scanners) = crate::config::sources::check(doc, &node.id, reader);
    let store = store(doc, reader);
    derive_pin_file(doc, main_file, &store.dir, reader);
    let http = http(doc, reader);
    crate::config::sources::check_doors(doc, &http, &scanners, &gps, reader);
    let config = Config {
        store,
        uplink: uplink(doc, &node.id, reader),
        assets: Assets {
            unknown: reader.word(
                &view(doc, "assets"),
                "unknown",
                &[("accept", Unknown::Accept), ("hold", Unknown::Hold)],
            ),
        },
        plan: plan(doc, reader),
        motion: motion(doc, reader),
        node,
        http,
        gps,
        scanners,
        digest: String::new(),
    };
    Config { digest: doc.digest(), ..config }
}

/// A `[name]` table as it holds.
fn view<'a>(doc: &'a MergedDoc, name: &str) -> View<'a> {
    #[expect(
        clippy::expect_used,
        reason = "only names of tables of the packaged file are asked for; a test loads them"
    )]
    let known = known(name).expect("a table of the packaged file");
    View { label: name.to_owned(), known, own: doc.tables.get(name), shared: None }
}

fn node(doc: &mut MergedDoc, machine: &Machine, main_file: &Path, reader: &mut Reader) -> Node {
    let table = view(doc, "node");
    let node_id = reader.optional(&table, "id", id);
    let is_given = reader.text(&table, "id") != Some("");
    let site = reader.parsed(&table, "site", id).unwrap_or_default();
    let name = reader.optional(&table, "name", |text| printable(text, 128));
    let time_zone = reader.text(&table, "time_zone").unwrap_or_default().to_owned();
    check_time_zone(&table, &time_zone, reader);
    let id = match (node_id, machine.node_id()) {
        (Some(id), _) => id,
        (None, _) if is_given || reader.is_broken => String::new(),
        (None, Some((id, from))) => {
            doc.derived.insert("node.id".into(), (Value::Text(id.clone()), from));
            id
        }
        (None, None) => {
            let spot = doc
                .tables
                .get("node")
                .map_or_else(|| Spot { file: main_file.into(), line: 1, column: 1 }, |table| table.at.clone());
            let message = format!("there is none, and host name {} and machine id give none", shown(&machine.hostname));
            reader.errors.push(spot.finding("node.id", message, "write id = \"wp-01\" below [node]"));
            String::new()
        }
    };
    let name = name.unwrap_or_else(|| id.clone());
    Node { id, site, name, time_zone }
}

/// Keys that are the node's id when nothing else is said.
fn derive_from_node(doc: &mut MergedDoc, node_id: &str) {
    for (table, key) in [("node", "name"), ("uplink", "client_id")] {
        let is_given = doc.tables.get(table).and_then(|table| table.entries.get(key));
        if is_given.is_none_or(|entry| entry.value == Value::Text(String::new())) {
            doc.derived.insert(format!("{table}.{key}"), (Value::Text(node_id.to_owned()), "node.id"));
        }
    }
}

/// A node of its own, as on a bench, has a PIN of its own: beside its store, unless a file says where.
fn derive_pin_file(doc: &mut MergedDoc, main_file: &Path, store_dir: &Path, reader: &Reader) {
    let is_own = |path: &Path| path.is_absolute() && path != Store::default().dir;
    let folder = std::path::absolute(main_file).unwrap_or_default();
    let is_elsewhere = folder.parent() != Path::new(DEFAULT_FILE).parent() && is_own(store_dir);
    if reader.is_kept || !is_elsewhere || view(doc, "http").is_set("pin_file") {
        return;
    }
    // As if a file said so: what is kept for a later start says it too.
    let at = Spot { file: Path::new(DEFAULT).into(), line: 0, column: 0 };
    let value = Value::Text(store_dir.join("pin").display().to_string());
    let entry = Entry { value, at: at.clone(), key_at: at.clone() };
    let http = doc.tables.entry("http").or_insert_with(|| Table { at, entries: BTreeMap::new() });
    http.entries.insert("pin_file".into(), entry);
}

fn check_time_zone(table: &View<'_>, name: &str, reader: &mut Reader) {
    let is_name = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'+' | b'/'));
    let zones = jiff::tz::db();
    let is_unreadable = reader.text(table, "time_zone").is_none();
    if is_unreadable || name == "UTC" || is_name && zones.get(name).is_ok() {
        return;
    }
    if is_name && zones.is_definitively_empty() {
        let message = format!("{} cannot be checked: this machine has no time zones", shown(name));
        reader.warn(table, "time_zone", message, "install the package tzdata");
        return;
    }
    let all: Vec<String> = zones.available().map(|zone| zone.as_str().to_owned()).collect();
    let near = nearest(name, all.iter().map(String::as_str));
    let near = near.map_or_else(String::new, |near| format!("did you mean \"{near}\"? "));
    let remedy = format!("{near}write an IANA name as in \"Europe/Oslo\"; timedatectl list-timezones lists them");
    reader.error(table, "time_zone", format!("{} is no time zone", shown(name)), remedy);
}

fn store(doc: &MergedDoc, reader: &mut Reader) -> Store {
    let table = view(doc, "store");
    if reader.text(&table, "dir") == Some("") {
        reader.error(&table, "dir", "is empty", "write a folder, as in /var/lib/waypost");
    }
    Store {
        dir: reader.path(&table, "dir").unwrap_or_default(),
        retention_days: reader.number(&table, "retention_days", 1..=3650),
        archive_days: reader.number(&table, "archive_days", 0..=36_500),
        max_mib: reader.number(&table, "max_mib", 64..=16_777_216),
        full_policy: reader.word(
            &table,
            "full_policy",
            &[("thin-fixes", FullPolicy::ThinFixes), ("refuse", FullPolicy::Refuse)],
        ),
        fix_group: reader.millis(&table, "fix_group_ms", 0..=10_000),
    }
}

fn http(doc: &MergedDoc, reader: &mut Reader) -> Http {
    let table = view(doc, "http");
    let listen = reader.list(&table, "listen", 16, port::listen);
    let distinct: BTreeSet<String> = listen.iter().map(|address| format!("{address:?}")).collect();
    if table.is_empty_list("listen") {
        reader.error(&table, "listen", "is empty", "write [\"127.0.0.1:8080\"] for this machine only");
    }
    if distinct.len() < listen.len() {
        reader.error(&table, "listen", "has one address twice", "leave one out");
    }
    for address in &listen {
        if let Listen::Addr(address) = address
            && address.ip().is_unspecified()
        {
            let message =
                format!("{address} is every interface, a modem too: whoever reaches this machine sees the screen");
            let remedy = "name the interface of the yard as in \"wlan0:8080\", or keep a firewall before it";
            reader.warn(&table, "listen", message, remedy);
        }
    }
    let hosts = reader.list(&table, "hosts", 64, |text| {
        if port::is_host(text) {
            return Ok(text.to_owned());
        }
        Err((
            format!("{} is no host name", shown(text)),
            "write the name alone, without http:// and without port".into(),
        ))
    });
    let tls = pair(&table, ["tls_cert_file", "tls_key_file"], reader);
    // A node without a PIN is well: only a file that somebody named is missed.
    let may_be_absent = reader.is_kept || !table.is_named("pin_file");
    let usual = reader.text(&table, "pin_file").filter(|text| may_be_absent && text.starts_with('/'));
    let pin_file = match usual.map(PathBuf::from) {
        Some(usual) if !usual.exists() => usual,
        _ => reader.secret(&table, "pin_file").unwrap_or_default(),
    };
    Http {
        listen,
        hosts,
        read: reader.word(&table, "read", &[("open", Read::Open), ("pin", Read::Pin)]),
        pin_file,
        max_streams: reader.number(&table, "max_streams", 1..=4096),
        tls,
    }
}

/// A certificate and its key: both or none.
fn pair(table: &View<'_>, keys: [&str; 2], reader: &mut Reader) -> Option<(PathBuf, PathBuf)> {
    let [certificate, key] = [reader.file(table, keys[0]), reader.secret(table, keys[1])];
    let is_empty = keys.map(|key| reader.text(table, key) == Some(""));
    for (missing, given) in [(0, 1), (1, 0)] {
        if is_empty[missing] && !is_empty[given] {
            let message = format!("stands without {}", keys[missing]);
            reader.error(table, keys[given], message, format!("set {} too, or neither", keys[missing]));
        }
    }
    certificate.zip(key)
}

fn uplink(doc: &MergedDoc, node_id: &str, reader: &mut Reader) -> Option<Uplink> {
    let table = view(doc, "uplink");
    if !table.is_set("url") && !reader.is_broken && table.own.is_some_and(|own| !own.entries.is_empty()) {
        let remedy = "write url = \"mqtt://host:1883\", or url = \"\" for a node without upstream";
        reader.error(&table, "url", "is missing", remedy);
    }
    let has_url = reader.text(&table, "url").is_some_and(|url| !url.is_empty());
    let (tls, host, port) = reader.optional(&table, "url", port::broker).unwrap_or_default();
    let identity = pair(&table, ["cert_file", "key_file"], reader);
    let ca_file = reader.file(&table, "ca_file");
    if !tls && !host.is_empty() {
        for key in ["ca_file", "cert_file", "key_file"] {
            if reader.text(&table, key).is_some_and(|path| !path.is_empty()) {
                reader.error(&table, key, "has no meaning with mqtt://", "leave it out, or write mqtts:// in url");
            }
        }
    }
    let username = reader.optional(&table, "username", |text| printable(text, 256));
    let password_file = reader.secret(&table, "password_file");
    if password_file.is_some() && reader.text(&table, "username") == Some("") {
        reader.error(&table, "password_file", "stands without username", "set username too");
    }
    let uplink = Uplink {
        tls,
        host,
        port,
        protocol: reader.word(&table, "protocol", &[("5", Protocol::V5), ("3.1.1", Protocol::V311)]),
        prefix: reader.parsed(&table, "prefix", prefix).unwrap_or_default(),
        client_id: reader.optional(&table, "client_id", client_id).unwrap_or_else(|| node_id.to_owned()),
        username,
        password_file,
        ca_file,
        identity,
        window: reader.number(&table, "window", 1..=1000),
        keep_alive: reader.seconds(&table, "keep_alive_s", 5..=65_535),
        no_subscriber: reader.word(
            &table,
            "no_subscriber",
            &[("accept", NoSubscriber::Accept), ("hold", NoSubscriber::Hold)],
        ),
        send_from: reader.word(&table, "send_from", &[("kept", SendFrom::Kept), ("now", SendFrom::Now)]),
        backoff_max: reader.seconds(&table, "backoff_max_s", 5..=86_400),
        backoff_spread: reader.seconds(&table, "backoff_spread_s", 0..=3_600),
        health: reader.seconds(&table, "health_s", 0..=86_400),
        max_per_s: reader.number(&table, "max_per_s", 0..=1_000_000),
        mib_per_day: reader.number(&table, "mib_per_day", 0..=1_000_000),
        hold_untrusted: reader.seconds(&table, "hold_untrusted_s", 0..=600),
        confirm: reader.flag(&table, "confirm"),
        homeassistant: reader.flag(&table, "homeassistant"),
    };
    has_url.then_some(uplink)
}

/// Topic levels that no broker reads as a wildcard or its own.
fn prefix(text: &str) -> Result<String, Wrong> {
    let is_level =
        |level: &str| !level.is_empty() && level.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    if text.len() <= 128 && text.split('/').all(is_level) {
        return Ok(text.to_owned());
    }
    let remedy = "write letters, digits, _ - . with single / between, as in \"acme/waypost\"";
    Err((format!("{} cannot begin a topic", shown(text)), remedy.into()))
}

fn client_id(text: &str) -> Result<String, Wrong> {
    if text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err((
        format!("{} is no client id", shown(text)),
        "write 1 to 128 ASCII letters, digits and signs, no spaces".into(),
    ))
}

fn plan(doc: &MergedDoc, reader: &mut Reader) -> Plan {
    let table = view(doc, "plan");
    let bearing_deg = reader.real(&table, "bearing_deg").unwrap_or_default();
    if !(0.0..360.0).contains(&bearing_deg) {
        reader.error(&table, "bearing_deg", format!("{bearing_deg} is out of range"), "write degrees from 0 to 359.9");
    }
    Plan {
        zones: reader.file(&table, "zones"),
        exit_m: reader.measure(&table, "exit_m", 0.0..=1000.0),
        exit_fixes: reader.number(&table, "exit_fixes", 1..=1000),
        exit: reader.seconds(&table, "exit_s", 0..=3600),
        dwell: reader.seconds(&table, "dwell_s", 0..=3600),
        bearing_deg,
        overstay_min: reader.number(&table, "overstay_min", 0..=525_600),
    }
}

fn motion(doc: &MergedDoc, reader: &mut Reader) -> MotionLimits {
    let table = view(doc, "motion");
    let limits = MotionLimits {
        start_mps: reader.measure(&table, "start_mps", 0.1..=100.0),
        start: reader.seconds(&table, "start_s", 0..=600),
        start_m: reader.measure(&table, "start_m", 1.0..=10_000.0),
        stop_mps: reader.measure(&table, "stop_mps", 0.05..=100.0),
        stop: reader.seconds(&table, "stop_s", 1..=3600),
    };
    // 0 is one that is reported already.
    if limits.start_mps > 0.0 && limits.stop_mps >= limits.start_mps {
        // At the one that a file says: the other is a default.
        let [key, other] = if table.is_set("stop_mps") { ["stop_mps", "start_mps"] } else { ["start_mps", "stop_mps"] };
        let message = format!(
            "stop_mps {} is not below start_mps {}: it would start and stop by turns",
            limits.stop_mps, limits.start_mps
        );
        reader.error(&table, key, message, format!("make stop_mps smaller than start_mps, or change {other} too"));
    }
    limits
}

/// Whether only this machine reaches it.
pub(super) fn is_loopback(addr: IpAddr) -> bool {
    addr.to_canonical().is_loopback()
}
