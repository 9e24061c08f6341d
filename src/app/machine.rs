//! What tells this machine from all others, as its files say it: for noticing that a card was copied into another one.
//!
//! Only what stays with the board counts: neither the card, nor a new kernel, nor a new host name changes it. The machine id lies
//! on the card and goes with its copy, so it is none of these. In a container there is mostly nothing: then nothing is compared.

use std::fs;
use std::path::Path;

use crate::health::wedge;
use crate::store::Fact;

/// Serial numbers that boards are sold with when nobody has given them one, lower case.
const NOT_SERIALS: [&str; 14] = [
    "00020003-0004-0005-0006-000700080009",
    "0123456789",
    "0123456789abcdef",
    "03000200-0400-0500-0006-000700080009",
    "1234567890",
    "123456789",
    "1234567890abcdef",
    "chassis serial number",
    "default string",
    "none",
    "not applicable",
    "not specified",
    "system serial number",
    "to be filled by o.e.m.",
];
/// Shorter ones tell nothing. Characters
const SERIAL_MIN: usize = 6;
/// Buses that hold what is built in; what hangs on USB may hang on another machine tomorrow.
const BUILT_IN: [&str; 5] = ["platform", "pci", "sdio", "virtio", "of_platform"];
/// Files below the root of a machine, and what they are the serial number of.
const FILES: [(&str, &str); 3] = [
    ("board", "sys/firmware/devicetree/base/serial-number"),
    ("soc", "sys/devices/soc0/serial_number"),
    ("dmi", "sys/class/dmi/id/product_uuid"),
];

/// The facts of the running machine.
pub(super) fn facts() -> Vec<Fact> {
    let root = wedge::turned("WAYPOST_MACHINE").unwrap_or_else(|| "/".to_owned());
    facts_below(Path::new(&root))
}

/// The facts of the machine whose files lie below `root`. What cannot be read is left out: `dmi` is for root alone.
fn facts_below(root: &Path) -> Vec<Fact> {
    let of_file = |(kind, path): (&'static str, &str)| {
        let serial = serial(&fs::read(root.join(path)).ok()?)?;
        Some(Fact { kind, serial })
    };
    let mut facts: Vec<Fact> = FILES.into_iter().filter_map(of_file).collect();
    let cards = fs::read_dir(root.join("sys/class/net")).into_iter().flatten().flatten();
    let mut addresses: Vec<String> = cards.filter_map(|card| address(&card.path())).collect();
    addresses.sort();
    facts.extend(addresses.into_iter().map(|serial| Fact { kind: "nic", serial }));
    facts
}

/// A serial number that can be one, lower case.
fn serial(bytes: &[u8]) -> Option<String> {
    let text =
        String::from_utf8_lossy(bytes).trim_matches(|c: char| c == '\0' || c.is_whitespace()).to_ascii_lowercase();
    let first = text.chars().next()?;
    let tells = text.len() >= SERIAL_MIN && !text.chars().all(|c| c == first || c == '-');
    (tells && !NOT_SERIALS.contains(&text.as_str())).then_some(text)
}

/// The address that a built-in network card was made with; none for any other.
fn address(card: &Path) -> Option<String> {
    // What a card does not say, or does not let be read, it is not known by.
    let word = |name: &str| fs::read_to_string(card.join(name)).ok();
    let is_its_own = word("addr_assign_type")?.trim() == "0";
    let bus = fs::canonicalize(card.join("device/subsystem")).ok()?;
    let is_built_in = BUILT_IN.iter().any(|built_in| bus.file_name().is_some_and(|name| name == *built_in));
    let address = serial(word("address")?.as_bytes())?;
    (is_its_own && is_built_in && address != "00:00:00:00:00:00").then_some(address)
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
