//! `[agents.NAME]` and `[[rules]]`: what is wrong with them is shown where it stands.

use insta::assert_snapshot;

use crate::session::Scratch;

fn check(name: &str, text: &str) -> String {
    Scratch::with(&format!("agents-{name}"), "axiom.toml", text).run(&["config", "check"])
}

#[test]
fn every_key_is_taken() {
    let text = r#"
[agents.claude]
command = ["claude"]
env = { A = "1" }
prompt = "typed"
bracketed_paste = true
ready = "^> $"
working = "esc to interrupt"
idle = "^> "
idle_after = "30s"
approve = [
  { pattern = "(?s)Allow.*Yes", answer = "ask", yes = "1\r", no = "\u001b" },
  { pattern = "delete", answer = "deny" },
  { pattern = "continue", answer = "\r" },
]
interrupt = "SIGINT"
exit = "/exit"
start_timeout = "1m"
work_timeout = "1h"
ask_timeout = "1m"
idle_timeout = "0s"
interrupt_timeout = "10s"
exit_timeout = "10s"
executor = "sandbox"
limits = { wall = "2h", output = "1GB", memory = "2GiB", cpu = 1.5, pids = 200, files = 1000 }
network = "host"
read = ["/usr"]
write = ["/tmp"]

[agents.plain]
command = ["plain", "-p"]

[[rules]]
name = "go-on"
agent = "claude"
task = "cl*"
pattern = "rate limit"
stream = "stdout"
type = "continue"
enter = true
actions = 2
window = "1h"
cool_down = "0s"
total = 5

[[rules]]
name = "stuck"
repeated = 3
pattern = "error"
within = "5m"
redirect = "Stop, and say what you have tried."

[[rules]]
name = "loud"
bytes_per_second = "1MB"
over = "30s"
kill = true

[[rules]]
name = "idle"
unchanged = "20m"
checkpoint = "nothing was changed"

[[rules]]
name = "quiet"
silence = "20m"
notify = "it is quiet"

[[rules]]
name = "fast"
lines_per_second = 100
interrupt = true
"#;
    assert_snapshot!(check("all", text), @r##"
    exit 0
    --- stderr
    axiom.toml is fine: servers 0, views 0
    "##);
}

#[test]
fn mistakes_are_shown_where_they_are() {
    let text = r#"
[agents.one]
comand = ["x"]
prompt = "type"
ready = "a("
approve = [{ pattern = "x" }]
interrupt = "SIGKILL"
limits = { wall = 3, cpu = "x" }

[agents.two]
command = ["x"]
prompt = "typed"
network = "host"
"#;
    assert_snapshot!(check("mistakes", text), @r##"
    exit 1
    --- stderr
      × `agents.one` does not say how it is started
       ╭─[axiom.toml:2:9]
     1 │
     2 │ [agents.one]
       ·         ─┬─
       ·          ╰── no `command`
     3 │ comand = ["x"]
       ╰────
      help: add command = ["program", "argument"]

      × unknown key `comand` in `agents.one`
       ╭─[axiom.toml:3:1]
     2 │ [agents.one]
     3 │ comand = ["x"]
       · ───┬──
       ·    ╰── not a key here
     4 │ prompt = "type"
       ╰────
      help: did you mean `command`?

      × `agents.one.prompt` must be one of `argument`, `stdin` and `typed`
       ╭─[axiom.toml:4:10]
     3 │ comand = ["x"]
     4 │ prompt = "type"
       ·          ───┬──
       ·             ╰── this value
     5 │ ready = "a("
       ╰────
      help: did you mean `typed`?

      × `agents.one.ready` is no regular expression: unclosed group
       ╭─[axiom.toml:5:9]
     4 │ prompt = "type"
     5 │ ready = "a("
       ·         ──┬─
       ·           ╰── this value
     6 │ approve = [{ pattern = "x" }]
       ╰────
      help: what is meant as it stands takes a \ before each of . * + ? ( ) [ ] { } | ^ $ \

      × `agents.one.approve` has a question without `answer`
       ╭─[axiom.toml:6:12]
     5 │ ready = "a("
     6 │ approve = [{ pattern = "x" }]
       ·            ────────┬────────
       ·                    ╰── this question
     7 │ interrupt = "SIGKILL"
       ╰────
      help: a question is { pattern = "(y/n)", answer = "ask" }, where the answer is "ask", "deny" or what is
            typed

      × `agents.one.interrupt` must be one of `SIGHUP`, `SIGINT`, `SIGQUIT`, `SIGUSR1`, `SIGUSR2` and `SIGTERM`
       ╭─[axiom.toml:7:13]
     6 │ approve = [{ pattern = "x" }]
     7 │ interrupt = "SIGKILL"
       ·             ────┬────
       ·                 ╰── this value
     8 │ limits = { wall = 3, cpu = "x" }
       ╰────

      × `agents.one.limits.wall` must be a duration
       ╭─[axiom.toml:8:19]
     7 │ interrupt = "SIGKILL"
     8 │ limits = { wall = 3, cpu = "x" }
       ·                   ┬
       ·                   ╰── this value
     9 │
       ╰────
      help: which unit? For seconds write "3s"

      × `agents.one.limits.cpu` must be a number of CPUs
       ╭─[axiom.toml:8:28]
     7 │ interrupt = "SIGKILL"
     8 │ limits = { wall = 3, cpu = "x" }
       ·                            ─┬─
       ·                             ╰── this value
     9 │
       ╰────
      help: write how many, with three decimals at most: cpu = 1.5

      × `agents.two.ready` is missing, and `prompt` is "typed": nothing says when to type it
        ╭─[axiom.toml:10:9]
      9 │
     10 │ [agents.two]
        ·         ─┬─
        ·          ╰── in this agent
     11 │ command = ["x"]
        ╰────
      help: write what stands where the cursor is then: ready = "^> "

      × `agents.two` opens a sandbox and has none
        ╭─[axiom.toml:10:9]
      9 │
     10 │ [agents.two]
        ·         ─┬─
        ·          ╰── executor is "process"
     11 │ command = ["x"]
        ╰────
      help: add executor = "sandbox", or take out `network`, `read` and `write`
    error: axiom.toml has 10 errors
    "##);
    let text = r#"
agents.claude.command = ["claude"]

[[rules]]
name = "both"
pattern = "x"
silence = "3s"
kill = true

[[rules]]
pattern = "x"
kill = true

[[rules]]
name = "nothing"
agent = "claud"
silence = "3s"
enter = true
kill = false
"#;
    assert_snapshot!(check("rules", text), @r##"
    exit 1
    --- stderr
      × a rule has both `pattern` and `silence`
       ╭─[axiom.toml:7:1]
     6 │ pattern = "x"
     7 │ silence = "3s"
       · ───┬───
       ·    ╰── one too many
     8 │ kill = true
       ╰────
      help: a rule has one of `pattern`, `silence`, `repeated`, `unchanged`, `lines_per_second` and
            `bytes_per_second`; make two rules

      × a rule has no `name`
        ╭─[axiom.toml:10:1]
      9 │
     10 │ [[rules]]
        · ────┬────
        ·     ╰── this rule
     11 │ pattern = "x"
        ╰────
      help: name it, like name = "stuck": the end of a task that it kills says so

      × a rule does not say what it does
        ╭─[axiom.toml:14:1]
     13 │
     14 │ [[rules]]
        · ────┬────
        ·     ╰── this rule
     15 │ name = "nothing"
        ╰────
      help: add one of `type`, `interrupt`, `redirect`, `notify`, `checkpoint` and `kill`

      × `rules.enter` only goes with `type`
        ╭─[axiom.toml:18:1]
     17 │ silence = "3s"
     18 │ enter = true
        · ──┬──
        ·   ╰── means nothing here
     19 │ kill = false
        ╰────
    error: axiom.toml has 4 errors
    "##);
    let text = r#"
[[rules]]
name = "a b"
silence = "3s"
kill = true
"#;
    assert_snapshot!(check("name", text), @r##"
    exit 1
    --- stderr
      × `rules.name` is "a b"
       ╭─[axiom.toml:3:8]
     2 │ [[rules]]
     3 │ name = "a b"
       ·        ──┬──
       ·          ╰── this rule
     4 │ silence = "3s"
       ╰────
      help: a name has 1 to 64 letters, digits, `_` and `-`
    error: axiom.toml has 1 error
    "##);
}

#[test]
fn an_agent_that_is_not_there() {
    let scratch = Scratch::with(
        "agents-none",
        "axiom.toml",
        "[agents.claude]\ncommand = [\"claude\"]\n",
    );
    assert_snapshot!(scratch.run(&["run", "--agent", "claud", "fix it"]), @r##"
    exit 3
    --- stderr
    error: there is no agent "claud"
    hint: did you mean `claude`?
    "##);
    assert_snapshot!(scratch.run(&["run", "--agent", "claude"]), @r##"
    exit 2
    --- stderr
    error: the following required arguments were not provided:
      <PROMPT>

    Usage: axiom run --agent <NAME> <PROMPT> [-- <COMMAND>...]

    For more information, try '--help'.
    "##);
    assert_snapshot!(scratch.run(&["run", "fix it"]), @r##"
    exit 2
    --- stderr
    error: the following required arguments were not provided:
      --agent <NAME>
      <COMMAND>...

    Usage: axiom run --agent <NAME> <PROMPT> -- <COMMAND>...

    For more information, try '--help'.
    "##);
}
