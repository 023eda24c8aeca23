//! Several attempts at the same thing: the best one stays, and whatever its person had stays as it was.
#![allow(
    clippy::unwrap_used,
    reason = "a failed expectation is a failed test, in helpers too"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use axiom_tests::child::Running;
use axiom_tests::{bed, wait};
use rustix::process::Signal;

use crate::running::{Said, Tasks, said};

/// A repository with one commit, in a folder whose name is no help to anybody.
struct Repository {
    folder: PathBuf,
    tasks: Tasks,
}

impl Repository {
    fn new(name: &str) -> Repository {
        let repository = Repository::empty(name);
        repository.write("file", "one\ntwo\nthree\n");
        repository.write("sub folder/-odd \u{e4} \t name", "text\n");
        repository.git(&["add", "--all"]);
        repository.git(&["commit", "--quiet", "-m", "start"]);
        repository
    }

    fn empty(name: &str) -> Repository {
        let folder = bed::scratch(name).join("it's a \"repository\"");
        std::fs::create_dir_all(&folder).unwrap();
        let repository = Repository {
            folder,
            tasks: Tasks::new(name),
        };
        repository.git(&["init", "--quiet"]);
        repository.git(&["config", "user.name", "somebody"]);
        repository.git(&["config", "user.email", "somebody@example.com"]);
        repository
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.folder.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn git(&self, arguments: &[&str]) -> String {
        let git = Command::new("git")
            .args(arguments)
            .current_dir(&self.folder)
            .output()
            .unwrap();
        assert!(git.status.success(), "git {arguments:?}: {git:?}");
        String::from_utf8(git.stdout).unwrap()
    }

    fn command(&self, options: &[&str], script: &str) -> Command {
        let arguments = [options, &["--", "sh", "-c", script]].concat();
        let mut command = self.tasks.command("race", &arguments);
        command.current_dir(&self.folder);
        command
    }

    fn race(&self, options: &[&str], script: &str) -> Said {
        let mut running = Running::start("axiom race", &mut self.command(options, script));
        running.stdin = None;
        said(&mut running)
    }

    /// Names of branches, and how many worktrees there are beside ours.
    fn standing(&self) -> (Vec<String>, usize) {
        let branches = self.git(&["branch", "--list", "--format=%(refname:short)", "axiom/*"]);
        let worktrees = self.git(&["worktree", "list", "--porcelain"]);
        let count = worktrees
            .lines()
            .filter(|line| line.starts_with("worktree "))
            .count();
        (branches.lines().map(str::to_owned).collect(), count - 1)
    }

    /// Nothing that is ours, and nothing of its person's changed.
    fn is_untouched(&self) {
        assert_eq!(self.standing(), (Vec::new(), 0));
        assert_eq!(self.git(&["status", "--porcelain"]), "");
        assert!(!self.tasks.dir.join("races").exists());
        assert!(self.tasks.states().is_empty());
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(self.folder.parent().unwrap()));
    }
}

/// The first columns of the table that it printed.
fn table(said: &Said) -> Vec<String> {
    let from = said.data.iter().position(|line| line.starts_with("ATTEMPT"));
    let from = from.unwrap_or_else(|| panic!("no table: {:?} {}", said.data, said.talk));
    let rows = said.data[from + 1..]
        .iter()
        .take_while(|line| line.starts_with("race-"));
    rows.map(|row| row.split("  ").next().unwrap().to_owned())
        .collect()
}

/// More lines by each attempt but the first, whose test fails.
const SCRIPT: &str = "echo begun; for i in $(seq $AXIOM_RACE_NUMBER); do echo line $i >> file; done; \
                      echo new > \"new  file\"; if [ $AXIOM_RACE_NUMBER = 1 ]; then rm file; fi";

