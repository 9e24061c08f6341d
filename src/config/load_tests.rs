//! Every class of mistake at its exact place, how files merge, and that what is documented is what holds.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::load::load_from;
use crate::config::{
    Config, Effect, Gps, Invalid, KEPT_FILE, Line, Listen, Loaded, Machine, MotionLimits, NoSubscriber, Node, PACKAGED,
    Parity, Plan, Port, Protocol, ReadPoint, RepeatScope, Scanner, SendFrom, Uplink, defaults_text, keep_last_good,
    last_good, load, parse_text, scanner_profile,
};

fn machine() -> Machine {
    Machine { hostname: "wp-07".into(), machine_id: Some("0123abcd0123abcd0123abcd0123abcd".into()) }
}

fn parse(text: &str) -> Result<Loaded, Invalid> {
    parse_text(Path::new("t.toml"), text, &machine())
}

fn good(text: &str) -> Config {
    match parse(text) {
        Ok(loaded) => loaded.config,
        Err(invalid) => panic!("{invalid}"),
    }
}

fn errors(text: &str) -> Vec<String> {
    parse(text).err().map(|e| e.findings.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

/// The text has exactly these mistakes: each expectation is how the line begins and a part of the rest.
fn check(text: &str, expect: &[(&str, &str)]) {
    let found = errors(text);
    assert_eq!(found.len(), expect.len(), "{text}\n{found:#?}");
    for (line, (begin, part)) in found.iter().zip(expect) {
        assert!(line.starts_with(begin) && line.contains(part), "want {begin} … {part}\n got {line}");
    }
}

const SCANNER: &str = "[[scanner]]\nid = \"door-3\"\nport = \"/dev/ttyACM0\"\n";

fn scanner(rest: &str) -> String {
    format!("{SCANNER}{rest}\n")
}

fn gps(rest: &str) -> String {
    format!("[[gps]]\nid = \"gps0\"\nport = \"/dev/ttyACM1\"\nbaud = 9600\n{rest}\n")
}

fn uplink(rest: &str) -> String {
    format!("[uplink]\nurl = \"mqtt://broker\"\n{rest}\n")
}

// What is no TOML.

#[test]
fn text_without_quotes_is_told_with_its_key() {
    check("[node]\nid = wp\n", &[("t.toml:2:6: node.id:", "in quotes")]);
}

#[test]
fn a_key_that_stands_twice_is_told_at_the_second() {
    check("[node]\nid = \"a\"\nid = \"b\"\n", &[("t.toml:3:1: node.id: duplicate key", "keep one")]);
    check("[node]\n[node]\n", &[("t.toml:2:2: node: duplicate key", "keep one")]);
}

#[test]
fn an_open_bracket_ends_the_check_of_that_file_without_guesses() {
    check(
        "[node]\nidd = \"a\"\n[http\nlisten = [1]\n[stor]\n",
        &[("t.toml:2:1: node.idd:", "did you mean id?"), ("t.toml:3:6: http:", "write key = value")],
    );
}

#[test]
fn a_bad_line_does_not_hide_the_mistakes_after_it() {
    check(
        "[[scanner]]\nid = \"a\"\nport = /dev/x\n[http]\nmax_streams = 0\nlisen = []\n",
        &[
            ("t.toml:3:8: scanner.port:", ""),
            ("t.toml:5:15: http.max_streams: 0 is out of range", "1 to 4096"),
            ("t.toml:6:1: http.lisen:", "did you mean listen?"),
        ],
    );
}

#[test]
fn columns_count_characters_and_not_bytes() {
    check("[[scanner]]\nid = \"a\"\nport = \"/dev/é\"\nplace = \"ééé\"; x\n", &[("t.toml:4:14:", "")]);
    check("\u{feff}colour = 1\n", &[("t.toml:1:1: colour:", "")]);
    check("[node]\r\nid = \"a b\"\r\n", &[("t.toml:2:6: node.id:", "")]);
}

#[test]
fn a_byte_that_is_not_utf_8_has_a_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("w.toml");
    fs::write(&file, b"[node]\nname = \"\xff\"\n").unwrap();
    let found = load(&file, &machine()).unwrap_err().to_string();
    assert!(found.ends_with("w.toml:2:9: this byte is not UTF-8; save the file as UTF-8"), "{found}");
}

#[test]
fn hostile_texts_neither_panic_nor_flood() {
    let many: String = (0..5000).map(|i| format!("k{i} = 1\n")).collect();
    assert_eq!(errors(&many).len(), 201);
    let texts = [
        "[".repeat(100_000),
        "a.".repeat(100_000),
        format!("[[scanner]]\nid = \"{}\"", "x".repeat(100_000)),
        format!("{} = 1", "k".repeat(100_000)),
        "\u{0}\u{1}".into(),
        "[gps]\n[[gps]]\n[[gps.x]]\n".into(),
        "x = \"\"\"\n".into(),
        format!("[http]\nlisten = [{}]", "1, ".repeat(80_000)),
        format!("node = {{ {} }}", (0..20_000).map(|i| format!("k{i} = 1, ")).collect::<String>()),
        "x\n".repeat(100_000),
    ];
    for text in texts {
        let found = errors(&text);
        assert!(!found.is_empty() && found.iter().all(|line| line.len() < 2000), "{:.60}", text);
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in r#"(\[{0,2}(node|gps|scanner|http|x)\]{0,2}\n|(id|port|baud|listen|x) ?= ?("[a-z:/.@0-9é\\-]{0,12}"|[0-9.-]{1,4}|\[|\]|true|"|\{)\n?){0,12}"#) {
        let _any = parse(&text);
    }
}

// Names.

#[test]
fn an_unknown_key_names_the_nearest_and_all_that_are_allowed() {
    check(
        &scanner("buad = 9600"),
        &[(
            "t.toml:4:1: scanner.door-3.buad: there is no such key here; did you mean baud?",
            "[[scanner]] takes id, port, enabled, place, baud, serial",
        )],
    );
    check("[assets]\ncolour = 1\n", &[("t.toml:2:1: assets.colour:", "[assets] takes unknown")]);
}

#[test]
fn a_key_of_another_table_is_sent_home() {
    check("[node]\nlisten = []\n", &[("t.toml:2:1: node.listen:", "it belongs below [http]")]);
    check("listen = []\n", &[("t.toml:1:1: listen: stands before any table", "it belongs below [http]")]);
    check("[gps_defaults]\nport = \"/dev/x\"\n", &[("t.toml:2:1: gps_defaults.port:", "below [[gps]] or [[scanner]]")]);
}

#[test]
fn an_unknown_table_names_the_nearest_and_all() {
    check("[[scaner]]\nid = \"a\"\n", &[("t.toml:1:3: scaner: there is no such table", "did you mean [[scanner]]?")]);
    check("[nodes]\n", &[("t.toml:1:2: nodes:", "did you mean [node]? there are [node] [store] [http] [uplink]")]);
}

#[test]
fn a_table_in_the_wrong_brackets_is_told_the_right_ones() {
    check("[gps]\nid = \"a\"\n", &[("t.toml:1:2: gps:", "write [[gps]]")]);
    check("[[node]]\nid = \"a\"\n", &[("t.toml:1:3: node:", "write [node]")]);
    check("http = 8080\n", &[("t.toml:1:1: http:", "write [http]")]);
}

#[test]
fn a_password_in_the_file_is_sent_to_a_file_and_never_repeated() {
    let found = errors(&uplink("password = \"hunter2\""));
    assert!(found[0].starts_with("t.toml:3:1: uplink.password:") && found[0].contains("password_file"), "{found:?}");
    assert!(!found[0].contains("hunter2"));
}

// Values.

#[test]
fn a_value_of_the_wrong_kind_is_told_the_right_one() {
    check(
        "[store]\nretention_days = \"30\"\n",
        &[(
            "t.toml:2:18: store.retention_days: must be a whole number, this is a text",
            "retention_days = 30, without quotes",
        )],
    );
    check("[http]\nlisten = \"127.0.0.1:80\"\n", &[("t.toml:2:10: http.listen:", "listen = [\"127.0.0.1:80\"]")]);
    check("[http]\nlisten = [\"127.0.0.1:80\", 8080]\n", &[("t.toml:2:27: http.listen:", "each item must be a text")]);
    check(&uplink("protocol = 5"), &[("t.toml:3:12: uplink.protocol:", "protocol = \"5\"")]);
    check(&uplink("confirm = \"yes\""), &[("t.toml:3:11: uplink.confirm:", "confirm = true or confirm = false")]);
    check("[node]\nname = 2020-01-01\n", &[("t.toml:2:8: node.name:", "this is a date")]);
    check("[store]\nmax_mib = 99999999999999999999\n", &[("t.toml:2:11: store.max_mib:", "beyond 64 bits")]);
    check("[[scanner]]\nid = \"a\"\nport = 3\n", &[("t.toml:3:8: scanner.a.port:", "must be a text")]);
}

#[test]
fn every_number_has_a_range() {
    for (text, at, range) in [
        ("[store]\nretention_days = 0\n", "t.toml:2:18: store.retention_days: 0", "1 to 3650"),
        ("[store]\narchive_days = -1\n", "t.toml:2:16: store.archive_days: -1", "0 to 36500"),
        ("[store]\nmax_mib = 63\n", "t.toml:2:11: store.max_mib: 63", "64 to"),
        ("[store]\nfix_group_ms = 10001\n", "t.toml:2:16: store.fix_group_ms: 10001", "0 to 10000"),
        ("[http]\nmax_streams = 4097\n", "t.toml:2:15: http.max_streams: 4097", "1 to 4096"),
        ("[plan]\nbearing_deg = 360\n", "t.toml:2:15: plan.bearing_deg: 360", "0 to 359.9"),
        ("[plan]\nbearing_deg = nan\n", "t.toml:2:15: plan.bearing_deg: NaN", "0 to 359.9"),
        ("[plan]\nexit_m = -1\n", "t.toml:2:10: plan.exit_m: -1", "0 to 1000"),
        ("[plan]\nexit_fixes = 0\n", "t.toml:2:14: plan.exit_fixes: 0", "1 to 1000"),
        ("[plan]\nexit_s = 3601\n", "t.toml:2:10: plan.exit_s: 3601", "0 to 3600"),
        ("[plan]\ndwell_s = -1\n", "t.toml:2:11: plan.dwell_s: -1", "0 to 3600"),
        ("[motion]\nstart_mps = nan\n", "t.toml:2:13: motion.start_mps: NaN", "0.1 to 100"),
        ("[motion]\nstart_s = 601\n", "t.toml:2:11: motion.start_s: 601", "0 to 600"),
        ("[motion]\nstart_m = 0.5\n", "t.toml:2:11: motion.start_m: 0.5", "1 to 10000"),
        ("[motion]\nstop_mps = 0\n", "t.toml:2:12: motion.stop_mps: 0", "0.05 to 100"),
        ("[motion]\nstop_s = 0\n", "t.toml:2:10: motion.stop_s: 0", "1 to 3600"),
        ("[plan]\noverstay_min = -5\n", "t.toml:2:16: plan.overstay_min: -5", "0 to"),
        (&uplink("window = 0"), "t.toml:3:10: uplink.window: 0", "1 to 1000"),
        (&uplink("keep_alive_s = 4"), "t.toml:3:16: uplink.keep_alive_s: 4", "5 to"),
        (&uplink("backoff_max_s = 1"), "t.toml:3:17: uplink.backoff_max_s: 1", "5 to"),
        (&uplink("backoff_spread_s = -1"), "t.toml:3:20: uplink.backoff_spread_s: -1", "0 to"),
        (&uplink("health_s = -1"), "t.toml:3:12: uplink.health_s: -1", "0 to"),
        (&uplink("max_per_s = -1"), "t.toml:3:13: uplink.max_per_s: -1", "0 to"),
        (&uplink("mib_per_day = -1"), "t.toml:3:15: uplink.mib_per_day: -1", "0 to"),
        (&uplink("hold_untrusted_s = 601"), "t.toml:3:20: uplink.hold_untrusted_s: 601", "0 to 600"),
        (&gps("rank = 0"), "t.toml:5:8: gps.gps0.rank: 0", "1 to 100"),
        (&gps("parked_interval_s = -1"), "t.toml:5:21: gps.gps0.parked_interval_s: -1", "0 to"),
        (&gps("track_interval_s = -1"), "t.toml:5:20: gps.gps0.track_interval_s: -1", "0 to"),
        (&scanner("baud = 1200"), "t.toml:4:8: scanner.door-3.baud: 1200", "4800 to 921600"),
        (&scanner("idle_ms = 1"), "t.toml:4:11: scanner.door-3.idle_ms: 1", "10 to"),
        (&scanner("repeat_window_ms = -1"), "t.toml:4:20: scanner.door-3.repeat_window_ms: -1", "0 to"),
    ] {
        check(text, &[(&format!("{at} is out of range"), range)]);
    }
}

#[test]
fn every_word_has_a_list() {
    for (text, at, words) in [
        ("[store]\nfull_policy = \"refused\"\n", "t.toml:2:15: store.full_policy:", "did you mean \"refuse\"?"),
        ("[http]\nread = \"all\"\n", "t.toml:2:8: http.read:", "write \"open\" or \"pin\""),
        ("[assets]\nunknown = \"x\"\n", "t.toml:2:11: assets.unknown:", "\"accept\" or \"hold\""),
        (&uplink("protocol = \"4\""), "t.toml:3:12: uplink.protocol:", "\"5\" or \"3.1.1\""),
        (&uplink("no_subscriber = \"x\""), "t.toml:3:17: uplink.no_subscriber:", "\"accept\" or \"hold\""),
        (&uplink("send_from = \"x\""), "t.toml:3:13: uplink.send_from:", "\"kept\" or \"now\""),
        (&scanner("serial = \"9N1\""), "t.toml:4:10: scanner.door-3.serial:", "\"8N1\""),
        (&scanner("baud = \"fast\""), "t.toml:4:8: scanner.door-3.baud:", "9600"),
        (&scanner("baud = \"9600\""), "t.toml:4:8: scanner.door-3.baud:", "baud = 9600, without quotes"),
        (&scanner("code_id = \"aim\""), "t.toml:4:11: scanner.door-3.code_id:", "\"none\" or \"symbol\""),
        (&scanner("charset = \"utf8\""), "t.toml:4:11: scanner.door-3.charset:", "did you mean \"utf-8\"?"),
        (&scanner("layout = \"pl\""), "t.toml:4:10: scanner.door-3.layout:", "\"us\" or \"uk\""),
        (&scanner("repeat_scope = \"x\""), "t.toml:4:16: scanner.door-3.repeat_scope:", "\"previous\" or \"code\""),
        (&scanner("effect = \"exit\""), "t.toml:4:10: scanner.door-3.effect:", "\"enter\" or \"leave\" or \"none\""),
    ] {
        check(text, &[(at, words)]);
    }
}

#[test]
fn every_text_has_its_letters() {
    for (text, at, remedy) in [
        ("[node]\nid = \"wp/07\"\n", "t.toml:2:6: node.id: \"wp/07\" is no id", "1 to 64 letters"),
        ("[node]\nsite = \"\"\n", "t.toml:2:8: node.site: \"\" is no id", "1 to 64 letters"),
        ("[node]\nname = \"a\\nb\"\n", "t.toml:2:8: node.name:", "printable"),
        ("[node]\ntime_zone = \"Europe/Osло\"\n", "t.toml:2:13: node.time_zone:", "IANA name"),
        ("[node]\ntime_zone = \"Europe/Olso\"\n", "t.toml:2:13: node.time_zone:", "did you mean \"Europe/Oslo\"?"),
        ("[node]\ntime_zone = \"../../etc/passwd\"\n", "t.toml:2:13: node.time_zone:", "IANA name"),
        ("[store]\ndir = \"var\"\n", "t.toml:2:7: store.dir:", "from the root on"),
        ("[store]\ndir = \"\"\n", "t.toml:2:7: store.dir: is empty", "/var/lib/waypost"),
        ("[http]\nhosts = [\"ok\", \"http://a\"]\n", "t.toml:2:16: http.hosts:", "without http://"),
        (&uplink("prefix = \"a/+\""), "t.toml:3:10: uplink.prefix:", "cannot begin a topic"),
        (&uplink("prefix = \"/a\""), "t.toml:3:10: uplink.prefix:", "cannot begin a topic"),
        (&uplink("client_id = \"a b\""), "t.toml:3:13: uplink.client_id:", "no spaces"),
        (&uplink("username = \"a\\u0000\""), "t.toml:3:12: uplink.username:", "printable"),
        (&gps("asset = \" TRK\""), "t.toml:5:9: gps.gps0.asset:", "spaces at an end"),
        (&scanner("place = \"dør\""), "t.toml:4:9: scanner.door-3.place:", "@ and an asset"),
        (&scanner("place = \"@\""), "t.toml:4:9: scanner.door-3.place:", "1 to 64"),
        (&scanner("terminators = []"), "t.toml:4:15: scanner.door-3.terminators:", "no frame would ever end"),
        (&scanner("terminators = [\"\\r\", \"\"]"), "t.toml:4:22: scanner.door-3.terminators:", "1 to 8 bytes"),
        (&scanner("start = \"\\r\""), "t.toml:4:9: scanner.door-3.start:", "must differ"),
        (&scanner("charset = \"latin-1\"\nprefix = \"€\""), "t.toml:5:10: scanner.door-3.prefix:", "not Latin-1"),
        (&scanner("noread = \"\\u0007\""), "t.toml:4:10: scanner.door-3.noread:", "printable"),
    ] {
        check(text, &[(at, remedy)]);
    }
}

// Addresses.

#[test]
fn every_port_syntax_is_read() {
    let port = |kind: &str, port: &str| {
        let allow = "allow = [\"192.168.7.0/24\", \"fd00::/8\", \"10.0.0.9\"]";
        good(&format!("[[{kind}]]\nid = \"a\"\nport = \"{port}\"\n{allow}\n"))
    };
    let addr: SocketAddr = "0.0.0.0:4001".parse().unwrap();
    for (text, expect) in [
        ("/dev/waypost/gps0", Port::Serial("/dev/waypost/gps0".into())),
        ("tcp://192.168.7.20:4001", Port::Tcp("192.168.7.20".into(), 4001)),
        ("tcp://moxa-1.yard.local:4001", Port::Tcp("moxa-1.yard.local".into(), 4001)),
        ("tcp://[fd00::20]:4001", Port::Tcp("fd00::20".into(), 4001)),
        ("tcp-listen://0.0.0.0:4001", Port::TcpListen(addr)),
        ("udp-listen://0.0.0.0:4001", Port::UdpListen(addr)),
        ("file:///var/log/drive.nmea", Port::File("/var/log/drive.nmea".into())),
    ] {
        let gps = port("gps", text).gps.remove(0);
        assert_eq!((&gps.port, gps.port.to_string().as_str(), gps.allow.len()), (&expect, text, 3));
        assert_eq!(port("scanner", text).scanners.remove(0).port, expect);
    }
}

#[test]
fn every_form_of_a_gpsd_is_read_and_shown_whole() {
    let device = || Some("/dev/ttyUSB0".to_owned());
    for (text, expect, shown) in [
        ("gpsd://localhost", Port::Gpsd("localhost".into(), 2947, None), "gpsd://localhost:2947"),
        ("gpsd://[fd00::20]:2948", Port::Gpsd("fd00::20".into(), 2948, None), "gpsd://[fd00::20]:2948"),
        (
            "gpsd://10.0.0.9?device=/dev/ttyUSB0",
            Port::Gpsd("10.0.0.9".into(), 2947, device()),
            "gpsd://10.0.0.9:2947?device=/dev/ttyUSB0",
        ),
    ] {
        let gps = good(&format!("[[gps]]\nid = \"a\"\nport = \"{text}\"\n")).gps.remove(0);
        assert_eq!((&gps.port, gps.port.to_string().as_str(), gps.clock), (&expect, shown, true));
    }
}

#[test]
fn a_wrong_port_is_told_how_ports_are_written() {
    for (kind, port, part) in [
        ("gps", "", "is empty; write /dev/"),
        ("gps", "ttyUSB0", "write /dev/ttyUSB0"),
        ("gps", "COM3", "write /dev/"),
        ("gps", "serial:///dev/ttyUSB0", "write /dev/ttyUSB0"),
        ("gps", "hid:///dev/input/event3", "no positions"),
        ("gps", "udp://0.0.0.0:10110", "write udp-listen://0.0.0.0:10110"),
        ("gps", "bluetooth://x", "is no kind of port"),
        ("scanner", "gpsd://localhost:2947", "no scans"),
        ("gps", "gpsd://", "is no host name or address"),
        ("gps", "gpsd://localhost:0", "1 to 65535"),
        ("gps", "gpsd://localhost?device=", "write ?device="),
        ("gps", "gpsd://localhost?device=/dev/tty USB0", "write ?device="),
        ("gps", "gpsd://localhost?port=1", "names no device"),
        ("scanner", "tcp://scanner", "has no port"),
        ("scanner", "tcp://scanner:0", "1 to 65535"),
        ("scanner", "tcp://scanner:70000", "1 to 65535"),
        ("scanner", "tcp://:4001", "is no host name or address"),
        ("scanner", "tcp://300.1.1.1:4001", "is no host name or address"),
        ("scanner", "tcp://[::1:4001", "is no host name or address"),
        ("scanner", "tcp-listen://:4001", "0.0.0.0:4001"),
        ("scanner", "tcp-listen://localhost:4001", "127.0.0.1:4001"),
        ("scanner", "file://scans.txt", "file:///path"),
    ] {
        let text = format!("[[{kind}]]\nid = \"a\"\nport = \"{port}\"\nbaud = 9600\n");
        check(&text, &[(&format!("t.toml:3:8: {kind}.a.port: "), part)]);
    }
}

#[test]
fn what_comes_later_is_refused_and_never_half_done() {
    let later = "is not in this version yet";
    check(&scanner("baud = \"auto\""), &[("t.toml:4:8: scanner.door-3.baud: \"auto\"", later)]);
}

#[test]
fn a_broker_over_tls_has_its_own_port_and_the_systems_list_of_authorities() {
    let uplink = good("[uplink]\nurl = \"mqtts://b\"\n").uplink.unwrap();
    assert_eq!((uplink.tls, uplink.port, uplink.ca_file, uplink.identity), (true, 8883, None, None));
    let known = "there is no such key here";
    check("[uplink]\nurl = \"mqtts://b\"\ninsecure = true\n", &[("t.toml:3:1: uplink.insecure:", known)]);
}

#[test]
fn a_keyboard_scanner_has_a_layout_and_no_charset() {
    let port = "[[scanner]]\nid = \"a\"\nport = \"hid:///dev/waypost/a\"\n";
    check(&format!("{port}layout = \"cz\"\n"), &[]);
    check(&format!("{port}layout = \"dvorak\"\n"), &[("t.toml:4:10: scanner.a.layout: ", "cz")]);
    check(&format!("{port}charset = \"latin-1\"\n"), &[("t.toml:4:11: scanner.a.charset: ", "types characters")]);
}

#[test]
fn a_receiver_without_a_speed_has_it_found_out() {
    let port = "[[gps]]\nid = \"a\"\nport = \"/dev/ttyUSB0\"\n";
    for text in
        [port.to_owned(), format!("{port}baud = \"auto\"\n"), format!("{port}[gps_defaults]\nbaud = \"auto\"\n")]
    {
        let loaded = parse(&text).unwrap();
        assert_eq!(loaded.config.gps[0].line, Line { baud: None, serial: (8, Parity::None, 1) });
        assert!(loaded.warnings.is_empty());
    }
}

#[test]
fn a_port_that_others_reach_says_who_may_send() {
    for kind in ["gps", "scanner"] {
        for scheme in ["tcp-listen", "udp-listen"] {
            let text =
                |addr: &str, rest: &str| format!("[[{kind}]]\nid = \"a\"\nport = \"{scheme}://{addr}\"\n{rest}\n");
            check(&text("0.0.0.0:4001", ""), &[(&format!("t.toml:3:8: {kind}.a.port:"), "write allow = [")]);
            assert!(errors(&text("127.0.0.1:4001", "")).is_empty());
            assert!(errors(&text("[::1]:4001", "")).is_empty());
            let everybody = parse(&text("0.0.0.0:4001", "allow = [\"0.0.0.0/0\"]")).unwrap();
            assert!(everybody.warnings[0].message.contains("is everybody"));
        }
    }
    for (network, part) in [
        ("192.168.7.5/24", "write \"192.168.7.0/24\" for the network"),
        ("192.168.7.0/33", "from 0 to 32"),
        ("yard", "is no network"),
    ] {
        let text = format!("[scanner_defaults]\nallow = [\"10.0.0.0/8\", \"{network}\"]\n");
        check(&text, &[("t.toml:2:24: scanner_defaults.allow:", part)]);
    }
}

#[test]
fn two_sources_cannot_share_an_id_or_a_port_or_the_door_of_the_screen() {
    check(
        "[[gps]]\nid = \"a\"\nport = \"tcp://h:1\"\n[[gps]]\nid = \"a\"\nport = \"tcp://h:2\"\n",
        &[("t.toml:5:6: gps.a.id: \"a\" is the id of the block in line 2 too", "id of its own")],
    );
    check(
        "[[gps]]\nid = \"a\"\nport = \"tcp://h:1\"\n[[scanner]]\nid = \"a\"\nport = \"tcp://h:2\"\n",
        &[("t.toml:5:6: scanner.a.id: \"a\" is the id of gps.a too", "id of its own")],
    );
    check(
        &format!("{}[[scanner]]\nid = \"b\"\nport = \"/dev/ttyACM0\"\n", scanner("")),
        &[("t.toml:7:8: scanner.b.port: \"/dev/ttyACM0\" is the port of scanner.door-3 too", "enabled = false")],
    );
    check(
        "[[scanner]]\nid = \"a\"\nport = \"tcp-listen://127.0.0.1:8080\"\n",
        &[("t.toml:3:8: scanner.a.port:", "where the screen listens")],
    );
    check(
        "[[scanner]]\nid = \"door-3\"\n[[scanner]]\nid = \"door-3\"\n",
        &[
            ("t.toml:1:1: scanner.door-3.port: is missing", "tcp://"),
            ("t.toml:4:6: scanner.door-3.id: \"door-3\" is the id of the block in line 2 too", "id of its own"),
        ],
    );
    check(
        "[[scanner]]\nid = \"a b\"\nbuad = 1\nenabled = false\n",
        &[
            ("t.toml:2:6: scanner.\"a b\".id: \"a b\" is no id", "1 to 64"),
            ("t.toml:3:1: scanner.\"a b\".buad:", "baud"),
        ],
    );
    let off = format!("{}[[scanner]]\nid = \"b\"\nport = \"/dev/ttyACM0\"\nenabled = false\n", scanner(""));
    assert_eq!(good(&off).scanners.len(), 1);
}

#[test]
fn nothing_follows_from_a_port_that_cannot_be_read() {
    for port in ["tcp-listn://127.0.0.1:4001", "tcp://127.0.0.1"] {
        let block = |id: &str| format!("[[scanner]]\nid = \"{id}\"\nport = \"{port}\"\nreply = true\n");
        check(&block("a"), &[("t.toml:3:8: scanner.a.port:", "; write ")]);
        let two = block("a") + &block("b");
        check(&two, &[("t.toml:3:8: scanner.a.port:", "; write "), ("t.toml:7:8: scanner.b.port:", "; write ")]);
    }
    let start = "[[scanner]]\nid = \"a\"\nport = \"tcp://h\"\nstart = \"\\r\"\n";
    check(start, &[("t.toml:3:8: scanner.a.port:", "; write "), ("t.toml:4:9: scanner.a.start:", "terminator")]);
}

#[test]
fn a_source_without_id_or_port_is_told_at_its_head() {
    check("\n[[scanner]]\nport = \"/dev/a\"\n", &[("t.toml:2:1: scanner[1].id: this block has no id", "id = ")]);
    check("\n[[scanner]]\nid = \"a\"\n", &[("t.toml:2:1: scanner.a.port: is missing", "waypost devices")]);
    check(
        "[[gps]]\nid = \"a b\"\nport = \"tcp://h:1\"\n",
        &[("t.toml:2:6: gps.\"a b\".id: \"a b\" is no id", "1 to 64")],
    );
}

#[test]
fn an_answer_needs_a_port_that_can_carry_it() {
    check(
        &scanner("reply = true"),
        &[("t.toml:4:9: scanner.door-3.reply:", "reply = false in the block of scanner.door-3")],
    );
    check(
        &format!("[scanner_defaults]\nreply = true\n{SCANNER}"),
        &[("t.toml:2:9: scanner_defaults.reply:", "scanner.door-3 on /dev/ttyACM0")],
    );
    assert!(good("[[scanner]]\nid = \"a\"\nport = \"tcp://h:1\"\nreply = true\n").scanners[0].reply);
}

#[test]
fn the_screen_listens_where_it_is_told_and_warns_when_that_is_everywhere() {
    let loaded = parse("[http]\nlisten = [\"127.0.0.1:0\", \"[::1]:8080\", \"wlan0:8080\", \"0.0.0.0:81\"]\n").unwrap();
    assert_eq!(
        loaded.config.http.listen,
        [
            Listen::Addr("127.0.0.1:0".parse().unwrap()),
            Listen::Addr("[::1]:8080".parse().unwrap()),
            Listen::Interface("wlan0".into(), 8080),
            Listen::Addr("0.0.0.0:81".parse().unwrap()),
        ]
    );
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].starts_with("t.toml:2:10: http.listen: 0.0.0.0:81 is every interface, a modem too"),
        "{warnings:?}"
    );
    for (listen, part) in [
        ("8080", "is no address and port"),
        (":8080", "is no address and no interface"),
        ("localhost:8080", "write \"127.0.0.1:8080\""),
        ("wlan0:99999", "1 to 65535"),
        ("300.0.0.1:80", "is no address and no interface"),
    ] {
        check(&format!("[http]\nlisten = [\"{listen}\"]\n"), &[("t.toml:2:11: http.listen:", part)]);
    }
    check("[http]\nlisten = []\n", &[("t.toml:2:10: http.listen: is empty", "127.0.0.1:8080")]);
    check("[http]\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:1\"]\n", &[("t.toml:2:10: http.listen:", "twice")]);
}

