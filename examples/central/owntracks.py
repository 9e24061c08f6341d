#!/usr/bin/env python3
"""Tells fixes and changes of place as OwnTracks does, on owntracks/<site>/<asset>, for whatever reads that."""
import json, re
from consumer import arguments, client, connected


def translate(event):
    """Topic and message of an event; none when OwnTracks has no word for it."""
    name = re.sub(r"[^A-Za-z0-9_-]", "_", event.get("asset", ""))   # scanned text is no topic
    topic, common = f"owntracks/{event['site']}/{name}", {"_id": event["id"], "tid": name[-2:], "tst": event["ts_ms"] // 1000}
    if event["kind"] == "fix" and not event.get("doubt") and not event.get("spare"):
        said = {"lat": event["lat"], "lon": event["lon"], "alt": round(event["alt_m"]) if "alt_m" in event else None,
                "vel": round(event["speed_mps"] * 3.6) if "speed_mps" in event else None,
                "cog": round(event["course_deg"]) if "course_deg" in event else None,
                "created_at": event["received_ms"] // 1000}
        return topic, {"_type": "location", **common, **{key: value for key, value in said.items() if value is not None}}
    if event["kind"] == "place" and event["change"] in ("enter", "exit") and not event.get("late"):
        word = {"enter": "enter", "exit": "leave"}[event["change"]]
        return f"{topic}/event", {"_type": "transition", **common, "event": word, "desc": event["place"], "wtst": event["since_ms"] // 1000}
    return None


def on_message(mqtt_client, _userdata, message):
    told = translate(json.loads(message.payload))
    if told:
        mqtt_client.publish(told[0], json.dumps(told[1]), qos=1)


if __name__ == "__main__":
    args = arguments(__doc__).parse_args()
    made = client("waypost-owntracks")
    made.on_connect = lambda c, *_: c.subscribe(f"{args.prefix}/v1/+/+/event/#", 1)
    made.on_message = on_message
    connected(made, args).loop_forever()