#[test]
fn the_best_attempt_stays_and_the_others_go() {
    let repository = Repository::new("race");
    let before = repository.git(&["rev-parse", "HEAD"]);
    let said = repository.race(&["--count", "4", "--test", "test -e file"], SCRIPT);
    assert_eq!(said.code, Some(0), "{} {:?}", said.talk, said.data);
    for number in 1..=4 {
        assert!(
            said.data.contains(&format!("[race-{number}] begun")),
            "{:?}",
            said.data
        );
    }
    assert_eq!(table(&said), ["race-2 (wins)", "race-3", "race-4", "race-1"]);
    // One branch and its worktree, where the last line says.
    let (branches, worktrees) = repository.standing();
    assert_eq!((branches.len(), worktrees), (1, 1));
    assert!(
        branches[0].starts_with("axiom/race/") && branches[0].ends_with("-2"),
        "{branches:?}"
    );
    let path = Path::new(said.data.last().unwrap());
    assert_eq!(
        std::fs::read_to_string(path.join("file")).unwrap(),
        "one\ntwo\nthree\nline 1\nline 2\n"
    );
    // Committed, with what git did not know, onto what it started from.
    let changed = repository.git(&["diff", "--stat", "HEAD", &branches[0]]);
    assert!(
        changed.contains("file") && changed.contains("new  file"),
        "{changed}"
    );
    let log = repository.git(&["log", "--format=%an %s", &branches[0]]);
    assert!(
        log.starts_with("somebody axiom race ") && log.contains(": attempt 2 of 4\n"),
        "{log}"
    );
    let clean = Command::new("git")
        .args(["status", "--porcelain"])
        .current_dir(path)
        .output();
    assert_eq!(String::from_utf8(clean.unwrap().stdout).unwrap(), "");
    // And our own tree is what it was.
    assert_eq!(repository.git(&["rev-parse", "HEAD"]), before);
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
    // What the end says how to remove is removed like that.
    repository.git(&["worktree", "remove", "--force", path.to_str().unwrap()]);
    repository.git(&["branch", "-D", &branches[0]]);
}

#[test]
fn a_judge_decides_by_its_number() {
    let repository = Repository::new("race-judge");
    let judge = "echo thinking; [ $AXIOM_RACE_NUMBER = 2 ] || echo $AXIOM_RACE_NUMBER.5";
    let said = repository.race(&["--count", "3", "--judge", judge], SCRIPT);
    assert_eq!(
        table(&said),
        ["race-3 (wins)", "race-1", "race-2"],
        "{}",
        said.talk
    );
    assert!(
        said.talk.contains("[race-2] the judge gives no number"),
        "{}",
        said.talk
    );
}

#[test]
fn what_wins_is_applied() {
    let repository = Repository::new("race-apply");
    let said = repository.race(&["--count", "2", "--test", "test -e file", "--apply"], SCRIPT);
    assert_eq!(said.code, Some(0), "{}", said.talk);
    let status = repository.git(&["status", "--porcelain"]);
    assert_eq!(status, "M  file\nA  \"new  file\"\n");
    assert!(
        std::fs::read_to_string(repository.folder.join("file"))
            .unwrap()
            .ends_with("line 2\n")
    );
}

#[test]
fn attempts_may_commit_go_elsewhere_and_lie() {
    let repository = Repository::new("race-odd");
    let script = "case $AXIOM_RACE_NUMBER in \
        1) git -c user.name=a -c user.email=a@b commit --quiet --allow-empty -m own && echo x >> file && git checkout --quiet --detach;; \
        2) echo 'gitdir: /nowhere' > .git; echo much >> file; echo more >> file; echo and more >> file;; \
        3) touch \"$(git rev-parse --git-dir)/index.lock\"; mkdir -p locked/in; for i in 1 2; do echo $i >> file; done;; \
        esac";
    let said = repository.race(&["--count", "3"], script);
    assert_eq!(said.code, Some(0), "{}", said.talk);
    assert_eq!(
        table(&said),
        ["race-1 (wins)", "race-3", "race-2"],
        "{}",
        said.talk
    );
    let (branches, worktrees) = repository.standing();
    assert_eq!((branches.len(), worktrees), (1, 1));
    let log = repository.git(&["log", "--format=%s", &branches[0]]);
    let log: Vec<&str> = log.lines().collect();
    assert_eq!((log.len(), log[1], log[2]), (3, "own", "start"));
    assert_eq!(
        repository.git(&["show", &format!("{}:file", branches[0])]),
        "one\ntwo\nthree\nx\n"
    );
}

