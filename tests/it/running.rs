//! Tasks from the command line: run, watched, steered, found again after whoever started them was killed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use axiom_tests::child::Running;
use axiom_tests::{bed, wait};
use rustix::process::Signal;
use serde_json::Value;

pub(crate) struct Tasks {
    pub(crate) dir: PathBuf,
}

/// What a command printed, and its exit code.
pub(crate) struct Said {
    pub(crate) data: Vec<String>,
    pub(crate) talk: String,
    pub(crate) code: Option<i32>,
}

impl Tasks {
    pub(crate) fn new(name: &str) -> Tasks {
        Tasks {
            dir: bed::scratch(name),
        }
    }

    pub(crate) fn start(&self, command: &str, arguments: &[&str]) -> Running {
        Running::start(&format!("axiom {command}"), &mut self.command(command, arguments))
    }

    /// `axiom COMMAND ARGUMENTS`, with these tasks.
    pub(crate) fn command(&self, command: &str, arguments: &[&str]) -> Command {
        let (front, back) = match arguments.iter().position(|argument| *argument == "--") {
            Some(at) => arguments.split_at(at),
            None => (arguments, &[][..]),
        };
        let mut program = Command::new(bed::built("axiom"));
        program
            .arg(command)
            .args(front)
            .arg("--dir")
            .arg(&self.dir)
            .args(back)
            .env("NO_COLOR", "1");
        program
    }

    pub(crate) fn say(&self, command: &str, arguments: &[&str]) -> Said {
        let mut running = self.start(command, arguments);
        running.stdin = None;
        said(&mut running)
    }

    /// Starts a detached task that is a shell script, and gives its id.
    pub(crate) fn detached(&self, script: &str) -> String {
        let said = self.say("run", &["--detach", "--", "sh", "-c", script]);
        assert_eq!((said.code, said.data.len()), (Some(0), 1), "{}", said.talk);
        said.data[0].clone()
    }

    /// By their ids.
    pub(crate) fn states(&self) -> BTreeMap<String, String> {
        let said = self.say("ps", &["--json"]);
        let rows: Vec<Value> = serde_json::from_str(&said.data.join("\n")).expect("it is JSON");
        let text = |row: &Value, name: &str| row[name].as_str().expect("it is a text").to_owned();
        rows.iter()
            .map(|row| (text(row, "id"), text(row, "state")))
            .collect()
    }

    pub(crate) fn until_state(&self, id: &str, wanted: &str) {
        wait::until(&format!("task {id}: {wanted}"), || {
            (self.states().get(id)? == wanted).then_some(())
        });
    }
}

impl Drop for Tasks {
    /// Whatever a test leaves behind ends with it.
    fn drop(&mut self) {
        for entry in std::fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let id = entry.file_name().into_string().unwrap_or_default();
            let mut kill = Command::new(bed::built("axiom"));
            kill.args(["kill", &id, "--dir"]).arg(&self.dir);
            drop(kill.output());
        }
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

pub(crate) fn said(running: &mut Running) -> Said {
    Said {
        data: running.stdout.all(),
        talk: running.stderr.all().join("\n"),
        code: running.ended().code(),
    }
}

/// The text behind `[task] `.
fn text(line: &str) -> &str {
    let (mark, text) = line
        .split_once("] ")
        .unwrap_or_else(|| panic!("no mark: {line:?}"));
    assert!(mark.starts_with('[') && mark.len() >= 9, "{line:?}");
    text
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).expect("it is there").next().is_none()
}

#[test]
fn what_tasks_say_is_shown_line_by_line_and_all_of_it() {
    let tasks = Tasks::new("lines");
    let script =
        "for i in 1 2 3 4 5 6 7 8 9; do echo $AXIOM_TASK_NUMBER line $i; done; exit $AXIOM_TASK_NUMBER";
    let said = tasks.say("run", &["--count", "20", "--", "sh", "-c", script]);
    assert_eq!(said.code, Some(19), "{}", said.talk);
    let mut by_task: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in &said.data {
        by_task
            .entry(line.split(' ').next().unwrap())
            .or_default()
            .push(text(line));
    }
    assert_eq!(by_task.len(), 20);
    let mut numbers: Vec<&str> = Vec::new();
    for lines in by_task.values() {
        let (number, _) = lines[0].split_once(' ').unwrap();
        let expected: Vec<String> = (1..10).map(|line| format!("{number} line {line}")).collect();
        assert_eq!(lines, &expected);
        numbers.push(number);
    }
    numbers.sort_by_key(|number| number.parse::<u32>().unwrap());
    assert!(
        numbers
            .iter()
            .map(|number| number.parse::<u32>().unwrap())
            .eq(0..20)
    );
    assert_eq!(said.talk.matches("exit ").count(), 19, "{}", said.talk);
    // What was shown is forgotten.
    assert!(is_empty(&tasks.dir));
}

