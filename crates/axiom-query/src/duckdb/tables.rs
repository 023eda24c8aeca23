//! The tables as DuckDB's SQL: `events` over Parquet files, with the views over it and the functions that they need.
//!
//! The same text is run for a query and printed for whoever wants the tables in a DuckDB of their own.

use std::fmt::Write as _;

use crate::columns::{self, BODY, BODY_BYTES, ID, SHARD, TIER, TIME, TRACE};
use crate::views::VIEWS;

/// Files of one tier of one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) shard: u16,
    pub(crate) tier: &'static str,
    pub(crate) form: Form,
    /// Paths or addresses.
    pub(crate) files: Vec<String>,
}

/// How the columns lie in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As sealed: ids as bytes, bodies in parts.
    Sealed,
    /// As sealed, but for bodies, which are whole.
    Whole,
    /// Ids as text, bodies whole.
    Hot,
}

/// Bodies that lie in their files as a template and its values: 17 stands for the next number, 18 for the next word.
const BODIES: &str = "\
CREATE OR REPLACE MACRO axiom_fill(template, marker, filling) AS
  array_to_string(list_transform(string_split(template, marker), lambda part, i: part || coalesce(filling[i]::VARCHAR, '')), '');
CREATE OR REPLACE MACRO axiom_body(body, template, ints, words) AS
  CASE WHEN template IS NULL THEN body ELSE encode(axiom_fill(axiom_fill(template, chr(17), ints), chr(18), words)) END;
CREATE OR REPLACE MACRO byte_count(bytes) AS octet_length(bytes)::UBIGINT;
";

/// Functions for JSON, and what becomes of the value at a path: what is not there, of another type, or no JSON is null.
const JSON: [(&str, &str); 6] = [
    (
        "json_get_str",
        "CASE json_type(json, {path}) WHEN 'VARCHAR' THEN json_extract_string(json, {path}) END",
    ),
    (
        "json_get_int",
        "CASE WHEN json_type(json, {path}) IN ('BIGINT', 'UBIGINT') THEN try_cast(json_extract_string(json, {path}) AS BIGINT) END",
    ),
    (
        "json_get_float",
        "CASE WHEN json_type(json, {path}) IN ('BIGINT', 'UBIGINT', 'DOUBLE') \
         THEN try_cast(json_extract_string(json, {path}) AS DOUBLE) END",
    ),
    (
        "json_get_bool",
        "CASE json_type(json, {path}) WHEN 'BOOLEAN' THEN json_extract_string(json, {path})::BOOLEAN END",
    ),
    ("json_get_json", "json_extract(json, {path})::VARCHAR"),
    ("json_as_text", "json_extract_string(json, {path})"),
];

/// Keys and places in lists that a path may have. A macro has as many forms.
const STEPS: [&str; 4] = ["a", "b", "c", "d"];

/// The statements that make the tables over these files.
pub(crate) fn statements(parts: &[Part]) -> String {
    let mut sql = BODIES.to_owned();
    for (name, made) in JSON {
        let forms = (1..=STEPS.len()).map(|steps| {
            let steps = STEPS.get(..steps).unwrap_or_default();
            let path: Vec<String> = steps
                .iter()
                .map(|step| format!("'/' || replace(replace({step}::VARCHAR, '~', '~0'), '/', '~1')"))
                .collect();
            let made = made.replace("{path}", &path.join(" || "));
            format!(
                "(json, {}) AS CASE WHEN json_valid(json) THEN {made} END",
                steps.join(", ")
            )
        });
        let forms: Vec<String> = forms.collect();
        push(
            &mut sql,
            format_args!("CREATE OR REPLACE MACRO {name}\n  {};\n", forms.join(",\n  ")),
        );
    }
    let selects: Vec<String> = parts
        .iter()
        .filter(|part| !part.files.is_empty())
        .map(select)
        .collect();
    let selects = if selects.is_empty() {
        vec![nothing()]
    } else {
        selects
    };
    push(
        &mut sql,
        format_args!(
            "CREATE OR REPLACE VIEW events AS\n{};\n",
            selects.join("\nUNION ALL\n")
        ),
    );
    for view in VIEWS {
        // A sum of numbers has 128 bits in DuckDB.
        let (before, behind) = match view.name {
            "tasks" => ("\nSELECT * REPLACE (bytes::UBIGINT AS bytes) FROM (", ")"),
            _ => ("", ""),
        };
        let (name, made) = (view.name, view.sql);
        push(
            &mut sql,
            format_args!("CREATE OR REPLACE VIEW {name} AS{before}{made}{behind};\n"),
        );
    }
    sql
}

fn push(sql: &mut String, text: std::fmt::Arguments<'_>) {
    // A text takes everything.
    let _written = sql.write_fmt(text).is_ok();
}

fn select(part: &Part) -> String {
    let schema = columns::schema();
    let made = schema.fields().iter().map(|field| {
        let name = field.name().as_str();
        let made = match name {
            SHARD => format!("{}::USMALLINT", part.shard),
            TIER => literal(part.tier),
            TRACE | ID if part.form != Form::Hot => format!("lower(hex({name}))"),
            BODY if part.form == Form::Sealed => format!("TRY(decode({FILLED}))"),
            BODY => format!("TRY(decode({BODY_BYTES}))"),
            BODY_BYTES if part.form == Form::Sealed => FILLED.to_owned(),
            _ => quoted(name),
        };
        format!("{made} AS {}", quoted(name))
    });
    let files: Vec<String> = part.files.iter().map(|file| literal(file)).collect();
    format!(
        "SELECT {}\nFROM read_parquet([{}], hive_partitioning = false)",
        made.collect::<Vec<_>>().join(", "),
        files.join(", ")
    )
}

const FILLED: &str = "axiom_body(body, body_template, body_ints, body_words)";

/// No rows, of the table's columns.
fn nothing() -> String {
    let schema = columns::schema();
    let made = schema.fields().iter().map(|field| {
        let kind = match field.name().as_str() {
            SHARD => "USMALLINT",
            columns::OFFSET | columns::VERSION => "UBIGINT",
            TIME => "TIMESTAMPTZ",
            columns::SEVERITY => "UTINYINT",
            BODY_BYTES => "BLOB",
            _ => "VARCHAR",
        };
        format!("NULL::{kind} AS {}", quoted(field.name()))
    });
    format!("SELECT {} WHERE false", made.collect::<Vec<_>>().join(", "))
}

/// A text in SQL.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_without_files_is_no_part_and_texts_are_quoted() {
        let part = |files: &[&str]| Part {
            shard: 3,
            tier: "warm",
            form: Form::Sealed,
            files: files.iter().map(|file| (*file).to_owned()).collect(),
        };
        let sql = statements(&[part(&[]), part(&["/it's/a.parquet", "/b.parquet"])]);
        assert!(
            sql.contains("read_parquet(['/it''s/a.parquet', '/b.parquet'], hive_partitioning = false)"),
            "{sql}"
        );
        assert!(!sql.contains("UNION ALL"), "{sql}");
        assert!(sql.contains("3::USMALLINT AS \"shard\""), "{sql}");
        assert!(statements(&[]).contains("WHERE false"));
    }
}