// The uplink.

#[test]
fn a_url_gives_host_and_port_and_keeps_no_secret() {
    let broker = |url: &str| good(&format!("[uplink]\nurl = \"{url}\"\n")).uplink.map(|up| (up.host, up.port));
    assert_eq!(broker("mqtt://broker.example"), Some(("broker.example".into(), 1883)));
    assert_eq!(broker("mqtt://10.0.0.1:11883/"), Some(("10.0.0.1".into(), 11883)));
    assert_eq!(broker("mqtt://[fd00::1]"), Some(("fd00::1".into(), 1883)));
    assert_eq!(broker(""), None);
    for (url, part) in [
        ("mqtt://me:hunter2@broker", "set username and password_file"),
        ("tcp://broker:1883", "write mqtt://host:1883"),
        ("broker:1883", "write mqtt://host:1883"),
        ("mqtt://broker/topic", "behind host and port"),
        ("mqtt://broker?password=hunter2", "behind host and port"),
        ("mqtt://", "has no host"),
        ("mqtt://me:hunter2", "1 to 65535"),
        ("mqtt://broker:x", "1 to 65535"),
        ("mqtts://bro ker:8883", "no host name or address, or no port from 1 to 65535; write mqtts://host:8883"),
        ("ssl://broker", "write mqtts://host:8883"),
    ] {
        let text = format!("[uplink]\nurl = \"{url}\"\n");
        check(&text, &[("t.toml:2:7: uplink.url:", part)]);
        assert!(!errors(&text)[0].contains("hunter2"));
    }
}

