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

/// A scheme: header, filter of 3 bits, partition of 3 bits, company prefix, reference, and what is left.
struct Scheme {
    header: u8,
    name: &'static str,
    /// Hexadecimal digits of its bits, as short as can be and in whole words of 16 bits, as readers send them.
    lengths: [usize; 2],
    reference: Reference,
    serial: Serial,
}

/// What follows the company prefix.
#[derive(Clone, Copy)]
enum Reference {
    /// A number; with the prefix it has so many bits and so many digits, unless any number of them will do.
    Number(u32, Option<usize>),
    /// Characters; with the prefix they have so many bits.
    Text(u32),
}

/// What follows the reference.
#[derive(Clone, Copy)]
enum Serial {
    /// A number of so many bits.
    Number(u32),
    /// So many bits of characters.
    Text(u32),
    /// So many bits, all of them zero.
    Reserved(u32),
}

/// Source: GS1 EPC Tag Data Standard 1.13, section 14.6.
const SCHEMES: [Scheme; 9] = [
    scheme(0x30, "sgtin", [24, 24], Reference::Number(44, Some(13)), Serial::Number(38)),
    scheme(0x31, "sscc", [24, 24], Reference::Number(58, Some(17)), Serial::Reserved(24)),
    scheme(0x32, "sgln", [24, 24], Reference::Number(41, Some(12)), Serial::Number(41)),
    scheme(0x33, "grai", [24, 24], Reference::Number(44, Some(12)), Serial::Number(38)),
    scheme(0x34, "giai", [24, 24], Reference::Number(82, None), Serial::Reserved(0)),
    scheme(0x36, "sgtin", [50, 52], Reference::Number(44, Some(13)), Serial::Text(140)),
    scheme(0x37, "grai", [43, 44], Reference::Number(44, Some(12)), Serial::Text(112)),
    scheme(0x38, "giai", [51, 52], Reference::Text(188), Serial::Reserved(0)),
    scheme(0x39, "sgln", [49, 52], Reference::Number(41, Some(12)), Serial::Text(140)),
];

const fn scheme(header: u8, name: &'static str, lengths: [usize; 2], reference: Reference, serial: Serial) -> Scheme {
    Scheme { header, name, lengths, reference, serial }
}

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
    if scheme.lengths.contains(&text.len()) {
        return read_bits(scheme, text).map(Reading::Code);
    }
    let longest = if scheme.lengths[1] > 24 { 64 } else { 32 };
    (has_letter && (16..=longest).contains(&text.len())).then_some(Reading::WrongLength)
}

/// The bits of hexadecimal text, taken off its front.
struct Bits<'a> {
    hex: &'a str,
    at: u32,
}

impl Bits<'_> {
    /// The next bits as a number, at most 128; none when there are not so many.
    fn number(&mut self, length: u32) -> Option<u128> {
        let mut number = 0;
        for at in self.at..self.at.checked_add(length)? {
            let digit = self.hex.as_bytes().get(usize::try_from(at / 4).ok()?)?;
            let digit = char::from(*digit).to_digit(16)?;
            number = number << 1 | u128::from(digit >> (3 - at % 4) & 1);
        }
        self.at += length;
        Some(number)
    }

    /// The next bits as characters of seven bits, with those escaped that a URN must not hold; zeros fill the end.
    fn text(&mut self, length: u32) -> Option<String> {
        let end = self.at.checked_add(length)?;
        let mut text = String::new();
        while self.at + 7 <= end {
            match u8::try_from(self.number(7)?).ok()? {
                0 => break,
                byte @ (b'"' | b'%' | b'&' | b'/' | b'<' | b'>' | b'?') => text.push_str(&format!("%{byte:02X}")),
                byte if byte.is_ascii_graphic() => text.push(char::from(byte)),
                _ => return None,
            }
        }
        self.is_zero(end - self.at).then_some(text).filter(|text| !text.is_empty())
    }

    fn is_zero(&mut self, length: u32) -> bool {
        (0..length).all(|_| self.number(1) == Some(0))
    }
}

fn read_bits(scheme: &Scheme, hex: &str) -> Option<Epc> {
    // Header and filter: what kind of box the label is on is no part of its name.
    let mut bits = Bits { hex, at: 11 };
    let (company_bits, company_digits) = *COMPANY.get(usize::try_from(bits.number(3)?).ok()?)?;
    let company = bits.number(company_bits)?.to_string();
    if company.len() > company_digits {
        return None;
    }
    let company = format!("{company:0>company_digits$}");
    let reference = match scheme.reference {
        Reference::Text(all) => bits.text(all - company_bits)?,
        Reference::Number(all, digits) => {
            let reference = bits.number(all - company_bits)?.to_string();
            match digits.map(|all| all - company_digits) {
                // No digits at all: the reference is empty, and its bits must say so.
                Some(0) => (reference == "0").then(String::new)?,
                Some(digits) => (reference.len() <= digits).then(|| format!("{reference:0>digits$}"))?,
                None => reference,
            }
        }
    };
    let serial = match scheme.serial {
        Serial::Number(length) => bits.number(length)?.to_string(),
        Serial::Text(length) => bits.text(length)?,
        Serial::Reserved(length) => bits.is_zero(length).then(String::new)?,
    };
    let rest = u32::try_from(hex.len()).ok()? * 4 - bits.at;
    if !bits.is_zero(rest) {
        return None;
    }
    name(scheme.name, &company, &reference, &serial)
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
    fn the_long_schemes_spell_their_serial_numbers() {
        check(
            "3674257BF7194E59B2C2BF1000000000000000000000000000",
            "urn:epc:id:sgtin:0614141.812345.32a%2Fb",
            "sgtin:80614141123458:32a/b",
        );
        check(
            "3674257BF7194E59B2C2BF100000000000000000000000000000",
            "urn:epc:id:sgtin:0614141.812345.32a%2Fb",
            "sgtin:80614141123458:32a/b",
        );
        check(
            "3774257BF40C0E59B2C2BF1000000000000000000000",
            "urn:epc:id:grai:0614141.12345.32a%2Fb",
            "grai:0061414112345232a/b",
        );
        check(
            "3874257BF59B2C2BF10000000000000000000000000000000000",
            "urn:epc:id:giai:0614141.32a%2Fb",
            "giai:061414132a/b",
        );
        check(
            "3974257BF46072CD9615F8800000000000000000000000000000",
            "urn:epc:id:sgln:0614141.12345.32a%2Fb",
            "gln:0614141123452:32a/b",
        );
        let wrong = ["36742", "3674257BF7194E59B2C2BF10", "3774257BF40C0E59B2C2BF100000000000000000000000"];
        let found = wrong.map(|text| read(text, false));
        assert_eq!(found, [None, Some(Reading::WrongLength), Some(Reading::WrongLength)]);
        assert_eq!(
            read("3674257BF7194E00000000000000000000000000000000000000", false),
            None,
            "a serial number is not empty"
        );
        assert_eq!(read("3674257BF7194E59B2C2BF1000000000000000000000000001", false), None, "nothing follows its end");
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