#[test]
fn where_nobody_wins_what_was_changed_stays() {
    let repository = Repository::new("race-none");
    let said = repository.race(
        &["--count", "2"],
        "[ $AXIOM_RACE_NUMBER = 1 ] || echo work >> file; exit 1",
    );
    assert_eq!(said.code, Some(1));
    assert!(
        said.talk.contains("nobody wins") && said.talk.contains("[race-2] stays"),
        "{}",
        said.talk
    );
    let (branches, worktrees) = repository.standing();
    assert_eq!((branches.len(), worktrees), (1, 1), "{branches:?}");
    let nothing = Repository::new("race-nothing");
    let said = nothing.race(&["--count", "2"], "exit 1");
    assert_eq!(said.code, Some(1));
    nothing.is_untouched();
}

#[test]
fn all_may_be_kept() {
    let repository = Repository::new("race-keep");
    let said = repository.race(&["--count", "3", "--keep"], SCRIPT);
    assert_eq!(said.code, Some(0), "{}", said.talk);
    assert_eq!((repository.standing().0.len(), repository.standing().1), (3, 3));
}

#[test]
fn an_interrupted_race_leaves_nothing() {
    let repository = Repository::new("race-interrupted");
    // A branch that looks like ours, and a worktree that is not.
    repository.git(&["branch", "axiom/race/mine-1"]);
    let script = "echo begun; echo x >> file; trap '' INT; sleep 600 & wait";
    let mut running = Running::start("axiom race", &mut repository.command(&["--count", "3"], script));
    let stdout = running.stdout.clone();
    wait::until("all have begun", || {
        (stdout.text().matches("begun").count() == 3).then_some(())
    });
    running.signal(Signal::INT);
    let said = said(&mut running);
    assert_eq!(said.code, Some(130), "{}", said.talk);
    assert_eq!(
        repository.standing(),
        (vec!["axiom/race/mine-1".to_owned()], 0),
        "{}",
        said.talk
    );
    repository.git(&["branch", "-D", "axiom/race/mine-1"]);
    repository.is_untouched();
}

#[test]
fn from_a_folder_below_attempts_run_in_it() {
    let repository = Repository::new("race-below");
    let mut command = repository.command(&["--count", "1"], "pwd; ls; echo y >> ./-odd*");
    command.current_dir(repository.folder.join("sub folder"));
    let mut running = Running::start("axiom race", &mut command);
    running.stdin = None;
    let said = said(&mut running);
    assert_eq!(said.code, Some(0), "{} {:?}", said.talk, said.data);
    assert!(said.data[0].ends_with("race-1/sub folder"), "{:?}", said.data);
    assert!(said.talk.contains("race-1 wins"), "{}", said.talk);
}

#[test]
fn what_is_not_committed_is_not_forgotten() {
    let repository = Repository::new("race-dirty");
    repository.write("file", "mine\n");
    repository.write("notes", "mine too\n");
    let refused = repository.race(&[], SCRIPT);
    assert_eq!(refused.code, Some(2));
    assert!(
        refused
            .talk
            .contains("1 changes that are not committed, and 1 files")
            && refused.talk.contains("--from-head"),
        "{}",
        refused.talk
    );
    let refused = repository.race(&["--from-head", "--apply"], SCRIPT);
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.talk.contains("--apply needs a clean working tree"),
        "{}",
        refused.talk
    );
    let said = repository.race(&["--from-head", "--count", "1"], "cat file; ls");
    assert_eq!(said.code, Some(0), "{}", said.talk);
    assert!(said.data.contains(&"[race-1] one".to_owned()), "{:?}", said.data);
    assert!(
        !said.data.contains(&"[race-1] notes".to_owned()),
        "{:?}",
        said.data
    );
    assert_eq!(repository.git(&["status", "--porcelain"]), " M file\n?? notes\n");
    assert_eq!(
        std::fs::read_to_string(repository.folder.join("notes")).unwrap(),
        "mine too\n"
    );
}