#[test]
fn an_uplink_without_url_is_told_at_its_head() {
    check("[node]\n[uplink]\nwindow = 3\n", &[("t.toml:2:1: uplink.url: is missing", "mqtt://host:1883")]);
    assert_eq!(good("[uplink]\n").uplink, None);
}

#[test]
fn keys_that_need_each_other_stand_together() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pem");
    fs::write(&file, "x").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let file = file.display();
    check(
        &uplink(&format!("password_file = \"{file}\"")),
        &[("t.toml:3:17: uplink.password_file:", "set username too")],
    );
    check(&uplink(&format!("ca_file = \"{file}\"")), &[("t.toml:3:11: uplink.ca_file:", "no meaning with mqtt://")]);
    check(
        &format!("[http]\ntls_key_file = \"{file}\"\n"),
        &[("t.toml:2:16: http.tls_key_file:", "set tls_cert_file too")],
    );
    check(&format!("[http]\ntls_cert_file = \"{file}\"\ntls_key_file = \"{file}\"\n"), &[]);
}

#[test]
fn a_secret_that_others_may_read_is_refused_but_does_not_stop_a_kept_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("password");
    fs::write(&secret, "x").unwrap();
    let text = uplink(&format!("username = \"me\"\npassword_file = \"{}\"", secret.display()));
    for mode in [0o644, 0o642] {
        fs::set_permissions(&secret, fs::Permissions::from_mode(mode)).unwrap();
        check(&text, &[("t.toml:4:17: uplink.password_file: others may read", "run chmod 0640")]);
    }
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o640)).unwrap();
    let loaded = parse(&text).unwrap();
    assert_eq!(loaded.config.uplink.unwrap().password_file.as_deref(), Some(secret.as_path()));

    keep_last_good(dir.path(), &loaded.merged).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let kept = last_good(dir.path(), &machine()).unwrap().unwrap();
    assert!(kept.warnings[0].message.starts_with("others may read"));
}

