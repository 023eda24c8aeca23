//! Writes what a container is to be: the [OCI runtime specification](https://github.com/opencontainers/runtime-spec), version 1.0.2.
//!
//! It is what a sandbox is: the machine's programs read-only or a root that somebody names, the task's folder and what was granted at
//! their own places, a `/tmp` in memory, namespaces of its own, no capabilities and none to be gained. A network of its own has
//! nobody in it but itself, at 127.0.0.1. There is no filter of system calls beside the runtime's own.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::confine::{proc_hidden, proc_read_only, standard_paths};
use crate::executor::disk::Room;
use crate::spec::{Access, Network, Oci, Spec};

/// The time in which a task may take its share of a CPU, microseconds.
const CPU_PERIOD_US: u64 = 100_000;

pub(super) fn write(spec: &Spec, oci: &Oci, bundle: &Path) -> io::Result<()> {
    fs_err::create_dir(bundle)?;
    let root = match &oci.root {
        Some(root) => root.clone(),
        None => {
            let root = bundle.join("root");
            fs_err::create_dir(&root)?;
            root
        }
    };
    let mut mounts = system(Room::of(spec.limits.disk_bytes));
    if oci.root.is_none() {
        mounts.extend(programs(&root)?);
    }
    mounts.extend(granted(spec));
    let config = config(spec, oci, &root, mounts);
    fs_err::write(bundle.join("config.json"), serde_json::to_vec_pretty(&config)?)
}

fn config(spec: &Spec, oci: &Oci, root: &Path, mounts: Vec<Value>) -> Value {
    let environment = spec.env.iter().map(|(name, value)| format!("{name}={value}"));
    let files = spec.limits.open_files;
    let rlimits = files.map(|files| json!({"type": "RLIMIT_NOFILE", "hard": files, "soft": files}));
    let nothing: [&str; 0] = [];
    let size = spec
        .terminal
        .map(|size| json!({"width": size.columns, "height": size.rows}));
    let mut linux = json!({
        "namespaces": namespaces(spec),
        "maskedPaths": proc_hidden().collect::<Vec<PathBuf>>(),
        "readonlyPaths": proc_read_only().collect::<Vec<PathBuf>>(),
    });
    if oci.has_groups() {
        linux["cgroupsPath"] = json!(format!("/axiom-{}", spec.id));
        linux["resources"] = resources(spec);
    }
    json!({
        "ociVersion": "1.0.2",
        "hostname": "task",
        "process": {
            "terminal": spec.terminal.is_some(),
            "consoleSize": size,
            "user": {
                "uid": rustix::process::getuid().as_raw(),
                "gid": rustix::process::getgid().as_raw(),
            },
            "args": spec.argv,
            "env": environment.collect::<Vec<String>>(),
            "cwd": spec.folder,
            "noNewPrivileges": true,
            "capabilities": {
                "bounding": nothing,
                "effective": nothing,
                "inheritable": nothing,
                "permitted": nothing,
                "ambient": nothing,
            },
            "rlimits": rlimits.into_iter().collect::<Vec<Value>>(),
        },
        "root": {"path": root, "readonly": true},
        "mounts": mounts,
        "linux": linux,
    })
}

fn namespaces(spec: &Spec) -> Value {
    let own = ["pid", "mount", "ipc", "uts", "cgroup"].into_iter();
    let network = (spec.grants.network != Network::Host).then_some("network");
    own.chain(network).map(|kind| json!({"type": kind})).collect()
}

fn resources(spec: &Spec) -> Value {
    let limits = &spec.limits;
    let mut resources = json!({"devices": [{"allow": false, "access": "rwm"}]});
    if let Some(bytes) = limits.memory_bytes {
        resources["memory"] = json!({"limit": bytes});
    }
    if let Some(millis) = limits.cpu_millis {
        let quota = u64::from(millis) * CPU_PERIOD_US / 1000;
        resources["cpu"] = json!({"quota": quota, "period": CPU_PERIOD_US});
    }
    if let Some(pids) = limits.pids {
        resources["pids"] = json!({"limit": pids});
    }
    resources
}

fn system(room: Room) -> Vec<Value> {
    let [tmp_size, shm_size] = [room.tmp_bytes, room.shm_bytes].map(|bytes| format!("size={bytes}"));
    let mount = |path: &str, kind: &str, options: &[&str]| {
        let common = ["nosuid", "nodev"].iter();
        let options: Vec<&str> = common.chain(options).copied().collect();
        json!({"destination": path, "type": kind, "source": kind, "options": options})
    };
    let device = json!({
        "destination": "/dev",
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "mode=755", "size=65536k"],
    });
    vec![
        mount("/proc", "proc", &["noexec"]),
        device,
        json!({
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        }),
        mount("/dev/shm", "tmpfs", &["mode=1777", &shm_size]),
        mount("/tmp", "tmpfs", &["mode=1777", &tmp_size]),
    ]
}

/// The machine's programs. What is a link to a folder becomes the same link in the root.
fn programs(root: &Path) -> io::Result<Vec<Value>> {
    let mut mounts = Vec::new();
    for path in standard_paths() {
        let Ok(metadata) = fs_err::symlink_metadata(&path) else {
            continue;
        };
        if metadata.is_symlink() && path.is_dir() {
            let inside = root.join(path.strip_prefix("/").unwrap_or(&path));
            if let Some(parent) = inside.parent() {
                fs_err::create_dir_all(parent)?;
            }
            fs_err::os::unix::fs::symlink(fs_err::read_link(&path)?, inside)?;
        } else if path.exists() {
            mounts.push(bind(&fs_err::canonicalize(&path)?, &path, "ro"));
        }
    }
    Ok(mounts)
}

/// The task's folder and its grants. A deeper one comes later, or it would be covered.
fn granted(spec: &Spec) -> Vec<Value> {
    let read = spec.grants.read.iter().map(|path| (path, "ro"));
    let write = spec.grants.write.iter().map(|path| (path, "rw"));
    let own = match spec.grants.folder {
        Access::Read => "ro",
        Access::Write => "rw",
    };
    let mut paths: Vec<_> = read.chain(write).chain([(&spec.folder, own)]).collect();
    paths.sort_by_key(|(path, access)| (path.components().count(), *access == "rw"));
    paths
        .into_iter()
        .map(|(path, access)| bind(path, path, access))
        .collect()
}

fn bind(source: &Path, target: &Path, access: &str) -> Value {
    json!({
        "destination": target,
        "type": "bind",
        "source": source,
        "options": ["rbind", access, "nosuid", "nodev"],
    })
}
