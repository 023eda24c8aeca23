//! Tasks that mean harm, or behave as if they did: each is contained, its result says by what, and nothing of it is left.
//!
//! Each case runs once; `AXIOM_ABUSE_TIMES=20` runs each twenty times, as PROMISES.md asks.
#![allow(
    clippy::unwrap_used,
    reason = "a failed expectation is a failed test, in helpers too"
)]

use std::process::Command;
use std::time::{Duration, Instant};

use axiom_tests::child::Running;
use axiom_tests::{bed, wait};

//
// The executors, by what `axiom run --executor` is told: `boxed` is a pool of Pythons in a sandbox, which has the limits of `POOL`.

/// One way to misbehave.
struct Abuse<'a> {
    name: &'a str,
    /// Of `axiom run`, behind the executor.
    options: &'a [&'a str],
    /// For `python3 -c`.
    script: &'a str,
}

struct Outcome {
    data: Vec<String>,
    talk: String,
    code: Option<i32>,
    took: Duration,
}

/// So long a task may take that has a second to live: this machine may be busy with other tests.
const LONG: Duration = Duration::from_secs(40);

/// Of each zygote, with all of its tasks.
const POOL: &str = "
[tasks]
dir = \"unused\"
[tasks.pools.boxed]
kind = \"python\"
command = [\"/usr/bin/python3\"]
limits = { memory = \"64MiB\", cpu = 0.5, pids = 32, files = 64 }
";

fn times() -> usize {
    let times = std::env::var("AXIOM_ABUSE_TIMES").ok();
    times.and_then(|times| times.parse().ok()).unwrap_or(1)
}

/// Runs it as often as it is to be run, each time in a folder of its own, and checks each time: the outcome by `check`, and that none of
/// its processes is left.
fn contained(executor: &str, abuse: &Abuse<'_>, check: impl Fn(&Outcome)) {
    for _ in 0..times() {
        let Some(outcome) = run(executor, abuse) else {
            return;
        };
        assert!(outcome.took < LONG, "{}: it took {:?}", abuse.name, outcome.took);
        check(&outcome);
    }
}

/// `None`, with the reason printed, where this machine has no such executor or cannot keep the limits.
fn run(executor: &str, abuse: &Abuse<'_>) -> Option<Outcome> {
    let folder = bed::scratch("abuse");
    let tasks = folder.join("tasks");
    let work = folder.join("work");
    std::fs::create_dir_all(&work).unwrap();
    // By this its processes are known, whatever they do.
    let mark = format!("mark-{}", folder.file_name().unwrap().to_string_lossy());
    let script = format!(
        "# {mark}\nimport os, sys, time, socket, signal, stat, threading\nexecutor = {executor:?}\n{}",
        abuse.script
    );
    let mut command = Command::new(bed::built("axiom"));
    command.args(["run", "--executor", executor, "--dir"]).arg(&tasks);
    // The pool keeps the others, for all of its tasks.
    let is_own = |limit: &&&str| {
        let is_pooled = matches!(executor, "zygote" | "boxed");
        **limit != "--limit" && (!is_pooled || limit.starts_with("wall=") || limit.starts_with("output="))
    };
    for option in abuse.options.iter().filter(is_own) {
        match option.starts_with("--") {
            true => command.arg(option),
            false => command.args(["--limit", option]),
        };
    }
    if executor == "boxed" {
        std::fs::write(folder.join("axiom.toml"), POOL).unwrap();
        command.arg("--config").arg(folder.join("axiom.toml"));
    }
    if executor == "sandbox" {
        command.args(["--read", &bed::python_home()]);
    }
    command
        .args(["--", "python3", "-c", &script])
        .current_dir(&work)
        .env("AXIOM_ABUSE_MARK", &mark)
        .env("NO_COLOR", "1");
    let began = Instant::now();
    let mut running = Running::start("axiom run", &mut command);
    running.stdin = None;
    let outcome = Outcome {
        data: running.stdout.all(),
        talk: running.stderr.all().join("\n"),
        code: running.ended().code(),
        took: began.elapsed(),
    };
    wait::until(&format!("nothing is left of: {}", abuse.name), || {
        (!is_alive(&mark)).then_some(())
    });
    assert!(
        !folder.join("axiom-abuse").exists(),
        "{}: it wrote beside its folder",
        abuse.name
    );
    drop(std::fs::remove_dir_all(&folder));
    let is_missing = [
        "there is no sandbox on this machine",
        "its limits cannot be kept",
        "oci` needs root here",
        "install the package runc",
        "runc did not run it",
        "install the package python3",
    ];
    if matches!(outcome.code, Some(1 | 127))
        && is_missing.iter().any(|missing| outcome.talk.contains(missing))
    {
        eprintln!("skipped: {}: {}", abuse.name, outcome.talk);
        return None;
    }
    Some(outcome)
}

fn is_alive(mark: &str) -> bool {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    // A fork of a zygote has the command line of that.
    let mut told = entries.flat_map(|entry| {
        let read = |name| std::fs::read(entry.path().join(name)).unwrap_or_default();
        ["cmdline", "environ"].map(read)
    });
    told.any(|text| String::from_utf8_lossy(&text).contains(mark))
}

/// The limit is named, with its value.
fn limit<'a>(name: &'a str) -> impl Fn(&Outcome) + 'a {
    move |outcome| {
        let said = format!("beyond its limit {name} of ");
        assert!(
            outcome.talk.contains(&said),
            "{} {:?}",
            outcome.talk,
            outcome.data
        );
        assert_eq!(outcome.code, Some(137));
    }
}

