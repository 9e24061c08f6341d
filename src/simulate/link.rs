//! The name under which a simulated port is found: a symbolic link that changes in one step and is left alone once
//! somebody else has taken it.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::SimulateError;

/// A path that is to point at our port.
pub(super) struct Link(PathBuf);

impl Link {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Points the link at `tty`: a reader finds the old target or the new one, never none. Only a link is replaced;
    /// a file or device of that name stays.
    pub(super) fn point_at(&self, tty: &Path) -> Result<(), SimulateError> {
        let path = &self.0;
        let taken = fs::symlink_metadata(path).is_ok_and(|there| !there.is_symlink());
        let Some(name) = path.file_name().filter(|_| !taken) else {
            let there = io::Error::from(io::ErrorKind::AlreadyExists);
            return Err(SimulateError::link(path, there, "it is not a link and stays; give another path"));
        };
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.new", std::process::id()));
        let beside = path.with_file_name(hidden);
        let remedy = "the folder must exist and be writable";
        // One of an earlier process with our id may be left; if it cannot go, making the link says so.
        if fs::symlink_metadata(&beside).is_ok_and(|there| there.is_symlink()) {
            fs::remove_file(&beside).map_err(|source| SimulateError::link(&beside, source, remedy))?;
        }
        symlink(tty, &beside).map_err(|source| SimulateError::link(path, source, remedy))?;
        fs::rename(&beside, path).map_err(|source| {
            if let Err(left) = fs::remove_file(&beside) {
                tracing::warn!(path = %beside.display(), error = %left, "a half-made link stays");
            }
            SimulateError::link(path, source, remedy)
        })
    }

    /// Removes the link if it still points at `tty`; another's link, or none, is left as it is.
    pub(super) fn release(&self, tty: &Path) {
        if fs::read_link(&self.0).is_ok_and(|target| target == tty)
            && let Err(error) = fs::remove_file(&self.0)
        {
            tracing::warn!(path = %self.0.display(), %error, "the link stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_replaced_and_removed_only_while_it_is_ours() {
        let dir = tempfile::tempdir().unwrap();
        let link = Link::new(dir.path().join("gps0"));
        link.point_at(Path::new("/dev/pts/71")).unwrap();
        link.point_at(Path::new("/dev/pts/72")).unwrap();
        link.release(Path::new("/dev/pts/71"));
        assert_eq!(fs::read_link(link.path()).unwrap(), Path::new("/dev/pts/72"));
        link.release(Path::new("/dev/pts/72"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_in_the_way_is_kept_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes.txt");
        fs::write(&path, "mine").unwrap();
        let error = Link::new(path.clone()).point_at(Path::new("/dev/pts/71")).unwrap_err();
        assert_eq!((error.exit_code(), fs::read_to_string(&path).unwrap().as_str()), (64, "mine"));
        assert!(error.to_string().contains("notes.txt"));
    }

    #[test]
    fn a_missing_folder_is_said_with_its_remedy() {
        let error = Link::new("/nonexistent/gps0".into()).point_at(Path::new("/dev/pts/71")).unwrap_err();
        assert_eq!(error.exit_code(), 74);
        assert!(error.to_string().contains("the folder must exist"));
    }
}
