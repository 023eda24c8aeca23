//! `axiom events verify`: every byte against its checksum, every block against the one before it.

use axiom_events::Damage;
use axiom_events::disk::Machine;
use axiom_events::verify::{Verdict, verify};
use serde_json::json;

use super::{folder, unreadable};
use crate::cli::Verify;
use crate::outcome::{Exit, Failed};
use crate::terminal::Terminal;

pub fn run(command: &Verify, terminal: &Terminal) -> Result<Exit, Failed> {
    if let Some(proof) = &command.proof {
        return super::prove::verify(proof, command, terminal);
    }
    let folder = folder(&command.at, terminal)?;
    let verdict = verify(&Machine, &folder).map_err(|error| unreadable(&error))?;
    if command.json {
        terminal.data(as_json(&verdict))?;
    } else {
        for damage in &verdict.damage {
            terminal.data(line(damage))?;
        }
        terminal.data(format_args!(
            "{}: {} events in {} blocks and {} segments",
            if verdict.is_sound() { "sound" } else { "damaged" },
            verdict.events,
            verdict.blocks,
            verdict.segments.len()
        ))?;
    }
    if verdict.is_sound() {
        return Ok(Exit::Ok);
    }
    let places = match verdict.damage.len() {
        1 => "1 place".to_owned(),
        many => format!("{many} places"),
    };
    let failed = Failed::new(
        Exit::Failure,
        format!("{} is damaged in {places}", folder.display()),
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

fn as_json(verdict: &Verdict) -> serde_json::Value {
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
        "sound": verdict.is_sound(),
        "events": verdict.events,
        "blocks": verdict.blocks,
        "torn_bytes": verdict.torn_bytes,
        "damage": damage.collect::<Vec<_>>(),
        "segments": segments.collect::<Vec<_>>(),
    })
}
