//! What is plugged in: every serial port and keyboard-like input device as sysfs tells it, never opened. Opening a
//! port raises its lines, which resets some receivers, and takes bytes from whoever is reading.

mod access;
mod claim;
#[cfg(test)]
mod claim_tests;
mod files;
mod holders;
mod identity;
mod udev;

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use access::Access;
pub use claim::{Claim, Claimed, Refused, claims, console, plan, release};
pub use holders::Holder;
pub use identity::Identity;

use access::Asker;
use files::{link_to, names, text};
use holders::holders;
use udev::Properties;

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
    /// `/run`
    pub run: PathBuf,
    /// `/usr`
    pub usr: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self::below(Path::new("/"))
    }
}

impl Roots {
    /// The same folders of a system below `root`.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        let at = |name: &str| root.join(name);
        Self { sys: at("sys"), dev: at("dev"), proc: at("proc"), etc: at("etc"), run: at("run"), usr: at("usr") }
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
    /// Other programs that are installed and would open it: nobody told them to keep away.
    pub thieves: Vec<&'static str>,
    /// The lines that make it a source.
    pub config: String,
    /// Its folder in sysfs.
    #[serde(skip)]
    pub(self) syspath: PathBuf,
    /// What udev knows of it; none when udev has not seen it.
    #[serde(skip)]
    pub(self) udev: Option<Properties>,
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
    let (mut held, holders_complete) = holders(roots, found.iter().map(|(_, path, _)| path.as_path()));
    let consoles = text(&roots.sys.join("class/tty/console/active")).unwrap_or_default();
    let mut devices = Vec::new();
    for (port, path, class) in found {
        let holders = held.remove(&path).unwrap_or_default();
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
            thieves: Vec::new(),
            config: String::new(),
            udev: udev::properties(roots, &class),
            syspath: class.canonicalize().unwrap_or(class),
            path,
        };
        device.thieves = thieves(roots, &device);
        device.config = config(&device);
        devices.push(device);
    }
    devices.sort_by_key(|device| natural(&device.path));
    Ok(devices)
}

/// Who holds a node that need not be in the list, and whether the service may open it.
#[must_use]
pub fn look(roots: &Roots, node: &Path, port: Port) -> (Vec<Holder>, bool, Access) {
    let (mut held, complete) = holders(roots, std::iter::once(node));
    (held.remove(node).unwrap_or_default(), complete, Asker::new(roots).may_open(node, port))
}

/// Programs that are installed and open ports on their own, as far as this device is not kept from them.
fn thieves(roots: &Roots, device: &Device) -> Vec<&'static str> {
    let known = |key: &str| device.udev.as_ref().and_then(|udev| udev.get(key)).unwrap_or_default();
    let is_serial = device.port == Port::Serial;
    let is_usb = device.usb.is_some();
    let is_claimed = device.claimed.is_some();
    [
        ("ModemManager", "sbin/ModemManager", is_serial && known("ID_MM_DEVICE_IGNORE") != "1"),
        ("gpsd", "sbin/gpsd", known("SYSTEMD_WANTS").contains("gpsdctl")),
        ("brltty", "bin/brltty", is_serial && is_usb && !is_claimed),
    ]
    .into_iter()
    .filter(|(_, program, open)| *open && roots.usr.join(program).exists())
    .map(|(name, _, _)| name)
    .collect()
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
    if !device.thieves.is_empty() {
        row("wanted by", &format!("{}; a claim keeps them away", device.thieves.join(", ")));
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

/// Orders `ttyUSB10` after `ttyUSB9`.
fn natural(path: &Path) -> (String, u64) {
    let text = path.display().to_string();
    let stem = text.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem.to_owned(), text[stem.len()..].parse().unwrap_or(0))
}

#[cfg(test)]
#[path = "devices_tests.rs"]
mod tests;
