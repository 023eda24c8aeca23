//! A supervisor that is killed, again and again, with two hundred tasks.
//!
//! Five times; `AXIOM_KILLS=50` is fifty times, with as many more tasks.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use super::*;

const TASKS_EACH: usize = 200;
const KILLS: usize = 5;
/// Those that fail are started again so often.
const RESTARTS: usize = 2;
const LINES: usize = 100;

/// A supervisor in a process of its own.
struct Running {
    child: Child,
    answers: Receiver<String>,
    /// Writes orders: the supervisor may be killed in the midst of them.
    orders: JoinHandle<ChildStdin>,
}

impl Running {
    fn start(dir: &Path, orders: String) -> Running {
        let ours = std::env::current_exe().unwrap();
        let program = ours.parent().unwrap().with_file_name("examples").join("killed");
        let mut child = Command::new(program)
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let (tx, answers) = channel();
        // It ends with the process that it reads.
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                tx.send(line).ok();
            }
        });
        let mut stdin = child.stdin.take().unwrap();
        Running {
            child,
            answers,
            orders: std::thread::spawn(move || {
                stdin.write_all(orders.as_bytes()).ok();
                stdin
            }),
        }
    }

    fn answer(&self) -> String {
        self.answers.recv_timeout(Duration::from_secs(60)).unwrap()
    }

    /// Gives all that it had answered.
    fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.orders.join().unwrap();
        self.answers.iter().collect()
    }
}

/// What each task does: it says that it runs, says lines, one of them in two pieces, and ends.
fn script(dir: &Path, key: usize, chance: u64) -> String {
    let pause = chance % 2000;
    let code = code(key);
    format!(
        "echo x >> {dir}/starts/{key}; i=0; while [ $i -lt {half} ]; do echo {key} $i; i=$((i+1)); done; \
         printf '{key} '; sleep {seconds}.{millis:03}; echo $i; i=$((i+1)); \
         while [ $i -lt {LINES} ]; do echo {key} $i; i=$((i+1)); done; exit {code}",
        dir = dir.display(),
        half = LINES / 2,
        seconds = pause / 1000,
        millis = pause % 1000,
    )
}

fn restarts(key: usize) -> usize {
    if key % 10 == 7 { RESTARTS } else { 0 }
}

fn code(key: usize) -> usize {
    match restarts(key) {
        0 => key % 3,
        _ => 9,
    }
}

/// Processes that work below this folder, or were told of it.
fn left(dir: &Path) -> Vec<String> {
    let mark = dir.display().to_string();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let is_ours = |entry: &std::fs::DirEntry| {
        let folder = std::fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        folder.starts_with(dir) || String::from_utf8_lossy(&line).contains(&mark)
    };
    let names = entries.filter(is_ours).map(|entry| entry.file_name());
    names.map(|name| name.to_string_lossy().into_owned()).collect()
}

/// Which task each key is: it stays that, whoever asks.
#[derive(Default)]
struct Known {
    ids: BTreeMap<usize, String>,
}

impl Known {
    fn learn(&mut self, answer: &str) {
        if let ["task", key, id] = answer.split(' ').collect::<Vec<_>>()[..] {
            let key = key.parse().unwrap();
            let known = self.ids.entry(key).or_insert_with(|| id.to_owned());
            assert_eq!(known, id, "{key} became another task");
        }
    }
}

/// While it starts them, while they run and wait, while they end: each is found again, runs once, says each line once, and ends once.
#[tokio::test]
async fn killed_again_and_again_it_loses_nothing_and_tells_nothing_twice() {
    let kills = std::env::var("AXIOM_KILLS").ok();
    let kills: usize = kills.and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let tasks = TASKS_EACH * kills.div_ceil(KILLS);
    let bed = Bed::new();
    let dir = bed.dir.path();
    std::fs::create_dir(dir.join("starts")).unwrap();
    let chance = RandomState::new();
    let mut known = Known::default();
    // Each supervisor is told of those that the ones before knew, and of some more.
    let orders = |rounds: usize| -> String {
        let count = (tasks * rounds).div_ceil(kills).min(tasks);
        (0..count)
            .map(|key| {
                let script = script(dir, key, chance.hash_one(("task", key)));
                format!("order {key} {} {script}\n", restarts(key))
            })
            .collect()
    };
    for nth in 1..=kills {
        let running = Running::start(dir, orders(nth));
        let by_chance = chance.hash_one(("kill", nth));
        match nth % 2 {
            // While it takes orders and starts tasks.
            1 => {
                for _ in 0..by_chance % 40 {
                    known.learn(&running.answer());
                }
            }
            // At any moment.
            _ => time::sleep(Duration::from_millis(by_chance % 1500)).await,
        }
        for answer in running.kill() {
            known.learn(&answer);
        }
    }
    let mut running = Running::start(dir, orders(kills));
    while known.ids.len() < tasks {
        known.learn(&running.answer());
    }
    let mut stdin = running.orders.join().unwrap();
    let states = soon(async {
        loop {
            stdin.write_all(b"list\n").unwrap();
            let answers = running.answers.iter();
            let states: Vec<String> = answers
                .take_while(|answer| answer != "listed")
                .filter(|answer| answer.starts_with("state "))
                .collect();
            if states.iter().all(|state| state.contains(" ended ")) {
                return states;
            }
            time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    stdin.write_all(b"close\n").unwrap();
    running.child.wait().unwrap();
    assert_eq!(states.len(), tasks);
    let reader = Reader::open(Arc::new(Machine), &bed.events()).unwrap();
    for (key, id) in &known.ids {
        let attempts = 1 + restarts(*key);
        let code = code(*key);
        let state = format!("state {id} ended {code} ");
        assert!(
            states.iter().any(|other| other.starts_with(&state)),
            "{key}: {states:?}"
        );
        let starts = std::fs::read_to_string(dir.join("starts").join(key.to_string())).unwrap();
        assert_eq!(starts, "x\n".repeat(attempts), "starts of {key}, {id}");
        let recorded = recorded_by(&reader, id);
        let expected: Vec<String> = (0..attempts)
            .flat_map(|_| (0..LINES).map(|n| format!("{key} {n}")))
            .collect();
        assert_eq!(lines(&recorded), expected, "lines of {key}, {id}");
        let ends: Vec<&String> = recorded
            .iter()
            .filter(|(kind, _)| kind == "task.ended")
            .map(|(_, body)| body)
            .collect();
        let again = ends.iter().filter(|body| body.contains("again_in_ms")).count();
        assert_eq!(
            (ends.len(), again),
            (attempts, attempts - 1),
            "ends of {key}, {id}: {ends:?}"
        );
    }
    assert_eq!(left(dir), Vec::<String>::new());
}
