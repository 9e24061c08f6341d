//! The pages about hardware: what they tell people to write into the configuration is valid.

use crate::bench::{Site, repository, stderr, stdout};

/// The TOML blocks of the pages below `hardware/`, each with its page.
fn blocks() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in ["hardware", "hardware/receivers", "hardware/scanners"] {
        for entry in std::fs::read_dir(repository(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|ending| ending != "md") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let parts = text.split("```toml\n").skip(1).filter_map(|part| part.split_once("```"));
            found.extend(parts.map(|(block, _)| (path.display().to_string(), block.to_owned())));
        }
    }
    found
}

#[test]
fn what_the_pages_tell_people_to_configure_is_valid() {
    let blocks = blocks();
    assert!(blocks.len() >= 12, "{} blocks", blocks.len());
    let site = Site::new();
    for (page, block) in blocks {
        let file = site.path("page.toml");
        std::fs::write(&file, format!("[store]\ndir = \"{}\"\n\n{block}", site.path("store").display())).unwrap();
        let checked = site.ask(&["check", file.to_str().unwrap()]);
        // A page may tell of a port that this version does not know: then nothing else may be wrong.
        let later = stderr(&checked);
        let only_later = later.contains("is not in this version yet") && later.lines().count() <= 2;
        assert!(checked.status.success() || only_later, "{page}\n{block}\n{}{later}", stdout(&checked));
    }
}
