//! Anything that went in and will not come out: where, why, and what helps. Every label in the system comes from here.

/// Where something was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// At the port.
    Source,
    /// While reading bytes as sentences or codes.
    Decoder,
    /// While storing.
    Store,
    /// On the way to the platform.
    Uplink,
}

impl Stage {
    /// The stage of a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Source, Self::Decoder, Self::Store, Self::Uplink].into_iter().find(|stage| stage.as_str() == word)
    }

    /// The word in logs and letters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Decoder => "decoder",
            Self::Store => "store",
            Self::Uplink => "uplink",
        }
    }
}

/// Whether a person can do something about a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A person can mend and retry: counts in badges and health, never ages.
    Decide,
    /// Line noise: ends with `retention_days`.
    Noise,
}

impl Class {
    /// The class of a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Decide, Self::Noise].into_iter().find(|class| class.as_str() == word)
    }

    /// The word in the store and on the page.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Decide => "decide",
            Self::Noise => "noise",
        }
    }
}

macro_rules! reasons {
    ($($variant:ident, $code:literal, $class:ident, $retry:literal, $text:literal, $advice:literal;)*) => {
        /// Why something was refused: one closed list, used unchanged as label, log field and page key.
        ///
        /// Source: contract section 6.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $(#[doc = $text] $variant,)* }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code: label, log field, page key.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// Whether a person can mend it.
            #[must_use]
            pub const fn class(self) -> Class {
                match self { $(Self::$variant => Class::$class,)* }
            }

            /// Whether reading or sending the same bytes again can succeed after something was mended.
            #[must_use]
            pub const fn retry_helps(self) -> bool {
                match self { $(Self::$variant => $retry,)* }
            }

            /// What happened, one sentence.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// What to do, one sentence.
            #[must_use]
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice,)* }
            }

            /// The reason of a code.
            #[must_use]
            pub fn from_code(code: &str) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

reasons! {
    BadCharset, "bad_charset", Decide, false, "A GS1 field holds a character that its rules do not allow.", "Check the label; print it anew.";
    BadCheck, "bad_check", Decide, false, "The check digit does not fit the code.", "Scan it again; if it repeats, print the label anew.";
    BadDate, "bad_date", Decide, false, "A date on the label does not exist.", "Check the label; print it anew.";
    BadLength, "bad_length", Decide, false, "A field of the label is too long or too short.", "Check the label; print it anew.";
    Concatenated, "concatenated", Decide, false, "Two codes arrived as one.", "Check the scanner's terminator setting and scan both again.";
    ControlOnly, "control_only", Decide, false, "The read holds control characters only.", "Check the scanner's settings and its cable.";
    DupAiConflict, "dup_ai_conflict", Decide, false, "The label says the same field twice with different values.", "Check the label; print it anew.";
    Framing, "framing", Decide, true, "The read does not have the start, prefix or suffix that is configured.", "Compare the scanner's settings with its [[scanner]] table, then retry.";
    NonAscii, "non_ascii", Decide, true, "The read holds bytes or keys that the charset or layout of this source does not have.", "Check charset, keyboard layout, baud rate and parity of the scanner, then scan it again or retry.";
    Noread, "noread", Decide, false, "The reader says that it could not read the label.", "Look at the label and the reader's aim and light.";
    Overlong, "overlong", Decide, false, "The read is longer than 1,024 bytes.", "Check the terminator; the scanner may send none.";
    Pii, "pii", Decide, false, "The read looks like a driving licence; its text was not kept.", "Nothing to do; do not scan identity documents here.";
    TruncatedAi, "truncated_ai", Decide, false, "A GS1 field ends before its fixed length.", "Scan it again; if it repeats, check label and baud rate.";
    UnknownAi, "unknown_ai", Decide, true, "The label holds a GS1 field that is not known.", "Check the label; retry after an update that knows the field.";
    Unterminated, "unterminated", Decide, false, "The read ended without a terminator.", "Scan it again; check the cable and the terminator setting.";
    UnknownTag, "unknown_tag", Decide, true, "No asset has this key.", "Add the asset, then retry: the scan keeps its time.";
    BadChecksum, "bad_checksum", Noise, false, "The checksum of a sentence does not fit its bytes.", "If it goes on: check cable, ground and baud rate.";
    NoChecksum, "no_checksum", Noise, false, "A sentence came without a checksum.", "Set the receiver to send checksums.";
    TooLong, "too_long", Noise, false, "A sentence is longer than 255 characters, or a line of gpsd than 32 KiB.", "If it goes on: check the baud rate.";
    BadField, "bad_field", Noise, false, "A field of a sentence cannot be read.", "If it goes on: check receiver and cable; send a capture to support.";
    OutOfRange, "out_of_range", Noise, false, "A field of a sentence is outside what is possible.", "If it goes on: check the receiver.";
    BadBytes, "bad_bytes", Noise, false, "Bytes between sentences that are none.", "If it goes on: check the baud rate; a receiver may mix binary in.";
    Glued, "glued", Noise, false, "A sentence begins inside another.", "If it goes on: the line is too slow or loses bytes.";
    LateSentence, "late_sentence", Noise, false, "A sentence came after its epoch was over.", "If it goes on: lower the receiver's rate or raise its baud rate.";
    StorageFull, "storage_full", Decide, false, "There was no room to store it.", "Make room on the disk, then scan again.";
    StorageError, "storage_error", Decide, false, "The store could not be written.", "Check the disk; the log names the error.";
    NotAllowed, "not_allowed", Decide, false, "It came from an address that may not send.", "Add the network to `allow` of the source if it should.";
    TooLarge, "too_large", Decide, true, "The message is larger than the broker takes.", "Raise the broker's maximum packet size, then retry.";
    BrokerRefused, "broker_refused", Decide, true, "The broker refused it ten times.", "Look at the broker's log, then retry.";
    TopicRefused, "topic_refused", Decide, true, "The broker does not take the topic.", "Check the broker's rules for the prefix, then retry.";
    BadFormat, "bad_format", Decide, true, "The broker does not take the payload's format.", "Look at the broker's rules, then retry.";
    DigestMismatch, "digest_mismatch", Decide, true, "The stored bytes changed on the disk.", "Replace the card; retry sends the event if its bytes are sound again.";
    Poison, "poison", Decide, true, "The connection ended each time it was sent.", "Look at the broker's log, then retry.";
}

