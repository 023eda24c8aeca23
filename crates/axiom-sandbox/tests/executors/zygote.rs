//! Jobs of a zygote.

use std::time::Duration;

use axiom_sandbox::exit::How;
use axiom_sandbox::pool::{ZygoteOptions, Zygotes};
use axiom_sandbox::spec::{Executor, Grants, Network, Size, Spec, Zygote};
use axiom_sandbox::wire::{Reply, Request};
use rustix::process::{Pid, Signal, kill_process};

use crate::bed::{Bed, DAEMON, block_on, environment, eventually, is_alive, write};
use crate::cases::{Case, Done};

pub(crate) const CASES: &[(&str, Case)] = &[
    ("zygote_output_and_code_are_kept", || case(output_and_code)),
    ("zygote_code_ends_as_python_ends_it", || case(ends)),
    ("zygote_jobs_read_their_input", || case(input)),
    ("zygote_jobs_are_alike_a_cold_start", || case(alike)),
    ("zygote_jobs_share_what_was_imported_and_nothing_else", || {
        case(shared)
    }),
    ("zygote_killing_a_job_leaves_nothing_and_no_other_job", || {
        case(killed)
    }),
    ("zygote_what_a_job_leaves_behind_ends_with_it", || {
        case(left_behind)
    }),
    ("zygote_jobs_have_limits_of_time_and_output", || case(limits)),
    ("zygote_jobs_freeze_and_thaw_and_take_signals", || case(frozen)),
    ("zygote_jobs_have_terminals", || case(terminal)),
    ("zygote_that_dies_ends_its_jobs_with_the_reason", || case(dying)),
    ("zygote_that_is_used_up_is_replaced", || case(used_up)),
    ("zygote_without_jobs_ends", || case(idle)),
    ("zygote_jobs_end_with_their_shim", || case(shim_killed)),
    ("zygote_refuses_what_it_cannot_keep", || case(refused)),
    ("zygote_behind_walls_has_its_jobs_behind_them", || case(walls)),
];

/// If there is a Python that can be one.
fn case<F: Future<Output = ()>>(body: fn(Bed, Zygotes) -> F) -> Done {
    let program = "import sys; sys.exit(sys.version_info < (3, 9))";
    let python = std::process::Command::new("/usr/bin/python3")
        .args(["-c", program])
        .status();
    match python {
        Ok(status) if status.success() => {}
        told => return Done::Skipped(format!("there is no Python 3.9 at /usr/bin/python3: {told:?}")),
    }
    let bed = Bed::new();
    let zygotes = pool(&bed, |_| ());
    block_on(body(bed, zygotes));
    Done::Tested
}

fn pool(bed: &Bed, change: impl FnOnce(&mut ZygoteOptions)) -> Zygotes {
    let mut options = ZygoteOptions::new("python3", environment());
    change(&mut options);
    Zygotes::new(bed.tasks.path(), options)
}

async fn job(bed: &Bed, zygotes: &Zygotes, code: &str) -> Spec {
    let executor = zygotes.place(&bed.spawner).await.unwrap();
    bed.spec(executor, &["python3", "-c", code])
}

async fn run(bed: &Bed, zygotes: &Zygotes, code: &str) -> (How, String) {
    bed.start(&job(bed, zygotes, code).await).await.end().await
}

async fn output_and_code(bed: Bed, zygotes: Zygotes) {
    let code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)";
    let (how, output) = run(&bed, &zygotes, code).await;
    assert_eq!(how, How::Code(7));
    assert!(output.contains("out\n") && output.contains("err\n"), "{output}");
    zygotes.end().await;
}

async fn ends(bed: Bed, zygotes: Zygotes) {
    let check = async |code: &str, expected: How, words: &str| {
        let (how, output) = run(&bed, &zygotes, code).await;
        assert_eq!(
            (&how, output.contains(words)),
            (&expected, true),
            "{code}: {output}"
        );
    };
    check("pass", How::Code(0), "").await;
    check("raise SystemExit('words')", How::Code(1), "words\n").await;
    check("import os; os._exit(9)", How::Code(9), "").await;
    check("import os; os.kill(os.getpid(), 9)", How::Signal(9), "").await;
    check("raise KeyboardInterrupt", How::Signal(2), "KeyboardInterrupt").await;
    check("1 +", How::Code(1), "SyntaxError").await;
    check(
        "import atexit; atexit.register(print, 'late')",
        How::Code(0),
        "late\n",
    )
    .await;
    check(
        "import threading; threading.Thread(target=print, args=['thread']).start()",
        How::Code(0),
        "thread\n",
    )
    .await;
    check(
        "import os; os.execvp('sh', ['sh', '-c', 'echo shell; exit 5'])",
        How::Code(5),
        "shell\n",
    )
    .await;
    let (how, output) = run(&bed, &zygotes, "1 / 0").await;
    let expected = "Traceback (most recent call last):\n  File \"<string>\", line 1, in <module>\nZeroDivisionError: division by zero\n";
    assert_eq!((how, output.as_str()), (How::Code(1), expected));
    zygotes.end().await;
}

