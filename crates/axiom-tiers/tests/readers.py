"""Compares a file with what was written into it, column by column and row by row: readers.py FILE EXPECTED GUIDE.

EXPECTED has one JSON object for each event, in the order of the rows' offsets; bodies and ids in hexadecimal. GUIDE is the page with
the macros and the function that put bodies together: what it says is what runs here.
"""

import json
import re
import sys

import duckdb
import pyarrow.parquet as parquet

NAMES = ["offset", "version", "time", "tenant", "stream", "task", "kind", "level", "severity", "trace", "id", "format"]


def compare(reader, expected, found):
    assert len(expected) == len(found), f"{reader}: {len(found)} rows of {len(expected)}"
    for want, have in zip(expected, found):
        for name in [*NAMES, "body"]:
            assert want[name] == have[name], f"{reader}: {name} of {want['offset']} is {have[name]!r}, not {want[name]!r}"
    print(f"{reader}: {len(found)} rows are equal")


def hexadecimal(value):
    return None if value is None else bytes(value).hex()


def by_pyarrow(path, guide):
    scope = {}
    exec(re.search(r"```python\n(.*?)```", guide, re.S).group(1), scope)
    table = parquet.read_table(path)
    table = table.set_column(2, "time", table["time"].cast("int64"))
    rows = []
    for row in table.to_pylist():
        assert (row["body"] is None) != (row["body_template"] is None), row
        found = {name: row[name] for name in NAMES} | {"body": hexadecimal(scope["body"](row))}
        rows.append(found | {name: hexadecimal(row[name]) for name in ["trace", "id"]})
    return rows


def by_duckdb(path, guide):
    connection = duckdb.connect()
    for statement in re.findall(r"CREATE MACRO.*?;", guide, re.S):
        connection.execute(statement)
    columns = {name: f'"{name}"' for name in NAMES}
    columns |= {"time": "epoch_ns(time)", "trace": "lower(hex(trace))", "id": "lower(hex(id))"}
    columns["body"] = "lower(hex(axiom_body(body, body_template, body_ints, body_words)))"
    query = f"SELECT {', '.join(columns.values())} FROM read_parquet(?)"
    return [dict(zip(columns, row)) for row in connection.execute(query, [path]).fetchall()]


def main():
    path, expected, guide = sys.argv[1:]
    expected = [json.loads(line) for line in open(expected)]
    guide = open(guide, encoding="utf-8").read()
    split = parquet.read_table(path, columns=["body_template"])["body_template"]
    assert 0 < split.null_count < len(split), "some bodies are split and some are not"
    for reader, read in [("pyarrow", by_pyarrow), ("duckdb", by_duckdb)]:
        found = sorted(read(path, guide), key=lambda row: row["offset"])
        compare(reader, expected, found)


main()