/// What it tried was denied: it says so itself, and that is all that it says.
fn denied(outcome: &Outcome) {
    let said: Vec<&str> = outcome
        .data
        .iter()
        .filter_map(|line| line.split("] ").nth(1))
        .collect();
    assert!(
        !said.is_empty() && said.iter().all(|line| line.starts_with("denied")),
        "{said:?} {}",
        outcome.talk
    );
}

const FORK_BOMB: &str = "
while True:
    try: os.fork()
    except OSError: time.sleep(0.01)
";

const HOG: &str = "
kept = []
while True: kept.append(bytearray(b'x' * (8 << 20)))
";

#[test]
fn a_fork_bomb() {
    let abuse = Abuse {
        name: "fork bomb",
        options: &["--limit", "pids=32", "--limit", "wall=2s", "--limit", "cpu=0.5"],
        script: FORK_BOMB,
    };
    for executor in ["sandbox", "oci", "boxed"] {
        contained(executor, &abuse, limit("wall"));
    }
}

#[test]
fn cpu_spin() {
    // Nothing is kept: this is not to be a memory hog.
    let spin = "
def spin():
    while True: pass
threads = [threading.Thread(target=spin) for _ in range(4)]
for thread in threads: thread.start()
";
    for (executor, options) in [
        ("process", &["--limit", "wall=1s"][..]),
        ("zygote", &["--limit", "wall=1s"][..]),
        ("boxed", &["--limit", "wall=1s"][..]),
        ("sandbox", &["--limit", "wall=1s", "--limit", "cpu=0.5"][..]),
        ("oci", &["--limit", "wall=1s", "--limit", "cpu=0.5"][..]),
    ] {
        let abuse = Abuse {
            name: "CPU spin",
            options,
            script: spin,
        };
        contained(executor, &abuse, limit("wall"));
    }
}

#[test]
fn a_memory_hog() {
    let abuse = Abuse {
        name: "memory hog",
        options: &["--limit", "memory=64MiB", "--limit", "wall=30s"],
        script: HOG,
    };
    contained("sandbox", &abuse, limit("memory_bytes"));
    // The kernel kills, and nobody says why: a container's first process, or whom it chooses among a pool's.
    contained("oci", &abuse, |outcome| {
        assert_eq!(outcome.code, Some(137), "{}", outcome.talk);
    });
    contained("boxed", &abuse, |outcome| {
        let is_told = outcome.talk.contains("ended by signal 9") || outcome.talk.contains("broken: ");
        assert!(is_told && outcome.code == Some(137), "{}", outcome.talk);
    });
}

/// What a sandbox writes to its `/tmp` is memory of its own.
#[test]
fn a_full_disk() {
    let abuse = Abuse {
        name: "disk fill",
        options: &["--limit", "memory=64MiB", "--limit", "wall=30s"],
        script: "
try:
    with open('/tmp/full', 'wb') as file:
        while True: file.write(b'x' * (1 << 20))
except OSError as error: print('denied', error)
",
    };
    let check = |outcome: &Outcome| {
        let is_named = outcome.talk.contains("beyond its limit memory_bytes of ");
        let is_full = outcome.data.iter().any(|line| line.contains("denied"));
        // Those that do not say why.
        let is_killed = outcome.code == Some(137);
        assert!(
            is_named || is_full || is_killed,
            "{} {:?}",
            outcome.talk,
            outcome.data
        );
    };
    for executor in ["sandbox", "oci", "boxed"] {
        contained(executor, &abuse, check);
    }
}

