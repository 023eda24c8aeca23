//! `axiom import`: read, show, ask, back up, write.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::Import;
use crate::config::{Problem, render};
use crate::import::preview::{self, visible};
use crate::import::write::{self, Plan, Privacy, Standing};
use crate::import::{Client, ReadError, Secrets, Skipped, read};
use crate::outcome::{Exit, Failed};
use crate::terminal::Terminal;

/// One file, read and compared.
struct Planned {
    file: String,
    client: Client,
    first: usize,
    end: usize,
    skipped: Vec<Skipped>,
}

pub fn run(import: &Import, terminal: &Terminal) -> Result<Exit, Failed> {
    let target = target_text(import)?;
    let (files, plans) = plan_all(import, target.as_deref().unwrap_or_default(), terminal)?;
    if !import.json {
        for planned in &files {
            let plans = plans.get(planned.first..planned.end).unwrap_or_default();
            let text = preview::text(&planned.file, planned.client.name(), plans, &planned.skipped);
            terminal.data(text.trim_end())?;
        }
    }
    let written = match consent(import, &plans, terminal)? {
        true => Some(write_all(import, target.as_deref(), &plans)?),
        false => None,
    };
    if import.json {
        terminal.data(report(import, &files, &plans, written.as_ref()))?;
    } else {
        tell(import, &plans, written.as_ref(), terminal);
    }
    let conflicts = plans.iter().any(|plan| plan.standing == Standing::Conflict);
    Ok(if conflicts { Exit::Failure } else { Exit::Ok })
}

/// The text of the file that is written into; `None` if there is none yet.
fn target_text(import: &Import) -> Result<Option<String>, Failed> {
    if import
        .into
        .extension()
        .is_none_or(|extension| extension != "toml")
    {
        return Err(Failed::new(
            Exit::Usage,
            format!("cannot write into {}", import.into.display()),
        )
        .hint("import writes TOML: name a file that ends in .toml"));
    }
    match fs_err::read_to_string(&import.into) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let json = import.into.with_file_name("axiom.json");
            if json.exists() {
                let message = format!(
                    "{} is in use here, and {} would hide it",
                    json.display(),
                    import.into.display()
                );
                return Err(Failed::new(Exit::Usage, message).hint("name another file with --into"));
            }
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn plan_all(import: &Import, target: &str, terminal: &Terminal) -> Result<(Vec<Planned>, Vec<Plan>), Failed> {
    let secrets = if import.inline_secrets {
        Secrets::Inline
    } else {
        Secrets::Moved
    };
    let mut files = Vec::new();
    let mut plans: Vec<Plan> = Vec::new();
    for path in &import.files {
        let text = fs_err::read_to_string(path)?;
        let found = read(path, &text, secrets).map_err(|error| unreadable(path, &text, error, terminal))?;
        let first = plans.len();
        let more = write::plan(target, found.drafts, &plans)
            .map_err(|problem| syntax(&import.into, target, problem, terminal))?;
        plans.extend(more);
        let file = path.display().to_string();
        files.push(Planned {
            file,
            client: found.client,
            first,
            end: plans.len(),
            skipped: found.skipped,
        });
    }
    Ok((files, plans))
}

fn unreadable(path: &Path, text: &str, error: ReadError, terminal: &Terminal) -> Failed {
    match error {
        ReadError::Syntax(problem) => syntax(path, text, problem, terminal),
        error @ ReadError::NotRecognised { .. } => {
            Failed::new(Exit::Failure, format!("{}: {error}", path.display()))
                .hint("expected `mcpServers`, `servers`, `context_servers`, `mcp_servers` or `mcp`")
        }
    }
}

fn syntax(path: &Path, text: &str, problem: Problem, terminal: &Terminal) -> Failed {
    let file = path.display().to_string();
    let details = render(&[problem], &file, text, terminal.look());
    Failed {
        details,
        ..Failed::new(Exit::Failure, format!("{file} cannot be parsed"))
    }
}

fn consent(import: &Import, plans: &[Plan], terminal: &Terminal) -> Result<bool, Failed> {
    let new = new_count(plans);
    if !import.write || new == 0 {
        return Ok(false);
    }
    // Without a person to ask, `--write` is the consent.
    if import.yes || import.json || !terminal.can_ask() {
        return Ok(true);
    }
    Ok(terminal.ask(format_args!(
        "Write {} into {}?",
        servers(new),
        import.into.display()
    ))?)
}

/// What writing changed.
struct Written {
    backup: Option<PathBuf>,
}

fn write_all(import: &Import, target: Option<&str>, plans: &[Plan]) -> Result<Written, Failed> {
    let refused = |error: write::MergeError| {
        Failed::new(
            Exit::Failure,
            format!("nothing was written to {}: {error}", import.into.display()),
        )
    };
    let text = write::merged(target.unwrap_or(NEW_FILE), plans.iter()).map_err(refused)?;
    let backup = target.map(|_| write::back_up(&import.into)).transpose()?;
    let privacy = if import.inline_secrets {
        Privacy::Owner
    } else {
        Privacy::Usual
    };
    write::replace(&import.into, &text, privacy)?;
    Ok(Written { backup })
}

/// How a file that did not exist begins.
const NEW_FILE: &str = "# The servers behind the Axiom gateway. `axiom config schema` prints every key.\n";

fn new_count(plans: &[Plan]) -> usize {
    plans.iter().filter(|plan| plan.standing == Standing::New).count()
}

fn servers(count: usize) -> String {
    if count == 1 {
        "1 server".to_owned()
    } else {
        format!("{count} servers")
    }
}

fn exports(plans: &[Plan]) -> Vec<&str> {
    let new = plans.iter().filter(|plan| plan.standing == Standing::New);
    let mut names: Vec<&str> = new
        .flat_map(|plan| &plan.draft.exports)
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn tell(import: &Import, plans: &[Plan], written: Option<&Written>, terminal: &Terminal) {
    let into = import.into.display();
    let new = new_count(plans);
    match written {
        Some(Written { backup }) => {
            terminal.say(format_args!("wrote {} into {into}", servers(new)));
            if let Some(backup) = backup {
                terminal.say(format_args!("the file before: {}", backup.display()));
            }
        }
        None if new == 0 => terminal.say(format_args!("nothing new for {into}")),
        None if import.write => terminal.say("nothing was written"),
        None => terminal.say(format_args!(
            "{} add --write to put this into {into}",
            terminal.bold("hint:")
        )),
    }
    let exports = exports(plans);
    if !exports.is_empty() {
        terminal.say("values left out of the file; set them where axiom starts:");
        for name in exports {
            terminal.say(format_args!("  export {}=...", visible(name)));
        }
    }
}

fn report(
    import: &Import,
    files: &[Planned],
    plans: &[Plan],
    written: Option<&Written>,
) -> serde_json::Value {
    let files: Vec<serde_json::Value> = files
        .iter()
        .map(|planned| {
            let plans = plans.get(planned.first..planned.end).unwrap_or_default();
            preview::json(&planned.file, planned.client.name(), plans, &planned.skipped)
        })
        .collect();
    json!({
        "into": import.into.display().to_string(),
        "written": written.is_some(),
        "backup": written.and_then(|written| written.backup.as_ref()).map(|path| path.display().to_string()),
        "exports": exports(plans),
        "files": files,
    })
}
