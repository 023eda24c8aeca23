//! Being at a task's terminal, or at its input, and leaving it again.

use axiom_tests::pty::Pty;
use axiom_tests::wait;
use rustix::process::Signal;

use crate::running::Tasks;

const LEAVE: &str = "\x1d";

/// Says what happens to it. A shell would not hear of signals while it reads, or stop reading.
const TALKER: &str = r#"
import os, signal, sys
def say(*words):
    os.write(1, (" ".join(words) + "\n").encode())
def resized(*_):
    size = os.get_terminal_size(0)
    say("size", str(size.lines), str(size.columns))
signal.signal(signal.SIGWINCH, resized)
signal.signal(signal.SIGINT, lambda *_: say("caught"))
say("ready")
while line := sys.stdin.readline():
    say("got", line.strip())
sys.exit(7)
"#;

/// A detached task, and that it has begun.
fn detached(tasks: &Tasks, options: &[&str], command: &[&str]) -> String {
    let arguments = [&["--detach"], options, &["--"], command].concat();
    let said = tasks.say("run", &arguments);
    assert_eq!((said.code, said.data.len()), (Some(0), 1), "{}", said.talk);
    let id = said.data[0].clone();
    wait::until("it has begun", || {
        (!tasks.say("logs", &[&id]).data.is_empty()).then_some(())
    });
    id
}

fn talker(tasks: &Tasks, options: &[&str]) -> String {
    detached(tasks, options, &["python3", "-c", TALKER])
}

fn with_terminal(tasks: &Tasks, script: &str) -> String {
    detached(tasks, &["--terminal"], &["sh", "-c", script])
}

fn attach(tasks: &Tasks, arguments: &[&str]) -> Pty {
    Pty::start(&tasks.command("attach", arguments), 100, 30)
}

#[test]
fn a_terminal_is_shared_left_and_taken_again() {
    let tasks = Tasks::new("attach");
    let id = talker(&tasks, &["--terminal"]);
    let mut first = attach(&tasks, &[&id]);
    first.wait("attached; ctrl-] leaves it alone");
    // What it said before, then the size that it has now.
    first.wait("ready");
    first.wait("size 30 100");
    assert!(!first.is_cooked());
    first.write("hello\r");
    first.wait("got hello");
    // Shown once, by the task's own terminal.
    assert_eq!(first.text().matches("hello").count(), 2, "{:?}", first.text());
    first.resize(90, 20);
    first.wait("size 20 90");
    first.write(LEAVE);
    first.wait("goes on; to be back: axiom attach");
    assert_eq!(first.ended(), Some(0));
    assert!(first.is_cooked());
    assert_eq!(tasks.states()[&id], "runs");
    let mut again = attach(&tasks, &[&id]);
    again.wait("got hello");
    again.write("\x04");
    assert_eq!(again.ended(), Some(7), "{:?}", again.text());
    assert!(again.text().contains("] exit 7"), "{:?}", again.text());
    assert!(again.is_cooked());
    // It has ended, and can still be looked at.
    let mut after = attach(&tasks, &[&id]);
    assert_eq!(after.ended(), Some(7));
    assert!(after.text().contains("got hello"));
}

#[test]
fn keys_go_to_the_task_and_signals_to_us() {
    let tasks = Tasks::new("attach-keys");
    let id = with_terminal(
        &tasks,
        "trap 'echo caught' INT; echo ready; while :; do sleep 0.1; done",
    );
    let mut inside = attach(&tasks, &[&id, "--detach-key", "ctrl-a"]);
    inside.wait("ctrl-a leaves it alone");
    inside.wait("ready");
    inside.until_raw();
    inside.write("\x03");
    inside.wait("caught");
    // No longer the key that leaves.
    inside.write(LEAVE);
    inside.signal(Signal::TERM);
    assert_eq!(inside.ended(), Some(130));
    assert!(inside.is_cooked());
    assert_eq!(tasks.states()[&id], "runs");
}

