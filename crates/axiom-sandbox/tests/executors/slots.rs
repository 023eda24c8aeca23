//! Sandboxes that stand before they are wanted: who gets one, what is behind it, and what becomes of those that nobody got.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use axiom_core::time;
use axiom_sandbox::exit::How;
use axiom_sandbox::handle::StartError;
use axiom_sandbox::spec::{Executor, Size, Spec};
use axiom_sandbox::wire::Request;
use rustix::process::{Pid, Signal, kill_process};

use crate::bed::{Bed, PATIENCE, Task, block_on, eventually, is_alive, write};
use crate::cases::{Case, Done};

pub(crate) const CASES: &[(&str, Case)] = &[
    ("slot_takes_one_task", || case(takes_one_task)),
    ("slot_is_as_shut_as_any_sandbox", || case(is_shut)),
    ("slot_has_the_terminal_of_its_task", || case(terminal)),
    ("slot_of_other_walls_is_left_alone", || case(other_walls)),
    ("slot_whose_folder_was_replaced_is_not_used", || {
        case(replaced_folder)
    }),
    ("slot_keeps_the_limits_of_its_task", || limited(limits)),
    ("slot_that_was_killed_holds_up_nobody", || case(killed)),
    ("slot_that_hangs_holds_up_nobody", || case(hangs)),
    ("slots_end_with_their_spawner", || case(spawner_killed)),
    ("slots_leave_no_groups", || limited(no_groups)),
];

const SLOTS: usize = 2;

fn case<F: Future<Output = ()>>(body: fn(Slots) -> F) -> Done {
    if !rustix::process::geteuid().is_root() {
        return Done::Skipped("only root has slots".to_owned());
    }
    run(body, |_| ())
}

/// With limits that need a control group.
fn limited<F: Future<Output = ()>>(body: fn(Slots) -> F) -> Done {
    if !rustix::process::geteuid().is_root() {
        return Done::Skipped("only root has slots".to_owned());
    }
    run(body, |spec| {
        spec.limits.memory_bytes = Some(64 << 20);
        spec.limits.pids = Some(32);
    })
}

fn run<F: Future<Output = ()>>(body: fn(Slots) -> F, limit: fn(&mut Spec)) -> Done {
    let mut skipped = None;
    block_on(async {
        let bed = Bed::with_slots(SLOTS);
        let mut first = sandbox(&bed, "echo first; read wait");
        limit(&mut first);
        let running = match bed.spawner.start(bed.tasks.path(), &first).await {
            Ok(running) => running,
            Err(StartError::NotStarted(why)) => return skipped = Some(why.to_string()),
            Err(error) => panic!("{error}"),
        };
        let spawner = parent(running.shim);
        let mut task = bed.found(&first.id).await;
        task.put("\n");
        assert_eq!(task.end().await, (How::Code(0), "first\n".to_owned()));
        body(Slots {
            bed,
            spawner,
            limit,
            shims: HashSet::from([running.shim]),
        })
        .await;
    });
    skipped.map_or(Done::Tested, Done::Skipped)
}

struct Slots {
    bed: Bed,
    spawner: i32,
    limit: fn(&mut Spec),
    /// Of all tasks that were started.
    shims: HashSet<i32>,
}

struct Started {
    task: Task,
    shim: i32,
    command: i32,
    had_slot: bool,
}

impl Slots {
    fn spec(&self, script: &str) -> Spec {
        let mut spec = sandbox(&self.bed, script);
        (self.limit)(&mut spec);
        spec
    }

    /// The processes that wait for a task, or are about to.
    fn waiting(&self) -> HashSet<i32> {
        let below = children(self.spawner).into_iter();
        below.filter(|pid| !self.shims.contains(pid)).collect()
    }

    async fn start(&mut self, spec: &Spec) -> Started {
        let waiting = self.waiting();
        let started = self.bed.spawner.start(self.bed.tasks.path(), spec).await;
        let running = started.unwrap_or_else(|error| panic!("{error} {:?}", error.hint()));
        assert!(self.shims.insert(running.shim), "a shim has one task");
        Started {
            task: self.bed.found(&spec.id).await,
            shim: running.shim,
            command: running.command,
            had_slot: waiting.contains(&running.shim),
        }
    }

    /// In a slot: those of others that come before there is one are only run to their end.
    async fn start_in_slot(&mut self, change: impl Fn(&mut Spec)) -> Started {
        let until = time::now() + PATIENCE;
        loop {
            let mut spec = self.spec("");
            change(&mut spec);
            let started = self.start(&spec).await;
            if started.had_slot {
                return started;
            }
            let mut task = started.task;
            task.ask(Request::Kill {
                why: "it has no slot".to_owned(),
            });
            task.end().await;
            assert!(time::now() < until, "no slot takes it");
            self.settle();
        }
    }

