//! Goal: a claim is known again by the strongest that tells a device from others, and nothing that a device says of itself
//! breaks out of its rule. Method: a machine of files; that udev acts on such rules is tried in a machine with udev (`make gateway`).

use std::path::Path;

use super::tests::Machine;
use super::*;

/// A machine with the group of the service.
fn machine() -> Machine {
    let machine = Machine::new();
    machine.put("etc/group", "root:x:0:\nwaypost:x:7777:\n");
    machine
}

/// A USB adapter as the kernel and udev tell it; the words of udev are the last argument.
fn adapter(machine: &Machine, name: &str, socket: &str, minor: u32, product: &str, udev: &[(&str, &str)]) {
    let usb = format!("sys/devices/pci0/usb1/{socket}");
    machine.put(&format!("{usb}/idVendor"), "0403\n");
    machine.put(&format!("{usb}/idProduct"), "6001\n");
    machine.put(&format!("{usb}/product"), product);
    machine.put(&format!("{usb}/{socket}:1.0/{name}/port_number"), "0\n");
    machine.put(&format!("{usb}/{socket}:1.0/{name}/tty/{name}/dev"), &format!("188:{minor}\n"));
    machine.link(&format!("{usb}/{socket}:1.0/{name}/tty/{name}/device"), &format!("../../../{name}"));
    machine.link(
        &format!("sys/class/tty/{name}"),
        &format!("../../devices/pci0/usb1/{socket}/{socket}:1.0/{name}/tty/{name}"),
    );
    machine.node(&format!("dev/{name}"), 0o660);
    let mut words = format!(
        "S:serial/by-id/x\nE:ID_BUS=usb\nE:ID_VENDOR_ID=0403\nE:ID_MODEL_ID=6001\nE:ID_USB_INTERFACE_NUM=00\nE:ID_PATH=pci-0000:00:14.0-usb-0:{socket}:1.0\n"
    );
    udev.iter().for_each(|(key, value)| words.push_str(&format!("E:{key}={value}\n")));
    machine.put(&format!("run/udev/data/c188:{minor}"), &words);
}

fn uart(machine: &Machine, name: &str) {
    machine.put(&format!("sys/devices/plat/{name}/dev"), "204:64\n");
    machine.put("sys/devices/plat/uart/x", "");
    machine.link(&format!("sys/devices/plat/{name}/device"), "../uart");
    machine.link(&format!("sys/class/tty/{name}"), &format!("../../devices/plat/{name}"));
    machine.node(&format!("dev/{name}"), 0o660);
    machine.put("run/udev/data/c204:64", "G:systemd\n");
}

/// What is in the way of a claim.
fn refusal(machine: &Machine, name: &str, device: &str) -> String {
    plan(&machine.roots(), name, Path::new(device)).unwrap_err().to_string()
}

fn claimed(machine: &Machine, name: &str, device: &str) -> Claim {
    let claim = plan(&machine.roots(), name, Path::new(device)).unwrap();
    claim.write().unwrap();
    claim
}

#[test]
fn a_device_with_a_serial_number_of_its_own_is_known_again_in_any_socket() {
    let machine = machine();
    adapter(&machine, "ttyUSB0", "1-1", 0, "FT232R USB UART\n", &[("ID_SERIAL_SHORT", "A50285BI")]);
    adapter(&machine, "ttyUSB1", "1-2", 1, "FT232R USB UART\n", &[("ID_SERIAL_SHORT", "B7")]);
    let claim = claimed(&machine, "gps0", "/dev/ttyUSB0");
    let rule = std::fs::read_to_string(machine.dir.path().join("etc/udev/rules.d/91-waypost-gps0.rules")).unwrap();
    let wanted = r##"# /dev/waypost/gps0: FT232R USB UART, USB 0403:6001, serial number A50285BI, interface 00, port 0.
# Made by `waypost devices claim gps0`, undone by `waypost devices release gps0`.
ACTION=="remove", GOTO="end"
SUBSYSTEM=="tty", ENV{ID_VENDOR_ID}=="0403", ENV{ID_MODEL_ID}=="6001", ENV{ID_SERIAL_SHORT}=="A50285BI", ENV{ID_USB_INTERFACE_NUM}=="00", ATTRS{port_number}=="0", GOTO="port"
# Keeps brltty away: it takes the device as a whole before there is a port.
SUBSYSTEM=="usb", ENV{DEVTYPE}=="usb_device", ENV{ID_VENDOR_ID}=="0403", ENV{ID_MODEL_ID}=="6001", ENV{ID_SERIAL_SHORT}=="A50285BI", ENV{SYSTEMD_WANTS}=="*brltty*", ENV{SYSTEMD_WANTS}=""
GOTO="end"
LABEL="port"
# For the service alone, whatever later rules say.
SYMLINK+="waypost/gps0", OWNER:="root", GROUP:="waypost", MODE:="0660", TAG-="uaccess"
# Keeps ModemManager and gpsd away.
ENV{ID_MM_DEVICE_IGNORE}="1", ENV{ID_MM_PORT_IGNORE}="1"
ENV{SYSTEMD_WANTS}=="*gpsdctl@*", ENV{SYSTEMD_WANTS}=""
LABEL="end"
"##;
    assert_eq!(rule, wanted);
    assert!(claim.config().contains("port = \"/dev/waypost/gps0\""), "{}", claim.config());
    assert_eq!(claim.link, machine.dir.path().join("dev/waypost/gps0"));
}

