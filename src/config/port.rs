//! The syntaxes of ports, addresses and networks. Each answer is a value, or what is wrong and what to write instead.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::config::finding::shown;
use crate::config::{Listen, Network, Parity, Port};

/// What is wrong with a value, and what to write instead.
pub(super) type Wrong = (String, String);

fn wrong<T>(message: impl Into<String>, remedy: impl Into<String>) -> Result<T, Wrong> {
    Err((message.into(), remedy.into()))
}

/// Which ports a kind of source has.
const GPS_PORTS: &str =
    "write /dev/…, tcp://host:port, tcp-listen://addr:port, udp-listen://addr:port, gpsd://host:port or file:///path";
const SCANNER_PORTS: &str =
    "write /dev/…, tcp://host:port, tcp-listen://addr:port, udp-listen://addr:port, file:///path or hid:///dev/…";

/// A source's port.
pub(super) fn port(text: &str, is_gps: bool) -> Result<Port, Wrong> {
    let all = if is_gps { GPS_PORTS } else { SCANNER_PORTS };
    let Some((scheme, rest)) = text.split_once("://") else {
        return tty(text, all);
    };
    match scheme {
        "tcp" => host_port(rest, None).map(|(host, port)| Port::Tcp(host, port)),
        "tcp-listen" => socket(rest).map(Port::TcpListen),
        "udp-listen" => socket(rest).map(Port::UdpListen),
        "gpsd" if is_gps => gpsd(rest),
        "file" => absolute(rest, scheme).map(Port::File),
        "hid" if !is_gps => absolute(rest, scheme).map(Port::Hid),
        "gpsd" => wrong("gpsd gives positions, no scans", all),
        "hid" => wrong("a keyboard device gives scans, no positions", all),
        "udp" => wrong("a UDP port only listens", format!("write udp-listen://{}", shown_rest(rest))),
        "serial" | "tty" => wrong("a tty is written without a scheme", format!("write {}", shown_rest(rest))),
        _ => wrong(format!("{} is no kind of port", shown(scheme)), all),
    }
}

/// `host[:port][?device=PATH]`
fn gpsd(text: &str) -> Result<Port, Wrong> {
    let (server, query) = text.split_once('?').map_or((text, None), |(server, query)| (server, Some(query)));
    let (host, port) = host_port(server, Some(2947))?;
    let Some(query) = query else { return Ok(Port::Gpsd(host, port, None)) };
    let is_name = |device: &&str| (1..=255).contains(&device.len()) && device.bytes().all(|b| b.is_ascii_graphic());
    match query.strip_prefix("device=").filter(is_name) {
        Some(device) => Ok(Port::Gpsd(host, port, Some(device.to_owned()))),
        None => wrong(
            format!("{} names no device", shown(query)),
            "write ?device= and the device as gpsd names it, as in gpsd://localhost:2947?device=/dev/ttyUSB0",
        ),
    }
}

fn tty(text: &str, all: &str) -> Result<Port, Wrong> {
    if text.is_empty() {
        return wrong("is empty", all);
    }
    if has_control(text) || text.len() > 255 {
        return wrong(format!("{} is no path of a device", shown(text)), all);
    }
    if text.starts_with('/') {
        return Ok(Port::Serial(PathBuf::from(text)));
    }
    if text.starts_with("tty") {
        return wrong(format!("{} is no whole path", shown(text)), format!("write /dev/{}", shown_rest(text)));
    }
    wrong(format!("{} is no port", shown(text)), all)
}

fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

/// The rest of a port for a remedy: cut and harmless, without the quotes.
fn shown_rest(rest: &str) -> String {
    shown(rest).trim_matches('"').to_owned()
}

fn absolute(rest: &str, scheme: &str) -> Result<PathBuf, Wrong> {
    if rest.starts_with('/') && rest.len() > 1 && rest.len() <= 4096 && !has_control(rest) {
        return Ok(PathBuf::from(rest));
    }
    wrong(
        format!("{} is no whole path", shown(rest)),
        format!("write three slashes and the whole path: {scheme}:///path"),
    )
}

/// An address and port to listen on.
fn socket(text: &str) -> Result<SocketAddr, Wrong> {
    match text.parse() {
        Ok(addr) => Ok(addr),
        Err(_) => wrong(
            format!("{} is no address and port to listen on", shown(text)),
            "write numbers, as in 127.0.0.1:4001, 0.0.0.0:4001 or [::1]:4001; ports are 1 to 65535",
        ),
    }
}

