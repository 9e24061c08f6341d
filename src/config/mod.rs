//! What the node is told: the checked configuration. Files are read, merged and checked in `load`; nothing here is checked again.

#[cfg(test)]
#[path = "../../tests/it/ca.rs"]
pub(crate) mod ca;
mod check;
mod door;
mod finding;
mod kept;
mod known;
mod load;
#[cfg(test)]
mod load_tests;
mod machine;
mod merged;
mod motion;
mod papers;
mod port;
mod reader;
mod sources;
mod text;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use finding::{Finding, Invalid, nearest};
pub use kept::{KEPT_FILE, keep_last_good, last_good, named_store_dir};
pub use known::{PACKAGED, defaults_text};
pub use load::{DEFAULT_FILE, Loaded, load, parse_text, scanner_profile};
pub use machine::Machine;
pub use merged::MergedDoc;
pub use motion::MotionLimits;
pub use papers::{Marks, PaperFault, Papers, Term, is_pin, password, pin};
pub use {check::is_id, door::tunnel};

/// The whole checked configuration; `Config::default()` is a node with no inputs and no upstream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// `[node]`
    pub node: Node,
    /// `[store]`
    pub store: Store,
    /// `[http]`
    pub http: Http,
    /// `[uplink]`; none is a node without upstream.
    pub uplink: Option<Uplink>,
    /// `[[gps]]`, those that are enabled, in file order.
    pub gps: Vec<Gps>,
    /// `[[scanner]]`, those that are enabled, in file order.
    pub scanners: Vec<Scanner>,
    /// `[assets]`
    pub assets: Assets,
    /// `[plan]`
    pub plan: Plan,
    /// `[motion]`
    pub motion: MotionLimits,
    /// A digest of the merged configuration: 16 hex digits; the `config` of the status message.
    pub digest: String,
}

/// Who this node is.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// `[A-Za-z0-9_-]{1,64}`
    pub id: String,
    /// Same charset.
    pub site: String,
    /// For people.
    pub name: String,
    /// IANA name; display only.
    pub time_zone: String,
}

/// Where the truth lies.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    /// Folder of `waypost.db`.
    pub dir: PathBuf,
    /// Days an event stays before it is archived. 1..=3650.
    pub retention_days: u32,
    /// Days an archive stays; 0 is no archive.
    pub archive_days: u32,
    /// Room for all files of the store together. MiB, 64 at least.
    pub max_mib: u64,
    /// What goes as room ends.
    pub full_policy: FullPolicy,
    /// How long a fix may wait to share a commit.
    pub fix_group: Duration,
}

/// What goes as room ends, before intake is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullPolicy {
    /// Archives and sent rows, then fixes are thinned.
    ThinFixes,
    /// Archives and sent rows only.
    Refuse,
}

/// The screen's door.
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// Where it listens; never empty.
    pub listen: Vec<Listen>,
    /// Further names it is reached by.
    pub hosts: Vec<String>,
    /// Whether reading needs the PIN.
    pub read: Read,
    /// Where the operator PIN is; without that file there is none. A node with configuration and store in folders of its own has
    /// it beside its store.
    pub pin_file: PathBuf,
    /// Streams at once. 1..=4096.
    pub max_streams: usize,
    /// Certificate chain and key, PEM; both or none.
    pub tls: Option<(PathBuf, PathBuf)>,
}

impl Http {
    /// The address of the screen at a socket, as a browser takes it.
    #[must_use]
    pub fn url(&self, at: SocketAddr) -> String {
        format!("{}://{at}/", if self.tls.is_some() { "https" } else { "http" })
    }
}

/// One listening address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address and port; port 0 takes a free one.
    Addr(SocketAddr),
    /// Every address of an interface, e.g. `wlan0:8080`.
    Interface(String, u16),
}

/// Who may read the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// Everybody who reaches it.
    Open,
    /// Who has the PIN.
    Pin,
}

