//! What the tests share: a node as a process, ptys to feed it, its HTTP and its stream, a private broker.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// A condition that does not come true within this has failed: far beyond what any of them should take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `look` finds something; says `what` was missing when it never does.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// The binary under test.
pub fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_waypost"))
}

/// Runs a command of the binary to its end.
pub fn run(args: &[&str]) -> std::process::Output {
    binary().args(args).stdin(Stdio::null()).output().unwrap()
}

/// This machine's time. Seconds since 1970
pub fn now_s() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "certificates are made for the time of this machine")]
    let now = SystemTime::now();
    i64::try_from(now.duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// A node's folder: configuration, store, ports. Removed at the end.
pub struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    pub fn new() -> Self {
        Self::new_in(&std::env::temp_dir())
    }

    /// In a folder of its own below `parent`.
    pub fn new_in(parent: &Path) -> Self {
        let dir = tempfile::tempdir_in(parent).unwrap();
        std::fs::create_dir(dir.path().join("store")).unwrap();
        Self { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn config(&self) -> PathBuf {
        self.path("waypost.toml")
    }

    /// Writes the configuration: a node on this folder with a free port, and what the test adds.
    pub fn configure(&self, more: &str) {
        let store = self.path("store");
        let text = format!(
            "[node]\nid = \"wp-07\"\nsite = \"halden\"\n\n[store]\ndir = \"{}\"\n\n[http]\nlisten = [\"127.0.0.1:0\"]\n\n{more}",
            store.display()
        );
        std::fs::write(self.config(), text).unwrap();
    }

    pub fn start(&self) -> Node {
        self.start_with(&[])
    }

    /// Starts the node and waits until it says READY.
    pub fn start_with(&self, env: &[(&str, &str)]) -> Node {
        let mut node = self.launch(env);
        node.ready();
        node
    }

    /// Starts the node and does not wait.
    pub fn launch(&self, env: &[(&str, &str)]) -> Node {
        let socket = self.path("notify.sock");
        // A socket left by the node before this one is in the way.
        if socket.exists() {
            std::fs::remove_file(&socket).unwrap();
        }
        let notify = UnixDatagram::bind(&socket).unwrap();
        notify.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = binary();
        command.arg("--config").arg(self.config()).arg("run").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.env("NOTIFY_SOCKET", &socket).env_remove("WATCHDOG_USEC").env_remove("JOURNAL_STREAM");
        command.env("RUST_LOG", "info,rumqttc=error").envs(env.iter().copied());
        let child = command.spawn().unwrap();
        Node { child, notify, heard: Vec::new(), address: None, log: self.path("log") }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Runs a command against this configuration.
    pub fn ask(&self, args: &[&str]) -> std::process::Output {
        binary().arg("--config").arg(self.config()).args(args).stdin(Stdio::null()).output().unwrap()
    }
}

/// A running node. Killed when the test ends before it does.
pub struct Node {
    pub child: Child,
    notify: UnixDatagram,
    /// Every datagram heard on NOTIFY_SOCKET.
    pub heard: Vec<String>,
    address: Option<SocketAddr>,
    log: PathBuf,
}

impl Node {
    /// Hears what the node says to systemd within a fifth of a second; none when it says nothing.
    pub fn hear(&mut self) -> Option<String> {
        let mut bytes = [0; 4096];
        let n = self.notify.recv(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes[..n]).into_owned();
        self.heard.push(text.clone());
        Some(text)
    }

    /// Waits until it says READY.
    pub fn ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.address.is_none() {
            assert!(self.child.try_wait().unwrap().is_none(), "the node ended: {}", self.read_log());
            assert!(Instant::now() < deadline, "never ready: {}", self.read_log());
            let Some(text) = self.hear() else { continue };
            if text.contains("READY=1") {
                let url = text.split("://").nth(1).expect("READY names the screen");
                let end = url.find('/').expect("a URL ends with a slash");
                self.address = Some(url[..end].parse().unwrap());
            }
        }
    }

    fn read_log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn address(&self) -> SocketAddr {
        self.address.expect("the node is ready")
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: a signal to our own child, which is not yet waited for, so the pid is still its own.
        assert_eq!(unsafe { libc::kill(self.pid(), signal) }, 0);
    }

    /// SIGTERM, and how it ended.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(libc::SIGTERM);
        self.ended()
    }

    /// SIGKILL: no chance to say or write anything.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for the end of the process.
    pub fn ended(&mut self) -> ExitStatus {
        wait_for("the end of the node", || self.child.try_wait().unwrap())
    }

    /// GETs a path; the status and the body.
    pub fn get(&self, path: &str) -> (u16, String) {
        http(self.address(), path, "").unwrap_or_else(|e| panic!("GET {path}: {e}; log:\n{}", self.read_log()))
    }

    pub fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    pub fn ledger(&self) -> Value {
        self.json("/api/v1/ledger")
    }

    /// Opens the stream; `after` resumes from a cursor.
    pub fn stream(&self, after: Option<&str>) -> Stream {
        let query = after.map_or_else(String::new, |cursor| format!("?after={cursor}"));
        Stream::open(self.address(), &format!("/api/v1/stream{query}"), "")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            // The test is over: whether it can still be ended matters to nobody.
            drop(self.child.kill());
            drop(self.child.wait());
        }
        if std::thread::panicking() {
            eprintln!("the node's log:\n{}", self.read_log());
        }
    }
}

