//! `axiom key new`: a fresh key for `gateway.key_file`.

use std::io::Write as _;
use std::path::Path;

use axiom_gateway::options::SealKey;
use serde_json::json;

use crate::cli::{KeyCommand, NewKey};
use crate::outcome::{Exit, Failed};
use crate::terminal::Terminal;

pub fn run(command: &KeyCommand, terminal: &Terminal) -> Result<Exit, Failed> {
    let KeyCommand::New(NewKey { into, json }) = command;
    let key = SealKey::random().to_text();
    match into {
        None if *json => terminal.data(json!({ "key": key }))?,
        None => terminal.data(&key)?,
        Some(path) => {
            let lines = append(path, &key)?;
            let file = path.display();
            if *json {
                terminal.data(json!({ "into": file.to_string(), "keys": lines }))?;
            } else if lines == 1 {
                terminal.say(format_args!("a key is in {file} now"));
            } else {
                terminal.say(format_args!(
                    "a key is in the last line of {file} now: it opens; moved to the first line, it seals"
                ));
            }
        }
    }
    Ok(Exit::Ok)
}

/// Puts a line at the end of a file that nobody else may read if it is new. Returns how many keys there are then.
fn append(path: &Path, key: &str) -> std::io::Result<usize> {
    let before = match fs_err::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    let mut options = fs_err::OpenOptions::new();
    options.append(true).create(true);
    only_owner(&mut options);
    let glue = if before.is_empty() || before.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    options
        .open(path)?
        .write_all(format!("{glue}{key}\n").as_bytes())?;
    let is_key = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with('#');
    Ok(before.lines().filter(is_key).count() + 1)
}

#[cfg(unix)]
fn only_owner(options: &mut fs_err::OpenOptions) {
    use fs_err::os::unix::fs::OpenOptionsExt as _;
    options.mode(0o600);
}

#[cfg(not(unix))]
fn only_owner(_options: &mut fs_err::OpenOptions) {}
