//! Asks a running node over its control socket.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::door::Door;
use super::order::{Request, worded};
use super::progress::Progress;
use super::run::likely_store_dir;
use super::{Done, Failure, exit, load, print};
use crate::app::control_path;

/// An answer larger than this is not read on. Bytes.
const ANSWER_MAX: u64 = 64 << 20;
/// A node that says nothing for so long is not well.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is asked for may take a list of 2 MiB and a slow card; the node answers sooner.
const ORDER_PATIENCE: Duration = Duration::from_secs(60);
/// What stands beside the calls of `/api/v1`, not among them.
const BESIDE: [&str; 1] = ["/metrics"];
/// Between two looks at how far such work is.
const LOOK_EVERY: Duration = Duration::from_millis(250);
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

    /// The process that made the socket; none when the kernel does not say.
    pub(super) fn pid(&self) -> Option<u32> {
        let stream = UnixStream::connect(&self.socket).ok()?;
        let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
        let mut length = libc::socklen_t::try_from(size_of::<libc::ucred>()).ok()?;
        // SAFETY: the descriptor is open for the length of the call, and `peer` has the length that is told.
        let failed = unsafe {
            let (level, name) = (libc::SOL_SOCKET, libc::SO_PEERCRED);
            libc::getsockopt(stream.as_raw_fd(), level, name, (&raw mut peer).cast(), &raw mut length)
        };
        u32::try_from(peer.pid).ok().filter(|pid| failed == 0 && *pid > 0)
    }

    /// GETs a path below `/api/v1`, or one that stands beside it.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        understood(path, &self.text(path)?)
    }

    /// As [`Running::get`], the answer as it stands.
    pub(super) fn text(&self, path: &str) -> Result<String, Failure> {
        let request = Request { method: "GET", path: path.to_owned(), ..Request::default() };
        self.exchange(&request, PATIENCE)
    }

    /// POSTs to a path below `/api/v1`, for work that takes as long as the log is, and tells a terminal how far the job is.
    pub(super) fn post<T: DeserializeOwned>(&self, path: &str, job: &str, unit: &'static str) -> Result<T, Failure> {
        let request = Request { method: "POST", path: path.to_owned(), ..Request::default() };
        let mut progress = Progress::new(unit);
        let answer = std::thread::scope(|threads| {
            let asked = threads.spawn(|| self.exchange(&request, WORK_PATIENCE));
            while progress.is_watched() && !asked.is_finished() {
                if let Some((done, of)) = self.job(job) {
                    progress.tell(done, of);
                }
                std::thread::sleep(LOOK_EVERY);
            }
            asked.join().unwrap_or_else(|_| Err(Failure::new(exit::INTERNAL, "asking the node hit a bug")))
        })?;
        progress.end();
        understood(path, &answer)
    }

    /// How far a job of the node is, and of how much; none when it does not run, or the node is too busy to say.
    fn job(&self, job: &str) -> Option<(u64, Option<u64>)> {
        let health: Value = self.get("/health").ok()?;
        let running = health["jobs"].as_array()?.iter().find(|one| one["job"] == job)?;
        Some((running["done"].as_u64()?, running["total"].as_u64()))
    }

    /// Asks for something to be done; answers what became of it.
    pub(super) fn ask(&self, request: &Request) -> Result<Value, Failure> {
        understood(&request.path, &self.exchange(request, ORDER_PATIENCE)?)
    }

    fn exchange(&self, request: &Request, patience: Duration) -> Result<String, Failure> {
        let (status, body) = self.try_exchange(request, patience).map_err(|error| {
            let text =
                format!("the node went away while it was asked ({}: {error}); see its log", self.socket.display());
            Failure::new(exit::UNAVAILABLE, text)
        })?;
        if matches!(status, 200 | 202) {
            return Ok(body);
        }
        let value: Value = serde_json::from_str(&body).unwrap_or_default();
        let error = &value["error"];
        let findings: Vec<String> = error["findings"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| Some(one.as_str()?.to_owned()))
            .collect();
        let (message, hint) = (error["message"].as_str(), error["hint"].as_str().unwrap_or_default());
        let code = exit_of(status, error["code"].as_str().unwrap_or_default());
        Err(Failure::new(code, worded(message.unwrap_or("no reason given"), &findings, hint)))
    }

    fn try_exchange(&self, request: &Request, patience: Duration) -> io::Result<(u16, String)> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let Request { method, path, mime, head: more, body } = request;
        let below = if BESIDE.contains(&path.as_str()) { "" } else { "/api/v1" };
        let mut head = format!("{method} {below}{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}");
        if !body.is_empty() {
            head.push_str(&format!("Content-Type: {mime}\r\nContent-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        // A node that answers before it has read all of it closes with a reset; an answer that is whole is an answer.
        let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        let mut answer = String::new();
        let read = stream.take(ANSWER_MAX).read_to_string(&mut answer);
        if !is_whole(&answer) {
            sent.and(read.map(drop))?;
        }
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .ok_or_else(|| io::Error::other(format!("its answer to {path} is cut short")))?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Ok((status, body.to_owned()))
    }
}

/// How a command ends that the node refused.
fn exit_of(status: u16, code: &str) -> u8 {
    match (status, code) {
        (_, "already_running") => exit::BUSY,
        (403, _) => exit::NOT_ALLOWED,
        (503, _) => exit::IO,
        _ => exit::NOT_WELL,
    }
}

/// Whether an answer has come to the end that its head names.
fn is_whole(answer: &str) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    length == Some(body.len())
}

