//! The schemas of `docs/schema`, held against payloads more strictly than a reader should: no field may be there that they
//! do not name. And which of their fields were ever seen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

/// Every schema by its name, made strict, and what was seen of each.
pub struct Strict {
    schemas: BTreeMap<String, (Value, jsonschema::Validator)>,
    seen: BTreeMap<String, BTreeSet<String>>,
}

impl Strict {
    /// Reads the schemas; each must be one itself.
    pub fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema");
        let mut schemas = BTreeMap::new();
        for folder in ["", "cmd/"] {
            for entry in std::fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()) {
                let Some(stem) = entry.file_name().unwrap().to_str().unwrap().strip_suffix(".json") else { continue };
                if stem == "asyncapi" {
                    continue;
                }
                let mut schema: Value = serde_json::from_str(&std::fs::read_to_string(&entry).unwrap()).unwrap();
                jsonschema::meta::validate(&schema).unwrap_or_else(|error| panic!("{folder}{stem}: {error}"));
                close(&mut schema);
                let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
                schemas.insert(format!("{folder}{stem}"), (schema, validator));
            }
        }
        Self { schemas, seen: BTreeMap::new() }
    }

    /// The schema of a topic, by what stands behind `<base>/`.
    pub fn name_of(below_base: &str) -> &str {
        match below_base.split_once('/') {
            Some((first @ ("event" | "alarm" | "ack"), _)) => first,
            _ => below_base,
        }
    }

    /// What of a payload is not as the schema says; empty when all is.
    pub fn faults(&self, name: &str, payload: &Value) -> Vec<String> {
        let (_, validator) = self.schemas.get(name).unwrap_or_else(|| panic!("no schema for {name}"));
        validator.iter_errors(payload).map(|error| format!("{name}{}: {error}", error.instance_path())).collect()
    }

    /// Holds a payload against the schema of its topic, and keeps which fields it has.
    pub fn take(&mut self, name: &str, payload: &Value) {
        let faults = self.faults(name, payload);
        assert!(faults.is_empty(), "{payload}\n{}", faults.join("\n"));
        fields(payload, "", self.seen.entry(name.to_owned()).or_default());
    }

    /// The fields that schemas name and no payload had, but what begins with one of `aside`.
    pub fn unseen(&self, aside: &[&str]) -> Vec<String> {
        let mut unseen = Vec::new();
        for (name, (schema, _)) in &self.schemas {
            let mut named = BTreeSet::new();
            properties(schema, "", &mut named);
            let seen = self.seen.get(name);
            named.retain(|one| !seen.is_some_and(|seen| seen.contains(one)));
            unseen.extend(named.iter().map(|one| format!("{name}{one}")));
        }
        unseen.retain(|one| !aside.iter().any(|aside| one.starts_with(aside)));
        unseen
    }
}

/// Forbids what a schema does not name, in it and in all objects below it.
fn close(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    if fields.contains_key("properties") {
        fields.insert("unevaluatedProperties".into(), json!(false));
    }
    let branches = fields.get_mut("oneOf").and_then(Value::as_array_mut).into_iter().flatten();
    for branch in branches {
        // A branch sees its part of the object only: the whole is closed above.
        for below in
            branch.get_mut("properties").and_then(Value::as_object_mut).into_iter().flat_map(|all| all.values_mut())
        {
            close(below);
        }
    }
    for below in
        fields.get_mut("properties").and_then(Value::as_object_mut).into_iter().flat_map(|all| all.values_mut())
    {
        close(below);
    }
    if let Some(items) = fields.get_mut("items") {
        close(items);
    }
}

/// The fields that a schema names, `/sources/id`; one that takes any name is named itself only.
fn properties(schema: &Value, at: &str, into: &mut BTreeSet<String>) {
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        let here = format!("{at}/{name}");
        properties(below, &here, into);
        properties(&below["items"], &here, into);
        into.insert(here);
    }
    for branch in schema["oneOf"].as_array().into_iter().flatten() {
        properties(branch, at, into);
    }
}

/// The fields that a payload has.
fn fields(value: &Value, at: &str, into: &mut BTreeSet<String>) {
    for (name, below) in value.as_object().into_iter().flatten() {
        let here = format!("{at}/{name}");
        fields(below, &here, into);
        below.as_array().into_iter().flatten().for_each(|item| fields(item, &here, into));
        into.insert(here);
    }
}