#[test]
fn a_secret_that_is_not_there_yet_keeps_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("later");
    let password = uplink(&format!("username = \"me\"\npassword_file = \"{}\"", secret.display()));
    let loaded = parse(&password).unwrap();
    assert!(loaded.warnings[0].to_string().contains("is not there"), "{:?}", loaded.warnings);
    assert_eq!(loaded.config.uplink.unwrap().password_file.as_deref(), Some(secret.as_path()));

    let file = secret.display();
    let pair = format!("[uplink]\nurl = \"mqtts://broker\"\ncert_file = \"{file}\"\nkey_file = \"{file}\"\n");
    assert_eq!(good(&pair).uplink.unwrap().identity, Some((secret.clone(), secret.clone())));
    check(
        &uplink(&format!("password_file = \"{file}\"")),
        &[("t.toml:3:17: uplink.password_file:", "set username too")],
    );
}

#[test]
fn a_credential_is_found_where_systemd_puts_it() {
    let text = |name: &str| uplink(&format!("username = \"me\"\npassword_file = \"credential:{name}\""));
    let file = good(&text("mqtt-password")).uplink.unwrap().password_file.unwrap();
    assert!(file.ends_with("mqtt-password") && file.is_absolute());
    check(&text("../x"), &[("t.toml:4:17: uplink.password_file:", "LoadCredential=")]);
    let secret = uplink("username = \"me\"\npassword_file = \"hunter2\"");
    check(&secret, &[("t.toml:4:17: uplink.password_file: is no whole path", "credential:NAME")]);
    assert!(!errors(&secret)[0].contains("hunter2"));
}

