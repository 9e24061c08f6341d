//! Finds sentences in any stream of bytes: text, binary in between, glued or cut lines. It looks for the start
//! character instead of splitting lines, because binary protocols hold line feeds and receivers forget theirs.

use crate::domain::Reason;

/// Longest sentence that is read, from its start character to its checksum. Unit: bytes.
///
/// The standard says 82; receivers in the field send over 100.
pub const SENTENCE_MAX: usize = 255;

/// Longest run of noise that is reported as one. Unit: bytes.
///
/// A line at the wrong baud rate has no end, and its noise must show while it lasts.
pub const NOISE_RUN_MAX: usize = 4096;

/// How much of refused bytes is kept. Unit: bytes.
pub const EVIDENCE_MAX: usize = 256;

/// What the framer cut out of the stream. All pieces together are all bytes, each exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A sentence whose checksum fits.
    Sentence {
        /// From `$` or `!` to the last digit of the checksum, printable ASCII.
        text: &'a [u8],
        /// Bytes it took from the stream: `text`, its tag block and doubled start characters.
        length: usize,
    },
    /// Bytes that are no sentence, and why.
    Refused {
        /// Why.
        reason: Reason,
        /// The first of them, at most [`EVIDENCE_MAX`].
        evidence: &'a [u8],
        /// How many there were.
        length: usize,
    },
    /// One CR or LF after the piece before it.
    LineEnd,
}

/// Where the framer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No sentence has begun.
    Between,
    /// Inside `\…\` before a sentence.
    Tag,
    /// A tag block is whole; a sentence must follow.
    Tagged,
    /// After `$` or `!`.
    Body,
    /// After `*`.
    Star,
    /// After the first digit of the checksum.
    Digit,
    /// Over [`SENTENCE_MAX`]: everything to the end of the line goes with it.
    Overlong,
}

/// Cuts a stream into [`Piece`]s, a byte at a time.
///
/// Shape: holds at most a tag block, a sentence and [`EVIDENCE_MAX`] bytes of noise, under 1 KiB.
#[derive(Clone, Debug)]
pub struct Framer {
    state: State,
    /// Tag block and sentence so far; of an overlong one the first bytes.
    held: Vec<u8>,
    /// Where in `held` the last start character is.
    start: usize,
    /// Bytes of an overlong sentence that `held` does not keep.
    over: usize,
    /// The first bytes of the noise run, and how long it is.
    noise: Vec<u8>,
    noise_length: usize,
}

impl Default for Framer {
    fn default() -> Self {
        Self::new()
    }
}

