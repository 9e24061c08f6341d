//! `waypost screen`: where the screen is, from here and from elsewhere; how to open it to one network and what that exposes; and
//! once it is open, its address as a code for the camera of a phone.

use std::ffi::CStr;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use qrcodegen::{QrCode, QrCodeEcc};
use serde_json::Value;

use super::ask::Running;
use super::{Done, load, print};
use crate::config::{Config, Listen, Machine, Read, tunnel};

/// Light modules around a code, or no camera finds it.
const QUIET: i32 = 4;
/// Beginnings of names of interfaces that no yard is behind: of containers, tunnels and modems.
const NOT_YARDS: [&str; 14] =
    ["lo", "docker", "veth", "br-", "virbr", "lxc", "cni", "tun", "tap", "wg", "tailscale", "ppp", "wwan", "usb"];

/// An address of this machine, and the interface that has it.
type Own = (String, IpAddr);

/// Where the screen is.
pub(super) struct Door {
    /// As it listens, for this machine.
    bound: Vec<SocketAddr>,
    /// As others reach it; empty while it is for this machine alone.
    outside: Vec<SocketAddr>,
    /// `http` or `https`.
    scheme: &'static str,
    /// Whether whoever reaches it may look.
    is_open: bool,
    /// The addresses of this machine.
    own: Vec<Own>,
}

impl Door {
    /// Of a running node by its health, else as it is configured; none when neither says where it listens.
    pub(super) fn find(config: Option<&Config>, health: Option<&Value>) -> Option<Self> {
        let listen = config.map(|config| config.http.listen.as_slice()).unwrap_or_default();
        let told = health.and_then(|health| health["listen"].as_array());
        let bound: Vec<SocketAddr> = match told {
            Some(told) => told.iter().filter_map(|at| at.as_str()?.parse().ok()).collect(),
            None => listen.iter().map(as_address).collect(),
        };
        if bound.is_empty() {
            return None;
        }
        // Where they cannot be told, the address as it listens has to do.
        let own = addresses().unwrap_or_default();
        let outside = reached(&bound, listen, &own);
        let is_tls = config.is_some_and(|config| config.http.tls.is_some());
        let is_open = config.is_none_or(|config| config.http.read == Read::Open);
        Some(Self { bound, outside, scheme: if is_tls { "https" } else { "http" }, is_open, own })
    }

    fn url(&self, at: SocketAddr) -> String {
        format!("{}://{at}/", self.scheme)
    }

    /// Where it is, in a line.
    pub(super) fn line(&self) -> String {
        if let Some(line) = self.tunnel() {
            return format!("{} on this machine alone; from yours: {line}", self.url(self.bound[0]));
        }
        let urls: Vec<String> = self.outside.iter().map(|at| self.url(*at)).collect();
        let whom = if self.is_open { "whoever reaches it may look" } else { "who has the PIN may look" };
        format!("{}, {whom}", urls.join(" "))
    }

    /// What says more.
    pub(super) const ADVICE: &str = "waypost screen: how to reach it from elsewhere, and what opening it exposes";

    fn tunnel(&self) -> Option<String> {
        let user = ["SUDO_USER", "USER"]
            .into_iter()
            .find_map(|name| std::env::var(name).ok())
            .filter(|user| is_plain(user) && user != "root");
        let host = Machine::read().hostname;
        let host = Some(host).filter(|host| is_plain(host)).unwrap_or_else(|| "THIS-MACHINE".to_owned());
        tunnel(&self.bound, &format!("{}@{host}", user.as_deref().unwrap_or("USER")))
    }

    /// All there is to say, for a person.
    fn words(&self, file: &Path, style: Style) -> String {
        let mut out = String::new();
        let mut line = |text: &str| writeln!(out, "{text}").unwrap_or_default();
        let Some(tunnel) = self.tunnel() else {
            for at in &self.outside {
                line(&self.url(*at));
            }
            let Some(best) = self.outside.iter().find(|at| at.is_ipv4()).or(self.outside.first()) else {
                line(
                    "The screen is open to networks, and this machine has no address in any: see that it is connected.",
                );
                return out;
            };
            let url = self.url(*best);
            match QrCode::encode_text(&url, QrCodeEcc::Low) {
                Ok(code) => line(&format!("\n{}\n{url}", paint(&code, style))),
                // An address is short: it always fits.
                Err(error) => tracing::debug!(%error, "no code could be made of the address"),
            }
            line(&self.exposed());
            return out;
        };
        let (at, port) = (self.url(self.bound[0]), self.bound[0].port());
        line(&format!("{at} on this machine alone.\n"));
        line(&format!("From your own machine, for as long as this runs there:\n    {tunnel}\nthen open {at} there.\n"));
        let found = self.own.iter().filter(|own| is_yard(own)).min_by_key(|(name, _)| !name.starts_with('e'));
        let (name, of) =
            found.map_or_else(|| ("eth0", String::new()), |(name, ip)| (name.as_str(), format!(" ({ip})")));
        let conf = file.parent().unwrap_or(Path::new("/etc/waypost")).join("conf.d/20-screen.toml");
        line(&format!("To open it to the network of {name}{of}, write into {}:", conf.display()));
        line(&format!("    [http]\n    listen = [\"{}\", \"{name}:{port}\"]", self.bound[0]));
        line("then: waypost check && sudo systemctl restart waypost");
        line(&self.exposed());
        out
    }