#[test]
fn where_there_is_nothing_to_race_on_it_says_so() {
    let check = |said: &Said, code: i32, parts: &[&str]| {
        assert_eq!(said.code, Some(code), "{}", said.talk);
        for part in parts {
            assert!(said.talk.contains(part), "{part:?} in {}", said.talk);
        }
    };
    let empty = Repository::empty("race-empty");
    check(
        &empty.race(&[], "true"),
        1,
        &["has no commit yet", "hint: commit something first"],
    );
    let outside = bed::scratch("race-outside");
    let tasks = Tasks::new("race-outside-tasks");
    let race = |change: fn(&mut Command)| {
        let mut command = tasks.command("race", &["--", "true"]);
        command.current_dir(&outside).env("GIT_CEILING_DIRECTORIES", "/");
        change(&mut command);
        said(&mut Running::start("axiom race", &mut command))
    };
    check(&race(|_| ()), 3, &["a race needs a git repository", "git init"]);
    check(
        &race(|command| {
            command.env("PATH", "/nowhere");
        }),
        3,
        &["git cannot be started", "install git"],
    );
    let repository = Repository::new("race-usage");
    check(
        &repository.race(&["--limit", "memory=1GiB"], "true"),
        2,
        &["limits.memory_bytes cannot be kept"],
    );
    let command = repository
        .tasks
        .command("race", &["--count", "2", "--", "no-such-program"]);
    let mut command = command;
    command.current_dir(&repository.folder);
    let said = said(&mut Running::start("axiom race", &mut command));
    check(&said, 1, &["no-such-program cannot be started", "nobody wins"]);
    repository.is_untouched();
    drop(std::fs::remove_dir_all(&outside));
}

/// What an attempt leaves in a submodule runs nowhere: git is not asked to look there. What it did to the submodule is taken all the same.
#[test]
fn what_an_attempt_writes_into_a_submodule_is_not_run() {
    let repository = Repository::new("race-submodule");
    let parts = Repository::new("race-submodule-parts");
    let commit = |repository: &Repository| repository.git(&["rev-parse", "HEAD"]).trim().to_owned();
    let (old, source) = (commit(&parts), parts.folder.display().to_string());
    for path in ["part", "other", "third"] {
        repository.git(&[
            "update-index",
            "--add",
            "--cacheinfo",
            &format!("160000,{old},{path}"),
        ]);
        std::fs::create_dir(repository.folder.join(path)).unwrap();
    }
    repository.git(&["commit", "--quiet", "-m", "parts"]);
    let evidence = repository.folder.parent().unwrap().join("evidence");
    // Settings by which git runs a program when it looks whether a file is changed, and one that is. A new commit in another
    // submodule; and a file in place of the third.
    let script = format!(
        "git clone --quiet '{source}' part && git clone --quiet '{source}' other || exit 3
         git -C part config filter.evil.clean 'tee -a {evidence}'
         echo '* filter=evil' > part/.gitattributes; echo TWO > part/file
         git -C other -c user.name=a -c user.email=a@b commit --quiet --allow-empty -m next
         rmdir third; echo mine > third; echo mine > new",
        source = source.replace('\'', "'\\''"),
        evidence = evidence.display().to_string().replace([' ', '\'', '"'], "?"),
    );
    let said = repository.race(&["--count", "1"], &script);
    assert_eq!(said.code, Some(0), "{}", said.talk);
    assert!(!evidence.exists(), "it was run by the race");
    let branch = repository.standing().0.remove(0);
    let tree = repository.git(&[
        "ls-tree",
        "-r",
        "--format=%(objecttype) %(objectname) %(path)",
        &branch,
    ]);
    let line = |path: &str| {
        tree.lines()
            .find(|line| line.ends_with(&format!(" {path}")))
            .unwrap_or_default()
    };
    assert_eq!(line("part"), format!("commit {old} part"));
    assert!(
        line("other").starts_with("commit ") && !line("other").contains(&old),
        "{tree}"
    );
    assert!(
        line("third").starts_with("blob ") && line("new").starts_with("blob "),
        "{tree}"
    );
}

/// Whatever its person has set for how git shows changes, they come to the files that they are of.
#[test]
fn what_wins_is_applied_to_the_files_that_it_is_of() {
    let repository = Repository::new("race-noprefix");
    for file in ["folder/same", "same"] {
        repository.write(file, "one\n");
    }
    repository.git(&["add", "--all"]);
    repository.git(&["commit", "--quiet", "-m", "same"]);
    repository.git(&["config", "diff.noprefix", "true"]);
    let said = repository.race(
        &["--count", "1", "--apply"],
        "echo two > folder/same; echo new > folder/new",
    );
    assert_eq!(said.code, Some(0), "{}", said.talk);
    assert_eq!(
        repository.git(&["status", "--porcelain"]),
        "A  folder/new\nM  folder/same\n"
    );
}
