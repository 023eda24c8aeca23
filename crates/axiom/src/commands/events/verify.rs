//! `axiom events verify`: every byte against its checksum, every block against the one before it.

use axiom_events::Damage;
use axiom_events::disk::Machine;
use axiom_events::verify::{Verdict, verify};
use axiom_tiers::Shelves;
use axiom_tiers::shelves::Proof;
use serde_json::json;

use super::{shard, unreadable};
use crate::cli::Verify;
use crate::compose::tiers_failed;
use crate::outcome::{Exit, Failed};
use crate::terminal::Terminal;

pub fn run(command: &Verify, terminal: &Terminal) -> Result<Exit, Failed> {
    if let Some(proof) = &command.proof {
        return super::prove::verify(proof, command, terminal);
    }
    let shard = shard(&command.at, terminal)?;
    // Before the log: what is sealed meanwhile is in one of the two.
    let archive = Shelves::open(&shard.folder, shard.store.clone()).map_err(|error| tiers_failed(&error))?;
    let verdict = verify(&Machine, &shard.folder).map_err(|error| unreadable(&error))?;
    let objects = archive.prove();
    let bad: Vec<&Proof> = objects.iter().filter(|proof| proof.outcome.is_err()).collect();
    if command.json {
        terminal.data(as_json(&verdict, &objects))?;
    } else {
        for damage in &verdict.damage {
            terminal.data(line(damage))?;
        }
        for Proof { object, outcome } in &bad {
            if let Err(error) = outcome {
                let (from, to) = (object.offsets.start, object.offsets.end.saturating_sub(1));
                terminal.data(format_args!("events {from} to {to}: {error}"))?;
            }
        }
        let archived: u64 = objects.iter().map(|proof| proof.object.rows).sum();
        terminal.data(format_args!(
            "{}: {} events in {} blocks and {} segments, {archived} in {} warm and cold files",
            if verdict.is_sound() && bad.is_empty() {
                "sound"
            } else {
                "damaged"
            },
            verdict.events,
            verdict.blocks,
            verdict.segments.len(),
            objects.len()
        ))?;
    }
    if verdict.is_sound() && bad.is_empty() {
        return Ok(Exit::Ok);
    }
    let places = match verdict.damage.len() + bad.len() {
        1 => "1 place".to_owned(),
        many => format!("{many} places"),
    };
    let failed = Failed::new(
        Exit::Failure,
        format!("{} is damaged in {places}", shard.folder.display()),
    );
    Err(failed.hint("everything else stays readable; restore the named files from a backup if there is one"))
}

fn line(damage: &Damage) -> String {
    let Damage {
        path,
        bytes,
        offsets,
        reason,
    } = damage;
    let events = match offsets.is_empty() {
        true => String::new(),
        false => format!(", events {} to {} are lost", offsets.start, offsets.end - 1),
    };
    format!(
        "{}: bytes {} to {}: {reason}{events}",
        path.display(),
        bytes.start,
        bytes.end
    )
}

fn as_json(verdict: &Verdict, objects: &[Proof]) -> serde_json::Value {
    let files = objects.iter().map(|Proof { object, outcome }| {
        json!({
            "location": object.location,
            "offsets": [object.offsets.start, object.offsets.end],
            "events": object.rows,
            "problem": outcome.as_ref().err().map(ToString::to_string),
        })
    });
    let is_sound = verdict.is_sound() && objects.iter().all(|proof| proof.outcome.is_ok());
    let damage = verdict.damage.iter().map(|damage| {
        json!({
            "path": damage.path.display().to_string(),
            "bytes": [damage.bytes.start, damage.bytes.end],
            "offsets": [damage.offsets.start, damage.offsets.end],
            "reason": damage.reason,
        })
    });
    let segments = verdict.segments.iter().map(|segment| {
        json!({
            "path": segment.path.display().to_string(),
            "first_offset": segment.first_offset,
            "end_offset": segment.end_offset,
            "root": format!("{:?}", segment.root),
            "sealed": segment.is_sealed,
        })
    });
    json!({
        "sound": is_sound,
        "events": verdict.events,
        "blocks": verdict.blocks,
        "torn_bytes": verdict.torn_bytes,
        "damage": damage.collect::<Vec<_>>(),
        "segments": segments.collect::<Vec<_>>(),
        "files": files.collect::<Vec<_>>(),
    })
}
