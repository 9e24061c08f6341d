//! Claims: a udev rule a name, that gives one device to the service alone under `/dev/waypost/NAME`.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::files::{names, text, text_lines};
use super::identity::{Identity, identity};
use super::{Device, Port, Roots, list};

/// The group of the service.
const GROUP: &str = "waypost";
/// Longest name.
const NAME_MAX: usize = 64;
/// The rules come after those of gpsd (60) and brltty (85, 90), whose wishes they take back. Those after them that give
/// every input device to a group (99-com of Raspberry Pi OS) are kept off by `:=`.
const PREFIX: &str = "91-waypost-";
const SUFFIX: &str = ".rules";

/// Why a claim or a release is refused: what, where, and what to do.
#[derive(Debug, Error)]
pub enum Refused {
    /// The name cannot be one.
    #[error("{0:?} is no name: up to 64 of the letters A-Z a-z, digits, - and _, the first no -")]
    Name(String),
    /// Nothing is there.
    #[error("{device} is not there{more}; plug it in, `waypost devices` lists what is")]
    Missing {
        /// What was asked for.
        device: String,
        /// What is known of it.
        more: String,
    },
    /// Something else is there.
    #[error(
        "{0} is no serial port and no input device with the keys of a scanner; `waypost devices` lists those that are"
    )]
    NoPort(String),
    /// The kernel or a login speaks on it.
    #[error(
        "{device} is the console of this machine: {who}. Take `console={port}` off the kernel command line (on a Raspberry Pi: \
         raspi-config, Interface Options, Serial Port: no login shell, but hardware), then: \
         systemctl disable --now serial-getty@{port}.service, and start the machine anew"
    )]
    Console {
        /// The node.
        device: String,
        /// Its name below /dev.
        port: String,
        /// Who speaks there.
        who: String,
    },
    /// It has another name already.
    #[error("{device} is {other} already; use that name, or first: sudo waypost devices release {other}")]
    Claimed {
        /// The node.
        device: String,
        /// The other name.
        other: String,
    },
    /// The name is another device's.
    #[error("the name {name} is taken by {by}; take another, or first: sudo waypost devices release {name}")]
    Taken {
        /// The name.
        name: String,
        /// Whose it is.
        by: String,
    },
    /// The link is somebody else's.
    #[error(
        "{0} is there and not ours: another udev rule makes it (grep -r waypost/ /etc/udev/rules.d); take another name"
    )]
    Foreign(String),
    /// No name has this claim.
    #[error("nothing is claimed under the name {0}; `waypost devices` lists the claims")]
    Unclaimed(String),
    /// The group of the service is not there.
    #[error(
        "there is no group {GROUP} on this machine; install the package, or: systemd-sysusers systemd/waypost.sysusers"
    )]
    NoGroup,
    /// Nothing tells it from others.
    #[error("{device} cannot be known again when it is plugged in anew: {why}")]
    Unknowable {
        /// The node.
        device: String,
        /// Why.
        why: String,
    },
    /// Reading or writing failed.
    #[error("{path}: {error}")]
    Io {
        /// Where.
        path: String,
        /// Why.
        error: io::Error,
    },
}

/// A claim that can be made.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// By what the device is known again.
    pub identity: Identity,
    /// The rule's file.
    pub file: PathBuf,
    /// The rule.
    pub rule: String,
    /// The device as it is now.
    pub device: Device,
    /// The link that udev makes.
    pub link: PathBuf,
}

/// A claim that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Its name.
    pub name: String,
    /// What it is of, in words.
    pub of: String,
    /// The rule's file.
    pub file: PathBuf,
    /// The device that the link leads to, while it is plugged in.
    pub device: Option<PathBuf>,
    rule: String,
}

impl Claim {
    /// Writes the rule. Udev acts on it when it is told to.
    ///
    /// # Errors
    /// The file cannot be written; what was there before is still whole then.
    pub fn write(&self) -> Result<(), Refused> {
        let at = |path: &Path, error| Refused::Io { path: path.display().to_string(), error };
        let folder = self.file.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder).map_err(|error| at(folder, error))?;
        // Udev reads no file of another ending: a half-written one is never a rule.
        let next = self.file.with_extension("new");
        let write = || -> io::Result<()> {
            let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o644).open(&next)?;
            file.write_all(self.rule.as_bytes())?;
            file.sync_all()?;
            fs::rename(&next, &self.file)?;
            fs::File::open(folder)?.sync_all()
        };
        write().map_err(|error| at(&self.file, error))
    }

    /// The folder of the device in sysfs, for `udevadm trigger`.
    #[must_use]
    pub fn syspath(&self) -> &Path {
        &self.device.syspath
    }

    /// The lines that make it a source, with the port as it is when the rule has acted.
    #[must_use]
    pub fn config(&self) -> String {
        let link = Some(Path::new("/dev/waypost").join(&self.name));
        super::config(&Device { claimed: link, ..self.device.clone() })
    }
}

