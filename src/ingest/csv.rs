//! RFC 4180 with what spreadsheets make of it: comma, semicolon or tab, any line end, a header line that names the columns.

use super::list::{Findings, Raw, shown};

/// Reads assets; the header names the columns, in any order.
pub(super) fn read(text: &str, findings: &mut Findings) -> Vec<Raw> {
    let header = text.lines().next().unwrap_or_default();
    let comma = header.chars().find(|c| matches!(c, ',' | ';' | '\t')).unwrap_or(',');
    let records = match split(text, comma) {
        Ok(records) => records,
        Err((line, what, remedy)) => {
            findings.add(&format!("line {line}"), "", what, remedy);
            return Vec::new();
        }
    };
    let mut records = records.into_iter();
    let Some((_, header)) = records.next() else {
        findings.add("line 1", "", "there is no header", "begin with: id,name,kind,codes");
        return Vec::new();
    };
    let columns: Vec<String> = header.iter().map(|name| name.trim().to_ascii_lowercase()).collect();
    for (n, name) in columns.iter().enumerate() {
        let known = ["id", "name", "kind", "codes"].contains(&name.as_str());
        if !known || columns[..n].contains(name) {
            let what = if known { "stands twice" } else { "is no column of a register" };
            let at = format!("line 1, column {}", n + 1);
            findings.add(&at, "", &format!("{} {what}", shown(name)), "columns: id, name, kind, codes");
        }
    }
    if !columns.iter().any(|name| name == "id") {
        findings.add("line 1", "", "there is no column id", "begin with: id,name,kind,codes");
    }
    let mut raws = Vec::new();
    for (line, fields) in records {
        let at = format!("line {line}");
        if fields.len() != columns.len() {
            let what = format!("there are {} columns, the header has {}", fields.len(), columns.len());
            findings.add(&at, "", &what, "put a field that holds the separator in double quotes");
            continue;
        }
        let mut raw = Raw { at, ..Raw::default() };
        for (name, field) in columns.iter().zip(fields) {
            let field = unguarded(field);
            match name.as_str() {
                "id" => raw.id = field.trim().to_owned(),
                "name" => raw.name = Some(field),
                "kind" => raw.kind = Some(field),
                "codes" => raw.codes = Some(codes(&field)),
                _ => {}
            }
        }
        raws.push(raw);
    }
    raws
}

/// A field without the quote that keeps a spreadsheet from taking it for a formula; `wire::assets_csv` puts it there.
fn unguarded(field: String) -> String {
    match field.strip_prefix('\'') {
        Some(rest) if rest.starts_with(['=', '+', '-', '@', '\'']) => rest.to_owned(),
        _ => field,
    }
}

/// The codes of a field: between bars; `\|` is a bar within a code, `\\` a backslash.
fn codes(field: &str) -> Vec<String> {
    let (mut codes, mut code) = (Vec::new(), String::new());
    let mut chars = field.chars().peekable();
    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.next_if(|next| matches!(next, '|' | '\\')) } else { None };
        match (c, escaped) {
            ('|', _) => codes.push(std::mem::take(&mut code)),
            (c, escaped) => code.push(escaped.unwrap_or(c)),
        }
    }
    codes.push(code);
    codes.retain(|code| !code.trim().is_empty());
    codes
}

/// A record: the line it begins on and its fields.
type Record = (usize, Vec<String>);

