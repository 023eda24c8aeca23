//! `axiom config check` and `axiom config schema`.

use serde_json::json;

use crate::cli::{Check, ConfigCommand};
use crate::config::load::{LoadError, Source, discover, load};
use crate::config::{Problem, render, schema};
use crate::outcome::{Exit, Failed};
use crate::terminal::Terminal;

pub fn run(command: &ConfigCommand, terminal: &Terminal) -> Result<Exit, Failed> {
    match command {
        ConfigCommand::Schema(_) => {
            terminal.data(schema::text().trim_end())?;
            Ok(Exit::Ok)
        }
        ConfigCommand::Check(check) => self::check(check, terminal),
    }
}

fn check(check: &Check, terminal: &Terminal) -> Result<Exit, Failed> {
    let Source::File(path) = discover(check.file.config.as_deref()) else {
        return Err(Failed::new(Exit::NotFound, "there is no configuration file here")
            .hint("looked for axiom.toml, axiom.json and .mcp.json; name one with --config"));
    };
    let file = path.display().to_string();
    match load(&path) {
        Ok(loaded) => {
            let servers = loaded.config.options.servers.len();
            let views = loaded.config.options.views.len();
            if check.json {
                terminal.data(report(&file, true, &loaded.warnings, &loaded.text))?;
            } else {
                if !loaded.warnings.is_empty() {
                    terminal.say(render(&loaded.warnings, &file, &loaded.text, terminal.look()).trim_end());
                }
                let off = match loaded.config.disabled.len() {
                    0 => String::new(),
                    count => format!(" ({count} disabled)"),
                };
                terminal.say(format_args!(
                    "{file} is fine: servers {servers}{off}, views {views}"
                ));
            }
            Ok(Exit::Ok)
        }
        Err(LoadError::Invalid { problems, text, .. }) if check.json => {
            terminal.data(report(&file, false, &problems, &text))?;
            Ok(Exit::Failure)
        }
        Err(error) => Err(Failed::from_load(&error, terminal)),
    }
}

fn report(file: &str, valid: bool, problems: &[Problem], text: &str) -> serde_json::Value {
    let problems: Vec<serde_json::Value> = problems
        .iter()
        .map(|problem| {
            let (line, column) = problem.position(text);
            json!({
                "level": if problem.is_error() { "error" } else { "warning" },
                "message": problem.message,
                "label": problem.label,
                "help": problem.help,
                "line": line,
                "column": column,
                "start": problem.span.start,
                "end": problem.span.end,
            })
        })
        .collect();
    json!({"file": file, "valid": valid, "problems": problems})
}