/// GETs over a connection of its own.
pub fn http(address: SocketAddr, path: &str, headers: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| std::io::Error::other("no end of headers"))?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let body =
        if head.to_ascii_lowercase().contains("transfer-encoding: chunked") { dechunk(body) } else { body.into() };
    Ok((status, body))
}

fn dechunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let n = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if n == 0 || rest.len() < n {
            break;
        }
        whole.push_str(&rest[..n]);
        body = rest[n..].trim_start_matches("\r\n");
    }
    whole
}

/// One message of the stream.
#[derive(Clone, Debug, Default)]
pub struct Message {
    pub event: String,
    pub id: Option<String>,
    pub data: Value,
}

/// An open stream.
pub struct Stream {
    reader: BufReader<TcpStream>,
    /// The cursor of the last event seen.
    pub cursor: Option<String>,
    /// Events of a message that nobody asked for yet.
    waiting: std::collections::VecDeque<Value>,
}

impl Stream {
    pub fn open(address: SocketAddr, path: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n{headers}\r\n").unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.contains(" 200 "), "{line}");
        while line.trim() != "" {
            line.clear();
            reader.read_line(&mut line).unwrap();
        }
        Self { reader, cursor: None, waiting: std::collections::VecDeque::new() }
    }

    /// The next message; none when the node has closed the stream. Chunk sizes between the lines are passed over.
    pub fn next(&mut self) -> Option<Message> {
        let mut message = Message::default();
        let mut data = String::new();
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end_matches(['\r', '\n']);
            if let Some(value) = line.strip_prefix("event: ") {
                message.event = value.into();
            } else if let Some(value) = line.strip_prefix("id: ") {
                message.id = Some(value.into());
            } else if let Some(value) = line.strip_prefix("data: ") {
                data.push_str(value);
            } else if line.is_empty() && !message.event.is_empty() {
                message.data = serde_json::from_str(&data).unwrap_or(Value::Null);
                if message.id.is_some() {
                    self.cursor.clone_from(&message.id);
                }
                return Some(message);
            }
        }
    }

    /// The next event for which `is_it` holds; what comes before is passed over.
    pub fn event(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            while let Some(event) = self.waiting.pop_front() {
                if is_it(&event) {
                    return event;
                }
            }
            let message = self.next().unwrap_or_else(|| panic!("the stream ended before {what}"));
            let items = message.data["items"].as_array().into_iter().flatten();
            self.waiting.extend(items.filter(|item| item["k"] == "event").map(|item| item["v"].clone()));
        }
        panic!("never came on the stream: {what}");
    }
}

/// A simulated port: the test holds the master, the node opens the link.
pub struct Pty {
    master: File,
    slave: Option<OwnedFd>,
    link: PathBuf,
}