/// Works out a claim; changes nothing.
///
/// # Errors
/// Everything that is in its way.
pub fn plan(roots: &Roots, name: &str, device: &Path) -> Result<Claim, Refused> {
    check_name(name)?;
    let shown = device.display().to_string();
    let made = claims(roots)?;
    let Ok(node) = node_of(roots, device).canonicalize() else {
        let of = made.iter().find(|one| device.ends_with(Path::new("waypost").join(&one.name)));
        let more = of.map_or_else(String::new, |one| format!(", though {} is claimed for {}", one.name, one.of));
        return Err(Refused::Missing { device: shown, more });
    };
    let all = list(roots).map_err(|error| Refused::Io { path: roots.sys.display().to_string(), error })?;
    let found = all.iter().find(|one| one.path.canonicalize().is_ok_and(|path| path == node));
    let found = found.ok_or(Refused::NoPort(shown.clone()))?;
    if let Some(who) = console(roots, found) {
        let port = found.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Err(Refused::Console { device: shown, port, who });
    }
    let identity = identity(found, &all).map_err(|why| {
        let udev = "udev knows nothing of it (is systemd-udevd running?)".to_owned();
        Refused::Unknowable { device: shown.clone(), why: if found.udev.is_none() { udev } else { why.0 } }
    })?;
    let keys = identity.port_keys(found).join(", ");
    for one in &made {
        let is_same = one.rule.contains(&format!("\n{keys}, GOTO"));
        if one.name == name && !is_same {
            return Err(Refused::Taken { name: name.to_owned(), by: one.of.clone() });
        }
        if one.name != name && (is_same || one.device.as_ref() == Some(&found.path)) {
            return Err(Refused::Claimed { device: shown, other: one.name.clone() });
        }
    }
    let link = roots.dev.join("waypost").join(name);
    // One that leads to this very device is left of a rule that somebody deleted.
    let leads_here = link.canonicalize().is_ok_and(|target| target == node);
    if made.iter().all(|one| one.name != name) && link.symlink_metadata().is_ok() && !leads_here {
        return Err(Refused::Foreign(link.display().to_string()));
    }
    let groups = text_lines(&roots.etc.join("group"));
    if groups.iter().all(|line| line.first().is_none_or(|name| name != GROUP)) {
        return Err(Refused::NoGroup);
    }
    let rule = rule(name, &identity, found, &keys);
    Ok(Claim { name: name.to_owned(), file: file(roots, name), rule, device: found.clone(), link, identity })
}

/// Takes a claim back; answers what it was. Udev acts on it when it is told to.
///
/// # Errors
/// No such claim, or its file cannot be removed.
pub fn release(roots: &Roots, name: &str) -> Result<Claimed, Refused> {
    check_name(name)?;
    let made = claims(roots)?.into_iter().find(|one| one.name == name);
    let made = made.ok_or_else(|| Refused::Unclaimed(name.to_owned()))?;
    fs::remove_file(&made.file).map_err(|error| Refused::Io { path: made.file.display().to_string(), error })?;
    Ok(made)
}

/// Every claim, in the order of their names.
///
/// # Errors
/// The folder of rules is there and cannot be read.
pub fn claims(roots: &Roots) -> Result<Vec<Claimed>, Refused> {
    let folder = roots.etc.join("udev/rules.d");
    let files = names(&folder).map_err(|error| Refused::Io { path: folder.display().to_string(), error })?;
    let claims = files.iter().filter_map(|file| {
        let name = file.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        check_name(name).ok()?;
        let rule = fs::read_to_string(folder.join(file)).unwrap_or_default();
        let first = rule.lines().next().unwrap_or_default();
        let of = first.strip_prefix(&format!("# /dev/waypost/{name}: ")).unwrap_or("a device that its file names");
        let of = of.trim_end_matches('.').to_owned();
        // A link that leads nowhere is one of a device that is just being unplugged.
        let device = roots.dev.join("waypost").join(name).canonicalize().ok();
        Some(Claimed { name: name.to_owned(), of, file: folder.join(file), device, rule })
    });
    Ok(claims.collect())
}

/// The node that somebody means by `device`: a path below /dev, or a name there.
fn node_of(roots: &Roots, device: &Path) -> PathBuf {
    if device.is_absolute() && !device.starts_with("/dev") {
        return device.to_owned();
    }
    roots.dev.join(device.strip_prefix("/dev").unwrap_or(device))
}

