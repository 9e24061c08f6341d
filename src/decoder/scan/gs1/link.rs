//! GS1 Digital Link: the same elements written as a web address.

use super::{Elements, Fault, check_element};

/// The identifiers that may open a link, each with those that may refine it in the path.
///
/// Source: GS1 Digital Link URI Syntax 4.
const OPENERS: &[(&str, &[&str])] = &[
    ("00", &[]),
    ("01", &["22", "10", "21", "235"]),
    ("253", &[]),
    ("255", &[]),
    ("401", &[]),
    ("402", &[]),
    ("414", &["254", "7040"]),
    ("415", &["8020"]),
    ("417", &["7040"]),
    ("8003", &[]),
    ("8004", &["7040"]),
    ("8006", &["22", "10", "21"]),
    ("8010", &["8011"]),
    ("8013", &[]),
    ("8017", &["8019"]),
    ("8018", &["8019"]),
];

/// The elements of a web address, when it is a Digital Link.
///
/// None for any other text, also for an address elsewhere that only resembles a link: a page may have `/01/` in its path.
///
/// # Errors
/// Under `id.gs1.org` nothing but links lives: there, a value that breaks its rules is a [`Fault`].
pub fn read_link(text: &str) -> Result<Option<Elements>, Fault> {
    let Some(address) = strip_scheme(text) else { return Ok(None) };
    let address = address.split('#').next().unwrap_or_default();
    let (path, query) = address.split_once('?').unwrap_or((address, ""));
    let Some((host, path)) = path.split_once('/') else { return Ok(None) };
    let segments: Vec<&str> = path.split('/').collect();
    let mut first_fault = None;
    for (at, segment) in segments.iter().enumerate() {
        // What stands before the opener belongs to the site.
        let Some((_, refines)) = OPENERS.iter().find(|(ai, _)| ai == segment) else { continue };
        match read_pairs(&segments[at..], refines, query) {
            Ok(Some(elements)) => return Ok(Some(elements)),
            Ok(None) => {}
            Err(fault) => first_fault = first_fault.or(Some(fault)),
        }
    }
    match first_fault {
        Some(fault) if host.eq_ignore_ascii_case("id.gs1.org") => Err(fault),
        _ => Ok(None),
    }
}

fn strip_scheme(text: &str) -> Option<&str> {
    ["https://", "http://"].into_iter().find_map(|scheme| {
        text.split_at_checked(scheme.len()).filter(|(head, _)| head.eq_ignore_ascii_case(scheme)).map(|(_, rest)| rest)
    })
}

/// Reads the path from the opener on, and what the query adds; none when the path does not alternate as a link's does.
fn read_pairs(segments: &[&str], refines: &[&str], query: &str) -> Result<Option<Elements>, Fault> {
    let mut elements = Elements::new();
    let segments = segments.strip_suffix(&[""]).unwrap_or(segments);
    for (nth, pair) in segments.chunks(2).enumerate() {
        let &[ai, value] = pair else { return Ok(None) };
        if nth > 0 && !refines.contains(&ai) {
            return Ok(None);
        }
        let Some(value) = decode_percent(value) else { return Ok(None) };
        let value = if ai == "01" { pad_gtin(value) } else { value };
        check_element(ai, &value)?;
        elements.insert(ai.to_owned(), value);
    }
    for (ai, value) in query.split(['&', ';']).filter_map(|pair| pair.split_once('=')) {
        // Anything else in the query is the site's own.
        if let Some(value) = decode_percent(value).filter(|value| check_element(ai, value).is_ok()) {
            elements.entry(ai.to_owned()).or_insert(value);
        }
    }
    Ok(Some(elements))
}

/// Older links carry the shorter forms of a GTIN.
fn pad_gtin(digits: String) -> String {
    if matches!(digits.len(), 8 | 12 | 13) { format!("{digits:0>14}") } else { digits }
}

/// A text with its `%` escapes resolved; none when they are broken or spell no text.
pub fn decode_percent(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let hex =
                std::str::from_utf8(after.get(..2)?).ok().filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Reason;

    fn found(text: &str) -> Vec<(String, String)> {
        read_link(text).unwrap().into_iter().flatten().collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(ai, value)| ((*ai).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_link_gives_the_elements_it_spells() {
        assert_eq!(found("https://id.gs1.org/00/376104250021234569"), pairs(&[("00", "376104250021234569")]));
        assert_eq!(
            found("HTTPS://shop.example/no/01/9521234567899/10/A%2FB/21/7/?17=261231&utm=1"),
            pairs(&[("01", "09521234567899"), ("10", "A/B"), ("17", "261231"), ("21", "7")])
        );
    }

    #[test]
    fn an_address_that_only_resembles_a_link_stays_an_address() {
        for text in [
            "https://a.example/",
            "https://a.example/01/",
            "https://a.example/01/12",
            "http://a.example/01/09521234567899/x/1",
            "ftp://x",
            "https:/",
        ] {
            assert_eq!(found(text), [], "{text}");
        }
    }

    #[test]
    fn under_the_gs1_host_a_wrong_check_digit_is_a_fault() {
        let fault = read_link("https://id.gs1.org/01/09521234567890").unwrap_err();
        assert_eq!(fault, Fault { reason: Reason::BadCheck, ai: Some("01".into()) });
    }
}
