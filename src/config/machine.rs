//! What the machine says about itself, for the name of a node that was given none.

use std::fs;

use crate::config::check::is_id;

/// Names that images and installers give to every machine alike.
const NOT_NAMES: [&str; 24] = [
    "alarm",
    "alpine",
    "arch",
    "archlinux",
    "armbian",
    "beaglebone",
    "buildroot",
    "debian",
    "dietpi",
    "fedora",
    "gateway",
    "linux",
    "localhost",
    "manjaro",
    "none",
    "openwrt",
    "orangepi",
    "pi",
    "raspberrypi",
    "raspbian",
    "rockpi",
    "ubuntu",
    "waypost",
    "yocto",
];

/// The machine's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The kernel's host name; may be empty.
    pub hostname: String,
    /// `/etc/machine-id`, 32 hex digits, when there is one.
    pub machine_id: Option<String>,
}

impl Machine {
    /// Asks the running machine. What cannot be read is left empty: `load` then wants `node.id`.
    #[must_use]
    pub fn read() -> Self {
        let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
        let machine_id = fs::read_to_string("/etc/machine-id").ok().map(|id| id.trim().to_owned());
        Self { hostname, machine_id }
    }

    /// The id of a node that was given none, and where it is from.
    pub(super) fn node_id(&self) -> Option<(String, &'static str)> {
        let name = self.hostname.split('.').next().unwrap_or_default();
        let is_real = is_id(name) && !NOT_NAMES.contains(&name.to_ascii_lowercase().as_str());
        if is_real {
            return Some((name.to_owned(), "the host name"));
        }
        let id = self.machine_id.as_deref()?;
        let is_machine_id = id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
        is_machine_id.then(|| (format!("wp-{}", &id[..8]), "the machine id"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node_id(hostname: &str, machine_id: Option<&str>) -> Option<String> {
        let machine = Machine { hostname: hostname.into(), machine_id: machine_id.map(Into::into) };
        machine.node_id().map(|(id, _)| id)
    }

    #[test]
    fn a_real_host_name_names_the_node_and_an_image_name_does_not() {
        let id = Some("0123abcd0123abcd0123abcd0123abcd");
        assert_eq!(node_id("wp-07.yard.example", id).as_deref(), Some("wp-07"));
        for name in ["raspberrypi", "localhost", "Debian", "", "(none)", "localhost.localdomain", "händler"] {
            assert_eq!(node_id(name, id).as_deref(), Some("wp-0123abcd"), "{name}");
        }
    }

    #[test]
    fn a_machine_without_any_name_gives_none() {
        assert_eq!(node_id("localhost", None), None);
        assert_eq!(node_id("localhost", Some("uninitialized")), None);
        assert_eq!(node_id("localhost", Some("ééééééééééééééééé")), None);
    }
}
