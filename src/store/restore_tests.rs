//! A copy in the place of a store: also when the process is cut off before the store is opened.

use super::tests::identity;
use super::*;
use crate::domain::Stamp;

fn clock() -> Clock {
    Clock::manual(Stamp { mono_us: 1_000, wall_ms: 1_795_169_472_000 })
}

fn open(dir: &Path) -> opening::Begun {
    let path = dir.join("waypost.db");
    opening::open(dir, &path, &identity(true, false), &clock(), &Quota::none(&path)).unwrap()
}

#[test]
fn a_copy_that_is_in_place_begins_a_new_life_with_its_next_opening_once_whatever_the_mark_knows() {
    for marked in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let before = open(dir.path());
        let file = dir.path().join("copy.db");
        copy(&dir.path().join("waypost.db"), &file, &Arc::default(), |_, _| ()).unwrap().unwrap();
        if !marked {
            std::fs::remove_file(dir.path().join("waypost.mark")).unwrap();
        }
        let mut from = File::open(&file).unwrap();
        let restoring = Restoring::begin(dir.path(), &mut from, &file, &Arc::default(), |_, _| {}).unwrap().unwrap();
        let kept = restoring.finish("somebody", &clock()).unwrap().unwrap();
        assert!(kept.join("waypost.db").exists());
        // Whoever opens it next, a command or the daemon after a cut, begins the life.
        let begun = open(dir.path());
        assert_ne!(begun.epoch, before.epoch, "a mark: {marked}");
        assert_eq!(begun.findings.len(), 1);
        let audit = "select who, what from audit";
        let conn = Connection::open(dir.path().join("waypost.db")).unwrap();
        let said: (String, String) = conn.query_row(audit, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!(said, ("somebody".to_owned(), "restore".to_owned()));
        let again = open(dir.path());
        assert_eq!(again.epoch, begun.epoch);
        assert_eq!(
            again.findings, begun.findings,
            "whoever did it was the first to open it: a person has seen nothing yet"
        );
        std::fs::remove_dir_all(&kept).unwrap();
        assert_eq!(open(dir.path()).findings, Vec::new());
        std::fs::create_dir_all(&kept).unwrap();
        assert_eq!(open(dir.path()).findings, Vec::new(), "over is over");
    }
}

#[test]
fn a_copy_that_cannot_be_read_is_not_told_as_a_fault_of_the_disk_of_the_store() {
    let (dir, stick) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut from = File::open(stick.path()).unwrap();
    let begun = Restoring::begin(dir.path(), &mut from, stick.path(), &Arc::default(), |_, _| {});
    let error = begun.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains(stick.path().to_str().unwrap()) && error.contains("cannot be read"), "{error}");
    assert!(!dir.path().join("waypost.db.restoring").exists());
}
