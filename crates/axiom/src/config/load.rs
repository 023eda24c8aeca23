//! Which file holds the configuration, and reading it. The only place where configuration meets files and the process
//! environment.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use axiom_gateway::options::{Endpoint, Options};

use crate::events_server;

use super::{Config, Decoded, Format, Look, Problem, decode, keys, listen_of, render};

/// Where the configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    File(PathBuf),
    /// No file anywhere: the built-in demo server, so that the first run shows something real.
    Demo,
}

/// Files looked for in the current directory when none is named, in this order.
pub const DEFAULT_FILES: &[&str] = &["axiom.toml", "axiom.json", ".mcp.json"];

/// The named file, or the first default one that exists, or the demo.
pub fn discover(named: Option<&Path>) -> Source {
    let default = || {
        DEFAULT_FILES
            .iter()
            .map(PathBuf::from)
            .find(|path| path.is_file())
    };
    named
        .map(Path::to_path_buf)
        .or_else(default)
        .map_or(Source::Demo, Source::File)
}

impl Source {
    /// The file, if it can be read once more: what came through a pipe is gone, and the next reading would find it empty.
    pub fn rereadable(&self) -> Option<&Path> {
        match self {
            Source::File(path) if path.is_file() => Some(path),
            Source::File(_) | Source::Demo => None,
        }
    }
}

/// A file that was read, with everything needed to speak about it.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<Problem>,
    pub text: String,
}

/// Why a file gives no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("there is no file {}", path.display())]
    NotFound { path: PathBuf },
    #[error(transparent)]
    Read { source: std::io::Error },
    /// The text was read and is wrong.
    #[error("{} has {}", path.display(), count(problems))]
    Invalid {
        path: PathBuf,
        text: String,
        problems: Vec<Problem>,
    },
}

impl LoadError {
    /// The problems with their places, drawn for people; nothing when the file could not even be read.
    pub fn details(&self, look: Look) -> String {
        match self {
            LoadError::Invalid { path, text, problems } => {
                render(problems, &path.display().to_string(), text, look)
            }
            _ => String::new(),
        }
    }

    /// The address that the file asks for, if that much can be read of it.
    pub fn listen(&self) -> Option<SocketAddr> {
        match self {
            LoadError::Invalid { path, text, .. } => listen_of(text, format_of(path), &from_process),
            _ => None,
        }
    }
}

/// What a file is called wherever one stands: absolute, and without links in the path to its folder. A link to the file
/// itself stays, since whoever mounts configuration turns it with every change.
pub fn full_name(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let folder = absolute
        .parent()
        .and_then(|folder| fs_err::canonicalize(folder).ok());
    let full = match (folder, absolute.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => absolute,
    };
    full.display().to_string()
}

/// "1 error", "3 errors and 1 warning".
pub fn count(problems: &[Problem]) -> String {
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    let plural = |count: usize, word: &str| match count {
        1 => format!("1 {word}"),
        _ => format!("{count} {word}s"),
    };
    match (errors, problems.len() - errors) {
        (errors, 0) => plural(errors, "error"),
        (0, warnings) => plural(warnings, "warning"),
        (errors, warnings) => format!("{} and {}", plural(errors, "error"), plural(warnings, "warning")),
    }
}

/// By the name of the file: `.toml` is TOML, anything else JSON.
pub fn format_of(path: &Path) -> Format {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => Format::Toml,
        _ => Format::Json,
    }
}

/// Reads and decodes a file, and the file of keys that it names. Relative paths are taken from where the file stands.
///
/// # Errors
/// A file that cannot be read, or all the problems of one that can.
pub fn load(path: &Path) -> Result<Loaded, LoadError> {
    let text = fs_err::read_to_string(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => LoadError::NotFound {
            path: path.to_path_buf(),
        },
        _ => LoadError::Read { source },
    })?;
    let Decoded { config, mut problems } = decode(&text, format_of(path), &from_process);
    let folder = path.parent().unwrap_or(Path::new(""));
    let config = config.and_then(|config| with_keys(config, folder, &mut problems));
    match config {
        Some(mut config) => {
            anchor(&mut config.options, folder);
            #[cfg(target_os = "linux")]
            if let Some(tasks) = &mut config.tasks {
                tasks.anchor(folder);
            }
            #[cfg(target_os = "linux")]
            config.agents.anchor(folder);
            events_server::plug_in(&mut config);
            config.options.config_file = Some(full_name(path));
            Ok(Loaded {
                config,
                warnings: problems,
                text,
            })
        }
        None => Err(LoadError::Invalid {
            path: path.to_path_buf(),
            text,
            problems,
        }),
    }
}

fn from_process(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads the keys; `None`, and a problem more, if that fails.
fn with_keys(mut config: Config, folder: &Path, problems: &mut Vec<Problem>) -> Option<Config> {
    let Some(file) = &mut config.key_file else {
        return Some(config);
    };
    file.path = folder.join(&file.path);
    match keys::load(file) {
        Ok((keys, warning)) => {
            config.options.keys = keys;
            problems.extend(warning);
            Some(config)
        }
        Err(problem) => {
            problems.push(problem);
            None
        }
    }
}

fn anchor(options: &mut Options, directory: &Path) {
    if let Some(events) = &mut options.events {
        events.dir = directory.join(&events.dir);
    }
    for server in options.servers.values_mut() {
        if let Endpoint::Stdio { cwd: Some(cwd), .. } = &mut server.endpoint
            && cwd.is_relative()
        {
            *cwd = directory.join(&cwd);
        }
    }
}
