//! Goal: what is plugged in is told as sysfs has it. Method: a tree of real files, folders and links in a temp folder.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

pub(super) struct Machine {
    pub dir: tempfile::TempDir,
}

impl Machine {
    pub fn new() -> Self {
        let machine = Self { dir: tempfile::tempdir().unwrap() };
        machine.put("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nwaypost:x:7777:7777::/:/bin/false\n");
        machine.put("etc/group", "root:x:0:\ndialout:x:20:waypost,other\n");
        machine
    }

    pub fn roots(&self) -> Roots {
        Roots::below(self.dir.path())
    }

    pub fn path(&self, path: &str) -> PathBuf {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub fn put(&self, path: &str, text: &str) {
        fs::write(self.path(path), text).unwrap();
    }

    pub fn link(&self, path: &str, target: &str) {
        symlink(target, self.path(path)).unwrap();
    }

    pub fn node(&self, path: &str, mode: u32) {
        self.put(path, "");
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    pub fn usb_serial(&self, name: &str, vendor: &str, product: &str) {
        let usb = "sys/devices/pci0/usb1/1-1";
        self.put(&format!("{usb}/idVendor"), vendor);
        self.put(&format!("{usb}/idProduct"), "0001\n");
        self.put(&format!("{usb}/serial"), "A1\u{1b}[2J\n");
        self.put(&format!("{usb}/product"), product);
        self.put(&format!("{usb}/1-1:1.0/{name}/tty/{name}/dev"), "188:0");
        self.link(&format!("{usb}/1-1:1.0/{name}/driver"), "../../../../../bus/usb-serial/drivers/ftdi_sio");
        self.link(&format!("{usb}/1-1:1.0/{name}/tty/{name}/device"), &format!("../../../{name}"));
        self.link(&format!("sys/class/tty/{name}"), &format!("../../devices/pci0/usb1/1-1/1-1:1.0/{name}/tty/{name}"));
    }

    fn input(&self, name: &str, says: &str, ev: &str, key: &str) {
        let device = format!("sys/class/input/{name}/device");
        self.put(&format!("{device}/name"), says);
        self.put(&format!("{device}/capabilities/ev"), ev);
        self.put(&format!("{device}/capabilities/key"), key);
    }
}

#[test]
fn a_usb_serial_port_is_told_with_all_that_names_it() {
    let machine = Machine::new();
    machine.usb_serial("ttyUSB0", "0403\n", "FT232R USB UART\n");
    machine.node("dev/ttyUSB0", 0o606);
    machine.link("dev/serial/by-id/usb-FTDI_FT232R_A1-if00-port0", "../../ttyUSB0");
    machine.put("proc/812/comm", "gpsd\n");
    let node = machine.roots().dev.join("ttyUSB0");
    machine.link("proc/812/fd/3", node.to_str().unwrap());
    machine.link("proc/812/fd/4", node.to_str().unwrap());
    let devices = list(&machine.roots()).unwrap();
    let device = &devices[0];
    assert_eq!((devices.len(), device.port, device.driver.as_deref()), (1, Port::Serial, Some("ftdi_sio")));
    let usb = device.usb.as_ref().unwrap();
    assert_eq!((usb.id.as_str(), usb.serial.as_deref()), ("0403:0001", Some("A1 [2J")));
    assert_eq!(device.holders, [Holder { pid: 812, command: "gpsd".to_owned() }]);
    assert!(device.holders_complete && device.access.may_open && device.access.user == "waypost", "{device:?}");
    let by_id = device.by_id.as_ref().unwrap();
    assert!(by_id.ends_with("serial/by-id/usb-FTDI_FT232R_A1-if00-port0"));
    let port = format!("port = \"{}\"", by_id.display());
    assert!(device.config.contains("[[gps]]\nid = \"gps0\"") && device.config.contains(&port), "{}", device.config);
    assert!(device.config.contains("# [[scanner]]\n# id = \"scanner0\"\n# port"), "{}", device.config);
    let parsed: toml::Table = device.config.parse().unwrap();
    assert_eq!(parsed.len(), 1);
}

#[test]
fn consoles_virtual_terminals_and_empty_uarts_are_left_out() {
    let machine = Machine::new();
    for name in ["tty", "tty0", "tty63", "console", "ptmx"] {
        machine.put(&format!("sys/class/tty/{name}/dev"), "4:0");
    }
    for (name, kind) in [("ttyS0", "4\n"), ("ttyS1", "0\n")] {
        machine.put(&format!("sys/class/tty/{name}/type"), kind);
        machine.put(&format!("sys/devices/plat/{name}:0/{name}:0.0/x"), "");
        machine
            .link(&format!("sys/devices/plat/{name}:0/{name}:0.0/driver"), "../../../../bus/serial-base/drivers/port");
        machine.link(&format!("sys/devices/plat/driver-{name}"), "x");
        machine.link(&format!("sys/class/tty/{name}/device"), &format!("../../../devices/plat/{name}:0/{name}:0.0"));
    }
    machine.link("sys/devices/plat/driver", "../../bus/platform/drivers/serial8250");
    machine.put("sys/class/tty/rfcomm0/dev", "216:0");
    machine.put("sys/class/tty/console/active", "tty0 ttyS0\n");
    let devices = list(&machine.roots()).unwrap();
    let told: Vec<(String, bool)> =
        devices.iter().map(|it| (it.path.file_name().unwrap().to_string_lossy().into_owned(), it.console)).collect();
    assert_eq!(told, [("rfcomm0".to_owned(), false), ("ttyS0".to_owned(), true)]);
    assert_eq!(devices[1].driver.as_deref(), Some("serial8250"));
    assert!(!devices[1].access.may_open && devices[1].access.because.contains("missing"));
    assert!(print(&devices, false).contains("the kernel's console speaks here"));
}

#[cfg(target_pointer_width = "64")]
#[test]
fn only_input_devices_with_the_keys_of_a_scanner_are_told() {
    let machine = Machine::new();
    let keys = "1000000000007 ff9f207ac14057ff febeffdfffefffff fffffffffffffffe";
    machine.input("event3", "Honeywell Scanner\n", "120013\n", keys);
    machine.input("event0", "Power Button", "3", "10000000000000 0");
    machine.input("event1", "Mouse", "17", "70000 0 0 0 0");
    machine.input("event2", "Ghost", "0", keys);
    machine.input("event4", "Broken", "xyz", "\u{7f}");
    machine.node("dev/input/event3", 0o600);
    machine.link("dev/input/by-id/usb-Honeywell-event-kbd", "../event3");
    machine.link("dev/waypost/door-3", "../input/event3");
    let devices = list(&machine.roots()).unwrap();
    assert_eq!(devices.len(), 1);
    let device = &devices[0];
    assert_eq!((device.port, device.name.as_deref()), (Port::Keyboard, Some("Honeywell Scanner")));
    assert!(!device.access.may_open, "{:?}", device.access);
    let claimed = device.claimed.as_ref().unwrap().display();
    assert_eq!(device.config, format!("[[scanner]]\nid = \"door-3\"\nport = \"hid://{claimed}\"\n"));
}

#[test]
fn what_makers_are_known_for_decides_the_lines() {
    let machine = Machine::new();
    machine.usb_serial("ttyACM0", "05f9\n", "Handheld\n");
    machine.usb_serial("ttyUSB10", "05f9\n", "Handheld\n");
    machine.usb_serial("ttyUSB9", "05f9\n", "Handheld\n");
    let devices = list(&machine.roots()).unwrap();
    let ids: Vec<&str> = devices.iter().map(|it| it.config.lines().nth(1).unwrap()).collect();
    assert_eq!(ids, ["id = \"scanner0\"", "id = \"scanner9\"", "id = \"scanner10\""]);
    assert!(devices.iter().all(|it| it.config.starts_with("[[scanner]]") && !it.config.contains("[[gps]]")));
}

#[test]
fn the_json_is_one_array_and_the_text_says_when_there_is_nothing() {
    let machine = Machine::new();
    assert_eq!(list(&machine.roots()).unwrap(), []);
    assert_eq!(print(&[], true), "[]\n");
    assert!(print(&[], false).contains("no serial port"));
    machine.usb_serial("ttyUSB0", "1546\n", "u-blox 8\n");
    let devices = list(&machine.roots()).unwrap();
    let json: serde_json::Value = serde_json::from_str(&print(&devices, true)).unwrap();
    assert_eq!((&json[0]["port"], &json[0]["usb"]["id"]), (&"serial".into(), &"1546:0001".into()));
    assert!(json[0]["config"].as_str().unwrap().starts_with("[[gps]]") && json[0].get("name").is_none());
    let text = print(&devices, false);
    assert!(text.contains("u-blox 8") && text.contains("waypost may not open it"), "{text}");
}

#[test]
fn this_machine_can_be_told_too() {
    let devices = list(&Roots::default()).unwrap();
    eprintln!("{}", print(&devices, false));
}