impl Pty {
    /// Makes a pty in raw mode and links it. The slave stays open, so that the node may come and go.
    pub fn new(link: &Path) -> Self {
        let mut pty = Self::untouched(link);
        let name = std::ffi::CString::new(pty.path().to_str().unwrap()).unwrap();
        // SAFETY: the name ends with a zero byte; the descriptor is new and owned by nobody else. Zeroed termios is a value
        // that tcgetattr overwrites.
        unsafe {
            let slave = libc::open(name.as_ptr(), libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
            assert!(slave >= 0, "open the slave");
            let mut mode: libc::termios = std::mem::zeroed();
            assert_eq!(libc::tcgetattr(slave, &raw mut mode), 0);
            libc::cfmakeraw(&raw mut mode);
            assert_eq!(libc::tcsetattr(slave, libc::TCSANOW, &raw const mode), 0);
            pty.slave = Some(OwnedFd::from_raw_fd(slave));
        }
        if link.symlink_metadata().is_ok() {
            std::fs::remove_file(link).unwrap();
        }
        std::os::unix::fs::symlink(pty.path(), link).unwrap();
        pty
    }

    /// Makes a pty whose slave nobody has opened yet, without a link.
    pub fn untouched(link: &Path) -> Self {
        // No child that another test starts meanwhile may hold the master: then pulling the plug would not pull it.
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        // SAFETY: takes flags only; the descriptor is new and owned by nobody else once it is known to be one.
        let master = unsafe {
            let master = libc::posix_openpt(flags);
            assert!(master >= 0, "posix_openpt");
            File::from_raw_fd(master)
        };
        // SAFETY: the descriptor is an open master.
        let ready = unsafe { libc::grantpt(master.as_raw_fd()) == 0 && libc::unlockpt(master.as_raw_fd()) == 0 };
        assert!(ready, "unlockpt");
        Self { master, slave: None, link: link.to_owned() }
    }

    /// The slave's node.
    pub fn path(&self) -> PathBuf {
        let mut name = [0; 64];
        // SAFETY: the descriptor is an open master and the name has the length that is told.
        let failed = unsafe { libc::ptsname_r(self.master.as_raw_fd(), name.as_mut_ptr(), name.len()) };
        assert_eq!(failed, 0, "ptsname_r");
        // SAFETY: the call above has ended the name with a zero byte.
        unsafe { std::ffi::CStr::from_ptr(name.as_ptr()) }.to_str().unwrap().into()
    }

    /// The slave, while this holds it open.
    pub fn slave(&self) -> i32 {
        self.slave.as_ref().unwrap().as_raw_fd()
    }

    /// Holds the slave open no longer: the node does.
    pub fn let_go(&mut self) {
        self.slave = None;
    }

    pub fn master(&self) -> &File {
        &self.master
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.master.write_all(bytes).unwrap();
    }

    /// Pulls the plug.
    pub fn unplug(self) {
        assert!(self.is_linked(), "{} is another's by now", self.link.display());
    }

    /// Whether its link is its own: none is, or one that came after it.
    fn is_linked(&self) -> bool {
        std::fs::read_link(&self.link).is_ok_and(|target| target == self.path())
    }
}

impl Drop for Pty {
    /// Its number is the next pty's, of any program: a node that found the link then would take that one's line for itself.
    fn drop(&mut self) {
        if self.is_linked() {
            // With the folder of the test it may be gone already; then nobody finds it.
            drop(std::fs::remove_file(&self.link));
        }
    }
}

/// A sentence with its checksum.
pub fn sentence(body: &str) -> String {
    let sum = body.bytes().fold(0, |sum, byte| sum ^ byte);
    format!("${body}*{sum:02X}\r\n")
}

/// One epoch of RMC and GGA, `second` of a day in November 2026; the latitude tells the seconds apart.
pub fn epoch(second: u32) -> Vec<u8> {
    let time = format!("{:02}{:02}{:02}.00", second / 3600, second / 60 % 60, second % 60);
    let lat = format!("59{:08.5}", 7.0 + f64::from(second % 50_000) * 0.001);
    let rmc = sentence(&format!("GPRMC,{time},A,{lat},N,01123.25128,E,10.0,090.0,211126,,,A"));
    let gga = sentence(&format!("GPGGA,{time},{lat},N,01123.25128,E,1,09,0.9,12.3,M,46.9,M,,"));
    (rmc + &gga).into_bytes()
}

/// A private mosquitto on a loopback port.
pub struct Broker {
    pub port: u16,
    /// The largest packet it takes from its next start on; 0 for any. Bytes
    pub packet_max: u32,
    /// Publishes it takes at once from its next start on; 0 for any.
    pub window: u32,
    /// Whether, from its next start on, it runs only when nobody else wants a processor: as good as on a machine of its own.
    gives_way: bool,
    /// Further lines of its configuration.
    more: String,
    dir: tempfile::TempDir,
    child: Option<Child>,
}

impl Broker {
    /// None, said aloud, when mosquitto is not installed.
    pub fn start() -> Option<Self> {
        Self::start_with(0)
    }

