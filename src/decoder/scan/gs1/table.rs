//! The GS1 application identifiers: which there are, and the form of what follows each.
//!
//! Source: GS1 General Specifications, section 3 (identifiers) and 7.8.5 (pre-defined lengths).

/// The characters that a part may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// Digits.
    N,
    /// The 82 characters of ISO/IEC 646 that GS1 allows.
    X,
    /// The 39 characters of component and part identifiers.
    Y,
    /// The 64 characters of base64url and its padding.
    Z,
}

impl Set {
    /// Whether `byte` is one of its characters.
    pub const fn holds(self, byte: u8) -> bool {
        match self {
            Self::N => byte.is_ascii_digit(),
            Self::X => byte.is_ascii_alphanumeric() || matches!(byte, b'!'..=b'"' | b'%'..=b'/' | b':'..=b'?' | b'_'),
            Self::Y => byte.is_ascii_digit() || byte.is_ascii_uppercase() || matches!(byte, b'#' | b'-' | b'/'),
            Self::Z => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'='),
        }
    }
}

/// What a part must prove beyond its characters and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Nothing.
    None,
    /// It is there as a whole or not at all.
    Whole,
    /// It ends in its check digit.
    Mod10,
    /// It ends in its pair of check characters and begins with a company prefix.
    Pair,
    /// It is a bank account number with its check digits.
    Iban,
    /// It begins with a company prefix: at least four digits.
    Prefix,
    /// It is one of these characters.
    OneOf(&'static [u8]),
    /// It is capital letters.
    Capitals,
    /// It is a day, year first.
    Date,
    /// It is a day, or day 00 for the end of the month.
    DateOrMonth,
    /// It is a day with its century.
    FullDate,
    /// It is the hour of a day.
    Hour,
    /// It is a number of minutes or seconds.
    Minutes,
    /// It is hours and minutes, or 9999 where no time is meant.
    TimeOrNone,
}

/// One stretch of a field.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Its characters.
    pub set: Set,
    /// The fewest characters; 0 when it may be absent.
    pub min: usize,
    /// The most characters.
    pub max: usize,
    /// What it must prove.
    pub proof: Proof,
}

/// One identifier, or a run of identifiers of the same form.
#[derive(Debug)]
pub struct Field {
    /// The least value of each digit of the identifier; its length is the identifier's.
    low: &'static str,
    /// The greatest value of each digit.
    high: &'static str,
    /// What follows, in order. All but the last part have a fixed length.
    pub parts: &'static [Part],
}

impl Field {
    /// The most characters that may follow.
    pub fn max(&self) -> usize {
        self.parts.iter().map(|part| part.max).sum()
    }

    /// Whether `ai` is this identifier or one of this run.
    fn names(&self, ai: &[u8]) -> bool {
        self.low.len() == ai.len()
            && ai
                .iter()
                .zip(self.low.bytes().zip(self.high.bytes()))
                .all(|(digit, (low, high))| (low..=high).contains(digit))
    }
}

/// The field of an identifier; none when there is no such identifier.
pub fn field(ai: &[u8]) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.names(ai))
}

/// Whether a field that begins with these two digits ends by its length alone, without a separator.
///
/// The standard lists them by first two digits, so that a reader can go on past identifiers it does not know.
pub fn ends_by_length(ai: &[u8]) -> bool {
    matches!(
        ai.first_chunk(),
        Some(b"00" | b"01" | b"02" | b"03" | b"04" | b"20" | b"41" | [b'1', b'1'..=b'9'] | [b'3', b'1'..=b'6'])
    )
}

const fn part(set: Set, min: usize, max: usize, proof: Proof) -> Part {
    Part { set, min, max, proof }
}

/// Exactly `length` digits.
const fn digits(length: usize) -> Part {
    part(Set::N, length, length, Proof::None)
}

/// Exactly `length` digits that prove something.
const fn proven(length: usize, proof: Proof) -> Part {
    part(Set::N, length, length, proof)
}

/// One digit up to `max`.
const fn number(max: usize) -> Part {
    part(Set::N, 1, max, Proof::None)
}

/// One character up to `max`.
const fn text(max: usize) -> Part {
    part(Set::X, 1, max, Proof::None)
}