async fn input(bed: Bed, zygotes: Zygotes) {
    let code = "import sys; print(sum(len(line) for line in sys.stdin))";
    let mut task = bed.start(&job(&bed, &zygotes, code).await).await;
    task.put(&"a line of input\n".repeat(10_000));
    assert_eq!(task.end().await, (How::Code(0), "160000\n".to_owned()));
    zygotes.end().await;
}

/// The same program says the same of itself as in an interpreter of its own.
async fn alike(bed: Bed, zygotes: Zygotes) {
    let folder = bed.work.path();
    write(folder, "beside.py", "word = 'beside'\n");
    write(
        folder,
        "script.py",
        "import beside, os, pickle, sys\n\
         class Thing: pass\n\
         print(sys.argv, __name__, __file__, beside.word, sys.path[0] == os.path.realpath('.'), len(sys.path))\n\
         print(type(pickle.loads(pickle.dumps(Thing()))), sorted(vars()), sorted(os.environ), os.getcwd() == os.path.realpath('.'))\n\
         print(os.getsid(0) == os.getpid() or os.getpgrp() == os.getpid(), [fd for fd in range(3, 20) if os.path.exists(f'/proc/self/fd/{fd}')])\n",
    );
    for argv in [
        &["python3", "script.py", "a", "-b"][..],
        &["python3", "-m", "script", "c"],
        &["python3", "-m", "json.tool", "--help"],
        &["python3", "no-such-script.py"],
    ] {
        let cold = bed.start(&bed.spec(Executor::Process, argv)).await.end().await;
        let executor = zygotes.place(&bed.spawner).await.unwrap();
        let forked = bed.start(&bed.spec(executor, argv)).await.end().await;
        let without_names = |(how, text): (How, String)| {
            // What a module has of where it came from differs: nothing loads a script for a zygote.
            (how, text.replace("/usr/bin/python3", "python3"))
        };
        assert_eq!(without_names(forked), without_names(cold), "{argv:?}");
    }
    zygotes.end().await;
}

async fn shared(bed: Bed, _: Zygotes) {
    write(
        bed.work.path(),
        "slow.py",
        "import os\nloaded_by = os.getpid()\nseen = []\n",
    );
    let folder = bed.work.path().to_str().unwrap().to_owned();
    let zygotes = pool(&bed, |options| {
        options.env.insert("PYTHONPATH".to_owned(), folder);
        options.modules = vec!["slow".to_owned()];
    });
    let code = "import slow, os, random\n\
                slow.seen.append(1); print(slow.loaded_by != os.getpid(), len(slow.seen), random.random())";
    let (first, second) = (
        run(&bed, &zygotes, code).await.1,
        run(&bed, &zygotes, code).await.1,
    );
    assert!(
        first.starts_with("True 1 ") && second.starts_with("True 1 "),
        "{first}{second}"
    );
    assert_ne!(first, second, "the same chance for both");
    zygotes.end().await;
    let zygotes = pool(&bed, |options| {
        options.modules = vec!["no_such_module".to_owned()]
    });
    let error = zygotes.place(&bed.spawner).await.unwrap_err().to_string();
    assert!(
        error.contains("ModuleNotFoundError: No module named 'no_such_module'"),
        "{error}"
    );
}

async fn killed(bed: Bed, zygotes: Zygotes) {
    let waiting = format!("{DAEMON}\nprint('ready', flush=True)\ntime.sleep(1000)");
    let mut task = bed.start(&job(&bed, &zygotes, &waiting).await).await;
    let mut other = bed.start(&job(&bed, &zygotes, &waiting).await).await;
    let daemon = task.until("ready").await.lines().next().unwrap().to_owned();
    let others = other.until("ready").await.lines().next().unwrap().to_owned();
    assert!(is_alive(&daemon) && is_alive(&others));
    let why = "test".to_owned();
    task.ask(Request::Kill { why: why.clone() });
    assert_eq!(task.end().await.0, How::Killed { why });
    assert!(!is_alive(&daemon));
    assert!(is_alive(&others));
    other.ask(Request::Kill { why: String::new() });
    other.end().await;
    zygotes.end().await;
}