impl Framer {
    /// A framer at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: State::Between,
            held: Vec::with_capacity(2 * SENTENCE_MAX),
            start: 0,
            over: 0,
            noise: Vec::with_capacity(EVIDENCE_MAX),
            noise_length: 0,
        }
    }

    /// Bytes taken in that no piece has told of yet.
    #[must_use]
    pub fn open(&self) -> usize {
        self.held.len() + self.over + self.noise_length
    }

    /// Whether a sentence has begun and not ended.
    #[must_use]
    pub fn in_sentence(&self) -> bool {
        self.state != State::Between
    }

    /// Takes one byte and tells `sink` of the pieces that it ends.
    pub fn push(&mut self, byte: u8, sink: &mut impl FnMut(Piece<'_>)) {
        match self.state {
            State::Between => self.between(byte, sink),
            State::Tag => self.tag(byte, sink),
            State::Tagged if is_start(byte) => self.begin(byte),
            State::Tagged => self.give_up(byte, sink),
            State::Body => self.body(byte, sink),
            State::Star | State::Digit => self.checksum(byte, sink),
            State::Overlong => self.overlong(byte, sink),
        }
    }

    /// Ends the stream: what is unfinished is noise now.
    pub fn finish(&mut self, sink: &mut impl FnMut(Piece<'_>)) {
        if self.state == State::Overlong {
            self.refuse(Reason::TooLong, sink);
        }
        self.held_is_noise(sink);
        self.flush_noise(sink);
    }

    fn between(&mut self, byte: u8, sink: &mut impl FnMut(Piece<'_>)) {
        match byte {
            b'\r' | b'\n' if self.noise_length == 0 => sink(Piece::LineEnd),
            b'\\' => {
                self.held.push(byte);
                self.state = State::Tag;
            }
            _ if is_start(byte) => self.begin(byte),
            _ => self.add_noise(byte, sink),
        }
    }

    fn begin(&mut self, byte: u8) {
        self.start = self.held.len();
        self.held.push(byte);
        self.state = State::Body;
    }

    /// NMEA 4.10 tag block: `\`, fields, `*` and two digits, `\`.
    fn tag(&mut self, byte: u8, sink: &mut impl FnMut(Piece<'_>)) {
        let printable = (b' '..=b'~').contains(&byte);
        if !printable || is_start(byte) || self.held.len() >= SENTENCE_MAX {
            self.give_up(byte, sink);
        } else if byte != b'\\' {
            self.held.push(byte);
        } else if checksum_fits(&self.held) {
            self.held.push(byte);
            self.state = State::Tagged;
        } else {
            // The backslash may be the first of the next block.
            self.give_up(byte, sink);
        }
    }

    fn body(&mut self, byte: u8, sink: &mut impl FnMut(Piece<'_>)) {
        let text_length = self.held.len() - self.start;
        match byte {
            // Some receivers begin each line with `$$`: the last one counts.
            b'$' if text_length == 1 && self.held.len() < SENTENCE_MAX => self.begin(byte),
            b'$' => {
                self.end_refused(Reason::Glued, sink);
                self.begin(byte);
            }
            b'\r' | b'\n' => {
                self.end_refused(Reason::NoChecksum, sink);
                self.between(byte, sink);
            }
            b'*' => {
                self.held.push(byte);
                self.state = State::Star;
            }
            b' '..=b'~' if text_length < SENTENCE_MAX - 3 => self.held.push(byte),
            b' '..=b'~' if looks_like_sentence(&self.held[self.start..]) => {
                self.state = State::Overlong;
                self.overlong(byte, sink);
            }
            _ => self.give_up(byte, sink),
        }
    }

    fn checksum(&mut self, byte: u8, sink: &mut impl FnMut(Piece<'_>)) {
        if !byte.is_ascii_hexdigit() {
            self.end_refused(Reason::BadChecksum, sink);
            self.between(byte, sink);
            return;
        }
        self.held.push(byte);
        if self.state == State::Star {
            self.state = State::Digit;
        } else if checksum_fits(&self.held[self.start..]) {
            self.flush_noise(sink);
            sink(Piece::Sentence { text: &self.held[self.start..], length: self.held.len() });
            self.reset();
        } else {
            self.end_refused(Reason::BadChecksum, sink);
        }
    }

    fn overlong(&mut self, byte: u8, sink: &mut impl FnMut(Piece<'_>)) {
        let goes_on = (b' '..=b'~').contains(&byte) && byte != b'$' && self.held.len() + self.over < NOISE_RUN_MAX;
        if goes_on {
            self.over += 1;
        } else {
            self.refuse(Reason::TooLong, sink);
            self.between(byte, sink);
        }
    }

    /// Ends what was held as `reason` if it has the look of a sentence, else as noise.
    fn end_refused(&mut self, reason: Reason, sink: &mut impl FnMut(Piece<'_>)) {
        if looks_like_sentence(&self.held[self.start..]) {
            self.refuse(reason, sink);
        } else {
            self.held_is_noise(sink);
        }
    }

    fn refuse(&mut self, reason: Reason, sink: &mut impl FnMut(Piece<'_>)) {
        self.flush_noise(sink);
        let kept = self.held.len().min(EVIDENCE_MAX);
        sink(Piece::Refused { reason, evidence: &self.held[..kept], length: self.held.len() + self.over });
        self.reset();
    }

    /// What was held is noise, and `byte` may begin something new.
    fn give_up(&mut self, byte: u8, sink: &mut impl FnMut(Piece<'_>)) {
        self.held_is_noise(sink);
        self.between(byte, sink);
    }

    fn held_is_noise(&mut self, sink: &mut impl FnMut(Piece<'_>)) {
        let mut held = std::mem::take(&mut self.held);
        for byte in held.drain(..) {
            self.add_noise(byte, sink);
        }
        self.held = held;
        self.reset();
    }

    fn add_noise(&mut self, byte: u8, sink: &mut impl FnMut(Piece<'_>)) {
        if self.noise.len() < EVIDENCE_MAX {
            self.noise.push(byte);
        }
        self.noise_length += 1;
        if self.noise_length >= NOISE_RUN_MAX {
            self.flush_noise(sink);
        }
    }

    fn flush_noise(&mut self, sink: &mut impl FnMut(Piece<'_>)) {
        if self.noise_length > 0 {
            sink(Piece::Refused { reason: Reason::BadBytes, evidence: &self.noise, length: self.noise_length });
            self.noise.clear();
            self.noise_length = 0;
        }
    }

    fn reset(&mut self) {
        self.held.clear();
        self.start = 0;
        self.over = 0;
        self.state = State::Between;
    }
}

/// `$` begins a sentence of fields, `!` an encapsulated one (AIS).
const fn is_start(byte: u8) -> bool {
    matches!(byte, b'$' | b'!')
}

/// Whether the two digits after the last `*` are the XOR of all between the first byte and it.
fn checksum_fits(text: &[u8]) -> bool {
    let Some((body, [b'*', high, low])) = text.split_last_chunk::<3>() else { return false };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let Some((_, body)) = body.split_first() else { return false };
    let sum = body.iter().fold(0, |sum, byte| sum ^ byte);
    digit(*high).zip(digit(*low)).is_some_and(|(high, low)| high * 16 + low == u32::from(sum))
}

/// Whether text that failed began as a sentence does: an address of 3 to 8 capitals and digits, then a comma.
/// In binary a `$` comes by chance, and what follows is noise, not a broken sentence.
fn looks_like_sentence(text: &[u8]) -> bool {
    let address = text.iter().skip(1).take_while(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()).count();
    (3..=8).contains(&address) && text.get(address + 1) == Some(&b',')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames `bytes` and returns a word per piece: the sentence, or the reason and length.
    fn check(bytes: &[u8]) -> Vec<String> {
        let mut words = Vec::new();
        let mut total = 0;
        let mut sink = |piece: Piece<'_>| {
            let (word, length) = match piece {
                Piece::Sentence { text, length } => (String::from_utf8(text.to_vec()).unwrap(), length),
                Piece::Refused { reason, length, .. } => (format!("{} {length}", reason.as_str()), length),
                Piece::LineEnd => (String::new(), 1),
            };
            total += length;
            if !word.is_empty() {
                words.push(word);
            }
        };
        let mut framer = Framer::new();
        for byte in bytes {
            framer.push(*byte, &mut sink);
        }
        framer.finish(&mut sink);
        assert_eq!(framer.open(), 0);
        assert_eq!(total, bytes.len(), "every byte is in exactly one piece");
        words
    }

    const ZDA: &str = "$GPZDA,160012.71,11,03,2004,-1,00*7D";

    #[test]
    fn a_sentence_needs_no_line_end() {
        assert_eq!(check(format!("{ZDA}{ZDA}\n{ZDA}\r\n").as_bytes()), [ZDA; 3]);
    }

    #[test]
    fn lower_case_digits_doubled_starts_and_tag_blocks_are_read() {
        let lower = ZDA.replace("7D", "7d");
        assert_eq!(check(lower.as_bytes()), [lower.as_str()]);
        assert_eq!(check(format!("${ZDA}\r\n").as_bytes()), [ZDA]);
        let ais = "!AIVDM,1,1,,B,15N4cJ`005Jrek0H@9n`DW5608EP,0*13";
        let tagged = format!("\\g:1-2-73874,n:157036,s:r003669945,c:1241544035*4A\\{ais}\r\n");
        assert_eq!(check(tagged.as_bytes()), [ais]);
        assert_eq!(check(format!("\\s:x*00\\{ZDA}").as_bytes()), ["bad_bytes 8", ZDA]);
    }

    #[test]
    fn noise_costs_no_sentence_and_is_told_of_once_a_run() {
        let mut bytes = b"\xb5b\x01\x07$GP\x00\x5c$!\r\n".to_vec();
        bytes.extend(ZDA.bytes());
        assert_eq!(check(&bytes), ["bad_bytes 13", ZDA]);
        assert_eq!(check(&[0xff; 5000]), ["bad_bytes 4096", "bad_bytes 904"]);
    }

    #[test]
    fn a_broken_sentence_is_refused_with_its_reason() {
        assert_eq!(check(format!("$GPGGA,1234{ZDA}").as_bytes()), ["glued 11", ZDA]);
        assert_eq!(check(b"$GPGGA,1234\r\n"), ["no_checksum 11"]);
        assert_eq!(check(b"$GPGGA,1234*00\r\n"), ["bad_checksum 14"]);
        assert_eq!(check(b"$GPGGA,1234*0\r\n"), ["bad_checksum 13"]);
        assert_eq!(check(b"$GPGGA,12"), ["bad_bytes 9"]);
        let long = format!("$GPTXT,{}*00\r\n{ZDA}", "x".repeat(600));
        assert_eq!(check(long.as_bytes()), ["too_long 610", ZDA]);
    }

    #[test]
    fn a_sentence_of_255_characters_is_read() {
        let body = format!("GPTXT,{}", "x".repeat(SENTENCE_MAX - 10));
        let sum = body.bytes().fold(0, |sum, byte| sum ^ byte);
        let text = format!("${body}*{sum:02X}");
        assert_eq!(text.len(), SENTENCE_MAX);
        assert_eq!(check(text.as_bytes()), [text.as_str()]);
    }
}