/// A part that may be absent.
const fn maybe(set: Set, max: usize) -> Part {
    part(set, 0, max, Proof::None)
}

/// Exactly `length` digits, or none.
const fn maybe_digits(length: usize) -> Part {
    part(Set::N, 0, length, Proof::Whole)
}

const fn all(ai: &'static str, parts: &'static [Part]) -> Field {
    Field { low: ai, high: ai, parts }
}

const fn run(low: &'static str, high: &'static str, parts: &'static [Part]) -> Field {
    Field { low, high, parts }
}

const GTIN: &[Part] = &[proven(14, Proof::Mod10)];
const GLN: &[Part] = &[proven(13, Proof::Mod10)];
const DAY: &[Part] = &[proven(6, Proof::DateOrMonth)];
const SIX: &[Part] = &[digits(6)];
const COUNTRY: &[Part] = &[digits(3)];
const COUNTRIES: &[Part] = &[digits(3), maybe_digits(3), maybe_digits(3), maybe_digits(3), maybe_digits(3)];
const DAY_AND_TIME: &[Part] = &[proven(6, Proof::DateOrMonth), proven(4, Proof::TimeOrNone)];
const TEMPERATURE: &[Part] = &[digits(6), part(Set::X, 0, 1, Proof::OneOf(b"-"))];
const LETTERS2: &[Part] = &[part(Set::X, 2, 2, Proof::Capitals)];
const YES_OR_NO: &[Part] = &[proven(1, Proof::OneOf(b"01"))];
const SERVICE: &[Part] = &[proven(18, Proof::Mod10)];
const TRADE_PIECE: &[Part] = &[proven(14, Proof::Mod10), digits(4)];
const X20: &[Part] = &[text(20)];
const X30: &[Part] = &[text(30)];
const X35: &[Part] = &[text(35)];
const X70: &[Part] = &[text(70)];
const X90: &[Part] = &[text(90)];
const KEY30: &[Part] = &[part(Set::X, 4, 30, Proof::Prefix)];