/// `host:port` or `[v6]:port`; the port may be left out when there is a usual one.
pub(super) fn host_port(text: &str, usual: Option<u16>) -> Result<(String, u16), Wrong> {
    let example = "write host:port, as in 192.168.7.20:4001 or [fd00::20]:4001";
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None => return wrong(format!("{} is no host and port", shown(text)), example),
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_v6 = text.starts_with('[') && host.parse::<std::net::Ipv6Addr>().is_ok();
    if !is_v6 && (text.starts_with('[') || !is_host(host)) {
        return wrong(format!("{} is no host name or address", shown(host)), example);
    }
    let port = match (port, usual) {
        (Some(port), _) => port.parse().ok().filter(|&port| port > 0),
        (None, Some(usual)) => Some(usual),
        (None, None) => return wrong(format!("{} has no port", shown(text)), example),
    };
    match port {
        Some(port) => Ok((host.to_owned(), port)),
        None => wrong(format!("{} has no port from 1 to 65535", shown(text)), example),
    }
}

/// A host name or IPv4 address, by its letters.
pub(super) fn is_host(host: &str) -> bool {
    let is_name = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let looks_numeric = !host.is_empty() && host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if looks_numeric {
        return host.parse::<std::net::Ipv4Addr>().is_ok();
    }
    host.len() <= 253 && host.strip_suffix('.').unwrap_or(host).split('.').all(is_name)
}

/// One address of the screen.
pub(super) fn listen(text: &str) -> Result<Listen, Wrong> {
    let example = "write \"127.0.0.1:8080\", \"[::1]:8080\" or an interface as in \"wlan0:8080\"";
    if let Ok(addr) = text.parse() {
        return Ok(Listen::Addr(addr));
    }
    let Some((name, port)) = text.rsplit_once(':') else {
        return wrong(format!("{} is no address and port", shown(text)), example);
    };
    let Ok(port) = port.parse::<u16>() else {
        return wrong(format!("{} has no port from 1 to 65535", shown(text)), example);
    };
    if name.eq_ignore_ascii_case("localhost") {
        return wrong("\"localhost\" is a name, not an address of this machine", format!("write \"127.0.0.1:{port}\""));
    }
    let is_interface = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.len() <= 15
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if is_interface {
        return Ok(Listen::Interface(name.to_owned(), port));
    }
    wrong(format!("{} is no address and no interface", shown(name)), example)
}

/// `192.168.7.0/24`, or one address.
pub(super) fn network(text: &str) -> Result<Network, Wrong> {
    let example = "write a network as in \"192.168.7.0/24\" or one address";
    let (addr, bits) = match text.split_once('/') {
        Some((addr, bits)) => (addr, Some(bits)),
        None => (text, None),
    };
    let Ok(addr) = addr.parse::<IpAddr>() else {
        return wrong(format!("{} is no network", shown(text)), example);
    };
    let widest = if addr.is_ipv4() { 32 } else { 128 };
    let bits = match bits.map(str::parse::<u8>) {
        None => widest,
        Some(Ok(bits)) if bits <= widest => bits,
        Some(_) => return wrong(format!("{} has no prefix from 0 to {widest}", shown(text)), example),
    };
    let first = first_of(addr, bits);
    if first != addr {
        return wrong(
            format!("{} is an address inside a network", shown(text)),
            format!("write \"{first}/{bits}\" for the network or \"{addr}\" for the address"),
        );
    }
    Ok(Network { addr, bits })
}

fn first_of(addr: IpAddr, bits: u8) -> IpAddr {
    match addr {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

/// Broker scheme, host and port. The value is never repeated when it may hold a secret.
pub(super) fn broker(url: &str) -> Result<(bool, String, u16), Wrong> {
    let is_over_tls =
        ["mqtts", "ssl", "tls", "wss", "https"].iter().any(|scheme| url.starts_with(&format!("{scheme}://")));
    let example = if is_over_tls { "write mqtts://host:8883" } else { "write mqtt://host:1883" };
    if url.contains('@') {
        return wrong(
            "a user name or password in url would show in logs and listings",
            "leave it out and set username and password_file",
        );
    }
    let (tls, rest) = match url.split_once("://") {
        Some(("mqtt", rest)) => (false, rest),
        Some(("mqtts", rest)) => (true, rest),
        Some((scheme @ ("tcp" | "ssl" | "tls" | "ws" | "wss" | "http" | "https"), _)) => {
            return wrong(format!("{scheme}:// is not MQTT over TCP"), example);
        }
        _ => return wrong(format!("{} is no address of an MQTT broker", shown(url)), example),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#']) {
        return wrong("has something behind host and port", example);
    }
    let (host, port) = host_port(rest, Some(if tls { 8883 } else { 1883 }))
        // What stands there is not repeated: it may hold a secret.
        .map_err(|_| ("has no host name or address, or no port from 1 to 65535".to_owned(), example.to_owned()))?;
    Ok((tls, host, port))
}

/// `8N1`
pub(super) fn serial(text: &str) -> Option<(u8, Parity, u8)> {
    let [data @ b'5'..=b'8', parity, stop @ b'1'..=b'2'] = *text.as_bytes() else {
        return None;
    };
    let parity = match parity {
        b'N' | b'n' => Parity::None,
        b'E' | b'e' => Parity::Even,
        b'O' | b'o' => Parity::Odd,
        _ => return None,
    };
    Some((data - b'0', parity, stop - b'0'))
}
