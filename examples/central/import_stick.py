#!/usr/bin/env python3
"""Takes files of `waypost outbox export` into PostgreSQL, for nodes whose link is away for long.

The node sends the same events again when its link is back: they have the same ids and are here already.
"""
import argparse, fileinput
import psycopg2
from consumer import store

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--dsn", default="")
parser.add_argument("files", nargs="*", help="NDJSON; default: standard input")
args = parser.parse_args()
with psycopg2.connect(args.dsn) as pg, pg.cursor() as db:   # all or nothing
    new = [store(db, "event", line) for line in fileinput.input(args.files, openhook=fileinput.hook_encoded("utf-8")) if line.strip()]
print(f"{len(new)} events read, {sum(new)} of them new")
