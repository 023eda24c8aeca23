//! What the start of a confined command costs, beside a bare process and beside other programs that confine.
//!
//! ```sh
//! cargo run --release -p axiom-sandbox --example starts -- [ROUNDS] [NAME..]
//! ```
//!
//! Each round starts each subject some times, in turns, and takes the CPU of this process and of all that it started, from
//! the kernel, and the time to the first byte. One JSON line for each subject is printed, with medians over the rounds; `x_bare`
//! and `first_byte_x_bare` are medians of the rounds' ratios to the bare process of the same round. What the kernel does after the last process has
//! ended, on its own account (it takes networks apart), is nobody's CPU and not in it.

#![allow(clippy::print_stdout, reason = "it is a program that prints what it measured")]

use std::cell::RefCell;
use std::error::Error;
use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use axiom_core::time;
use axiom_sandbox::confine::{self, Mount, Network, Plan, RootView, System, landlock_version};
use rustix::pipe::{PipeFlags, pipe_with};

mod raw;

type Fault = Box<dyn Error>;

/// Starts of one subject in a round.
const STARTS: u32 = 10;
/// How long slots have stood at least when they are wanted.
const STANDING_TIME: Duration = Duration::from_millis(50);
const PROGRAM: [&str; 2] = ["/bin/echo", "x"];

