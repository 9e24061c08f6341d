//! What is plugged in: every serial port and keyboard-like input device as sysfs tells it, never opened. Opening a
//! port raises its lines, which resets some receivers, and takes bytes from whoever is reading.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Most that is read of an attribute or a list of users. Bytes.
const FILE_MAX: u64 = 1024 * 1024;

/// Most folders from a device up to the bus that has its identity.
const PARENTS_MAX: usize = 16;

/// Where the system tells about itself; other roots are for tests.
#[derive(Clone, Debug)]
pub struct Roots {
    /// `/sys`
    pub sys: PathBuf,
    /// `/dev`
    pub dev: PathBuf,
    /// `/proc`
    pub proc: PathBuf,
    /// `/etc`
    pub etc: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self { sys: "/sys".into(), dev: "/dev".into(), proc: "/proc".into(), etc: "/etc".into() }
    }
}

/// What kind of port a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Port {
    /// A serial port: a receiver, or a scanner in serial mode.
    Serial,
    /// An input device with the keys of a keyboard: a scanner in keyboard mode, or a keyboard.
    Keyboard,
}

/// Who a USB device says it is. Texts are without control characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usb {
    /// Vendor and product id, e.g. `1546:01a8`.
    pub id: String,
    /// Serial number, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Maker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manufacturer: Option<String>,
    /// Product name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
}

/// A process that holds a device open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Its short name, e.g. `gpsd`.
    pub command: String,
}

/// Whether the service may open a device, by its mode, owner and group; access lists are not looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Access {
    /// The user that was asked for: `waypost` when it exists, else who asks.
    pub user: String,
    /// Whether it may.
    pub may_open: bool,
    /// Mode, owner and group, e.g. `0660 root:dialout`; or that the node is missing.
    pub because: String,
}

/// One serial port or keyboard-like device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Device {
    /// The node, e.g. `/dev/ttyUSB0`.
    pub path: PathBuf,
    /// What it is.
    pub port: Port,
    /// What an input device calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its USB identity, when it is on USB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usb: Option<Usb>,
    /// The kernel driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// The link by identity, which stays the same when it is plugged in again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_id: Option<PathBuf>,
    /// The link that was claimed for the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed: Option<PathBuf>,
    /// Whether the kernel's console speaks on it.
    pub console: bool,
    /// Who holds it open, as far as we may see.
    pub holders: Vec<Holder>,
    /// Whether all processes could be looked into; only root's answer is complete.
    pub holders_complete: bool,
    /// Whether the service may open it.
    pub access: Access,
    /// The lines that make it a source.
    pub config: String,
}

/// Every serial port and keyboard-like input device, in order of their paths.
///
/// # Errors
/// A folder of `sys` that is there and cannot be read. A device that goes while it is looked at is left out.
pub fn list(roots: &Roots) -> io::Result<Vec<Device>> {
    let asker = Asker::new(roots);
    let mut found: Vec<(Port, PathBuf, PathBuf)> = Vec::new();
    for name in names(&roots.sys.join("class/tty"))? {
        let class = roots.sys.join("class/tty").join(&name);
        if is_serial(&name, &class) {
            found.push((Port::Serial, roots.dev.join(&name), class));
        }
    }
    for name in names(&roots.sys.join("class/input"))?.into_iter().filter(|name| name.starts_with("event")) {
        let class = roots.sys.join("class/input").join(&name);
        if is_keyboard(&class) {
            found.push((Port::Keyboard, roots.dev.join("input").join(&name), class));
        }
    }
    let (mut holders, holders_complete) = holders(roots, found.iter().map(|(_, path, _)| path.as_path()));
    let consoles = text(&roots.sys.join("class/tty/console/active")).unwrap_or_default();
    let mut devices = Vec::new();
    for (port, path, class) in found {
        let holders = holders.remove(&path).unwrap_or_default();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let links = if port == Port::Serial { "serial/by-id" } else { "input/by-id" };
        let mut device = Device {
            port,
            name: text(&class.join("device/name")).filter(|_| port == Port::Keyboard),
            usb: usb(roots, &class),
            driver: driver(roots, &class),
            by_id: link_to(&roots.dev.join(links), &path),
            claimed: link_to(&roots.dev.join("waypost"), &path),
            console: consoles.split_whitespace().any(|console| console == file),
            holders,
            holders_complete,
            access: asker.may_open(&path, port),
            config: String::new(),
            path,
        };
        device.config = config(&device);
        devices.push(device);
    }
    devices.sort_by_key(|device| natural(&device.path));
    Ok(devices)
}

