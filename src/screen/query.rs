//! What a call asks for, read from its query string. A word that is not known is an error with the list of those that
//! are: a misspelt filter must not quietly filter nothing.

use axum::extract::Query;
use axum::http::Uri;

use crate::domain::{Cursor, CursorError};

use super::answer::Fault;

/// Text of one parameter, at most. Bytes.
const VALUE_MAX: usize = 1024;

/// The parameters of one call.
pub(super) struct Asked(Vec<(String, String)>);

impl Asked {
    /// Reads the query of an address. `known` are the parameters of this call.
    ///
    /// # Errors
    /// 400: it cannot be decoded, names something else, or names something twice.
    pub(super) fn of(uri: &Uri, known: &[&str]) -> Result<Self, Fault> {
        let asked = Self::any_of(uri)?;
        let pairs = &asked.0;
        for (at, (name, value)) in pairs.iter().enumerate() {
            let hint = || format!("This call takes: {}.", known.join(", "));
            if !known.contains(&name.as_str()) {
                return Err(Fault::bad(format!("{:?} is not a parameter of this call", cut(name)), hint()));
            }
            if pairs[..at].iter().any(|(earlier, _)| earlier == name) {
                return Err(Fault::bad(format!("{name} is given twice"), "Give it once."));
            }
            if value.len() > VALUE_MAX {
                return Err(Fault::bad(format!("{name} is longer than {VALUE_MAX} bytes"), "Shorten it."));
            }
        }
        Ok(asked)
    }

    /// As [`Asked::of`], with anything else beside it: a stream that is refused makes a browser give up for good.
    ///
    /// # Errors
    /// 400: it cannot be decoded.
    pub(super) fn any_of(uri: &Uri) -> Result<Self, Fault> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| Fault::bad(format!("the query cannot be read: {error}"), "Percent-encode each value."))?;
        Ok(Self(pairs))
    }

    /// A parameter's text; none when it is absent or empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// A whole number.
    ///
    /// # Errors
    /// 400: it is none, or outside `from..=to`.
    pub(super) fn number(&self, name: &str, default: i64, from: i64, to: i64) -> Result<i64, Fault> {
        let Some(text) = self.text(name) else { return Ok(default) };
        text.parse().ok().filter(|n| (from..=to).contains(n)).ok_or_else(|| {
            Fault::bad(format!("{name} is {:?}", cut(text)), format!("Give a whole number from {from} to {to}."))
        })
    }

    /// How many items.
    ///
    /// # Errors
    /// 400: not 1..=`most`.
    pub(super) fn limit(&self, default: i64, most: i64) -> Result<usize, Fault> {
        self.number("limit", default, 1, most).map(|n| usize::try_from(n).unwrap_or(1))
    }

    /// A cursor.
    ///
    /// # Errors
    /// 400: it is none that this node gives out.
    pub(super) fn cursor(&self, name: &str) -> Result<Option<Cursor>, Fault> {
        self.text(name).map(cursor).transpose()
    }
}

/// A cursor from its text.
///
/// # Errors
/// 400: it is none that this node gives out.
pub(super) fn cursor(text: &str) -> Result<Cursor, Fault> {
    text.parse().map_err(|error: CursorError| {
        Fault::bad(error.to_string(), "Leave the cursor out to start from now; each answer carries the next one.")
    })
}

/// The start of what a stranger wrote.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}
