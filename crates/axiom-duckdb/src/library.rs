//! The library itself: loading it, and whether it is one that we can talk to.
#![allow(unsafe_code, reason = "loading a library runs its code")]

use std::ffi::{CStr, OsStr, c_char};
use std::fmt;
use std::sync::Arc;

use crate::api::Api;

/// Older versions cannot give their rows as Arrow without functions that DuckDB means to remove.
pub const VERSION_MIN: Version = Version { major: 1, minor: 4 };

/// A version, as far as it says what can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// DuckDB, loaded. It stays in the process until that ends: its threads leave code behind that runs when they end.
#[derive(Clone)]
pub struct Library {
    pub(crate) api: Arc<Api>,
    version: Version,
    release: String,
}

/// Why a library is not used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("{0}")]
    Open(String),
    #[error("it is no DuckDB: {0}")]
    Foreign(String),
    #[error(
        "it is DuckDB {found}, and {VERSION_MIN} or newer is needed: older ones do not give rows as Arrow"
    )]
    Old { found: String },
    #[error("it is DuckDB {found}, which lacks a function: {missing}")]
    Lacks { found: String, missing: String },
}

impl Library {
    /// Loads the library at a path, or of a name that the system's loader knows. Whoever names it vouches for it, as for a
    /// program that is started: its code runs in this process.
    ///
    /// # Errors
    /// When there is none, it is not DuckDB's, or it is too old.
    pub fn load(path: impl AsRef<OsStr>) -> Result<Library, LoadError> {
        // SAFETY: DuckDB's library has no initializers but its own, and they ask nothing of us. That the file is DuckDB's is
        // the caller's word, above.
        let library = unsafe { libloading::Library::new(path.as_ref()) }
            .map_err(|error| LoadError::Open(words(&error)))?;
        let release = release(&library).map_err(|error| LoadError::Foreign(words(&error)))?;
        let version = match parsed(&release) {
            Some(version) if version >= VERSION_MIN => version,
            _ => return Err(LoadError::Old { found: release }),
        };
        // SAFETY: it says that it is DuckDB of such a version, and the line below keeps it.
        let api = unsafe { Api::find(&library) };
        std::mem::forget(library);
        match api {
            Ok(api) => Ok(Library {
                api: Arc::new(api),
                version,
                release,
            }),
            Err(error) => Err(LoadError::Lacks {
                found: release,
                missing: words(&error),
            }),
        }
    }

    pub fn version(&self) -> Version {
        self.version
    }

    /// As the library says it, like `v1.5.6`.
    pub fn release(&self) -> &str {
        &self.release
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Library").field(&self.release).finish()
    }
}

/// What the system says; the error itself says only which of its functions said so.
fn words(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

fn release(library: &libloading::Library) -> Result<String, libloading::Error> {
    // SAFETY: a function of this name is DuckDB's; it takes nothing and gives a text that is never freed.
    let text = unsafe {
        let function = library.get::<unsafe extern "C" fn() -> *const c_char>("duckdb_library_version")?;
        CStr::from_ptr(function())
    };
    Ok(text.to_string_lossy().into_owned())
}

fn parsed(text: &str) -> Option<Version> {
    let mut parts = text.strip_prefix('v').unwrap_or(text).split('.');
    Some(Version {
        major: parts.next()?.parse().ok()?,
        minor: parts.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (text, is_enough) in [
            ("v1.5.6", true),
            ("v1.4.0", true),
            ("v1.10.0-dev12", true),
            ("2.0.1", true),
            ("v1.3.2", false),
            ("v0.10.3", false),
        ] {
            assert_eq!(parsed(text).unwrap() >= VERSION_MIN, is_enough, "{text}");
        }
        assert_eq!(parsed("development"), None);
    }

    #[test]
    fn what_is_no_library_of_duckdbs_is_refused() {
        let absent = Library::load("/nowhere/libduckdb.so").unwrap_err();
        assert!(matches!(absent, LoadError::Open(_)), "{absent}");
        assert!(absent.to_string().contains("/nowhere/libduckdb.so"), "{absent}");
        if cfg!(target_os = "linux") {
            let foreign = Library::load("libc.so.6").unwrap_err();
            assert!(matches!(foreign, LoadError::Foreign(_)), "{foreign}");
        }
    }
}
