//! The gate as somebody on the network finds it: real sockets, a real PIN file.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::config::{Http, Read};

use super::front::Limits;
use super::rig::{Rig, http};

const RIGHT: &str = r#"{"pin":"246813"}"#;
const OURS: &str = "X-Waypost: 1\r\nOrigin: http://localhost:8080\r\n";

struct Yard {
    rig: Rig,
    dir: TempDir,
}

async fn yard(read: Read) -> Yard {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pin");
    std::fs::write(&file, "246813\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let rig = Rig::with(Http { read, pin_file: file, max_streams: 256, ..http() }, Limits::default()).await;
    Yard { rig, dir }
}

impl Yard {
    /// Asks as a browser would; `head` are further lines.
    async fn ask(&self, line: &str, head: &str, body: &str) -> (u16, String, Value) {
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nHost: localhost:8080\r\nConnection: close\r\n{head}Content-Length: {length}\r\n\r\n{body}"
        );
        let mut client = self.rig.ask(&request).await;
        let (status, head) = (client.status, client.head.clone());
        let text = client.text().await;
        (status, head, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    async fn code(&self, line: &str, head: &str, body: &str) -> (u16, String) {
        let (status, _, said) = self.ask(line, head, body).await;
        (status, said["error"]["code"].as_str().unwrap_or_default().to_owned())
    }

    /// Opens a session and answers the header that carries it.
    async fn cookie(&self) -> String {
        let (status, head, _) = self.ask("POST /api/v1/session", OURS, RIGHT).await;
        assert_eq!(status, 204, "{head}");
        let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
        for part in ["httponly", "samesite=strict", "path=/", "max-age=28800"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        format!("Cookie: theme=dark; {}\r\n", cookie.split(';').next().unwrap())
    }

    /// Who did what, the oldest first.
    async fn audit(&self) -> Vec<(String, String)> {
        let sql = rusqlite::Connection::open(self.rig.store.path()).unwrap();
        let mut rows = sql.prepare("select who, what || ' ' || detail from audit order by rowid").unwrap();
        let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    }
}

/// Every call that changes something or takes raw bytes away.
const GUARDED: [&str; 19] = [
    "PUT /api/v1/assets/TRL-7",
    "DELETE /api/v1/assets/TRL-7",
    "POST /api/v1/assets/import",
    "POST /api/v1/assets/TRL-7/place",
    "POST /api/v1/scans",
    "POST /api/v1/letters/actions",
    "DELETE /api/v1/letters/actions/1",
    "POST /api/v1/identity/accept",
    "POST /api/v1/identity/retire",
    "POST /api/v1/purge",
    "POST /api/v1/rebuild",
    "GET /api/v1/identity",
    "GET /api/v1/assets/export",
    "GET /api/v1/letters/export",
    "GET /api/v1/logs/inbound",
    "GET /api/v1/captures/gps0",
    "GET /api/v1/ledger/walk",
    "GET /api/v1/ledger/close",
    "GET /api/v1/ledger/lanes",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_the_operator_may_do_wants_a_session_our_header_and_our_origin() {
    let mut yard = yard(Read::Open).await;
    let cookie = yard.cookie().await;
    for line in GUARDED {
        assert_eq!(yard.code(line, OURS, "{}").await, (401, "session_needed".into()), "{line}");
        let forged = format!("{OURS}Cookie: waypost_session=00000000000000000000000000000000\r\n");
        assert_eq!(yard.code(line, &forged, "{}").await.0, 401, "{line}");
        if line.starts_with("GET") {
            continue;
        }
        for (head, code) in [
            ("", "header_missing"),
            ("Origin: http://localhost:8080\r\n", "header_missing"),
            ("X-Waypost: 0\r\nOrigin: http://localhost:8080\r\n", "header_missing"),
            ("X-Waypost: 1\r\n", "foreign_origin"),
            ("X-Waypost: 1\r\nOrigin: null\r\n", "foreign_origin"),
            ("X-Waypost: 1\r\nOrigin: http://evil.example\r\n", "foreign_origin"),
            ("X-Waypost: 1\r\nOrigin: http://localhost\r\n", "foreign_origin"),
            ("X-Waypost: 1\r\nOrigin: http://localhost:8081\r\n", "foreign_origin"),
            ("X-Waypost: 1\r\nOrigin: http://localhost:8080.evil.example\r\n", "foreign_origin"),
            ("X-Waypost: 1\r\nOrigin: http://localhost:8080\r\nOrigin: http://evil.example\r\n", "foreign_origin"),
        ] {
            let said = yard.code(line, &format!("{head}{cookie}"), "{}").await;
            assert_eq!(said, (403, code.into()), "{line} {head}");
        }
    }
    assert!(yard.rig.orders.try_recv().is_err(), "nothing of it has reached the desk");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_the_pin_is_the_operator_until_they_end_it_and_stands_in_the_audit() {
    let mut yard = yard(Read::Open).await;
    assert_eq!(yard.ask("GET /api/v1/session", "", "").await.2, json!({ "pin": true, "operator": false }));
    assert_eq!(yard.code("POST /api/v1/session", OURS, r#"{"pin":"000000"}"#).await, (401, "wrong_pin".into()));
    let cookie = yard.cookie().await;
    let standing = yard.ask("GET /api/v1/session", &cookie, "").await.2;
    assert_eq!((&standing["operator"], &standing["pin"]), (&json!(true), &json!(true)));
    assert!((28_000..=28_800).contains(&standing["left_s"].as_i64().unwrap()), "{standing}");
    assert_eq!(yard.ask("GET /api/v1/captures/gps0", &cookie, "").await.0, 200);
    let all = format!("{OURS}{cookie}");
    let order = async {
        let (order, who, reply) = yard.rig.orders.recv().await.unwrap();
        drop(reply);
        (order, who)
    };
    let place = format!(
        "POST /api/v1/assets/TRL-7/place HTTP/1.1\r\nHost: localhost:8080\r\nConnection: close\r\n{all}Content-Length: 16\r\n\r\n{{\"place\":\"gate\"}}"
    );
    let socket = tokio::net::TcpStream::connect(yard.rig.addr).await.unwrap();
    let (_, (_, who)) = tokio::join!(super::rig::Client::ask(socket, &place), order);
    assert_eq!(who, "operator at 127.0.0.1");
    assert_eq!(yard.ask("DELETE /api/v1/session", &all, "").await.0, 204);
    assert_eq!(yard.code("GET /api/v1/captures/gps0", &cookie, "").await, (401, "session_needed".into()));
    let operator = || "operator at 127.0.0.1".to_owned();
    let somebody = || "somebody at 127.0.0.1".to_owned();
    assert_eq!(
        yard.audit().await,
        [
            (somebody(), "wrong_pin ".to_owned()),
            (somebody(), "session opened".to_owned()),
            (operator(), "session ended".to_owned())
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pin_is_not_guessed_and_what_comes_from_elsewhere_is_no_try() {
    let yard = yard(Read::Open).await;
    // A page of somebody else neither tries PINs nor closes the gate for the operator.
    for _ in 0..9 {
        let foreign = "X-Waypost: 1\r\nOrigin: http://evil.example\r\n";
        assert_eq!(yard.code("POST /api/v1/session", foreign, RIGHT).await, (403, "foreign_origin".into()));
        assert_eq!(yard.code("POST /api/v1/session", OURS, "{").await.0, 400);
    }
    let cookie = yard.cookie().await;
    for _ in 0..4 {
        assert_eq!(yard.code("POST /api/v1/session", OURS, r#"{"pin":"135790"}"#).await.0, 401);
    }
    let (status, head, said) = yard.ask("POST /api/v1/session", OURS, r#"{"pin":"135790"}"#).await;
    assert_eq!((status, &said["error"]["code"]), (429, &json!("too_many_tries")), "{head}");
    assert!(head.contains("retry-after: 900"), "{head}");
    assert_eq!(yard.code("POST /api/v1/session", OURS, RIGHT).await, (429, "too_many_tries".into()));
    assert_eq!(yard.ask("GET /api/v1/captures/gps0", &cookie, "").await.0, 200, "who is in stays in");
    let audit = yard.audit().await;
    assert_eq!(audit.iter().filter(|(_, what)| what.starts_with("wrong_pin")).count(), 5, "{audit:?}");
    assert!(!format!("{audit:?}").contains("135790"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_before_a_restart_opens_nothing() {
    let yard = yard(Read::Open).await;
    let cookie = yard.cookie().await;
    let http = Http { pin_file: yard.dir.path().join("pin"), ..http() };
    let after = Yard { rig: Rig::with(http, Limits::default()).await, dir: tempfile::tempdir().unwrap() };
    assert_eq!(after.code("GET /api/v1/captures/gps0", &cookie, "").await, (401, "session_needed".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_screen_behind_the_pin_shows_the_page_and_nothing_of_the_yard_without_a_session() {
    let yard = yard(Read::Pin).await;
    for path in ["/api/v1/snapshot", "/api/v1/stream", "/api/v1/assets", "/api/v1/nothing", "/api/v1/session/"] {
        assert_eq!(yard.code(&format!("GET {path}"), "", "").await, (401, "session_needed".into()), "{path}");
    }
    for path in ["/", "/livez", "/healthz"] {
        assert_eq!(yard.ask(&format!("GET {path}"), "", "").await.0, 200, "{path}");
    }
    let cookie = yard.cookie().await;
    assert_eq!(yard.ask("GET /api/v1/snapshot", &cookie, "").await.0, 200);
    let rebound = "GET /api/v1/snapshot HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n";
    assert_eq!(yard.rig.ask(&format!("{rebound}{cookie}\r\n")).await.status, 421);
    std::fs::remove_file(yard.dir.path().join("pin")).unwrap();
    assert_eq!(yard.code("GET /api/v1/snapshot", &cookie, "").await, (403, "pin_not_set".into()));
}
