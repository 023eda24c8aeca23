//! `axiom events prove`, and `axiom events verify --proof`: that an event is in a log, for somebody who does not have the log.
//!
//! A proof is one JSON object: the block with the event, and the hashes that lead from it to the Merkle root of its segment.

use std::path::Path;

use axiom_events::Hash;
use axiom_events::proof::{Proof, ProveError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

use super::{open, shard, unreadable};
use crate::cli::{Prove, Verify};
use crate::events;
use crate::outcome::{Exit, Failed};
use crate::terminal::Terminal;

/// What a proof says of its form.
const FORMAT: &str = "axiom-event-proof-1";

pub fn run(prove: &Prove, terminal: &Terminal) -> Result<Exit, Failed> {
    let reader = open(&shard(&prove.at, terminal)?)?;
    let proof = reader.prove(prove.offset).map_err(|error| match &error {
        ProveError::Read(read) => unreadable(read),
        ProveError::Absent { .. } => Failed::new(Exit::NotFound, error.to_string()).hint(format!(
            "there are events {} to {}",
            reader.first(),
            reader.end().saturating_sub(1)
        )),
        ProveError::Damaged { .. } => {
            Failed::new(Exit::Failure, error.to_string()).hint("`axiom events verify` names every place")
        }
    })?;
    terminal.data(as_json(&proof))?;
    Ok(Exit::Ok)
}

/// `axiom events verify --proof FILE`.
pub fn verify(file: &Path, command: &Verify, terminal: &Terminal) -> Result<Exit, Failed> {
    let text = fs_err::read_to_string(file)?;
    let parsed = serde_json::from_str(&text).ok().as_ref().and_then(of_json);
    let proof = parsed.ok_or_else(|| {
        Failed::new(
            Exit::Failure,
            format!("{} is no proof of an event", file.display()),
        )
        .hint("`axiom events prove OFFSET > FILE` makes one")
    })?;
    let disproven = |what: String| {
        Failed::new(
            Exit::Failure,
            format!("event {} is not proven: {what}", proof.offset),
        )
    };
    let block = proof.check().map_err(|error| disproven(error.to_string()))?;
    let known = match &command.root {
        Some(root) => parse_hash(root)
            .ok_or_else(|| Failed::new(Exit::Usage, "a root is 64 hexadecimal digits"))
            .map(Some)?,
        None => root_here(&proof, command, terminal)?,
    };
    let Some(known) = known else {
        return Err(disproven(
            "the log here does not have its segment, or not that much of it".to_owned(),
        ));
    };
    if known != proof.root {
        return Err(disproven(format!(
            "it leads to root {}, and the one here is {known}",
            proof.root
        )));
    }
    terminal.say(format_args!(
        "proven: event {} of shard {} is in block {} of {} of the segment that begins with event {}, root {}",
        proof.offset, proof.shard, proof.index, proof.count, proof.segment, proof.root
    ));
    let mut line = Vec::new();
    let recorded = block.event(proof.offset).expect("the proof was checked");
    events::json(&mut line, &recorded);
    terminal.lines(&line)?;
    Ok(Exit::Ok)
}

/// The root of the same blocks in the log here.
fn root_here(proof: &Proof, command: &Verify, terminal: &Terminal) -> Result<Option<Hash>, Failed> {
    let reader = open(&shard(&command.at, terminal)?)?;
    let root = reader.root(proof.segment, proof.count);
    root.map_err(|error| unreadable(&error))
}

fn as_json(proof: &Proof) -> Json {
    let path: Vec<String> = proof.path.iter().map(Hash::to_string).collect();
    json!({
        "format": FORMAT,
        "shard": proof.shard,
        "offset": proof.offset,
        "segment": {
            "first_offset": proof.segment,
            "blocks": proof.count,
            "sealed": proof.is_sealed,
            "root": proof.root.to_string(),
        },
        "index": proof.index,
        "path": path,
        "block": STANDARD.encode(&proof.block),
    })
}

fn of_json(json: &Json) -> Option<Proof> {
    let segment = json.get("segment")?;
    let number = |value: &Json, key: &str| value.get(key)?.as_u64();
    let is_ours = json.get("format")?.as_str()? == FORMAT;
    let path = json.get("path")?.as_array()?.iter();
    let path: Option<Vec<Hash>> = path.map(|hash| parse_hash(hash.as_str()?)).collect();
    is_ours.then_some(Proof {
        shard: number(json, "shard")?.try_into().ok()?,
        offset: number(json, "offset")?,
        segment: number(segment, "first_offset")?,
        index: number(json, "index")?.try_into().ok()?,
        count: number(segment, "blocks")?.try_into().ok()?,
        path: path?,
        root: parse_hash(segment.get("root")?.as_str()?)?,
        is_sealed: segment.get("sealed")?.as_bool()?,
        block: STANDARD.decode(json.get("block")?.as_str()?).ok()?,
    })
}

/// 64 hexadecimal digits.
fn parse_hash(text: &str) -> Option<Hash> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut hash = Hash::default();
    for (byte, pair) in hash.0.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(hash)
}
