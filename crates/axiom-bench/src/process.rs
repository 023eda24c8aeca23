//! What the kernel knows about a process and its children: CPU time, memory, cores. Linux only: it reads /proc.

use std::{collections::BTreeMap, fs, io, path::Path, process::Child, time::Duration};

use rustix::{
    process::{Pid, Signal, kill_process},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

/// The process and everything that descends from it, as of now.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat_fields(pid).ok()?.get(1)?.parse().ok()?)))
        .collect();
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(&parent) = tree.get(next) {
        tree.extend(
            parents
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    tree
}

/// User and system time which these processes have used since they started.
///
/// # Errors
/// One of them is gone.
pub(crate) fn cpu(pids: &[u32]) -> io::Result<Duration> {
    pids.iter().map(|pid| cpu_of(*pid)).sum()
}

/// What each living thread of a process has used, by the thread's name; threads of one name are counted together.
///
/// # Errors
/// It is gone.
pub(crate) fn cpu_by_thread(pid: u32) -> io::Result<BTreeMap<String, Duration>> {
    let mut threads = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = thread?.path();
        let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
        *threads.entry(name.trim().to_owned()).or_default() += thread_cpu(&path).unwrap_or_default();
    }
    Ok(threads)
}

/// The clock ticks of `stat` count ended threads too, but are 10 ms long; `schedstat` counts nanoseconds of living
/// threads only. Neither can be too large, so the larger is right.
fn cpu_of(pid: u32) -> io::Result<Duration> {
    let fields = stat_fields(pid)?;
    let ticks = |index: usize| {
        fields
            .get(index)
            .and_then(|field| field.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let by_ticks = Duration::from_secs(ticks(11) + ticks(12)) / CLOCK_TICKS_PER_SECOND;
    let mut by_threads = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        by_threads += thread_cpu(&thread?.path()).unwrap_or_default();
    }
    Ok(by_ticks.max(by_threads))
}

/// Linux reports 100 on every architecture we know of (`getconf CLK_TCK`).
const CLOCK_TICKS_PER_SECOND: u32 = 100;

/// `None` for a thread that ended meanwhile, or a kernel without schedstat.
fn thread_cpu(task: &Path) -> Option<Duration> {
    let schedstat = fs::read_to_string(task.join("schedstat")).ok()?;
    Some(Duration::from_nanos(schedstat.split(' ').next()?.parse().ok()?))
}

/// The fields of /proc/<pid>/stat after the name, which may contain anything; the first is the state.
fn stat_fields(pid: u32) -> io::Result<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").unwrap_or_default();
    Ok(fields.split(' ').map(str::to_owned).collect())
}

/// Resident memory of these processes. Pages that several share are counted for each.
///
/// # Errors
/// One of them is gone.
pub(crate) fn rss_bytes(pids: &[u32]) -> io::Result<u64> {
    pids.iter().map(|pid| rss_of(*pid)).sum()
}

fn rss_of(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kib.unwrap_or(0) * 1024)
}

/// Keeps the calling thread, and whatever it starts from now on, on some cores until it is dropped.
#[derive(Debug)]
pub(crate) struct Pinned(CpuSet);

impl Pinned {
    /// The first ones that it may use; all of them where there are no more.
    pub(crate) fn to_cores(count: usize) -> io::Result<Pinned> {
        let before = sched_getaffinity(None)?;
        let mut some = CpuSet::new();
        let usable = (0..CpuSet::MAX_CPU).filter(|core| before.is_set(*core));
        usable.take(count).for_each(|core| some.set(core));
        sched_setaffinity(None, &some)?;
        Ok(Pinned(before))
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // The set was in force before, so it is valid.
        sched_setaffinity(None, &self.0).ok();
    }
}

/// Asks a child to end, and kills it if it does not within `patience`.
pub(crate) fn stop(child: &mut Child, patience: Duration) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        kill_process(pid, Signal::TERM).ok();
    }
    const STEP: Duration = Duration::from_millis(2);
    let mut waited = Duration::ZERO;
    while waited < patience && matches!(child.try_wait(), Ok(None)) {
        std::thread::sleep(STEP);
        waited += STEP;
    }
    child.kill().ok();
    child.wait().ok();
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_child_is_in_the_tree_until_it_is_stopped() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("sleep starts");
        assert!(tree(std::process::id()).contains(&child.id()));
        stop(&mut child, Duration::from_secs(5));
        assert!(!tree(std::process::id()).contains(&child.id()));
        cpu(&[child.id()]).expect_err("it is gone");
    }

    #[test]
    fn threads_are_known_by_their_names() {
        let (tx, rx) = std::sync::mpsc::channel::<()>();
        let (ready_tx, ready_rx) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("a worker".to_owned());
        let work = move || {
            ready_tx.send(()).expect("somebody waits");
            rx.recv()
        };
        let thread = thread.spawn(work).expect("a thread");
        ready_rx.recv().expect("it runs");
        let threads = cpu_by_thread(std::process::id()).expect("alive");
        assert!(threads.contains_key("a worker"), "{threads:?}");
        drop(tx);
        thread
            .join()
            .expect("no panic")
            .expect_err("nobody says anything");
    }

    #[test]
    fn work_shows_in_cpu_and_memory() {
        let me = [std::process::id()];
        let (cpu_before, rss_before) = (cpu(&me).expect("alive"), rss_bytes(&me).expect("alive"));
        let mut data = vec![1_u64; 8 * 1024 * 1024];
        while cpu(&me).expect("alive") < cpu_before + Duration::from_millis(50) {
            data.iter_mut().for_each(|value| *value = value.wrapping_mul(3));
        }
        assert!(
            rss_bytes(&me).expect("alive") > rss_before + 32 * 1024 * 1024,
            "{}",
            data[7]
        );
    }
}
