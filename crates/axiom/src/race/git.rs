//! What a race wants of git: worktrees and branches of its own, what each attempt changed, and that nothing else is touched.
//!
//! An attempt may write whatever it likes into its worktree, the file `.git` and hooks too. So git is told where the repository
//! of a worktree is, as it was before the attempt began, and runs no hooks, no monitors, and no programs for diffs there.
//!
//! A repository can still name programs that git runs, filters for one. A person's own git runs them as that person; in a gateway,
//! where whoever asks for a race may have written the repository, git itself runs as a task does: see [`Apart`].

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axiom_core::time;
use axiom_runtime::race::Diff;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::apart::Apart;
use crate::outcome::{Exit, Failed};

/// A worktree of a large repository takes a minute on a slow disk.
const GIT_TIME: Duration = Duration::from_secs(300);

/// Variables by which somebody else tells git where it is; a hook sees them, for example.
pub(crate) const ELSEWHERE: [&str; 6] = [
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

/// Who runs git.
#[derive(Debug, Clone)]
pub(crate) enum Git {
    /// We do, as our person would.
    Here,
    /// Somebody who may do no more than a task.
    Apart(Arc<Apart>),
}

/// The repository of a race.
#[derive(Debug, Clone)]
pub(crate) struct Repository {
    pub(crate) git: Git,
    /// The top folder of its working tree.
    pub(crate) top: PathBuf,
    /// Where we are, below it. Empty at the top.
    pub(crate) prefix: PathBuf,
    /// What all its worktrees share.
    pub(crate) common: PathBuf,
    /// The commit that everything starts from.
    pub(crate) start: String,
}

/// A worktree that we made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Worktree {
    pub(crate) path: PathBuf,
    pub(crate) branch: String,
    /// What git keeps about it.
    git_dir: PathBuf,
}

impl Worktree {
    /// What git keeps about it.
    pub(crate) fn git_dir(&self) -> &Path {
        &self.git_dir
    }
}

/// What is not committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Uncommitted {
    pub(crate) changed: usize,
    pub(crate) untracked: usize,
}

impl Repository {
    /// # Errors
    /// When there is no git, no repository, no working tree or no commit in that folder.
    pub(crate) async fn find(git: Git, here: &Path) -> Result<Repository, Failed> {
        let top = git
            .run(here, ["rev-parse", "--show-toplevel"])
            .await
            .map_err(|error| {
                let hint = match &error {
                    GitError::Missing(_) => "install git",
                    _ => "start it in a working tree; `git init` makes one of a folder",
                };
                Failed::new(Exit::NotFound, format!("a race needs a git repository: {error}")).hint(hint)
            })?;
        let top = path(top);
        let prefix = path(git.run(here, ["rev-parse", "--show-prefix"]).await?);
        let common = ["rev-parse", "--path-format=absolute", "--git-common-dir"];
        let common = path(git.run(here, common).await?);
        Repository::at(git, top, prefix, common).await
    }