#[test]
fn one_task_reads_what_we_are_given() {
    let tasks = Tasks::new("input");
    let mut running = tasks.start("run", &["--", "sh", "-c", "tr a-z A-Z; echo err >&2; exit 3"]);
    use std::io::Write as _;
    let mut input = running.stdin.take().unwrap();
    input.write_all(b"hello\nlast").unwrap();
    drop(input);
    let said = said(&mut running);
    let lines: Vec<&str> = said.data.iter().map(|line| text(line)).collect();
    assert_eq!((lines, said.code), (vec!["HELLO", "LAST"], Some(3)));
    assert!(
        said.talk.contains("] err\n") && said.talk.contains("] exit 3"),
        "{}",
        said.talk
    );
}

#[test]
fn a_terminal_is_one_and_ours_is_not_steered() {
    let tasks = Tasks::new("terminal");
    let script = "tty; printf '\\033[2Jclear\\033]52;c;aGk=\\007 \\033[31mred\\n'";
    let said = tasks.say("run", &["--terminal", "--", "sh", "-c", script]);
    let lines: Vec<&str> = said.data.iter().map(|line| text(line)).collect();
    assert!(lines[0].starts_with("/dev/pts/"), "{lines:?}");
    assert_eq!((lines[1], said.code), ("clear red", Some(0)));
}

#[test]
fn interrupted_it_interrupts_and_then_kills() {
    let tasks = Tasks::new("interrupt");
    let script = "trap 'echo caught' INT; echo ready; while :; do sleep 0.1; done";
    let mut running = tasks.start("run", &["--count", "3", "--", "sh", "-c", script]);
    let all = |word: &'static str| {
        let stdout = running.stdout.clone();
        wait::until(word, || (stdout.text().matches(word).count() == 3).then_some(()));
    };
    all("ready");
    running.signal(Signal::INT);
    all("caught");
    assert!(!running.has_ended());
    running.signal(Signal::INT);
    let said = said(&mut running);
    assert_eq!(said.code, Some(137), "{}", said.talk);
    assert_eq!(said.talk.matches("killed: ").count(), 3, "{}", said.talk);
}

#[test]
fn limits_are_kept_and_named() {
    let tasks = Tasks::new("limits");
    let said = tasks.say(
        "run",
        &["--limit", "wall=300ms", "--", "sh", "-c", "echo begun; sleep 60"],
    );
    assert_eq!((said.data.len(), said.code), (1, Some(137)), "{}", said.talk);
    assert!(
        said.talk.contains("killed: beyond its limit wall of 300ms"),
        "{}",
        said.talk
    );
    let said = tasks.say("run", &["--limit", "output=10KB", "--", "yes"]);
    assert_eq!(said.code, Some(137));
    assert!(
        said.talk.contains("beyond its limit output_bytes of 10000 B"),
        "{}",
        said.talk
    );
}

#[test]
fn what_cannot_run_says_why_and_leaves_nothing() {
    let tasks = Tasks::new("bad");
    let said = tasks.say("run", &["--count", "5", "--", "no-such-program"]);
    assert_eq!((said.data.len(), said.code), (0, Some(127)));
    assert!(
        said.talk.contains("no-such-program cannot be started"),
        "{}",
        said.talk
    );
    assert!(said.talk.contains("hint: is it installed"), "{}", said.talk);
    assert!(is_empty(&tasks.dir));
    let check = |arguments: &[&str], words: &str| {
        let said = tasks.say("run", arguments);
        assert_eq!(said.code, Some(2), "{}", said.talk);
        assert!(said.talk.contains(words), "{}", said.talk);
    };
    check(
        &["--limit", "speed=3", "--", "true"],
        "there is no limit \"speed\"",
    );
    check(&["--limit", "wall=3", "--", "true"], "times are like");
    check(
        &["--limit", "memory=1GiB", "--", "true"],
        "limits.memory_bytes cannot be kept by the executor `process`",
    );
    check(
        &["--network", "host", "--", "true"],
        "grants say what a sandbox opens",
    );
    check(&["--limit", "wall=0s", "--", "true"], "limits.wall is too small");
    check(&["--count", "0", "--", "true"], "--count");
}