// Names that follow.

#[test]
fn what_is_not_said_follows_from_the_node() {
    let config = good("[uplink]\nurl = \"mqtt://b\"\n[[gps]]\nid = \"g\"\nport = \"file:///a\"\n");
    assert_eq!((config.node.id.as_str(), config.node.name.as_str()), ("wp-07", "wp-07"));
    assert_eq!(config.uplink.unwrap().client_id, "wp-07");
    assert_eq!((config.gps[0].asset.as_str(), config.gps[0].clock), ("wp-07", false));
    assert!(good("[[gps]]\nid = \"g\"\nport = \"file:///a\"\nclock = true\n").gps[0].clock);
    assert!(good(&gps("")).gps[0].clock);
}

#[test]
fn a_machine_without_a_name_wants_one() {
    let machine = Machine { hostname: "raspberrypi".into(), machine_id: None };
    let found = |text| parse_text(Path::new("t.toml"), text, &machine).unwrap_err().to_string();
    assert!(found("").starts_with("t.toml:1:1: node.id: there is none"), "{}", found(""));
    assert!(found("\n[node]\nsite = \"a\"\n").starts_with("t.toml:2:1: node.id:"));
}

#[test]
fn bytes_of_a_frame_are_what_the_scanner_sends() {
    let config = good(&scanner(
        "start = \"\\u0002\"\nterminators = [\"\\u0003\", \"\\r\\n\"]\nprefix = \"é\"\nplace = \"@TRK-07\"",
    ));
    let one = &config.scanners[0];
    assert_eq!((one.start.as_slice(), one.prefix.as_slice()), (&[2u8][..], &[0xc3, 0xa9][..]));
    assert_eq!(one.terminators, [vec![3], vec![13, 10]]);
    assert_eq!(one.place, ReadPoint::Aboard("TRK-07".into()));
    assert_eq!(good(&scanner("charset = \"latin-1\"\nprefix = \"é\"")).scanners[0].prefix, [0xe9]);
}

