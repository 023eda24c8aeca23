//! Races of a gateway: the tool `race`, for clients of both eras.
#![allow(
    clippy::unwrap_used,
    reason = "a failed expectation is a failed test, in helpers too"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use axiom_tests::config::Config;
use axiom_tests::gateway::Gateway;
use axiom_tests::http::Answer;
use axiom_tests::peer::{Peer, Session, Stateless, message};
use axiom_tests::{bed, wait};
use serde_json::{Value, json};

use crate::events::{folder, recorded};
use crate::tasks_server::{ask, both, config, had_sandbox, ids};

/// A repository with one commit.
struct Repository(PathBuf);

impl Repository {
    fn new(name: &str) -> Repository {
        let repository = Repository(bed::scratch(name).join("a repository"));
        std::fs::create_dir_all(repository.0.join("sub")).unwrap();
        repository.git(&["init", "--quiet"]);
        repository.git(&["config", "user.name", "somebody"]);
        repository.git(&["config", "user.email", "somebody@example.com"]);
        std::fs::write(repository.0.join("file"), "one\ntwo\nthree\n").unwrap();
        std::fs::write(repository.0.join("sub/other"), "text\n").unwrap();
        repository.git(&["add", "--all"]);
        repository.git(&["commit", "--quiet", "-m", "start"]);
        repository
    }

    fn git(&self, arguments: &[&str]) -> String {
        let git = Command::new("git")
            .args(arguments)
            .current_dir(&self.0)
            .output()
            .unwrap();
        assert!(git.status.success(), "git {arguments:?}: {git:?}");
        String::from_utf8(git.stdout).unwrap()
    }

    /// Branches of races, and worktrees beside ours.
    fn standing(&self) -> (usize, usize) {
        let branches = self.git(&["branch", "--list", "--format=%(refname:short)", "axiom/*"]);
        let worktrees = self.git(&["worktree", "list", "--porcelain"]);
        let worktrees = worktrees.lines().filter(|line| line.starts_with("worktree "));
        (branches.lines().count(), worktrees.count() - 1)
    }

    /// A gateway whose tasks may work here.
    fn gateway(&self, config: Config) -> Gateway {
        Gateway::start(&config.tasks(&format!("roots = [{}]", json!(self.0))))
    }

    fn is_untouched(&self, gateway: &Gateway) {
        let races = gateway.file().with_file_name("tasks").join("races");
        wait::until("all of it is gone", || {
            (self.standing() == (0, 0) && !races.exists()).then_some(())
        });
        assert_eq!(self.git(&["status", "--porcelain"]), "");
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(self.0.parent().unwrap()));
    }
}

/// More lines by each attempt but the first, whose test fails.
const SCRIPT: &str = "echo begun; for i in $(seq $AXIOM_RACE_NUMBER); do echo line $i >> file; done; \
                      if [ $AXIOM_RACE_NUMBER = 1 ]; then rm file; fi";

fn numbers(result: &Value) -> Vec<u64> {
    let attempts = result["attempts"]
        .as_array()
        .unwrap_or_else(|| panic!("no attempts: {result}"));
    attempts
        .iter()
        .map(|attempt| attempt["number"].as_u64().unwrap())
        .collect()
}