#[test]
fn a_detached_task_is_watched_steered_and_forgotten() {
    let tasks = Tasks::new("detached");
    let id = tasks.detached("trap 'echo bye; exit 5' TERM; echo hello; while :; do sleep 0.05; done");
    tasks.until_state(&id, "runs");
    let mut logs = tasks.start("logs", &["-f", id.get(..6).unwrap()]);
    logs.stdout.wait("what it said", |line| line.ends_with("] hello"));
    let refused = tasks.say("rm", &[&id]);
    assert!(refused.talk.contains("still runs"), "{}", refused.talk);
    assert_eq!(tasks.say("kill", &[&id, "--signal", "15"]).code, Some(0));
    let followed = said(&mut logs);
    assert_eq!(text(followed.data.last().unwrap()), "bye");
    assert!(followed.talk.contains("] exit 5"), "{}", followed.talk);
    assert_eq!(tasks.states()[&id], "exit 5");
    let shown: Vec<String> = tasks.say("logs", &[]).data;
    assert_eq!(
        shown.iter().map(|line| text(line)).collect::<Vec<_>>(),
        ["hello", "bye"]
    );
    assert_eq!(tasks.say("rm", &[]).code, Some(0));
    assert!(is_empty(&tasks.dir));
    assert_eq!(tasks.say("logs", &["abc"]).code, Some(3));
}

#[test]
fn killing_says_why_and_leaves_no_process() {
    let tasks = Tasks::new("kill");
    let id = tasks.detached("setsid sleep 600 & echo $!; sleep 600");
    let daemon = wait::until("the daemon's pid", || {
        let line = tasks.say("logs", &[&id]).data.first()?.clone();
        Some(text(&line).to_owned())
    });
    assert!(Path::new("/proc").join(&daemon).exists());
    assert_eq!(
        tasks.say("kill", &[&id, "--why", "no longer needed"]).code,
        Some(0)
    );
    assert_eq!(tasks.states()[&id], "killed: no longer needed");
    assert!(!Path::new("/proc").join(&daemon).exists());
    let again = tasks.say("kill", &[&id]);
    assert!(again.talk.contains("had ended"), "{}", again.talk);
}

#[test]
fn tasks_outlive_whoever_started_them_and_end_once() {
    const COUNT: usize = 40;
    let tasks = Tasks::new("outlive");
    // Each waits for a file, so that all of them run when their supervisor dies.
    let go = tasks.dir.join("go");
    let script = format!(
        "echo ready; while [ ! -e {} ]; do sleep 0.1; done; echo done; exit $((AXIOM_TASK_NUMBER % 3))",
        go.display()
    );
    let count = COUNT.to_string();
    let mut running = tasks.start("run", &["--count", &count, "--", "sh", "-c", &script]);
    let stdout = running.stdout.clone();
    wait::until("all are ready", || {
        (stdout.text().matches("ready").count() == COUNT).then_some(())
    });
    running.signal(Signal::KILL);
    running.ended();
    // All are still there, and are found.
    let states = tasks.states();
    assert_eq!(states.len(), COUNT);
    assert!(states.values().all(|state| state == "runs"), "{states:?}");
    std::fs::write(&go, "").unwrap();
    let ended = |state: &String| matches!(state.as_str(), "exit 0" | "exit 1" | "exit 2");
    let states = wait::until("all have ended", || {
        Some(tasks.states()).filter(|states| states.values().all(ended))
    });
    assert_eq!(states.len(), COUNT);
    let logs = tasks.say("logs", &[]).data;
    for word in ["ready", "done"] {
        assert_eq!(logs.iter().filter(|line| text(line) == word).count(), COUNT);
    }
}