// Files.

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("conf.d")).unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

#[test]
fn later_files_win_key_by_key_and_sources_merge_by_id() {
    let dir = folder(&[
        ("waypost.toml", "[node]\nid = \"a\"\nsite = \"s1\"\n[scanner_defaults]\nidle_ms = 100\n"),
        (
            "conf.d/20-b.toml",
            "[[scanner]]\nid = \"door\"\nrepeat_window_ms = 5\n[[gps]]\nid = \"g\"\nenabled = false\n[uplink]\nurl = \"\"\n",
        ),
        (
            "conf.d/10-a.toml",
            "[node]\nsite = \"s2\"\n[[scanner]]\nid = \"door\"\nport = \"/dev/a\"\nidle_ms = 200\n[[scanner]]\nid = \"gate\"\nport = \"/dev/b\"\n[[gps]]\nid = \"g\"\nport = \"/dev/c\"\n[uplink]\nurl = \"mqtt://b\"\n",
        ),
        ("conf.d/.hidden.toml", "nonsense"),
        ("conf.d/30.toml.bak", "nonsense"),
    ]);
    let loaded = load(&dir.path().join("waypost.toml"), &machine()).unwrap();
    let names: Vec<_> = loaded.files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["waypost.toml", "10-a.toml", "20-b.toml"]);
    let config = &loaded.config;
    assert_eq!((config.node.id.as_str(), config.node.site.as_str()), ("a", "s2"));
    assert_eq!((config.gps.len(), config.uplink.is_none()), (0, true));
    let windows: Vec<_> = config
        .scanners
        .iter()
        .map(|one| (one.id.as_str(), one.idle.as_millis(), one.repeat_window.as_millis()))
        .collect();
    assert_eq!(windows, [("door", 200, 5), ("gate", 100, 1000)]);

    let printed = loaded.merged.print();
    for (line, origin) in [
        ("site = \"s2\"  # ", "/conf.d/10-a.toml:2"),
        ("repeat_window_ms = 5  # ", "/conf.d/20-b.toml:3"),
        ("idle_ms = 100  # ", "/waypost.toml:5"),
        ("retention_days = 30  # ", "default"),
        ("client_id = \"a\"  # ", "node.id"),
    ] {
        assert!(
            printed.lines().any(|printed| printed.starts_with(line) && printed.ends_with(origin)),
            "{line}\n{printed}"
        );
    }
    for text in [printed, loaded.merged.to_toml()] {
        assert_eq!(good(&text), loaded.config, "{text}");
    }
}

#[test]
fn the_mistakes_of_all_files_are_told_at_once_by_file_and_line() {
    let dir = folder(&[
        ("waypost.toml", "[http]\nmax_streams = 0\nread = \"x\"\n"),
        ("conf.d/1.toml", "[nod]\n"),
        ("conf.d/2.toml", "[node]\nid = wp\n"),
        ("conf.d/3.toml", "[[scanner]]\nid = \"a\"\nport = \"x\"\n"),
    ]);
    let found = load(&dir.path().join("waypost.toml"), &machine()).unwrap_err().findings;
    let places: Vec<_> =
        found.iter().map(|f| (f.file.file_name().unwrap().to_str().unwrap(), f.line, f.column)).collect();
    assert_eq!(
        places,
        [("waypost.toml", 2, 15), ("waypost.toml", 3, 8), ("1.toml", 1, 2), ("2.toml", 2, 6), ("3.toml", 3, 8)]
    );
}

