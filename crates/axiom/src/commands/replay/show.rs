//! What came of it, for people and for programs.

use serde_json::value::RawValue;
use serde_json::{Value as Json, json};

use super::again::{Compared, Outcome};
use crate::cli::Replay;
use crate::import::preview::visible;
use crate::outcome::{Exit, Failed};
use crate::replay::diff::Difference;
use crate::replay::recorded::Call;
use crate::table::Table;
use crate::terminal::Terminal;

/// Characters of a value that are shown to people.
const VALUE_CHARS_MAX: usize = 400;

/// One call: every difference.
pub(super) fn one(outcome: &Outcome, replay: &Replay, terminal: &Terminal) -> Result<Exit, Failed> {
    if replay.json {
        terminal.data(as_json(outcome))?;
        return Ok(outcome.exit());
    }
    match outcome {
        Outcome::Compared(compared) => {
            differences(compared, terminal)?;
            Ok(outcome.exit())
        }
        Outcome::Refused {
            offset,
            why,
            hint,
            exit,
            ..
        } => {
            let failed = Failed::new(*exit, format!("call {offset} cannot be made again: {why}"));
            Err(match hint {
                Some(hint) => failed.hint(hint),
                None => failed,
            })
        }
        Outcome::Failed { why, exit, .. } => Err(Failed::new(*exit, why)),
    }
}

/// Many calls: a line for each, and how many there are of each kind.
pub(super) fn many(outcomes: &[Outcome], replay: &Replay, terminal: &Terminal) -> Result<Exit, Failed> {
    if replay.json {
        let mut lines = String::new();
        for outcome in outcomes {
            lines.push_str(&as_json(outcome).to_string());
            lines.push('\n');
        }
        terminal.lines(lines.as_bytes())?;
    } else {
        let mut table = Table::new(["CALL", "WHAT", "WAS", "IS", "DIFFERENCES"]);
        for outcome in outcomes {
            table.row(row(outcome));
        }
        terminal.data(table)?;
    }
    let count = |wanted: fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| wanted(outcome)).count();
    let equal = count(|outcome| matches!(outcome, Outcome::Compared(compared) if compared.is_equal()));
    let compared = count(|outcome| matches!(outcome, Outcome::Compared(_)));
    let refused = count(|outcome| matches!(outcome, Outcome::Refused { .. }));
    terminal.say(format_args!(
        "{equal} equal, {} different, {refused} not made again, {} failed",
        compared - equal,
        outcomes.len() - compared - refused
    ));
    tell_hints(outcomes, terminal);
    let worst = outcomes
        .iter()
        .find(|outcome| matches!(outcome, Outcome::Failed { .. }));
    Ok(match worst {
        _ if compared > equal => Exit::Failure,
        Some(failed) => failed.exit(),
        None if compared > 0 => Exit::Ok,
        // Nothing was compared, so nothing was shown to be equal.
        None => outcomes.first().map_or(Exit::NotFound, Outcome::exit),
    })
}

/// Each hint once.
fn tell_hints(outcomes: &[Outcome], terminal: &Terminal) {
    let mut told: Vec<&str> = Vec::new();
    for outcome in outcomes {
        if let Outcome::Refused { hint: Some(hint), .. } = outcome
            && !told.contains(&hint.as_str())
        {
            told.push(hint);
            terminal.say(format_args!("{} {hint}", terminal.bold("hint:")));
        }
    }
}

fn what(call: &Call) -> String {
    format!("{} {}", call.method, call.name).trim_end().to_owned()
}

fn row(outcome: &Outcome) -> [String; 5] {
    match outcome {
        Outcome::Compared(compared) => [
            compared.call.offset.to_string(),
            what(&compared.call),
            compared.call.answer.outcome().to_owned(),
            compared.now.outcome().to_owned(),
            match compared.comparison.count {
                0 => "equal".to_owned(),
                1 => format!("1: {}", first_path(compared)),
                many => format!("{many}: {}, ...", first_path(compared)),
            },
        ],
        Outcome::Refused {
            offset, call, why, ..
        } => [
            offset.to_string(),
            call.as_deref().map(what).unwrap_or_default(),
            call.as_deref()
                .map_or("", |call| call.answer.outcome())
                .to_owned(),
            "-".to_owned(),
            format!("not made: {why}"),
        ],
        Outcome::Failed { call, why, .. } => [
            call.offset.to_string(),
            what(call),
            call.answer.outcome().to_owned(),
            "failed".to_owned(),
            why.clone(),
        ],
    }
}

fn first_path(compared: &Compared) -> &str {
    let first = compared.comparison.differences.first();
    first.map_or("$", |difference| &difference.path)
}

