//! Asks a running node over its control socket.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::{Done, Failure, exit, load, print};
use crate::app::control_path;

/// An answer larger than this is not read on. Bytes.
const ANSWER_MAX: u64 = 64 << 20;
/// A node that says nothing for so long is not well.
const PATIENCE: Duration = Duration::from_secs(10);

/// A node that runs, as far as the commands need it.
pub(super) struct Running {
    socket: PathBuf,
}

impl Running {
    /// The running node of this configuration; none when no socket answers.
    pub(super) fn find(config: &Path) -> Result<Option<Self>, Failure> {
        for socket in sockets(config)? {
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
    pub(super) fn get(&self, path: &str) -> Result<Value, Failure> {
        let (status, body) = self.exchange(path)?;
        let value: Value = serde_json::from_str(&body).map_err(|error| {
            Failure::new(exit::INTERNAL, format!("the node's answer to {path} is no JSON: {error}"))
        })?;
        if status != 200 {
            let message = value["error"]["message"].as_str().unwrap_or("no reason given");
            return Err(Failure::new(exit::NOT_WELL, format!("{path}: {status}: {message}")));
        }
        Ok(value)
    }

    fn exchange(&self, path: &str) -> Result<(u16, String), Failure> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        write!(stream, "GET /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(ANSWER_MAX).read_to_string(&mut answer)?;
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .ok_or_else(|| Failure::new(exit::INTERNAL, format!("the node cut its answer to {path} short")))?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Ok((status, body.to_owned()))
    }
}

/// Where a node may be found: where systemd puts it, and beside its store.
fn sockets(config: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = vec![PathBuf::from("/run/waypost/control.sock")];
    if config != Path::new(crate::config::DEFAULT_FILE) {
        found.clear();
    }
    found.push(control_path(&load(config)?.config.store.dir));
    Ok(found)
}

/// `waypost status`
pub(super) fn status(config: &Path, json: bool) -> Done {
    let Some(node) = Running::find(config)? else {
        let text = "no waypost runs with this configuration; start it with `systemctl start waypost` or `waypost run`";
        return Err(Failure::new(exit::UNAVAILABLE, text));
    };
    let health = node.get("/health")?;
    if json {
        print(&format!("{health:#}\n"))?;
    } else {
        print(&words(&health))?;
    }
    let well = health["status"] == "ok";
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::from(exit::NOT_WELL) })
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
    for state in health["states"].as_array().into_iter().flatten() {
        let v = &state["v"];
        let advice = v["advice"].as_str().map_or_else(String::new, |advice| format!("; {advice}"));
        match state["k"].as_str() {
            Some("source") => {
                line(
                    "source",
                    format!("{} {} {}{advice}", text_of(&v["id"]), text_of(&v["state"]), text_of(&v["port"])),
                );
            }
            Some("uplink") if v["configured"] == true => {
                let error = v["last_error"].as_str().unwrap_or_default();
                line("uplink", format!("{} {} {error}", text_of(&v["state"]), text_of(&v["url"])));
            }
            Some("disk") => {
                let mib = |value: &Value| value.as_u64().unwrap_or(0) >> 20;
                let (db, wal, free) = (mib(&v["db_bytes"]), mib(&v["wal_bytes"]), mib(&v["free_bytes"]));
                line("disk", format!("{db} MiB stored, {wal} MiB WAL, {free} MiB free"));
            }
            Some("clock") => line("clock", text_of(&v["tq"])),
            Some("alarm") => line("alarm", format!("{}{advice}", text_of(&v["text"]))),
            Some("worker") if v["state"] != "fresh" && v["state"] != "ended" => {
                line(
                    "worker",
                    format!("{} {} {}", text_of(&v["worker"]), text_of(&v["state"]), text_of(&v["last_reason"])),
                );
            }
            _ => {}
        }
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