macro_rules! warns {
    ($($variant:ident, $code:literal, $text:literal;)*) => {
        /// What is odd about a scan that was kept all the same.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Warn { $(#[doc = $text] $variant,)* }

        impl Warn {
            /// Every warning.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }
        }
    };
}

warns! {
    BracketedAi, "bracketed_ai", "The brackets of the human readable line were encoded.";
    ControlStripped, "control_stripped", "Control characters were taken out.";
    EpcBadLength, "epc_bad_length", "Hex that looks like an EPC of the wrong length.";
    Iso6346BadCheck, "iso6346_bad_check", "Looks like a container number with a wrong check digit.";
    LooksLikeSscc, "looks_like_sscc", "18 digits with the check digit of an SSCC but nothing that says so.";
    NoSymbologyId, "no_symbology_id", "Taken for GS1 by form and check digit, without an AIM id.";
    Normalised, "normalised", "Case or spaces were put right for the key.";
    SsccBadCheck, "sscc_bad_check", "Looks like an SSCC with a wrong check digit.";
    Trimmed, "trimmed", "Spaces at the ends were taken off.";
    UpcA12, "upc_a_12", "A UPC-A code sent with 12 digits.";
    VinPrefix, "vin_prefix", "A leading I of a VIN label was taken off.";
}

/// One thing that was refused, with its evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Where.
    pub stage: Stage,
    /// Why.
    pub reason: Reason,
    /// What arrived, cut to 4 KiB for scans and 256 bytes for sentences.
    pub bytes: Vec<u8>,
    /// The GS1 application identifier at fault, when one is.
    pub ai: Option<String>,
    /// How many bytes there were before cutting.
    pub length: usize,
}

impl Loss {
    /// A loss in the decoder with its evidence cut to `max_bytes`.
    #[must_use]
    pub fn decoder(reason: Reason, bytes: &[u8], max_bytes: usize) -> Self {
        Self {
            stage: Stage::Decoder,
            reason,
            bytes: bytes[..bytes.len().min(max_bytes)].to_vec(),
            ai: None,
            length: bytes.len(),
        }
    }
}