/// Splits a text into records; empty lines are none.
fn split(text: &str, comma: char) -> Result<Vec<Record>, (usize, &'static str, &'static str)> {
    let mut records: Vec<Record> = Vec::new();
    let (mut fields, mut field) = (Vec::new(), String::new());
    let (mut line, mut begun, mut quoted_at, mut was_quoted) = (1, 1, None, false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\n' {
            line += 1;
        }
        if quoted_at.is_some() {
            match c {
                '"' if chars.next_if_eq(&'"').is_some() => field.push('"'),
                '"' => quoted_at = None,
                c => field.push(c),
            }
            continue;
        }
        let ends_line = c == '\n' || (c == '\r' && matches!(chars.peek(), None | Some('\n')));
        match c {
            '\r' if ends_line => {}
            '\n' => {
                fields.push(std::mem::take(&mut field));
                end(&mut records, begun, &mut fields);
                (begun, was_quoted) = (line, false);
            }
            c if c == comma => {
                fields.push(std::mem::take(&mut field));
                was_quoted = false;
            }
            '"' if field.is_empty() && !was_quoted => (quoted_at, was_quoted) = (Some(line), true),
            '"' => {
                return Err((
                    line,
                    "a quote stands within a field",
                    "put the field in double quotes and write it twice",
                ));
            }
            _ if was_quoted => {
                return Err((line, "text follows a closing quote", "write a quote within a field twice"));
            }
            c => field.push(c),
        }
    }
    if let Some(line) = quoted_at {
        return Err((line, "a quote is not closed", "close it, or write a quote within a field twice"));
    }
    fields.push(field);
    end(&mut records, begun, &mut fields);
    Ok(records)
}

fn end(records: &mut Vec<Record>, line: usize, fields: &mut Vec<String>) {
    let fields = std::mem::take(fields);
    if fields.iter().any(|field| !field.trim().is_empty()) {
        records.push((line, fields));
    }
}

#[cfg(test)]
mod tests {
    use crate::domain::{ListForm, Thing};
    use crate::ingest::list;
    use crate::wire::{assets_csv, assets_json};

    fn rows(text: &str) -> Vec<(String, Option<String>, Vec<String>)> {
        let rows =
            list::read(text.as_bytes(), ListForm::Csv).unwrap_or_else(|refused| panic!("{:?}", refused.findings));
        rows.into_iter()
            .map(|row| (row.asset, row.name, row.codes.into_iter().flatten().map(|code| code.text).collect()))
            .collect()
    }

    fn mistakes(text: &[u8]) -> Vec<String> {
        list::read(text, ListForm::Csv).unwrap_err().findings
    }

    #[test]
    fn a_list_reads_the_same_from_every_spreadsheet() {
        let expect = vec![
            ("TRL-7".to_owned(), Some("Blue, \"big\"".to_owned()), vec!["CSQU 305438 3".to_owned(), "A|B".to_owned()]),
            ("TRL-8".to_owned(), Some(String::new()), vec![]),
        ];
        for text in [
            "id,name,codes\nTRL-7,\"Blue, \"\"big\"\"\",CSQU 305438 3|A\\|B\nTRL-8,,\n",
            "\u{feff}ID;Name;Codes\r\n\r\nTRL-7;\"Blue, \"\"big\"\"\"; CSQU 305438 3 | A\\|B |\r\nTRL-8;;",
            "codes\tid\tname\nCSQU 305438 3|A\\|B\tTRL-7\t\"Blue, \"\"big\"\"\"\n\tTRL-8\t\n",
        ] {
            assert_eq!(rows(text), expect, "{text:?}");
        }
        assert_eq!(rows("id\n'=1+1\n"), [("=1+1".to_owned(), None, vec![])]);
    }