#[test]
fn a_task_whose_shim_was_killed_is_lost_and_leaves_no_process() {
    let tasks = Tasks::new("lost");
    let id = tasks.detached("echo $PPID $$; exec sleep 600");
    let line = wait::until("its pids", || tasks.say("logs", &[&id]).data.first().cloned());
    let (shim, command) = text(&line).split_once(' ').unwrap();
    let pid = shim
        .parse()
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    let is_gone = || {
        let stat = std::fs::read_to_string(format!("/proc/{command}/stat"));
        stat.map_or(true, |stat| stat.contains(") Z ")).then_some(())
    };
    wait::until("its command has ended", is_gone);
    assert!(tasks.states()[&id].starts_with("lost: "), "{:?}", tasks.states());
    assert_eq!(tasks.say("rm", &[&id]).code, Some(0));
}

/// Runs a script in a sandbox, in a folder of its own; `None`, with the reason printed, where this machine has no sandbox.
fn boxed(tasks: &Tasks, more: &[&str], script: &str) -> Option<Said> {
    let folder = bed::scratch("boxed");
    let mut command = Command::new(bed::built("axiom"));
    command
        .args(["run", "--executor", "sandbox", "--dir"])
        .arg(&tasks.dir)
        .args(more)
        .args(["--", "sh", "-c", script])
        .current_dir(&folder)
        .env("NO_COLOR", "1");
    let mut running = Running::start("axiom run", &mut command);
    running.stdin = None;
    let said = said(&mut running);
    drop(std::fs::remove_dir_all(&folder));
    if said.code == Some(127) && said.talk.contains("there is no sandbox on this machine") {
        eprintln!("skipped: {}", said.talk);
        return None;
    }
    Some(said)
}

#[test]
fn a_sandbox_has_the_machines_programs_and_its_own_folder_and_nothing_else() {
    let tasks = Tasks::new("sandbox");
    let script = "echo mine > file && cat file; ls /home /root 2>&1 | head -1; ps ax 2>/dev/null | wc -l; \
                  echo x > /usr/x || echo denied; ls /proc | grep -c '^[0-9]'; exit 9";
    let Some(said) = boxed(&tasks, &[], script) else {
        return;
    };
    assert_eq!(said.code, Some(9), "{} {:?}", said.talk, said.data);
    let lines: Vec<&str> = said.data.iter().map(|line| text(line)).collect();
    assert_eq!(lines[0], "mine", "{lines:?}");
    assert!(lines[1].contains("No such file"), "{lines:?}");
    assert!(lines.contains(&"denied"), "{lines:?}");
    // Init, the shell, and what it runs.
    assert!(lines.last().unwrap().parse::<u32>().unwrap() <= 4, "{lines:?}");
}

#[test]
fn a_sandbox_reaches_nobody_unless_it_may() {
    let tasks = Tasks::new("network");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!(
        "python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {port}), 2)' 2>/dev/null && echo reached || echo alone"
    );
    let reach = |whom: &str| {
        let python = bed::python_home();
        let more = ["--network", whom, "--read", &python];
        Some(text(boxed(&tasks, &more, &script)?.data.first()?).to_owned())
    };
    let Some(alone) = reach("none") else { return };
    assert_eq!(alone, "alone");
    assert_eq!(reach("host").as_deref(), Some("reached"));
}

#[test]
fn a_sandboxs_limits_are_kept_and_named() {
    let tasks = Tasks::new("boxed-limits");
    let hog = "x=$(head -c 300000000 /dev/zero | tr '\\0' x); echo ${#x}";
    let Some(said) = boxed(&tasks, &["--limit", "memory=64MiB"], hog) else {
        return;
    };
    if said.code == Some(127) {
        // What is missing and how to get it is said.
        assert!(
            said.talk.contains("its limits cannot be kept") && said.talk.contains("hint:"),
            "{}",
            said.talk
        );
        eprintln!("skipped: {}", said.talk);
        return;
    }
    assert!(
        said.talk.contains("beyond its limit memory_bytes of 67108864 B"),
        "{}",
        said.talk
    );
    let bomb = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; echo $(ls /proc | grep -c '^[0-9]')";
    let said = boxed(&tasks, &["--limit", "pids=8", "--limit", "wall=20s"], bomb).unwrap();
    assert_ne!(said.code, Some(0), "{} {:?}", said.talk, said.data);
    assert!(said.talk.to_lowercase().contains("fork"), "{}", said.talk);
}

