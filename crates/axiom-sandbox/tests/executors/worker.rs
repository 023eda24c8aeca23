//! Requests to workers: a script of node and a solver.

use std::time::Duration;

use axiom_sandbox::exit::How;
use axiom_sandbox::pool::{Lease, WorkerOptions, Workers};
use axiom_sandbox::spec::{Executor, Protocol, Spec, Worker};
use axiom_sandbox::wire::{Reply, Request};
use rustix::process::{Pid, Signal, kill_process};

use crate::bed::{Bed, block_on, environment, eventually, is_alive, write};
use crate::cases::{Case, Done};

pub(crate) const CASES: &[(&str, Case)] = &[
    ("worker_answers_one_line_for_one", || node(answers)),
    ("worker_that_breaks_its_word_is_replaced", || node(broken)),
    ("worker_that_hangs_is_killed_with_all_it_has_started", || {
        node(hangs)
    }),
    ("worker_has_one_request_at_a_time", || node(one_at_a_time)),
    ("worker_is_ended_if_its_requests_shim_was", || node(shim_killed)),
    ("worker_that_nobody_needs_ends", || node(idle)),
    ("worker_refuses_what_it_cannot_keep", || node(refused)),
    ("worker_that_is_a_solver_begins_anew", || solver(begins_anew)),
];

/// What a request asks for, a word each.
const SCRIPT: &str = "
const { spawn } = require('child_process');
let count = 0;
require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
  const { say, wait } = JSON.parse(line);
  count += 1;
  const answer = JSON.stringify({ say, count, pid: process.pid });
  if (say === 'twice') console.log(answer + '\\n' + answer);
  else if (say === 'nonsense') console.log('nonsense');
  else if (say === 'end') process.exit(3);
  else if (say === 'hang') {
    const daemon = spawn('sleep', ['1000'], { detached: true, stdio: 'ignore' });
    console.error('daemon', daemon.pid);
  } else if (wait) setTimeout(() => console.log(answer), wait);
  else { console.error('aside'); console.log(answer); }
});
";

fn node<F: Future<Output = ()>>(body: fn(Bed, Workers) -> F) -> Done {
    let version = std::process::Command::new("node").arg("--version").output();
    if !version.is_ok_and(|output| output.status.success()) {
        return Done::Skipped("there is no node in PATH".to_owned());
    }
    let bed = Bed::new();
    let workers = pool(&bed, |_| ());
    block_on(body(bed, workers));
    Done::Tested
}

fn solver<F: Future<Output = ()>>(body: fn(Bed, Workers) -> F) -> Done {
    let version = std::process::Command::new("z3").arg("--version").output();
    if !version.is_ok_and(|output| output.status.success()) {
        return Done::Skipped("there is no z3 in PATH".to_owned());
    }
    let bed = Bed::new();
    let workers = pool(&bed, |options| {
        options.argv = ["z3", "-in"].map(str::to_owned).to_vec();
        options.protocol = Protocol::Smt;
    });
    block_on(body(bed, workers));
    Done::Tested
}

fn pool(bed: &Bed, change: impl FnOnce(&mut WorkerOptions)) -> Workers {
    write(bed.work.path(), "worker.js", SCRIPT);
    let argv = ["node", "worker.js"].map(str::to_owned).to_vec();
    let mut options = WorkerOptions::new(argv, environment(), Protocol::Lines);
    options
        .env
        .insert("PATH".to_owned(), std::env::var("PATH").unwrap());
    options.folder = Some(bed.work.path().canonicalize().unwrap());
    options.workers_max = 2;
    change(&mut options);
    Workers::new(bed.tasks.path(), options)
}

fn request(bed: &Bed, lease: &Lease, text: &str) -> Spec {
    let mut spec = bed.spec(lease.executor(), &[text]);
    spec.env.clear();
    spec
}

