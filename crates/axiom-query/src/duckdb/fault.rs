//! What DuckDB says went wrong, in the words of [`Fault`]: it begins with the sort of error and ends with the place.

use axiom_duckdb::DuckDbError;

use crate::fault::{Code, Fault};

impl From<DuckDbError> for Fault {
    fn from(error: DuckDbError) -> Fault {
        let (sort, rest) = match error.0.split_once(" Error: ") {
            Some((sort, rest)) if !sort.contains('\n') => (sort, rest),
            _ => ("", error.0.as_str()),
        };
        let (message, place) = match rest.split_once("\n\nLINE ") {
            Some((message, place)) => (message, place_in(place)),
            None => (rest, None),
        };
        let (code, hint) = sort_of(sort, message);
        // Advice for whoever may change DuckDB's settings.
        let message = message.split("\n\nPossible solutions:").next().unwrap_or(message);
        let mut fault = Fault::new(code, message.trim_end());
        fault.at = place;
        fault.hint = hint.map(str::to_owned);
        fault
    }
}

fn sort_of(sort: &str, message: &str) -> (Code, Option<&'static str>) {
    if message.contains("BYTE_STREAM_SPLIT") {
        return (
            Code::Query,
            Some(
                "DuckDB 1.x cannot read bodies as they lie in files: name the columns that are wanted in a SELECT, or use DuckDB 2.0",
            ),
        );
    }
    match sort {
        "Out of Memory" => (
            Code::Memory,
            Some(
                "ask for less at once: fewer columns, a shorter time, a smaller LIMIT; or give it more with --memory",
            ),
        ),
        "INTERRUPT" => (Code::Cancelled, None),
        "Permission" => (
            Code::Refused,
            Some(
                "DuckDB reads the events' own files here and nothing else; --print-setup makes the tables in a DuckDB of yours",
            ),
        ),
        "IO" | "Fatal" | "INTERNAL" | "HTTP" | "Serialization" => (Code::Failed, Some(VERIFY)),
        // A file that is damaged is told as wrong input.
        "Invalid Input" if message.contains(".parquet") => (Code::Failed, Some(VERIFY)),
        "Catalog" if message.contains("Table with name") => (
            Code::Query,
            Some("the tables are events, calls and tasks; `axiom sql --schema` lists their columns"),
        ),
        "Binder" if message.contains("Referenced column") => (
            Code::Query,
            Some("`axiom sql --schema` lists the columns; texts go in single quotes, not in double ones"),
        ),
        "Parser" => (
            Code::Query,
            Some("the dialect of --engine duckdb is DuckDB's; without it, it is DataFusion's"),
        ),
        _ => (Code::Query, None),
    }
}

const VERIFY: &str = "`axiom events verify` tells what can be read";

/// From `2: FROM evnts` and a line with `^` under the place: line and column. A long line is told in part, and then says not
/// where it is.
fn place_in(text: &str) -> Option<(u64, u64)> {
    let (number, rest) = text.split_once(": ")?;
    let (line, marker) = rest.split_once('\n')?;
    if line.starts_with("...") {
        return None;
    }
    let before = "LINE ".len() + number.len() + ": ".len();
    let column = marker
        .chars()
        .take_while(|c| *c == ' ')
        .count()
        .checked_sub(before)?;
    Some((number.parse().ok()?, column as u64 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_becomes_words_a_place_and_advice() {
        let said = "Binder Error: Referenced column \"kin\" not found in FROM clause!\nCandidate bindings: \"kind\"\n\nLINE 2:   kin\n          ^";
        let fault = Fault::from(DuckDbError(said.to_owned()));
        assert_eq!(fault.code, Code::Query);
        assert_eq!(fault.at, Some((2, 3)));
        assert!(fault.message.starts_with("Referenced column"), "{fault}");
        assert!(!fault.message.contains("LINE"), "{fault}");
        let said = "Out of Memory Error: could not allocate block of size 1 MiB\n\nPossible solutions:\n* SET threads";
        let fault = Fault::from(DuckDbError(said.to_owned()));
        assert_eq!(
            (fault.code, fault.message.as_str()),
            (Code::Memory, "could not allocate block of size 1 MiB")
        );
        assert_eq!(
            Fault::from(DuckDbError("it ended".to_owned())).message,
            "it ended"
        );
    }
}
