//! A small world to test in: tasks have names, and a script says what happens.

mod bounds;
mod large;
mod life;
mod model;
mod order;
mod random;
mod trouble;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::time::Duration;

use super::*;

const GIB: u64 = 1 << 30;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn job<T>(owner: Owner, class: Class, work: T) -> Job<T> {
    Job {
        owner,
        class,
        backend: "sandbox".into(),
        memory_bytes: GIB,
        queued_bytes: 1,
        cost: NonZeroU32::MIN,
        deadline: None,
        when_broken: WhenBroken::Wait,
        work,
    }
}

/// Everything is large enough not to matter, but for what a test changes.
fn options() -> Options {
    let share = Share {
        running_max: usize::MAX,
        queued_max: usize::MAX,
        queued_bytes_max: u64::MAX,
        ..Share::default()
    };
    Options {
        budget: Budget {
            memory_bytes: 1 << 50,
            tasks: 1 << 20,
        },
        queue: QueueLimits {
            tasks_max: 1 << 20,
            bytes_max: u64::MAX,
        },
        group: share,
        tenant: share,
        backends: ["sandbox", "oci"].map(wide_backend).into(),
        ..Options::default()
    }
}

fn small(memory_gib: u64, tasks: usize) -> Options {
    Options {
        budget: Budget {
            memory_bytes: memory_gib * GIB,
            tasks,
        },
        ..options()
    }
}

fn wide_backend(name: &str) -> BackendOptions {
    BackendOptions {
        running_max: 1 << 20,
        starts: StartLimits {
            at_first: 1 << 20,
            min: 1 << 20,
            max: 1 << 20,
            ..StartLimits::default()
        },
        ..BackendOptions::new(name)
    }
}

struct World {
    scheduler: Scheduler<String>,
    now: Duration,
    pressure: Pressure,
    tickets: BTreeMap<String, Ticket>,
    running: BTreeMap<String, (Lease, Box<Job<String>>)>,
    said: String,
}

/// Runs a script of one command a line, and compares what was answered. Commands without an answer give none.
fn check(options: Options, script: &str, expected: &str) {
    let mut world = World {
        scheduler: Scheduler::new(options).unwrap(),
        now: Duration::ZERO,
        pressure: Pressure::default(),
        tickets: BTreeMap::new(),
        running: BTreeMap::new(),
        said: String::new(),
    };
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        world.run(&line.split_whitespace().collect::<Vec<_>>());
        world.scheduler.check_invariants().unwrap();
    }
    let expected: Vec<&str> = expected
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    assert_eq!(world.said.lines().collect::<Vec<_>>(), expected);
}

impl World {
    fn run(&mut self, words: &[&str]) {
        let now = self.now;
        match *words {
            // add NAME GROUP/TENANT CLASS GIB, then key=value
            ["add", name, owner, class, gib, ref more @ ..] => {
                let job = parse_job(name, owner, class, gib, more);
                match self.scheduler.submit(now, job) {
                    Ok(ticket) => drop(self.tickets.insert(name.to_owned(), ticket)),
                    Err(refused) => self.say(&format!("no {}: {refused}", refused.job.work)),
                }
            }
            ["next"] => {
                let next = self.scheduler.next(now, self.pressure);
                let mut line = "place:".to_owned();
                for placed in next.placed {
                    write!(line, " {}", placed.job.work).unwrap();
                    self.running
                        .insert(placed.job.work.clone(), (placed.lease, placed.job));
                }
                self.say(&line);
                for dropped in next.dropped {
                    self.say(&format!("drop {}: {}", dropped.job.work, dropped.why));
                }
            }
            ["start", name] => {
                let answer = self.scheduler.started(now, self.running[name].0, secs(1));
                self.say_error(answer);
            }
            [how @ ("end" | "fail" | "stop"), name] => {
                let answer = self.scheduler.ended(now, self.running[name].0, outcome(how));
                self.say_error(answer);
            }
            ["back", name] => {
                let (lease, job) = self.running[name].clone();
                let answer = self.scheduler.put_back(now, lease, Outcome::Stopped, job);
                self.say_error(answer);
            }
            ["cancel", name] => {
                let line = match self.scheduler.cancel(now, self.tickets[name]) {
                    Cancelled::Queued(job) => format!("gone: {}", job.work),
                    Cancelled::Running(lease) => format!("running: attempt {}", lease.attempt),
                    Cancelled::Unknown => "unknown".to_owned(),
                };
                self.say(&line);
            }
            ["at", second] => self.now = secs(second.parse().unwrap()),
            ["memory-pressure", percent] => self.pressure.memory_some_avg10 = percent.parse().unwrap(),
            ["budget", gib, tasks] => self.scheduler.set_budget(Budget {
                memory_bytes: gib.parse::<u64>().unwrap() * GIB,
                tasks: tasks.parse().unwrap(),
            }),
            ["wake"] => {
                let line = match self.scheduler.wake_at() {
                    Some(at) => format!("wake at {} s", at.as_secs()),
                    None => "sleep".to_owned(),
                };
                self.say(&line);
            }
            ["free"] => {
                let seen = self.scheduler.snapshot(9);
                let line = format!(
                    "used {} GiB, starting {}",
                    seen.used_memory_bytes >> 30,
                    seen.starting
                );
                self.say(&format!(
                    "{line}, started {}, stopping {}",
                    seen.started, seen.stopping
                ));
            }
            _ => panic!("no such command: {words:?}"),
        }
    }

    fn say_error<E: std::fmt::Display>(&mut self, answer: Result<(), E>) {
        if let Err(error) = answer {
            self.say(&error.to_string());
        }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.said, "{line}").unwrap();
    }
}

fn parse_job(name: &str, owner: &str, class: &str, gib: &str, more: &[&str]) -> Job<String> {
    let owner = match owner.split_once('/') {
        Some((group, tenant)) => Owner::within(group, tenant),
        None => Owner::alone(owner),
    };
    let class = Class::ALL
        .into_iter()
        .find(|one| one.to_string() == class)
        .unwrap();
    let mut job = job(owner, class, name.to_owned());
    job.memory_bytes = gib.parse::<u64>().unwrap() * GIB;
    for (key, value) in more.iter().map(|pair| pair.split_once('=').unwrap()) {
        match key {
            "cost" => job.cost = value.parse().unwrap(),
            "deadline" => job.deadline = Some(secs(value.parse().unwrap())),
            "backend" => job.backend = value.into(),
            "broken" => job.when_broken = WhenBroken::Refuse,
            "bytes" => job.queued_bytes = value.parse().unwrap(),
            _ => panic!("no such key: {key}={value}"),
        }
    }
    job
}

fn outcome(how: &str) -> Outcome {
    match how {
        "end" => Outcome::Done,
        "fail" => Outcome::BackendFailed,
        _ => Outcome::Stopped,
    }
}
