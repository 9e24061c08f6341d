//! A read of a barcode or tag.

use std::collections::BTreeMap;

use super::Warn;

/// What a code names, decided by AIM id, form and check digit, never by hope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanKind {
    /// Serial shipping container code, GS1 AI 00.
    Sscc,
    /// Trade item, GS1 AI 01 or an EAN/UPC code.
    Gtin,
    /// Trade item with its serial number, AI 01 and 21.
    Sgtin,
    /// Contained trade items with their count, AI 02 and 37.
    Content,
    /// Returnable asset, AI 8003.
    Grai,
    /// Individual asset, AI 8004.
    Giai,
    /// Location, AI 414 (and 254).
    Gln,
    /// Shipment, AI 402.
    Gsin,
    /// Consignment, AI 401.
    Ginc,
    /// Freight container, ISO 6346.
    Container,
    /// Vehicle identification number, ISO 3779.
    Vin,
    /// Electronic product code of an RFID tag.
    Epc,
    /// Anything else that is printable.
    Plain,
}

impl ScanKind {
    /// The word on the wire (`code_kind`).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sscc => "sscc",
            Self::Gtin => "gtin",
            Self::Sgtin => "sgtin",
            Self::Content => "content",
            Self::Grai => "grai",
            Self::Giai => "giai",
            Self::Gln => "gln",
            Self::Gsin => "gsin",
            Self::Ginc => "ginc",
            Self::Container => "container",
            Self::Vin => "vin",
            Self::Epc => "epc",
            Self::Plain => "plain",
        }
    }
}

/// One accepted read.
#[derive(Clone, Debug, PartialEq)]
pub struct Scan {
    /// The code as read, without AIM id, framing, prefix and suffix; at most 1,024 bytes.
    pub code: String,
    /// What it names.
    pub kind: ScanKind,
    /// The canonical name of what it names, e.g. `sscc:376104250021234569` or `raw:TRL-7`; equal keys are one asset.
    pub key: String,
    /// AIM symbology id as sent, e.g. `]C1`; where the scanner sends Symbol code ids, the AIM id of the same meaning.
    pub aim: Option<String>,
    /// GS1 application identifiers and their values.
    pub gs1: BTreeMap<String, String>,
    /// What was odd but did not stop it.
    pub warn: Vec<Warn>,
    /// The GS1 key that an EPC is equal to.
    pub same_as: Option<String>,
    /// The frame it was read from, as it came: a scan that is held is read again from it.
    pub frame: Vec<u8>,
}