/// Where its own disk has a size, it hears of its end there.
#[test]
fn a_disk_with_a_size() {
    let abuse = Abuse {
        name: "sized disk fill",
        options: &["--read-only", "--limit", "disk=8MiB", "--limit", "wall=30s"],
        script: "
size = 0
try:
    with open('/tmp/full', 'wb', 0) as file:
        while True: size += file.write(b'x' * (1 << 16))
except OSError as error: print('denied', error)
with open('/dev/shm/full', 'wb', 0) as file:
    try:
        while True: size += file.write(b'x' * (1 << 16))
    except OSError as error: print('denied', error)
print('denied beyond' if size <= 8 << 20 else 'wrote', size)
",
    };
    for executor in ["sandbox", "oci"] {
        contained(executor, &abuse, denied);
    }
}

#[test]
fn a_descriptor_leak() {
    let abuse = Abuse {
        name: "descriptor leak",
        options: &["--limit", "files=64", "--limit", "wall=30s"],
        script: "
kept = []
try:
    while True: kept.append(os.open('/dev/null', os.O_RDONLY))
except OSError as error: print('denied', len(kept) < 64, error)
",
    };
    for executor in ["sandbox", "oci", "boxed"] {
        contained(executor, &abuse, |outcome| {
            denied(outcome);
            assert!(outcome.data[0].contains("denied True"), "{:?}", outcome.data);
        });
    }
}

#[test]
fn a_flood_of_output() {
    let flood = "
line = b'x' * 65535 + b'\\n'
while True: os.write(1, line)
";
    for executor in ["process", "sandbox", "oci", "zygote", "boxed"] {
        let abuse = Abuse {
            name: "output flood",
            options: &["--limit", "output=20MB", "--limit", "wall=60s"],
            script: flood,
        };
        contained(executor, &abuse, limit("output_bytes"));
    }
}

#[test]
fn a_daemon() {
    let daemon = "
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for fd in range(3): os.close(fd)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    os._exit(0)
print('left')
";
    for executor in ["process", "sandbox", "oci", "zygote", "boxed"] {
        let abuse = Abuse {
            name: "double-fork daemon",
            options: &["--limit", "wall=30s"],
            script: daemon,
        };
        contained(executor, &abuse, |outcome| {
            assert_eq!(
                (outcome.code, outcome.data.len()),
                (Some(0), 1),
                "{}",
                outcome.talk
            );
        });
    }
}

#[test]
fn killing_the_parent() {
    let script = "
try:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(0.3)
    # An init in its own namespace of processes gets no such signal from within.
    print('denied')
except OSError as error: print('denied', error)
";
    let abuse = Abuse {
        name: "killing the parent",
        options: &["--limit", "wall=30s"],
        script,
    };
    contained("sandbox", &abuse, denied);
    // It has none that it could see.
    contained("oci", &abuse, denied);
    // It ends its zygote, and all of that one's tasks; they are told.
    for executor in ["zygote", "boxed"] {
        contained(executor, &abuse, |outcome| {
            assert!(
                outcome.talk.contains("broken: its zygote was ended"),
                "{}",
                outcome.talk
            );
            assert_eq!(outcome.code, Some(137));
        });
    }
    // Without walls it can; its own end comes with it, and is told.
    contained("process", &abuse, |outcome| {
        assert!(
            outcome.talk.contains("lost: "),
            "{} {:?}",
            outcome.talk,
            outcome.data
        );
        assert_eq!(outcome.code, Some(1));
    });
}

#[test]
fn tracing_others() {
    let abuse = Abuse {
        name: "ptrace",
        options: &["--limit", "wall=30s"],
        script: "
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for process in {1, os.getppid()} - {0, os.getpid()}:
    if libc.ptrace(16, process, 0, 0) == -1: print('denied', os.strerror(ctypes.get_errno()))
    else: print('attached', process)
# A container's first process is this one, and there is no other to be seen.
others = [name for name in os.listdir('/proc') if name.isdigit() and int(name) != os.getpid()]
if not others: print('denied: nobody is there')
elif os.getpid() != 1:
    try:
        os.open('/proc/1/mem', os.O_RDWR); print('opened')
    except OSError as error: print('denied', error)
else: print('saw', others)
",
    };
    for executor in ["sandbox", "oci", "boxed"] {
        contained(executor, &abuse, denied);
    }
}

#[test]
fn ways_out_by_links_and_proc() {
    let abuse = Abuse {
        name: "links and /proc",
        options: &["--limit", "wall=30s"],
        script: "
def attempt(path):
    try:
        # What is hidden may be there, with nothing in it.
        with open(path, 'rb') as file: print('read' if file.read(1) else 'denied: empty', path)
    except OSError as error: print('denied', error)
os.symlink('/etc/shadow', 'link')
os.symlink('/proc/self/root/root', 'root')
attempt('link')
attempt('/proc/1/root/etc/shadow')
attempt('/proc/self/root/etc/shadow')
attempt('root/.ssh')
attempt('/proc/kcore')
attempt('/proc/sysrq-trigger')
attempt('/sys/kernel/security/lsm')
attempt('../../../../../../../../etc/shadow')
try:
    os.chroot('.'); print('chroot')
except OSError as error: print('denied', error)
",
    };
    for executor in ["sandbox", "oci", "boxed"] {
        contained(executor, &abuse, denied);
    }
}