/// The list for people, or as one JSON array.
#[must_use]
pub fn print(devices: &[Device], json: bool) -> String {
    if json {
        // Only a path that is not UTF-8 could fail, and such names are left out above.
        let all = serde_json::to_string_pretty(devices);
        return all.unwrap_or_else(|error| serde_json::json!({ "error": error.to_string() }).to_string()) + "\n";
    }
    if devices.is_empty() {
        return "no serial port and no keyboard-like device is plugged in\n".to_owned();
    }
    devices.iter().map(block).collect::<Vec<_>>().join("\n")
}

fn block(device: &Device) -> String {
    let mut out = format!("{}\n", device.path.display());
    let mut row = |key: &str, value: &str| {
        // Writing into a String cannot fail.
        writeln!(out, "  {key:<9} {value}").unwrap_or_default();
    };
    if let Some(name) = &device.name {
        row("name", name);
    }
    if let Some(usb) = &device.usb {
        let parts = [Some(&usb.id), usb.manufacturer.as_ref(), usb.product.as_ref(), usb.serial.as_ref()];
        row("usb", &parts.into_iter().flatten().cloned().collect::<Vec<_>>().join("  "));
    }
    if let Some(driver) = &device.driver {
        row("driver", driver);
    }
    for (key, link) in [("by-id", &device.by_id), ("claimed", &device.claimed)] {
        if let Some(link) = link {
            row(key, &link.display().to_string());
        }
    }
    if device.console {
        row("console", "the kernel's console speaks here; take it off the kernel command line first");
    }
    let held: Vec<String> =
        device.holders.iter().map(|holder| format!("{} ({})", holder.command, holder.pid)).collect();
    match (held.is_empty(), device.holders_complete) {
        (false, _) => row("held by", &held.join(", ")),
        (true, true) => row("held by", "nobody"),
        (true, false) => row("held by", "unknown; ask as root"),
    }
    let access = &device.access;
    let may = if access.may_open { "may" } else { "may not" };
    row("access", &format!("{} {may} open it: {}", access.user, access.because));
    for (n, line) in device.config.lines().enumerate() {
        row(if n == 0 { "add" } else { "" }, line);
    }
    out
}

/// A tty that has hardware behind it: virtual consoles have no device, and an empty UART slot has type 0.
fn is_serial(name: &str, class: &Path) -> bool {
    let uart = || text(&class.join("type")).is_none_or(|kind| kind != "0");
    let numbered = name.ends_with(|end: char| end.is_ascii_digit());
    let hardware = name.starts_with("tty") && fs::symlink_metadata(class.join("device")).is_ok() && uart();
    numbered && (hardware || name.starts_with("rfcomm"))
}

/// An input device with digits and Enter, which is what a scanner types with; mice, buttons and lids have none.
fn is_keyboard(class: &Path) -> bool {
    const EV_KEY: usize = 1;
    const KEY_ENTER: usize = 28;
    let bits = |name: &str| text(&class.join("device/capabilities").join(name)).unwrap_or_default();
    let keys = bits("key");
    bit(&bits("ev"), EV_KEY) && bit(&keys, KEY_ENTER) && (2..=11).all(|digit| bit(&keys, digit))
}

/// Whether a bit is set in a bitmap of sysfs: hex words as wide as the kernel shows them to us, the highest first.
fn bit(map: &str, n: usize) -> bool {
    let width = usize::try_from(usize::BITS).unwrap_or(64);
    let word = map.split_whitespace().rev().nth(n / width).and_then(|word| u64::from_str_radix(word, 16).ok());
    word.is_some_and(|word| word >> (n % width) & 1 == 1)
}

/// The folders from a device up to the root of sysfs, the nearest first.
fn parents(roots: &Roots, class: &Path) -> Vec<PathBuf> {
    let (Ok(device), Ok(root)) = (class.join("device").canonicalize(), roots.sys.canonicalize()) else {
        return Vec::new();
    };
    device.ancestors().take_while(|dir| *dir != root).take(PARENTS_MAX).map(Path::to_owned).collect()
}

fn usb(roots: &Roots, class: &Path) -> Option<Usb> {
    let dir = parents(roots, class).into_iter().find(|dir| dir.join("idVendor").exists())?;
    let read = |name: &str| text(&dir.join(name)).filter(|value| !value.is_empty());
    let id = format!("{}:{}", read("idVendor")?, read("idProduct")?);
    Some(Usb { id, serial: read("serial"), manufacturer: read("manufacturer"), product: read("product") })
}

