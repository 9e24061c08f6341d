#!/usr/bin/env python3
"""Takes the events of all nodes from an MQTT broker into PostgreSQL, each once, and asks nodes for what is missing.

A message is acknowledged after the commit that holds it: paho acknowledges when on_message returns, and not when it
raises. So whatever goes wrong here ends the process, and the broker sends the message again to the next one.
"""
import argparse, json, pathlib, re, socket, sys, time, uuid
import paho.mqtt.client as mqtt
import psycopg2, psycopg2.extras

HERE = pathlib.Path(__file__).parent
# The statements of store.sql by the table they write, in psycopg2's spelling of parameters.
STATEMENTS = re.sub(r"--.*", "", (HERE / "store.sql").read_text()).split(";")
SQL = {re.search(r"(?:into|update) (\w+)", text)[1]: re.sub(r":(msg|site)\b", r"%(\1)s", text)
       for text in STATEMENTS if text.strip()}


def store(db, kind, msg, site=None):
    """Writes a message in the transaction that is open; whether it is new."""
    db.execute(SQL[kind], {"msg": msg, "site": site})
    return db.rowcount > 0


def client(name, user=None, password=None, ca=None, clean=False):
    """An MQTT client, of paho 1.6 and of paho 2; 3.1.1 because every broker speaks it."""
    version = {"callback_api_version": mqtt.CallbackAPIVersion.VERSION1} if hasattr(mqtt, "CallbackAPIVersion") else {}
    made = mqtt.Client(client_id=name, clean_session=clean, protocol=mqtt.MQTTv311, **version)
    if user:
        made.username_pw_set(user, password)
    if ca:
        made.tls_set(ca)
    return made


def arguments(text):
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--ca", help="CA file: TLS")
    parser.add_argument("--user")
    parser.add_argument("--password-file", type=pathlib.Path)
    parser.add_argument("--prefix", default="waypost")
    return parser


def connected(made, args):
    if args.user:
        made.username_pw_set(args.user, args.password_file.read_text().strip() if args.password_file else None)
    if args.ca:
        made.tls_set(args.ca)
    made.connect(args.host, args.port, keepalive=30)
    return made


class Centre:
    def __init__(self, args):
        self.args, self.held = args, set()
        self.pg = psycopg2.connect(args.dsn)

    def on_connect(self, mqtt_client, _userdata, _flags, code):
        if code != 0:
            sys.exit(f"consumer: the broker {self.args.host}:{self.args.port} refuses: {mqtt.connack_string(code)}")
        nodes = f"{self.args.prefix}/v1/+/+"
        # With --share the events are dealt out among all who name the same group; the rest is small, and for each.
        events = f"$share/{self.args.share}/{nodes}/event/#" if self.args.share else f"{nodes}/event/#"
        mqtt_client.subscribe([(topic, 1) for topic in (events, f"{nodes}/watermark", f"{nodes}/clock", f"{nodes}/ack/+")])

    def on_message(self, _client, _userdata, message):
        _, site, _, kind = message.topic[len(self.args.prefix) + 1:].split("/")[:4]
        kind = {"ack": "ask"}.get(kind, kind)
        with self.pg, self.pg.cursor() as db:   # one transaction: it commits at the end, before the acknowledgement
            db.execute("savepoint message")
            try:
                store(db, kind, message.payload.decode(), site)
            except (psycopg2.DataError, psycopg2.IntegrityError, UnicodeDecodeError) as why:
                db.execute("rollback to message")
                db.execute("insert into refused (topic, payload, why) values (%s, %s, %s)",
                           (message.topic, message.payload, str(why)))
                print(f"refused: {message.topic}: {why}", file=sys.stderr)

    def ask(self, mqtt_client):
        """Asks for what was missing at the last look too: what is only on its way is here by now."""
        with self.pg, self.pg.cursor() as db:
            db.execute("select site, node, epoch, from_seq, to_seq from to_ask")
            now, ranges = set(db.fetchall()), {}
            for site, node, epoch, first, last in sorted(now & self.held):
                # A node does one replay at a time: one range for each, and gaps that are near in one.
                begun, end = ranges.setdefault((site, node, epoch), (first, last))
                if first <= end + 1_000:
                    ranges[site, node, epoch] = begun, min(max(end, last), begun + 99_999)
            for (site, node, epoch), (first, last) in ranges.items():
                asked = {"id": uuid.uuid4().hex, "expires_ms": int(time.time() * 1000) + 300_000,
                         "epoch": epoch, "from": first, "to": last}
                db.execute("insert into ask (id, node, epoch, from_seq, to_seq) values (%s, %s, %s, %s, %s)",
                           (asked["id"], node, epoch, first, last))
                mqtt_client.publish(f"{self.args.prefix}/v1/{site}/{node}/cmd/replay", json.dumps(asked), qos=1)
                print(f"asked: {node} for {first}..{last} of {epoch}", flush=True)
            self.held = now

    def run(self):
        made = client(self.args.name)
        made.on_connect, made.on_message = self.on_connect, self.on_message
        made.on_subscribe = lambda *_: print("subscribed", flush=True)
        connected(made, self.args)
        due = time.monotonic() + self.args.check
        while True:
            if made.loop(1.0) != mqtt.MQTT_ERR_SUCCESS:
                time.sleep(1)
                try:
                    made.reconnect()
                except OSError as why:
                    print(f"consumer: the broker is away: {why}", file=sys.stderr)
            if self.args.check and time.monotonic() >= due:
                self.ask(made)
                due = time.monotonic() + self.args.check


if __name__ == "__main__":
    parser = arguments(__doc__.split("\n")[0])
    parser.add_argument("--dsn", default="", help="of PostgreSQL; default: what PGHOST, PGDATABASE … say")
    parser.add_argument("--name", default=f"centre-{socket.gethostname()}", help="client id: one of its own for each consumer, the same at each start")
    parser.add_argument("--share", help="name of the group that shares the events")
    parser.add_argument("--check", type=float, default=60, help="seconds between two looks for gaps; 0: never")
    Centre(parser.parse_args()).run()
