//! What may not leave the machine in a support bundle. Two nets, one behind the other: every secret that is known on this machine,
//! wherever it turns up, and whatever looks like one. Rather a word too many is left out than one too few.

use serde_json::Value;

/// What stands where a secret was.
const LEFT_OUT: &str = "[left out]";
/// A shorter one is no secret, and would be found everywhere. Characters
const SECRET_MIN: usize = 4;
/// From so many on it is found within other words too. Characters
const WITHIN_MIN: usize = 12;
/// Names that say that a secret follows, in lower case, without `-` and `_`.
const NAMES: [&str; 13] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "privatekey",
    "accesskey",
    "authorization",
    "bearer",
    "setcredential",
    "cookie",
    "psk",
];

/// Takes secrets out of texts.
#[derive(Default)]
pub(super) struct Scrub {
    /// Those of this machine, the longest first.
    known: Vec<String>,
    /// Why those of a file or a folder are not among them.
    unread: Option<String>,
}

impl Scrub {
    /// Learns the secrets that a file holds: its lines, as far as they are long enough to be one.
    pub(super) fn learn(&mut self, text: &str) {
        let lines = text.lines().map(str::trim).filter(|line| line.chars().count() >= SECRET_MIN);
        self.known.extend(lines.filter(|line| !line.starts_with("-----")).map(str::to_owned));
        self.known.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        self.known.dedup();
    }

    /// Notes that there are more than are known.
    pub(super) fn miss(&mut self, why: String) {
        self.unread.get_or_insert(why);
    }

    /// Why not every secret of this machine is known; none when each is.
    pub(super) const fn unread(&self) -> Option<&String> {
        self.unread.as_ref()
    }

