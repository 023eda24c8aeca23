//! The tool `query`: SQL over everything that was recorded, by the query engine, which is a program of its own.

use serde_json::Value as Json;

use super::arguments::{Arguments, Complaint};
use super::log::Log;

pub(super) const ARGUMENTS: &[&str] = &["sql", "count"];
pub(super) const COUNT: usize = 100;
pub(super) const COUNT_MAX: usize = 1_000;

pub(super) async fn run(_log: &Log, arguments: &Arguments<'_>) -> Result<Json, Complaint> {
    let Some(_sql) = arguments.text("sql")?.filter(|sql| !sql.trim().is_empty()) else {
        return Err(Complaint::new(
            "`sql` is missing: give a SELECT over the table `events` or the views `calls` and `tasks`",
        ));
    };
    Err(Complaint::new(
        "there is no query engine beside this gateway: build it with `cargo build --release -p axiom-query`. Until then `stats` \
         counts events and `tail` finds them",
    ))
}
