//! `events.store` and `events.retention`: where events go when they are no longer hot, and how long they stay.

use std::time::Duration;

use axiom_tiers::{Deletion, Limits, Retention, StoreOptions};

use super::Problem;
use super::decoder::{Decoder, Zero};
use super::tree::{Node, Value};

pub(super) const STORE_KEYS: &[&str] = &[
    "url",
    "endpoint",
    "region",
    "access_key_id",
    "secret_access_key",
    "session_token",
];
pub(super) const RETENTION_KEYS: &[&str] = &["hot", "warm", "delete"];
pub(super) const LIMIT_KEYS: &[&str] = &["age", "bytes"];
pub(super) const DELETION_KEYS: &[&str] = &["age", "bytes", "tenants"];

/// With an object store, what is older than this goes there, unless the configuration says something else.
const WARM_AGE: Duration = Duration::from_secs(7 * 86_400);

/// What becomes of events that are no longer hot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tiers {
    pub store: Option<StoreOptions>,
    pub retention: Retention,
}

/// The tiers of a whole `[events]` section; its other keys are read elsewhere.
pub(super) fn decode(decoder: &mut Decoder<'_>, events: &Node) -> Tiers {
    let mut tiers = Tiers::default();
    if let Some(node) = events.get("store") {
        tiers.store = store(decoder, node);
    }
    if tiers.store.is_some() {
        tiers.retention.warm.age = Some(WARM_AGE);
    }
    if let Some(node) = events.get("retention") {
        retention(decoder, node, &mut tiers.retention);
        // Not refused: whoever takes the store away must not lose by it, and the gateway must start.
        if let (None, Some(warm)) = (events.get("store"), node.get("warm")) {
            let problem = Problem::warning(
                &warm.span,
                "`events.retention.warm` says when events go to the object store, and there is none",
                "they stay where they are",
            );
            decoder.report(problem.help(
                "set `events.store`, or say with `delete` under [events.retention] how long events are kept at all",
            ));
        }
    }
    tiers
}

/// An address, or a table with everything that a store of its own needs. What is left out is looked up where Amazon's own
/// tools look.
fn store(decoder: &mut Decoder<'_>, node: &Node) -> Option<StoreOptions> {
    let mut options = StoreOptions::default();
    if node.as_str().is_some() {
        options.url = decoder.string(node, "events.store")?;
    } else {
        for entry in decoder.table(node, "`events.store`") {
            let node = &entry.node;
            match entry.key.as_str() {
                "url" => options.url = decoder.string(node, "events.store.url")?,
                "endpoint" => options.endpoint = decoder.string(node, "events.store.endpoint"),
                "region" => options.region = decoder.string(node, "events.store.region"),
                "access_key_id" => options.access_key_id = decoder.string(node, "events.store.access_key_id"),
                "secret_access_key" => {
                    options.secret_access_key = decoder.string(node, "events.store.secret_access_key");
                }
                "session_token" => options.session_token = decoder.string(node, "events.store.session_token"),
                _ => decoder.unknown_key(entry, "`events.store`", STORE_KEYS),
            }
        }
    }
    if !["s3://", "file:///"]
        .iter()
        .any(|scheme| options.url.starts_with(scheme))
    {
        decoder.bad_value(
            node,
            "events.store",
            "must be the address of an object store",
            Some("write \"s3://bucket/prefix\" or \"file:///folder\"".to_owned()),
        );
        return None;
    }
    if options.url.starts_with("s3://") {
        let look_up = |names: &[&str]| names.iter().find_map(|name| decoder.variable(name));
        options.endpoint = options
            .endpoint
            .or_else(|| look_up(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]));
        options.region = options
            .region
            .or_else(|| look_up(&["AWS_REGION", "AWS_DEFAULT_REGION"]));
        if options.access_key_id.is_none() {
            options.access_key_id = look_up(&["AWS_ACCESS_KEY_ID"]);
            options.secret_access_key = options
                .secret_access_key
                .or_else(|| look_up(&["AWS_SECRET_ACCESS_KEY"]));
            options.session_token = options.session_token.or_else(|| look_up(&["AWS_SESSION_TOKEN"]));
        }
    }
    Some(options)
}

fn retention(decoder: &mut Decoder<'_>, node: &Node, retention: &mut Retention) {
    for entry in decoder.table(node, "`events.retention`") {
        let node = &entry.node;
        match entry.key.as_str() {
            "hot" => retention.hot = limits(decoder, node, "events.retention.hot").unwrap_or(retention.hot),
            "warm" => {
                retention.warm = limits(decoder, node, "events.retention.warm").unwrap_or(retention.warm)
            }
            "delete" => retention.delete = deletion(decoder, node),
            _ => decoder.unknown_key(entry, "`events.retention`", RETENTION_KEYS),
        }
    }
}

/// `"7d"`, or a table with `age`, `bytes` or both.
fn limits(decoder: &mut Decoder<'_>, node: &Node, key: &str) -> Option<Limits> {
    if !matches!(node.value, Value::Table(_)) {
        let age = decoder.duration(node, key, Zero::Refused)?;
        return Some(Limits {
            age: Some(age),
            bytes: None,
        });
    }
    let mut limits = Limits::default();
    for entry in decoder.table(node, &format!("`{key}`")) {
        let node = &entry.node;
        match entry.key.as_str() {
            "age" => limits.age = decoder.duration(node, &format!("{key}.age"), Zero::Refused),
            "bytes" => {
                let bytes = decoder.bytes(node, &format!("{key}.bytes"));
                limits.bytes = bytes.map(|bytes| bytes as u64);
            }
            _ => decoder.unknown_key(entry, &format!("`{key}`"), LIMIT_KEYS),
        }
    }
    Some(limits)
}

/// `"365d"`, or a table with `age`, `bytes` and `tenants`. Nothing else in the configuration deletes events.
fn deletion(decoder: &mut Decoder<'_>, node: &Node) -> Deletion {
    const KEY: &str = "events.retention.delete";
    let mut deletion = Deletion::default();
    if !matches!(node.value, Value::Table(_)) {
        deletion.age = decoder.duration(node, KEY, Zero::Refused);
        return deletion;
    }
    for entry in decoder.table(node, &format!("`{KEY}`")) {
        let node = &entry.node;
        match entry.key.as_str() {
            "age" => deletion.age = decoder.duration(node, &format!("{KEY}.age"), Zero::Refused),
            "bytes" => {
                let bytes = decoder.bytes(node, &format!("{KEY}.bytes"));
                deletion.bytes = bytes.map(|bytes| bytes as u64);
            }
            "tenants" => {
                for entry in decoder.table(node, &format!("`{KEY}.tenants`")) {
                    let key = format!("{KEY}.tenants.{}", entry.key);
                    if let Some(age) = decoder.duration(&entry.node, &key, Zero::Refused) {
                        deletion.tenants.insert(entry.key.clone(), age);
                    }
                }
            }
            _ => decoder.unknown_key(entry, &format!("`{KEY}`"), DELETION_KEYS),
        }
    }
    deletion
}
