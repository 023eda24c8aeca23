//! What a race wants of git: worktrees and branches of its own, what each attempt changed, and that nothing else is touched.
//!
//! An attempt may write whatever it likes into its worktree, the file `.git` and hooks too. So git is told where the repository
//! of a worktree is, as it was before the attempt began, and runs no hooks, no monitors, and no programs for diffs there.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use axiom_core::time;
use axiom_runtime::race::Diff;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::outcome::{Exit, Failed};

/// A worktree of a large repository takes a minute on a slow disk.
const GIT_TIME: Duration = Duration::from_secs(300);

/// Variables by which somebody else tells git where it is; a hook sees them, for example.
pub(super) const ELSEWHERE: [&str; 6] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
];

/// Settings that could run what an attempt has written.
const HARMLESS: [&str; 5] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "diff.ignoreSubmodules=dirty",
    "core.quotePath=false",
    "advice.addEmbeddedRepo=false",
];

/// The repository that we are in.
#[derive(Debug, Clone)]
pub(super) struct Repository {
    /// The top folder of its working tree.
    pub(super) top: PathBuf,
    /// Where we are, below it. Empty at the top.
    pub(super) prefix: PathBuf,
    /// What all its worktrees share.
    pub(super) common: PathBuf,
    /// The commit that everything starts from.
    pub(super) start: String,
}

/// A worktree that we made.
#[derive(Debug, Clone)]
pub(super) struct Worktree {
    pub(super) path: PathBuf,
    pub(super) branch: String,
    /// What git keeps about it.
    git_dir: PathBuf,
}

/// What is not committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Uncommitted {
    pub(super) changed: usize,
    pub(super) untracked: usize,
}

impl Repository {
    /// # Errors
    /// When there is no git, no repository, no working tree or no commit here.
    pub(super) async fn find() -> Result<Repository, Failed> {
        let here = std::env::current_dir()?;
        let top = git(&here, ["rev-parse", "--show-toplevel"])
            .await
            .map_err(|error| {
                let hint = match &error {
                    GitError::Missing(_) => "install git",
                    _ => "start it in a working tree; `git init` makes one of a folder",
                };
                Failed::new(Exit::NotFound, format!("a race needs a git repository: {error}")).hint(hint)
            })?;
        let top = path(top);
        let prefix = path(git(&here, ["rev-parse", "--show-prefix"]).await?);
        let common = path(git(&here, ["rev-parse", "--path-format=absolute", "--git-common-dir"]).await?);
        let start = git(&here, ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]).await;
        let start = start.map_err(|_| {
            Failed::new(
                Exit::Failure,
                "the repository has no commit yet; attempts start from one",
            )
            .hint("commit something first: git commit --allow-empty -m start")
        })?;
        Ok(Repository {
            top,
            prefix,
            common,
            start: text(start),
        })
    }

    pub(super) async fn uncommitted(&self) -> Result<Uncommitted, Failed> {
        let status = git(
            &self.top,
            [
                "status",
                "--porcelain=v1",
                "-z",
                "--no-renames",
                "--untracked-files=normal",
            ],
        );
        let status = status.await?;
        let entries = status.split(|byte| *byte == 0).filter(|entry| !entry.is_empty());
        let (untracked, changed): (Vec<_>, Vec<_>) = entries.partition(|entry| entry.starts_with(b"??"));
        Ok(Uncommitted {
            changed: changed.len(),
            untracked: untracked.len(),
        })
    }

    /// A new worktree on a new branch.
    ///
    /// # Errors
    /// When there is such a branch, or git refuses: then neither is made.
    pub(super) async fn add(&self, path: &Path, branch: &str) -> Result<Worktree, Failed> {
        let name = format!("refs/heads/{branch}");
        if git(&self.top, ["show-ref", "--verify", "--quiet", &name])
            .await
            .is_ok()
        {
            let message = format!("there is a branch {branch} already");
            return Err(Failed::new(Exit::Failure, message));
        }
        let mut worktree = Worktree {
            path: path.to_owned(),
            branch: branch.to_owned(),
            git_dir: PathBuf::new(),
        };
        let added = self.add_new(&worktree).await;
        match added {
            Ok(git_dir) => {
                worktree.git_dir = git_dir;
                Ok(worktree)
            }
            Err(error) => {
                // Half of it may be there.
                self.remove(&worktree).await.ok();
                Err(error.into())
            }
        }
    }

    async fn add_new(&self, worktree: &Worktree) -> Result<PathBuf, GitError> {
        let arguments = [
            OsStr::new("worktree"),
            OsStr::new("add"),
            OsStr::new("--quiet"),
            OsStr::new("-b"),
            OsStr::new(&worktree.branch),
            worktree.path.as_os_str(),
            OsStr::new(&self.start),
        ];
        git(&self.top, arguments).await?;
        // Asked before anybody else may write there.
        let git_dir = git(&worktree.path, ["rev-parse", "--absolute-git-dir"]).await?;
        Ok(self::path(git_dir))
    }

    /// Removes a worktree of ours and its branch, with all that was never taken from them.
    ///
    /// # Errors
    /// When something of it stays; the rest was tried all the same.
    pub(super) async fn remove(&self, worktree: &Worktree) -> Result<(), Failed> {
        // First the files, which git would not remove where the attempt has changed what git knows it by.
        let files = match fs_err::remove_dir_all(&worktree.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Failed::from(error)),
            _ => Ok(()),
        };
        let arguments = [
            OsStr::new("worktree"),
            OsStr::new("remove"),
            OsStr::new("--force"),
            worktree.path.as_os_str(),
        ];
        let known = git(&self.top, arguments).await;
        let branch = git(&self.top, ["branch", "-D", "--quiet", "--", &worktree.branch]).await;
        files
            .and(known.map(drop).map_err(Failed::from))
            .and(branch.map(drop).map_err(Failed::from))
    }

    /// Brings a commit's changes into our own working tree and its index.
    ///
    /// # Errors
    /// When they do not fit; git then leaves what conflicts marked in the files.
    pub(super) async fn apply(&self, commit: &str) -> Result<(), Failed> {
        let diff = git(
            &self.top,
            [
                "diff",
                "--binary",
                "--full-index",
                "--no-ext-diff",
                "--no-textconv",
                "--no-color",
                &self.start,
                commit,
            ],
        );
        let mut diff = diff.await?;
        if diff.is_empty() {
            return Ok(());
        }
        // The one that was taken off: without it the last line would be none.
        diff.push(b'\n');
        let mut command = command(&self.top);
        command
            .args(["apply", "--3way", "--whitespace=nowarn"])
            .stdin(Stdio::piped());
        run(command, &diff).await?;
        Ok(())
    }
}