#[test]
fn a_device_that_nothing_but_its_socket_tells_from_others_is_bound_to_it() {
    let twins = [("ID_SERIAL_SHORT", "CH340X")];
    for (serial, is_alone) in [
        (&[][..], true),
        (&[("ID_SERIAL_SHORT", "0001")][..], true),
        (&[("ID_SERIAL_SHORT", "12345678")][..], true),
        (&[("ID_SERIAL_SHORT", "\"*?[\\")][..], true),
        (&twins[..], false),
    ] {
        let machine = machine();
        adapter(&machine, "ttyUSB0", "1-1.4", 0, "x", serial);
        if !is_alone {
            adapter(&machine, "ttyUSB1", "1-2", 1, "x", serial);
        }
        let claim = claimed(&machine, "gps0", "ttyUSB0");
        assert!(matches!(claim.identity, Identity::Socket { .. }), "{serial:?}: {:?}", claim.identity);
        assert!(claim.rule.contains("ENV{ID_PATH}==\"pci-0000:00:14.0-usb-0:1-1.4:1.0\""), "{}", claim.rule);
        assert!(
            claim.rule.contains("ENV{ID_PATH}==\"pci-0000:00:14.0-usb-0:1-1.4\", ENV{SYSTEMD_WANTS}"),
            "its device"
        );
        assert!(!claim.rule.contains("ID_SERIAL_SHORT"), "{}", claim.rule);
    }
}