    #[test]
    fn every_mistake_is_told_with_its_line_column_value_and_remedy() {
        let text = "id,kind,codes\nTRL-7,trailer,CSQU3054384\n\n TRL-8 ,\"a\nb\",\nTRL-9,x\n,x,(00)376104250021234560\nTRL-7,x,A\nTRL-10,x,A\nsscc:1,x,\n";
        assert_eq!(
            mistakes(text.as_bytes()),
            [
                "line 6: there are 2 columns, the header has 3; put a field that holds the separator in double quotes",
                "line 2, codes: \"CSQU3054384\": the check digit does not fit a container number; compare it with the label; if that says so too, write raw:CSQU3054384",
                "line 4, kind: \"a\\nb\" does not fit; write at most 32 printable characters",
                "line 7, id: it is missing; write 1 to 64 printable characters, such as TRL-7",
                "line 7, codes: \"(00)376104250021234560\": The check digit does not fit the code (GS1 field 00); compare it with the label",
                "line 10, id: \"sscc:1\" cannot be a name; leave out : and a leading @; codes belong into codes",
                "line 9, codes: \"A\" is a code of \"TRL-7\" at line 8 too; a code names one asset; take it off one of them",
            ]
        );
        for (text, expect) in [
            (&b"id;name\nTRL-7;\"x\n"[..], "line 2: a quote is not closed"),
            (b"id,name\nTRL-7,a\"b\n", "line 2: a quote stands within a field"),
            (b"id,colour\nTRL-7,blue\n", "line 1, column 2: \"colour\" is no column of a register"),
            (b"name\nTRL-7\n", "line 1: there is no column id"),
            (b"", "line 1: there is no header"),
            (b"id,name\nTRL-7,B\xf8\n", "line 2: this is not UTF-8"),
        ] {
            let found = mistakes(text);
            assert!(found[0].starts_with(expect), "{found:?}");
        }
    }

    #[test]
    fn a_list_of_mistakes_tells_a_hundred_and_counts_all() {
        let text = format!("id,codes\n{}", "TRL 7,CSQU3054384\n".repeat(500));
        let refused = list::read(text.as_bytes(), ListForm::Csv).unwrap_err();
        assert_eq!(refused.findings.len(), 100);
        assert!(refused.message.contains("500 mistakes, the first 100 are told"), "{}", refused.message);
    }

    #[test]
    fn a_json_list_names_the_item_and_the_field() {
        let text = br#"[{"id":"TRL-7","codes":["CSQU3054383"]},{"id":7},{"id":"TRL-8","codes":"A"},4,{"id":"TRL-9","colour":"x"}]"#;
        let found = list::read(text, ListForm::Json).unwrap_err().findings;
        assert_eq!(
            found,
            [
                "item 2, id: this is no text; put it in quotes",
                "item 3, codes: this is no list of texts; write [\"…\", \"…\"]",
                "item 4: this is no object; write {\"id\":\"TRL-7\",\"codes\":[\"…\"]}",
                "item 5, \"colour\": there is no such field; fields: id, name, kind, codes",
            ]
        );
        let found = list::read(b"[{]", ListForm::Json).unwrap_err().findings;
        assert!(found[0].contains("line 1 column 3"), "{found:?}");
    }
    proptest::proptest! {
        #[test]
        fn whatever_is_exported_is_imported_as_it_was(
            texts in proptest::collection::vec(("[ -~é;,|\\\\'\"=]{0,12}", proptest::collection::vec("[ -~|\\\\'\"]{0,8}", 0..4)), 0..12)
        ) {
            let things: Vec<Thing> = texts
                .iter()
                .enumerate()
                .map(|(n, (name, codes))| Thing {
                    asset: format!("={n}"),
                    name: name.trim().to_owned(),
                    kind: String::new(),
                    codes: codes.iter().enumerate().map(|(m, code)| format!("raw:{n}-{m}{code}").trim().to_owned()).collect(),
                })
                .collect();
            for (text, form) in [(assets_csv(&things), ListForm::Csv), (assets_json(&things), ListForm::Json)] {
                let rows = list::read(text.as_bytes(), form);
                let rows = rows.unwrap_or_else(|refused| panic!("{text}: {:?}", refused.findings));
                let read: Vec<Thing> = rows
                    .into_iter()
                    .map(|row| Thing {
                        asset: row.asset,
                        name: row.name.unwrap_or_default(),
                        kind: row.kind.unwrap_or_default(),
                        codes: row.codes.into_iter().flatten().map(|code| code.text).collect(),
                    })
                    .collect();
                proptest::prop_assert_eq!(&read, &things, "{}", text);
            }
        }
    }
}
