//! What a request asks: from its address, its headers and its body.

use std::time::Duration;

use axiom_core::time;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method};
use serde::Deserialize;

use crate::fault::{Code, Fault};
use crate::output::Format;

/// Bytes of a query, with what else is asked.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Bytes of a longer body that are read all the same, for its client to hear that it is too long.
const DISCARDED_BYTES_MAX: usize = 64 << 20;
/// How long a body may take to arrive.
const REQUEST_TIME: Duration = Duration::from_secs(30);
/// Rows of JSON when nobody says how many: what a program holds in memory at once.
const JSON_ROWS: u64 = 10_000;
/// Characters of an id.
const ID_MAX: usize = 64;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    sql: Option<String>,
    format: Option<String>,
    rows: Option<u64>,
    id: Option<String>,
    partial: Option<bool>,
}

/// A query, and how its answer is wanted.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) sql: String,
    pub(super) format: Format,
    pub(super) rows_max: u64,
    pub(super) id: Option<String>,
    /// Rows are wanted even where events are missing and the format cannot say it.
    pub(super) is_partial: bool,
}

/// A request's body. It comes before anything is said about the request: a client that still writes does not listen, and of
/// a connection that is closed meanwhile it says that it broke.
///
/// # Errors
/// When it is too long, breaks off or takes too long.
pub(super) async fn whole(mut body: Incoming) -> Result<Bytes, Fault> {
    let read = async {
        let (mut kept, mut bytes) = (BytesMut::new(), 0);
        while bytes <= DISCARDED_BYTES_MAX
            && let Some(frame) = body.frame().await
        {
            let frame = frame.map_err(|error| unreadable(&error.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            bytes += data.len();
            if bytes <= REQUEST_BYTES_MAX {
                kept.extend_from_slice(&data);
            }
        }
        if bytes > REQUEST_BYTES_MAX {
            let fault = Fault::new(Code::TooLarge, "the request's body has more than 1 MiB");
            return Err(
                fault.hint("long lists of values are shorter as conditions: a range, a prefix, a join")
            );
        }
        Ok(kept.freeze())
    };
    let late = |_| unreadable(&format!("it did not arrive within {} s", REQUEST_TIME.as_secs()));
    time::timeout(REQUEST_TIME, read).await.map_err(late)?
}

impl Asked {
    pub(super) fn of(head: &Parts, body: &[u8]) -> Result<Asked, Fault> {
        let mut words = from_address(head.uri.query().unwrap_or_default())?;
        if head.method == Method::POST {
            take_body(&mut words, &head.headers, body)?;
        }
        let sql = words.sql.ok_or_else(|| {
            Fault::new(Code::Query, "there is no query")
                .hint("send it as the parameter `sql`, or as the body of a POST")
        })?;
        let format = match &words.format {
            Some(name) => by_name(name)?,
            None => by_accept(&head.headers),
        };
        if words.rows.is_some() && format != Format::Json {
            let fault = Fault::new(
                Code::Query,
                "`rows` bounds an answer in JSON alone: only that can say that there is more",
            );
            return Err(fault.hint("put a LIMIT into the query"));
        }
        let is_id = |id: &String| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !id.is_empty() && id.len() <= ID_MAX && id.chars().all(allowed)
        };
        if words.id.as_ref().is_some_and(|id| !is_id(id)) {
            return Err(Fault::new(
                Code::Query,
                "an id has up to 64 letters, digits and any of - _ .",
            ));
        }
        let rows_max = match format {
            Format::Json => words.rows.unwrap_or(JSON_ROWS),
            _ => u64::MAX,
        };
        Ok(Asked {
            sql,
            format,
            rows_max,
            id: words.id,
            is_partial: words.partial.unwrap_or_default(),
        })
    }
}

fn from_address(query: &str) -> Result<Words, Fault> {
    let mut words = Words::default();
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let value = value.into_owned();
        match key.as_ref() {
            "sql" => words.sql = Some(value),
            "format" => words.format = Some(value),
            "id" => words.id = Some(value),
            "rows" => match value.parse() {
                Ok(rows) => words.rows = Some(rows),
                Err(_) => {
                    return Err(Fault::new(
                        Code::Query,
                        format!("`rows` is a number, not {value:?}"),
                    ));
                }
            },
            "partial" => match value.parse() {
                Ok(is_partial) => words.partial = Some(is_partial),
                Err(_) => {
                    return Err(Fault::new(
                        Code::Query,
                        format!("`partial` is true or false, not {value:?}"),
                    ));
                }
            },
            other => {
                let fault = Fault::new(Code::Query, format!("a query has no parameter {other:?}"));
                return Err(fault.hint("there are sql, format, rows, id and partial"));
            }
        }
    }
    Ok(words)
}

fn take_body(words: &mut Words, headers: &HeaderMap, body: &[u8]) -> Result<(), Fault> {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    if kind.starts_with("application/json") {
        let said: Words = serde_json::from_slice(body).map_err(|error| unreadable(&error.to_string()))?;
        words.sql = said.sql.or(words.sql.take());
        words.format = said.format.or(words.format.take());
        words.rows = said.rows.or(words.rows);
        words.id = said.id.or(words.id.take());
        words.partial = said.partial.or(words.partial);
    } else if !body.is_empty() {
        let sql = std::str::from_utf8(body).map_err(|error| unreadable(&error.to_string()))?;
        words.sql = Some(sql.to_owned());
    }
    Ok(())
}

fn unreadable(why: &str) -> Fault {
    Fault::new(Code::Query, format!("the request's body cannot be read: {why}"))
        .hint("it is a query as text, or JSON like {\"sql\": \"SELECT 1\"}; 1 MiB at most")
}

fn by_name(name: &str) -> Result<Format, Fault> {
    use clap::ValueEnum as _;
    Format::from_str(name, true).map_err(|_| {
        Fault::new(Code::Query, format!("there is no format {name:?}"))
            .hint("there are json, ndjson, csv, arrow and table")
    })
}

/// The first type that we have; JSON if there is none.
fn by_accept(headers: &HeaderMap) -> Format {
    let accepted = headers
        .get(ACCEPT)
        .and_then(|accepted| accepted.to_str().ok())
        .unwrap_or_default();
    let known = accepted.split(',').find_map(|kind| {
        Some(match kind.split(';').next().unwrap_or_default().trim() {
            "application/json" => Format::Json,
            "application/x-ndjson" | "application/jsonl" => Format::Ndjson,
            "text/csv" => Format::Csv,
            "application/vnd.apache.arrow.stream" => Format::Arrow,
            "text/plain" => Format::Table,
            _ => return None,
        })
    });
    known.unwrap_or(Format::Json)
}
