//! `axiom run --agent`, with an agent that behaves as real ones do in a terminal.

use std::path::PathBuf;
use std::process::Command;

use axiom_tests::child::Running;
use axiom_tests::{bed, wait};
use serde_json::json;

/// A folder with a configuration, where an agent works.
struct Scene {
    folder: PathBuf,
}

struct Said {
    /// Without whose it is.
    lines: Vec<String>,
    talk: String,
    code: Option<i32>,
}

impl Scene {
    /// An agent that runs this script, with these lines in its section, and these rules.
    fn new(name: &str, script: &str, section: &str, rules: &str) -> Scene {
        let folder = bed::scratch(name);
        let program = bed::built("axiom-fake-agent");
        let command = json!([program, "--script", script]);
        let text = format!("[agents.fake]\ncommand = {command}\n{section}\n{rules}\n");
        std::fs::write(folder.join("axiom.toml"), text).expect("it is ours");
        Scene { folder }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(bed::built("axiom"));
        command.current_dir(&self.folder).env("NO_COLOR", "1");
        command
    }

    fn start(&self, prompt: &str) -> Running {
        let mut command = self.command();
        command.args(["run", "--agent", "fake", "--dir", "tasks", prompt]);
        Running::start("axiom run --agent", &mut command)
    }

    fn run(&self, prompt: &str) -> Said {
        let mut running = self.start(prompt);
        running.stdin = None;
        self.said(&mut running)
    }

    fn said(&self, running: &mut Running) -> Said {
        let lines = running.stdout.all();
        let said = Said {
            lines: lines.iter().map(|line| text(line).to_owned()).collect(),
            talk: running.stderr.all().join("\n"),
            code: running.ended().code(),
        };
        // What was shown to its end is forgotten.
        let left = std::fs::read_dir(self.folder.join("tasks")).expect("it was made");
        assert_eq!(left.count(), 0, "{}", said.talk);
        said
    }
}

impl Said {
    fn count(&self, line: &str) -> usize {
        self.lines.iter().filter(|said| *said == line).count()
    }
}

fn text(line: &str) -> &str {
    let (_, text) = line
        .split_once(']')
        .unwrap_or_else(|| panic!("no mark: {line:?}"));
    text.strip_prefix(' ').unwrap_or(text)
}

const TYPED: &str = r#"
prompt = "typed"
ready = "^> $"
exit = "/exit"
idle_timeout = "1s"
approve = [{ pattern = '\(y/n\)', answer = "y" }]
"#;

#[test]
fn a_prompt_is_delivered_and_questions_are_answered_once_each() {
    let script = "say at: {prompt}; spin 300; ask Run make?; ask Run make?; edit made.txt yes; exit 5";
    let scene = Scene::new("agent", script, TYPED, "");
    let said = scene.run("fix\nit");
    assert_eq!(said.code, Some(5), "{} {:?}", said.talk, said.lines);
    assert_eq!(said.count("at: fix it"), 1, "{:?}", said.lines);
    assert_eq!(said.count("Run make? (y/n) y"), 2, "{:?}", said.lines);
    assert_eq!(
        said.talk.matches("answered \"y\": Run make? (y/n)").count(),
        2,
        "{}",
        said.talk
    );
    let made = std::fs::read_to_string(scene.folder.join("made.txt"));
    assert_eq!(made.expect("it was allowed to"), "yes");
}

#[test]
fn one_that_waits_for_us_is_told_to_exit() {
    let section = format!("{TYPED}\nbracketed_paste = true");
    let said = Scene::new("agent-exit", "say at: {prompt}; spin 700", &section, "").run("one\ntwo");
    assert_eq!(said.code, Some(0), "{} {:?}", said.talk, said.lines);
    assert!(
        said.count("at: one") == 1 && said.count("two") >= 1,
        "{:?}",
        said.lines
    );
}

#[test]
fn a_prompt_may_be_an_argument_or_standard_input() {
    let scene = Scene::new("agent-argument", "say at: {prompt}; exit 3", "", "");
    let said = scene.run("fix it");
    assert_eq!(
        (said.code, &said.lines[..]),
        (Some(3), &["at: fix it".to_owned()][..])
    );
    let scene = Scene::new("agent-stdin", "", "prompt = \"stdin\"", "");
    let program = bed::built("axiom-fake-agent");
    let command = json!([program, "--print", "--script", "say at: {prompt}; err bye"]);
    let text = format!("[agents.fake]\ncommand = {command}\nprompt = \"stdin\"\n");
    std::fs::write(scene.folder.join("axiom.toml"), text).expect("it is ours");
    let said = scene.run("fix it");
    assert_eq!((said.code, said.count("at: fix it")), (Some(0), 1));
    assert!(said.talk.contains("] bye"), "{}", said.talk);
}

#[test]
fn a_rule_types_once_and_its_own_words_are_no_reason() {
    let rules = r#"
[[rules]]
name = "go-on"
agent = "fake"
pattern = "limit|once more"
type = "try once more"
cool_down = "0s"
total = 2
"#;
    // Each prompt runs the script: the second says the same, for which the rule has one more action.
    let script = "say at: {prompt}; say the limit is reached; spin 400";
    let said = Scene::new("agent-rule", script, TYPED, rules).run("fix it");
    assert_eq!(said.code, Some(0), "{} {:?}", said.talk, said.lines);
    assert_eq!(said.talk.matches("rule go-on: types").count(), 2, "{}", said.talk);
    assert_eq!(said.talk.matches("does nothing more").count(), 1, "{}", said.talk);
    assert_eq!(said.count("at: try once more"), 2, "{:?}", said.lines);
    assert_eq!(said.count("at: fix it"), 1, "{:?}", said.lines);
}