impl Worktree {
    /// Git in this worktree, whatever its files say.
    fn command(&self) -> Command {
        let mut command = command(&self.path);
        command
            .arg("--git-dir")
            .arg(&self.git_dir)
            .arg("--work-tree")
            .arg(&self.path);
        command
    }

    /// # Errors
    /// When git refuses.
    async fn git<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Vec<u8>, GitError> {
        let mut command = self.command();
        command.args(arguments).stdin(Stdio::null());
        run(command, &[]).await
    }

    /// All that is there now, files that git did not know included, except for what it is told to ignore; and how much of it is new.
    ///
    /// # Errors
    /// When git refuses.
    pub(super) async fn take(&self, start: &str) -> Result<(String, Diff), Failed> {
        // Whoever held it was killed with the attempt.
        fs_err::remove_file(self.git_dir.join("index.lock")).ok();
        self.git(["add", "--all", "--", "."]).await?;
        let tree = text(self.git(["write-tree"]).await?);
        let numbers = self
            .git([
                "diff-tree",
                "-r",
                "-z",
                "--numstat",
                "--no-renames",
                "--no-ext-diff",
                "--no-textconv",
                start,
                &tree,
            ])
            .await?;
        Ok((tree, diff_of(&numbers)))
    }

    /// Puts a tree onto its branch, if it is not what stands there. Gives the branch's commit.
    ///
    /// # Errors
    /// When git refuses.
    pub(super) async fn commit(&self, tree: &str, message: &str) -> Result<String, Failed> {
        let name = format!("refs/heads/{}", self.branch);
        let tip = text(self.git(["rev-parse", "--verify", &name]).await?);
        let standing = text(self.git(["rev-parse", &format!("{tip}^{{tree}}")]).await?);
        if standing == tree {
            return Ok(tip);
        }
        let mut command = self.command();
        command
            .args(["commit-tree", tree, "-p", &tip, "-m", message])
            .stdin(Stdio::null());
        if self.git(["var", "GIT_COMMITTER_IDENT"]).await.is_err() {
            // Nobody has told git who they are. The commit is there for them to look at, not to be signed by us.
            for who in ["AUTHOR", "COMMITTER"] {
                command.env(format!("GIT_{who}_NAME"), "axiom race");
                command.env(format!("GIT_{who}_EMAIL"), "axiom@localhost");
            }
        }
        let commit = text(run(command, &[]).await?);
        self.git(["update-ref", "-m", "axiom race", &name, &commit, &tip])
            .await?;
        // The attempt may have gone elsewhere; what is in the folder is what is on this branch.
        self.git(["symbolic-ref", "HEAD", &name]).await?;
        Ok(commit)
    }
}