/// The way to the platform.
#[derive(Clone, Debug, PartialEq)]
pub struct Uplink {
    /// Whether `url` is `mqtts://`.
    pub tls: bool,
    /// Broker name or address.
    pub host: String,
    /// Broker port.
    pub port: u16,
    /// 5 or 3.1.1.
    pub protocol: Protocol,
    /// First topic level(s), without slash at the ends.
    pub prefix: String,
    /// MQTT client id.
    pub client_id: String,
    /// MQTT user name.
    pub username: Option<String>,
    /// File with the password; read at each connect.
    pub password_file: Option<PathBuf>,
    /// CA certificates, PEM; none is the system's.
    pub ca_file: Option<PathBuf>,
    /// Client certificate and key, PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Publishes in flight. 1..=1000.
    pub window: u16,
    /// MQTT keep alive; 5 s at least.
    pub keep_alive: Duration,
    /// What counts when nobody subscribes.
    pub no_subscriber: NoSubscriber,
    /// Where a new uplink begins.
    pub send_from: SendFrom,
    /// Longest wait between tries.
    pub backoff_max: Duration,
    /// The first retry after a lost connection is random within this.
    pub backoff_spread: Duration,
    /// Between health messages; zero is off.
    pub health: Duration,
    /// Publishes per second; 0 is no ceiling.
    pub max_per_s: u32,
    /// MiB per day; 0 is no budget.
    pub mib_per_day: u32,
    /// How long scans without trusted time wait for one; at most 600 s.
    pub hold_untrusted: Duration,
    /// Whether retention keeps what the centre has not confirmed.
    pub confirm: bool,
    /// Whether Home Assistant is told how to find the node and its assets.
    pub homeassistant: bool,
}

/// MQTT version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// MQTT 5
    V5,
    /// MQTT 3.1.1: a broker that throws a message away cannot say so.
    V311,
}

/// What a publish that nobody subscribes to counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSubscriber {
    /// Sent, in a column of its own.
    Accept,
    /// It waits, and the screen says so.
    Hold,
}

/// Where a new uplink begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendFrom {
    /// With the oldest event kept.
    Kept,
    /// With the next event.
    Now,
}

/// Where bytes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// A tty or pty.
    Serial(PathBuf),
    /// We connect: host, port.
    Tcp(String, u16),
    /// They connect to us.
    TcpListen(SocketAddr),
    /// Datagrams to us.
    UdpListen(SocketAddr),
    /// gpsd's JSON: host, port, and the device to listen to; none is the first that has a fix.
    Gpsd(String, u16, Option<String>),
    /// A file, read once to its end.
    File(PathBuf),
    /// A keyboard scanner: the input device.
    Hid(PathBuf),
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Serial(path) => write!(f, "{}", path.display()),
            Self::Tcp(host, port) if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "tcp://{host}:{port}"),
            Self::TcpListen(addr) => write!(f, "tcp-listen://{addr}"),
            Self::UdpListen(addr) => write!(f, "udp-listen://{addr}"),
            Self::Gpsd(host, port, device) => {
                let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
                write!(f, "gpsd://{open}{host}{close}:{port}")?;
                device.as_ref().map_or(Ok(()), |device| write!(f, "?device={device}"))
            }
            Self::File(path) => write!(f, "file://{}", path.display()),
            Self::Hid(path) => write!(f, "hid://{}", path.display()),
        }
    }
}

/// How a tty is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Bits per second, 4800..=921600; none is to be found out.
    pub baud: Option<u32>,
    /// Data bits, parity, stop bits as in `8N1`.
    pub serial: (u8, Parity, u8),
}

/// Parity bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    /// `N`
    None,
    /// `E`
    Even,
    /// `O`
    Odd,
}

/// One receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct Gps {
    /// `[A-Za-z0-9_-]{1,64}`, unique among all sources.
    pub id: String,
    /// Where its bytes come from.
    pub port: Port,
    /// How its tty is set.
    pub line: Line,
    /// What it moves.
    pub asset: String,
    /// Among receivers of one asset, 1 first.
    pub rank: u32,
    /// Whether its time may become the node's.
    pub clock: bool,
    /// While parked one stored fix each; zero is every epoch.
    pub parked_interval: Duration,
    /// While moving at most one stored fix each; zero is every epoch.
    pub track_interval: Duration,
    /// Networks that may send (udp-listen); empty only on loopback.
    pub allow: Vec<Network>,
}

/// An address range, e.g. `192.168.7.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// First address.
    pub addr: std::net::IpAddr,
    /// Leading bits that count. 0..=32 or 128.
    pub bits: u8,
}

/// One scanner.
#[derive(Clone, Debug, PartialEq)]
pub struct Scanner {
    /// `[A-Za-z0-9_-]{1,64}`, unique among all sources.
    pub id: String,
    /// Where its bytes come from.
    pub port: Port,
    /// How its tty is set.
    pub line: Line,
    /// Where it reads: a place, an asset it is on, or nothing known.
    pub place: ReadPoint,
    /// Ends of a frame.
    pub terminators: Vec<Vec<u8>>,
    /// Start of a frame; empty is none.
    pub start: Vec<u8>,
    /// Taken off the front; its absence is `framing`.
    pub prefix: Vec<u8>,
    /// Taken off the end; its absence is `framing`.
    pub suffix: Vec<u8>,
    /// Whether frames begin with a Symbol code id.
    pub symbol_code_id: bool,
    /// What the reader says when it could not read.
    pub noread: String,
    /// Whether bytes are Latin-1; else UTF-8.
    pub latin_1: bool,
    /// Keyboard layout of a hid scanner: us uk de fr es cz.
    pub layout: String,
    /// An unterminated frame older than this is rejected.
    pub idle: Duration,
    /// The same code within this of the accepted read is a repeat; zero is off.
    pub repeat_window: Duration,
    /// What ends the window.
    pub repeat_scope: RepeatScope,
    /// What a scan does to its asset.
    pub effect: Effect,
    /// Whether each frame is answered after its commit (tcp, tcp-listen).
    pub reply: bool,
    /// Networks that may send; empty only on loopback.
    pub allow: Vec<Network>,
}