#[test]
fn a_file_that_is_named_must_be_there_and_the_usual_one_may_be_replaced_by_parts() {
    let dir = folder(&[("conf.d/1.toml", "[node]\nid = \"a\"\n")]);
    let main = dir.path().join("waypost.toml");
    let found = load(&main, &machine()).unwrap_err().to_string();
    assert!(found.contains("waypost.toml: cannot be read: No such file") && found.contains("--config"), "{found}");
    assert_eq!(load_from(&main, true, &machine()).unwrap().config.node.id, "a");
    fs::remove_file(dir.path().join("conf.d/1.toml")).unwrap();
    assert!(load_from(&main, true, &machine()).is_err());
}

#[test]
fn a_folder_and_a_huge_file_are_no_configuration() {
    let dir = folder(&[("waypost.toml", "")]);
    fs::create_dir(dir.path().join("conf.d/1.toml")).unwrap();
    fs::write(dir.path().join("conf.d/2.toml"), "#".repeat((256 << 10) + 1)).unwrap();
    let found = load(&dir.path().join("waypost.toml"), &machine()).unwrap_err().findings;
    assert!(found[0].message.contains("no regular file") && found[1].message.contains("larger than"), "{found:?}");
}

#[test]
fn what_a_healthy_start_keeps_loads_to_the_same_configuration() {
    let dir = tempfile::tempdir().unwrap();
    assert!(last_good(dir.path(), &machine()).unwrap().is_none());
    for text in [
        include_str!("../../config/examples/truck.toml"),
        include_str!("../../config/examples/warehouse.toml"),
        "[node]\nname = \"a \\\"b\\\" \\\\ é  # c\"\n[plan]\nbearing_deg = 12.5\n",
    ] {
        let loaded = parse(text).unwrap();
        keep_last_good(dir.path(), &loaded.merged).unwrap();
        keep_last_good(dir.path(), &loaded.merged).unwrap();
        assert_eq!(last_good(dir.path(), &machine()).unwrap().unwrap().config, loaded.config);
        assert_eq!(good(&loaded.merged.print()), loaded.config);
    }
    let mode = fs::metadata(dir.path().join(KEPT_FILE)).unwrap().permissions().mode();
    assert_eq!((mode & 0o777, fs::read_dir(dir.path()).unwrap().count()), (0o640, 1));
    fs::write(dir.path().join(KEPT_FILE), "x = 1").unwrap();
    assert!(last_good(dir.path(), &machine()).is_err());
}

#[test]
fn the_digest_changes_with_a_value_and_not_with_its_file() {
    let digest = |text: &str| good(text).digest;
    assert_eq!(digest("[node]\nsite = \"a\"\n"), digest("# x\n\n[node]\nsite = 'a'\n"));
    assert_ne!(digest("[node]\nsite = \"a\"\n"), digest("[node]\nsite = \"b\"\n"));
    assert!(digest("").len() == 16 && digest("").bytes().all(|b| b.is_ascii_hexdigit()));
}

// What is documented.

#[test]
fn the_packaged_file_sets_nothing_and_documents_the_defaults() {
    assert!(PACKAGED.lines().all(|line| line.is_empty() || line.starts_with('#')));
    let nothing = parse(PACKAGED).unwrap();
    assert!(nothing.warnings.is_empty());
    assert_eq!(nothing.merged.to_toml(), "");
    let node = Node { id: "wp-07".into(), name: "wp-07".into(), ..Node::default() };
    assert_eq!(nothing.config, Config { node, digest: nothing.config.digest.clone(), ..Config::default() });

    let printed = parse(&defaults_text()).unwrap();
    assert!(printed.warnings.is_empty());
    assert_eq!(printed.config, nothing.config);
}

#[test]
fn the_packaged_file_uncommented_has_every_key_with_its_default() {
    let is_key = |rest: &str| rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase());
    let all: Vec<&str> =
        PACKAGED.lines().map(|line| line.strip_prefix('#').filter(|rest| is_key(rest)).unwrap_or(line)).collect();
    let config = good(&all.join("\n"));
    let bare = good(
        "[[gps]]\nid = \"gps0\"\nport = \"/dev/waypost/gps0\"\n[[scanner]]\nid = \"door-3\"\nport = \"/dev/waypost/door-3\"\n",
    );
    assert_eq!(config, Config { digest: config.digest.clone(), ..bare });

    let scanner = &config.scanners[0];
    let expect = Scanner {
        id: "door-3".into(),
        port: Port::Serial("/dev/waypost/door-3".into()),
        line: Line { baud: Some(9600), serial: (8, Parity::None, 1) },
        place: ReadPoint::Unknown,
        terminators: vec![b"\r".to_vec(), b"\n".to_vec()],
        start: Vec::new(),
        prefix: Vec::new(),
        suffix: Vec::new(),
        symbol_code_id: false,
        noread: "NOREAD".into(),
        latin_1: false,
        layout: "us".into(),
        idle: Duration::from_millis(500),
        repeat_window: Duration::from_millis(1000),
        repeat_scope: RepeatScope::Previous,
        effect: Effect::Enter,
        reply: false,
        allow: Vec::new(),
    };
    assert_eq!(*scanner, expect);
    let gps = Gps {
        id: "gps0".into(),
        port: Port::Serial("/dev/waypost/gps0".into()),
        line: Line { baud: None, serial: (8, Parity::None, 1) },
        asset: "wp-07".into(),
        rank: 1,
        clock: true,
        parked_interval: Duration::from_secs(300),
        track_interval: Duration::from_secs(10),
        allow: Vec::new(),
    };
    assert_eq!(config.gps, [gps]);
}

#[test]
fn an_uplink_of_a_url_alone_has_the_documented_defaults() {
    let expect = Uplink {
        tls: false,
        host: "broker".into(),
        port: 1883,
        protocol: Protocol::V5,
        prefix: "waypost".into(),
        client_id: "wp-07".into(),
        username: None,
        password_file: None,
        ca_file: None,
        identity: None,
        window: 64,
        keep_alive: Duration::from_secs(30),
        no_subscriber: NoSubscriber::Accept,
        send_from: SendFrom::Kept,
        backoff_max: Duration::from_secs(300),
        backoff_spread: Duration::from_secs(30),
        health: Duration::from_secs(60),
        max_per_s: 0,
        mib_per_day: 0,
        hold_untrusted: Duration::ZERO,
        confirm: false,
        homeassistant: false,
    };
    assert_eq!(good(&uplink("")).uplink, Some(expect));
}

#[test]
fn every_example_loads_without_a_warning() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 4);
    for file in files {
        let loaded = load(&file, &machine()).unwrap_or_else(|invalid| panic!("{invalid}"));
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        assert!(!loaded.config.scanners.is_empty(), "{}", file.display());
    }
}

#[test]
fn a_reload_names_the_keys_that_need_a_restart() {
    let (old, new) =
        (good(""), good("[node]\nsite = \"b\"\n[store]\ndir = \"/b\"\nmax_mib = 64\n[http]\nread = \"pin\"\n"));
    assert_eq!(old.restart_keys(&new), ["node.site", "store.dir"]);
    assert!(old.restart_keys(&old).is_empty());
}

