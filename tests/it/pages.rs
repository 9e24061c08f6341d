//! The pages: what they tell people to write into the configuration is valid.

use crate::bench::{Site, now_s, repository, stderr, stdout};
use crate::ca::{Ca, DAY_S};

/// The TOML blocks of the pages in these folders, each with its page.
fn blocks(folders: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in folders {
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

/// What the pages name below `/etc/waypost`, here: certificates and keys of one authority, a password, a plan.
fn papers(site: &Site) {
    let folder = site.path("etc/credentials");
    std::fs::create_dir_all(&folder).unwrap();
    let ca = Ca::new("Halden CA");
    ca.write(&folder.join("ca.pem"));
    for name in ["node", "screen"] {
        let signed = ca.sign(&["wp-07"], (now_s() - DAY_S, now_s() + 300 * DAY_S));
        signed.write(&folder.join(format!("{name}.pem")), &folder.join(format!("{name}.key")));
    }
    let password = folder.join("mqtt-password");
    std::fs::write(&password, "secret\n").unwrap();
    std::fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    std::fs::copy(repository("hardware/demo/zones.geojson"), site.path("etc/zones.geojson")).unwrap();
}

#[test]
fn what_the_pages_tell_people_to_configure_is_valid() {
    let operating = blocks(&["docs/operating"]);
    assert!(operating.len() >= 8, "{} blocks", operating.len());
    let hardware = blocks(&["hardware", "hardware/receivers", "hardware/scanners"]);
    assert!(hardware.len() >= 12, "{} blocks", hardware.len());
    let site = Site::new();
    papers(&site);
    for (page, block) in [blocks(&[".", "docs", "examples/acl"]), operating, hardware].concat() {
        let file = site.path("page.toml");
        let store = format!("[store]\ndir = \"{}\"\n", site.path("store").display());
        let whole =
            if block.contains("[store]\n") { block.replace("[store]\n", &store) } else { store + "\n" + &block };
        std::fs::write(&file, whole.replace("/etc/waypost", &site.path("etc").display().to_string())).unwrap();
        let checked = site.ask(&["check", file.to_str().unwrap()]);
        // A page may tell of a port that this version does not know: then nothing else may be wrong.
        let later = stderr(&checked);
        let only_later = later.contains("is not in this version yet") && later.lines().count() <= 2;
        assert!(checked.status.success() || only_later, "{page}\n{block}\n{}{later}", stdout(&checked));
    }
}