    /// As many slots as there may be, each of which waits for its task.
    fn settle(&self) {
        let stands = |slot: &i32| {
            // In this order: once the one in the sandbox waits, the other has nothing to wait for but its task.
            let inside = children(*slot).first().map(|inside| status(*inside));
            let is_shut = inside.is_some_and(|status| sleeps(&status) && status.contains("Seccomp:\t2"));
            is_shut && sleeps(&status(*slot))
        };
        eventually("all slots stand", || {
            let waiting = self.waiting();
            waiting.len() == SLOTS && waiting.iter().all(stands)
        });
    }

    /// Until all slots have been asked for.
    async fn fill(&mut self) {
        let one = self.spec("echo one");
        let one = self.start(&one).await;
        assert_eq!(one.task.end().await, (How::Code(0), "one\n".to_owned()));
        self.settle();
    }
}

fn sandbox(bed: &Bed, script: &str) -> Spec {
    bed.spec(Executor::Sandbox, &["/bin/sh", "-c", script])
}

fn script(spec: &mut Spec, script: &str) {
    spec.argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
}

async fn takes_one_task(mut slots: Slots) {
    let mut had_slot = 0;
    for number in 0..20 {
        let spec = slots.spec(&format!("echo {number} > /tmp/seen; ls /tmp; echo $0 $1"));
        let mut spec = spec;
        spec.argv.extend(["name".to_owned(), "a b".to_owned()]);
        let started = slots.start(&spec).await;
        had_slot += usize::from(started.had_slot);
        // Nothing of earlier tasks is there.
        let expected = (How::Code(0), "seen\nname a b\n".to_owned());
        assert_eq!(started.task.end().await, expected, "{number}");
        slots.settle();
    }
    assert!(had_slot > 10, "{had_slot} of 20 had a slot");
}

async fn is_shut(mut slots: Slots) {
    let look = "exec 2>&1; cd /proc/self/fd; echo *; cd /proc; echo [0-9]*; cd /; echo *; cat /proc/net/dev | wc -l; \
                grep -E '^(Cap(Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp):' /proc/self/status; \
                sed 's/.*:/:/' /proc/self/cgroup | sort -u; env | sort; pwd; umask; ulimit -c; \
                echo x > /usr/x; cat /etc/shadow; unshare -m true; kill -0 1 && echo init";
    let mut cold = slots.spec(look);
    // Walls of its own, which it asks for by what changes nothing else.
    cold.limits.open_files = Some(512);
    let cold = slots.start(&cold).await;
    assert!(!cold.had_slot);
    let warm = slots.start_in_slot(|spec| script(spec, look)).await;
    let (cold, warm) = (cold.task.end().await, warm.task.end().await);
    assert!(cold.1.starts_with("0 1 2 3\n1 2\n"), "{}", cold.1);
    assert_eq!(cold, warm);
}

async fn terminal(mut slots: Slots) {
    let look = "stty size; [ -t 0 ] && [ -t 2 ] && echo here > /dev/tty; ps -o tty= -p $$ >/dev/null; exit 7";
    let started = slots.start_in_slot(|spec| {
        script(spec, look);
        spec.terminal = Some(Size {
            columns: 33,
            rows: 11,
        });
    });
    let (how, output) = started.await.task.end().await;
    assert_eq!((how, output.as_str()), (How::Code(7), "11 33\r\nhere\r\n"));
}

async fn other_walls(mut slots: Slots) {
    slots.fill().await;
    let granted = tempfile::tempdir().unwrap();
    let granted = granted.path().canonicalize().unwrap();
    write(&granted, "file", "granted\n");
    let standing = slots.waiting();
    let mut other = slots.spec(&format!("cat {}/file", granted.display()));
    other.grants.read = vec![granted.clone()];
    let other = slots.start(&other).await;
    assert!(!other.had_slot);
    assert_eq!(other.task.end().await, (How::Code(0), "granted\n".to_owned()));
    // One task with these is not enough to make slots for them, or to end others.
    assert_eq!(slots.waiting(), standing);
    let look = format!("cat {}/file", granted.display());
    let started = slots.start_in_slot(|spec| script(spec, &look)).await;
    let (how, output) = started.task.end().await;
    assert!(how == How::Code(1) && output.contains("No such file"), "{output}");
}

async fn replaced_folder(mut slots: Slots) {
    let folder = slots.bed.work.path().canonicalize().unwrap();
    write(&folder, "file", "old\n");
    slots.fill().await;
    std::fs::rename(&folder, folder.with_extension("old")).unwrap();
    std::fs::create_dir(&folder).unwrap();
    write(&folder, "file", "new\n");
    for _ in 0..=SLOTS {
        let spec = slots.spec("cat file; echo made > made");
        let started = slots.start(&spec).await;
        assert_eq!(started.task.end().await, (How::Code(0), "new\n".to_owned()));
    }
    assert!(folder.join("made").exists());
    let old = folder.with_extension("old");
    assert!(!old.join("made").exists());
    std::fs::remove_dir_all(old).unwrap();
}

