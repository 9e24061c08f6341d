//! The ports of the sources: what is plugged in, who holds it, and what the node says of it.

use std::path::Path;

use serde_json::Value;

use super::{Failure, Findings, Verdict};
use crate::config::{Config, Port as ConfigPort};
use crate::devices::{self, Claimed, Device, Port, Roots};

/// More of the line in use than this, and a longer sentence is cut or late.
const LOAD_MAX: f64 = 0.8;

/// What the ports are judged by.
pub(super) struct Reader<'a> {
    pub roots: &'a Roots,
    pub health: Option<&'a Value>,
    /// The process of the node.
    pub pid: Option<u32>,
}

/// One source, as its files have it.
struct Source<'a> {
    id: &'a str,
    port: &'a ConfigPort,
    is_gps: bool,
    is_auto: bool,
}

impl Reader<'_> {
    /// Judges every configured source.
    pub fn all(&self, found: &mut Findings, config: &Config) -> Result<(), Failure> {
        let all = devices::list(self.roots)?;
        let claims = devices::claims(self.roots).unwrap_or_default();
        let gps = config.gps.iter().map(|one| Source {
            id: &one.id,
            port: &one.port,
            is_gps: true,
            is_auto: one.line.baud.is_none(),
        });
        let scanners =
            config.scanners.iter().map(|one| Source { id: &one.id, port: &one.port, is_gps: false, is_auto: false });
        for source in gps.chain(scanners) {
            let before = found.0.len();
            match source.port {
                ConfigPort::Serial(path) => self.device(found, &source, path, Port::Serial, &all, &claims),
                ConfigPort::Hid(path) => self.device(found, &source, path, Port::Keyboard, &all, &claims),
                _ => {}
            }
            let is_explained = found.0[before..].iter().any(|one| one.verdict == Verdict::Fail);
            self.state(found, &source, is_explained);
        }
        Ok(())
    }

    /// Judges the sources of a node whose files of today cannot be read.
    pub fn running(&self, found: &mut Findings) {
        for one in self.health.and_then(|health| health["sources"].as_array()).into_iter().flatten() {
            say(found, one["id"].as_str().unwrap_or_default(), one, "");
        }
    }

    fn device(
        &self,
        found: &mut Findings,
        source: &Source<'_>,
        path: &Path,
        port: Port,
        all: &[Device],
        claims: &[Claimed],
    ) {
        let (id, shown) = (source.id, path.display());
        let claim = |node: &Path| format!("sudo waypost devices claim {id} {}", node.display());
        let Ok(node) = path.canonicalize() else {
            return self.absent(found, source, path, claims);
        };
        let device = all.iter().find(|one| one.path == node);
        if let Some(who) = device.and_then(|device| devices::console(self.roots, device)) {
            let name = node.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let remedy = format!(
                "take console={name} off the kernel command line, systemctl disable --now serial-getty@{name}, restart the machine"
            );
            found.fail(id, format!("{shown} is the console of this machine: {who}"), remedy);
        }
        let (holders, complete, access) = devices::look(self.roots, &node, port);
        if !access.may_open {
            let text = format!("{} may not open {}: {}", access.user, node.display(), access.because);
            found.fail(id, text, claim(&node));
        }
        // Who only watches a keyboard loses it to our grab; whoever shares a serial line takes bytes away.
        let is_thief = |holder: &&devices::Holder| Some(holder.pid) != self.pid && port == Port::Serial;
        for holder in holders.iter().filter(is_thief) {
            let remedy = match holder.command.as_str() {
                "gpsd" => "systemctl disable --now gpsd.socket gpsd.service".to_owned(),
                "ModemManager" => claim(&node) + ", then unplug it and plug it in",
                other => format!("stop {other}: sudo kill {}", holder.pid),
            };
            found.fail(id, format!("{} ({}) holds {}", holder.command, holder.pid, node.display()), remedy);
        }
        if !complete && self.state_of(id) == Some("busy") {
            found.add(id, Verdict::Unknown, format!("only root is told who holds {shown}"), "sudo waypost doctor");
        }
        let thieves = device.map(|device| device.thieves.join(", ")).unwrap_or_default();
        if !thieves.is_empty() {
            found.warn(id, format!("{thieves} may open {shown} any time: nothing keeps it away"), claim(&node));
        } else if let Some(device) = device.filter(|device| device.usb.is_some() && is_chance(path)) {
            let text = format!("{shown} is a name by chance: {} may have another after a replug", name_of(device));
            found.warn(id, text, claim(&node) + &format!(", and port = \"/dev/waypost/{id}\""));
        }
    }

    fn absent(&self, found: &mut Findings, source: &Source<'_>, path: &Path, claims: &[Claimed]) {
        let (id, shown) = (source.id, path.display());
        let claimed = claims.iter().find(|one| path.ends_with(Path::new("waypost").join(&one.name)));
        let remedy = match claimed {
            Some(claimed) => format!("check the plug, cable and power of {}", claimed.of),
            None if path.starts_with("/dev/waypost") => {
                format!("nothing is claimed under that name: sudo waypost devices claim {id} DEVICE")
            }
            None => "check plug, cable and power; waypost devices lists what is there".to_owned(),
        };
        let brltty = if self.roots.usr.join("bin/brltty").exists() && source.is_gps {
            "; brltty is installed and takes some USB adapters away: claim the device, or apt-get remove brltty"
        } else {
            ""
        };
        found.fail(id, format!("{shown} is not there"), remedy + brltty);
    }

    fn of(&self, id: &str) -> Option<&Value> {
        self.health?["sources"].as_array()?.iter().find(|one| one["id"] == id)
    }

    fn state_of(&self, id: &str) -> Option<&str> {
        self.of(id)?["state"].as_str()
    }

    /// What the node says of a source.
    fn state(&self, found: &mut Findings, source: &Source<'_>, is_explained: bool) {
        if self.health.is_none() {
            return;
        }
        let Some(one) = self.of(source.id) else {
            let text = "the running node does not know it: it was configured after the start";
            return found.warn(source.id, text, "sudo systemctl restart waypost");
        };
        let state = one["state"].as_str().unwrap_or_default();
        if is_explained && matches!(state, "absent" | "permission" | "busy" | "opening") {
            // The line above says why.
            return;
        }
        let more = match state {
            "garbage" if source.is_gps && !source.is_auto => "; or let the rate be found: baud = \"auto\"",
            _ => "",
        };
        say(found, source.id, one, more);
        if let Some(load) = one["line_load"].as_f64().filter(|load| *load > LOAD_MAX) {
            let text =
                format!("{:.0} % of the line is in use: what it cannot carry is lost in the receiver", load * 100.0);
            found.warn(source.id, text, "set the receiver to a higher baud rate or to fewer sentences");
        }
    }
}

/// One line for what a node says of one source.
fn say(found: &mut Findings, id: &str, one: &Value, more: &str) {
    let of = |key: &str| one[key].as_str().unwrap_or_default();
    let text = format!("{} {}", of("state"), of("port"));
    match of("state") {
        "up" | "ended" => found.ok(id, text),
        "opening" => found.warn(id, text, "ask again in a moment"),
        _ => found.fail(id, text, format!("{}{more}", of("advice"))),
    }
}

/// Whether the kernel gives this name by the order of plugging.
fn is_chance(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    ["ttyUSB", "ttyACM", "event"].iter().any(|stem| name.starts_with(stem))
}

fn name_of(device: &Device) -> String {
    let usb = device.usb.as_ref();
    usb.and_then(|usb| usb.product.clone()).or_else(|| device.name.clone()).unwrap_or_else(|| "the device".to_owned())
}
