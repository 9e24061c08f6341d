//! Which files behind `mqtts://` are taken, and what is said of those that are not.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use super::*;
use crate::config::ca::{Ca, DAY_S};
use crate::config::{Loaded, Machine, load};

const SPAN: (i64, i64) = (1_790_000_000, 1_800_000_000);

struct Desk {
    dir: tempfile::TempDir,
}

impl Desk {
    /// An authority's and a node's papers as they should be.
    fn new() -> (Self, Ca) {
        let (desk, ca) = (Self { dir: tempfile::tempdir().unwrap() }, Ca::new("Test CA"));
        ca.write(&desk.path("ca.pem"));
        ca.sign(&["wp-t"], SPAN).write(&desk.path("node.pem"), &desk.path("node.key"));
        (desk, ca)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn uplink(&self) -> Uplink {
        let file = |name: &str| self.path(name).display().to_string();
        let text = format!(
            "[node]\nid = \"wp-t\"\n[uplink]\nurl = \"mqtts://b\"\nca_file = \"{}\"\ncert_file = \"{}\"\nkey_file = \"{}\"\n",
            file("ca.pem"),
            file("node.pem"),
            file("node.key")
        );
        std::fs::write(self.path("waypost.toml"), text).unwrap();
        let machine = Machine { hostname: "wp-t".into(), machine_id: None };
        let Loaded { config, .. } = load(&self.path("waypost.toml"), &machine).unwrap();
        config.uplink.unwrap()
    }

    fn read(&self) -> Result<Papers, Vec<PaperFault>> {
        Papers::read(&self.uplink())
    }

    /// What is wrong, as one text a file.
    fn wrong(&self) -> Vec<String> {
        self.read().unwrap_err().iter().map(ToString::to_string).collect()
    }
}

#[test]
fn papers_that_fit_are_read_with_their_terms() {
    let (desk, _ca) = Desk::new();
    let papers = desk.read().unwrap();
    assert_eq!(papers.roots.len(), 1);
    assert_eq!(papers.own.unwrap().cert.len(), 1);
    assert_eq!(papers.warnings, []);
    let own = papers.terms.iter().find(|term| term.of == "the node's certificate").unwrap();
    assert_eq!((own.from_s, own.until_s), SPAN);
    assert_eq!(papers.terms.iter().find(|term| term.of.starts_with("the CA in /")).unwrap().from_s, 0);
}

#[test]
fn of_a_chain_the_first_to_end_counts_and_of_several_authorities_the_last() {
    let chain = [(0, 30), (5, 20)].map(|span| {
        let pem = Ca::new("CA").sign(&["n"], span).cert;
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    });
    let spans = |term: Term| (term.from_s, term.until_s);
    assert_eq!(Term::of_chain("it", &chain).map(spans), Some((5, 20)));
    assert_eq!(Term::of_any("they".into(), &chain).map(spans), Some((0, 30)));
    assert_eq!(Term::of_chain("it", &[]), None);
    // Beyond 2049 a certificate writes its dates another way.
    let late = Ca::new("CA").sign(&["n"], (0, 40_000 * DAY_S)).cert;
    let late = CertificateDer::from_pem_slice(late.as_bytes()).unwrap();
    assert_eq!(validity(&late).unwrap(), (0, 40_000 * DAY_S));
}

#[test]
fn certificates_of_any_bytes_never_panic() {
    let whole = CertificateDer::from_pem_slice(Ca::new("CA").sign(&["n"], SPAN).cert.as_bytes()).unwrap().to_vec();
    for at in 0..whole.len() {
        assert!(validity(&whole[..at]).is_err(), "cut at {at}");
        for bit in 0..8 {
            let mut bent = whole.clone();
            bent[at] ^= 1 << bit;
            // Whether its dates can still be read is another matter.
            let read = validity(&bent);
            assert!(read.is_err() || read.is_ok(), "bit {bit} of {at}");
        }
    }
}

#[test]
fn each_file_that_cannot_be_used_is_named_with_what_to_do() {
    let (desk, ca) = Desk::new();
    let other = ca.sign(&["wp-t"], SPAN);
    std::fs::write(desk.path("node.key"), &other.key).unwrap();
    let wrong = desk.wrong();
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert!(wrong[0].starts_with("uplink.key_file: ") && wrong[0].contains("is not the key of"), "{wrong:?}");
    for (name, text, words) in [
        ("node.key", "", "holds no private key as PEM"),
        (
            "node.key",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "passphrase",
        ),
        ("node.pem", &*other.key, "holds no certificate"),
        ("node.pem", "-----BEGIN CERTIFICATE-----\n!!!\n", "is broken"),
        (
            "node.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "begins with what is no certificate",
        ),
        ("ca.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate 1 in"),
        ("ca.pem", "hello", "holds no certificate"),
    ] {
        let (desk, _ca) = Desk::new();
        std::fs::write(desk.path(name), text).unwrap();
        let wrong = desk.wrong();
        assert!(wrong.len() == 1 && wrong[0].contains(words), "{words}: {wrong:?}");
        assert!(wrong[0].contains(&format!("/{name}")) || name == "node.pem", "{wrong:?}");
        assert!(!wrong[0].contains(other.key.lines().nth(1).unwrap()), "a key is never shown: {wrong:?}");
    }
    let uplink = desk.uplink();
    for name in ["ca.pem", "node.pem"] {
        std::fs::remove_file(desk.path(name)).unwrap();
    }
    let wrong: Vec<String> = Papers::read(&uplink).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(wrong.len(), 2, "every one is named: {wrong:?}");
    assert!(wrong.iter().all(|text| text.contains("cannot be read: No such file")), "{wrong:?}");
    let big = vec![b'x'; usize::try_from(PEM_MAX).unwrap() + 1];
    std::fs::write(desk.path("ca.pem"), big).unwrap();
    assert!(Papers::read(&uplink).unwrap_err()[0].to_string().contains("has over 1 MiB"));
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let (desk, _ca) = Desk::new();
    let pipe = desk.path("ca.pem");
    std::fs::remove_file(&pipe).unwrap();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::fs::remove_file(desk.path("node.pem")).unwrap();
    std::fs::create_dir(desk.path("node.pem")).unwrap();
    let wrong = desk.wrong();
    assert_eq!(wrong.iter().filter(|text| text.contains("cannot be read: it is no file")).count(), 2, "{wrong:?}");
    assert_eq!(password(&pipe).unwrap_err().to_string(), "it is no file");
}

#[test]
fn a_password_is_the_text_of_its_file_without_the_line_end_and_as_long_as_mqtt_can_carry() {
    let (desk, _ca) = Desk::new();
    let read = |bytes: &[u8]| {
        std::fs::write(desk.path("pw"), bytes).unwrap();
        password(&desk.path("pw")).map_err(|error| error.to_string())
    };
    assert_eq!(read(b" p w\r\n").as_deref(), Ok(" p w"));
    assert_eq!(read(b"").as_deref(), Ok(""));
    let longest = "x".repeat(65_535);
    assert_eq!(read(format!("{longest}\r\n").as_bytes()), Ok(longest.clone()));
    assert!(read(format!("{longest}x").as_bytes()).unwrap_err().contains("over 65535 bytes"));
    assert!(read(&vec![b'\n'; 70_000]).unwrap().is_empty());
    assert!(read(b"p\xff").unwrap_err().contains("no UTF-8"));
}

#[test]
fn a_key_that_others_may_read_is_used_with_a_warning() {
    let (desk, _ca) = Desk::new();
    let uplink = desk.uplink();
    std::fs::set_permissions(desk.path("node.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let warnings = Papers::read(&uplink).unwrap().warnings;
    assert!(warnings.len() == 1 && warnings[0].text.contains("mode 0644"), "{warnings:?}");
    assert!(warnings[0].remedy.contains("chmod 0640"), "{warnings:?}");
}

#[test]
fn keys_come_as_pkcs8_sec1_and_pkcs1() {
    let (desk, ca) = Desk::new();
    let openssl = |args: &[&str]| Command::new("openssl").current_dir(desk.dir.path()).args(args).output();
    let Ok(sec1) = openssl(&["ec", "-in", "node.key", "-out", "sec1.key"]) else {
        eprintln!("SKIPPED: openssl is not installed (apt-get install openssl)");
        return;
    };
    assert!(sec1.status.success(), "{sec1:?}");
    let text = std::fs::read_to_string(desk.path("sec1.key")).unwrap();
    assert!(text.contains("BEGIN EC PRIVATE KEY"), "{text}");
    std::fs::write(desk.path("node.key"), text).unwrap();
    assert!(desk.read().is_ok(), "{:?}", desk.wrong());
    std::fs::write(desk.path("ca.key"), ca.itself().key).unwrap();
    std::fs::write(desk.path("ext"), "subjectAltName = DNS:wp-t\n").unwrap();
    let sign =
        ["x509", "-req", "-in", "csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", "7", "-out", "node.pem"];
    let run = |args: &[&str]| {
        let done = openssl(args).unwrap();
        assert!(done.status.success(), "{args:?}: {done:?}");
    };
    run(&["genrsa", "-traditional", "-out", "node.key", "2048"]);
    run(&["req", "-new", "-key", "node.key", "-subj", "/CN=wp-t", "-out", "csr"]);
    run(&sign);
    assert!(desk.wrong()[0].contains("a certificate of X.509 version 1"), "{:?}", desk.wrong());
    run(&[&sign[..], &["-extfile", "ext"]].concat());
    let text = std::fs::read_to_string(desk.path("node.key")).unwrap();
    assert!(text.contains("BEGIN RSA PRIVATE KEY"), "{text}");
    assert!(desk.read().is_ok());
}

#[test]
fn the_marks_of_files_change_when_one_is_replaced_and_only_then() {
    let (desk, ca) = Desk::new();
    let uplink = desk.uplink();
    let before = Marks::look(&uplink);
    assert_eq!(Marks::look(&uplink), before);
    let new = desk.path("new");
    std::fs::write(&new, ca.sign(&["wp-t"], SPAN).cert).unwrap();
    std::fs::rename(&new, desk.path("node.pem")).unwrap();
    let after = Marks::look(&uplink);
    assert_ne!(after, before);
    std::fs::remove_file(desk.path("ca.pem")).unwrap();
    assert_ne!(Marks::look(&uplink), after);
}
