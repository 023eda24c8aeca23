//! The servers that stand side by side in a measurement: each a process of its own on the loopback interface.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use axiom_testkit::echo::Eras;

use crate::{process, request::Dialect};

mod nginx;
pub(crate) mod rivals;

/// A running server, ready to answer. Dropping it ends its process.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    path: String,
    prefix: &'static str,
    child: Child,
}

impl Subject {
    pub(crate) fn dialect(&self, modern: bool) -> Dialect {
        Dialect {
            modern,
            path: self.path.clone(),
            prefix: self.prefix.to_owned(),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process and its children, as of now.
    pub(crate) fn pids(&self) -> Vec<u32> {
        process::tree(self.child.id())
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        process::stop(&mut self.child, Duration::from_secs(3));
    }
}

/// Configuration files and logs of the subjects. Removed at the end.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> anyhow::Result<Folder> {
        // The port is free, so no other folder that lives now has this name.
        let unique = format!("axiom-bench-{}-{}", std::process::id(), free_port()?);
        let path = std::env::temp_dir().join(unique);
        fs::create_dir(&path).with_context(|| format!("failed to create {}", path.display()))?;
        Ok(Folder(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    fn write(&self, name: &str, content: &str) -> anyhow::Result<PathBuf> {
        let path = self.0.join(name);
        fs::write(&path, content).with_context(|| format!("failed to write {}", path.display()))?;
        Ok(path)
    }

    /// Where the talk of a subject goes; its end is shown if the subject does not start.
    fn log(&self, name: &str) -> anyhow::Result<(PathBuf, fs::File)> {
        let path = self.0.join(format!("{name}.log"));
        let file = fs::File::create(&path).with_context(|| format!("failed to create {}", path.display()))?;
        Ok((path, file))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// The upstream: what everything else stands in front of.
pub(crate) fn echo(folder: &Folder, eras: Eras) -> anyhow::Result<Subject> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([
        "echo",
        "--mode",
        "session",
        "--eras",
        match eras {
            Eras::Legacy => "legacy",
            Eras::Modern => "modern",
            Eras::Dual => "dual",
        },
    ]);
    announced("direct", "", command, folder)
}

/// The command line of an upstream that speaks stdio.
pub(crate) fn stdio_echo() -> anyhow::Result<Vec<String>> {
    let bench = std::env::current_exe()?;
    let bench = bench.to_str().context("the path of this program is not text")?;
    Ok(vec![
        bench.to_owned(),
        "echo".to_owned(),
        "--stdio".to_owned(),
        "--eras".to_owned(),
        "legacy".to_owned(),
    ])
}

/// The plain hyper proxy.
pub(crate) fn floor(folder: &Folder, upstream: &Subject, workers: usize) -> anyhow::Result<Subject> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([
        "floor",
        "--upstream",
        &upstream.address.to_string(),
        "--threads",
        &workers.to_string(),
    ]);
    announced("floor", "", command, folder)
}

/// nginx as a raw reverse proxy with as many workers.
pub(crate) fn nginx(folder: &Folder, upstream: &Subject, workers: usize) -> anyhow::Result<Subject> {
    let port = free_port()?;
    let command = nginx::command(folder, upstream.address, port, workers)?;
    listening("nginx", command, port, folder)
}

/// Where the gateway's upstream is.
#[derive(Debug, Clone)]
pub(crate) enum Upstream {
    Http(String),
    Stdio(Vec<String>),
}

/// The gateway in front of one server, which it calls `echo`.
pub(crate) fn axiom(folder: &Folder, binary: &Path, upstream: &Upstream) -> anyhow::Result<Subject> {
    announced(
        "axiom",
        "echo__",
        axiom_command(folder, binary, upstream)?,
        folder,
    )
}

/// The same, with every call recorded in `folder`.
pub(crate) fn recording_axiom(
    folder: &Folder,
    binary: &Path,
    upstream: &Upstream,
) -> anyhow::Result<Subject> {
    let command = axiom_command_with(folder, binary, upstream, "\n[events]\ndir = \"events\"\n")?;
    announced("recording", "echo__", command, folder)
}

/// The same, with tasks as they are where nobody says more.
pub(crate) fn tasking_axiom(folder: &Folder, binary: &Path, upstream: &Upstream) -> anyhow::Result<Subject> {
    let command = axiom_command_with(folder, binary, upstream, "\n[tasks]\ndir = \"tasks\"\n")?;
    announced("tasking", "echo__", command, folder)
}

/// The gateway's command line, with its configuration written to `folder`.
pub(crate) fn axiom_command(folder: &Folder, binary: &Path, upstream: &Upstream) -> anyhow::Result<Command> {
    axiom_command_with(folder, binary, upstream, "")
}

fn axiom_command_with(
    folder: &Folder,
    binary: &Path,
    upstream: &Upstream,
    more: &str,
) -> anyhow::Result<Command> {
    let server = match upstream {
        Upstream::Http(url) => format!("url = {url:?}"),
        Upstream::Stdio(command) => format!("command = {command:?}"),
    };
    let config = format!("[gateway]\nlisten = \"127.0.0.1:0\"\n\n[servers.echo]\n{server}\n{more}");
    let config = folder.write("axiom.toml", &config)?;
    let mut command = Command::new(binary);
    // An empty folder: what lies in the current one is no part of the measurement.
    command
        .args(["up", "--json", "--config"])
        .arg(config)
        .current_dir(folder.path());
    Ok(command)
}

/// Starts a program that prints one line of JSON with its address when it is ready.
fn announced(
    name: &'static str,
    prefix: &'static str,
    mut command: Command,
    folder: &Folder,
) -> anyhow::Result<Subject> {
    let (log, file) = folder.log(name)?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
    let mut child = command
        .spawn()
        .with_context(|| format!("failed to start {name}"))?;
    match listening_url(&mut child).and_then(|url| parse_url(&url)) {
        Ok((address, path)) => Ok(Subject {
            name,
            address,
            path,
            prefix,
            child,
        }),
        Err(error) => {
            process::stop(&mut child, Duration::ZERO);
            Err(error.context(format!(
                "{name} did not start; its last words: {}",
                last_words(&log)
            )))
        }
    }
}

/// Waits for `{"event":"listening","mcp":"http://..."}`, and lets nothing block the child's stdout afterwards.
///
/// # Errors
/// The child ended, or said nothing for 30 seconds.
pub(crate) fn listening_url(child: &mut Child) -> anyhow::Result<String> {
    let stdout = child.stdout.take().context("stdout is piped")?;
    let (tx, rx) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            if line["event"] == "listening"
                && let Some(url) = line["mcp"].as_str()
            {
                // Only the first counts, and only while someone waits.
                tx.try_send(url.to_owned()).ok();
            }
        }
    });
    rx.recv_timeout(Duration::from_secs(30))
        .context("it never said where it listens")
}