fn understood<T: DeserializeOwned>(path: &str, body: &str) -> Result<T, Failure> {
    serde_json::from_str(body).map_err(|error| {
        Failure::new(exit::INTERNAL, format!("the node's answer to {path} cannot be understood: {error}"))
    })
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
        let text = format!(
            "no waypost runs with {}; start it with `systemctl start waypost` or `waypost run`, or name another \
             configuration with --config",
            config.display()
        );
        return Err(Failure::new(exit::UNAVAILABLE, text));
    };
    let health: Value = node.get("/health")?;
    if json {
        print(&format!("{health:#}\n"))?;
    } else {
        let config = load(config).ok().map(|loaded| loaded.config);
        let door = Door::find(config.as_ref(), Some(&health));
        print(&words(&health, door.as_ref()))?;
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

/// Whose word the time is, and what that is worth where it is not much.
fn time_by(clock: &Value) -> String {
    let tq = clock["tq"].as_str().unwrap_or_default();
    let by = clock["by"].as_str().map(|by| format!(" by {by}")).unwrap_or_default();
    let doubt = match tq {
        "rtc" => ": plausible, but neither a receiver nor NTP vouches for it",
        "none" => ": nothing vouches for the time",
        _ => "",
    };
    format!("{tq}{by}{doubt}")
}

fn words(health: &Value, door: Option<&Door>) -> String {
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
    if let Some(door) = door {
        line("screen", door.line());
    }
    let each = |list: &str| health[list].as_array().cloned().unwrap_or_default();
    for v in each("sources") {
        let advice = advice_of(&v);
        line("source", format!("{} {} {}{advice}", text_of(&v["id"]), text_of(&v["state"]), text_of(&v["port"])));
    }
    let v = &health["uplink"];
    if v["configured"] == true {
        // Of a connection that stands, the last error is that of a try before it.
        let error = v["last_error"].as_str().filter(|_| v["state"] != "connected").unwrap_or_default();
        line("uplink", format!("{} {} {error}", text_of(&v["state"]), text_of(&v["url"])).trim_end().to_owned());
    }
    let v = &health["disk"];
    if v.is_object() {
        let mib = |value: &Value| value.as_u64().unwrap_or(0) >> 20;
        let (db, wal, free) = (mib(&v["db_bytes"]), mib(&v["wal_bytes"]), mib(&v["free_bytes"]));
        let archive = mib(&v["archive_bytes"]);
        let used = format!("{} % of its room used", v["used_pct"]);
        line("disk", format!("{used}: {db} MiB stored, {wal} MiB WAL, {archive} MiB archive; {free} MiB free"));
        if let Some(s) = v["autonomy_s"].as_u64() {
            line("", format!("{} without the platform at the present rate", days(s)));
        }
        if let (Some(years), Some(day)) = (v["card_years"].as_f64(), v["written_per_day"].as_u64()) {
            let (tbw, mib) = (&v["card_tbw"], day >> 20);
            line("", format!("{mib} MiB written a day: a card of {tbw} TBW would last {years} years of it"));
        }
    }
    if health["clock"].is_object() {
        line("clock", time_by(&health["clock"]));
        if let Some(text) = health["clock"]["text"].as_str() {
            line("", text.to_owned());
        }
    }
    for v in each("alarms") {
        line("alarm", text_of(&v["text"]));
        line("", format!("-> {}", text_of(&v["advice"])));
    }
    for v in each("workers").iter().filter(|v| v["state"] != "fresh" && v["state"] != "ended") {
        line("worker", format!("{} {} {}", text_of(&v["worker"]), text_of(&v["state"]), text_of(&v["last_reason"])));
    }
    for v in each("jobs").iter().filter(|v| v["state"] == "running") {
        let of = v["total"].as_u64().map_or_else(String::new, |total| format!(" of {total}"));
        line("job", format!("{}: {}{of} done", text_of(&v["job"]), v["done"]));
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

/// A span in the words of people: days and hours.
fn days(s: u64) -> String {
    let (days, hours) = (s / 86_400, s / 3_600 % 24);
    if days > 0 { format!("{days} days {hours} h") } else { format!("{hours} h {} min", s / 60 % 60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_runs_already_ends_a_command_as_a_store_in_use_does_whatever_its_status() {
        assert_eq!([409, 503].map(|status| exit_of(status, "already_running")), [exit::BUSY; 2]);
        assert_eq!(exit_of(409, "count_changed"), exit::NOT_WELL);
        assert_eq!(exit_of(503, "store_unavailable"), exit::IO);
        assert_eq!(exit_of(403, "pin_not_set"), exit::NOT_ALLOWED);
    }
}
