//! Where DuckDB's library is looked for. It does not come with Axiom, and nothing else needs it.

use std::path::{Path, PathBuf};

use axiom_duckdb::{Library, LoadError};

use crate::fault::{Code, Fault};

/// Names the library's file.
pub const VARIABLE: &str = "AXIOM_DUCKDB_LIBRARY";

/// As the system calls it.
const FILE: &str = if cfg!(target_os = "macos") {
    "libduckdb.dylib"
} else {
    "libduckdb.so"
};

/// How to come by it.
const HINT: &str = "DuckDB's releases have it in libduckdb-linux-amd64.zip and its like; so has the npm package \
                    @duckdb/node-bindings-linux-x64. Name the file with --duckdb-library, or put it beside axiom";

/// The library: the one that was named, else beside this program, else where the system's loader looks.
///
/// # Errors
/// When there is none that can be used. One that was named is not replaced by another.
pub fn load(named: Option<&Path>, from_environment: Option<PathBuf>) -> Result<Library, Fault> {
    let named = named.map(|path| (path.to_owned(), "--duckdb-library"));
    if let Some((path, by)) = named.or(from_environment.map(|path| (path, VARIABLE))) {
        return Library::load(&path).map_err(|error| refused(&format!("{} ({by})", path.display()), &error));
    }
    let beside = std::env::current_exe()
        .ok()
        .map(|program| program.with_file_name(FILE));
    if let Some(path) = beside.as_ref().filter(|path| path.is_file()) {
        return Library::load(path).map_err(|error| refused(&path.display().to_string(), &error));
    }
    Library::load(FILE).map_err(|error| match error {
        LoadError::Open(_) => {
            let folder = beside.as_deref().and_then(Path::parent).unwrap_or(Path::new("."));
            let message = format!(
                "--engine duckdb needs DuckDB's library, and there is none: neither --duckdb-library nor {VARIABLE} names one, and \
                 {FILE} is neither in {} nor where the system looks for libraries",
                folder.display()
            );
            Fault::new(Code::Absent, message).hint(HINT)
        }
        error => refused(&format!("{FILE}, where the system looks for libraries,"), &error),
    })
}

fn refused(what: &str, error: &LoadError) -> Fault {
    Fault::new(
        Code::Absent,
        format!("the library {what} cannot be used: {error}"),
    )
    .hint(HINT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_was_named_is_the_only_one_that_is_tried() {
        let named = load(Some(Path::new("/nowhere/libduckdb.so")), Some("/other".into())).unwrap_err();
        assert_eq!(named.code, Code::Absent);
        assert!(
            named.message.contains("/nowhere/libduckdb.so (--duckdb-library)"),
            "{named}"
        );
        let named = load(None, Some("/other".into())).unwrap_err();
        assert!(named.message.contains("/other (AXIOM_DUCKDB_LIBRARY)"), "{named}");
        assert!(
            named
                .hint
                .is_some_and(|hint| hint.contains("libduckdb-linux-amd64.zip"))
        );
    }
}
