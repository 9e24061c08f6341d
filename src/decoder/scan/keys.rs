//! A keyboard scanner's key events to the bytes that it types, never to one that could be another.
//!
//! The device is grabbed, so the lights of the host's keyboard and its layout mean nothing here.

use super::layout::{Layout, composed};

/// Stands in the typed bytes for what is not known: a key that types nothing on this layout, or keys that were lost. No
/// text in UTF-8 holds it, so the frame that it is in is refused as `non_ascii`.
const UNKNOWN: u8 = 0xff;

// Types of events, codes of `EV_SYN` and codes of `EV_KEY`, as in `linux/input-event-codes.h`.
const EV_SYN: u16 = 0;
const EV_KEY: u16 = 1;
const SYN_DROPPED: u16 = 3;
const TAB: u16 = 15;
const ENTER: u16 = 28;
const LEFT_CTRL: u16 = 29;
const LEFT_SHIFT: u16 = 42;
const RIGHT_SHIFT: u16 = 54;
const LEFT_ALT: u16 = 56;
const SPACE: u16 = 57;
const CAPS_LOCK: u16 = 58;
const NUM_LOCK: u16 = 69;
const SCROLL_LOCK: u16 = 70;
const PAD_POINT: u16 = 83;
const PAD_ENTER: u16 = 96;
const RIGHT_CTRL: u16 = 97;
const RIGHT_ALT: u16 = 100;
const LEFT_META: u16 = 125;
const RIGHT_META: u16 = 126;

/// The number pad, whose lock is taken to be on: a scanner in this mode wants digits.
const PAD: &[(u16, char)] = &[
    (82, '0'),
    (79, '1'),
    (80, '2'),
    (81, '3'),
    (75, '4'),
    (76, '5'),
    (77, '6'),
    (71, '7'),
    (72, '8'),
    (73, '9'),
    (55, '*'),
    (74, '-'),
    (78, '+'),
    (98, '/'),
    (117, '='),
];

/// What Ctrl makes of the keys beside the letters, by their place: escape, the separators FS, GS, RS and US. They lie
/// where an American keyboard has `[ \ ] 6 -`, on every layout: scanners send the key of that place, and Windows reads it so.
const CONTROLS: &[(u16, u8)] = &[(26, 0x1b), (43, 0x1c), (27, 0x1d), (7, 0x1e), (12, 0x1f)];

/// The most digits of a code that is typed on the number pad; more are no code.
const CODE_DIGITS_MAX: usize = 4;

/// The characters 128 to 159 of Windows-1252, in which `Alt+0NNN` counts; a space where there is none.
const WINDOWS_1252: &str = "€ ‚ƒ„…†‡ˆ‰Š‹Œ Ž  ‘’“”•–—˜™š›œ žŸ";

/// The keys that change what others type; each is held with its left key (1), its right one (2) or both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    shift: u8,
    ctrl: u8,
    alt: u8,
    altgr: u8,
    meta: u8,
}

/// One keyboard from its opening to its end.
#[derive(Clone, Debug)]
pub struct Keyboard {
    layout: Layout,
    /// What the Enter key types.
    enter: Vec<u8>,
    held: Held,
    /// An accent that waits for its letter.
    accent: Option<char>,
    /// The digits that were typed on the number pad since Alt went down; one more than a code has at most.
    code: Vec<u8>,
    /// Whether keys were lost: what was typed since the last frame cannot be believed.
    lost: bool,
    /// Whether a key was held through a silence: whether it is still down is known when it is let go of.
    stuck: bool,
}

impl Keyboard {
    /// A keyboard with no key down. Its Enter types the line end that ends this scanner's frames, or a carriage return.
    pub fn new(layout: Layout, terminators: &[Vec<u8>]) -> Self {
        let is_line_end = |term: &&Vec<u8>| matches!(term.as_slice(), b"\r" | b"\n" | b"\r\n" | b"\n\r");
        let enter = terminators.iter().find(is_line_end).cloned().unwrap_or_else(|| b"\r".to_vec());
        Self { layout, enter, held: Held::default(), accent: None, code: Vec::new(), lost: false, stuck: false }
    }

    /// Whether something is pressed that silence has to settle.
    pub fn is_waiting(&self) -> bool {
        self.accent.is_some() || !self.code.is_empty() || self.held != Held::default()
    }

    /// Takes one event of the kernel; what it types is appended to `typed`.
    pub fn take(&mut self, kind: u16, code: u16, value: i32, typed: &mut Vec<u8>) {
        match (kind, value) {
            (EV_SYN, _) if code == SYN_DROPPED => {
                self.let_go();
                self.lost = true;
            }
            (EV_KEY, 0) => self.release(code, typed),
            (EV_KEY, 1) => self.press(code, typed),
            // A key that repeats was pressed once.
            _ => {}
        }
    }

    /// Says that the line was silent for too long: what waits is typed, and nothing is held any more.
    pub fn silence(&mut self, typed: &mut Vec<u8>) {
        self.settle_accent(typed);
        if !self.code.is_empty() {
            typed.push(UNKNOWN);
        }
        // A scanner holds nothing between two codes: its release was lost, or it is a hand. The next key may be shifted or not.
        self.stuck |= self.held != Held::default();
        self.let_go();
    }

    fn let_go(&mut self) {
        self.held = Held::default();
        self.accent = None;
        self.code.clear();
    }

