//! What a task can do, and how its end and its faults are told.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use axiom_sandbox::confine::ExecFault;

use crate::case;
use crate::cases::{Case, Done, without_landlock};
use crate::task::{Report, Rules, Task, UID, User};

pub(crate) const CASES: &[(&str, Case)] = &[
    ("a_shell_says_hi", case!({ Task::sh("echo hi").prints("hi\n") })),
    (
        "its_exit_code_arrives",
        case!({ Task::sh("exit 7").ends_with(7) }),
    ),
    (
        "its_signal_arrives",
        case!({ Task::sh("kill -KILL $$").ends_with(128 + 9) }),
    ),
    (
        "without_an_init_its_signal_is_told_as_one",
        case!({
            let mut task = Task::sh("kill -TERM $$");
            (task.own_root, task.own_namespaces) = (false, false);
            assert!(matches!(task.run().report, Report::Signal(15)));
        }),
    ),
    (
        "init_passes_signals_on",
        case!({
            let script = "trap 'echo interrupted; exit 3' INT; kill -INT 1; while :; do sleep 0.1; done";
            let outcome = Task::sh(script).run();
            assert!(matches!(outcome.report, Report::Code(3)), "{outcome:?}");
            assert_eq!(outcome.output, "interrupted\n");
        }),
    ),
    (
        "init_buries_orphans",
        case!({
            // The inner shell ends first, so that its child becomes init's.
            let script = "sh -c 'true & echo $!' > /tmp/orphan; \
                      while kill -0 $(cat /tmp/orphan) 2>/dev/null; do sleep 0.02; done; echo buried";
            Task::sh(script).prints("buried\n");
        }),
    ),
    ("python_runs", python),
    ("node_runs", node),
    (
        "it_writes_where_it_may",
        case!({
            let work = tempfile::tempdir().unwrap();
            Task::sh("echo a > file && mkdir b && mv file b/c && echo d > /tmp/e && cat b/c /tmp/e; echo f > /dev/shm/g")
            .in_work(work.path())
            .prints("a\nd\n");
            assert_eq!(std::fs::read_to_string(work.path().join("b/c")).unwrap(), "a\n");
            assert!(!Path::new("/tmp/e").exists());
        }),
    ),
    (
        "it_sees_only_its_root",
        case!({
            let listed = "bin dev etc lib proc tmp usr work";
            let work = tempfile::tempdir().unwrap();
            let outcome = Task::sh("cd /; echo *").in_work(work.path()).run();
            let names: Vec<&str> = outcome.output.split_whitespace().collect();
            assert!(listed.split(' ').all(|name| names.contains(&name)), "{outcome:?}");
            let unknown = ["home", "root", "mnt", "var", "run", "sys", "opt", "boot"];
            assert!(!unknown.iter().any(|name| names.contains(name)), "{outcome:?}");
        }),
    ),
    (
        "what_it_gets_may_lie_anywhere",
        case!({
            let mut task = Task::sh("ls /etc/made/up/env /a/b/c/env /tmp/d/env; cat /e; ls /dev/shm");
            let one = |target: &str| ("/usr/bin".to_owned(), target.to_owned());
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), "text\n").unwrap();
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
            task.mounts = vec![
                one("/a/b/c"),
                one("/tmp/d"),
                (file.path().to_str().unwrap().to_owned(), "/e".to_owned()),
            ];
            assert_eq!(task.run().output, "/a/b/c/env\n/tmp/d/env\ntext\n");
            task.mounts.push(one("/etc/made/up"));
            task.prints("/a/b/c/env\n/etc/made/up/env\n/tmp/d/env\ntext\n");
        }),
    ),
    (
        "what_is_mounted_on_the_machine_is_seen_by_the_next",
        case!({
            let mut task = Task::sh("cat /usr/local/news");
            (task.user, task.mounted_later) = (User::Same, Some("/usr/local".to_owned()));
            task.prints("news\n");
        }),
    ),
    (
        "it_has_few_devices",
        case!({
            let names = "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero\n";
            Task::sh("cd /dev; echo *").prints(names);
            Task::sh("head -c 3 /dev/zero | wc -c; echo x > /dev/null; head -c 8 /dev/urandom | wc -c")
                .prints("3\n8\n");
        }),
    ),
    (
        "it_is_the_planned_user",
        case!({
            Task::sh("id -u; id -g; id -G").prints("54321\n54321\n54321\n");
        }),
    ),
    (
        "its_limits_hold",
        case!({
            let mut task = Task::sh("ulimit -n; ulimit -c; ulimit -v; umask; nice");
            (task.open_files, task.nice) = (Some(64), 5);
            task.prints("64\n0\nunlimited\n0022\n5\n");
            let mut task = Task::sh("trap '' XFSZ; head -c 5000 /dev/zero > /tmp/a; wc -c < /tmp/a");
            task.file_bytes = Some(4096);
            task.prints("4096\n");
        }),
    ),
    (
        "its_memory_folders_are_bounded",
        case!({
            Task::sh("head -c 70000000 /dev/zero > /tmp/a; wc -c < /tmp/a").prints("67108864\n");
        }),
    ),
    (
        "it_keeps_the_capabilities_that_are_planned",
        case!({
            // To bind ports below 1024, and no other.
            let kept = 1 << 10;
            for user in [User::Switched, User::Same, User::MappedByRoot] {
                let mut task = Task::sh("grep -E '^Cap(Eff|Bnd):' /proc/self/status | tr -d '\\t\\n'");
                (task.user, task.capabilities_kept) = (user, kept);
                task.prints("CapEff:0000000000000400CapBnd:0000000000000400");
            }
        }),
    ),
    (
        "it_has_a_name_of_its_own",
        case!({
            let mut task = Task::sh("uname -n");
            task.host_name = Some("task".to_owned());
            task.prints("task\n");
        }),
    ),
    (
        "it_talks_to_itself",
        case!({
            let mut task = Task::probe("loopback");
            task.network = "loopback".to_owned();
            task.prints("hello\n");
        }),
    ),
    (
        "it_has_a_terminal",
        case!({
            let mut task = Task::sh("[ -t 0 ] && [ -t 1 ] && echo hi > /dev/tty && stty size");
            task.terminal = true;
            task.prints("hi\r\n0 0\r\n");
        }),
    ),
    (
        "landlock_leaves_it_what_it_may",
        case!({
            if let Some(skipped) = without_landlock() {
                return skipped;
            }
            let work = tempfile::tempdir().unwrap();
            let mut task = Task::sh("echo a > b; cat b; echo c > /tmp/d; cat /tmp/d; ls /proc/self/fd >/dev/null; echo e > /dev/null")
            .in_work(work.path());
            task.landlock = Some(Rules {
                of_view: true,
                no_tcp: true,
                scoped: true,
                ..Rules::default()
            });
            task.prints("a\nc\n");
        }),
    ),
    ("a_user_namespace_needs_no_root", mapped),
    (
        "root_maps_users_too",
        case!({
            let work = tempfile::tempdir().unwrap();
            let mut task = Task::sh("id -u; id -G; echo a > b; stat -c %u b").in_work(work.path());
            task.user = User::MappedByRoot;
            task.prints("1000\n1000\n1000\n");
            let made = std::fs::metadata(work.path().join("b")).unwrap();
            assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), UID);
        }),
    ),
    ("it_is_born_in_its_cgroup_v1", || {
        cgroup("/sys/fs/cgroup/pids", "cgroup.procs", "pids")
    }),
    ("it_is_born_in_its_cgroup_v2", || {
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
        let root = roots
            .iter()
            .find(|root| Path::new(root).join("cgroup.controllers").exists());
        root.map_or(Done::Skipped("there is no cgroup v2"), |root| {
            cgroup(root, "", "0:")
        })
    }),
    (
        "a_program_that_is_not_there",
        case!({
            Task::new(&["/no/such"]).fails_at("Exec", "/no/such", Some(ExecFault::NoSuchProgram));
            Task::new(&["no-such-name"]).fails_at("Exec", "no-such-name", Some(ExecFault::NoSuchProgram));
        }),
    ),
    (
        "a_program_that_cannot_run",
        case!({
            let work = tempfile::tempdir().unwrap();
            let write = |name: &str, text: &str, mode| {
                let path = work.path().join(name);
                std::fs::write(&path, text).unwrap();
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            };
            write("closed", "", 0o644);
            write("garbage", "\x01\x02\x03\x04", 0o755);
            write("orphaned", "#!/no/interpreter\n", 0o755);
            let run = |program: &str| Task::new(&[program]).in_work(work.path());
            run("./closed").fails_at("Exec", "closed", Some(ExecFault::NotExecutable));
            run("./garbage").fails_at("Exec", "garbage", Some(ExecFault::NotExecutable));
            run("./orphaned").fails_at("ExecInterpreter", "orphaned", Some(ExecFault::BadInterpreter));
        }),
    ),
    (
        "a_step_that_fails_is_named",
        case!({
            if let Some(skipped) = without_landlock() {
                return skipped;
            }
            let mut task = Task::sh("");
            task.working_folder = "/no/such".to_owned();
            task.fails_at("WorkingFolder", "/no/such", None);
            let mut task = Task::sh("");
            task.mounts = vec![("/no/such".to_owned(), "/there".to_owned())];
            task.fails_at("Bind", "/no/such", None);
            let mut task = Task::sh("");
            task.landlock = Some(Rules {
                of_view: true,
                readable: vec!["/no/such".to_owned()],
                ..Rules::default()
            });
            task.fails_at("LandlockRule", "/no/such", None);
            let mut task = Task::sh("");
            task.own_namespaces = false;
            task.fails_at("Plan", "", None);
        }),
    ),
];