#[test]
fn the_best_attempt_stays_and_all_are_tasks() {
    let repository = Repository::new("tool-race");
    let gateway = repository.gateway(config().events("dir = \"events\""));
    let dir = folder(&gateway);
    let before = repository.git(&["rev-parse", "HEAD"]);
    for mut client in both(&gateway) {
        let client = client.as_mut();
        let race = json!({ "folder": ".", "shell": SCRIPT, "count": 4, "test": "test -e file",
            "class": "critical", "why": "to see" });
        let params = json!({ "name": "race", "arguments": race, "_meta": { "progressToken": 7 } });
        let reply = client.ask("tools/call", &params.to_string());
        let told: Vec<&Value> = reply.before.iter().map(|message| &message["params"]).collect();
        let growing: Vec<f64> = told.iter().filter_map(|told| told["progress"].as_f64()).collect();
        assert!(
            growing.is_sorted_by(|one, next| one < next) && !growing.is_empty(),
            "{told:?}"
        );
        assert!(
            told.iter()
                .all(|told| told["progressToken"] == 7 && told["total"] == 4.0),
            "{told:?}"
        );
        let result = reply.value();
        assert_ne!(result["isError"], true, "{result}");
        let text = result["content"][0]["text"].as_str().unwrap().to_owned();
        let result = &result["structuredContent"];
        assert_eq!(numbers(result), [2, 3, 4, 1], "{result}");
        assert!(text.contains("race-2 (wins)"), "{text}");
        let winner = &result["winner"];
        assert_eq!((&winner["number"], &result["is_done"]), (&json!(2), &json!(true)));
        let attempts = &result["attempts"];
        assert_eq!(
            (&attempts[0]["wins"], &attempts[0]["lines_added"]),
            (&json!(true), &json!(2))
        );
        assert_eq!(
            (&attempts[3]["test"], &attempts[3]["code"]),
            (&json!(1), &json!(0))
        );
        assert_eq!(
            (&attempts[0]["branch"], attempts[1].get("branch")),
            (&winner["branch"], None)
        );
        // One branch with a commit, and its worktree.
        assert_eq!(repository.standing(), (1, 1));
        let commit = winner["commit"].as_str().unwrap();
        assert_eq!(
            repository.git(&["show", &format!("{commit}:file")]),
            "one\ntwo\nthree\nline 1\nline 2\n"
        );
        let path = winner["folder"].as_str().unwrap();
        assert_eq!(
            std::fs::read_to_string(Path::new(path).join("file"))
                .unwrap()
                .lines()
                .count(),
            5
        );
        assert_eq!(repository.git(&["rev-parse", "HEAD"]), before);
        assert_eq!(repository.git(&["status", "--porcelain"]), "");

        // Attempts and tests are in the list, with why and what they said.
        let race = result["race"].as_str().unwrap();
        let listed = ask(client, "list", json!({ "name": format!("race {race}-") }));
        assert_eq!(listed["total"], 8, "{listed}");
        assert!(listed["tasks"][0]["by"]["why"] == "to see", "{listed}");
        let said = ask(
            client,
            "output",
            json!({ "task": attempts[0]["task"], "from": 0 }),
        );
        assert_eq!(said["lines"][0]["text"], "begun", "{said}");
        // It can be looked up.
        let again = ask(client, "race", json!({ "race": race }));
        assert_eq!(&again, result);
        repository.git(&["worktree", "remove", "--force", path]);
        repository.git(&["branch", "-D", winner["branch"].as_str().unwrap()]);
    }
    assert!(gateway.stop().success());
    recorded(&dir, "kind=task.ended", 16);
}

#[test]
fn a_winner_is_applied_and_a_judge_is_asked() {
    let repository = Repository::new("tool-judge");
    let gateway = repository.gateway(config());
    let client = &mut Stateless::new(&gateway.server("tasks"));
    let race = json!({ "folder": "sub", "shell": "echo $AXIOM_RACE_NUMBER > mine", "count": 3,
        "judge": "echo so; cat mine", "apply": true, "class": "critical" });
    let result = ask(client, "race", race);
    assert_eq!(numbers(&result), [3, 2, 1], "{result}");
    assert_eq!(
        (&result["attempts"][0]["score"], &result["is_applied"]),
        (&json!(3.0), &json!(true))
    );
    // The same folder below the top, in the index and not committed.
    assert_eq!(repository.git(&["status", "--porcelain"]), "A  sub/mine\n");
    // Nobody wins: who changed something stays.
    repository.git(&["commit", "--quiet", "-m", "taken"]);
    let nobody = json!({ "folder": ".", "shell": "[ $AXIOM_RACE_NUMBER = 1 ] || echo x >> file; exit 3",
        "count": 2, "class": "critical" });
    let nobody = ask(client, "race", nobody);
    assert_eq!(nobody.get("winner"), None, "{nobody}");
    assert_eq!(nobody["attempts"][0]["code"], 3);
    assert_eq!(repository.standing(), (2, 2), "{nobody}");
}

