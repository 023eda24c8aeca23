//! The columns of the table `events`, in the order in which `SELECT *` gives them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

pub const SHARD: &str = "shard";
pub const OFFSET: &str = "offset";
pub const VERSION: &str = "version";
pub const TIME: &str = "time";
pub const TENANT: &str = "tenant";
pub const STREAM: &str = "stream";
pub const TASK: &str = "task";
pub const KIND: &str = "kind";
pub const LEVEL: &str = "level";
pub const SEVERITY: &str = "severity";
pub const TRACE: &str = "trace";
pub const ID: &str = "id";
pub const FORMAT: &str = "format";
pub const BODY: &str = "body";
pub const BODY_BYTES: &str = "body_bytes";
pub const TIER: &str = "tier";

/// What is said about each column to people.
pub const MEANINGS: [(&str, &str); 16] = [
    (SHARD, "the log that the event is in"),
    (OFFSET, "its place in the shard: dense, never changes"),
    (VERSION, "its place in its stream, from 0"),
    (TIME, "by its producer's clock"),
    (TENANT, "whose it is"),
    (STREAM, "the sequence that it belongs to"),
    (TASK, "the task or call that it is about; empty if none"),
    (KIND, "what sort of thing happened, like gateway.call"),
    (LEVEL, "trace, debug, info, warn, error or critical"),
    (SEVERITY, "the level as a number, 0 to 5: what can be compared"),
    (TRACE, "W3C trace id, 32 hex digits"),
    (ID, "its producer's id of it, 32 hex digits"),
    (FORMAT, "what the body is: binary, text or json"),
    (BODY, "the body as text; null where it is not UTF-8"),
    (BODY_BYTES, "the body as it was recorded"),
    (TIER, "where it lies: hot, warm or cold"),
];

/// Times are nanoseconds since 1970.
pub fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

/// The table's schema. Texts are views: short ones lie in place, and equal ones are compared by their first bytes.
pub fn schema() -> SchemaRef {
    let text = || DataType::Utf8View;
    Arc::new(Schema::new(vec![
        Field::new(SHARD, DataType::UInt16, false),
        Field::new(OFFSET, DataType::UInt64, false),
        Field::new(VERSION, DataType::UInt64, false),
        Field::new(TIME, time_type(), false),
        Field::new(TENANT, text(), false),
        Field::new(STREAM, text(), false),
        Field::new(TASK, text(), false),
        Field::new(KIND, text(), false),
        Field::new(LEVEL, text(), false),
        Field::new(SEVERITY, DataType::UInt8, false),
        Field::new(TRACE, text(), true),
        Field::new(ID, text(), true),
        Field::new(FORMAT, text(), false),
        Field::new(BODY, text(), true),
        Field::new(BODY_BYTES, DataType::Binary, false),
        Field::new(TIER, text(), false),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_has_a_meaning() {
        let schema = schema();
        let names: Vec<&str> = schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        assert_eq!(names, MEANINGS.map(|(name, _)| name));
    }
}
