//! What udev knows of a device, read from its database: the very words that its rules are matched against.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use super::Roots;
use super::files::{FILE_MAX, text};

/// The properties of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Properties(BTreeMap<String, String>);

impl Properties {
    /// A property that is there and not empty.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// The properties of the device whose folder in a class of sysfs is `class`; none when udev has not seen it.
pub(super) fn properties(roots: &Roots, class: &Path) -> Option<Properties> {
    let number = text(&class.join("dev"))?;
    let mut found = Vec::new();
    let file = fs::File::open(roots.run.join("udev/data").join(format!("c{number}"))).ok()?;
    file.take(FILE_MAX).read_to_end(&mut found).ok()?;
    let found = String::from_utf8_lossy(&found);
    let properties = found.lines().filter_map(|line| line.strip_prefix("E:")?.split_once('='));
    Some(Properties(properties.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()))
}