async fn left_behind(bed: Bed, zygotes: Zygotes) {
    let (how, output) = run(&bed, &zygotes, &format!("{DAEMON}\nimport sys\nsys.exit(4)")).await;
    assert_eq!(how, How::Code(4));
    assert!(!is_alive(&output), "{output}");
    zygotes.end().await;
}

async fn limits(bed: Bed, zygotes: Zygotes) {
    let mut spec = job(
        &bed,
        &zygotes,
        "import time; print('begun', flush=True); time.sleep(1000)",
    )
    .await;
    spec.limits.wall = Some(Duration::from_millis(500));
    let (how, output) = bed.start(&spec).await.end().await;
    let limit = |limit: &str, value: &str| How::Limit {
        limit: limit.to_owned(),
        value: value.to_owned(),
    };
    assert_eq!((how, output.as_str()), (limit("wall", "500ms"), "begun\n"));
    let mut spec = job(&bed, &zygotes, "while True: print('x' * 1000)").await;
    spec.limits.output_bytes = Some(100_000);
    assert_eq!(
        bed.start(&spec).await.end().await.0,
        limit("output_bytes", "100000 B")
    );
    zygotes.end().await;
}

async fn frozen(bed: Bed, zygotes: Zygotes) {
    let code = "import os, signal, sys, time\n\
                def end(*_): os.write(1, b'caught\\n'); os._exit(3)\n\
                signal.signal(signal.SIGTERM, end)\n\
                while True: print('tick', flush=True); time.sleep(0.005)";
    let mut task = bed.start(&job(&bed, &zygotes, code).await).await;
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
        std::thread::park_timeout(Duration::from_millis(50));
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
    assert_eq!(how, How::Code(3));
    assert!(output.ends_with("caught\n"), "{output}");
    zygotes.end().await;
}

async fn terminal(bed: Bed, zygotes: Zygotes) {
    let code = "import os, sys; print(sys.stdin.isatty(), os.get_terminal_size().columns, os.tcgetpgrp(0) == os.getpgrp())\n\
                print('got', input())";
    let mut spec = job(&bed, &zygotes, code).await;
    spec.terminal = Some(Size {
        columns: 91,
        rows: 24,
    });
    let mut task = bed.start(&spec).await;
    task.until("True 91 True").await;
    task.put("hello\n");
    let (how, output) = task.end().await;
    assert_eq!(how, How::Code(0));
    assert!(output.contains("got hello"), "{output}");
    zygotes.end().await;
}

async fn dying(bed: Bed, zygotes: Zygotes) {
    let code = format!("{DAEMON}\nprint('zygote', os.getppid(), flush=True)\ntime.sleep(1000)");
    let mut task = bed.start(&job(&bed, &zygotes, &code).await).await;
    let said = task.until("zygote ").await.to_owned();
    let daemon = said.lines().next().unwrap();
    let output = task.until("\nzygote ").await.to_owned();
    let line = output.lines().last().unwrap();
    let zygote: i32 = line.strip_prefix("zygote ").unwrap().parse().unwrap();
    kill_process(Pid::from_raw(zygote).unwrap(), Signal::KILL).unwrap();
    let (how, _) = task.end().await;
    assert!(
        matches!(&how, How::Broken { why } if why.contains("zygote")),
        "{how:?}"
    );
    eventually("its daemon ends", || !is_alive(daemon));
    // The next job has another.
    assert_eq!(
        run(&bed, &zygotes, "print(1)").await,
        (How::Code(0), "1\n".to_owned())
    );
    zygotes.end().await;
}