#[test]
fn nothing_that_a_device_says_of_itself_breaks_out_of_its_rule() {
    let lines = |product: &str, udev: &[(&str, &str)]| {
        let machine = machine();
        adapter(&machine, "ttyUSB0", "1-1", 0, product, udev);
        let rule = claimed(&machine, "gps0", "ttyUSB0").rule;
        rule.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let tame = lines("x", &[]);
    for evil in
        ["\", RUN+=\"/bin/sh", "x\nRUN+=\"/bin/sh\"", "x\\", "x\r\nRUN==", "\u{1b}[2J\u{2028}é", "$env{PATH}%c", "#"]
    {
        let rule = lines(evil, &[("ID_SERIAL_SHORT", evil), ("ID_USB_INTERFACE_NUM", evil), ("ID_VENDOR", evil)]);
        let without_interface: Vec<String> =
            tame.iter().map(|line| line.replace(", ENV{ID_USB_INTERFACE_NUM}==\"00\"", "")).collect();
        // The comment may differ, in characters that neither end nor continue it.
        if evil != "#" {
            assert_eq!(rule[1..], without_interface[1..], "{evil:?}");
        }
        assert_eq!(rule.len(), tame.len(), "{evil:?}: {rule:?}");
        assert!(rule[0].starts_with("# ") && rule[0].ends_with('.'), "{evil:?}: {}", rule[0]);
        assert!(rule[0].bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{evil:?}: {}", rule[0]);
        assert!(!rule[0].contains(['"', '\\']), "{evil:?}: {}", rule[0]);
    }
}

#[test]
fn a_port_of_the_board_is_known_by_its_name_and_a_device_that_udev_does_not_know_is_refused() {
    let machine = machine();
    uart(&machine, "ttyAMA0");
    let claim = claimed(&machine, "gps0", "/dev/ttyAMA0");
    assert!(
        claim.rule.contains("\nSUBSYSTEM==\"tty\", KERNEL==\"ttyAMA0\", GOTO=\"port\"\nGOTO=\"end\""),
        "{}",
        claim.rule
    );
    adapter(&machine, "ttyUSB0", "1-1", 0, "x", &[]);
    std::fs::remove_file(machine.dir.path().join("run/udev/data/c188:0")).unwrap();
    let said = refusal(&machine, "gps1", "/dev/ttyUSB0");
    assert!(said.contains("systemd-udevd"), "{said}");
}

#[test]
fn of_the_nodes_of_a_keyboard_scanner_the_one_with_the_keys_is_claimed() {
    let machine = machine();
    let usb = "sys/devices/pci0/usb1/1-3";
    machine.put(&format!("{usb}/idVendor"), "0c2e");
    machine.put(&format!("{usb}/idProduct"), "0200");
    let keys = if cfg!(target_pointer_width = "64") {
        "1000000000007 ff9f207ac14057ff febeffdfffefffff fffffffffffffffe"
    } else {
        "ffffffff ffffffff"
    };
    for (event, input, interface, keys, full) in [(2, 5, "00", keys, "1"), (3, 6, "01", "10000000000000 0", "")] {
        let node = format!("{usb}/1-3:1.{interface}/input/input{input}/event{event}");
        machine.put(&format!("{node}/dev"), &format!("13:{}\n", 64 + event));
        machine.put(&format!("{usb}/1-3:1.{interface}/input/input{input}/capabilities/ev"), "120013");
        machine.put(&format!("{usb}/1-3:1.{interface}/input/input{input}/capabilities/key"), keys);
        machine.link(&format!("{node}/device"), &format!("../../input{input}"));
        machine.link(&format!("sys/class/input/event{event}"), &format!("../../../{node}"));
        machine.node(&format!("dev/input/event{event}"), 0o660);
        let words = format!(
            "E:ID_BUS=usb\nE:ID_VENDOR_ID=0c2e\nE:ID_MODEL_ID=0200\nE:ID_SERIAL_SHORT=S1842\nE:ID_INPUT_KEY=1\nE:ID_INPUT_KEYBOARD={full}\nE:ID_USB_INTERFACE_NUM={interface}\n"
        );
        machine.put(&format!("run/udev/data/c13:{}", 64 + event), &words);
    }
    let claim = claimed(&machine, "door-3", "/dev/input/event2");
    let keys = "SUBSYSTEM==\"input\", KERNEL==\"event*\", ENV{ID_INPUT_KEYBOARD}==\"1\", ENV{ID_VENDOR_ID}==\"0c2e\", ENV{ID_MODEL_ID}==\"0200\", ENV{ID_SERIAL_SHORT}==\"S1842\", ENV{ID_USB_INTERFACE_NUM}==\"00\", GOTO=\"port\"";
    assert!(claim.rule.contains(keys) && !claim.rule.contains("ID_MM_"), "{}", claim.rule);
    assert!(claim.config().contains("hid:///dev/waypost/door-3"), "{}", claim.config());
    assert!(refusal(&machine, "door-4", "/dev/input/event3").contains("no serial port and no input device"));
}

#[test]
fn what_is_in_the_way_of_a_claim_is_said_with_what_helps() {
    let machine = machine();
    adapter(&machine, "ttyUSB0", "1-1", 0, "x", &[("ID_SERIAL_SHORT", "LABGPS01")]);
    adapter(&machine, "ttyUSB1", "1-2", 1, "x", &[("ID_SERIAL_SHORT", "LABGPS02")]);
    for name in ["", "a/b", "../x", "a b", "é", "-x", &"x".repeat(65), "x\n"] {
        let refused = plan(&machine.roots(), name, Path::new("ttyUSB0")).unwrap_err();
        assert!(matches!(refused, Refused::Name(_)), "{name:?}: {refused}");
    }
    claimed(&machine, "gps0", "ttyUSB0");
    claimed(&machine, "gps0", "/dev/ttyUSB0");
    assert_eq!(claims(&machine.roots()).unwrap().len(), 1, "again is no other claim");
    assert!(refusal(&machine, "gps1", "ttyUSB0").contains("is gps0 already"), "before udev has made the link too");
    assert!(refusal(&machine, "gps0", "ttyUSB1").contains("gps0 is taken by x, USB 0403:6001, serial number LABGPS01"));
    assert!(refusal(&machine, "x", "ttyUSB7").contains("is not there; plug it in"));
    assert!(refusal(&machine, "x", "/dev/waypost/gps0").contains("though gps0 is claimed for x, USB 0403:6001"));
    machine.link("dev/waypost/mine", "../ttyUSB0");
    assert!(refusal(&machine, "mine", "ttyUSB1").contains("another udev rule makes it"));
    machine.put("etc/group", "root:x:0:\n");
    assert!(refusal(&machine, "gps1", "ttyUSB1").contains("no group waypost"));
}

#[test]
fn a_console_is_never_claimed_whoever_says_that_it_is_one() {
    type Spoil = fn(&Machine);
    let spoils: [(&str, Spoil); 4] = [
        ("the kernel writes", |machine| machine.put("sys/class/tty/console/active", "tty0 ttyAMA0\n")),
        ("the kernel command line", |machine| {
            machine.put("proc/cmdline", "root=/dev/vda console=ttyAMA0,115200n8 quiet\n")
        }),
        ("agetty (77)", |machine| {
            machine.put("proc/77/comm", "agetty\n");
            machine.link("proc/77/fd/0", machine.dir.path().join("dev/ttyAMA0").to_str().unwrap());
        }),
        ("serial-getty@ttyAMA0.service", |machine| {
            machine.link("run/systemd/generator/getty.target.wants/serial-getty@ttyAMA0.service", "/nowhere");
        }),
    ];
    for (says, spoil) in spoils {
        let machine = machine();
        uart(&machine, "ttyAMA0");
        spoil(&machine);
        let said = refusal(&machine, "gps0", "/dev/ttyAMA0");
        assert!(said.contains(says) && said.contains("console=ttyAMA0"), "{says}: {said}");
    }
}

#[test]
fn a_released_name_is_free_and_a_name_without_a_claim_is_said_to_be_none() {
    let machine = machine();
    adapter(&machine, "ttyUSB0", "1-1", 0, "x", &[("ID_SERIAL_SHORT", "LABGPS01")]);
    claimed(&machine, "gps0", "ttyUSB0");
    machine.put("etc/udev/rules.d/91-waypost-.rules", "");
    machine.put("etc/udev/rules.d/91-waypost-old.rules", "SUBSYSTEM==\"tty\"\n");
    machine.link("dev/waypost/gps0", "../ttyUSB0");
    let made = claims(&machine.roots()).unwrap();
    assert_eq!(made.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["gps0", "old"]);
    assert_eq!(made[1].of, "a device that its file names", "one that was written by hand");
    let released = release(&machine.roots(), "gps0").unwrap();
    assert_eq!(released.device, Some(machine.dir.path().join("dev/ttyUSB0")));
    assert!(!released.file.exists());
    assert!(release(&machine.roots(), "gps0").unwrap_err().to_string().contains("nothing is claimed"));
    assert!(matches!(release(&machine.roots(), "../x"), Err(Refused::Name(_))));
}

#[test]
fn programs_that_take_ports_are_named_until_the_port_is_claimed() {
    let machine = machine();
    adapter(&machine, "ttyUSB0", "1-1", 0, "x", &[("SYSTEMD_WANTS", "gpsdctl@ttyUSB0.service")]);
    assert_eq!(list(&machine.roots()).unwrap()[0].thieves, [""; 0], "none is installed");
    for program in ["sbin/ModemManager", "sbin/gpsd", "bin/brltty"] {
        machine.put(&format!("usr/{program}"), "");
    }
    let devices = list(&machine.roots()).unwrap();
    assert_eq!(devices[0].thieves, ["ModemManager", "gpsd", "brltty"]);
    assert!(print(&devices, false).contains("wanted by ModemManager, gpsd, brltty"));
    adapter(&machine, "ttyUSB1", "1-2", 1, "x", &[("ID_MM_DEVICE_IGNORE", "1")]);
    machine.link("dev/waypost/gps1", "../ttyUSB1");
    assert_eq!(list(&machine.roots()).unwrap()[1].thieves, [""; 0]);
}
