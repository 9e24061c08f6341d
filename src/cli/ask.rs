//! Asks a running node over its control socket.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::run::likely_store_dir;
use super::{Done, Failure, exit, load, print};
use crate::app::control_path;

/// An answer larger than this is not read on. Bytes.
const ANSWER_MAX: u64 = 64 << 20;
/// A node that says nothing for so long is not well.
const PATIENCE: Duration = Duration::from_secs(10);
/// Work on the whole log takes longer: a million events on a slow card.
const WORK_PATIENCE: Duration = Duration::from_secs(600);

/// A node that runs, as far as the commands need it.
pub(super) struct Running {
    socket: PathBuf,
}

impl Running {
    /// The running node of this configuration; none when no socket answers.
    pub(super) fn find(config: &Path) -> Result<Option<Self>, Failure> {
        for socket in sockets(config) {
            match UnixStream::connect(&socket) {
                Ok(_) => return Ok(Some(Self { socket })),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    let text =
                        format!("{}: {error}; run it as root or as a member of the group waypost", socket.display());
                    return Err(Failure::new(exit::NOT_ALLOWED, text));
                }
                // Not there, or left behind by a node that was killed: nobody answers.
                Err(_) => {}
            }
        }
        Ok(None)
    }

    /// GETs a path below `/api/v1`.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.call("GET", path, PATIENCE)
    }

    /// POSTs to a path below `/api/v1`, for work that takes as long as the log is.
    pub(super) fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.call("POST", path, WORK_PATIENCE)
    }

    fn call<T: DeserializeOwned>(&self, method: &str, path: &str, patience: Duration) -> Result<T, Failure> {
        let (status, body) = self.exchange(method, path, patience).map_err(|error| {
            let text =
                format!("the node went away while it was asked ({}: {error}); see its log", self.socket.display());
            Failure::new(exit::UNAVAILABLE, text)
        })?;
        if status != 200 {
            let value: Value = serde_json::from_str(&body).unwrap_or_default();
            let message = value["error"]["message"].as_str().unwrap_or("no reason given");
            return Err(Failure::new(exit::NOT_WELL, format!("{path}: {status}: {message}")));
        }
        serde_json::from_str(&body).map_err(|error| {
            Failure::new(exit::INTERNAL, format!("the node's answer to {path} cannot be understood: {error}"))
        })
    }

    fn exchange(&self, method: &str, path: &str, patience: Duration) -> io::Result<(u16, String)> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        write!(stream, "{method} /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(ANSWER_MAX).read_to_string(&mut answer)?;
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .ok_or_else(|| io::Error::other(format!("its answer to {path} is cut short")))?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Ok((status, body.to_owned()))
    }
}

/// Where a node may be found: where systemd puts it, and beside its store.
fn sockets(config: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("/run/waypost/control.sock")];
    if config != Path::new(crate::config::DEFAULT_FILE) {
        found.clear();
    }
    // A node that runs on its last good configuration is asked just then when the files are invalid.
    let dir = load(config).map_or_else(|_| likely_store_dir(config), |loaded| loaded.config.store.dir);
    found.push(control_path(&dir));
    found
}

/// `waypost status`
pub(super) fn status(config: &Path, json: bool) -> Done {
    let Some(node) = Running::find(config)? else {
        let text = "no waypost runs with this configuration; start it with `systemctl start waypost` or `waypost run`";
        return Err(Failure::new(exit::UNAVAILABLE, text));
    };
    let health: Value = node.get("/health")?;
    if json {
        print(&format!("{health:#}\n"))?;
    } else {
        print(&words(&health))?;
    }
    let well = health["status"] == "ok";
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::from(exit::NOT_WELL) })
}

/// What to do about a state, to be put behind it.
fn advice_of(state: &Value) -> String {
    state["advice"]
        .as_str()
        .filter(|advice| !advice.is_empty())
        .map_or_else(String::new, |advice| format!("; {advice}"))
}

fn words(health: &Value) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let text_of = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut line = |what: &str, how: String| {
        // Writing into a string cannot fail.
        writeln!(text, "{what:<10} {how}").unwrap_or_default();
    };
    line(
        "node",
        format!("{} {} {}", text_of(&health["node"]), text_of(&health["version"]), text_of(&health["status"])),
    );
    for reason in health["reasons"].as_array().into_iter().flatten() {
        line("", text_of(reason));
    }
    let each = |list: &str| health[list].as_array().cloned().unwrap_or_default();
    for v in each("sources") {
        let advice = advice_of(&v);
        line("source", format!("{} {} {}{advice}", text_of(&v["id"]), text_of(&v["state"]), text_of(&v["port"])));
    }
    let v = &health["uplink"];
    if v["configured"] == true {
        let error = v["last_error"].as_str().unwrap_or_default();
        line("uplink", format!("{} {} {error}", text_of(&v["state"]), text_of(&v["url"])).trim_end().to_owned());
    }
    let v = &health["disk"];
    if v.is_object() {
        let mib = |value: &Value| value.as_u64().unwrap_or(0) >> 20;
        let (db, wal, free) = (mib(&v["db_bytes"]), mib(&v["wal_bytes"]), mib(&v["free_bytes"]));
        line("disk", format!("{db} MiB stored, {wal} MiB WAL, {free} MiB free"));
    }
    if health["clock"].is_object() {
        line("clock", text_of(&health["clock"]["tq"]));
    }
    for v in each("alarms") {
        line("alarm", format!("{}{}", text_of(&v["text"]), advice_of(&v)));
    }
    for v in each("workers").iter().filter(|v| v["state"] != "fresh" && v["state"] != "ended") {
        line("worker", format!("{} {} {}", text_of(&v["worker"]), text_of(&v["state"]), text_of(&v["last_reason"])));
    }
    let ledger = &health["ledger"];
    let (events, letters) = (&ledger["events"], &ledger["letters"]);
    line("events", format!("{} stored, {} unsent, {} dead", events["total"], events["unsent"], events["dead"]));
    line("letters", format!("{} open", letters["open"]));
    let balance =
        if ledger["balance"] == 0 { "balances".to_owned() } else { format!("is off by {}", ledger["balance"]) };
    line("ledger", balance);
    text
}
