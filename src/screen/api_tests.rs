//! The promises of the calls, on real sockets over a real store.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use serde_json::{Value, json};

use super::bind::LISTEN_ALARM;
use super::front::Limits;
use super::rig::{Rig, http};
use crate::config::{Http, Listen, Read};
use crate::domain::{AssetState, EventId, Kind, Loss, Reason, Seq, Stage, TimeQuality};
use crate::health::{Alarm, DiskState, Severity, SourceCondition, SourceState, State};
use crate::store::{Group, Origin, Outcome};

const FIX: &str = "{\"lat\":59.1246817,\"lon\":11.3875214}";

/// The words of the JSON object, in the order they came.
fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn source(id: &str, state: SourceCondition) -> State {
    State::Source(SourceState {
        id: id.into(),
        kind: "gps",
        port: "/dev/waypost/gps0".into(),
        state,
        since_mono_ms: 1,
        since_ms: 1,
        last_frame_mono_ms: Some(1),
        last_frame_ms: Some(1),
        line_load: None,
        advice: String::new(),
    })
}

fn disk() -> State {
    State::Disk(DiskState { db_bytes: 1, used_pct: 1, writable: true, ..DiskState::default() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_has_exactly_the_words_of_the_contract_and_balances() {
    let rig = Rig::start().await;
    rig.board.post(source("gps0", SourceCondition::Up));
    rig.event(1, Kind::Scan, "{}").await;
    let origin = Origin { source: "door-3".into(), peer: Some("10.0.0.9".into()), received: rig.clock.now() };
    let loss = Loss { stage: Stage::Decoder, reason: Reason::BadCheck, bytes: b"0\x1d1".to_vec(), ai: None, length: 3 };
    rig.store
        .submit(Group::Now, move |txn| {
            txn.frame("door-3", Outcome::Stored);
            txn.frame("door-3", Outcome::Rejected(Reason::BadCheck));
            txn.park(&loss, &origin, None, "01")
        })
        .await
        .unwrap();
    let (status, ledger) = rig.get("/api/v1/ledger").await;
    assert_eq!((status, &ledger["balance"]), (200, &json!(0)), "{ledger}");
    assert_eq!(keys(&ledger), ["balance", "events", "letters", "sources", "t"]);
    let source = json!({"frames":2,"stored":1,"repeat":0,"duplicate":0,"no_fix":0,"thinned":0,"rejected":1,"test":0,
        "reasons":{"bad_check":1}});
    assert_eq!(ledger["sources"]["door-3"], source);
    assert_eq!(ledger["sources"]["gps0"]["frames"], 0);
    let events = json!({"total":1,"unsent":0,"sent":0,"sent_unheard":0,"local":1,"dead":0,"discarded":0,"lost":0});
    assert_eq!(ledger["events"], events);
    let letters = json!({"total":1,"open":1,"retried":0,"discarded":0,"expired":0,"sampled":0});
    assert_eq!(ledger["letters"], letters);

    let (_, summary) = rig.get("/api/v1/letters/summary").await;
    assert_eq!((&summary["open"], &summary["by_reason"][0]["reason"]), (&json!(1), &json!("bad_check")));
    let (_, open) = rig.get("/api/v1/letters").await;
    let letter = &open["items"][0];
    assert_eq!((&letter["reason"], &letter["length"], letter.get("bytes")), (&json!("bad_check"), &json!(3), None));
    let (_, local) = rig.get_local("/api/v1/letters").await;
    assert_eq!((&local["items"][0]["bytes"], &local["items"][0]["peer"]), (&json!("0\\x1d1"), &json!("10.0.0.9")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_has_what_a_page_begins_with_and_its_stream_goes_on_from_there() {
    let rig = Rig::start().await;
    for n in 0..60 {
        rig.event(n, if n % 2 == 0 { Kind::Scan } else { Kind::Fix }, FIX).await;
    }
    rig.event(60, Kind::Fix, "{\"lat\":0,\"lon\":0,\"doubt\":[\"jump\"]}").await;
    let asset = AssetState {
        asset: "TRK-07".into(),
        id: EventId([1; 16]),
        seq: Seq(1),
        ts_ms: 5,
        tq: TimeQuality::Gnss,
        received: (1, 10),
        position: Some((59.1, 11.3)),
        speed_mps: None,
        course_deg: None,
        place: Some("dock-3".into()),
        since_ms: Some(5),
        source: Some("gps0".into()),
        gps_place: None,
    };
    // Read at the gate after the last stored fix; the board has a fix since then that was thinned.
    let stored = AssetState { seq: Seq(2), place: Some("gate".into()), ..asset.clone() };
    rig.store.submit(Group::Now, move |txn| txn.set_asset(&stored)).await.unwrap();
    rig.board.post(State::Asset(AssetState { ts_ms: 9, received: (1, 20), ..asset }));
    rig.board.post(source("gps0", SourceCondition::Silent));
    rig.board.post(disk());
    let (status, snap) = rig.get("/api/v1/snapshot").await;
    assert_eq!(status, 200);
    for key in ["cursor", "t", "node", "site", "name", "tz", "version", "boot", "page", "more"] {
        assert!(!snap[key].is_null(), "{key}");
    }
    assert_eq!((&snap["assets"][0]["ts_ms"], &snap["assets"][0]["place"]), (&json!(9), &json!("gate")));
    let scans: Vec<i64> = snap["scans"].as_array().unwrap().iter().map(|one| one["seq"].as_i64().unwrap()).collect();
    assert_eq!(scans, (0..30).map(|n| 59 - 2 * n).collect::<Vec<_>>());
    assert_eq!(snap["fix"]["seq"], 60);
    let kinds: Vec<&str> = snap["states"].as_array().unwrap().iter().map(|one| one["k"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["source", "disk", "ledger", "letters"]);
    let mut client = rig.stream(&format!("?after={}", snap["cursor"].as_str().unwrap()), None).await;
    rig.scans(100, 1).await;
    assert_eq!(client.events().await.seqs(), [62]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_paged_in_both_directions_and_filtered() {
    let rig = Rig::start().await;
    for n in 0..10 {
        rig.event(n, if n % 3 == 0 { Kind::Scan } else { Kind::Fix }, FIX).await;
    }
    let epoch = rig.store.epoch();
    let page = async |query: String| {
        let (status, page) = rig.get(&format!("/api/v1/events{query}")).await;
        assert_eq!(status, 200, "{query}: {page}");
        let seqs: Vec<i64> = page["items"].as_array().unwrap().iter().map(|one| one["seq"].as_i64().unwrap()).collect();
        (seqs, page["next"].as_str().map(str::to_owned))
    };
    let (seqs, next) = page(format!("?after={epoch}.0&limit=4")).await;
    assert_eq!((seqs, next.clone()), (vec![1, 2, 3, 4], Some(format!("{epoch}.4"))));
    let (seqs, next) = page(format!("?after={}", next.unwrap())).await;
    assert_eq!(seqs, (5..=10).collect::<Vec<_>>());
    // At the end there is a next to poll again.
    let (seqs, again) = page(format!("?after={}", next.clone().unwrap())).await;
    assert_eq!((seqs.len(), again), (0, next));
    let (seqs, next) = page("?limit=4".into()).await;
    assert_eq!(seqs, [10, 9, 8, 7]);
    let (seqs, next) = page(format!("?before={}&limit=500", next.unwrap())).await;
    assert_eq!((seqs, next), ((1..=6).rev().collect(), None));
    assert_eq!(page("?kind=scan&source=door-3&asset=TRK-07".into()).await.0, [10, 7, 4, 1]);
    assert_eq!(page("?code=code-3".into()).await.0, [4]);
    let (_, one) = rig.get("/api/v1/events?limit=1").await;
    let id = one["items"][0]["id"].as_str().unwrap();
    assert_eq!(rig.get(&format!("/api/v1/events/{id}")).await.1, one["items"][0]);
    assert_eq!(rig.get("/api/v1/events/00000000000000000000000000000000").await.0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_that_is_gone_is_answered_with_the_oldest_one_and_nonsense_with_a_hint() {
    let rig = Rig::start().await;
    rig.scans(1, 3).await;
    let epoch = rig.store.epoch();
    for query in [format!("after={epoch}.9"), "before=00000000000000ff.2".into(), "after=00000000000000ff.2".into()] {
        let (status, said) = rig.get(&format!("/api/v1/events?{query}")).await;
        let error = &said["error"];
        assert_eq!((status, &error["code"]), (410, &json!("cursor_gone")), "{query}");
        assert_eq!(error["oldest"], format!("{epoch}.0"));
    }
    for query in ["limit=0", "limit=501", "limit=x", "kind=scam", "sorce=gps0", "after=1", "limit=1&limit=2"] {
        let (status, said) = rig.get(&format!("/api/v1/events?{query}")).await;
        assert_eq!(status, 400, "{query}: {said}");
        assert_eq!(keys(&said["error"]), ["code", "hint", "message"]);
        assert!(!said["error"]["hint"].as_str().unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_name_for_this_node_is_misdirected_and_ours_are_not() {
    let rig = Rig::with(Http { hosts: vec!["Yard.example".into()], ..http() }, Limits::default()).await;
    let port = rig.addr.port();
    for (host, expect) in [
        (format!("127.0.0.1:{port}"), 200),
        ("localhost".into(), 200),
        ("yard.EXAMPLE:80".into(), 200),
        ("127.0.0.2".into(), 421),
        ("evil.example".into(), 421),
        (String::new(), 421),
    ] {
        let request = format!("GET /livez HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let mut client = rig.ask(&request).await;
        assert_eq!(client.status, expect, "{host}");
        assert!(client.head.contains("content-security-policy: default-src 'self'"), "{}", client.head);
        assert!(client.head.contains("x-content-type-options: nosniff"));
        let text = client.text().await;
        assert!(expect == 200 || text.contains("\"code\":\"unknown_host\""), "{text}");
    }
    let two = "GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert_eq!(rig.ask(two).await.status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_much_is_refused_and_unknown_addresses_and_methods_have_words() {
    let rig = Rig::start().await;
    let long = format!("GET /livez HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(9_000));
    assert_eq!(rig.ask(&long).await.status, 431);
    let body = "POST /api/v1/letters HTTP/1.1\r\nHost: localhost\r\nContent-Length: 70000\r\n\r\n";
    assert_eq!(rig.ask(body).await.json().await.1["error"]["code"], "too_large");
    assert_eq!(rig.get("/api/v2/snapshot").await.1["error"]["code"], "not_found");
    assert_eq!(rig.get("/api/v1/logs/none").await.0, 404);
    let post = "POST /api/v1/ledger HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let (status, said) = rig.ask(post).await.json().await;
    assert_eq!((status, &said["error"]["code"]), (405, &json!("method_not_allowed")));
    rig.until_metrics(|page| {
        page.contains("waypost_http_requests_total{route=\"/api/v1/ledger\",status=\"405\"} 1")
            && page.contains("waypost_http_requests_total{route=\"unmatched\",status=\"404\"} 1")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_are_for_the_operator_and_for_commands_on_this_machine() {
    let rig = Rig::start().await;
    for n in 0..3 {
        let what = format!("opened {n}");
        rig.store.submit(Group::Now, move |txn| txn.log_inbound("gps0", &what, "")).await.unwrap();
    }
    let (status, said) = rig.get("/api/v1/logs/inbound").await;
    assert_eq!((status, &said["error"]["code"]), (403, &json!("pin_not_set")));
    let (status, log) = rig.get_local("/api/v1/logs/inbound?limit=2").await;
    assert_eq!(
        (status, &log["items"][0]["what"], &log["items"][0]["source"]),
        (200, &json!("opened 2"), &json!("gps0"))
    );
    let (_, rest) = rig.get_local(&format!("/api/v1/logs/inbound?before={}", log["next"])).await;
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next"]), (1, &Value::Null));
    assert_eq!(rig.get_local("/api/v1/logs/failures").await.1["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capture_is_for_the_control_socket_alone() {
    let rig = Rig::start().await;
    let (status, said) = rig.get("/api/v1/captures/gps0").await;
    assert_eq!((status, &said["error"]["code"]), (403, &json!("pin_not_set")));
    let (status, said) = rig.get_local("/api/v1/captures/gps9").await;
    assert_eq!((status, &said["error"]["code"]), (404, &json!("not_found")));
    assert_eq!(rig.get_local("/api/v1/captures/gps0").await, (200, json!({ "capture": 1 })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_screen_for_who_has_the_pin_shows_nothing_while_there_is_none() {
    let rig = Rig::with(Http { read: Read::Pin, ..http() }, Limits::default()).await;
    for path in ["/api/v1/snapshot", "/api/v1/stream", "/api/v1/assets"] {
        assert_eq!(rig.get(path).await.0, 403, "{path}");
    }
    assert_eq!(rig.get_local("/api/v1/snapshot").await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_is_degraded_by_an_alarm_and_unavailable_on_a_kept_configuration() {
    let rig = Rig::start().await;
    assert_eq!(rig.get("/healthz").await, (200, json!({"status":"ok","reasons":[]})));
    rig.board.post(source("gps0", SourceCondition::Permission));
    rig.board.post(disk());
    assert_eq!(rig.get("/healthz").await, (200, json!({"status":"degraded","reasons":["source gps0 is permission"]})));
    rig.board.raise(Alarm {
        name: "config_invalid".into(),
        severity: Severity::Fault,
        since_ms: 1,
        text: "line 3".into(),
        advice: String::new(),
        count: 1,
    });
    assert_eq!(rig.get("/healthz").await.0, 503);
    let (status, health) = rig.get("/api/v1/health").await;
    assert_eq!((status, &health["status"]), (200, &json!("degraded")));
    for key in ["alarms", "sources", "workers", "disk", "ledger", "letters", "cursor", "listen", "streams", "beats"] {
        assert!(!health[key].is_null(), "{key}");
    }
    assert_eq!(rig.get("/api/v1/sources").await.1["items"][0]["id"], "gps0");
    for path in ["/livez", "/readyz"] {
        let ask = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert_eq!(rig.ask(&ask).await.status, 200, "{path}");
    }
    let ask =
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: application/openmetrics-text\r\nConnection: close\r\n\r\n";
    let mut metrics = rig.ask(ask).await;
    assert!(metrics.head.contains("content-type: application/openmetrics-text"), "{}", metrics.head);
    assert!(metrics.text().await.ends_with("# EOF\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_is_an_alarm_that_names_its_holder_and_ends_when_the_port_is_free() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    let free = Listen::Addr(SocketAddr::from(([127, 0, 0, 1], 0)));
    let limits = Limits { retry: Duration::from_millis(20), ..Limits::default() };
    let mut rig = Rig::with(Http { listen: vec![Listen::Addr(taken), free], ..http() }, limits).await;
    let Some(State::Alarm(alarm)) = rig.board.get("alarm", LISTEN_ALARM) else { panic!("no alarm") };
    assert!(alarm.text.contains(&taken.to_string()), "{}", alarm.text);
    assert!(alarm.text.contains(&format!("pid {}", std::process::id())), "{}", alarm.text);
    assert_eq!(rig.get("/healthz").await.0, 200);
    drop(holder);
    rig.bound.wait_for(|bound| bound.len() == 2 && bound[0] == taken).await.unwrap();
    rig.stop().await;
    assert_eq!(rig.board.get("alarm", LISTEN_ALARM), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_socket_that_a_killed_node_left_is_replaced_and_a_file_is_not() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    drop(super::bind::bind_control(&path).unwrap());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let file = dir.path().join("precious");
    std::fs::write(&file, "kept").unwrap();
    assert!(super::bind::bind_control(&file).is_err());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
}
