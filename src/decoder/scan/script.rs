//! What `waypost decode scan --timed` reads and `waypost capture` writes: a line each for what a port or a keyboard does,
//! and when.

use serde_json::Value;

/// One line of a script.
pub enum Step {
    /// The port says this.
    Bytes(Vec<u8>),
    /// The port goes away.
    Lost,
    /// It is there again.
    Back,
    /// A key is struck.
    Key(Stroke),
    /// A keyboard hands on these events.
    Events(Vec<u8>),
    /// Nothing: a capture says here that it leaves something out.
    Nothing,
}

/// A key and the modifiers that are down while it is pressed.
pub struct Stroke {
    modifiers: Vec<u16>,
    key: u16,
}

/// The modifiers that are down between two strokes, as a scanner holds Alt through the digits of one code.
#[derive(Default)]
pub struct Hands(Vec<u16>);

impl Hands {
    /// The events of one stroke.
    pub fn strike(&mut self, stroke: Stroke) -> Vec<u8> {
        let Stroke { modifiers, key } = stroke;
        let up = self.0.iter().filter(|one| !modifiers.contains(one)).map(|one| (*one, 0));
        let down = modifiers.iter().filter(|one| !self.0.contains(one)).map(|one| (*one, 1));
        let events = events(up.chain(down).chain([(key, 1), (key, 0)]));
        self.0 = modifiers;
        events
    }

    /// The events of letting go of everything.
    pub fn rest(&mut self) -> Vec<u8> {
        events(std::mem::take(&mut self.0).into_iter().map(|one| (one, 0)))
    }
}

/// Key events as a keyboard hands them on.
fn events(keys: impl Iterator<Item = (u16, i32)>) -> Vec<u8> {
    keys.flat_map(|(key, value)| {
        let ([c0, c1], [v0, v1, v2, v3]) = (key.to_le_bytes(), value.to_le_bytes());
        [1, 0, c0, c1, v0, v1, v2, v3]
    })
    .collect()
}

/// The modifiers of a stroke, each with the key that is held for it.
const MODIFIERS: [(&str, u16); 5] = [("SHIFT", 42), ("CTRL", 29), ("ALT", 56), ("ALTGR", 100), ("META", 125)];

/// The names of keys 1 to 127 in `linux/input-event-codes.h`, without `KEY_`; `-` where there is none.
const KEYS: &str = "\
    ESC 1 2 3 4 5 6 7 8 9 0 MINUS EQUAL BACKSPACE TAB Q W E R T Y U I O P LEFTBRACE RIGHTBRACE ENTER LEFTCTRL A S D F G \
    H J K L SEMICOLON APOSTROPHE GRAVE LEFTSHIFT BACKSLASH Z X C V B N M COMMA DOT SLASH RIGHTSHIFT KPASTERISK LEFTALT \
    SPACE CAPSLOCK F1 F2 F3 F4 F5 F6 F7 F8 F9 F10 NUMLOCK SCROLLLOCK KP7 KP8 KP9 KPMINUS KP4 KP5 KP6 KPPLUS KP1 KP2 KP3 \
    KP0 KPDOT - ZENKAKUHANKAKU 102ND F11 F12 RO KATAKANA HIRAGANA HENKAN KATAKANAHIRAGANA MUHENKAN KPJPCOMMA KPENTER \
    RIGHTCTRL KPSLASH SYSRQ RIGHTALT LINEFEED HOME UP PAGEUP LEFT RIGHT END DOWN PAGEDOWN INSERT DELETE MACRO MUTE \
    VOLUMEDOWN VOLUMEUP POWER KPEQUAL KPPLUSMINUS PAUSE SCALE KPCOMMA HANGEUL HANJA YEN LEFTMETA RIGHTMETA COMPOSE";

/// Reads `SHIFT+KEY_T`.
fn read_stroke(text: &str) -> Result<Stroke, String> {
    let (before, name) = text.rsplit_once('+').map_or((None, text), |(before, name)| (Some(before), name));
    let key = name.strip_prefix("KEY_").and_then(|name| {
        let at = KEYS.split_ascii_whitespace().position(|one| one == name && one != "-")?;
        u16::try_from(at + 1).ok()
    });
    let modifier = |word: &str| {
        let found = MODIFIERS.iter().find(|(name, _)| *name == word).map(|(_, key)| *key);
        found.ok_or_else(|| format!("{word:?} is none of SHIFT, CTRL, ALT, ALTGR, META"))
    };
    Ok(Stroke {
        modifiers: before.into_iter().flat_map(|before| before.split('+')).map(modifier).collect::<Result<_, _>>()?,
        key: key
            .ok_or_else(|| format!("there is no key {name:?}; the names are those of linux/input-event-codes.h"))?,
    })
}

/// Whether a first line begins a capture.
pub fn is_head(line: &[u8]) -> bool {
    line.starts_with(b"{\"capture\":")
}

/// Reads one line: its time in ms, and what happens then.
///
/// # Errors
/// What is wrong with it, as a sentence without its end.
pub fn read_step(text: &[u8]) -> Result<(i64, Step), String> {
    let (ms, step): (i64, Value) = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if ms < 0 {
        return Err(format!("its time {ms} ms is negative"));
    }
    if let Value::String(text) = &step {
        return Ok((ms, Step::Bytes(unescape(text)?)));
    }
    let member = step.as_object().filter(|object| object.len() == 1).and_then(|object| object.iter().next());
    match member.map(|(name, value)| (name.as_str(), value.as_str())) {
        Some(("port", Some("lost"))) => Ok((ms, Step::Lost)),
        Some(("port", Some("back"))) => Ok((ms, Step::Back)),
        Some(("events", Some(text))) => Ok((ms, Step::Events(unescape(text)?))),
        Some(("left_out", None)) => Ok((ms, Step::Nothing)),
        Some(("key", Some(stroke))) => Ok((ms, Step::Key(read_stroke(stroke)?))),
        _ => Err(format!("{step} is no step")),
    }
}

/// The bytes of a text with C escapes; a `\x` takes at most two digits.
fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (escape, after) = rest.split_first().ok_or("it ends in a backslash")?;
        rest = after;
        bytes.push(match escape {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'a' => 0x07,
            b'b' => 0x08,
            b'v' => 0x0b,
            b'f' => 0x0c,
            b'e' => 0x1b,
            b'\\' | b'\'' | b'"' | b'?' => *escape,
            b'x' => take_number(&mut rest, 16, 2).ok_or("no hexadecimal digit after \\x")?,
            b'0'..=b'7' => {
                rest = &text.as_bytes()[text.len() - rest.len() - 1..];
                take_number(&mut rest, 8, 3).ok_or("an octal escape over \\377")?
            }
            other => return Err(format!("the escape \\{} is unknown", char::from(*other).escape_default())),
        });
    }
    Ok(bytes)
}

/// Takes at most `digits_max` digits off the front.
fn take_number(rest: &mut &[u8], base: u32, digits_max: usize) -> Option<u8> {
    let length = rest.iter().take(digits_max).take_while(|byte| char::from(**byte).is_digit(base)).count();
    let (digits, after) = rest.split_at(length);
    *rest = after;
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, base).ok()
}
