use std::os::unix::fs::symlink;

use super::*;

/// A machine made of files.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(self, path: &str, text: &str) -> Self {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn card(self, name: &str, address: &str, assigned: &str, bus: Option<&str>) -> Self {
        let here = format!("sys/class/net/{name}");
        let this = self.file(&format!("{here}/address"), address).file(&format!("{here}/addr_assign_type"), assigned);
        if let Some(bus) = bus {
            let device = this.0.path().join(&here).join("device");
            let subsystem = this.0.path().join("sys/bus").join(bus);
            fs::create_dir_all(&device).unwrap();
            fs::create_dir_all(&subsystem).unwrap();
            symlink(subsystem, device.join("subsystem")).unwrap();
        }
        this
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        facts_below(self.0.path()).into_iter().map(|fact| (fact.kind, fact.serial)).collect()
    }
}

const BOARD: &str = "sys/firmware/devicetree/base/serial-number";

#[test]
fn a_board_is_known_by_its_serial_number_and_its_built_in_network_cards() {
    let machine = Machine::new()
        .file(BOARD, "10000000A1B2C3D4\0")
        .card("eth0", "dc:a6:32:01:02:03\n", "0\n", Some("platform"))
        .card("wlan0", "dc:a6:32:01:02:04\n", "0\n", Some("sdio"));
    let nic = |address: &str| ("nic", address.to_owned());
    let expect = [("board", "10000000a1b2c3d4".to_owned()), nic("dc:a6:32:01:02:03"), nic("dc:a6:32:01:02:04")];
    assert_eq!(machine.facts(), expect);
}

#[test]
fn what_can_be_plugged_elsewhere_or_is_made_up_by_the_kernel_tells_nothing() {
    let machine = Machine::new()
        .card("lo", "00:00:00:00:00:00\n", "0\n", None)
        .card("eth0", "02:42:ac:11:00:02\n", "0\n", None)
        .card("wlan0", "5a:00:00:01:02:03\n", "3\n", Some("sdio"))
        .card("usb0", "00:e0:4c:68:00:01\n", "0\n", Some("usb"));
    assert_eq!(machine.facts(), []);
}

#[test]
fn a_serial_number_that_many_boards_have_is_none() {
    for given in
        ["0000000000000000\0", "1234567890\0", "0123456789ABCDEF\0", "ffffffff-ffff-ffff-ffff-ffffffffffff", "7", ""]
    {
        assert_eq!(Machine::new().file(BOARD, given).facts(), [], "{given:?}");
    }
    for given in ["To be filled by O.E.M.\n", "03000200-0400-0500-0006-000700080009\n", "Default string\n"] {
        assert_eq!(Machine::new().file("sys/class/dmi/id/product_uuid", given).facts(), [], "{given:?}");
    }
}

#[test]
fn a_machine_without_such_files_has_no_facts() {
    let copy = Machine::new().file("etc/machine-id", "0123abcd0123abcd0123abcd0123abcd\n");
    assert_eq!(copy.facts(), [], "the machine id goes with a copy of the card");
}