    /// A text without secrets.
    pub(super) fn text(&self, text: &str) -> String {
        let mut text = without_keys(text);
        for secret in &self.known {
            text = without(&text, secret);
        }
        let mut out = String::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            out.push_str(&without_named(&without_users(line)));
        }
        out
    }

    /// The same within JSON, which stays JSON: numbers are counts and times, secrets are texts.
    pub(super) fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(fields) => {
                for (name, value) in fields.iter_mut() {
                    if is_secret(name) && value.is_string() {
                        *value = Value::String(LEFT_OUT.to_owned());
                    } else {
                        self.value(value);
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// Whether what is called so is a secret itself, and not the file that holds one.
pub(super) fn is_secret(name: &str) -> bool {
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    let is_place = ["file", "dir", "path", "directory", "credentials"].iter().any(|end| name.ends_with(end));
    !is_place && (name == "pin" || NAMES.iter().any(|word| name.contains(word)))
}

/// Private keys as PEM, from their first line to their last, or to the end when that is not there.
fn without_keys(text: &str) -> String {
    const BEGIN: &str = "-----BEGIN ";
    const END: &str = "-----END ";
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find(BEGIN) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let label = &from[BEGIN.len()..];
        let label = &label[..label.find("-----").unwrap_or(label.len())];
        if !label.contains("PRIVATE KEY") {
            out.push_str(BEGIN);
            rest = &from[BEGIN.len()..];
            continue;
        }
        out.push_str("[left out: a private key]");
        rest = from.find(END).map_or("", |end| {
            let tail = &from[end + END.len()..];
            tail.find("-----").map_or("", |last| &tail[last + "-----".len()..])
        });
    }
    out + rest
}

/// A known secret; a short one only where it stands as a word of its own.
fn without(text: &str, secret: &str) -> String {
    let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let is_long = secret.chars().count() >= WITHIN_MIN;
    let (mut out, mut from) = (String::with_capacity(text.len()), 0);
    while let Some(at) = text[from..].find(secret) {
        let (start, end) = (from + at, from + at + secret.len());
        let is_alone = !is_word(text[..start].chars().next_back()) && !is_word(text[end..].chars().next());
        out.push_str(&text[from..start]);
        out.push_str(if is_long || is_alone { LEFT_OUT } else { secret });
        from = end;
    }
    out.push_str(&text[from..]);
    out
}

/// `user:password@` in addresses; of what stands between `://` and the end of the word everything up to the last `@`.
fn without_users(line: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(line.len()), line);
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + "://".len());
        out.push_str(before);
        let end =
            after.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`')).unwrap_or(after.len());
        let (word, tail) = after.split_at(end);
        match word.rfind('@') {
            Some(at) => {
                out.push_str(LEFT_OUT);
                out.push_str(&word[at..]);
            }
            None => out.push_str(word),
        }
        rest = tail;
    }
    out + rest
}

/// What follows a name that says so: `TOKEN=…`, `"password": "…"`, `Authorization: …`, `Bearer …`.
fn without_named(line: &str) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let (mut out, mut rest) = (String::with_capacity(line.len()), line);
    while let Some(start) = rest.find(is_name) {
        let (before, from) = rest.split_at(start);
        out.push_str(before);
        let (name, tail) = from.split_at(from.find(|c| !is_name(c)).unwrap_or(from.len()));
        out.push_str(name);
        rest = tail;
        let last = name.rsplit('.').next().unwrap_or(name);
        if !is_secret(last) {
            continue;
        }
        let sign = tail.trim_start_matches(['"', '\'', ' ', '\t']);
        let follows = match sign.chars().next() {
            // The file of a credential: LoadCredential=password:/etc/…
            Some(':') if sign.starts_with(":/") => continue,
            Some('=' | ':') => &sign[1..],
            _ if last.eq_ignore_ascii_case("bearer") && tail.starts_with(' ') => sign,
            _ => continue,
        };
        let value = follows.trim_start_matches([' ', '\t']);
        if value.trim().is_empty() {
            continue;
        }
        // A header and a note go on to the end of the line, an assignment to the end of its word.
        let end = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => value[1..].find(quote).map_or(value.len(), |end| end + 2),
            _ if sign.starts_with('=') => value.find(char::is_whitespace).unwrap_or(value.len()),
            _ => value.trim_end_matches('\n').len(),
        };
        out.push_str(&tail[..tail.len() - value.len()]);
        out.push_str(LEFT_OUT);
        rest = &value[end.min(value.len())..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrubbed(text: &str) -> String {
        Scrub::default().text(text)
    }

    #[test]
    fn what_looks_like_a_secret_is_left_out_and_what_only_names_its_file_stays() {
        for (text, expect) in [
            ("mqtt://me:hunter2@broker:1883 and more", "mqtt://[left out]@broker:1883 and more"),
            ("(http://a:b/c@h/x)", "(http://[left out]@h/x)"),
            ("tcp://10.0.0.5:4001", "tcp://10.0.0.5:4001"),
            ("TOKEN=abc def", "TOKEN=[left out] def"),
            ("MY_API_KEY='a b' x", "MY_API_KEY=[left out] x"),
            ("{\"password\": \"a b\", \"n\": 1}", "{\"password\": [left out], \"n\": 1}"),
            ("uplink.password = hunter2", "uplink.password = [left out]"),
            ("Authorization: Basic abc def\n", "Authorization: [left out]\n"),
            ("-H Bearer abc", "-H Bearer [left out]"),
            ("password_file = \"/etc/waypost/credentials/p\"", "password_file = \"/etc/waypost/credentials/p\""),
            ("pin_file: is not there", "pin_file: is not there"),
            ("PIN=123456", "PIN=[left out]"),
            ("the password cannot be read", "the password cannot be read"),
            ("LoadCredential=a-password:/etc/waypost/x", "LoadCredential=a-password:/etc/waypost/x"),
            ("SetCredential=pin:4711", "SetCredential=[left out]"),
            (
                "password_file = \"credential:mqtt-password\"  # a:3",
                "password_file = \"credential:mqtt-password\"  # a:3",
            ),
            ("ssh -L 8080:127.0.0.1:8080 pi@gateway", "ssh -L 8080:127.0.0.1:8080 pi@gateway"),
        ] {
            assert_eq!(scrubbed(text), expect);
        }
    }

    #[test]
    fn private_keys_are_left_out_whole_and_certificates_stay() {
        let key = "a\n-----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY-----\nb";
        assert_eq!(scrubbed(key), "a\n[left out: a private key]\nb");
        assert_eq!(scrubbed("x -----BEGIN PRIVATE KEY-----\nMHcC"), "x [left out: a private key]");
        let certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----";
        assert_eq!(scrubbed(certificate), certificate);
    }

    #[test]
    fn a_known_secret_is_left_out_wherever_it_turns_up_and_a_short_one_only_as_a_word() {
        let mut scrub = Scrub::default();
        scrub.learn("4711\ncorrect horse battery\n\nab\n");
        assert_eq!(scrub.text("id 4711, seq 147110, ab"), "id [left out], seq 147110, ab");
        assert_eq!(scrub.text("xcorrect horse batteryx"), "x[left out]x");
        let mut value = serde_json::json!({ "n": 4711, "text": "4711!", "token": "x", "list": ["mqtt://u:p@h"] });
        scrub.value(&mut value);
        let expect =
            "{\"list\":[\"mqtt://[left out]@h\"],\"n\":4711,\"text\":\"[left out]!\",\"token\":\"[left out]\"}";
        assert_eq!(value.to_string(), expect);
    }

    #[test]
    fn any_text_comes_out_whole_but_for_its_secrets() {
        for text in ["", "\n", "://", "a://@", "pin", "pin:", "token =", "-----BEGIN ", "ä://ö@ü €", "bearer ", "=\"'"]
        {
            scrubbed(text);
        }
        let plain = "2026-11-22T05:00:00Z waypost: ready screen=\"http://127.0.0.1:8080/\"\n  next line\n";
        assert_eq!(scrubbed(plain), plain);
    }
}
