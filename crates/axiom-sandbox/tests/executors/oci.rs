//! Containers, by whichever runtime works here.

use std::time::Duration;

use axiom_sandbox::exit::How;
use axiom_sandbox::spec::{Executor, Network, Oci, Size, Spec};
use axiom_sandbox::wire::{Reply, Request};
use rustix::process::{Pid, Signal, kill_process};

use crate::bed::{Bed, block_on, eventually, is_alive, write};
use crate::cases::{Case, Done};

pub(crate) const CASES: &[(&str, Case)] = &[
    ("oci_output_code_and_input", || case(output_and_code)),
    ("oci_sees_what_a_sandbox_sees", || case(view)),
    ("oci_has_a_root_that_somebody_names", || case(root)),
    ("oci_killing_leaves_nothing_not_even_daemons", || case(killed)),
    ("oci_has_limits_of_time_memory_and_processes", || case(limits)),
    ("oci_freezes_and_takes_signals", || case(frozen)),
    ("oci_has_terminals", || case(terminal)),
    ("oci_containers_end_with_their_shim", || case(shim_killed)),
    ("oci_says_why_it_does_not_start", || case(refused)),
];

/// If there is a runtime that runs anything here: some are there and know no hybrid control groups, or may not make any.
fn case<F: Future<Output = ()>>(body: fn(Bed, Executor) -> F) -> Done {
    if !rustix::process::geteuid().is_root() {
        return Done::Skipped("it needs root".to_owned());
    }
    let (mut reasons, mut skipped) = (Vec::new(), true);
    block_on(async {
        for runtime in ["runc", "crun"] {
            let bed = Bed::new();
            match works(&bed, runtime).await {
                Ok(()) => {
                    skipped = false;
                    body(bed, executor(runtime)).await;
                }
                Err(why) => reasons.push(format!("{runtime}: {why}")),
            }
        }
    });
    match skipped {
        true => Done::Skipped(reasons.join("; ")),
        false => Done::Tested,
    }
}

fn executor(runtime: &str) -> Executor {
    Executor::Oci(Oci {
        runtime: runtime.to_owned(),
        arguments: Vec::new(),
        root: None,
    })
}

async fn works(bed: &Bed, runtime: &str) -> Result<(), String> {
    let mut spec = bed.spec(executor(runtime), &["true"]);
    spec.limits.wall = Some(Duration::from_secs(10));
    let started = bed.spawner.start(bed.tasks.path(), &spec).await;
    started.map_err(|error| error.to_string())?;
    match bed.found(&spec.id).await.end().await {
        (How::Code(0), _) => Ok(()),
        (how, output) => Err(format!("{how:?} {output}")),
    }
}

async fn sh(bed: &Bed, executor: &Executor, script: &str) -> (How, String) {
    bed.start(&spec(bed, executor, script)).await.end().await
}

fn spec(bed: &Bed, executor: &Executor, script: &str) -> Spec {
    bed.spec(executor.clone(), &["sh", "-c", script])
}

async fn output_and_code(bed: Bed, executor: Executor) {
    let mut task = bed
        .start(&spec(&bed, &executor, "cat; echo err >&2; exit 7"))
        .await;
    task.put("in\n");
    let (how, output) = task.end().await;
    assert_eq!(how, How::Code(7));
    assert!(output.contains("in\n") && output.contains("err\n"), "{output}");
    // Nothing of it stays but what stays of every task.
    let folder = std::fs::read_dir(bed.tasks.path()).unwrap();
    for entry in folder {
        assert!(!entry.unwrap().path().join("bundle").exists());
    }
}