/// Every identifier. None is the beginning of another, so that the first that fits is the one.
const FIELDS: &[Field] = &[
    all("00", &[proven(18, Proof::Mod10)]),
    run("01", "03", GTIN),
    all("10", X20),
    run("11", "13", DAY),
    run("15", "17", DAY),
    all("20", &[digits(2)]),
    run("21", "22", X20),
    all("235", &[text(28)]),
    run("240", "241", X30),
    all("242", &[number(6)]),
    all("243", X20),
    run("250", "251", X30),
    all("253", &[proven(13, Proof::Mod10), maybe(Set::X, 17)]),
    all("254", X20),
    all("255", &[proven(13, Proof::Mod10), maybe(Set::N, 12)]),
    all("30", &[number(8)]),
    run("3100", "3165", SIX),
    run("3200", "3295", SIX),
    run("3300", "3375", SIX),
    run("3400", "3495", SIX),
    run("3500", "3575", SIX),
    run("3600", "3695", SIX),
    all("37", &[number(8)]),
    run("3900", "3909", &[number(15)]),
    run("3910", "3919", &[digits(3), number(15)]),
    run("3920", "3929", &[number(15)]),
    run("3930", "3939", &[digits(3), number(15)]),
    run("3940", "3943", &[digits(4)]),
    run("3950", "3955", SIX),
    all("400", X30),
    all("401", KEY30),
    all("402", &[proven(17, Proof::Mod10)]),
    all("403", X30),
    run("410", "417", GLN),
    all("420", X20),
    all("421", &[digits(3), text(9)]),
    all("422", COUNTRY),
    all("423", COUNTRIES),
    all("424", COUNTRY),
    all("425", COUNTRIES),
    all("426", COUNTRY),
    all("427", &[text(3)]),
    run("4300", "4301", X35),
    run("4302", "4306", X70),
    all("4307", LETTERS2),
    all("4308", X30),
    all("4309", &[digits(10), digits(10)]),
    run("4310", "4311", X35),
    run("4312", "4316", X70),
    all("4317", LETTERS2),
    all("4318", X20),
    all("4319", X30),
    all("4320", X35),
    run("4321", "4323", YES_OR_NO),
    run("4324", "4325", DAY_AND_TIME),
    all("4326", &[proven(6, Proof::Date)]),
    run("4330", "4333", TEMPERATURE),
    all("7001", &[digits(13)]),
    all("7002", X30),
    all("7003", &[proven(6, Proof::Date), proven(4, Proof::TimeOrNone)]),
    all("7004", &[number(4)]),
    all("7005", &[text(12)]),
    all("7006", &[proven(6, Proof::Date)]),
    all("7007", &[proven(6, Proof::Date), part(Set::N, 0, 6, Proof::Date)]),
    all("7008", &[text(3)]),
    all("7009", &[text(10)]),
    all("7010", &[text(2)]),
    all("7011", &[proven(6, Proof::Date), part(Set::N, 0, 4, Proof::TimeOrNone)]),
    run("7020", "7022", X20),
    all("7023", KEY30),
    run("7030", "7039", &[digits(3), text(27)]),
    all("7040", &[digits(1), part(Set::X, 3, 3, Proof::None)]),
    all("7041", &[text(4)]),
    run("710", "717", X20),
    run("7230", "7239", &[part(Set::X, 2, 2, Proof::None), text(28)]),
    all("7240", X20),
    all("7241", &[digits(2)]),
    all("7242", &[text(25)]),
    all("7250", &[proven(8, Proof::FullDate)]),
    all("7251", &[proven(8, Proof::FullDate), proven(4, Proof::TimeOrNone)]),
    all("7252", &[proven(1, Proof::OneOf(b"0129"))]),
    run("7253", "7254", &[text(40)]),
    all("7255", &[text(10)]),
    all("7256", X90),
    all("7257", X70),
    all("7258", &[part(Set::X, 3, 3, Proof::None)]),
    all("7259", &[text(40)]),
    all("8001", &[digits(4), digits(5), digits(3), proven(1, Proof::OneOf(b"019")), digits(1)]),
    all("8002", X20),
    all("8003", &[proven(1, Proof::OneOf(b"0")), proven(13, Proof::Mod10), maybe(Set::X, 16)]),
    all("8004", KEY30),
    all("8005", SIX),
    all("8006", TRADE_PIECE),
    all("8007", &[part(Set::X, 5, 34, Proof::Iban)]),
    all(
        "8008",
        &[
            proven(6, Proof::Date),
            proven(2, Proof::Hour),
            part(Set::N, 0, 2, Proof::Minutes),
            part(Set::N, 0, 2, Proof::Minutes),
        ],
    ),
    all("8009", &[text(50)]),
    all("8010", &[part(Set::Y, 4, 30, Proof::Prefix)]),
    all("8011", &[number(12)]),
    all("8012", X20),
    run("8013", "8014", &[part(Set::X, 6, 25, Proof::Pair)]),
    run("8017", "8018", SERVICE),
    all("8019", &[number(10)]),
    all("8020", &[text(25)]),
    all("8026", TRADE_PIECE),
    all("8030", &[part(Set::Z, 1, 90, Proof::None)]),
    all("8110", X70),
    all("8111", &[digits(4)]),
    all("8112", X70),
    all("8200", X70),
    all("90", X30),
    run("91", "99", X90),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_identifier_is_the_beginning_of_another() {
        for number in 0..10_000 {
            let four = format!("{number:04}");
            let known = (2..=4).filter(|length| field(&four.as_bytes()[..*length]).is_some()).count();
            assert!(known <= 1, "{four} can be read in {known} ways");
        }
    }

    #[test]
    fn a_field_that_ends_by_its_length_has_a_fixed_length() {
        for number in 0..10_000 {
            let four = format!("{number:04}");
            for length in 2..=4 {
                let ai = &four.as_bytes()[..length];
                let fixed = field(ai).filter(|_| ends_by_length(ai));
                assert!(fixed.is_none_or(|field| field.parts.iter().all(|part| part.min == part.max)), "{four}");
            }
        }
    }

    #[test]
    fn the_set_of_82_holds_82_characters() {
        let sizes = [Set::N, Set::X, Set::Y, Set::Z].map(|set| (0..=255).filter(|byte| set.holds(*byte)).count());
        assert_eq!(sizes, [10, 82, 39, 65]);
    }
}
