//! The file of keys: one base64 key on each line, the first of which seals. Empty lines and lines with `#` are passed over.

use std::path::{Path, PathBuf};

use axiom_gateway::options::{SealKey, SealKeyError};

use super::Problem;
use super::tree::Span;

/// Where the keys are, and where the configuration says so.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyFile {
    /// As it was written; once the configuration is loaded, from where its file stands.
    pub path: PathBuf,
    pub span: Span,
}

/// Why a text gives no keys. A key is never shown.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeysError {
    #[error("line {line} is no key: {why}")]
    Line { line: usize, why: SealKeyError },
    #[error("line {line} is the same key as line {first}")]
    Twice { line: usize, first: usize },
    #[error("there is no key in it")]
    Empty,
    #[error("there are more than {KEYS_MAX} keys in it")]
    TooMany,
}

/// Keys that are tried for each token; a rotation needs two or three.
const KEYS_MAX: usize = 64;

/// Reads the text of a key file.
///
/// # Errors
/// The first thing that is wrong with it.
pub(super) fn parse(text: &str) -> Result<Vec<SealKey>, KeysError> {
    let mut keys: Vec<(usize, SealKey)> = Vec::new();
    for (index, text) in text.lines().enumerate() {
        let (line, text) = (index + 1, text.trim());
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let key = SealKey::parse(text).map_err(|why| KeysError::Line { line, why })?;
        if let Some((first, _)) = keys.iter().find(|(_, known)| *known == key) {
            return Err(KeysError::Twice { line, first: *first });
        }
        if keys.len() == KEYS_MAX {
            return Err(KeysError::TooMany);
        }
        keys.push((line, key));
    }
    if keys.is_empty() {
        return Err(KeysError::Empty);
    }
    Ok(keys.into_iter().map(|(_, key)| key).collect())
}

/// The keys of the file, and what a person should know about it.
pub(super) fn load(file: &KeyFile) -> Result<(Vec<SealKey>, Option<Problem>), Problem> {
    let path = file.path.as_path();
    let failed = |message: String| {
        Problem::error(&file.span, message, "the file of keys")
            .help("`axiom key new --into FILE` puts a fresh key into a file")
    };
    let text =
        fs_err::read_to_string(path).map_err(|error| failed(format!("`gateway.key_file`: {error}")))?;
    let shown = path.display();
    let keys = parse(&text).map_err(|error| failed(format!("`gateway.key_file`: in {shown} {error}")))?;
    let warning = is_open_to_others(path).then(|| {
        let message = format!("`gateway.key_file`: everybody on this machine can read {shown}");
        Problem::warning(&file.span, message, "the file of keys")
            .help("whoever has a key can make session ids of any client; `chmod 600` keeps it to its owner")
    });
    Ok((keys, warning))
}

#[cfg(unix)]
fn is_open_to_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    // A group may be the gateway's own, as with mounted secrets.
    fs_err::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o007 != 0)
}

#[cfg(not(unix))]
fn is_open_to_others(_path: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_keys_in_order() {
        let [a, b] = [SealKey::random(), SealKey::random()];
        let text = format!("# new\n{}\r\n\n  {}  \n", a.to_text(), b.to_text());
        assert_eq!(parse(&text), Ok(vec![a.clone(), b.clone()]));
        let (a, b) = (a.to_text(), b.to_text());
        for (text, why) in [
            (String::new(), "there is no key in it"),
            ("# none\n".to_owned(), "there is no key in it"),
            (
                format!("{a}\n# x\nsecret\n"),
                "line 3 is no key: not standard base64",
            ),
            (
                format!("{a}\nc2hvcnQ=\n"),
                "line 2 is no key: a key of 5 bytes, not of 32",
            ),
            (format!("{a}\n{b}\n{a}"), "line 3 is the same key as line 1"),
        ] {
            assert_eq!(
                parse(&text).map_err(|error| error.to_string()),
                Err(why.to_owned())
            );
        }
        let many: String = (0..=KEYS_MAX)
            .map(|_| SealKey::random().to_text() + "\n")
            .collect();
        assert_eq!(parse(&many), Err(KeysError::TooMany));
    }
}