#[test]
fn writing_outside() {
    let abuse = Abuse {
        name: "writing outside",
        options: &["--limit", "wall=30s"],
        script: "
def attempt(path):
    try:
        with open(path, 'w') as file: file.write('x')
        # In a container's own /dev, which is memory of its own, it may make a plain file; that is no disk.
        is_own = executor == 'oci' and path.startswith('/dev/') and stat.S_ISREG(os.stat(path).st_mode)
        print('denied: a file of its own' if is_own else 'wrote', path)
    except OSError as error: print('denied', error)
for path in ('/etc/axiom-abuse', '/usr/axiom-abuse', '/axiom-abuse', '/proc/sys/kernel/hostname', '/dev/sda', '/dev/mem'):
    attempt(path)
os.symlink('/usr', 'way')
attempt('way/axiom-abuse')
# Beside its folder is a /tmp of its own: this goes nowhere, which is looked at from outside.
open('../axiom-abuse', 'w').write('x')
",
    };
    for executor in ["sandbox", "oci", "boxed"] {
        contained(executor, &abuse, denied);
    }
    assert!(
        !["/etc", "/usr", "/"]
            .iter()
            .any(|place| std::path::Path::new(place).join("axiom-abuse").exists())
    );
}

#[test]
fn reaching_out() {
    let abuse = Abuse {
        name: "network egress",
        options: &["--limit", "wall=30s"],
        script: "
for address in (('169.254.169.254', 80), ('127.0.0.1', 22), ('192.0.2.1', 443)):
    try:
        socket.create_connection(address, 2); print('reached', address)
    except OSError as error: print('denied', error)
for kind in ('AF_PACKET', 'AF_VSOCK', 'AF_NETLINK'):
    try:
        family = getattr(socket, kind)
        raw = socket.socket(family, socket.SOCK_RAW)
        print('denied' if kind == 'AF_NETLINK' else 'opened', kind)
    except OSError as error: print('denied', error)
try:
    there = socket.socket(socket.AF_UNIX); there.connect('/var/run/docker.sock'); print('reached docker')
except OSError as error: print('denied', error)
",
    };
    for executor in ["sandbox", "oci", "boxed"] {
        contained(executor, &abuse, denied);
    }
}

/// Where nothing holds a task's processes together, a limit of all of them is refused before anything runs, by its name.
#[test]
fn a_limit_that_nobody_keeps_is_refused() {
    for (limit, field) in [
        ("pids=32", "limits.pids"),
        ("memory=64MiB", "limits.memory_bytes"),
        ("cpu=0.5", "limits.cpu_millis"),
        ("files=64", "limits.open_files"),
    ] {
        let abuse = Abuse {
            name: field,
            options: &["--limit", limit],
            script: FORK_BOMB,
        };
        contained("process", &abuse, |outcome| {
            assert_eq!(outcome.code, Some(2), "{}", outcome.talk);
            assert!(
                outcome.talk.contains(field) && outcome.talk.contains("sandbox"),
                "{}",
                outcome.talk
            );
            assert!(outcome.data.is_empty());
        });
    }
}

/// It reads nothing of what it is given: whoever gives waits for nobody.
#[test]
fn input_that_is_never_read() {
    let executors = ["process", "sandbox", "oci"];
    for executor in executors.into_iter().cycle().take(executors.len() * times()) {
        let folder = bed::scratch("abuse-input");
        let mut command = Command::new(bed::built("axiom"));
        command
            .args(["run", "--executor", executor, "--limit", "wall=1s", "--dir"])
            .arg(folder.join("tasks"))
            .args(["--", "sleep", "600"])
            .current_dir(&folder)
            .env("NO_COLOR", "1");
        let mut running = Running::start("axiom run", &mut command);
        let mut input = running.stdin.take().expect("it has one");
        let writing = std::thread::spawn(move || {
            use std::io::Write as _;
            // It breaks when the task has ended.
            while input.write_all(&[b'x'; 1 << 16]).is_ok() {}
        });
        let code = running.ended().code();
        writing.join().unwrap();
        drop(std::fs::remove_dir_all(&folder));
        let talk = running.stderr.all().join("\n");
        if code == Some(127) {
            eprintln!("skipped: {talk}");
            continue;
        }
        assert_eq!(code, Some(137), "{talk}");
        assert!(talk.contains("beyond its limit wall of 1s"), "{talk}");
    }
}
