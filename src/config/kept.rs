//! The configuration of the last healthy start, kept beside the store: what a node runs on when its files are invalid.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::config::finding::Invalid;
use crate::config::load::{self, Loaded};
use crate::config::machine::Machine;
use crate::config::merged::MergedDoc;

/// Its name in the store's folder.
pub const KEPT_FILE: &str = "last-good.toml";

/// Keeps a configuration that has led to a healthy start: the old one or the new one survives a power cut, never half.
///
/// # Errors
/// The folder cannot be written; the node runs on without.
pub fn keep_last_good(dir: &Path, merged: &MergedDoc) -> io::Result<()> {
    let text = format!(
        "# The configuration of the last healthy start. waypost writes it and runs on it when its files are invalid.\n\n{}",
        merged.to_toml()
    );
    let path = dir.join(KEPT_FILE);
    if fs::read(&path).is_ok_and(|kept| kept == text.as_bytes()) {
        return Ok(());
    }
    let next = dir.join(format!("{KEPT_FILE}.next"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&next)?;
    file.set_permissions(fs::Permissions::from_mode(0o640))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&next, &path)?;
    File::open(dir)?.sync_all()
}

/// The kept configuration; none when there never was a healthy start.
///
/// # Errors
/// It is there but cannot be read or is not valid, as after a downgrade; the caller exits 78 with these findings too.
pub fn last_good(dir: &Path, machine: &Machine) -> Result<Option<Loaded>, Invalid> {
    let path = dir.join(KEPT_FILE);
    match fs::symlink_metadata(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        _ => load::parse_kept(&path, machine).map(Some),
    }
}

/// The `store.dir` that files name which are not valid as a whole: the last one on a line that can be read by itself.
/// None when no such line is there; what stands there is not checked.
#[must_use]
pub fn named_store_dir(main_file: &Path) -> Option<PathBuf> {
    let parts = load::parts_of(main_file).unwrap_or_default();
    let files = std::iter::once(main_file).chain(parts.iter().map(PathBuf::as_path));
    files.filter_map(|file| store_dir_in(&String::from_utf8_lossy(&load::read(file).ok()?))).next_back()
}

fn store_dir_in(text: &str) -> Option<PathBuf> {
    let (mut table, mut found) = (String::new(), None);
    for line in text.lines() {
        if line.trim_start().starts_with('[') {
            line.split('#').next().unwrap_or_default().trim().clone_into(&mut table);
        } else if let Ok(keys) =
            format!("{}\n{line}", if table == "[store]" { "[store]" } else { "" }).parse::<toml::Table>()
            && (table.is_empty() || table == "[store]")
            && let Some(dir) = keys.get("store").and_then(|store| store.get("dir")?.as_str())
        {
            found = Some(PathBuf::from(dir));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_found_in_a_file_that_is_broken_around_it() {
        let dir = |text: &str| store_dir_in(text).map(|dir| dir.display().to_string());
        for (text, expect) in [
            ("[node]\nid = \"never closed\n[store] # here\n dir = \"/data\"\n", Some("/data")),
            ("store.dir = '/data'\n[[gps\n", Some("/data")),
            ("store = { dir = \"/data\" }\nnode = 7\n", Some("/data")),
            ("[store]\ndir = \"/old\"\ndir = \"/data\"\n", Some("/data")),
            ("[other]\ndir = \"/data\"\n", None),
            ("[store]\ndir = 7\n", None),
            ("", None),
        ] {
            assert_eq!(dir(text).as_deref(), expect, "{text}");
        }
    }
}