    /// The repository of which all is known but the commit it stands at.
    ///
    /// # Errors
    /// When git cannot say that, or there is none.
    pub(crate) async fn at(
        git: Git,
        top: PathBuf,
        prefix: PathBuf,
        common: PathBuf,
    ) -> Result<Repository, Failed> {
        let head = ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"];
        let start = match git.run(&top, head).await {
            Ok(start) => text(start),
            Err(GitError::Refused { .. }) => {
                let message = "the repository has no commit yet; attempts start from one";
                return Err(Failed::new(Exit::Failure, message)
                    .hint("commit something first: git commit --allow-empty -m start"));
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Repository {
            git,
            top,
            prefix,
            common,
            start,
        })
    }

    pub(crate) async fn uncommitted(&self) -> Result<Uncommitted, Failed> {
        let status = self.git.run(
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
    pub(crate) async fn add(&self, path: &Path, branch: &str) -> Result<Worktree, Failed> {
        let name = format!("refs/heads/{branch}");
        if self
            .git
            .run(&self.top, ["show-ref", "--verify", "--quiet", &name])
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
        self.git.run(&self.top, arguments).await?;
        // Asked before anybody else may write there.
        let git_dir = self
            .git
            .run(&worktree.path, ["rev-parse", "--absolute-git-dir"])
            .await?;
        Ok(self::path(git_dir))
    }

    /// Removes a worktree of ours and its branch, with all that was never taken from them.
    ///
    /// # Errors
    /// When something of it stays; the rest was tried all the same.
    pub(crate) async fn remove(&self, worktree: &Worktree) -> Result<(), Failed> {
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
        let known = self.git.run(&self.top, arguments).await;
        let branch = ["branch", "-D", "--quiet", "--", &worktree.branch];
        let branch = self.git.run(&self.top, branch).await;
        files
            .and(known.map(drop).map_err(Failed::from))
            .and(branch.map(drop).map_err(Failed::from))
    }

    /// Brings a commit's changes into the repository's working tree and its index. `scratch` is a file that is not there yet.
    ///
    /// # Errors
    /// When they do not fit; git then leaves what conflicts marked in the files.
    pub(crate) async fn apply(&self, commit: &str, scratch: &Path) -> Result<(), Failed> {
        let mut output = OsString::from("--output=");
        output.push(scratch);
        let arguments = [
            // Not `git diff`, which says it as its person likes it: without the prefixes (`diff.noprefix`), what is in a folder would
            // be applied to the file of that name outside of it.
            OsStr::new("diff-tree"),
            OsStr::new("-r"),
            OsStr::new("-p"),
            OsStr::new("--no-renames"),
            OsStr::new("--binary"),
            OsStr::new("--full-index"),
            OsStr::new("--no-ext-diff"),
            OsStr::new("--no-textconv"),
            OsStr::new("--no-color"),
            &output,
            OsStr::new(&self.start),
            OsStr::new(commit),
        ];
        let applied = async {
            self.git.run(&self.top, arguments).await?;
            if fs_err::metadata(scratch)?.len() == 0 {
                return Ok(());
            }
            let arguments = [
                OsStr::new("apply"),
                OsStr::new("--3way"),
                OsStr::new("--whitespace=nowarn"),
                scratch.as_os_str(),
            ];
            self.git.run(&self.top, arguments).await?;
            Ok(())
        };
        let applied = applied.await;
        fs_err::remove_file(scratch).ok();
        applied
    }

    /// Git in this worktree, whatever its files say.
    async fn within<A: AsRef<OsStr>>(
        &self,
        worktree: &Worktree,
        env: &[(&str, &str)],
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Vec<u8>, GitError> {
        let mut all = [
            OsString::from("--git-dir"),
            worktree.git_dir.clone().into(),
            OsString::from("--work-tree"),
            worktree.path.clone().into(),
        ]
        .to_vec();
        all.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self.git.run_with(&worktree.path, env, all).await
    }

    /// All that is in a worktree now, files that git did not know included, except for what it is told to ignore; and how much of it
    /// is new.
    ///
    /// # Errors
    /// When git refuses.
    pub(crate) async fn take(&self, worktree: &Worktree) -> Result<(String, Diff), Failed> {
        // Whoever held it was killed with the attempt.
        self.git.forget(&worktree.git_dir.join("index.lock")).await;
        self.add_all(worktree).await?;
        let tree = text(self.within(worktree, &[], ["write-tree"]).await?);
        let arguments = [
            "diff-tree",
            "-r",
            "-z",
            "--numstat",
            "--no-renames",
            "--no-ext-diff",
            "--no-textconv",
            &self.start,
            &tree,
        ];
        let numbers = self.within(worktree, &[], arguments).await?;
        Ok((tree, diff_of(&numbers)))
    }

    /// `git add --all`, but for submodules: it would run another git in each, to see whether something is changed there, and that one
    /// does what the settings there say, filters of files included. Here only the commit is taken that each stands at.
    async fn add_all(&self, worktree: &Worktree) -> Result<(), GitError> {
        let known = self.submodules(worktree).await?;
        if !known.is_empty() {
            let options = ["update-index", "--add", "--remove", "--replace", "--"].map(OsString::from);
            self.within(worktree, &[], options.into_iter().chain(known))
                .await?;
        }
        let options = ["add", "--all", "--", "."].map(OsString::from);
        let others = self.submodules(worktree).await?.into_iter().map(|path| {
            let mut place = OsString::from(":(top,exclude,literal)");
            place.push(path);
            place
        });
        self.within(worktree, &[], options.into_iter().chain(others))
            .await?;
        Ok(())
    }

    /// The paths of those that git knows.
    async fn submodules(&self, worktree: &Worktree) -> Result<Vec<OsString>, GitError> {
        let entries = self.within(worktree, &[], ["ls-files", "-z", "--stage"]).await?;
        let entries = entries.split(|byte| *byte == 0);
        // `MODE NAME STAGE TAB PATH`
        let links = entries.filter(|entry| entry.starts_with(b"160000 "));
        let path = |entry: &[u8]| {
            let path = entry.splitn(2, |byte| *byte == b'\t').nth(1)?;
            Some(OsString::from_vec(path.to_vec()))
        };
        Ok(links.filter_map(path).collect())
    }

    /// Puts a tree onto a worktree's branch, if it is not what stands there. Gives the branch's commit.
    ///
    /// # Errors
    /// When git refuses.
    pub(crate) async fn commit(
        &self,
        worktree: &Worktree,
        tree: &str,
        message: &str,
    ) -> Result<String, Failed> {
        let name = format!("refs/heads/{}", worktree.branch);
        let tip = text(
            self.within(worktree, &[], ["rev-parse", "--verify", &name])
                .await?,
        );
        let standing = format!("{tip}^{{tree}}");
        let standing = text(self.within(worktree, &[], ["rev-parse", &standing]).await?);
        if standing == tree {
            return Ok(tip);
        }
        let has_name = self
            .within(worktree, &[], ["var", "GIT_COMMITTER_IDENT"])
            .await
            .is_ok();
        // Nobody has told git who they are. The commit is there for them to look at, not to be signed by us.
        let ours = [
            ("GIT_AUTHOR_NAME", "axiom race"),
            ("GIT_AUTHOR_EMAIL", "axiom@localhost"),
            ("GIT_COMMITTER_NAME", "axiom race"),
            ("GIT_COMMITTER_EMAIL", "axiom@localhost"),
        ];
        let env = if has_name { &[][..] } else { &ours[..] };
        let commit = ["commit-tree", tree, "-p", &tip, "-m", message];
        let commit = text(self.within(worktree, env, commit).await?);
        let update = ["update-ref", "-m", "axiom race", &name, &commit, &tip];
        self.within(worktree, &[], update).await?;
        // The attempt may have gone elsewhere; what is in the folder is what is on this branch.
        self.within(worktree, &[], ["symbolic-ref", "HEAD", &name])
            .await?;
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
pub(crate) enum GitError {
    #[error("git cannot be started: {0}")]
    Missing(#[source] io::Error),
    #[error("git {arguments} takes more than {GIT_TIME:?}")]
    Slow { arguments: String },
    #[error("git {arguments}: {complaint}")]
    Refused { arguments: String, complaint: String },
    /// Where git is no process of ours.
    #[error("git {arguments} cannot be run as tasks are: {why}")]
    NotRun { arguments: String, why: String },
}

impl From<GitError> for Failed {
    fn from(error: GitError) -> Failed {
        Failed::new(Exit::Failure, error.to_string())
    }
}

/// What a git says that asks nobody and runs to its end.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) is_success: bool,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    /// How it ended, in words.
    pub(crate) end: String,
}

impl Git {
    /// What it says, without a line break at the end.
    async fn run<A: AsRef<OsStr>>(
        &self,
        folder: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Vec<u8>, GitError> {
        let arguments = arguments.into_iter();
        let arguments = arguments.map(|argument| argument.as_ref().to_owned());
        self.run_with(folder, &[], arguments.collect()).await
    }

    /// Removes a file of git's, if it is there.
    async fn forget(&self, file: &Path) {
        match self {
            Git::Here => {
                fs_err::remove_file(file).ok();
            }
            // Where it is was said by whoever may do no more than a task.
            Git::Apart(apart) => {
                let argv = ["rm".into(), "-f".into(), "--".into(), file.into()];
                apart.run(&argv, &[]).await.ok();
            }
        }
    }

    async fn run_with(
        &self,
        folder: &Path,
        env: &[(&str, &str)],
        arguments: Vec<OsString>,
    ) -> Result<Vec<u8>, GitError> {
        let shown: Vec<String> = arguments
            .iter()
            .map(|argument| argument.to_string_lossy().into_owned())
            .collect();
        let shown = shown.join(" ");
        let done = async {
            match self {
                Git::Here => here(folder, env, &arguments).await.map_err(GitError::Missing),
                Git::Apart(apart) => {
                    let mut argv: Vec<OsString> = vec!["git".into(), "-C".into(), folder.into()];
                    let settings = HARMLESS.iter().chain([&"safe.directory=*"]);
                    argv.extend(settings.flat_map(|setting| ["-c".into(), setting.into()]));
                    argv.extend(arguments.iter().cloned());
                    let env = [env, &QUIET].concat();
                    apart.run(&argv, &env).await.map_err(|why| GitError::NotRun {
                        arguments: shown.clone(),
                        why,
                    })
                }
            }
        };
        let said = match time::timeout(GIT_TIME, done).await {
            Ok(said) => said?,
            Err(_) => return Err(GitError::Slow { arguments: shown }),
        };
        if !said.is_success {
            let complaint = String::from_utf8_lossy(&said.stderr);
            let complaint = match complaint.trim() {
                "" => said.end,
                said => said.lines().next_back().unwrap_or(said).trim().to_owned(),
            };
            return Err(GitError::Refused {
                arguments: shown,
                complaint,
            });
        }
        let mut stdout = said.stdout;
        if stdout.last() == Some(&b'\n') {
            stdout.pop();
        }
        Ok(stdout)
    }
}

/// Asks nobody, and keeps no other git of its person waiting for the sake of a faster status.
const QUIET: [(&str, &str); 3] = [
    ("LC_ALL", "C"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_OPTIONAL_LOCKS", "0"),
];

/// Git in that folder, as a process of ours.
async fn here(folder: &Path, env: &[(&str, &str)], arguments: &[OsString]) -> io::Result<Said> {
    let mut command = Command::new("git");
    for name in ELSEWHERE {
        command.env_remove(name);
    }
    for setting in HARMLESS {
        command.args(["-c", setting]);
    }
    command
        .args(arguments)
        .current_dir(folder)
        .envs(QUIET)
        .envs(env.iter().copied())
        // What is typed at us interrupts us, and we decide what becomes of a git at work.
        .process_group(0)
        .kill_on_drop(true)
        .stdin(Stdio::null());
    let output = command.output().await?;
    Ok(Said {
        is_success: output.status.success(),
        stdout: output.stdout,
        stderr: output.stderr,
        end: output.status.to_string(),
    })
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