fn main() -> Result<(), Fault> {
    let mut arguments = std::env::args().skip(1);
    let rounds = arguments.next().map_or(Ok(21), |rounds| rounds.parse())?;
    let names: Vec<String> = arguments.collect();
    let ground = Ground::new()?;
    let mut subjects = Vec::new();
    for (name, start) in SUBJECTS {
        if !names.is_empty() && !names.iter().any(|wanted| wanted == name) {
            continue;
        }
        match start(&ground) {
            Ok(_) => subjects.push((name, start, Vec::new())),
            Err(error) => println!(
                "{}",
                serde_json::json!({ "subject": name, "skipped": error.to_string() })
            ),
        }
    }
    for _ in 0..rounds {
        for (name, start, found) in &mut subjects {
            if *name == "slot" {
                ground.fill()?;
            }
            found.push(measure(*start, &ground)?);
        }
    }
    let bare = |of: fn(&Cost) -> f64| -> Vec<f64> {
        let bare = subjects.iter().filter(|(name, ..)| *name == "bare");
        bare.flat_map(|(.., found)| found.iter().map(of)).collect()
    };
    let (bare_cpu, bare_first) = (bare(|cost| cost.cpu_us), bare(|cost| cost.first_byte_us));
    for (name, _, found) in subjects {
        let median = |of: fn(&Cost) -> f64| middle(found.iter().map(of).collect());
        let ratios = found.iter().zip(&bare_cpu).map(|(cost, bare)| cost.cpu_us / bare);
        let first = found
            .iter()
            .zip(&bare_first)
            .map(|(cost, bare)| cost.first_byte_us / bare);
        let line = serde_json::json!({
            "subject": name,
            "cpu_us": median(|cost| cost.cpu_us),
            "x_bare": middle(ratios.collect()),
            "first_byte_us": median(|cost| cost.first_byte_us),
            "first_byte_x_bare": middle(first.collect()),
            "faults": median(|cost| cost.faults),
            "rounds": found.len(),
        });
        println!("{line}");
    }
    Ok(())
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Of one start.
struct Cost {
    cpu_us: f64,
    first_byte_us: f64,
    faults: f64,
}

/// Starts it, reads its line, and waits for its end; says how long its first byte took.
type Start = fn(&Ground) -> Result<Duration, Fault>;

const SUBJECTS: [(&str, Start); 7] = [
    ("bare", bare),
    ("slot", slot),
    ("sandbox", |ground| sandbox(ground, Network::Host)),
    ("sandbox-network", |ground| sandbox(ground, Network::None)),
    ("bwrap", |ground| bwrap(ground, false)),
    ("bwrap-network", |ground| bwrap(ground, true)),
    ("runc", runc),
];

fn measure(start: Start, ground: &Ground) -> Result<Cost, Fault> {
    let mut first_byte = Duration::ZERO;
    let before = Used::now();
    for _ in 0..STARTS {
        first_byte += start(ground)?;
    }
    let after = Used::now();
    let each = |sum: f64| sum / f64::from(STARTS);
    Ok(Cost {
        cpu_us: each((after.cpu - before.cpu).as_secs_f64() * 1e6),
        first_byte_us: each(first_byte.as_secs_f64() * 1e6),
        faults: each(f64::from(after.faults - before.faults)),
    })
}

/// What we and all that we have waited for have used.
struct Used {
    cpu: Duration,
    faults: i32,
}

impl Used {
    fn now() -> Used {
        let mut used = Used {
            cpu: Duration::ZERO,
            faults: 0,
        };
        for who in [libc::RUSAGE_SELF, libc::RUSAGE_CHILDREN] {
            let found = raw::usage(who);
            for time in [found.ru_utime, found.ru_stime] {
                used.cpu += Duration::from_secs(time.tv_sec.unsigned_abs());
                used.cpu += Duration::from_micros(time.tv_usec.unsigned_abs());
            }
            used.faults += i32::try_from(found.ru_minflt).unwrap_or_default();
        }
        used
    }
}

/// Made once for all starts.
struct Ground {
    system: System,
    folder: tempfile::TempDir,
    slots: RefCell<Vec<confine::Slot>>,
}

impl Ground {
    fn new() -> Result<Ground, Fault> {
        let system = System::standard()?;
        system.lay_out()?;
        Ok(Ground {
            system,
            folder: tempfile::tempdir()?,
            slots: RefCell::default(),
        })
    }

    /// Slots for a round, which have stood for a while then: what the kernel still does for new ones is over.
    fn fill(&self) -> Result<(), Fault> {
        let plan = plan(self, Network::None);
        let mut slots = self.slots.borrow_mut();
        for _ in slots.len()..STARTS as usize {
            slots.push(confine::park(&plan)?);
        }
        std::thread::park_timeout(STANDING_TIME);
        Ok(())
    }

    fn work(&self) -> &Path {
        self.folder.path()
    }
}

fn first_byte(mut output: impl io::Read, began: time::Instant) -> Result<Duration, Fault> {
    let mut byte = [0];
    output.read_exact(&mut byte)?;
    let took = began.elapsed();
    let mut rest = Vec::new();
    output.read_to_end(&mut rest)?;
    match (byte, &rest[..]) {
        ([b'x'], b"\n") => Ok(took),
        (byte, rest) => Err(format!("it said {byte:?} {:?}", String::from_utf8_lossy(rest)).into()),
    }
}

fn bare(_: &Ground) -> Result<Duration, Fault> {
    let [program, argument] = PROGRAM;
    command(Command::new(program).arg(argument))
}

fn command(command: &mut Command) -> Result<Duration, Fault> {
    let began = time::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .spawn()?;
    let output = child.stdout.take().ok_or("no output")?;
    let took = first_byte(output, began)?;
    let status = child.wait()?;
    if !status.success() {
        return Err(status.to_string().into());
    }
    Ok(took)
}

fn sandbox(ground: &Ground, network: Network) -> Result<Duration, Fault> {
    let began = time::now();
    let plan = plan(ground, network);
    let (output, command) = confined(ground)?;
    let child = confine::spawn(&plan, &command)?;
    drop((plan, command));
    ended(child, first_byte(output, began)?)
}

/// In a sandbox with a network of its own that stood before the clock starts. Its CPU is that of both.
fn slot(ground: &Ground) -> Result<Duration, Fault> {
    if ground.slots.borrow().is_empty() {
        ground.fill()?;
    }
    let slot = ground.slots.borrow_mut().pop().ok_or("there is no slot")?;
    let began = time::now();
    let (output, command) = confined(ground)?;
    if !slot.is_current() {
        return Err("its slot is gone".into());
    }
    let child = slot.start(&command)?;
    drop(command);
    ended(child, first_byte(output, began)?)
}

fn ended(child: confine::Child, took: Duration) -> Result<Duration, Fault> {
    match child.wait()? {
        confine::Exit::Code(0) => Ok(took),
        exit => Err(format!("{exit:?}").into()),
    }
}

fn confined(ground: &Ground) -> Result<(io::PipeReader, confine::Command), Fault> {
    let (stdin, _) = pipe_with(PipeFlags::CLOEXEC)?;
    let (output, stdout) = io::pipe()?;
    let stdout: OwnedFd = stdout.into();
    let stderr = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3)?;
    let argv = PROGRAM
        .iter()
        .map(|text| CString::new(*text))
        .collect::<Result<_, _>>()?;
    let mut command = confine::Command::new(argv, [stdin, stdout, stderr]);
    command.environment = vec![CString::new("PATH=/usr/bin:/bin")?];
    command.working_folder = ground.work().to_owned();
    Ok((output, command))
}

