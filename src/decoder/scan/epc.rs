//! Electronic product codes of RFID tags: the bits of a tag, or the name of a product, in the words of GS1.

use super::{check, gs1};

/// A tag's code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epc {
    /// The pure identity, `urn:epc:id:…`.
    pub urn: String,
    /// The GS1 key that names the same thing, when there is one.
    pub same_as: Option<String>,
}

/// What hexadecimal text or a URN says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A code.
    Code(Epc),
    /// The beginning of a tag's code, but not its length.
    WrongLength,
}

/// A scheme of 96 bits: header, filter of 3 bits, partition of 3 bits, company prefix, reference, and what is left.
struct Scheme {
    header: u8,
    name: &'static str,
    /// Bits of company prefix and reference together.
    bits: u32,
    /// Digits of company prefix and reference together; none where the reference has no fixed number of them.
    digits: Option<usize>,
    /// Bits behind them: the serial number.
    serial: u32,
}

/// Source: GS1 EPC Tag Data Standard 1.13, section 14.6.
const SCHEMES: [Scheme; 5] = [
    Scheme { header: 0x30, name: "sgtin", bits: 44, digits: Some(13), serial: 38 },
    Scheme { header: 0x31, name: "sscc", bits: 58, digits: Some(17), serial: 24 },
    Scheme { header: 0x32, name: "sgln", bits: 41, digits: Some(12), serial: 41 },
    Scheme { header: 0x33, name: "grai", bits: 44, digits: Some(12), serial: 38 },
    Scheme { header: 0x34, name: "giai", bits: 82, digits: None, serial: 0 },
];

/// Bits and digits of the company prefix by partition.
const COMPANY: [(u32, usize); 7] = [(40, 12), (37, 11), (34, 10), (30, 9), (27, 8), (24, 7), (20, 6)];

/// Reads `text` as a tag's code; none when it is anything else.
///
/// Twenty-four digits without a letter could be a plain number: they are believed only from a reader that sends no id of a symbology.
pub fn read(text: &str, has_symbology: bool) -> Option<Reading> {
    if let Some(urn) = text.strip_prefix("urn:epc:") {
        return read_urn(urn).map(Reading::Code);
    }
    let has_letter = text.bytes().any(|byte| byte.is_ascii_alphabetic());
    if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) || (has_symbology && !has_letter) {
        return None;
    }
    let header = text.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok())?;
    let scheme = SCHEMES.iter().find(|scheme| scheme.header == header)?;
    if text.len() == 24 {
        return read_bits(scheme, u128::from_str_radix(text, 16).ok()?).map(Reading::Code);
    }
    (has_letter && (16..=32).contains(&text.len())).then_some(Reading::WrongLength)
}

fn read_bits(scheme: &Scheme, bits: u128) -> Option<Epc> {
    let field = |low: u32, length: u32| (bits >> low) & ((1 << length) - 1);
    let (company_bits, company_digits) = *COMPANY.get(usize::try_from(field(82, 3)).ok()?)?;
    let reference_bits = scheme.bits - company_bits;
    let company = field(82 - company_bits, company_bits).to_string();
    let reference = field(82 - scheme.bits, reference_bits).to_string();
    if company.len() > company_digits {
        return None;
    }
    let company = format!("{company:0>company_digits$}");
    let reference = match scheme.digits.map(|all| all - company_digits) {
        // No digits at all: the reference is empty, and its bits must say so.
        Some(0) => (reference == "0").then(String::new)?,
        Some(digits) => (reference.len() <= digits).then(|| format!("{reference:0>digits$}"))?,
        None => reference,
    };
    let serial = field(0, scheme.serial);
    match scheme.name {
        "sscc" if serial != 0 => None,
        "sscc" | "giai" => name(scheme.name, &company, &reference, ""),
        _ => name(scheme.name, &company, &reference, &serial.to_string()),
    }
}

