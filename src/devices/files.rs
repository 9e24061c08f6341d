//! Reading what the system tells about itself in small files, folders and links.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Most that is read of a list of users or of a device's properties. Bytes.
pub(super) const FILE_MAX: u64 = 1024 * 1024;

/// The first link of a folder that leads to a node.
pub(super) fn link_to(folder: &Path, node: &Path) -> Option<PathBuf> {
    let links = names(folder).ok()?.into_iter().map(|name| folder.join(name));
    links.into_iter().find(|link| {
        let Ok(target) = fs::read_link(link) else { return false };
        plain(&folder.join(target)) == plain(node)
    })
}

/// A path with its `..` resolved by the text alone: the node need not be there.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                out.pop();
            }
            std::path::Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

/// The entries of a folder, in order; none when there is no such folder.
pub(super) fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => {
            entries.map_err(|error| io::Error::new(error.kind(), format!("read {}: {error}", folder.display())))?
        }
    };
    // A name that is not UTF-8 is none that the kernel gives.
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// A short file without what could play tricks on a terminal; none when it cannot be read.
pub(super) fn text(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(4096).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    Some(text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
}

/// The fields of a file like `passwd`; no lines when it cannot be read.
pub(super) fn text_lines(path: &Path) -> Vec<Vec<String>> {
    let mut bytes = Vec::new();
    if let Err(error) = fs::File::open(path).and_then(|file| file.take(FILE_MAX).read_to_end(&mut bytes)) {
        tracing::debug!(path = %path.display(), %error, "names stay numbers");
    }
    let text = String::from_utf8_lossy(&bytes);
    text.lines().map(|line| line.split(':').map(str::to_owned).collect()).collect()
}
