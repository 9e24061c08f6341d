#!/usr/bin/env python3
"""Tells events to ThingsBoard's gateway API: an asset is a device, its access token the user name at ThingsBoard."""
import json
from consumer import arguments, client, connected


def translate(event):
    """The telemetry of an event; none when it is about no asset. ThingsBoard keeps one value a device, key and
    millisecond, so an event that comes again writes the same value again."""
    if "asset" not in event or event.get("doubt") or event.get("spare"):
        return None
    names = {"fix": {"lat": "latitude", "lon": "longitude", "alt_m": "alt_m", "speed_mps": "speed_mps", "course_deg": "course_deg"},
             "scan": {"code": "code", "place": "place", "source": "source"},
             "place": {"place": "place", "change": "change"}}.get(event["kind"], {})
    values = {name: event[key] for key, name in names.items() if key in event}
    return {event["asset"]: [{"ts": event["ts_ms"], "values": values}]} if values else None


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--board", default="127.0.0.1:1883", help="host:port of ThingsBoard")
    parser.add_argument("--token", help="access token of the gateway device")
    args = parser.parse_args()
    board = client("waypost", user=args.token, clean=True)
    host, port = args.board.rsplit(":", 1)
    board.connect(host, int(port))
    board.loop_start()

    def on_message(_client, _userdata, message):
        told = translate(json.loads(message.payload))
        if told:
            # Waits for ThingsBoard's word before the event is acknowledged.
            board.publish("v1/gateway/telemetry", json.dumps(told), qos=1).wait_for_publish()

    made = client("waypost-thingsboard")
    made.on_connect = lambda c, *_: c.subscribe(f"{args.prefix}/v1/+/+/event/#", 1)
    made.on_message = on_message
    connected(made, args).loop_forever()