fn plan(ground: &Ground, network: Network) -> Plan {
    let mut root = RootView::new(ground.system.clone());
    root.mounts.push(Mount {
        source: ground.work().to_owned(),
        target: ground.work().to_owned(),
        writable: true,
    });
    let landlock = landlock_version().is_some().then(|| root.landlock());
    let mut plan = Plan::new(root);
    plan.network = network;
    plan.landlock = landlock;
    plan.ends_with_parent = true;
    plan
}

/// The same view and the same namespaces, as far as it can.
fn bwrap(ground: &Ground, network: bool) -> Result<Duration, Fault> {
    let mut bwrap = Command::new("bwrap");
    bwrap.args([
        "--unshare-pid",
        "--unshare-ipc",
        "--unshare-uts",
        "--unshare-cgroup",
        "--new-session",
        "--die-with-parent",
        "--cap-drop",
        "ALL",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "--tmpfs",
        "/tmp",
        "--ro-bind",
        "/usr",
        "/usr",
    ]);
    for link in ["/bin", "/sbin", "/lib", "/lib64"] {
        if let Ok(target) = std::fs::read_link(link) {
            bwrap.arg("--symlink").arg(target).arg(link);
        }
    }
    for name in [
        "group",
        "hosts",
        "ld.so.cache",
        "nsswitch.conf",
        "passwd",
        "resolv.conf",
        "ssl/certs",
    ] {
        let path = Path::new("/etc").join(name);
        bwrap.arg("--ro-bind-try").arg(&path).arg(&path);
    }
    bwrap
        .arg("--bind")
        .arg(ground.work())
        .arg(ground.work())
        .arg("--chdir")
        .arg(ground.work());
    if network {
        bwrap.arg("--unshare-net");
    }
    command(bwrap.args(PROGRAM))
}

/// The machine's programs in a bundle, with runc's own defaults.
fn runc(ground: &Ground) -> Result<Duration, Fault> {
    let bundle = ground.work().join("bundle");
    if !bundle.exists() {
        make_bundle(&bundle)?;
    }
    let mut runc = Command::new("runc");
    runc.arg("--root")
        .arg(ground.work().join("runc"))
        .arg("run")
        .arg("--bundle")
        .arg(&bundle);
    runc.arg("axiom-starts").stderr(Stdio::null());
    command(&mut runc)
}

fn make_bundle(bundle: &Path) -> Result<(), Fault> {
    let root = bundle.join("root");
    std::fs::create_dir_all(&root)?;
    let spec = Command::new("runc")
        .arg("spec")
        .arg("--bundle")
        .arg(bundle)
        .status()?;
    if !spec.success() {
        return Err("runc writes no spec".into());
    }
    let path = bundle.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = PROGRAM.as_slice().into();
    config["root"] = serde_json::json!({ "path": root, "readonly": true });
    if let Some(mounts) = config["mounts"].as_array_mut() {
        mounts.retain(|mount| mount["type"] != "cgroup");
        for folder in ["/usr", "/bin", "/lib", "/lib64"].map(PathBuf::from) {
            if folder.exists() {
                std::fs::create_dir_all(root.join(folder.strip_prefix("/")?))?;
                mounts.push(serde_json::json!({
                    "destination": folder, "source": folder, "type": "bind", "options": ["rbind", "ro"],
                }));
            }
        }
        for name in ["proc", "sys", "dev"] {
            std::fs::create_dir_all(root.join(name))?;
        }
    }
    std::fs::write(&path, serde_json::to_vec(&config)?)?;
    Ok(())
}