    /// What an open screen exposes.
    fn exposed(&self) -> String {
        let whom = if self.is_open {
            "Whoever is in that network sees the yard, every scan and every place"
        } else {
            "Whoever is in that network and has the PIN sees the yard, every scan and every place"
        };
        let (clear, tls) = match self.scheme {
            "https" => ("", ""),
            _ => (", unencrypted", "tls_cert_file and tls_key_file make it https. "),
        };
        format!(
            "{whom}{clear}.\nTo change something takes the PIN (sudo waypost pin set); read = \"pin\" shows it after the PIN \
             only.\n{tls}Never open it to the internet."
        )
    }
}

/// `waypost screen`
pub(super) fn screen(file: &Path) -> Done {
    let config = load(file).ok().map(|loaded| loaded.config);
    let found = Running::find(file);
    let idle = if matches!(found, Ok(None)) { "\nThe node does not run: sudo systemctl start waypost\n" } else { "" };
    // Who may not ask the node, or gets no answer, reads in its files where it listens.
    let health: Option<Value> = found.ok().flatten().and_then(|node| node.get("/health").ok());
    let Some(door) = Door::find(config.as_ref(), health.as_ref()) else {
        return print("The screen listens nowhere; waypost doctor says why.\n");
    };
    print(&(door.words(file, Style::of_stdout()) + idle))
}

fn as_address(listen: &Listen) -> SocketAddr {
    match listen {
        Listen::Addr(at) => *at,
        Listen::Interface(_, port) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, *port)),
    }
}

/// Whether a word may stand in a line that somebody copies into a shell.
fn is_plain(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn is_yard((name, ip): &Own) -> bool {
    ip.is_ipv4() && !NOT_YARDS.iter().any(|not| name.starts_with(not))
}

/// The addresses under which others reach what listens; `own`: all of this machine.
fn reached(bound: &[SocketAddr], listen: &[Listen], own: &[Own]) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for at in bound.iter().filter(|at| !at.ip().to_canonical().is_loopback()) {
        if !at.ip().is_unspecified() {
            found.push(*at);
            continue;
        }
        let named = |name: &str| {
            listen.iter().any(|one| matches!(one, Listen::Interface(of, port) if of == name && *port == at.port()))
        };
        let is_every = !listen.iter().any(|one| matches!(one, Listen::Interface(_, port) if *port == at.port()));
        let is_meant =
            |(name, ip): &&Own| !ip.is_loopback() && (is_every || named(name)) && (at.is_ipv6() || ip.is_ipv4());
        found.extend(own.iter().filter(is_meant).map(|(_, ip)| SocketAddr::new(*ip, at.port())));
    }
    found.sort_by_key(SocketAddr::is_ipv6);
    found.dedup();
    found
}

/// The addresses of the interfaces that are up, without those that hold on one link only.
fn addresses() -> io::Result<Vec<Own>> {
    let mut first: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: the pointer is ours, and is written only when the call succeeds.
    if unsafe { libc::getifaddrs(&raw mut first) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let (mut found, mut next) = (Vec::new(), first);
    // SAFETY: the list is whole until it is freed below, after its last use; a name ends with a zero byte, and an address that is
    // not null has the length of its family.
    unsafe {
        while let Some(one) = next.as_ref() {
            next = one.ifa_next;
            let is_up = one.ifa_flags & u32::try_from(libc::IFF_UP).unwrap_or_default() != 0;
            let Some(address) = one.ifa_addr.as_ref().filter(|_| is_up) else { continue };
            let ip = match i32::from(address.sa_family) {
                libc::AF_INET => {
                    let of = one.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned();
                    IpAddr::V4(Ipv4Addr::from_bits(u32::from_be(of.sin_addr.s_addr)))
                }
                libc::AF_INET6 => {
                    let of = one.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned();
                    IpAddr::V6(Ipv6Addr::from(of.sin6_addr.s6_addr))
                }
                _ => continue,
            };
            let is_of_link = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
            if !is_of_link {
                found.push((CStr::from_ptr(one.ifa_name).to_string_lossy().into_owned(), ip));
            }
        }
        libc::freeifaddrs(first);
    }
    Ok(found)
}

/// What a terminal can show.
#[derive(Clone, Copy)]
struct Style {
    /// Half blocks, or else plain signs.
    blocks: bool,
    /// Light on dark whatever the terminal's own colours are.
    colour: bool,
}

impl Style {
    fn of_stdout() -> Self {
        let told = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let words = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(told).unwrap_or_default().to_lowercase();
        let colour =
            io::stdout().is_terminal() && told("NO_COLOR").is_none() && told("TERM").is_some_and(|term| term != "dumb");
        Self { blocks: words.contains("utf-8") || words.contains("utf8"), colour }
    }
}

/// A code in characters: two rows a line in half blocks, or two signs a module.
fn paint(code: &QrCode, Style { blocks, colour }: Style) -> String {
    let (from, to) = (-QUIET, code.size() + QUIET);
    // A module outside of the code is light.
    let light = |x, y| !code.get_module(x, y);
    let step = if blocks { 2 } else { 1 };
    let lines = (from..to).step_by(step).map(|y| {
        let line: String = (from..to)
            .map(|x| match (blocks, light(x, y), light(x, y + 1)) {
                (false, true, _) => "##",
                (false, false, _) => "  ",
                (true, true, true) => "█",
                (true, true, false) => "▀",
                (true, false, true) => "▄",
                (true, false, false) => " ",
            })
            .collect();
        if colour { format!("\x1b[97;40m{line}\x1b[0m\n") } else { line + "\n" }
    });
    lines.collect()
}

#[cfg(test)]
#[path = "door_tests.rs"]
mod tests;
