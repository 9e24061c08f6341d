//! `waypost devices`: what is plugged in, and the claims that give devices to the service.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use super::{Done, Failure, exit, load, print};
use crate::config::Port as ConfigPort;
use crate::devices::{self, Claim, Identity, Port, Refused, Roots};

/// How long udev may take to act on a rule.
const UDEV_MAX: Duration = Duration::from_secs(10);
/// How often is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Args)]
pub(super) struct DevicesArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Work on the system below DIR, whose udev is told nothing
    #[arg(long, global = true, hide = true, value_name = "DIR")]
    root: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Claiming>,
}

#[derive(Subcommand)]
enum Claiming {
    /// As root: make a udev rule that gives DEVICE to the service alone, as /dev/waypost/NAME
    Claim {
        /// Letters, digits, - and _; best the id of the source
        name: String,
        /// The port or input device, e.g. /dev/ttyUSB0
        device: PathBuf,
    },
    /// As root: take a claim back
    Release {
        /// The name
        name: String,
    },
}

pub(super) fn devices(config: &Path, args: &DevicesArgs) -> Done {
    let roots = args.root.as_deref().map_or_else(Roots::default, Roots::below);
    match &args.command {
        None => list(&roots, args.json),
        Some(Claiming::Claim { name, device }) => {
            // What is wrong with the command is said to everybody; to do it takes root.
            let claim = devices::plan(&roots, name, device).map_err(refused)?;
            if args.root.is_none() {
                only_root(&format!("devices claim {name} {}", device.display()))?;
            }
            claim.write().map_err(refused)?;
            if args.root.is_none() {
                tell_udev("change", claim.syspath())?;
                await_link(&roots, &claim)?;
            }
            print(&said(config, &roots, &claim))
        }
        Some(Claiming::Release { name }) => {
            if args.root.is_none() {
                only_root(&format!("devices release {name}"))?;
            }
            let claimed = devices::release(&roots, name).map_err(refused)?;
            let node = claimed.device.as_deref().and_then(|device| syspath_of(&roots, device));
            if args.root.is_none() {
                match node {
                    // Udev gives a node to its usual group only when it is added.
                    Some(node) => tell_udev("add", &node)?,
                    None => udevadm(&["control", "--reload"])?,
                }
            }
            print(&format!("{name} is released: {} is anybody's again, by the rules of this machine.\n", claimed.of))
        }
    }
}

fn list(roots: &Roots, json: bool) -> Done {
    let found = devices::list(roots)?;
    let mut text = devices::print(&found, json);
    if !json {
        for claim in devices::claims(roots).map_err(refused)?.iter().filter(|claim| claim.device.is_none()) {
            text.push_str(&format!("\n/dev/waypost/{}\n  claimed   {}; not plugged in\n", claim.name, claim.of));
        }
    }
    print(&text)
}

