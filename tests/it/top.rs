//! The tasks live: seen, sorted, filtered, looked into, steered.

use axiom_tests::pty::Pty;
use axiom_tests::wait;

use crate::running::Tasks;

fn top(tasks: &Tasks) -> Pty {
    Pty::start(&tasks.command("top", &[]), 140, 20)
}

#[test]
fn tasks_are_seen_and_steered() {
    let tasks = Tasks::new("top");
    let evil = "printf 'all is \\033[2J\\033]0;owned\\007 well\\n'; sleep 600";
    let id = tasks.detached(evil);
    let done = tasks.detached("echo over");
    tasks.until_state(&done, "exit 0");
    let mut live = top(&tasks);
    live.wait_screen(&id);
    live.wait_screen(&done);
    live.wait_screen("2 tasks, 1 live");
    // Its last line, without what would steer us.
    live.wait_screen("all is  well");
    live.wait_screen("exit 0");
    live.write("f");
    // In its row: what is done next is the opposite.
    live.wait_screen("frozen         process");
    tasks.until_state(&id, "frozen");
    live.write("f");
    live.wait_screen("runs           process");
    tasks.until_state(&id, "runs");
    // Nothing without a yes.
    live.write("k");
    live.wait_screen("with all that it has started? y / n");
    live.write("n");
    live.write("\r");
    live.wait_screen("last lines of");
    assert_eq!(tasks.states()[&id], "runs");
    live.write("q");
    live.write("ky");
    tasks.until_state(&id, "killed: axiom top");
    live.wait_screen("2 tasks, 0 live");
    live.write("/over\r");
    live.wait_screen("1 tasks like");
    live.resize(100, 30);
    // The library that reads the terminal may keep a key that comes with a new size until the next key comes.
    live.wait("\x1b[30;1H");
    live.write("q");
    assert_eq!(live.ended(), Some(0));
    assert!(live.is_cooked());
    let text = live.text();
    assert!(!text.contains("owned\x07") && !text.contains("\x1b]"), "{text:?}");
    // The screen that was there before is back.
    assert!(
        text.contains("\x1b[?1049h") && text.trim_end().ends_with("\x1b[?25h"),
        "{text:?}"
    );
}

#[test]
fn an_end_from_outside_puts_the_terminal_back() {
    let tasks = Tasks::new("top-ends");
    let mut live = top(&tasks);
    live.wait_screen("0 tasks");
    live.signal(rustix::process::Signal::TERM);
    assert_eq!(live.ended(), Some(0));
    assert!(live.is_cooked());
    assert!(live.text().ends_with("\x1b[?1049l\x1b[?25h"));
}

#[test]
fn once_is_a_table_and_without_a_terminal_there_is_nothing_else() {
    let tasks = Tasks::new("top-once");
    let id = tasks.detached("while :; do :; done");
    let quiet = tasks.detached("echo hello; sleep 600");
    wait::until("it has said hello", || {
        (tasks.say("logs", &[&quiet]).data.len() == 1).then_some(())
    });
    let said = tasks.say("top", &["--once"]);
    assert_eq!(
        (said.code, said.data.len()),
        (Some(0), 3),
        "{:?} {}",
        said.data,
        said.talk
    );
    let row = |id: &str| {
        said.data
            .iter()
            .find(|line| line.starts_with(id))
            .unwrap()
            .clone()
    };
    assert!(
        row(&quiet).ends_with("hello") && row(&quiet).contains("process"),
        "{:?}",
        said.data
    );
    // One of them works and the other one sleeps.
    let cpu = |id: &str| {
        let row = row(id);
        let columns: Vec<&str> = row
            .split("  ")
            .filter(|cell| !cell.is_empty())
            .map(str::trim)
            .collect();
        columns[4]
            .parse::<f64>()
            .unwrap_or_else(|_| panic!("{columns:?}"))
    };
    assert!(cpu(&id) > 5.0 && cpu(&quiet) < 5.0, "{:?}", said.data);
    let refused = tasks.say("top", &[]);
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.talk.contains("needs a terminal") && refused.talk.contains("--once"),
        "{}",
        refused.talk
    );
}

/// Without a folder it looks where the configuration here says, too.
#[test]
fn tasks_of_a_gateway_are_seen_by_its_configuration() {
    let gateway = axiom_tests::gateway::Gateway::start(&crate::tasks_server::config());
    let client = &mut axiom_tests::peer::Stateless::new(&gateway.server("tasks"));
    let task = crate::tasks_server::spawn(client, serde_json::json!({ "shell": "echo said; sleep 300" }));
    let own = Tasks::new("top-own");
    let command = |arguments: &[&str]| {
        let mut command = std::process::Command::new(axiom_tests::bed::built("axiom"));
        command
            .args(arguments)
            .current_dir(gateway.file().parent().expect("it lies in a folder"))
            .env("XDG_STATE_HOME", &own.dir)
            .env("NO_COLOR", "1");
        command
    };
    let detached = command(&["run", "--detach", "--", "sleep", "300"])
        .output()
        .expect("axiom starts");
    let detached = String::from_utf8_lossy(&detached.stdout).trim().to_owned();
    let table = command(&["top", "--once"]).output().expect("axiom starts");
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains(&task) && table.contains(&detached), "{table}");
    let mut live = Pty::start(&command(&["top"]), 140, 20);
    live.wait_screen(&task);
    live.wait_screen("2 tasks, 2 live");
    live.write("/sleep\r\r");
    live.wait_screen("last lines of");
    live.write("q");
    live.write("ky");
    live.wait_screen("killed");
    live.write("q");
    assert_eq!(live.ended(), Some(0));
    for id in [&task, &detached] {
        drop(command(&["kill", id]).output());
    }
}
