"""Answers queries over Parquet files with DuckDB and with pyarrow, and prints both answers as JSON.

DuckDB gets SQL. pyarrow gets the same as conditions and a shape, and puts it together of its own parts.
"""

import functools
import json
import sys

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

OPS = {"=": pc.equal, "<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal}
COLUMNS = ["offset", "version", "time", "tenant", "stream", "task", "kind", "level", "severity", "format"]


def by_duckdb(connection, query):
    cursor = connection.execute(query["sql"])
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row)) for row in cursor.fetchall()]


def mask(table, condition):
    column = table[condition["column"]]
    if "in" in condition:
        found = pc.is_in(column, value_set=pa.array(condition["in"], pa.string()))
        return pc.invert(found) if condition["not"] else found
    if "starts" in condition:
        return pc.starts_with(column, condition["starts"])
    if "micros" in condition:
        value = pa.scalar(condition["micros"] * 1000, pa.timestamp("ns", "UTC"))
    else:
        value = pa.scalar(condition["value"], column.type)
    return OPS[condition["op"]](column, value)


def by_pyarrow(table, query):
    masks = [mask(table, condition) for condition in query["conditions"]]
    if masks:
        table = table.filter(functools.reduce(pc.and_, masks))
    shape = query["shape"]
    if "groups" in shape:
        groups = shape["groups"]
        made = table.group_by(groups).aggregate(
            [([], "count_all"), ("offset", "min"), ("version", "max"), ("severity", "sum")]
        )
        if groups:
            made = made.sort_by([(group, "ascending") for group in groups])
        names = {"count_all": "n", "offset_min": "low", "version_max": "high", "severity_sum": "severities"}
        made = made.rename_columns([names.get(name, name) for name in made.column_names])
        return made.select(groups + list(names.values())).to_pylist()
    keys = [(shape["by"], "descending" if shape["descending"] else "ascending")]
    if shape["by"] != "offset":
        keys.append(("offset", "ascending"))
    return table.sort_by(keys).slice(0, shape["limit"]).select(["offset"]).to_pylist()


def main(asked, files):
    with open(asked, encoding="utf-8") as text:
        queries = json.load(text)
    table = pa.concat_tables(pq.read_table(file, columns=COLUMNS) for file in files)
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SET TimeZone = 'UTC'")
    # Read once: the files are the same for all.
    connection.execute(f"CREATE TABLE events AS SELECT {', '.join(chr(34) + c + chr(34) for c in COLUMNS)} FROM read_parquet({files!r})")
    answers = {
        "duckdb": [by_duckdb(connection, query) for query in queries],
        "pyarrow": [by_pyarrow(table, query) for query in queries],
    }
    json.dump(answers, sys.stdout)


main(sys.argv[1], sys.argv[2:])