async fn view(bed: Bed, executor: Executor) {
    let script = "echo written > here; pwd; ls / | grep -c root; id -u; grep -c . /proc/net/dev; grep CapEff /proc/self/status\n\
                  grep NoNewPrivs /proc/self/status; (echo x > /usr/x) 2>&1; mount -t tmpfs x /mnt 2>&1; echo /proc/[0-9]*; df -k /tmp | tail -1";
    let (how, output) = sh(&bed, &executor, script).await;
    assert_eq!(how, How::Code(0), "{output}");
    let work = bed.work.path().canonicalize().unwrap();
    assert_eq!(std::fs::read_to_string(work.join("here")).unwrap(), "written\n");
    let lines: Vec<&str> = output.lines().collect();
    // No /root, and only the loopback device behind two lines of heading.
    assert_eq!(lines[..4], [work.to_str().unwrap(), "0", "0", "3"], "{output}");
    assert!(
        output.contains("CapEff:\t0000000000000000\nNoNewPrivs:\t1\n"),
        "{output}"
    );
    assert!(output.contains("Read-only file system"), "{output}");
    assert!(!output.contains("/proc/100"), "{output}");
    let mut spec = spec(
        &bed,
        &executor,
        "ls /proc/self/ns; readlink /proc/self/ns/net; cat /granted/file; echo more > /granted/file",
    );
    spec.grants.network = Network::Host;
    let granted = tempfile::tempdir().unwrap();
    write(granted.path(), "file", "granted\n");
    let path = granted.path().canonicalize().unwrap();
    spec.argv[2] = spec.argv[2].replace("/granted", path.to_str().unwrap());
    spec.grants.read = vec![path.clone()];
    let (how, output) = bed.start(&spec).await.end().await;
    let network = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert!(
        output.contains(network.to_str().unwrap()) && output.contains("granted\n"),
        "{output}"
    );
    assert_ne!(how, How::Code(0), "it was read-only");
    spec.id.push('w');
    spec.grants = axiom_sandbox::spec::Grants {
        write: vec![path],
        ..Default::default()
    };
    let (how, output) = bed.start(&spec).await.end().await;
    assert_eq!(how, How::Code(0), "{output}");
    assert!(!output.contains(network.to_str().unwrap()), "{output}");
}

async fn root(bed: Bed, executor: Executor) {
    let Executor::Oci(oci) = executor else { panic!() };
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    // The machine's programs, as another root.
    for name in ["usr", "lib64", "lib", "bin"] {
        let path = std::path::Path::new("/").join(name);
        if path.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(&path).unwrap(), root.join(name)).unwrap();
        } else {
            std::fs::create_dir(root.join(name)).unwrap();
        }
    }
    write(&root, "mine", "of this root\n");
    let executor = Executor::Oci(Oci {
        root: Some(root),
        ..oci
    });
    let mut spec = spec(&bed, &executor, "cat /mine; (echo x > /mine) 2>&1");
    spec.grants.read = ["/usr", "/lib64", "/lib", "/bin"]
        .map(std::path::PathBuf::from)
        .into_iter()
        .filter(|path| !path.is_symlink())
        .collect();
    let (how, output) = bed.start(&spec).await.end().await;
    assert!(
        output.starts_with("of this root\n") && output.contains("Read-only"),
        "{output}"
    );
    assert_ne!(how, How::Code(0));
}

/// A length of sleep that is no other test's.
fn mark(number: u32) -> String {
    format!("47{number}.{}", std::process::id())
}

/// The processes of this machine whose command line has this in it.
fn alive(mark: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let names = processes.filter_map(|entry| entry.file_name().into_string().ok());
    let found = names.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(mark) && is_alive(pid)
    });
    found.collect()
}

async fn killed(bed: Bed, executor: Executor) {
    let mark = mark(11);
    let script =
        format!("setsid sleep {mark} & (setsid sh -c 'sleep {mark} & wait' &); echo ready; sleep {mark}");
    let mut task = bed.start(&spec(&bed, &executor, &script)).await;
    task.until("ready").await;
    eventually("all are there", || alive(&mark).len() >= 4);
    let why = "test".to_owned();
    task.ask(Request::Kill { why: why.clone() });
    assert_eq!(task.end().await.0, How::Killed { why });
    assert_eq!(alive(&mark), Vec::<String>::new());
    // And what a command leaves behind ends with it.
    let (how, _) = sh(&bed, &executor, &format!("setsid sleep {mark} & exit 4")).await;
    assert_eq!(how, How::Code(4));
    assert_eq!(alive(&mark), Vec::<String>::new());
}