fn check_name(name: &str) -> Result<(), Refused> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if (1..=NAME_MAX).contains(&name.len()) && name.chars().all(is_plain) && !name.starts_with('-') {
        return Ok(());
    }
    Err(Refused::Name(name.chars().take(NAME_MAX).collect()))
}

fn file(roots: &Roots, name: &str) -> PathBuf {
    roots.etc.join("udev/rules.d").join(format!("{PREFIX}{name}{SUFFIX}"))
}

/// Who speaks on a port of the board, the kernel or a login; none when it is free.
#[must_use]
pub fn console(roots: &Roots, device: &Device) -> Option<String> {
    if device.port != Port::Serial {
        return None;
    }
    if device.console {
        return Some("the kernel writes its messages there".to_owned());
    }
    let port = device.path.file_name()?.to_str()?;
    let command_line = text(&roots.proc.join("cmdline")).unwrap_or_default();
    let consoles = command_line.split_whitespace().filter_map(|word| word.strip_prefix("console="));
    if consoles.map(|console| console.split(',').next().unwrap_or_default()).any(|console| console == port) {
        return Some("the kernel command line says so".to_owned());
    }
    if let Some(getty) = device.holders.iter().find(|holder| holder.command.ends_with("getty")) {
        return Some(format!("{} ({}) offers a login there", getty.command, getty.pid));
    }
    let unit = format!("getty.target.wants/serial-getty@{port}.service");
    let wanted = [roots.etc.join("systemd/system"), roots.run.join("systemd/generator")];
    let is_wanted = wanted.iter().any(|folder| folder.join(&unit).symlink_metadata().is_ok());
    is_wanted.then(|| format!("serial-getty@{port}.service offers a login there"))
}

/// The text of a rule. Only the comment holds words of the device, and of those only what cannot end it.
fn rule(name: &str, identity: &Identity, device: &Device, keys: &str) -> String {
    let said = device.usb.as_ref().map(|usb| [&usb.manufacturer, &usb.product].map(Clone::clone)).unwrap_or_default();
    let words: Vec<String> = said
        .into_iter()
        .flatten()
        .chain(device.name.clone().filter(|_| device.usb.is_none()))
        .map(|text| harmless(&text))
        .collect();
    let comma = if words.is_empty() { "" } else { ", " };
    let of = format!("{}{comma}{identity}", words.join(" "));
    let keep_away = if device.port == Port::Serial {
        "# Keeps ModemManager and gpsd away.\n\
         ENV{ID_MM_DEVICE_IGNORE}=\"1\", ENV{ID_MM_PORT_IGNORE}=\"1\"\n\
         ENV{SYSTEMD_WANTS}==\"*gpsdctl@*\", ENV{SYSTEMD_WANTS}=\"\"\n"
    } else {
        ""
    };
    let braille = identity.usb_keys().map_or_else(String::new, |[vendor, product, last]| {
        let usb = format!("SUBSYSTEM==\"usb\", ENV{{DEVTYPE}}==\"usb_device\", {vendor}, {product}");
        let path = match identity {
            Identity::Socket { .. } => format!("{usb}, ENV{{ID_PATH}}==\"\", IMPORT{{builtin}}=\"path_id\"\n"),
            _ => String::new(),
        };
        format!(
            "# Keeps brltty away: it takes the device as a whole before there is a port.\n\
             {path}\
             {usb}, {last}, ENV{{SYSTEMD_WANTS}}==\"*brltty*\", ENV{{SYSTEMD_WANTS}}=\"\"\n"
        )
    });
    format!(
        "# /dev/waypost/{name}: {of}.\n\
         # Made by `waypost devices claim {name}`, undone by `waypost devices release {name}`.\n\
         ACTION==\"remove\", GOTO=\"end\"\n\
         {keys}, GOTO=\"port\"\n\
         {braille}\
         GOTO=\"end\"\n\
         LABEL=\"port\"\n\
         # For the service alone, whatever later rules say.\n\
         SYMLINK+=\"waypost/{name}\", OWNER:=\"root\", GROUP:=\"{GROUP}\", MODE:=\"0660\", TAG-=\"uaccess\"\n\
         {keep_away}\
         LABEL=\"end\"\n"
    )
}

/// The words of a device without what could end or continue a line, or play tricks on who reads it.
fn harmless(text: &str) -> String {
    text.chars()
        .take(64)
        .map(|c| if c.is_ascii_graphic() && !matches!(c, '\\' | '"') || c == ' ' { c } else { '?' })
        .collect()
}