fn differences(compared: &Compared, terminal: &Terminal) -> Result<(), Failed> {
    let Compared {
        call,
        to,
        now,
        duration_us,
        comparison,
    } = compared;
    terminal.say(visible(&format!(
        "{} at {to}: {} in {duration_us} us, was {} in {} us",
        what(call),
        now.outcome(),
        call.answer.outcome(),
        call.duration_us.unwrap_or_default(),
    )));
    for (count, what) in [
        (comparison.ignored, "ignored"),
        (
            comparison.masked,
            "recorded without their secrets and not compared",
        ),
    ] {
        if count > 0 {
            terminal.say(format_args!("places {what}: {count}"));
        }
    }
    let colours = terminal.for_data();
    for difference in &comparison.differences {
        terminal.data(&difference.path)?;
        let (old, new) = values(difference);
        for (sign, value) in [("-", old), ("+", new)] {
            let Some(value) = value else { continue };
            let line = format!("  {sign} {}", visible(&value));
            terminal.data(match sign {
                "-" => colours.red(&line),
                _ => colours.green(&line),
            })?;
        }
    }
    let unseen = comparison.count - comparison.differences.len();
    if unseen > 0 {
        terminal.data(format_args!("and {unseen} more"))?;
    }
    match comparison.count {
        0 => terminal.data("equal")?,
        1 => terminal.say("1 difference"),
        many => terminal.say(format_args!("{many} differences")),
    }
    Ok(())
}

/// What stands there on either side, as much of it as shows the difference.
fn values(difference: &Difference) -> (Option<String>, Option<String>) {
    let text = |value: &Option<Box<RawValue>>| value.as_ref().map(|value| value.get().to_owned());
    let (old, new) = (text(&difference.recorded), text(&difference.now));
    let is_long = |value: &Option<String>| value.as_ref().is_some_and(|value| value.len() > VALUE_CHARS_MAX);
    let (Some(left), Some(right), true) = (&old, &new, is_long(&old) || is_long(&new)) else {
        return (old.map(|old| excerpt(&old, 0)), new.map(|new| excerpt(&new, 0)));
    };
    // Long texts are often alike for a while.
    let same = left
        .chars()
        .zip(right.chars())
        .take_while(|(left, right)| left == right)
        .count();
    let from = same.saturating_sub(40);
    (Some(excerpt(left, from)), Some(excerpt(right, from)))
}

fn excerpt(text: &str, from: usize) -> String {
    let mut shown: String = text.chars().skip(from).take(VALUE_CHARS_MAX).collect();
    if from > 0 {
        shown.insert_str(0, "...");
    }
    if text.chars().count() > from + VALUE_CHARS_MAX {
        shown.push_str("...");
    }
    shown
}

/// One outcome for programs. Values are given as JSON texts where their digits would not survive.
fn as_json(outcome: &Outcome) -> Json {
    let of = |call: &Call| {
        json!({
            "offset": call.offset,
            "call": call.id,
            "method": call.method,
            "name": call.name,
            "recorded_outcome": call.answer.outcome(),
        })
    };
    match outcome {
        Outcome::Compared(compared) => {
            let Compared {
                call,
                to,
                now,
                duration_us,
                comparison,
            } = &**compared;
            let mut shown = of(call);
            shown["to"] = json!(to);
            shown["verdict"] = json!(if compared.is_equal() { "equal" } else { "different" });
            shown["outcome"] = json!(now.outcome());
            shown["recorded_duration_us"] = json!(call.duration_us);
            shown["duration_us"] = json!(duration_us);
            shown["difference_count"] = json!(comparison.count);
            shown["ignored"] = json!(comparison.ignored);
            shown["masked"] = json!(comparison.masked);
            let differences = comparison.differences.iter().map(|difference| {
                let mut shown = json!({"path": difference.path});
                for (key, value) in [("recorded", &difference.recorded), ("now", &difference.now)] {
                    if let Some(value) = value {
                        shown[key] = serde_json::from_str(value.get()).unwrap_or_default();
                    }
                }
                shown
            });
            shown["differences"] = differences.collect();
            shown
        }
        Outcome::Refused {
            offset, call, why, ..
        } => {
            let mut shown = call.as_deref().map_or_else(|| json!({"offset": offset}), of);
            shown["verdict"] = json!("refused");
            shown["reason"] = json!(why);
            shown
        }
        Outcome::Failed { call, why, .. } => {
            let mut shown = of(call);
            shown["verdict"] = json!("failed");
            shown["reason"] = json!(why);
            shown
        }
    }
}
