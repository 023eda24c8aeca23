//! `axiom attach`.

use std::fmt;

use clap::Args;

use super::TasksFolder;

pub(super) const ATTACH_HELP: &str = "The task's last screenful comes first. A task with a terminal (axiom run --terminal) then has yours: every key goes to it, ctrl-C \
    too, it learns your terminal's size, and what it says goes to your terminal unchanged. It is not cleaned as everywhere else: such a \
    task can set your terminal's title, or its clipboard where the terminal allows that. Attach to tasks that you would run yourself.

A task without a terminal gets the lines that you type, ctrl-D closes its input, and ctrl-C interrupts it.

The exit code is the task's if it ends meanwhile, and 0 if you detach.";

#[derive(Debug, Args)]
pub struct Attach {
    /// The task, by the beginning of its id
    #[arg(value_name = "TASK")]
    pub task: String,

    /// The key that leaves the task alone: ctrl-a to ctrl-z, ctrl-], ctrl-\, ctrl-^, ctrl-_, or `none`
    #[arg(long, value_name = "KEY", default_value = "ctrl-]", value_parser = parse_key)]
    pub detach_key: DetachKey,

    /// Only look: nothing is put in, and the size of its terminal stays
    #[arg(long)]
    pub read_only: bool,

    #[command(flatten)]
    pub folder: TasksFolder,
}

/// A control character, if there is to be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DetachKey(pub Option<u8>);

impl Default for DetachKey {
    fn default() -> Self {
        DetachKey(Some(0x1d))
    }
}

impl fmt::Display for DetachKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(byte) => write!(f, "ctrl-{}", char::from(byte | 0x40).to_ascii_lowercase()),
            None => f.write_str("none"),
        }
    }
}

fn parse_key(text: &str) -> Result<DetachKey, String> {
    if text == "none" {
        return Ok(DetachKey(None));
    }
    let key = text.strip_prefix("ctrl-").or_else(|| text.strip_prefix('^'));
    match key.map(str::as_bytes) {
        // Enter and Tab are keys that tasks need.
        Some(b"i" | b"j" | b"m" | b"I" | b"J" | b"M") => {
            Err(format!("{text} is Tab or Enter, which the task needs"))
        }
        Some([byte]) if byte.is_ascii_alphabetic() || matches!(byte, b']' | b'\\' | b'^' | b'_') => {
            Ok(DetachKey(Some(byte & 0x1f)))
        }
        _ => Err(format!(
            "{text:?} is no such key; keys are like ctrl-], ctrl-a, ctrl-\\"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_control_characters() {
        let check = |text: &str, expected: Option<Option<u8>>| {
            let key = parse_key(text).ok();
            assert_eq!(key.map(|key| key.0), expected, "{text}");
            if let Some(key) = key {
                assert_eq!(parse_key(&key.to_string()), Ok(key));
            }
        };
        check("ctrl-]", Some(Some(0x1d)));
        check("ctrl-\\", Some(Some(0x1c)));
        check("ctrl-a", Some(Some(1)));
        check("^Q", Some(Some(17)));
        check("none", Some(None));
        for bad in ["", "x", "ctrl-", "ctrl-1", "ctrl-ab", "ctrl-m", "alt-x"] {
            check(bad, None);
        }
        assert_eq!(DetachKey::default().to_string(), "ctrl-]");
    }
}