/// Where a scanner reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadPoint {
    /// The scan is recorded and moves nothing.
    Unknown,
    /// A place of the plan or a name of its own.
    Place(String),
    /// On that asset: what is scanned goes with it.
    Aboard(String),
}

/// What ends the window in which equal codes are repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepeatScope {
    /// Another code in between.
    Previous,
    /// Nothing but time: a window per code.
    Code,
}

/// What a scan does to its asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is now at the place.
    Enter,
    /// It is gone from there.
    Leave,
    /// Nothing.
    None,
}

/// How new keys are met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Assets {
    /// What a key that is not in the register becomes.
    pub unknown: Unknown,
}

/// What a key that is not in the register becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// An asset.
    #[default]
    Accept,
    /// A letter `unknown_tag`.
    Hold,
}

/// The yard plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// GeoJSON file of the zones; none is a plan kept in the store.
    pub zones: Option<PathBuf>,
    /// How far beyond the edge of a zone an asset has left it, at least. Metres, 0..=1000.
    pub exit_m: f64,
    /// After so many fixes beyond that it has left. 1..=1000.
    pub exit_fixes: u32,
    /// Or after so long beyond it; 3600 s at most.
    pub exit: Duration,
    /// How long it must be inside to have entered; zero is at once. 3600 s at most.
    pub dwell: Duration,
    /// How the plan is turned on the page. Degrees, 0..360.
    pub bearing_deg: f64,
    /// After how long at a dock a stay is too long. Minutes; 0 is never.
    pub overstay_min: u32,
}

impl Default for Node {
    fn default() -> Self {
        Self { id: "wp-0".into(), site: "site".into(), name: "waypost".into(), time_zone: "UTC".into() }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("/var/lib/waypost"),
            retention_days: 30,
            archive_days: 365,
            max_mib: 2048,
            full_policy: FullPolicy::ThinFixes,
            fix_group: Duration::from_millis(250),
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: vec![Listen::Addr(SocketAddr::from(([127, 0, 0, 1], 8080)))],
            hosts: Vec::new(),
            read: Read::Open,
            pin_file: PathBuf::from("/etc/waypost/credentials/pin"),
            max_streams: 32,
            tls: None,
        }
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            zones: None,
            exit_m: 10.0,
            exit_fixes: 3,
            exit: Duration::from_secs(5),
            dwell: Duration::ZERO,
            bearing_deg: 0.0,
            overstay_min: 240,
        }
    }
}

impl Network {
    /// Whether the address is in the range; an IPv4 address mapped into IPv6 counts as IPv4.
    #[must_use]
    pub fn contains(&self, addr: std::net::IpAddr) -> bool {
        use std::net::IpAddr::{V4, V6};
        match (self.addr, addr.to_canonical()) {
            (V4(net), V4(ip)) => {
                self.bits == 0 || (net.to_bits() ^ ip.to_bits()) >> (32 - u32::from(self.bits.min(32))) == 0
            }
            (V6(net), V6(ip)) => {
                self.bits == 0 || (net.to_bits() ^ ip.to_bits()) >> (128 - u32::from(self.bits.min(128))) == 0
            }
            _ => false,
        }
    }
}

impl Config {
    /// The keys in which a reloaded configuration differs and that take effect only at the next start, e.g. `store.dir`.
    #[must_use]
    pub fn restart_keys(&self, new: &Self) -> Vec<&'static str> {
        let (a, b) = (&self.node, &new.node);
        [
            ("node.id", a.id != b.id),
            ("node.site", a.site != b.site),
            ("node.name", a.name != b.name),
            ("node.time_zone", a.time_zone != b.time_zone),
            ("store.dir", self.store.dir != new.store.dir),
            ("http.listen", self.http.listen != new.http.listen),
        ]
        .into_iter()
        .filter_map(|(key, differs)| differs.then_some(key))
        .collect()
    }
}
