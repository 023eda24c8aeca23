//! What clients say to tasks and about them, and what a person sees of that.

use super::*;

/// An agent that was interrupted throws away what is typed before it has stopped; so another prompt waits until it is ready, whoever
/// gives it.
#[test]
fn another_prompt_by_http_waits_until_the_agent_has_stopped() {
    let script = "printf '> '; read prompt; echo \"at: $prompt\"; trap 'stop=1' INT; while [ -z \"$stop\" ]; do sleep 0.05; done; \
                  timeout --foreground 0.5 cat > /dev/null; printf '> '; read prompt; echo \"then: $prompt\"; exit 6";
    let command = json!(["sh", "-c", script]);
    let agents = format!(
        "[agents.slow]\ncommand = {command}\nprompt = \"typed\"\nready = \"^> $\"\ninterrupt = \"SIGINT\"\n"
    );
    let gateway = Gateway::start(&config().tasks(&agents));
    let (status, started) = post(
        &gateway,
        "",
        &json!({ "agent": "slow", "prompt": "one", "class": "critical" }),
    );
    assert_eq!(status, 200, "{started}");
    let task = ids(&started).remove(0);
    let says = |words: &str| {
        let said = get(&gateway, &format!("/{task}/output?from=0"));
        texts(&said["lines"]).iter().any(|line| line.contains(words))
    };
    wait::until("it is at its first prompt", || says("at: one").then_some(()));
    // What says nothing is a mistake, and no success.
    let (status, refused) = post(&gateway, &format!("/{task}/input"), &json!({ "why": "test" }));
    let message = refused["error"]["message"].as_str().unwrap_or_default();
    assert_eq!((status, message), (400, "`text` is missing"), "{refused}");
    let (status, redirected) = post(
        &gateway,
        &format!("/{task}/interrupt"),
        &json!({ "prompt": "two" }),
    );
    assert_eq!(status, 200, "{redirected}");
    let ended = wait::until("it has ended", || {
        let status = get(&gateway, &format!("/{task}"));
        (status["state"] == "ended").then_some(status)
    });
    assert_eq!(ended["code"], 6, "{ended}");
    assert!(says("then: two"), "{ended}");
}

/// Clients are programs that models steer, and a person may look at what became of their tasks.
#[test]
fn what_a_client_says_cannot_steer_the_terminal_of_a_person() {
    let gateway = Gateway::start(&config());
    let place: PathBuf = gateway.file().parent().map(Path::to_path_buf).unwrap_or_default();
    let client = &mut Stateless::new(&gateway.server("tasks"));
    let task = spawn(client, json!({ "shell": "sleep 600" }));
    let why = "\u{1b}]52;c;Y3VybA==\u{7}all is well\n[other] \u{202e}exit 0";
    ask(client, "kill", json!({ "tasks": [task], "why": why }));
    ask(client, "wait", json!({ "tasks": [task], "timeout_s": 60 }));
    for arguments in [
        &["ps"][..],
        &["logs", "--follow", &task],
        &["kill", &task],
        &["top", "--once", "--dir", "tasks"],
    ] {
        let mut command = Command::new(bed::built("axiom"));
        let ended = command.args(arguments).current_dir(&place).output();
        let ended = ended.expect("axiom starts");
        let said = [&ended.stdout[..], &ended.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains("all is well"), "{arguments:?}: {said:?}");
        let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!said.contains(steers), "{arguments:?}: {said:?}");
        assert!(
            !said.lines().any(|line| line.starts_with("[other]")),
            "{arguments:?}: {said:?}"
        );
    }
}
