//! `cargo xtask readme`: runs what README.md tells a newcomer to type, and compares what is printed.
//!
//! A block marked `console` holds commands (`$ ...`) and what they print. `[..]` in a line stands for anything, a line
//! `...` for any number of lines. A `toml` block that begins with a comment `# axiom.toml` must pass `axiom config check`.
//! Blocks marked `sh` and `json` are for other programs and are not run.

mod page;
pub(crate) mod server;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use clap::Parser as _;
use fs_err as fs;

use crate::{Arguments, setup, workspace};
use page::Step;

const PAGE: &str = "README.md";

pub(crate) fn run() -> anyhow::Result<()> {
    let text = fs::read_to_string(workspace::root().join(PAGE))?;
    let axiom = match std::env::var_os("AXIOM_BIN") {
        Some(built) => PathBuf::from(built),
        None => workspace::build_binary("axiom", "dev")?,
    };
    let place = Place::new(&axiom)?;
    let steps = page::steps(&text);
    ensure!(!steps.is_empty(), "{PAGE} has no console block");
    for step in &steps {
        check(step, &place).with_context(|| format!("{PAGE}:{}: {}", step.line, step.command))?;
    }
    let configurations = page::configurations(&text);
    for (line, configuration) in &configurations {
        check_configuration(configuration, &place).with_context(|| format!("{PAGE}:{line}: axiom.toml"))?;
    }
    println!(
        "readme: {} commands and {} axiom.toml do what the page says",
        steps.len(),
        configurations.len()
    );
    Ok(())
}

/// The words of the first command on the page: what a newcomer types first.
pub(crate) fn first_command() -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(workspace::root().join(PAGE))?;
    let first = page::steps(&text)
        .into_iter()
        .next()
        .context("the page has no command")?;
    Ok(page::words(&first.command, "~"))
}

/// An empty folder that is both home and working directory: the page is for a fresh machine.
struct Place {
    folder: PathBuf,
    axiom: PathBuf,
}

impl Place {
    fn new(axiom: &Path) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("axiom-readme-{}", std::process::id()));
        fs::create_dir_all(folder.join(".cursor"))?;
        fs::write(folder.join(".cursor/mcp.json"), sample_import()?)?;
        Ok(Place {
            folder,
            axiom: axiom.to_path_buf(),
        })
    }

    fn axiom(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.axiom);
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env("HOME", &self.folder)
            .env("NO_COLOR", "1");
        command.env_remove("XDG_CONFIG_HOME").stdin(Stdio::null());
        command
    }
}

/// A client's configuration for the page to import, with a server that setup has installed.
fn sample_import() -> anyhow::Result<String> {
    let bed = match std::env::var_os("AXIOM_BED") {
        Some(bed) => PathBuf::from(bed),
        None => setup::Places::find()?.bed,
    };
    let server = bed.join("python-main/bin/mcp-server-time");
    ensure!(
        server.exists(),
        "{} is not there\nhint: run `cargo xtask setup`",
        server.display()
    );
    let time = serde_json::json!({ "command": server, "args": ["--local-timezone", "UTC"] });
    Ok(serde_json::json!({ "mcpServers": { "time": time } }).to_string())
}

impl Drop for Place {
    fn drop(&mut self) {
        // Best effort: what is left in the system's temporary folder harms nobody.
        drop(fs::remove_dir_all(&self.folder));
    }
}

fn check(step: &Step, place: &Place) -> anyhow::Result<()> {
    let words: Vec<String> = page::words(&step.command, &place.folder.to_string_lossy());
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        // The literal command is what `cargo xtask cold` builds and times; here the same program runs, built for tests.
        ["cargo", "run", "--release", rest @ ..] => {
            let rest = rest.strip_prefix(&["--"]).unwrap_or(rest);
            server::answers(|listen| place.axiom(&[rest, listen].concat()), &step.expected)
        }
        // Running the tests from a test would not end; that the words parse and that CI types them can be checked.
        ["cargo", "xtask", rest @ ..] => {
            Arguments::try_parse_from([&["cargo xtask"], rest].concat())?;
            let ci = fs::read_to_string(workspace::root().join(".ci/run"))?;
            let typed = *rest != ["test"] || ci.lines().any(|line| line.trim() == step.command);
            ensure!(typed, ".ci/run does not run this command");
            Ok(())
        }
        ["axiom", "up", ..] | ["axiom"] => server::answers(
            |listen| place.axiom(&[words.get(1..).unwrap_or_default(), listen].concat()),
            &step.expected,
        ),
        ["axiom", rest @ ..] => prints(place.axiom(rest), &step.expected),
        _ => bail!("nobody knows how to check this command; is it one of ours?"),
    }
}

fn prints(mut command: Command, expected: &[String]) -> anyhow::Result<()> {
    let output = command.output().context("failed to start axiom")?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "ended with {}:\n{stdout}{stderr}",
        output.status
    );
    // A terminal shows both, in this order for everything the page shows.
    let lines: Vec<&str> = stderr.lines().chain(stdout.lines()).collect();
    ensure!(
        page::matches(expected, &lines),
        "the page says\n{}\nand it printed\n{}",
        expected.join("\n"),
        lines.join("\n")
    );
    Ok(())
}

fn check_configuration(text: &str, place: &Place) -> anyhow::Result<()> {
    let path = place.folder.join("readme.toml");
    fs::write(&path, text)?;
    let output = place
        .axiom(&["config", "check", "--config", "readme.toml"])
        .env("TOKEN", "secret")
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_tells_the_truth() -> anyhow::Result<()> {
        super::run()
    }
}
