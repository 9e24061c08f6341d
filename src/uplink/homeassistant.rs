//! What Home Assistant is told so that it finds the node by itself: an entity for each asset that a receiver of this node moves,
//! and a few of the node. Retained, under the topics where it looks. Names of assets are from the configuration and stand
//! in payloads; of topics they are no part. Pure.
//! Source: home-assistant.io/integrations/mqtt, "MQTT Discovery"; integrations/device_tracker.mqtt.

use serde_json::{Value, json};

use super::NodeNames;
use super::lane::Message;

/// Where Home Assistant looks.
const PREFIX: &str = "homeassistant";

/// Whether a topic is one that Home Assistant looks at.
pub(super) fn is_of(topic: &str) -> bool {
    topic.strip_prefix(PREFIX).is_some_and(|rest| rest.starts_with('/'))
}

/// Every entity, each a retained message.
pub(super) fn entities(base: &str, names: &NodeNames, has_health: bool) -> Vec<Message> {
    let NodeNames { site, node, .. } = names;
    let me = format!("waypost_{site}_{node}");
    let entity = |component: &str, object: &str, own: Value| {
        let mut config = json!({
            "unique_id": format!("{me}_{object}"),
            "qos": 1,
            "availability": [{ "topic": format!("{base}/status"), "value_template": "{{ value_json.state }}" }],
            "payload_available": "online",
            "payload_not_available": "offline",
            "device": {
                "identifiers": [me], "name": format!("waypost {node}"), "manufacturer": "waypost",
                "model": "edge tracking node", "sw_version": names.version,
            },
            "origin": { "name": "waypost", "sw_version": names.version },
        });
        if let (Value::Object(config), Value::Object(own)) = (&mut config, own) {
            config.extend(own);
        }
        let topic = format!("{PREFIX}/{component}/{me}/{object}/config");
        Message { topic, payload: config.to_string(), retain: true, about: 0 }
    };
    let mut all: Vec<Message> = names.assets.iter().map(|asset| tracker(base, asset, &entity)).collect();
    let problem = json!({
        "name": "Alarm", "state_topic": format!("{base}/status"), "device_class": "problem",
        "value_template": "{{ 'ON' if value_json.alarm is defined else 'OFF' }}", "entity_category": "diagnostic",
    });
    all.push(entity("binary_sensor", "alarm", problem));
    if has_health {
        for (object, name, unit, class) in [
            ("backlog", "Events that wait", "events", None),
            ("oldest_unsent_s", "Oldest event that waits", "s", Some("duration")),
            ("letters", "Letters for a person", "letters", None),
        ] {
            let mut own = json!({
                "name": name, "state_topic": format!("{base}/health"), "state_class": "measurement",
                "unit_of_measurement": unit, "value_template": format!("{{{{ value_json.{object} }}}}"),
                "entity_category": "diagnostic",
            });
            if let Some(class) = class {
                own["device_class"] = json!(class);
            }
            all.push(entity("sensor", object, own));
        }
    }
    all
}

/// An asset on the map. Without a position it has no attributes, and Home Assistant keeps those it had.
fn tracker(base: &str, asset: &str, entity: &impl Fn(&str, &str, Value) -> Message) -> Message {
    // A text of JSON is one of Jinja too.
    let quoted = json!(asset).to_string();
    let template = format!(
        "{{% for one in value_json.assets if one.asset == {quoted} and one.lat is defined %}}{{{{ dict(latitude=one.lat, \
         longitude=one.lon, speed_mps=one.speed_mps|default(none), course_deg=one.course_deg|default(none), \
         place=one.place|default(none), asset=one.asset, seen_ms=one.ts_ms) | tojson }}}}{{% else %}}{{}}{{% endfor %}}"
    );
    let own = json!({
        "name": asset, "source_type": "gps",
        "json_attributes_topic": format!("{base}/state"), "json_attributes_template": template,
    });
    entity("device_tracker", &object(asset), own)
}

/// A level of a topic for the name of an asset: what cannot stand in one is left out, and a digest tells such names apart.
fn object(asset: &str) -> String {
    let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let plain: String = asset.chars().filter(fits).collect();
    if plain == asset {
        return format!("asset_{plain}");
    }
    let digest = blake3::hash(asset.as_bytes()).to_hex();
    format!("asset_{plain}_{}", &digest[..8])
}

#[cfg(test)]
#[path = "homeassistant_tests.rs"]
mod tests;