fn say(word: &str) -> String {
    format!(r#"{{"say":"{word}"}}"#)
}

async fn ask(bed: &Bed, workers: &Workers, text: &str) -> (How, String) {
    let lease = workers.lease(&bed.spawner).await.unwrap();
    bed.start(&request(bed, &lease, text)).await.end().await
}

/// What an answer says of the worker's requests and of its process.
fn told(output: &str) -> (u64, String) {
    let line = output.lines().find(|line| line.starts_with('{')).unwrap();
    let answer: serde_json::Value = serde_json::from_str(line).unwrap();
    (answer["count"].as_u64().unwrap(), answer["pid"].to_string())
}

async fn answers(bed: Bed, workers: Workers) {
    let (how, output) = ask(&bed, &workers, &say("hello")).await;
    assert_eq!(how, How::Code(0), "{output}");
    assert!(output.contains(r#"{"say":"hello","count":1,"#), "{output}");
    let first = told(&output);
    let second = told(&ask(&bed, &workers, &say("again")).await.1);
    assert_eq!(second, (2, first.1));
    workers.end().await;
    eventually("it ends", || !is_alive(&second.1));
}

async fn broken(bed: Bed, workers: Workers) {
    for (word, why) in [
        ("twice", "more than one line"),
        ("nonsense", "no JSON object: nonsense"),
        ("end", "ended before it had answered"),
    ] {
        let (_, pid) = told(&ask(&bed, &workers, &say("hello")).await.1);
        let (how, _) = ask(&bed, &workers, &say(word)).await;
        assert!(
            matches!(&how, How::Broken { why: told } if told.contains(why)),
            "{how:?}"
        );
        assert!(!is_alive(&pid));
    }
    assert_eq!(told(&ask(&bed, &workers, &say("hello")).await.1).0, 1);
    workers.end().await;
}

async fn hangs(bed: Bed, workers: Workers) {
    let (_, pid) = told(&ask(&bed, &workers, &say("hello")).await.1);
    let lease = workers.lease(&bed.spawner).await.unwrap();
    let mut spec = request(&bed, &lease, &say("hang"));
    spec.limits.wall = Some(Duration::from_secs(2));
    let (how, output) = bed.start(&spec).await.end().await;
    assert!(
        matches!(&how, How::Limit { limit, .. } if limit == "wall"),
        "{how:?}"
    );
    let daemon = output
        .trim()
        .strip_prefix("daemon ")
        .unwrap_or_else(|| panic!("{output}"));
    assert!(!is_alive(&pid) && !is_alive(daemon));
    drop(lease);
    let lease = workers.lease(&bed.spawner).await.unwrap();
    let mut task = bed.start(&request(&bed, &lease, &say("hang"))).await;
    task.until("daemon").await;
    task.ask(Request::Freeze);
    assert!(matches!(task.reply().await, Reply::Refused { .. }));
    let why = "test".to_owned();
    task.ask(Request::Kill { why: why.clone() });
    assert_eq!(task.end().await.0, How::Killed { why });
    drop(lease);
    assert_eq!(told(&ask(&bed, &workers, &say("hello")).await.1).0, 1);
    workers.end().await;
}

async fn one_at_a_time(bed: Bed, workers: Workers) {
    let slow = r#"{"say":"slow","wait":3000}"#;
    let lease = workers.lease(&bed.spawner).await.unwrap();
    let other = workers.lease(&bed.spawner).await.unwrap();
    let first = bed.start(&request(&bed, &lease, slow)).await;
    // Whoever asks the same worker beside its pool is told so.
    let why = bed.refused(&request(&bed, &lease, slow)).await;
    assert!(why.contains("has another task"), "{why}");
    let second = bed.start(&request(&bed, &other, slow)).await;
    // There are two, and both are taken.
    let third = axiom_core::time::timeout(Duration::from_millis(50), workers.lease(&bed.spawner)).await;
    third.unwrap_err();
    let pids = [first.end().await.1, second.end().await.1].map(|output| told(&output).1);
    assert_ne!(pids[0], pids[1]);
    drop((lease, other));
    workers.lease(&bed.spawner).await.unwrap();
    workers.end().await;
}

async fn shim_killed(bed: Bed, workers: Workers) {
    let (_, pid) = told(&ask(&bed, &workers, &say("hello")).await.1);
    let lease = workers.lease(&bed.spawner).await.unwrap();
    let mut task = bed.start(&request(&bed, &lease, &say("hang"))).await;
    task.until("daemon").await;
    kill_process(Pid::from_raw(task.shim).unwrap(), Signal::KILL).unwrap();
    task.lost().await;
    // Who finds it next does not take it for one that waits, nor does its pool.
    let why = bed.refused(&request(&bed, &lease, &say("hello"))).await;
    assert!(why.contains("left in the middle of an answer"), "{why}");
    assert!(!is_alive(&pid));
    drop(lease);
    assert_eq!(told(&ask(&bed, &workers, &say("hello")).await.1).0, 1);
    workers.end().await;
}

async fn idle(bed: Bed, _: Workers) {
    let workers = pool(&bed, |options| {
        options.idle = Duration::from_secs(3);
        options.requests_max = 2;
    });
    // As long as it has a request it is needed.
    let slow = r#"{"say":"slow","wait":4000}"#;
    let (how, output) = ask(&bed, &workers, slow).await;
    assert_eq!(how, How::Code(0), "{output}");
    let (_, pid) = told(&output);
    assert_eq!(
        told(&ask(&bed, &workers, &say("second")).await.1),
        (2, pid.clone())
    );
    let (count, other) = told(&ask(&bed, &workers, &say("third")).await.1);
    assert_eq!(count, 1);
    assert!(!is_alive(&pid));
    eventually("it ends", || !is_alive(&other));
    assert_eq!(told(&ask(&bed, &workers, &say("hello")).await.1).0, 1);
    workers.end().await;
}

async fn refused(bed: Bed, workers: Workers) {
    let lease = workers.lease(&bed.spawner).await.unwrap();
    let check = async |change: fn(&mut Spec), expected: &str| {
        let mut spec = request(&bed, &lease, "{}");
        change(&mut spec);
        let why = bed.refused(&spec).await;
        assert!(why.contains(expected) && !why.ends_with("hint: "), "{why}");
    };
    check(
        |spec| spec.limits.memory_bytes = Some(1 << 30),
        "limits.memory_bytes",
    )
    .await;
    check(
        |spec| drop(spec.env.insert("A".into(), "b".into())),
        "env cannot be given",
    )
    .await;
    check(
        |spec| spec.argv = vec!["no object".into()],
        "argv[0] is no JSON object",
    )
    .await;
    check(|spec| spec.argv = vec!["{\n}".into()], "argv[0]").await;
    check(|spec| spec.argv.push("{}".into()), "argv has more").await;
    let missing = pool(&bed, |options| options.argv = vec!["false".to_owned()]);
    let asked = missing.lease(&bed.spawner).await;
    // It may be asked before it has ended; then its task says so.
    if let Err(error) = asked {
        assert!(error.to_string().contains("a worker of false ended"), "{error}");
    }
    check(
        |spec| {
            spec.executor = Executor::Worker(Worker {
                folder: "/no/such/worker".into(),
                protocol: Protocol::Lines,
            });
        },
        "there is no worker at /no/such/worker",
    )
    .await;
    drop(lease);
    workers.end().await;
}

async fn begins_anew(bed: Bed, workers: Workers) {
    let first = "(declare-const x Int)\n(assert (> x 2))\n(assert (< x 4))\n(check-sat)\n(get-value (x))";
    let (how, output) = ask(&bed, &workers, first).await;
    assert_eq!((how, output.as_str()), (How::Code(0), "sat\n((x 3))\n"));
    // It knows no x any more.
    let (how, output) = ask(
        &bed,
        &workers,
        "(declare-const x Bool)(assert (and x (not x)))(check-sat)",
    )
    .await;
    assert_eq!((how, output.as_str()), (How::Code(0), "unsat\n"));
    let (how, _) = ask(&bed, &workers, "(exit)").await;
    assert!(matches!(&how, How::Broken { .. }), "{how:?}");
    // What is not finished waits for more, for as long as it may.
    let lease = workers.lease(&bed.spawner).await.unwrap();
    let mut spec = request(&bed, &lease, "(assert");
    spec.limits.wall = Some(Duration::from_millis(500));
    let (how, output) = bed.start(&spec).await.end().await;
    assert!(matches!(&how, How::Limit { .. }), "{how:?} {output}");
    drop(lease);
    assert_eq!(ask(&bed, &workers, "(check-sat)").await.1, "sat\n");
    workers.end().await;
}
