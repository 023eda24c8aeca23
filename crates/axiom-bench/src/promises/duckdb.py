"""DuckDB beside us in a measurement: a request a line on stdin, an answer a line on stdout, both JSON.

    {"load": FILE, "columns": [NAME, ...], "rows": N}    holds a Parquet file in memory as Arrow batches of N rows
    {"insert": FILE}                                     inserts them into a new database, a transaction each
    {"open": [FILE, ...], "threads": N}                  makes the view `events` over Parquet files
    {"query": SQL}                                       answers the rows
    {"close": true}                                      lets go of the database
"""

import json
import sys

import duckdb
import pyarrow
import pyarrow.parquet

TYPES = {"offset": "UBIGINT", "time": "TIMESTAMP_NS", "trace": "BLOB"}
loaded = []
database = None


def load(request):
    global loaded
    table = pyarrow.parquet.read_table(request["load"], columns=request["columns"])
    # What it takes without converting anything.
    for name, wanted in [("time", pyarrow.timestamp("ns")), ("body", pyarrow.string())]:
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, table.column(name).cast(wanted))
    batches = table.combine_chunks().to_batches(max_chunksize=request["rows"])
    loaded = [pyarrow.Table.from_batches([batch]) for batch in batches]
    return table.num_rows


def insert(request):
    global database
    database = duckdb.connect(request["insert"])
    # It would be drawn on stdout, among the answers.
    database.execute("SET enable_progress_bar = false")
    names = loaded[0].column_names
    columns = ", ".join(f'"{name}" {TYPES.get(name, "VARCHAR")}' for name in names)
    database.execute(f"CREATE TABLE events ({columns})")
    for batch in loaded:
        database.execute("INSERT INTO events SELECT * FROM batch")
    return len(loaded)


def open_files(request):
    global database
    database = duckdb.connect()
    # It would be drawn on stdout, among the answers.
    database.execute("SET enable_progress_bar = false")
    database.execute(f"SET threads = {request['threads']}")
    database.execute("SET TimeZone = 'UTC'")
    files = ", ".join("'" + file.replace("'", "''") + "'" for file in request["open"])
    database.execute(f"CREATE VIEW events AS SELECT * FROM read_parquet([{files}])")
    return len(request["open"])


def query(request):
    return database.execute(request["query"]).fetchall()


def close(_):
    global database
    database.close()
    database = None


REQUESTS = {"load": load, "insert": insert, "open": open_files, "query": query, "close": close}

for line in sys.stdin:
    request = json.loads(line)
    try:
        name = next(name for name in REQUESTS if name in request)
        answer = {"answer": REQUESTS[name](request)}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer, default=str), flush=True)