/// Lines `ADDED TAB REMOVED TAB PATH NUL`; a binary file has `-` for both.
fn diff_of(numbers: &[u8]) -> Diff {
    let mut diff = Diff::default();
    for entry in numbers.split(|byte| *byte == 0).filter(|entry| !entry.is_empty()) {
        let mut parts = entry.splitn(3, |byte| *byte == b'\t');
        let mut number = || {
            let digits = std::str::from_utf8(parts.next()?).ok()?;
            digits.parse::<u64>().ok()
        };
        diff.lines_added += number().unwrap_or(0);
        diff.lines_removed += number().unwrap_or(0);
        diff.files += 1;
    }
    diff
}

/// Why git did not do it.
#[derive(Debug, thiserror::Error)]
pub(super) enum GitError {
    #[error("git cannot be started: {0}")]
    Missing(#[source] io::Error),
    #[error("git {arguments} takes more than {GIT_TIME:?}")]
    Slow { arguments: String },
    #[error("git {arguments}: {complaint}")]
    Refused { arguments: String, complaint: String },
}

impl From<GitError> for Failed {
    fn from(error: GitError) -> Failed {
        Failed::new(Exit::Failure, error.to_string())
    }
}

/// Git in that folder, quiet and asking nobody.
fn command(folder: &Path) -> Command {
    let mut command = Command::new("git");
    for name in ELSEWHERE {
        command.env_remove(name);
    }
    for setting in HARMLESS {
        command.args(["-c", setting]);
    }
    command
        .current_dir(folder)
        .env("LC_ALL", "C")
        .env("GIT_TERMINAL_PROMPT", "0")
        // Another git of its person is not kept waiting for the sake of a faster status.
        .env("GIT_OPTIONAL_LOCKS", "0")
        // What is typed at us interrupts us, and we decide what becomes of a git at work.
        .process_group(0)
        .kill_on_drop(true);
    command
}

async fn git<A: AsRef<OsStr>>(
    folder: &Path,
    arguments: impl IntoIterator<Item = A>,
) -> Result<Vec<u8>, GitError> {
    let mut command = command(folder);
    command.args(arguments).stdin(Stdio::null());
    run(command, &[]).await
}

/// What it says, without a line break at the end.
async fn run(mut command: Command, input: &[u8]) -> Result<Vec<u8>, GitError> {
    let arguments = command.as_std().get_args().skip(2 * HARMLESS.len());
    let arguments: Vec<String> = arguments
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let arguments = arguments.join(" ");
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(GitError::Missing)?;
    let stdin = child.stdin.take();
    let done = async {
        let put = async {
            if let Some(mut stdin) = stdin {
                // A git that reads no more says why itself.
                stdin.write_all(input).await.ok();
            }
        };
        let (output, ()) = tokio::join!(child.wait_with_output(), put);
        output
    };
    let output = match time::timeout(GIT_TIME, done).await {
        Ok(output) => output.map_err(GitError::Missing)?,
        Err(_) => return Err(GitError::Slow { arguments }),
    };
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        let complaint = match complaint.trim() {
            "" => output.status.to_string(),
            said => said.lines().next_back().unwrap_or(said).trim().to_owned(),
        };
        return Err(GitError::Refused { arguments, complaint });
    }
    let mut said = output.stdout;
    if said.last() == Some(&b'\n') {
        said.pop();
    }
    Ok(said)
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

fn path(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_files_are_counted() {
        let check = |numbers: &str, files: u64, added: u64, removed: u64| {
            let expected = Diff {
                files,
                lines_added: added,
                lines_removed: removed,
            };
            assert_eq!(diff_of(numbers.as_bytes()), expected, "{numbers:?}");
        };
        check("", 0, 0, 0);
        check("3\t1\ta b\0", 1, 3, 1);
        check("3\t1\ta\tb\nc\0-\t-\tpicture.png\0", 2, 3, 1);
        check("0\t0\tempty\x000\t7\tgone\0", 2, 0, 7);
    }
}