async fn limits(mut slots: Slots) {
    let forks = |spec: &mut Spec| {
        script(
            spec,
            "for n in 1 2 3 4 5 6 7 8 9 10; do sleep 100 & done; echo all",
        )
    };
    let free = slots.start_in_slot(forks).await;
    assert_eq!(free.task.end().await, (How::Code(0), "all\n".to_owned()));
    let few = slots.start_in_slot(|spec| {
        forks(spec);
        spec.limits.pids = Some(6);
    });
    let (how, output) = few.await.task.end().await;
    assert!(how == How::Code(2) && output.contains("fork"), "{how:?} {output}");
    let little = slots.start_in_slot(|spec| {
        script(
            spec,
            "head -c 48000000 /dev/zero > /tmp/much; echo done; read wait",
        );
        spec.limits.memory_bytes = Some(16 << 20);
    });
    let (how, output) = little.await.task.end().await;
    let limit = "memory_bytes".to_owned();
    let value = format!("{} B", 16 << 20);
    assert_eq!(how, How::Limit { limit, value }, "{output}");
}

async fn killed(mut slots: Slots) {
    slots.fill().await;
    // The sandboxes of some, and the shims of others.
    for of_slot in [true, false] {
        for slot in slots.waiting() {
            let pid = if of_slot { slot } else { children(slot)[0] };
            kill(pid);
            eventually("it is gone", || !is_alive(&pid.to_string()));
        }
        for _ in 0..=SLOTS {
            let spec = slots.spec("echo ran");
            let started = slots.start(&spec).await;
            assert_eq!(started.task.end().await, (How::Code(0), "ran\n".to_owned()));
        }
        slots.settle();
    }
}

async fn hangs(mut slots: Slots) {
    slots.fill().await;
    let waiting = slots.waiting();
    for slot in &waiting {
        kill_process(pid(*slot), Signal::STOP).unwrap();
    }
    let spec = slots.spec("echo ran >> ran; cat ran");
    let started = slots.start(&spec).await;
    assert!(!waiting.contains(&started.shim));
    assert_eq!(started.task.end().await, (How::Code(0), "ran\n".to_owned()));
    // Those that were asked in vain do not come back to it later.
    for slot in &waiting {
        kill_process(pid(*slot), Signal::CONT).unwrap();
        eventually("what hung ends", || !is_alive(&slot.to_string()));
    }
    let ran = std::fs::read_to_string(slots.bed.work.path().join("ran")).unwrap();
    assert_eq!(ran, "ran\n");
}

async fn spawner_killed(mut slots: Slots) {
    let going = slots.spec("echo here; read wait");
    let mut going = slots.start(&going).await.task;
    slots.fill().await;
    let waiting: Vec<i32> = slots.waiting().into_iter().collect();
    let mut all = waiting.clone();
    all.extend(waiting.iter().flat_map(|slot| children(*slot)));
    assert_eq!(all.len(), 2 * SLOTS);
    kill(slots.spawner);
    for pid in all {
        eventually("a slot ends", || !is_alive(&pid.to_string()));
    }
    // A task does not.
    going.put("\n");
    assert_eq!(going.end().await, (How::Code(0), "here\n".to_owned()));
}

async fn no_groups(mut slots: Slots) {
    slots.fill().await;
    let waiting = slots.waiting();
    let mut groups: Vec<PathBuf> = waiting
        .iter()
        .flat_map(|slot| groups(children(*slot)[0]))
        .collect();
    assert!(groups.len() >= SLOTS, "{groups:?}");
    let started = slots.start_in_slot(|spec| script(spec, "read wait")).await;
    let of_task = self::groups(started.command);
    assert!(of_task.iter().all(|group| group.exists()), "{of_task:?}");
    groups.extend(of_task);
    let mut task = started.task;
    task.put("\n");
    assert_eq!(task.end().await.0, How::Code(0));
    // This ends the spawner.
    drop(slots.bed);
    for group in groups {
        eventually("a group goes with its slot", || !group.exists());
    }
}

/// The groups of slots that a process is in, as folders.
fn groups(pid: i32) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let in_slot = text.lines().filter(|line| line.contains("task-slot-"));
    let folder = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next().unwrap(), parts.next().unwrap());
        let places = [format!("/{controllers}"), "/unified".to_owned(), String::new()];
        let folders = places.map(|place| PathBuf::from(format!("/sys/fs/cgroup{place}{path}")));
        folders.into_iter().find(|folder| folder.exists())
    };
    in_slot.filter_map(folder).collect()
}

fn children(pid: i32) -> Vec<i32> {
    let list = Path::new("/proc")
        .join(pid.to_string())
        .join(format!("task/{pid}/children"));
    let list = std::fs::read_to_string(list).unwrap_or_default();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

fn status(pid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default()
}

fn sleeps(status: &str) -> bool {
    status.contains("State:\tS")
}

fn parent(pid: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split(' ').nth(1).unwrap().parse().unwrap()
}

fn pid(number: i32) -> Pid {
    Pid::from_raw(number).unwrap()
}

fn kill(number: i32) {
    kill_process(pid(number), Signal::KILL).ok();
}