#[test]
fn what_cannot_be_is_refused_by_its_field_and_makes_nothing() {
    let repository = Repository::new("tool-refused");
    let gateway = repository.gateway(config());
    let empty = repository.0.join("sub/empty");
    std::fs::create_dir(&empty).unwrap();
    for mut client in both(&gateway) {
        let client = client.as_mut();
        let mut refused = |more: Value, words: &str| {
            let mut race = json!({ "folder": ".", "shell": "true" });
            for (name, value) in more.as_object().unwrap() {
                race[name] = value.clone();
            }
            let result = client.call("race", &race).value();
            let said = result["content"][0]["text"].as_str().unwrap_or_default();
            assert_eq!(result["isError"], true, "{more}: {result}");
            assert!(said.starts_with(words), "{more}: {said}");
        };
        refused(json!({ "folder": null }), "`folder` is missing");
        refused(json!({ "folder": "/" }), "`folder`: / lies outside");
        refused(json!({ "folder": "nowhere" }), "`folder`: ");
        refused(
            json!({ "count": 101 }),
            "`count` must be an integer from 1 to 100",
        );
        refused(json!({ "shell": null }), "`command` is missing");
        refused(json!({ "test": " " }), "`test` is empty");
        refused(json!({ "apply": "yes" }), "`apply` must be true or false");
        refused(json!({ "tests": "x" }), "there is no argument `tests`");
        refused(json!({ "race": "0a1b2c3d" }), "`race` names one that there is");
        std::fs::write(repository.0.join("new"), "").unwrap();
        refused(
            json!({}),
            "`folder`: there are 0 changes that are not committed, and 1 files",
        );
        std::fs::remove_file(repository.0.join("new")).unwrap();
        std::fs::write(repository.0.join("file"), "").unwrap();
        refused(
            json!({ "apply": true, "from_head": true }),
            "`apply` needs a clean working tree",
        );
        repository.git(&["checkout", "--quiet", "file"]);
        let unknown = client.call("race", &json!({ "race": "0a1b2c3d" })).value();
        assert!(
            unknown["content"][0]["text"]
                .as_str()
                .unwrap()
                .starts_with("there is no race")
        );
    }
    let client = &mut Stateless::new(&gateway.server("tasks"));
    assert_eq!(ask(client, "list", json!({}))["total"], 0);
    repository.is_untouched(&gateway);
}

/// A call that is given up takes all of it along: the session's by a word, the other by hanging up.
#[test]
fn a_race_that_is_given_up_leaves_nothing() {
    let repository = Repository::new("tool-given-up");
    let gateway = repository.gateway(config());
    let race =
        json!({ "folder": ".", "shell": "echo x >> file; sleep 300", "count": 3, "class": "critical" });
    let params = json!({ "name": "race", "arguments": race, "_meta": { "progressToken": 1 } });
    let client = &mut Stateless::new(&gateway.server("tasks"));
    let running = |client: &mut Stateless| {
        wait::until("all attempts run", || {
            let list = ask(client, "list", json!({ "state": "running" }));
            (list["total"] == 3).then(|| ids(&list))
        })
    };
    let ended = |client: &mut Stateless, tasks: &[String]| {
        for task in tasks {
            wait::until("it has ended", || {
                let how = ask(client, "status", json!({ "task": task }))["how"].clone();
                how.as_str()?.contains("gave the call up").then_some(())
            });
        }
        repository.is_untouched(&gateway);
    };
    let session = Session::open(&gateway.server("tasks"));
    let mut waiting: Answer =
        session.send(&session.request(message("77", "tools/call", &params.to_string())));
    let tasks = running(client);
    let cancelled = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":77}}"#;
    assert_eq!(session.send(&session.request(cancelled)).status, 202);
    while let Some(told) = waiting.next_message() {
        assert!(told.contains("notifications/progress"), "{told}");
    }
    ended(client, &tasks);

    let request = client.request("78", "tools/call", &params);
    let waiting = client.send(&request);
    let tasks = running(client);
    drop(waiting);
    ended(client, &tasks);
}