/// The address and the path of `http://127.0.0.1:1234/mcp`.
pub(crate) fn parse_url(url: &str) -> anyhow::Result<(SocketAddr, String)> {
    let rest = url
        .strip_prefix("http://")
        .with_context(|| format!("{url} does not start with http://"))?;
    let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address = address.replace("localhost", "127.0.0.1");
    let address = address
        .parse()
        .with_context(|| format!("{url} has no IP address and port"))?;
    Ok((address, format!("/{path}")))
}

/// Starts a program that says nothing, and waits until its port is open.
fn listening(
    name: &'static str,
    mut command: Command,
    port: u16,
    folder: &Folder,
) -> anyhow::Result<Subject> {
    let (log, file) = folder.log(name)?;
    let (out, err) = (file.try_clone()?, file);
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    let mut child = command
        .spawn()
        .with_context(|| format!("failed to start {name}"))?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let deadline = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(address).is_err() {
        if child.try_wait()?.is_some() || Instant::now() > deadline {
            process::stop(&mut child, Duration::ZERO);
            bail!("{name} did not start; its last words: {}", last_words(&log));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(Subject {
        name,
        address,
        path: "/mcp".to_owned(),
        prefix: "",
        child,
    })
}

fn last_words(log: &Path) -> String {
    let log = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    let last = lines
        .get(lines.len().saturating_sub(8)..)
        .unwrap_or_default()
        .join("\n");
    if last.is_empty() {
        "(none)".to_owned()
    } else {
        last
    }
}

/// A port that was free a moment ago, for programs that cannot choose one and tell.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_an_address_and_a_path() {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        assert_eq!(
            parse_url("http://127.0.0.1:80/s/x/mcp").expect("valid"),
            (address, "/s/x/mcp".to_owned())
        );
        assert_eq!(
            parse_url("http://localhost:80").expect("valid"),
            (address, "/".to_owned())
        );
        parse_url("https://127.0.0.1:80/mcp").expect_err("no TLS");
    }

    #[test]
    fn a_subject_that_does_not_start_says_why() {
        let folder = Folder::new().expect("a folder");
        let mut command = Command::new("sh");
        command.args(["-c", "echo out of luck >&2"]);
        let error = format!(
            "{:#}",
            announced("axiom", "", command, &folder).expect_err("it ends")
        );
        assert!(error.contains("out of luck"), "{error}");
    }
}