fn driver(roots: &Roots, class: &Path) -> Option<String> {
    // Newer kernels put two layers of their own between a UART and its driver.
    const LAYERS: [&str; 2] = ["port", "ctrl"];
    let drivers = parents(roots, class).into_iter().filter_map(|dir| fs::read_link(dir.join("driver")).ok());
    let names = drivers.filter_map(|link| Some(link.file_name()?.to_string_lossy().into_owned()));
    names.into_iter().find(|name| !LAYERS.contains(&name.as_str()))
}

/// The first link of a folder that leads to a node.
fn link_to(folder: &Path, node: &Path) -> Option<PathBuf> {
    let links = names(folder).ok()?.into_iter().map(|name| folder.join(name));
    links.into_iter().find(|link| {
        let Ok(target) = fs::read_link(link) else { return false };
        plain(&folder.join(target)) == plain(node)
    })
}

/// A path with its `..` resolved by the text alone: the node need not be there.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                out.pop();
            }
            std::path::Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

/// Who holds which of the nodes, and whether every process could be looked into.
fn holders<'a>(roots: &Roots, nodes: impl Iterator<Item = &'a Path>) -> (BTreeMap<PathBuf, Vec<Holder>>, bool) {
    let mut held: BTreeMap<PathBuf, Vec<Holder>> = nodes.map(|node| (node.to_owned(), Vec::new())).collect();
    let mut complete = true;
    let pids = names(&roots.proc).unwrap_or_default();
    for pid in pids.iter().filter_map(|name| name.parse::<u32>().ok()) {
        let process = roots.proc.join(pid.to_string());
        let open = match fs::read_dir(process.join("fd")) {
            Ok(open) => open,
            Err(error) => {
                // A process that has ended meanwhile holds nothing.
                complete &= error.kind() == io::ErrorKind::NotFound;
                continue;
            }
        };
        for target in open.flatten().filter_map(|fd| fs::read_link(fd.path()).ok()) {
            let Some(holders) = held.get_mut(&target) else { continue };
            if holders.iter().all(|holder| holder.pid != pid) {
                holders.push(Holder { pid, command: text(&process.join("comm")).unwrap_or_default() });
            }
        }
    }
    (held, complete)
}

/// The user whose access counts.
struct Asker {
    name: String,
    uid: u32,
    gids: Vec<u32>,
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
}

impl Asker {
    fn new(roots: &Roots) -> Self {
        let passwd = text_lines(&roots.etc.join("passwd"));
        let group = text_lines(&roots.etc.join("group"));
        let named = |lines: &[Vec<String>]| {
            lines.iter().filter_map(|line| Some((line.get(2)?.parse().ok()?, line.first()?.clone()))).collect()
        };
        let users: BTreeMap<u32, String> = named(&passwd);
        let service = passwd.iter().find(|line| line.first().is_some_and(|name| name == "waypost"));
        let number = |line: &[String], field: usize| line.get(field).and_then(|text| text.parse::<u32>().ok());
        let (uid, name, mut gids) = match service.and_then(|line| Some((number(line, 2)?, number(line, 3)?))) {
            Some((uid, gid)) => (uid, "waypost".to_owned(), vec![gid]),
            None => {
                // SAFETY: the call takes nothing and cannot fail.
                let uid = unsafe { libc::geteuid() };
                (uid, users.get(&uid).cloned().unwrap_or_else(|| uid.to_string()), own_groups())
            }
        };
        for line in &group {
            let member = line.get(3).is_some_and(|members| members.split(',').any(|member| member == name));
            gids.extend(number(line, 2).filter(|_| member));
        }
        Self { name, uid, gids, users, groups: named(&group) }
    }

    fn may_open(&self, path: &Path, port: Port) -> Access {
        let user = self.name.clone();
        let Ok(node) = fs::metadata(path) else {
            let because = "the node is missing; udev may still be making it".to_owned();
            return Access { user, may_open: false, because };
        };
        // A serial port is also written to: its speed is hunted by asking. A keyboard is only read.
        let want = if port == Port::Serial { 0o6 } else { 0o4 };
        let granted = if node.uid() == self.uid {
            node.mode() >> 6
        } else if self.gids.contains(&node.gid()) {
            node.mode() >> 3
        } else {
            node.mode()
        };
        let word = |names: &BTreeMap<u32, String>, id: u32| names.get(&id).cloned().unwrap_or_else(|| id.to_string());
        let (owner, group) = (word(&self.users, node.uid()), word(&self.groups, node.gid()));
        let because = format!("{:04o} {owner}:{group}", node.mode() & 0o7777);
        Access { user, may_open: self.uid == 0 || granted & want == want, because }
    }
}