/// The attempts go on, and so does the race, with the next gateway.
#[test]
fn a_race_outlives_a_gateway_that_is_killed() {
    let repository = Repository::new("tool-killed");
    let gateway = repository.gateway(config());
    let place = gateway.file().parent().unwrap().to_owned();
    let go = place.join("go");
    let script = format!(
        "echo $AXIOM_RACE_NUMBER > mine; [ $AXIOM_RACE_NUMBER = 1 ] || while [ ! -e {} ]; do sleep 0.05; done; \
         [ $AXIOM_RACE_NUMBER != 3 ]",
        go.display()
    );
    let client = &mut Stateless::new(&gateway.server("tasks"));
    let race = json!({ "folder": ".", "shell": script, "count": 3, "test": "echo left > behind",
        "class": "critical", "wait_s": 0 });
    let begun = ask(client, "race", race);
    assert_eq!(begun["is_done"], false, "{begun}");
    let race = begun["race"].as_str().unwrap().to_owned();
    wait::until("the first attempt is tested", || {
        let list = ask(
            client,
            "list",
            json!({ "state": "ended", "name": format!("race {race}-1 test") }),
        );
        (list["total"] == 1).then_some(())
    });
    gateway.kill();
    std::fs::write(&go, "").unwrap();
    let gateway = Gateway::start_in(&place);
    let client = &mut Stateless::new(&gateway.server("tasks"));
    let result = ask(client, "race", json!({ "race": race }));
    assert_eq!(result["winner"]["number"], 1, "{result}");
    // What the first one's test left was not the attempt's, although it was there before this gateway.
    assert_eq!(result["attempts"][0]["files"], 1, "{result}");
    assert_eq!(result["attempts"][2]["code"], 1, "{result}");
    let listed = ask(client, "list", json!({ "name": format!("race {race}-") }));
    assert_eq!(listed["total"], 6, "each was started once: {listed}");
    assert_eq!(repository.standing(), (1, 1));
}

/// What the repository names as programs of git runs where tasks run, and so does git itself.
#[test]
fn a_race_in_a_sandbox_gets_nobody_out_of_it() {
    let repository = Repository::new("tool-sandbox");
    let gateway = repository.gateway(Config::new().tasks("dir = \"tasks\""));
    let outside = gateway.file().with_file_name("owned");
    let script = format!(
        "sh -c 'echo ran >> sub/filtered; echo owned > {}; cat'",
        outside.display()
    );
    repository.git(&["config", "filter.evil.smudge", &script]);
    repository.git(&["config", "filter.evil.clean", &script]);
    repository.git(&["config", "core.fsmonitor", &script]);
    let client = &mut Stateless::new(&gateway.server("tasks"));
    let race = json!({ "folder": ".", "count": 2, "class": "critical", "keep": true,
        "shell": "echo '* filter=evil' > .gitattributes; echo x >> file; git log --oneline | wc -l; git commit -am no; true" });
    let result = client.call("race", &race).value();
    let text = result["content"][0]["text"].as_str().unwrap();
    if text.contains("cannot be run as tasks are") {
        assert!(!had_sandbox(&json!({ "how": format!("not started: {text}") })));
        return;
    }
    let result = &result["structuredContent"];
    assert_eq!(result["attempts"][0]["code"], 0, "{text}");
    assert!(result["attempts"][0]["files"].as_u64() >= Some(2), "{text}");
    // The filter did run.
    let folder = result["attempts"][0]["folder"]
        .as_str()
        .unwrap_or_else(|| panic!("{result}"));
    assert!(Path::new(folder).join("sub/filtered").exists(), "{result}");
    assert!(!outside.exists());
    // Git works in there, and changes nothing.
    let said = ask(
        client,
        "output",
        json!({ "task": result["attempts"][0]["task"], "from": 0 }),
    );
    assert!(said["lines"].to_string().contains("\"1\""), "{said}");
    // A repository elsewhere is not reached by a file that names it.
    let linked = repository.0.join("linked");
    std::fs::create_dir(&linked).unwrap();
    let other = Repository::new("tool-sandbox-other");
    std::fs::write(
        linked.join(".git"),
        format!("gitdir: {}\n", other.0.join(".git").display()),
    )
    .unwrap();
    let refused = client
        .call("race", &json!({ "folder": "linked", "shell": "true" }))
        .value();
    assert_eq!(refused["isError"], true, "{refused}");
    assert!(
        refused["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("lies outside"),
        "{refused}"
    );
    assert_eq!(other.standing(), (0, 0));
}
