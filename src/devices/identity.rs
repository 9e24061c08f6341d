//! By what a device is known again when it is plugged in anew, as udev can match it.
//!
//! A device says what it likes of itself. What goes into a rule is only ever made of [`is_plain`] characters: none of
//! them ends a string, begins a line or stands for others.

use std::fmt;

use super::{Device, Port};

/// By what a device is known again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A USB device with a serial number of its own: in whichever socket it is.
    Serial {
        /// Vendor and product id.
        model: [String; 2],
        /// The serial number.
        serial: String,
        /// Which of its interfaces and ports.
        part: Part,
    },
    /// Whatever of this make is in this USB socket.
    Socket {
        /// Vendor and product id.
        model: [String; 2],
        /// The socket, as udev names it.
        path: String,
        /// Which port of the interface.
        part: Part,
    },
    /// A Bluetooth device by its address.
    Bluetooth {
        /// The address.
        address: String,
    },
    /// A port of the board, by the name that the kernel gives it.
    Board {
        /// The name, e.g. `ttyAMA0`.
        name: String,
    },
}

/// Which part of a USB device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// The number of its interface.
    interface: Option<String>,
    /// The number of the port of an adapter that has several on one interface.
    port: Option<String>,
}

/// Why a device cannot be known again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unknowable(pub String);

/// By what `device` is known again, among all that are plugged in.
pub(super) fn identity(device: &Device, all: &[Device]) -> Result<Identity, Unknowable> {
    let others = || all.iter().filter(|other| other.path != device.path && other.port == device.port);
    let Some(strongest) = by_serial(device).or_else(|| by_other(device)) else {
        let text = "neither serial number, nor socket, nor a name of the board tells it from others";
        return Err(Unknowable(text.to_owned()));
    };
    let shared = |wanted: &Identity| others().any(|other| by_serial(other).as_ref() == Some(wanted));
    let found = match strongest {
        Identity::Serial { .. } if shared(&strongest) => by_other(device),
        strongest => Some(strongest),
    };
    let same = |wanted: &Identity| others().find(|other| by_other(other).as_ref() == Some(wanted));
    match found {
        None => {
            Err(Unknowable("others with the same serial number are plugged in, and udev names no socket".to_owned()))
        }
        Some(found) => match same(&found) {
            Some(other) => Err(Unknowable(format!("nothing tells it from {}", other.path.display()))),
            None => Ok(found),
        },
    }
}

fn property<'a>(device: &'a Device, key: &str) -> Option<&'a str> {
    device.udev.as_ref()?.get(key).filter(|value| value.chars().all(is_plain))
}

fn model(device: &Device) -> Option<[String; 2]> {
    let is_usb = property(device, "ID_BUS") == Some("usb");
    let [vendor, product] = ["ID_VENDOR_ID", "ID_MODEL_ID"].map(|key| property(device, key).filter(|_| is_usb));
    Some([vendor?.to_owned(), product?.to_owned()])
}

fn part(device: &Device) -> Part {
    let port = super::text(&device.syspath.join("device/port_number")).filter(|port| port.chars().all(is_plain));
    Part { interface: property(device, "ID_USB_INTERFACE_NUM").map(str::to_owned), port }
}

fn by_serial(device: &Device) -> Option<Identity> {
    let serial = property(device, "ID_SERIAL_SHORT").filter(|serial| !is_everybodys(serial))?;
    Some(Identity::Serial { model: model(device)?, serial: serial.to_owned(), part: part(device) })
}

fn by_other(device: &Device) -> Option<Identity> {
    if let Some(model) = model(device) {
        let path = property(device, "ID_PATH")?.to_owned();
        return Some(Identity::Socket { model, path, part: Part { interface: None, ..part(device) } });
    }
    let name = device.path.file_name()?.to_str()?;
    let address = super::text(&device.syspath.join("device/uniq")).filter(|text| !text.is_empty());
    match address.filter(|text| text.chars().all(is_plain)) {
        Some(address) => Some(Identity::Bluetooth { address }),
        // The number of an input device is chance; that of a port of the board is not.
        None if device.port == Port::Serial && device.usb.is_none() && name.chars().all(is_plain) => {
            Some(Identity::Board { name: name.to_owned() })
        }
        None => None,
    }
}