#[test]
fn silence_kills_and_the_end_names_the_rule() {
    let rules = "[[rules]]\nname = \"stuck\"\nsilence = \"1s\"\nkill = true\n";
    // A mark that turns says nothing.
    let said = Scene::new("agent-silence", "say begun; spin 60000", "", rules).run("x");
    assert_eq!(said.code, Some(137), "{} {:?}", said.talk, said.lines);
    assert!(
        said.talk.contains("] killed: rule stuck: it said nothing for 1s"),
        "{}",
        said.talk
    );
}

#[test]
fn files_that_nobody_changes_give_it_another_prompt() {
    let rules = "[[rules]]\nname = \"lazy\"\nunchanged = \"2s\"\nredirect = \"just say it\"\ntotal = 1\n";
    let script = "say at: {prompt}; spin 20000";
    let section = format!("{TYPED}\nwork_timeout = \"6s\"");
    let said = Scene::new("agent-lazy", script, &section, rules).run("x");
    // It goes on for too long with that one, too.
    assert_eq!(said.code, Some(137), "{} {:?}", said.talk, said.lines);
    assert!(
        said.talk.contains("rule lazy: gives it another prompt"),
        "{}",
        said.talk
    );
    assert_eq!(said.count("interrupted"), 1, "{:?}", said.lines);
    assert_eq!(said.count("at: just say it"), 1, "{:?}", said.lines);
    assert!(
        said.talk.contains("killed: the agent has worked for 6s"),
        "{}",
        said.talk
    );
}

const ASKS: &str = r#"approve = [{ pattern = '\(y/n\)', answer = "ask", yes = "y", no = "n" }]"#;

#[test]
fn a_question_for_a_person_is_refused_where_there_is_none() {
    let said = Scene::new("agent-nobody", "ask Delete it?; exit 7", ASKS, "").run("x");
    assert_eq!(said.code, Some(130), "{} {:?}", said.talk, said.lines);
    assert!(said.lines.contains(&"not allowed".to_owned()), "{:?}", said.lines);
    let refused = "refused, since nobody is at a terminal to be asked: Delete it? (y/n)";
    assert!(said.talk.contains(refused), "{}", said.talk);
}

/// Somebody at a terminal, for whom a task with one stands.
fn person(scene: &Scene) -> Running {
    let mut command = scene.command();
    command
        .args(["run", "--terminal", "--dir", "outer", "--"])
        .arg(bed::built("axiom"))
        .args(["run", "--agent", "fake", "--dir", "tasks", "x"]);
    Running::start("axiom run in axiom run", &mut command)
}

/// Waits until this is shown, and types something.
fn answer(running: &mut Running, shown: &str, typed: &str) {
    use std::io::Write as _;
    let stdout = running.stdout.clone();
    wait::until(shown, || stdout.text().contains(shown).then_some(()));
    let stdin = running.stdin.as_mut().expect("it is open");
    stdin.write_all(typed.as_bytes()).expect("it reads");
}

#[test]
fn a_person_at_a_terminal_is_asked() {
    let scene = Scene::new("agent-person", "ask Delete it?; say deleted; exit 7", ASKS, "");
    let mut running = person(&scene);
    answer(&mut running, "it asks: Delete it? (y/n)", "perhaps\n");
    answer(&mut running, "perhaps", "y\n");
    let said = running.stdout.all().join("\n");
    assert_eq!(running.ended().code(), Some(7), "{said}");
    assert!(
        said.matches("yes or no? [y/n]").count() == 2 && said.contains("deleted"),
        "{said}"
    );
}

const CHECKPOINT: &str = "[[rules]]\nname = \"look\"\npattern = \"begun\"\ncheckpoint = \"look at it\"\n";

#[test]
fn a_checkpoint_freezes_until_a_person_lets_it_go_on() {
    let script = "say begun; spin 1500; say over; exit 4";
    let scene = Scene::new("agent-checkpoint", script, "", CHECKPOINT);
    let mut running = person(&scene);
    answer(&mut running, "may it go on? [y/n]", "");
    wait::until("it is frozen", || {
        let mut ps = scene.command();
        let output = ps
            .args(["ps", "--json", "--dir", "tasks"])
            .output()
            .expect("it runs");
        String::from_utf8_lossy(&output.stdout)
            .contains("\"frozen\"")
            .then_some(())
    });
    answer(&mut running, "may it go on? [y/n]", "y\n");
    let said = running.stdout.all().join("\n");
    assert_eq!(running.ended().code(), Some(4), "{said}");
    assert!(
        said.contains("rule look: freezes it: look at it") && said.contains("over"),
        "{said}"
    );
    // Where nobody can be asked it goes on.
    let said = Scene::new("agent-alone", script, "", CHECKPOINT).run("x");
    assert_eq!((said.code, said.count("over")), (Some(4), 1), "{}", said.talk);
}

#[test]
fn interrupted_it_interrupts_and_then_kills() {
    let scene = Scene::new("agent-interrupt", "say begun; spin 60000", TYPED, "");
    let mut running = scene.start("x");
    running.stdout.wait("it works", |line| line.contains("working"));
    running.signal(rustix::process::Signal::INT);
    running
        .stdout
        .wait("it is interrupted", |line| line.ends_with("] interrupted"));
    running.signal(rustix::process::Signal::INT);
    let said = scene.said(&mut running);
    assert_eq!(said.code, Some(137), "{} {:?}", said.talk, said.lines);
}
