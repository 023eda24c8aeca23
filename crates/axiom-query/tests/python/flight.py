"""Asks a Flight SQL server with the ADBC driver, and prints what it said as JSON."""

import json
import sys

import adbc_driver_flightsql.dbapi


def fault(cursor, sql):
    try:
        cursor.execute(sql)
        cursor.fetchall()
    except Exception as error:  # every driver has its own
        return str(error)
    return "it was answered"


def main(address):
    said = {}
    with adbc_driver_flightsql.dbapi.connect(address) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) AS n FROM events")
            said["count"] = cursor.fetchone()[0]
        with connection.cursor() as cursor:
            cursor.execute('SELECT * FROM events ORDER BY "offset"')
            said["rows"] = cursor.fetch_arrow_table().num_rows
        objects = connection.adbc_get_objects(depth="tables").read_all().to_pylist()
        tables = [
            table["table_name"]
            for catalog in objects
            for schema in catalog["catalog_db_schemas"]
            for table in schema["db_schema_tables"]
        ]
        said["tables"] = sorted(tables)
        with connection.cursor() as cursor:
            said["mistake"] = fault(cursor, "SELECT kin FROM events")
        with connection.cursor() as cursor:
            said["refused"] = fault(cursor, "DROP TABLE events")
    print(json.dumps(said))


main(sys.argv[1])
