//! A folder of its own and the binary in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");

/// A folder that is empty at first and gone at the end.
#[derive(Debug)]
pub(crate) struct Scratch {
    pub(crate) path: PathBuf,
}

impl Scratch {
    /// `name` is the test's name: tests run at the same time.
    pub(crate) fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        if path.exists() {
            std::fs::remove_dir_all(&path).unwrap();
        }
        std::fs::create_dir_all(&path).unwrap();
        Scratch { path }
    }

    /// With one file in it.
    pub(crate) fn with(name: &str, file: &str, text: &str) -> Self {
        let scratch = Scratch::new(name);
        scratch.write(file, text);
        scratch
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        let path = self.path.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.path.join(file)).unwrap()
    }

    /// Copies one of the samples here.
    pub(crate) fn sample(&self, file: &str) {
        self.write(
            file,
            &std::fs::read_to_string(Path::new(DATA).join(file)).unwrap(),
        );
    }

    /// `axiom ...` in this folder, with an environment that has nothing but HOME=/home/me.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_axiom"));
        command
            .args(arguments)
            .current_dir(&self.path)
            .env_clear()
            .env("HOME", "/home/me")
            .stdin(Stdio::null());
        command
    }

    /// Runs it to its end; what a terminal would show, by stream.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        let mut shown = format!("exit {}\n", output.status.code().unwrap_or(-1));
        for (name, bytes) in [("stdout", output.stdout), ("stderr", output.stderr)] {
            let text = String::from_utf8(bytes)
                .unwrap()
                .replace(&*self.path.to_string_lossy(), "<scratch>");
            if !text.is_empty() {
                let text: String = text
                    .lines()
                    .map(|line| format!("{}\n", line.trim_end()))
                    .collect();
                shown.push_str(&format!("--- {name}\n{text}"));
            }
        }
        shown
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A leftover folder in the target directory harms nobody.
        let _removed = std::fs::remove_dir_all(&self.path).is_ok();
    }
}
