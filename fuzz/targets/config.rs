//! Configurations: read, or refused with every mistake at its place.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use waypost::config::{Machine, parse_text};

fuzz_target!(|text: &str| {
    let machine = Machine { hostname: "wp-07".to_owned(), machine_id: None };
    match parse_text(Path::new("fuzz.toml"), text, &machine) {
        Ok(loaded) => assert!(!loaded.merged.print().is_empty() || text.trim().is_empty()),
        Err(invalid) => {
            assert!(!invalid.findings.is_empty());
            let lines = text.matches('\n').count() + 1;
            for finding in invalid.findings {
                assert!(finding.line <= lines && (finding.line > 0) == (finding.column > 0), "{finding:?}");
                assert!(!finding.message.is_empty() && !finding.remedy.is_empty(), "{finding:?}");
            }
        }
    }
});