#[expect(clippy::needless_pass_by_value, reason = "handed over as a function to map_err")]
fn refused(refused: Refused) -> Failure {
    let code = match &refused {
        Refused::Name(_) => exit::USAGE,
        Refused::Missing { .. } | Refused::NoPort(_) | Refused::Unclaimed(_) => exit::NO_INPUT,
        Refused::Io { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => exit::NOT_ALLOWED,
        Refused::Io { .. } => exit::IO,
        Refused::Console { .. }
        | Refused::Claimed { .. }
        | Refused::Taken { .. }
        | Refused::Foreign(_)
        | Refused::NoGroup
        | Refused::Unknowable { .. } => exit::NOT_WELL,
    };
    Failure::new(code, refused.to_string())
}

fn only_root(command: &str) -> Result<(), Failure> {
    // SAFETY: the call takes nothing and cannot fail.
    if unsafe { libc::geteuid() } == 0 {
        return Ok(());
    }
    Err(Failure::new(exit::NOT_ALLOWED, format!("a udev rule is for root to write: sudo waypost {command}")))
}

/// The folder in sysfs of a node that is plugged in.
fn syspath_of(roots: &Roots, node: &Path) -> Option<PathBuf> {
    let name = node.file_name()?;
    let classes = ["class/tty", "class/input"].map(|class| roots.sys.join(class).join(name));
    classes.into_iter().find_map(|class| class.canonicalize().ok())
}

/// Has udev read its rules again and apply them to one device.
fn tell_udev(action: &str, syspath: &Path) -> Result<(), Failure> {
    udevadm(&["control", "--reload"])?;
    udevadm(&["trigger", "--settle", &format!("--action={action}"), &syspath.to_string_lossy()])
}

fn udevadm(args: &[&str]) -> Result<(), Failure> {
    let told = Command::new("udevadm").args(args).stdin(Stdio::null()).output();
    let why = match told {
        Ok(told) if told.status.success() => return Ok(()),
        Ok(told) => String::from_utf8_lossy(&told.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    let text = format!(
        "the rule is as you want it, but udev could not be told: udevadm {}: {why}; it acts on it when the device is plugged in anew",
        args.join(" ")
    );
    Err(Failure::new(exit::NOT_WELL, text))
}

/// Waits until udev has made the link and given the device to the service.
fn await_link(roots: &Roots, claim: &Claim) -> Result<(), Failure> {
    let end = Instant::now() + UDEV_MAX;
    let node = &claim.device.path;
    loop {
        let leads_there = claim.link.canonicalize().is_ok_and(|target| target == *node);
        let (_, _, access) = devices::look(roots, node, claim.device.port);
        if leads_there && access.may_open {
            return Ok(());
        }
        if Instant::now() >= end {
            let what = if leads_there {
                format!("{} is {}, so another rule has given it away", node.display(), access.because)
            } else {
                format!("{} is not there", claim.link.display())
            };
            let text = format!(
                "the rule {} is written, but after {} s {what}; udev says why: udevadm test --action=change {}",
                claim.file.display(),
                UDEV_MAX.as_secs(),
                claim.syspath().display()
            );
            return Err(Failure::new(exit::NOT_WELL, text));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// What was done and what comes next.
fn said(config: &Path, roots: &Roots, claim: &Claim) -> String {
    let (name, node) = (&claim.name, claim.device.path.display());
    let mut text = format!("/dev/waypost/{name} is {node}: {}.\n", claim.identity);
    text.push_str(match claim.identity {
        Identity::Serial { .. } | Identity::Bluetooth { .. } => "It keeps that name wherever it is plugged in.\n",
        Identity::Socket { .. } => {
            "It has no serial number of its own: the name is bound to this USB socket. Plug it in there, and nothing else of its make.\n"
        }
        Identity::Board { .. } => "The name is bound to this port, whatever is wired to it.\n",
    });
    let (holders, ..) = devices::look(roots, &claim.device.path, claim.device.port);
    // Who only watches a keyboard, as logind does, loses it to the grab of the node.
    let is_thief = |holder: &&devices::Holder| holder.command != "waypost" && claim.device.port == Port::Serial;
    for holder in holders.iter().filter(is_thief) {
        text.push_str(&format!(
            "{} ({}) still holds it: stop that program, or unplug the device and plug it in.\n",
            holder.command, holder.pid
        ));
    }
    let link = Path::new("/dev/waypost").join(name);
    let is_ours = |port: &ConfigPort| matches!(port, ConfigPort::Serial(path) | ConfigPort::Hid(path) if *path == link);
    let configured = load(config).ok().and_then(|loaded| {
        let gps = loaded.config.gps.iter().map(|one| (&one.id, &one.port));
        let mut all = gps.chain(loaded.config.scanners.iter().map(|one| (&one.id, &one.port)));
        all.find(|(_, port)| is_ours(port)).map(|(id, _)| id.clone())
    });
    match configured {
        Some(id) => text.push_str(&format!("The source {id} reads it; a node that runs opens it by itself.\n")),
        None => {
            let kind = if claim.device.port == Port::Keyboard { "the scanner" } else { "the device" };
            text.push_str(&format!(
                "To read {kind}, write into /etc/waypost/conf.d/{name}.toml:\n\n{}\nthen: waypost check && sudo systemctl restart waypost\n",
                claim.config()
            ));
        }
    }
    text
}