    /// One that takes packets up to a size.
    pub fn start_with(packet_max: u32) -> Option<Self> {
        Self::start_as(packet_max, "")
    }

    /// One with these lines in its configuration: certificates, access rules.
    pub fn start_saying(more: &str) -> Option<Self> {
        Self::start_as(0, more)
    }

    fn start_as(packet_max: u32, more: &str) -> Option<Self> {
        if program("mosquitto").is_none() {
            eprintln!("SKIPPED: mosquitto is not installed; `make test` installs it");
            return None;
        }
        let mut broker = Self {
            port: free_port(),
            packet_max,
            window: 20,
            gives_way: false,
            more: more.to_owned(),
            dir: tempfile::tempdir().unwrap(),
            child: None,
        };
        broker.up();
        Some(broker)
    }

    /// From now on it runs only when nobody else wants a processor.
    pub fn give_way(&mut self) {
        self.gives_way = true;
        let Some(child) = &self.child else { return };
        let idle = libc::sched_param { sched_priority: 0 };
        // SAFETY: of our own child, which is not waited for yet; a number goes in.
        let done = unsafe { libc::sched_setscheduler(child.id().cast_signed(), libc::SCHED_IDLE, &raw const idle) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }

    /// Starts it, or starts it again with what it had kept.
    pub fn up(&mut self) {
        let conf = self.dir.path().join("mosquitto.conf");
        let size = if self.packet_max > 0 { format!("max_packet_size {}\n", self.packet_max) } else { String::new() };
        let text = format!(
            "{size}listener {} 127.0.0.1\nallow_anonymous true\nuser root\nmax_inflight_messages {}\npersistence true\npersistence_location {}/\nmax_queued_messages 1000000\n{}",
            self.port,
            self.window,
            self.dir.path().display(),
            self.more
        );
        std::fs::write(&conf, text).unwrap();
        let child =
            Command::new(program("mosquitto").unwrap()).arg("-c").arg(conf).stderr(Stdio::null()).spawn().unwrap();
        self.child = Some(child);
        if self.gives_way {
            self.give_way();
        }
        let port = self.port;
        wait_for("the broker", || TcpStream::connect(("127.0.0.1", port)).ok());
    }

    /// SIGTERM: it writes what it has and goes.
    pub fn down(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // SAFETY: a signal to our own child, which is not yet waited for.
        unsafe { libc::kill(i32::try_from(child.id()).unwrap(), libc::SIGTERM) };
        child.wait().unwrap();
    }

    /// SIGKILL: what it has not written is gone.
    pub fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // The test is over: whether it can still be ended matters to nobody.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Where a program is installed.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/bin".into()]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

pub fn free_port() -> u16 {
    let [port] = free_ports();
    port
}

/// As many, each of its own.
pub fn free_ports<const N: usize>() -> [u16; N] {
    // All are held until the last is found: the kernel may give a port anew as soon as it is let go.
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

/// The sum of the metric's series that carry every one of the labels, each written as `name="value"`.
pub fn metric(node: &Node, name: &str, labels: &[&str]) -> f64 {
    let (status, text) = node.get("/metrics");
    assert_eq!(status, 200, "{text}");
    let series = text.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' '])) && labels.iter().all(|label| line.contains(label))
    });
    series.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// Asserts the identities of the ledger, per source and of the node, and that the node finds none broken itself.