/// Reads `id:scheme:company.reference[.serial]` or `tag:scheme-96:filter.company.reference[.serial]`.
fn read_urn(rest: &str) -> Option<Epc> {
    let (kind, rest) = rest.split_once(':')?;
    let (scheme, value) = rest.split_once(':')?;
    let (scheme, value) = match kind {
        "id" => (scheme, value),
        "tag" => (scheme.split('-').next()?, value.split_once('.')?.1),
        _ => return None,
    };
    let mut parts = value.splitn(3, '.');
    let (company, reference, serial) = (parts.next()?, parts.next()?, parts.next().unwrap_or_default());
    let all_digits = company.bytes().chain(reference.bytes()).all(|byte| byte.is_ascii_digit());
    let length = company.len() + reference.len();
    let fits = match scheme {
        "giai" => company.bytes().all(|byte| byte.is_ascii_digit()) && !reference.is_empty(),
        "sscc" => all_digits && length == 17 && serial.is_empty(),
        "sgtin" => all_digits && length == 13 && !serial.is_empty(),
        "sgln" | "grai" => all_digits && length == 12 && !serial.is_empty(),
        _ => false,
    };
    let plain = value.bytes().all(|byte| byte.is_ascii_graphic());
    if !fits || !plain || !(6..=12).contains(&company.len()) {
        return None;
    }
    name(scheme, company, reference, serial)
}

/// The URN of the parts, and the GS1 key of the same thing.
fn name(scheme: &str, company: &str, reference: &str, serial: &str) -> Option<Epc> {
    let (first, others) = reference.split_at_checked(1).unwrap_or_default();
    let checked = |body: String| check::mod10(body.as_bytes()).map(|digit| format!("{body}{}", char::from(digit)));
    let same_as = match scheme {
        "sgtin" => format!("sgtin:{}:{serial}", checked(format!("{first}{company}{others}"))?),
        "sscc" => format!("sscc:{}", checked(format!("{first}{company}{others}"))?),
        "sgln" if serial == "0" => format!("gln:{}", checked(format!("{company}{reference}"))?),
        "sgln" => format!("gln:{}:{serial}", checked(format!("{company}{reference}"))?),
        "grai" => format!("grai:0{}{serial}", checked(format!("{company}{reference}"))?),
        _ => format!("giai:{company}{reference}"),
    };
    let tail = if serial.is_empty() { String::new() } else { format!(".{serial}") };
    Some(Epc {
        urn: format!("urn:epc:id:{scheme}:{company}.{reference}{tail}"),
        // A URN escapes the characters that a key holds as they are.
        same_as: gs1::decode_percent(&same_as),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, urn: &str, same_as: &str) {
        let expect = Epc { urn: urn.into(), same_as: Some(same_as.into()) };
        assert_eq!(read(text, false), Some(Reading::Code(expect)), "{text}");
    }

    #[test]
    fn the_bits_of_a_tag_name_its_product() {
        check("3074257BF7194E4000001A85", "urn:epc:id:sgtin:0614141.812345.6789", "sgtin:80614141123458:6789");
        check("3174257bf4499602d2000000", "urn:epc:id:sscc:0614141.1234567890", "sscc:106141412345678908");
        check("3274257BF46072000000162E", "urn:epc:id:sgln:0614141.12345.5678", "gln:0614141123452:5678");
        check("3376451FD40C0E400000162E", "urn:epc:id:grai:9521141.12345.5678", "grai:095211411234545678");
        check("3474257BF40000000000162E", "urn:epc:id:giai:0614141.5678", "giai:06141415678");
    }

    #[test]
    fn a_urn_names_the_same_thing_as_the_bits() {
        check(
            "urn:epc:id:sgtin:0614141.812345.6789",
            "urn:epc:id:sgtin:0614141.812345.6789",
            "sgtin:80614141123458:6789",
        );
        check(
            "urn:epc:tag:sgtin-96:1.0614141.812345.6789",
            "urn:epc:id:sgtin:0614141.812345.6789",
            "sgtin:80614141123458:6789",
        );
        for text in [
            "urn:epc:id:sgtin:0614141.81234.6789",
            "urn:epc:id:sscc:0614141",
            "urn:epc:raw:96.x30",
            "urn:epc:id:giai:x.1",
        ] {
            assert_eq!(read(text, false), None, "{text}");
        }
    }

    #[test]
    fn bits_that_break_the_scheme_are_no_code() {
        assert_eq!(read("3174257bf4499602d2000001", false), None, "the reserved bits of an SSCC are zero");
        assert_eq!(read("301C257BF7194E4000001A85", false), None, "there is no partition 7");
        assert_eq!(read("E28011606000020DB6C5A1F2", false), None, "a chip number is no product");
        assert_eq!(read("3074257BF7194E4000001A8", false), Some(Reading::WrongLength));
        assert_eq!(read("307425700719424000001185", true), None, "a number behind an id is a number");
        assert_eq!(read("30", false), None);
        assert_eq!(read("", false), None);
    }
}