async fn limits(bed: Bed, executor: Executor) {
    let mut bounded = spec(&bed, &executor, "echo begun; sleep 1000");
    bounded.limits.wall = Some(Duration::from_secs(2));
    let limit = How::Limit {
        limit: "wall".to_owned(),
        value: "2s".to_owned(),
    };
    assert_eq!(
        bed.start(&bounded).await.end().await,
        (limit, "begun\n".to_owned())
    );
    let mut bounded = spec(
        &bed,
        &executor,
        "for i in 1 2 3 4 5 6 7 8 9; do sleep 1 & done 2>&1; ulimit -n",
    );
    bounded.limits.pids = Some(5);
    bounded.limits.open_files = Some(77);
    let (_, output) = bed.start(&bounded).await.end().await;
    assert!(output.contains("fork"), "{output}");
    bounded.limits.pids = None;
    bounded.id.push('f');
    assert!(bed.start(&bounded).await.end().await.1.ends_with("77\n"));
    let mut bounded = spec(&bed, &executor, "head -c 300m /dev/zero | tail | wc -c");
    bounded.limits.memory_bytes = Some(32 << 20);
    let (_, output) = bed.start(&bounded).await.end().await;
    assert!(!output.contains("314572800"), "{output}");
    let mut bounded = spec(&bed, &executor, "true");
    bounded.limits.disk_io_bytes_s = Some(1 << 20);
    let why = bed.refused(&bounded).await;
    assert!(
        why.contains("limits.disk_io_bytes_s cannot be kept by the executor `oci`"),
        "{why}"
    );
    let Executor::Oci(oci) = executor else { panic!() };
    let blind = Executor::Oci(Oci {
        arguments: vec!["--ignore-cgroups".to_owned()],
        ..oci
    });
    let mut bounded = spec(&bed, &blind, "true");
    bounded.limits.memory_bytes = Some(32 << 20);
    let why = bed.refused(&bounded).await;
    assert!(why.contains("told to leave control groups alone"), "{why}");
}

async fn frozen(bed: Bed, executor: Executor) {
    let script = "trap 'echo caught; exit 3' TERM; while :; do echo tick; sleep 0.01; done";
    let mut task = bed.start(&spec(&bed, &executor, script)).await;
    task.until("tick").await;
    task.ask(Request::Freeze);
    assert_eq!(task.reply().await, Reply::Done);
    let mut bytes = async || {
        task.ask(Request::Status);
        match task.reply().await {
            Reply::Status(status) => status.output_bytes,
            other => panic!("{other:?}"),
        }
    };
    // What was on its way arrives; then nothing more.
    let mut before = bytes().await;
    loop {
        std::thread::park_timeout(Duration::from_millis(100));
        let now = bytes().await;
        if now == before {
            break;
        }
        before = now;
    }
    task.ask(Request::Thaw);
    assert_eq!(task.reply().await, Reply::Done);
    task.ask(Request::Signal(15));
    let (how, output) = task.end().await;
    assert_eq!(how, How::Code(3), "{output}");
    // One that is frozen hears of its end as well.
    let mut task = bed.start(&spec(&bed, &executor, script)).await;
    task.until("tick").await;
    task.ask(Request::Freeze);
    assert_eq!(task.reply().await, Reply::Done);
    task.ask(Request::Kill { why: String::new() });
    assert_eq!(task.end().await.0, How::Killed { why: String::new() });
}

async fn terminal(bed: Bed, executor: Executor) {
    let mut spec = spec(&bed, &executor, "tty; stty size; read line; echo got $line");
    spec.terminal = Some(Size {
        columns: 91,
        rows: 24,
    });
    let mut task = bed.start(&spec).await;
    task.until("24 91").await;
    task.put("hello\n");
    let (how, output) = task.end().await;
    assert_eq!(how, How::Code(0), "{output}");
    assert!(output.contains("got hello"), "{output}");
}

async fn shim_killed(bed: Bed, executor: Executor) {
    let mark = mark(13);
    let script = format!("echo ready; sleep {mark}; true");
    let mut task = bed.start(&spec(&bed, &executor, &script)).await;
    task.until("ready").await;
    kill_process(Pid::from_raw(task.shim).unwrap(), Signal::KILL).unwrap();
    task.lost().await;
    eventually("it ends", || alive(&mark).is_empty());
}

async fn refused(bed: Bed, executor: Executor) {
    let (how, _) = bed
        .start(&bed.spec(executor.clone(), &["no-such-program"]))
        .await
        .end()
        .await;
    assert!(
        matches!(&how, How::NotStarted { why } if why.contains("no-such-program")),
        "{how:?}"
    );
    let Executor::Oci(oci) = executor else { panic!() };
    let missing = Executor::Oci(Oci {
        runtime: "no-such-runtime".to_owned(),
        ..oci
    });
    let why = bed.refused(&bed.spec(missing, &["true"])).await;
    assert!(
        why.contains("no-such-runtime cannot be started") && why.contains("is it installed"),
        "{why}"
    );
}