/// The groups of this process.
fn own_groups() -> Vec<u32> {
    let mut gids = vec![0; 256];
    // SAFETY: the count is that of the buffer, which outlives the call.
    let n = unsafe { libc::getgroups(256, gids.as_mut_ptr()) };
    gids.truncate(usize::try_from(n).unwrap_or(0));
    // SAFETY: the call takes nothing and cannot fail.
    gids.push(unsafe { libc::getegid() });
    gids
}

/// The lines to add. A serial port may be either; what the maker and product say decides which comes first.
fn config(device: &Device) -> String {
    let file = device.path.file_name().unwrap_or_default().to_string_lossy();
    let number: String =
        file.chars().rev().take_while(char::is_ascii_digit).collect::<Vec<_>>().into_iter().rev().collect();
    let best = device.claimed.as_ref().or(device.by_id.as_ref()).unwrap_or(&device.path).display().to_string();
    let name =
        device.claimed.as_ref().and_then(|link| link.file_name()).map(|name| name.to_string_lossy().into_owned());
    let table = |kind: &str, id: &str, scheme: &str| {
        let id = toml::Value::String(name.clone().unwrap_or_else(|| format!("{id}{number}")));
        format!("[[{kind}]]\nid = {id}\nport = {}\n", toml::Value::String(format!("{scheme}{best}")))
    };
    match device.port {
        Port::Keyboard => table("scanner", "scanner", "hid://"),
        Port::Serial if reads_codes(device.usb.as_ref()) => table("scanner", "scanner", ""),
        Port::Serial if gives_fixes(device.usb.as_ref()) => table("gps", "gps", ""),
        Port::Serial => {
            let other = table("scanner", "scanner", "").replace('\n', "\n# ");
            format!("{}# or, if it is a scanner:\n# {}\n", table("gps", "gps", ""), other.trim_end_matches("\n# "))
        }
    }
}

/// Makers of scanners: Datalogic, Honeywell (two), Zebra, Newland; and what products call themselves.
fn reads_codes(usb: Option<&Usb>) -> bool {
    says(usb, &["05f9:", "0c2e:", "0536:", "05e0:", "1eab:"], &["scanner", "barcode", "imager"])
}

/// Makers of receivers: u-blox; and what products call themselves.
fn gives_fixes(usb: Option<&Usb>) -> bool {
    says(usb, &["1546:"], &["gps", "gnss", "u-blox"])
}

fn says(usb: Option<&Usb>, vendors: &[&str], words: &[&str]) -> bool {
    usb.is_some_and(|usb| {
        let product = usb.product.as_deref().unwrap_or_default().to_lowercase();
        vendors.iter().any(|vendor| usb.id.starts_with(vendor)) || words.iter().any(|word| product.contains(word))
    })
}

/// The entries of a folder, in order; none when there is no such folder.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => {
            entries.map_err(|error| io::Error::new(error.kind(), format!("read {}: {error}", folder.display())))?
        }
    };
    // A name that is not UTF-8 is none that the kernel gives.
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// A short file without what could play tricks on a terminal; none when it cannot be read.
fn text(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(4096).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    Some(text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
}

/// The fields of a file like `passwd`; no lines when it cannot be read.
fn text_lines(path: &Path) -> Vec<Vec<String>> {
    let mut bytes = Vec::new();
    if let Err(error) = fs::File::open(path).and_then(|file| file.take(FILE_MAX).read_to_end(&mut bytes)) {
        tracing::debug!(path = %path.display(), %error, "names stay numbers");
    }
    let text = String::from_utf8_lossy(&bytes);
    text.lines().map(|line| line.split(':').map(str::to_owned).collect()).collect()
}

/// Orders `ttyUSB10` after `ttyUSB9`.
fn natural(path: &Path) -> (String, u64) {
    let text = path.display().to_string();
    let stem = text.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem.to_owned(), text[stem.len()..].parse().unwrap_or(0))
}

#[cfg(test)]
#[path = "devices_tests.rs"]
mod tests;