/// Whether a character stands for itself in a rule, and for nothing else.
const fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '+' | '#' | '@' | '=' | '/')
}

/// Serial numbers that makers put into all of a kind: 0001, 000000, 12345678.
fn is_everybodys(serial: &str) -> bool {
    let rest = serial.trim_start_matches('0').to_ascii_uppercase();
    rest.len() < 2 || "123456789ABCDEF".starts_with(&rest) || rest.bytes().all(|byte| Some(byte) == rest.bytes().next())
}

impl Identity {
    /// What udev must find, e.g. `ENV{ID_SERIAL_SHORT}=="A50285BI"`, for the node of a port.
    pub(super) fn port_keys(&self, device: &Device) -> Vec<String> {
        let mut keys = match device.port {
            Port::Serial => vec![equal("SUBSYSTEM", "tty")],
            // A scanner may have a second node, for its volume and power keys.
            Port::Keyboard => {
                let kind =
                    ["ID_INPUT_KEYBOARD", "ID_INPUT_KEY"].into_iter().find(|kind| property(device, kind) == Some("1"));
                let mut keys = vec![equal("SUBSYSTEM", "input"), equal("KERNEL", "event*")];
                keys.extend(kind.map(|kind| equal(&format!("ENV{{{kind}}}"), "1")));
                keys
            }
        };
        match self {
            Self::Serial { model, serial, part } => {
                keys.extend(model_keys(model));
                keys.push(equal("ENV{ID_SERIAL_SHORT}", serial));
                keys.extend(part.keys());
            }
            Self::Socket { model, path, part } => {
                keys.extend(model_keys(model));
                keys.push(equal("ENV{ID_PATH}", path));
                keys.extend(part.keys());
            }
            Self::Bluetooth { address } => keys.push(equal("ATTRS{uniq}", address)),
            Self::Board { name } => keys.push(equal("KERNEL", name)),
        }
        keys
    }

    /// What udev must find for the USB device as a whole; none when it is on no USB.
    pub(super) fn usb_keys(&self) -> Option<[String; 3]> {
        let (model, last) = match self {
            Self::Serial { model, serial, .. } => (model, equal("ENV{ID_SERIAL_SHORT}", serial)),
            Self::Socket { model, path, .. } => {
                (model, equal("ENV{ID_PATH}", path.rsplit_once(':').map_or(path.as_str(), |(device, _)| device)))
            }
            Self::Bluetooth { .. } | Self::Board { .. } => return None,
        };
        let [vendor, product] = model_keys(model);
        Some([vendor, product, last])
    }
}

fn equal(key: &str, value: &str) -> String {
    format!("{key}==\"{value}\"")
}

fn model_keys([vendor, product]: &[String; 2]) -> [String; 2] {
    [equal("ENV{ID_VENDOR_ID}", vendor), equal("ENV{ID_MODEL_ID}", product)]
}

impl Part {
    fn keys(&self) -> impl Iterator<Item = String> {
        let interface = self.interface.as_ref().map(|number| equal("ENV{ID_USB_INTERFACE_NUM}", number));
        let port = self.port.as_ref().map(|number| equal("ATTRS{port_number}", number));
        interface.into_iter().chain(port)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial { model: [vendor, product], serial, part } => {
                write!(f, "USB {vendor}:{product}, serial number {serial}{part}")
            }
            Self::Socket { model: [vendor, product], path, part } => {
                write!(f, "USB {vendor}:{product} in the socket {path}{part}")
            }
            Self::Bluetooth { address } => write!(f, "Bluetooth {address}"),
            Self::Board { name } => write!(f, "the port {name} of this machine"),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, number) in [("interface", &self.interface), ("port", &self.port)] {
            if let Some(number) = number {
                write!(f, ", {what} {number}")?;
            }
        }
        Ok(())
    }
}
