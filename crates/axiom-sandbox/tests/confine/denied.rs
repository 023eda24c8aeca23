//! What a task is kept from.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::{SocketAddr, UnixListener};

use crate::case;
use crate::cases::{Case, without_landlock};
use crate::task::{Report, Rules, Task, User};

pub(crate) const CASES: &[(&str, Case)] = &[
    (
        "it_writes_nowhere_else",
        case!({
            for path in [
                "/x",
                "/usr/x",
                "/etc/x",
                "/etc/passwd",
                "/dev/x",
                "/proc/x",
                "/proc/self/x",
            ] {
                fails(&format!("echo x > {path}"));
            }
            let mut as_root =
                Task::sh("echo x > /usr/x || echo x > /x || chmod 666 /dev/null || echo x >> /etc/passwd");
            as_root.user = User::Same;
            as_root.ends_with(2);
        }),
    ),
    (
        "it_reads_no_secrets",
        case!({
            for path in [
                "/etc/shadow",
                "/root",
                "/home",
                "/var",
                "/sys",
                "/.old",
                "/proc/kcore",
                "/proc/1/root",
            ] {
                fails(&format!("ls {path}/ || cat {path}"));
            }
            let mut as_root = Task::sh("cat /etc/shadow /proc/kcore /proc/keys; ls /root /home");
            as_root.user = User::Same;
            let outcome = as_root.run();
            assert_eq!(outcome.output, "", "{outcome:?}");
        }),
    ),
    (
        "it_sees_only_its_own_processes",
        case!({
            Task::sh("cd /proc; echo [0-9]*").prints("2\n");
            fails(&format!("kill -0 {}", std::process::id()));
            let mut probe = Task::probe("init");
            probe.user = User::Same;
            probe.prints("[false, false, false]\n");
        }),
    ),
    (
        "links_lead_nowhere",
        case!({
            let work = tempfile::tempdir().unwrap();
            let task =
                Task::sh("ln -s /etc/shadow a; ln -s ../../../.. b; cat a; cat b/etc/shadow; ls b/root");
            let outcome = task.in_work(work.path()).run();
            assert_eq!(outcome.output, "", "{outcome:?}");
            assert!(!matches!(outcome.report, Report::Code(0)));
        }),
    ),
    (
        "a_link_of_an_earlier_task_is_not_followed",
        case!({
            let work = tempfile::tempdir().unwrap();
            let outside = tempfile::tempdir().unwrap();
            symlink(
                format!("/.old{}", outside.path().display()),
                work.path().join("data"),
            )
            .unwrap();
            let mut task = Task::sh("true").in_work(work.path());
            let link = ["/work", "data"].join("/");
            task.mounts = vec![("/usr/bin".to_owned(), format!("{link}/made"))];
            task.fails_at("MakeEntry", &link, None);
            assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        }),
    ),
    (
        "it_sees_nothing_of_earlier_tasks",
        case!({
            let mut task = Task::sh("ls /; ls /earlier /tmp /dev/shm");
            task.earlier = vec![("/usr/bin".to_owned(), "/earlier/secret".to_owned())];
            let outcome = task.run();
            assert!(!outcome.output.contains("earlier"), "{outcome:?}");
            assert!(!outcome.output.contains("left"), "{outcome:?}");
            assert!(outcome.output.contains("usr"), "{outcome:?}");
        }),
    ),
    (
        "it_changes_no_mounts_without_a_filter",
        case!({
            // The capabilities are gone as well, so that what is shared by all tasks is not to be written.
            for change in [
                "mount -o remount,rw /",
                "mount -o remount,rw,bind /etc",
                "umount /etc",
                "umount -l /proc/sys",
            ] {
                let mut task = Task::sh(change);
                (task.user, task.seccomp) = (User::Same, "none".to_owned());
                let outcome = task.run();
                assert!(
                    !matches!(outcome.report, Report::Code(0)),
                    "{change}: {outcome:?}"
                );
            }
        }),
    ),
    (
        "it_gets_no_devices",
        case!({
            let work = tempfile::tempdir().unwrap();
            let mut task = Task::sh("mknod a b 8 0 || mknod /tmp/a c 1 1 || cat /dev/mem /dev/vda /dev/sda");
            task.user = User::Same;
            let outcome = task.in_work(work.path()).run();
            assert!(matches!(outcome.report, Report::Code(1)), "{outcome:?}");
        }),
    ),
    (
        "it_changes_nothing_of_the_kernel",
        case!({
            for path in [
                "/proc/sys/kernel/hostname",
                "/proc/sysrq-trigger",
                "/proc/sys/vm/drop_caches",
            ] {
                let mut task = Task::sh(&format!("echo 0 > {path}"));
                task.user = User::Same;
                task.ends_with(2);
            }
        }),
    ),
    (
        "setuid_programs_give_nothing",
        case!({
            let work = tempfile::tempdir().unwrap();
            let program = work.path().join("id");
            std::fs::copy("/usr/bin/id", &program).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o4755)).unwrap();
            Task::sh("./id -u").in_work(work.path()).prints("54321\n");
        }),
    ),
    (
        "it_has_no_capabilities",
        case!({
            let script =
                "grep -E '^(Cap(Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\t\\n'";
            let nothing = "0000000000000000";
            let expected = format!(
                "CapPrm:{nothing}CapEff:{nothing}CapBnd:{nothing}CapAmb:{nothing}NoNewPrivs:1Seccomp:2"
            );
            Task::sh(script).prints(&expected);
            let mut as_root = Task::sh(script);
            as_root.user = User::Same;
            as_root.prints(&expected);
        }),
    ),
    (
        "it_inherits_no_files",
        case!({
            let mut task = Task::sh("cd /proc/self/fd; echo *");
            task.leak = true;
            // The last is the folder that the shell reads.
            task.prints("0 1 2 3\n");
        }),
    ),
    (
        "its_daemons_end_with_it",
        case!({
            let work = tempfile::tempdir().unwrap();
            let lock = work.path().join("lock");
            std::fs::write(&lock, "").unwrap();
            crate::works::own(&lock);
            let script = "(setsid flock lock sleep 1000 </dev/null >/dev/null 2>&1 &) ; while flock -n lock true; do sleep 0.02; done";
            Task::sh(script).in_work(work.path()).ends_with(0);
            let lock = std::fs::File::open(&lock).unwrap();
            rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
        }),
    ),
    (
        "it_connects_only_where_it_may",
        case!({
            if let Some(skipped) = without_landlock() {
                return skipped;
            }
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let connect = format!("tcp {}", listener.local_addr().unwrap());
            for (network, reached) in [("none", "false\n"), ("loopback", "false\n"), ("host", "true\n")] {
                let mut task = Task::probe(&connect);
                task.network = network.to_owned();
                task.prints(reached);
            }
            let mut task = Task::probe(&connect);
            task.network = "host".to_owned();
            task.landlock = Some(Rules {
                of_view: true,
                no_tcp: true,
                ..Rules::default()
            });
            task.prints("false\n");
        }),
    ),
    (
        "it_reaches_no_abstract_sockets",
        case!({
            if let Some(skipped) = without_landlock() {
                return skipped;
            }
            let name = format!("confine-test-{}", std::process::id());
            let address = SocketAddr::from_abstract_name(&name).unwrap();
            let _listener = UnixListener::bind_addr(&address).unwrap();
            let mut task = Task::probe(&format!("abstract {name}"));
            task.prints("false\n");
            task.network = "host".to_owned();
            task.prints("true\n");
            task.landlock = Some(Rules {
                of_view: true,
                scoped: true,
                ..Rules::default()
            });
            task.prints("false\n");
        }),
    ),
    (
        "its_calls_are_filtered",
        case!({
            let outcome = Task::probe("calls").run();
            let unlike = outcome.output.lines().filter(|line| !line.ends_with(": denied"));
            let unlike: Vec<&str> = unlike.collect();
            let expected = [
                "unshare files: ok",
                "clone3: unknown",
                "personality asked: ok",
                "socket unix: ok",
                "socket tcp: ok",
                "socket udp over ipv6: ok",
                "socket routes: ok",
                "socketpair: bad address",
            ];
            assert_eq!(unlike, expected, "{outcome:?}");
            assert!(outcome.output.lines().count() > 40, "{outcome:?}");
        }),
    ),
    (
        "pure_computation_gets_no_sockets",
        case!({
            let mut task = Task::probe("calls");
            task.seccomp = "compute".to_owned();
            let outcome = task.run();
            let sockets = outcome.output.lines().filter(|line| line.starts_with("socket"));
            let denied: Vec<bool> = sockets.map(|line| line.ends_with(": denied")).collect();
            assert_eq!(denied, vec![true; 10], "{outcome:?}");
        }),
    ),
    (
        "the_filter_alone_denies_as_root",
        case!({
            let mut task = Task::sh("mount -t tmpfs x /tmp || unshare -m true || unshare -U true");
            task.user = User::Same;
            let outcome = task.run();
            assert!(matches!(outcome.report, Report::Code(1)), "{outcome:?}");
            task.seccomp = "none".to_owned();
            // Without it the capabilities still are missing, but not for a user namespace.
            task.ends_with(0);
        }),
    ),
    (
        "another_architectures_calls_end_it",
        case!({
            if cfg!(target_arch = "x86_64") {
                Task::probe("another table").ends_with(128 + 31);
            }
        }),
    ),
    (
        "nothing_is_typed_into_its_terminal",
        case!({
            let mut task = Task::probe("calls");
            task.terminal = true;
            let outcome = task.run();
            assert!(outcome.output.contains("ioctl tiocsti: denied"), "{outcome:?}");
        }),
    ),
    (
        "landlock_alone_holds",
        case!({
            if let Some(skipped) = without_landlock() {
                return skipped;
            }
            let inside = tempfile::tempdir().unwrap();
            let outside = tempfile::tempdir().unwrap();
            let (inside, outside) = (inside.path().display(), outside.path().display());
            let rules = || Rules {
                readable: vec![
                    "/usr".to_owned(),
                    "/bin".to_owned(),
                    "/lib".to_owned(),
                    "/etc/ld.so.cache".to_owned(),
                ],
                writable: vec![inside.to_string()],
                scoped: true,
                ..Rules::default()
            };
            let alone = |script: String| {
                let mut task = Task::sh(&script);
                (task.own_root, task.own_namespaces, task.user) = (false, false, User::Same);
                task.landlock = Some(rules());
                task
            };
            alone(format!("echo a > {inside}/b && cat {inside}/b")).prints("a\n");
            alone(format!("echo a > {outside}/b")).ends_with(2);
            alone("cat /etc/shadow".to_owned()).ends_with(1);
            alone(format!("kill -0 {}", std::process::id())).ends_with(1);
        }),
    ),
];

fn fails(script: &str) {
    let outcome = Task::sh(script).run();
    let failed = matches!(outcome.report, Report::Code(code) if code != 0);
    assert!(failed && outcome.output.is_empty(), "{script}: {outcome:?}");
}