#[test]
fn what_a_program_in_full_screen_has_changed_is_put_back() {
    let tasks = Tasks::new("attach-screen");
    let id = with_terminal(
        &tasks,
        "printf '\\033[?1049h\\033[?25l\\033[Hfull screen'; sleep 600",
    );
    let mut inside = attach(&tasks, &[&id]);
    inside.wait("full screen");
    inside.until_raw();
    inside.write(LEAVE);
    assert_eq!(inside.ended(), Some(0));
    let text = inside.text();
    let (_, after) = text.split_once("full screen").unwrap();
    assert!(
        after.contains("\x1b[?1049l") && after.contains("\x1b[?25h"),
        "{text:?}"
    );
}

#[test]
fn who_only_looks_changes_nothing() {
    let tasks = Tasks::new("attach-looks");
    let id = talker(&tasks, &["--terminal"]);
    let mut looks = attach(&tasks, &[&id, "--read-only"]);
    looks.wait("ready");
    looks.until_raw();
    looks.write("hello\r\x03");
    assert_eq!(looks.ended(), Some(0), "{:?}", looks.text());
    // Whoever comes next finds that nothing has happened.
    let mut next = attach(&tasks, &[&id]);
    next.wait("size 30 100");
    next.write("bye\r");
    next.wait("got bye");
    next.write(LEAVE);
    next.ended();
    assert!(
        !looks.text().contains("size") && !next.text().contains("got hello"),
        "{:?}",
        next.text()
    );
}

#[test]
fn a_task_without_a_terminal_gets_lines() {
    let tasks = Tasks::new("attach-lines");
    let id = talker(&tasks, &[]);
    let mut left = attach(&tasks, &[&id]);
    left.wait("] ready");
    left.write("one\r");
    left.wait("] got one");
    // As it is typed: no Enter is needed to leave.
    left.write(LEAVE);
    assert_eq!(left.ended(), Some(0), "{:?}", left.text());
    let mut closes = attach(&tasks, &[&id]);
    closes.wait("] got one");
    closes.write("two\r");
    closes.wait("] got two");
    closes.write("\x03");
    closes.wait("] caught");
    closes.write("\x04");
    assert_eq!(closes.ended(), Some(7), "{:?}", closes.text());
}

#[test]
fn input_may_come_from_a_pipe() {
    use std::io::Write as _;
    let tasks = Tasks::new("attach-pipe");
    let id = tasks.detached("tr a-z A-Z; exit 3");
    let mut attached = tasks.start("attach", &[&id]);
    let mut input = attached.stdin.take().unwrap();
    // What comes out of a pipe is no key.
    input.write_all(b"hello\x1dworld\n").unwrap();
    drop(input);
    let said = crate::running::said(&mut attached);
    assert_eq!(said.code, Some(3), "{}", said.talk);
    assert!(
        said.data[0].contains("HELLO") && said.data[0].ends_with("WORLD"),
        "{:?}",
        said.data
    );
}

#[test]
fn what_is_typed_at_a_task_that_was_just_started_is_shown_once() {
    let tasks = Tasks::new("run-terminal");
    let script = "stty size; echo ready; read line; echo \"got $line\"; exit 5";
    let command = tasks.command("run", &["--terminal", "--", "sh", "-c", script]);
    let mut inside = Pty::start(&command, 77, 21);
    inside.wait("21 77");
    inside.wait("ready");
    inside.until_raw();
    inside.write("hello\r");
    inside.wait("got hello");
    assert_eq!(inside.ended(), Some(5));
    assert_eq!(inside.text().matches("hello").count(), 2, "{:?}", inside.text());
    assert!(inside.is_cooked());
    // As every task that was shown to its end.
    assert!(tasks.states().is_empty());
}

#[test]
fn what_cannot_be_attached_to_says_why() {
    let tasks = Tasks::new("attach-none");
    let none = tasks.say("attach", &["abc"]);
    assert_eq!(none.code, Some(3), "{}", none.talk);
    let key = tasks.say("attach", &["abc", "--detach-key", "x"]);
    assert_eq!(key.code, Some(2));
    assert!(key.talk.contains("keys are like ctrl-]"), "{}", key.talk);
}