#[test]
fn a_profile_for_decode_is_a_scanner_in_json() {
    let one =
        scanner_profile(r#"{"start":"\u0002","terminators":["\u0003"],"code_id":"symbol","idle_ms":50}"#, &machine());
    let one = one.unwrap();
    assert_eq!((one.start, one.terminators, one.symbol_code_id), (vec![2], vec![vec![3]], true));
    assert_eq!(one.idle, Duration::from_millis(50));
    for (json, expect) in [
        ("[]", "--profile: is no JSON object:"),
        (r#"{"idle":1}"#, "--profile: scanner.scan.idle: there is no such key here; did you mean"),
        (r#"{"idle_ms":"1"}"#, "--profile: scanner.scan.idle_ms: must be a whole number"),
        (r#"{"idle_ms":null}"#, "--profile: scanner.scan.idle_ms: must be a whole number, this is null"),
        (r#"{"effect":"x"}"#, "--profile: scanner.scan.effect: \"x\" is not known here"),
    ] {
        let found = scanner_profile(json, &machine()).unwrap_err().to_string();
        assert!(found.starts_with(expect), "{found}");
    }
}

#[test]
fn how_zones_are_left_and_what_counts_as_motion_is_as_packaged_until_it_is_set() {
    let bare = parse("").unwrap().config;
    assert_eq!((&bare.plan, &bare.motion), (&Plan::default(), &MotionLimits::default()));
    let text = "[plan]\nexit_m = 15\ndwell_s = 4\n[motion]\nstart_mps = 2.5\nstop_s = 60\n";
    let loaded = parse(text).unwrap();
    assert_eq!(loaded.warnings, []);
    let plan = Plan { exit_m: 15.0, dwell: Duration::from_secs(4), ..Plan::default() };
    let motion = MotionLimits { start_mps: 2.5, stop: Duration::from_secs(60), ..MotionLimits::default() };
    assert_eq!((loaded.config.plan, loaded.config.motion), (plan, motion));
}

#[test]
fn what_would_start_and_stop_by_turns_is_refused() {
    for (text, expect) in [
        ("[motion]\nstop_mps = 2\n", "t.toml:2:12: motion.stop_mps: stop_mps 2 is not below start_mps 1.5: it would"),
        ("[motion]\nstart_mps = 0.4\n", "t.toml:2:13: motion.start_mps: stop_mps 0.5 is not below start_mps 0.4: it"),
    ] {
        let found = parse(text).unwrap_err();
        assert!(found.findings.len() == 1 && found.to_string().starts_with(expect), "{found}");
    }
    let words = parse("[motion]\nstart_mps = \"fast\"\n").unwrap_err();
    assert_eq!(words.findings.len(), 1, "what cannot be read is said once: {words}");
}

#[test]
fn a_key_with_an_effect_is_taken_without_a_word() {
    for file in [
        "[uplink]\nurl = \"mqtt://b:1883\"\nconfirm = true\n[plan]\nbearing_deg = 12\noverstay_min = 90\n",
        "[store]\nmax_mib = 64\nfull_policy = \"refuse\"\narchive_days = 7\n",
    ] {
        assert!(parse(file).unwrap().warnings.is_empty(), "{file}");
    }
}

#[test]
fn a_pin_file_that_others_may_read_is_refused_and_none_is_no_fault() {
    use std::os::unix::fs::PermissionsExt as _;
    assert!(parse("[http]\nread = \"pin\"\n").unwrap().warnings.is_empty());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pin");
    let text = format!("[http]\npin_file = \"{}\"\n", file.display());
    let absent = parse(&text).unwrap();
    assert!(absent.warnings[0].to_string().contains("is not there"), "{:?}", absent.warnings);
    assert_eq!(absent.config.http.pin_file, file);
    let put = |pin: &str, mode| {
        std::fs::write(&file, pin).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    put("246813\n", 0o644);
    assert!(parse(&text).unwrap_err().to_string().contains("others may read or change"));
    assert!(crate::config::pin(&file).unwrap_err().to_string().contains("chmod 0640"));
    for (pin, mode, expect) in [
        ("246813\n", 0o640, Some(Some("246813"))),
        ("123456789012", 0o600, Some(Some("123456789012"))),
        ("12345", 0o600, None),
        ("1234567890123", 0o600, None),
        ("24681x", 0o600, None),
        ("٢٤٦٨١٣", 0o600, None),
        ("", 0o600, None),
    ] {
        put(pin, mode);
        let read = crate::config::pin(&file).ok();
        assert_eq!(read.as_ref().map(Option::as_deref), expect, "{pin:?}");
    }
    std::fs::remove_file(&file).unwrap();
    assert_eq!(crate::config::pin(&file).unwrap(), None);
}

#[test]
fn each_node_of_a_bench_has_a_pin_of_its_own_and_the_packaged_place_stays() {
    let dir = tempfile::tempdir().unwrap();
    let node = |name: &str, more: &str| {
        let (file, store) = (dir.path().join(format!("{name}.toml")), dir.path().join(name));
        fs::create_dir_all(&store).unwrap();
        fs::write(&file, format!("[store]\ndir = \"{}\"\n{more}", store.display())).unwrap();
        (load(&file, &machine()).unwrap(), store)
    };
    let (one, first) = node("one", "");
    let (two, second) = node("two", "[http]\nread = \"pin\"\n");
    assert_eq!([&one, &two].map(|one| one.config.http.pin_file.clone()), [first.join("pin"), second.join("pin")]);
    assert!(one.warnings.is_empty() && two.warnings.is_empty(), "no PIN is no fault: {:?}", two.warnings);
    assert!(two.merged.print().contains(&format!("pin_file = \"{}\"  # default", second.join("pin").display())));
    // The configuration that a later start falls back to lies elsewhere, and means the same file.
    keep_last_good(&first, &one.merged).unwrap();
    let kept = last_good(&first, &machine()).unwrap().unwrap();
    assert_eq!((kept.config.http.pin_file, kept.warnings.len()), (first.join("pin"), 0));
    let (named, _) = node("three", "[http]\npin_file = \"/etc/waypost/credentials/pin\"\n");
    let usual = Path::new("/etc/waypost/credentials/pin");
    assert_eq!(named.config.http.pin_file, usual, "what a file says holds");
    let text = "[store]\ndir = \"/data/waypost\"\n";
    let packaged = parse_text(Path::new("/etc/waypost/waypost.toml"), text, &machine()).unwrap();
    assert_eq!(packaged.config.http.pin_file, usual);
    assert_eq!(good("").http.pin_file, usual, "with the store of the package");
    put_pin(&first.join("pin"), 0o644);
    let open = load(&dir.path().join("one.toml"), &machine()).unwrap_err();
    assert!(open.to_string().contains("http.pin_file: others may read or change"), "{open}");
}

fn put_pin(file: &Path, mode: u32) {
    fs::write(file, "246813\n").unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
}