#[test]
fn a_sandbox_that_is_killed_leaves_no_process() {
    let tasks = Tasks::new("boxed-kill");
    let Some(_) = boxed(&tasks, &[], "true") else {
        return;
    };
    let folder = bed::scratch("boxed-kill-folder");
    let mut command = Command::new(bed::built("axiom"));
    let script = "setsid sleep 987654 & sleep 987654";
    command
        .args(["run", "--detach", "--executor", "sandbox", "--dir"])
        .arg(&tasks.dir)
        .args(["--", "sh", "-c", script])
        .current_dir(&folder);
    let id = said(&mut Running::start("axiom run", &mut command)).data[0].clone();
    let sleepers = || {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        lines.filter(|line| line == b"sleep\x00987654\x00").count()
    };
    wait::until("both sleep", || (sleepers() == 2).then_some(()));
    assert_eq!(tasks.say("kill", &[&id]).code, Some(0));
    assert_eq!(sleepers(), 0);
    assert_eq!(tasks.states()[&id], "killed: axiom kill");
}

/// With a Python that can be a zygote: the machine's own, since a wrapper starts another one each time.
#[test]
fn zygotes_tasks_are_tasks_like_others() {
    let python = "/usr/bin/python3";
    let version = Command::new(python)
        .args(["-c", "import sys; sys.exit(sys.version_info < (3, 9))"])
        .status();
    if !version.is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no Python 3.9 at {python}");
        return;
    }
    let tasks = Tasks::new("zygotes");
    let code = "import os, sys; print(os.environ['AXIOM_TASK_NUMBER'], os.getppid()); sys.exit(3)";
    let arguments = [
        "--executor",
        "zygote",
        "--preload",
        "json",
        "--count",
        "5",
        "--",
        python,
        "-c",
        code,
    ];
    let said = tasks.say("run", &arguments);
    assert_eq!(said.code, Some(3), "{}", said.talk);
    let (mut numbers, mut parents): (Vec<&str>, Vec<&str>) = said
        .data
        .iter()
        .map(|line| text(line).split_once(' ').unwrap())
        .unzip();
    numbers.sort_unstable();
    parents.dedup();
    assert_eq!((numbers, parents.len()), (vec!["0", "1", "2", "3", "4"], 1));
    assert!(is_empty(&tasks.dir));
    let refused = tasks.say(
        "run",
        &[
            "--executor",
            "zygote",
            "--limit",
            "memory=1GiB",
            "--",
            python,
            "-c",
            "1",
        ],
    );
    assert!(
        refused
            .talk
            .contains("limits.memory_bytes cannot be kept by the executor `zygote`")
            && refused.talk.contains("hint: the executor `sandbox` keeps it"),
        "{}",
        refused.talk
    );
    assert_eq!(refused.code, Some(2));
    // One that nobody waits for goes on when we are gone, and its zygote ends by itself.
    let slow = "import time; print('ready', flush=True); time.sleep(1000)";
    let detached = tasks.say(
        "run",
        &["--executor", "zygote", "--detach", "--", python, "-c", slow],
    );
    let id = &detached.data[0];
    tasks.until_state(id, "runs");
    assert_eq!(tasks.say("kill", &[id]).code, Some(0));
    tasks.until_state(id, "killed: axiom kill");
}

#[test]
fn containers_are_tasks_like_others() {
    let tasks = Tasks::new("containers");
    let script = "echo $AXIOM_TASK_NUMBER; echo $$; exit 4";
    for runtime in ["runc", "crun"] {
        let arguments = [
            "--executor",
            "oci",
            "--runtime",
            runtime,
            "--limit",
            "wall=30s",
            "--",
            "sh",
            "-c",
            script,
        ];
        let said = tasks.say("run", &arguments);
        if said.code == Some(127) {
            // Not there, not allowed, or it knows no control groups like these.
            eprintln!("skipped: {runtime}: {}", said.talk);
            continue;
        }
        assert_eq!(said.code, Some(4), "{}", said.talk);
        let lines: Vec<&str> = said.data.iter().map(|line| text(line)).collect();
        // It is the first process there is.
        assert_eq!(lines, ["0", "1"]);
        assert!(is_empty(&tasks.dir));
    }
    let useless = tasks.say("run", &["--root", "/", "--", "true"]);
    assert!(
        useless.talk.contains("--root is for the executor `oci`"),
        "{}",
        useless.talk
    );
}
