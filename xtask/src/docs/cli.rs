//! docs/reference/cli.md: the help of every command, in the order in which `axiom --help` lists them.

use std::fmt::Write as _;

use super::NOTICE;

/// The page; `ask` runs the binary with the given arguments and returns what it prints.
pub(crate) fn page(ask: impl Fn(&[&str]) -> anyhow::Result<String>) -> anyhow::Result<String> {
    let mut page = format!("{NOTICE}\n\n# Command line\n");
    let mut waiting: Vec<Vec<String>> = vec![Vec::new()];
    while let Some(command) = waiting.pop() {
        let arguments: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
        let help = ask(&arguments)?;
        let name = [&["axiom".to_owned()], command.as_slice()].concat().join(" ");
        write!(page, "\n## `{name}`\n\n```text\n{}\n```\n", trimmed(&help))?;
        // Taken from the end: the first subcommand must be pushed last.
        waiting.extend(
            subcommands(&help)
                .into_iter()
                .rev()
                .map(|sub| [command.as_slice(), &[sub]].concat()),
        );
    }
    Ok(page)
}

/// Names under `Commands:`; `help` only repeats the others.
fn subcommands(help: &str) -> Vec<String> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        // A deeper line is the rest of the description above it.
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

fn trimmed(help: &str) -> String {
    help.trim_end()
        .lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_asked_in_reading_order() -> anyhow::Result<()> {
        let page = page(|arguments| {
            Ok(match arguments {
                ["--help"] => "Many servers\n\nCommands:\n  config  Check it\n          or print its schema\n  up      Run\n  help    Print\n\nOptions:\n  -h\n",
                ["config", "--help"] => "Commands:\n  schema  Print\n",
                _ => "Usage: ...   \n",
            }
            .to_owned())
        })?;
        let headings: Vec<&str> = page.lines().filter(|line| line.starts_with("## ")).collect();
        assert_eq!(
            headings,
            [
                "## `axiom`",
                "## `axiom config`",
                "## `axiom config schema`",
                "## `axiom up`"
            ]
        );
        assert!(page.contains("```text\nUsage: ...\n```"));
        Ok(())
    }
}