fn python() -> Done {
    if !Path::new("/usr/bin/python3").exists() {
        return Done::Skipped("there is no /usr/bin/python3");
    }
    let run: Case = case!({
        let script = "import threading, subprocess, ssl\n\
                      thread = threading.Thread(target=lambda: print(6 * 7, flush=True)); thread.start(); thread.join()\n\
                      print(subprocess.run(['echo', 'hi'], capture_output=True, text=True).stdout, end='')";
        Task::new(&["/usr/bin/python3", "-c", script]).prints("42\nhi\n");
        let mut pure = Task::new(&["/usr/bin/python3", "-c", "print(sum(range(10)))"]);
        pure.seccomp = "compute".to_owned();
        pure.prints("45\n");
    });
    run()
}

fn node() -> Done {
    if !Path::new("/usr/bin/node").exists() {
        return Done::Skipped("there is no /usr/bin/node");
    }
    let run: Case = case!({
        let script = "const { Worker } = require('worker_threads');\
                      new Worker('require(\"worker_threads\").parentPort.postMessage(6 * 7)', { eval: true })\
                      .on('message', (answer) => console.log(answer, require('os').cpus().length > 0));";
        Task::new(&["/usr/bin/node", "-e", script]).prints("42 true\n");
    });
    run()
}

/// By a spawner that is not root itself.
fn mapped() -> Done {
    let limit = std::fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    if limit.trim().parse().unwrap_or(0) == 0 {
        return Done::Skipped("there are no user namespaces");
    }
    let mut task =
        Task::sh("id -u; ls -d /proc/[0-9]* | wc -l; echo x > /usr/x; echo y > /tmp/y && cat /tmp/y");
    task.user = User::Mapped;
    let outcome = task.run();
    if let Report::Failed { step, text, .. } = &outcome.report {
        // Some systems reserve them for programs that they know.
        assert!(["Start", "MakeRoot"].contains(&step.as_str()), "{text}");
        return Done::Skipped("this user may make no user namespaces");
    }
    let lines: Vec<&str> = outcome.output.lines().collect();
    assert_eq!((lines[0], lines[2]), ("0", "y"), "{outcome:?}");
    assert!(outcome.errors.contains("Read-only file system"), "{outcome:?}");
    Done::Tested
}

/// Its file of processes is written by the child itself in v1; in v2 the folder is enough.
fn cgroup(root: &str, file: &str, line_part: &str) -> Done {
    let name = format!("confine-test-{}", std::process::id());
    let folder = Path::new(root).join(&name);
    if std::fs::create_dir(&folder).is_err() {
        return Done::Skipped("no cgroup can be made there");
    }
    let mut task = Task::sh(&format!("grep '{line_part}' /proc/self/cgroup"));
    task.cgroup = Some(
        folder
            .join(file)
            .to_str()
            .unwrap()
            .trim_end_matches('/')
            .to_owned(),
    );
    // Seen from inside it is the root; only from outside it has its name.
    let inside = task.run();
    task.cgroup_namespace = false;
    let outside = task.run();
    std::fs::remove_dir(&folder).unwrap();
    assert!(inside.output.trim_end().ends_with(":/"), "{inside:?}");
    assert!(outside.output.contains(&name), "{outside:?}");
    Done::Tested
}

/// A file in the work folder that the task's user owns.
pub(crate) fn own(path: &Path) {
    chown(path, Some(UID), Some(UID)).unwrap();
}