    /// The modifier of a key, and which of its two keys it is.
    fn modifier(&mut self, key: u16) -> Option<(&mut u8, u8)> {
        Some(match key {
            LEFT_SHIFT => (&mut self.held.shift, 1),
            RIGHT_SHIFT => (&mut self.held.shift, 2),
            LEFT_CTRL => (&mut self.held.ctrl, 1),
            RIGHT_CTRL => (&mut self.held.ctrl, 2),
            LEFT_ALT => (&mut self.held.alt, 1),
            RIGHT_ALT if self.layout.has_altgr() => (&mut self.held.altgr, 2),
            RIGHT_ALT => (&mut self.held.alt, 2),
            LEFT_META => (&mut self.held.meta, 1),
            RIGHT_META => (&mut self.held.meta, 2),
            _ => return None,
        })
    }

    fn release(&mut self, key: u16, typed: &mut Vec<u8>) {
        let Some((held, side)) = self.modifier(key) else { return };
        *held &= !side;
        self.stuck = false;
        if self.held.alt == 0 && !self.code.is_empty() {
            let code = std::mem::take(&mut self.code);
            self.put(character_of(&code), typed);
        }
    }

    fn press(&mut self, key: u16, typed: &mut Vec<u8>) {
        if let Some((held, side)) = self.modifier(key) {
            *held |= side;
            return;
        }
        // The locks type nothing, and their lights are the host's: what is grabbed has none.
        if matches!(key, CAPS_LOCK | NUM_LOCK | SCROLL_LOCK) {
            return;
        }
        if std::mem::take(&mut self.lost) | std::mem::take(&mut self.stuck) {
            typed.push(UNKNOWN);
        }
        let [shift, ctrl, alt, altgr, meta] =
            [self.held.shift, self.held.ctrl, self.held.alt, self.held.altgr, self.held.meta].map(|side| side != 0);
        if meta {
            self.put(None, typed);
        } else if altgr || (ctrl && alt && self.layout.has_altgr()) {
            // Ctrl and Alt together are AltGr on Windows, and some scanners send it so.
            self.character(key, 2 + usize::from(shift), typed);
        } else if alt {
            self.digit_of_code(key, ctrl, typed);
        } else if ctrl {
            let control = self.control(key);
            self.put(control, typed);
        } else {
            self.plain(key, usize::from(shift), typed);
        }
    }

    fn plain(&mut self, key: u16, level: usize, typed: &mut Vec<u8>) {
        match key {
            ENTER | PAD_ENTER => {
                self.settle_accent(typed);
                typed.extend_from_slice(&self.enter);
            }
            TAB => self.put(Some('\t'), typed),
            PAD_POINT => self.put(Some(self.layout.point()), typed),
            // An accent and a space are the accent alone.
            SPACE if self.accent.is_some() => self.settle_accent(typed),
            SPACE => self.put(Some(' '), typed),
            _ => match PAD.iter().find(|(pad, _)| *pad == key) {
                Some((_, c)) => self.put(Some(*c), typed),
                None => self.character(key, level, typed),
            },
        }
    }

    fn character(&mut self, key: u16, level: usize, typed: &mut Vec<u8>) {
        match (self.layout.typed(key, level), self.accent) {
            (Some((accent, true)), None) => self.accent = Some(accent),
            (Some((letter, _)), Some(accent)) if composed(accent, letter).is_some() => {
                self.accent = None;
                self.put(composed(accent, letter), typed);
            }
            (found, _) => self.put(found.map(|(c, _)| c), typed),
        }
    }

    /// What Ctrl makes of a key: of a letter of the layout its number in the alphabet, of other keys what lies at their place.
    fn control(&self, key: u16) -> Option<char> {
        let of_place = CONTROLS.iter().find(|(place, _)| *place == key).map(|(_, control)| char::from(*control));
        let letter = self.layout.typed(key, 0).map(|(c, _)| c).filter(char::is_ascii_lowercase);
        letter.and_then(|c| u8::try_from(c).ok()).map(|letter| char::from(letter & 0x1f)).or(of_place)
    }

    fn digit_of_code(&mut self, key: u16, ctrl: bool, typed: &mut Vec<u8>) {
        match PAD.iter().find(|(pad, _)| *pad == key) {
            Some((_, digit @ '0'..='9')) if !ctrl => {
                self.settle_accent(typed);
                if self.code.len() <= CODE_DIGITS_MAX {
                    self.code.extend(u8::try_from(*digit).ok());
                }
            }
            _ => self.put(None, typed),
        }
    }

    /// Types a character behind the accent that waited for another one; none is a key that is not known.
    fn put(&mut self, c: Option<char>, typed: &mut Vec<u8>) {
        self.settle_accent(typed);
        match c {
            Some(c) => typed.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            None => typed.push(UNKNOWN),
        }
    }

    fn settle_accent(&mut self, typed: &mut Vec<u8>) {
        if let Some(accent) = self.accent.take() {
            typed.extend_from_slice(accent.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

/// The character of a code on the number pad: ASCII, with or without zeros before it, or `0NNN` in Windows-1252.
///
/// None for everything else: which character 128 to 255 without a zero would be depends on the host's code page.
fn character_of(digits: &[u8]) -> Option<char> {
    if digits.len() > CODE_DIGITS_MAX {
        return None;
    }
    let number: u32 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match (number, digits.first()) {
        (1..=127, _) | (160..=255, Some(b'0')) => char::from_u32(number),
        (128..=159, Some(b'0')) => {
            let at = usize::try_from(number - 128).ok()?;
            WINDOWS_1252.chars().nth(at).filter(|c| *c != ' ')
        }
        _ => None,
    }
}