async fn used_up(bed: Bed, _: Zygotes) {
    let zygotes = pool(&bed, |options| options.jobs_max = 2);
    let socket = |executor: &Executor| match executor {
        Executor::Zygote(Zygote { socket }) => socket.clone(),
        other => panic!("{other:?}"),
    };
    let code = "import time; print('ready', flush=True); input(); print('done')";
    let first = job(&bed, &zygotes, code).await;
    let mut long = bed.start(&first).await;
    long.until("ready").await;
    let second = job(&bed, &zygotes, "pass").await;
    assert_eq!(bed.start(&second).await.end().await.0, How::Code(0));
    let third = job(&bed, &zygotes, "pass").await;
    assert_eq!(socket(&first.executor), socket(&second.executor));
    assert_ne!(socket(&first.executor), socket(&third.executor));
    assert_eq!(bed.start(&third).await.end().await.0, How::Code(0));
    // The one before ends with its last job.
    long.put("\n");
    assert_eq!(long.end().await, (How::Code(0), "ready\ndone\n".to_owned()));
    eventually("it is gone", || !socket(&first.executor).exists());
    zygotes.end().await;
}

async fn idle(bed: Bed, _: Zygotes) {
    let zygotes = pool(&bed, |options| options.idle = Duration::from_secs(1));
    let spec = job(&bed, &zygotes, "import time; time.sleep(1.5); print('done')").await;
    // One that has a job has none to wait for.
    assert_eq!(
        bed.start(&spec).await.end().await,
        (How::Code(0), "done\n".to_owned())
    );
    let Executor::Zygote(Zygote { socket }) = &spec.executor else {
        panic!("{spec:?}");
    };
    eventually("it ends", || !socket.exists());
    let late = bed.spec(spec.executor.clone(), &["python3", "-c", "pass"]);
    let why = bed.refused(&late).await;
    assert!(why.contains("no zygote takes jobs at"), "{why}");
}

async fn shim_killed(bed: Bed, zygotes: Zygotes) {
    let code = format!("{DAEMON}\nprint('job', os.getpid(), flush=True)\ntime.sleep(1000)");
    let mut task = bed.start(&job(&bed, &zygotes, &code).await).await;
    let output = task.until("\njob ").await.to_owned();
    let daemon = output.lines().next().unwrap();
    let job = output.lines().last().unwrap().strip_prefix("job ").unwrap();
    assert!(is_alive(daemon) && is_alive(job));
    kill_process(Pid::from_raw(task.shim).unwrap(), Signal::KILL).unwrap();
    task.lost().await;
    eventually("all of it ends", || !is_alive(job) && !is_alive(daemon));
    assert_eq!(run(&bed, &zygotes, "print(1)").await.0, How::Code(0));
    zygotes.end().await;
}

async fn refused(bed: Bed, zygotes: Zygotes) {
    let mut spec = job(&bed, &zygotes, "pass").await;
    let check = async |change: fn(&mut Spec), expected: &str| {
        let mut spec = spec.clone();
        change(&mut spec);
        let why = bed.refused(&spec).await;
        assert!(why.contains(expected) && !why.ends_with("hint: "), "{why}");
    };
    check(
        |spec| spec.limits.memory_bytes = Some(1 << 30),
        "limits.memory_bytes cannot be kept by the executor `zygote`",
    )
    .await;
    check(|spec| spec.limits.pids = Some(9), "limits.pids").await;
    check(|spec| spec.limits.open_files = Some(9), "limits.open_files").await;
    check(|spec| spec.grants.network = Network::Host, "grants").await;
    check(|spec| spec.argv = vec!["python3".to_owned()], "argv[1]").await;
    check(|spec| drop(spec.argv.splice(1..1, ["-X".to_owned()])), "argv[1]").await;
    zygotes.end().await;
    spec.id = "gone".to_owned();
    let why = bed.refused(&spec).await;
    assert!(why.contains("no zygote takes jobs at"), "{why}");
}

async fn walls(bed: Bed, _: Zygotes) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: walls are tested as root");
        return;
    }
    let work = bed.work.path().canonicalize().unwrap();
    let zygotes = pool(&bed, |options| {
        options.walls = Executor::Sandbox;
        options.grants = Grants {
            write: vec![work],
            ..Grants::default()
        };
    });
    let code = format!(
        "{DAEMON}\nprint(os.getuid(), os.path.exists('/root'), os.getpid() < 100, flush=True)\ntime.sleep(1000)"
    );
    let mut task = bed.start(&job(&bed, &zygotes, &code).await).await;
    task.until("0 False True").await;
    let mut other = bed.start(&job(&bed, &zygotes, "print(1); input()").await).await;
    task.ask(Request::Kill { why: String::new() });
    assert_eq!(task.end().await.0, How::Killed { why: String::new() });
    other.put("\n");
    assert_eq!(other.end().await, (How::Code(0), "1\n".to_owned()));
    zygotes.end().await;
}