pub fn balanced(node: &Node) -> Value {
    let ledger = node.ledger();
    let sum = |counts: &Value, names: &[&str]| names.iter().map(|name| counts[name].as_i64().unwrap()).sum::<i64>();
    for (source, counts) in ledger["sources"].as_object().unwrap() {
        let outcomes = ["stored", "repeat", "duplicate", "no_fix", "thinned", "rejected", "test"];
        assert_eq!(counts["frames"], sum(counts, &outcomes), "{source}: {counts}");
    }
    let events = ["unsent", "sent", "sent_unheard", "local", "dead", "discarded", "lost"];
    assert_eq!(ledger["events"]["total"], sum(&ledger["events"], &events), "{ledger}");
    let letters = ["open", "retried", "discarded", "expired", "sampled"];
    assert_eq!(ledger["letters"]["total"], sum(&ledger["letters"], &letters), "{ledger}");
    assert_eq!(ledger["balance"], 0, "{ledger}");
    let (_, text) = node.get("/metrics");
    assert!(text.lines().any(|line| line == "waypost_ledger_imbalance 0"), "{text}");
    ledger
}

/// What a command printed.
pub fn stdout(output: &std::process::Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a command said on the side.
pub fn stderr(output: &std::process::Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A file of this repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Plays a log onto a link with the simulator, as fast as the line takes it, and unplugs; the bytes that were sent.
pub fn play(link: &Path, log: &Path) -> u64 {
    let mut command = binary();
    command.args(["simulate", "gps", "--time", "recorded", "--rate", "200", "--at-end", "unplug", "--seed", "1"]);
    let output = command.arg("--link").arg(link).arg("--log").arg(log).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let said = stdout(&output);
    let bytes = |what: &str| -> u64 {
        let before = said.split(what).next().unwrap();
        before.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert_eq!(bytes(" bytes nobody read"), 0, "{said}");
    bytes(" bytes sent")
}

/// Dice that fall alike in every run: each roll answers 0..n.
pub fn dice(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed | 1;
    move |n| {
        // xorshift64: good enough to choose moments by.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % n
    }
}

/// Whether the faults are tried in full size, as the promise has them; `make faults` asks for it.
pub fn full() -> bool {
    std::env::var("WAYPOST_FAULTS").is_ok_and(|size| size == "full")
}

/// As [`wait_for`], with a deadline of its own.
pub fn wait_within<T>(within: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// GETs a path and gives up after `within`: for a node that may be in any state.
pub fn try_get(address: SocketAddr, path: &str, within: Duration) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, within).ok()?;
    stream.set_read_timeout(Some(within)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    head.contains(" 200 ")
        .then(|| if head.to_ascii_lowercase().contains("chunked") { dechunk(body) } else { body.into() })
}

impl Site {
    /// The events of the store of a node that has ended, by `outbox export`; asks for no gap in `seq` on the way.
    pub fn exported(&self) -> Vec<Value> {
        let out = self.ask(&["outbox", "export"]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let lines = String::from_utf8(out.stdout).unwrap();
        let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for (at, event) in events.iter().enumerate() {
            assert_eq!(event["seq"].as_u64(), Some(at as u64 + 1), "seq is dense");
        }
        events
    }

    /// The events that `outbox export --unsent` names.
    pub fn unsent(&self) -> usize {
        let out = self.ask(&["outbox", "export", "--unsent"]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().lines().count()
    }

    /// A scanner on a loopback port that answers each frame; its scans put things at a dock.
    pub fn dock(port: u16) -> String {
        format!(
            "[[scanner]]\nid = \"dock\"\nport = \"tcp-listen://127.0.0.1:{port}\"\nplace = \"dock-1\"\nreply = true\nrepeat_window_ms = 0\n\n"
        )
    }

    /// An uplink to a loopback port that comes back as fast as the settings allow.
    pub fn uplink(port: u16, no_subscriber: &str) -> String {
        format!(
            "[uplink]\nurl = \"mqtt://127.0.0.1:{port}\"\nno_subscriber = \"{no_subscriber}\"\nbackoff_max_s = 5\nbackoff_spread_s = 0\n\n"
        )
    }
}

impl Pty {
    /// Writes as far as there is room and answers how far: a node that does not read never holds up the test.
    pub fn offer(&mut self, bytes: &[u8]) -> usize {
        let fd = self.master.as_raw_fd();
        // SAFETY: the descriptor is open for as long as `self` is, and fcntl touches no memory of ours.
        unsafe {
            let flags = libc::fcntl(fd, libc::F_GETFL);
            assert!(libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) >= 0);
        }
        self.master.write(bytes).unwrap_or_else(|error| {
            assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}");
            0
        })
    }
}
