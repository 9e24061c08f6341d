//! JSON whose values know where in the text they stand. `serde_json` reads it, a level at a time: what it hands out as raw is
//! a piece of the very text, so that its place is the difference of two addresses.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// A value of a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node<'a> {
    text: &'a str,
    raw: &'a str,
}

impl<'a> Node<'a> {
    /// The whole of a text, or what is no JSON about it and the byte where.
    pub(super) fn root(text: &'a str) -> Result<Self, (usize, String)> {
        match serde_json::from_str::<&RawValue>(text) {
            Ok(raw) => Ok(Self { text, raw: raw.get() }),
            Err(error) => {
                let before: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
                let said = error.to_string();
                let what = said.split(" at line ").next().unwrap_or_default().to_owned();
                Err((before + error.column().saturating_sub(1), what))
            }
        }
    }

    /// The byte of the text at which it begins.
    pub(super) fn at(self) -> usize {
        self.raw.as_ptr().addr() - self.text.as_ptr().addr()
    }

    /// The members of an object; of a name that comes twice the last.
    pub(super) fn members(self) -> Option<BTreeMap<String, Self>> {
        let members: BTreeMap<String, &'a RawValue> = self.read()?;
        Some(members.into_iter().map(|(name, raw)| (name, self.inner(raw))).collect())
    }

    /// The items of a list.
    pub(super) fn items(self) -> Option<Vec<Self>> {
        let items: Vec<&'a RawValue> = self.read()?;
        Some(items.into_iter().map(|raw| self.inner(raw)).collect())
    }

    pub(super) fn text(self) -> Option<String> {
        self.read()
    }

    /// A number that a double can hold.
    pub(super) fn number(self) -> Option<f64> {
        self.read::<f64>().filter(|number| number.is_finite())
    }

    pub(super) fn is_null(self) -> bool {
        self.raw == "null"
    }

    /// What it is, for a person.
    pub(super) fn kind(self) -> &'static str {
        match self.raw.as_bytes().first() {
            Some(b'{') => "an object",
            Some(b'[') => "a list",
            Some(b'"') => "a text",
            Some(b't' | b'f') => "true or false",
            Some(b'n') => "null",
            _ => "a number",
        }
    }

    fn inner(self, raw: &'a RawValue) -> Self {
        Self { text: self.text, raw: raw.get() }
    }

    fn read<T: serde::Deserialize<'a>>(self) -> Option<T> {
        serde_json::from_str(self.raw).ok()
    }
}

/// Line and column, in characters, of a byte of a text; both from 1.
pub(super) fn place(text: &str, byte: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..byte.min(text.len())];
    let start = before.iter().rposition(|b| *b == b'\n').map_or(0, |newline| newline + 1);
    let is_first = |b: &&u8| !matches!(b, 0x80..=0xbf);
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    (line, before[start..].iter().filter(is_first).count() + 1)
}
