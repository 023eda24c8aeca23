//! A disk in memory that forgets what was not synced, fails where a script says so, and keeps a sync waiting.
//!
//! Files are inodes, so that a handle outlives its file's name. Each file and the folder have a list of what was done and
//! not synced; a power loss keeps a random part of it, sector by sector. After a failed sync the same lottery is held at
//! once, and a later sync does not bring back what lost it: that is what Linux does with dirty pages.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use axiom_events::disk::{Access, Disk, File};

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;
/// Of a segment.
const HEAD_BYTES: u64 = 128;

/// A disk; clones are the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sim {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What the running system sees.
    names: BTreeMap<PathBuf, u64>,
    /// What is on the disk, and what was done since.
    durable_names: BTreeMap<PathBuf, u64>,
    unsynced_names: Vec<NameChange>,
    inodes: HashMap<u64, Inode>,
    locked: BTreeSet<PathBuf>,
    faults: Vec<Fault>,
    /// Changing operations so far, and the one before which the power fails.
    ops: u64,
    power_fails_at: Option<u64>,
    is_off: bool,
    /// Raised by a power loss: handles from before are dead.
    boot: u64,
    random: Random,
    holds_syncs: bool,
    holds_reads: bool,
    /// Syncs and reads that wait.
    held: usize,
}

#[derive(Debug, Default, Clone)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Debug, Clone)]
enum NameChange {
    Add(PathBuf, u64),
    Rename(PathBuf, PathBuf, u64),
    Remove(PathBuf),
}

/// What may be told to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Op {
    Create,
    Open,
    Write,
    Sync,
    Rename,
    SetBytes,
    Remove,
    SyncFolder,
    /// Only where it is named: it changes nothing, so it is not among the operations that are counted.
    Read,
}

/// Operations that fail: those from `after` on, counted from now, `times` of them; of one kind or of every kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) op: Option<Op>,
    pub(crate) after: u64,
    pub(crate) times: u64,
    /// As the system numbers its errors.
    pub(crate) errno: i32,
}

pub(crate) const EIO: i32 = 5;
pub(crate) const ENOSPC: i32 = 28;
pub(crate) const EROFS: i32 = 30;
/// No error of a system: the disk's own code panics.
pub(crate) const PANIC: i32 = i32::MIN;

/// xorshift64*: small, and the same everywhere.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Default for Random {
    fn default() -> Random {
        Random::new(1)
    }
}

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`, or 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 16).expect("64 bits") % end.max(1)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_le_bytes()[7]).collect()
    }

    fn coin(&mut self) -> bool {
        self.next() >> 63 == 1
    }
}

impl Sim {
    pub(crate) fn new(seed: u64) -> Sim {
        let sim = Sim::default();
        sim.lock().random = Random::new(seed);
        sim
    }

    /// A disk with these files on it.
    pub(crate) fn holding(files: &BTreeMap<PathBuf, Vec<u8>>) -> Sim {
        let sim = Sim::new(1);
        let mut state = sim.lock();
        for (inode, (path, bytes)) in (0..).zip(files) {
            let (live, durable) = (bytes.clone(), bytes.clone());
            let unsynced = Vec::new();
            state.inodes.insert(
                inode,
                Inode {
                    live,
                    durable,
                    unsynced,
                },
            );
            state.names.insert(path.clone(), inode);
        }
        state.durable_names = state.names.clone();
        drop(state);
        sim
    }

    /// All files, as the running system sees them.
    pub(crate) fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.lock();
        let content = |inode: &u64| state.inodes[inode].live.clone();
        let files = state.names.iter();
        files
            .map(|(path, inode)| (path.clone(), content(inode)))
            .collect()
    }

    pub(crate) fn arc(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    pub(crate) fn fail(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    /// Nothing fails any more.
    pub(crate) fn heal(&self) {
        self.lock().faults.clear();
    }

    /// Changing operations so far.
    pub(crate) fn ops(&self) -> u64 {
        self.lock().ops
    }

    /// The power fails before the operation with this number, counted from now.
    pub(crate) fn power_fails_in(&self, ops: u64) {
        let mut state = self.lock();
        state.power_fails_at = Some(state.ops + ops);
    }

    /// The power fails, if it has not yet, and comes back: what was not synced is there in part.
    pub(crate) fn power_comes_back(&self, seed: u64) {
        let mut state = self.lock();
        state.random = Random::new(seed);
        state.boot += 1;
        state.is_off = false;
        state.power_fails_at = None;
        state.locked.clear();
        state.lose_unsynced();
    }

    /// From now on syncs wait for [`Sim::let_go`].
    pub(crate) fn hold_syncs(&self) {
        self.lock().holds_syncs = true;
    }

    /// From now on reads behind a file's first bytes wait for [`Sim::let_go`].
    pub(crate) fn hold_reads(&self) {
        self.lock().holds_reads = true;
    }

    pub(crate) fn let_go(&self) {
        let mut state = self.lock();
        (state.holds_syncs, state.holds_reads) = (false, false);
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Returns when a sync or a read is waiting.
    pub(crate) fn wait_for_held(&self) {
        let state = self.lock();
        let held = self.shared.changed.wait_while(state, |state| state.held == 0);
        drop(held.unwrap_or_else(PoisonError::into_inner));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts an operation and says whether it may happen.
    fn admit(&mut self, op: Op) -> io::Result<()> {
        self.is_off |= self.power_fails_at == Some(self.ops);
        if self.is_off {
            return Err(io::Error::other("the power is off"));
        }
        self.ops += 1;
        self.judge(|fault| fault.op.is_none_or(|wanted| wanted == op))
    }

    /// What the script says of an operation that these faults are about.
    fn judge(&mut self, is_about: impl Fn(&Fault) -> bool) -> io::Result<()> {
        let mut failed = None;
        for fault in &mut self.faults {
            if !is_about(fault) {
                continue;
            }
            if fault.after > 0 {
                fault.after -= 1;
            } else if fault.times > 0 {
                fault.times -= 1;
                failed = Some(fault.errno);
            }
        }
        assert_ne!(failed, Some(PANIC), "as the script says");
        failed.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
    }

    fn inode_of(&self, path: &Path) -> io::Result<u64> {
        let inode = self.names.get(path).copied();
        inode.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no file {}", path.display())))
    }

    fn change(&mut self, inode: u64, change: Change) {
        let inode = self.inodes.get_mut(&inode).expect("inodes stay");
        change.apply(&mut inode.live);
        inode.unsynced.push(change);
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
    }

    fn lose_unsynced(&mut self) {
        let State {
            inodes,
            random,
            unsynced_names,
            durable_names,
            names,
            ..
        } = self;
        for inode in inodes.values_mut() {
            inode.lottery(random);
            inode.live.clone_from(&inode.durable);
        }
        for change in unsynced_names.drain(..) {
            if random.coin() {
                change.apply(durable_names);
            }
        }
        names.clone_from(durable_names);
    }
}

impl Inode {
    /// A random part of what was not synced gets onto the disk; nobody remembers the rest.
    fn lottery(&mut self, random: &mut Random) {
        for change in self.unsynced.drain(..) {
            match change {
                Change::Length(_) if random.coin() => change.apply(&mut self.durable),
                Change::Length(_) => {}
                Change::Write { at, bytes } => {
                    let mut done = 0;
                    while done < bytes.len() {
                        let in_sector = SECTOR_BYTES - (at + done) % SECTOR_BYTES;
                        let end = bytes.len().min(done + in_sector);
                        if random.coin() {
                            let (at, bytes) = (at + done, bytes[done..end].to_vec());
                            Change::Write { at, bytes }.apply(&mut self.durable);
                        }
                        done = end;
                    }
                }
            }
        }
    }
}

impl Change {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Change::Length(bytes) => file.resize(*bytes, 0),
            Change::Write { at, bytes } => {
                let end = at + bytes.len();
                if file.len() < end {
                    file.resize(end, 0);
                }
                file[*at..end].copy_from_slice(bytes);
            }
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            NameChange::Add(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            NameChange::Rename(from, to, inode) => {
                if names.get(from) == Some(inode) {
                    names.remove(from);
                }
                names.insert(to.clone(), *inode);
            }
            NameChange::Remove(path) => {
                names.remove(path);
            }
        }
    }
}

impl Disk for Sim {
    fn create_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn files(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.lock();
        let inside = state.names.keys().filter(|path| path.parent() == Some(folder));
        let name = |path: &PathBuf| Some(path.file_name()?.to_str()?.to_owned());
        Ok(inside.filter_map(name).collect())
    }

    fn create(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn File>> {
        let mut state = self.lock();
        state.admit(Op::Create)?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.inodes.len() as u64;
        state.inodes.insert(inode, Inode::default());
        state.change(inode, Change::Length(index(bytes)));
        state.change_name(NameChange::Add(path.to_owned(), inode));
        let boot = state.boot;
        drop(state);
        Ok(self.handle(inode, boot))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>> {
        let mut state = self.lock();
        if access == Access::Write {
            state.admit(Op::Open)?;
        }
        let (inode, boot) = (state.inode_of(path)?, state.boot);
        drop(state);
        Ok(self.handle(inode, boot))
    }

    fn lock(&self, folder: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        let mut state = Sim::lock(self);
        if !state.locked.insert(folder.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Locked {
            sim: self.clone(),
            folder: folder.to_owned(),
            boot: state.boot,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.admit(Op::Rename)?;
        let inode = state.inode_of(from)?;
        state.change_name(NameChange::Rename(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.admit(Op::Remove)?;
        state.inode_of(path)?;
        state.change_name(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.admit(Op::SyncFolder)?;
        state.unsynced_names.clear();
        state.durable_names = state.names.clone();
        Ok(())
    }
}

impl Sim {
    fn handle(&self, inode: u64, boot: u64) -> Box<dyn File> {
        let sim = self.clone();
        Box::new(Handle { sim, inode, boot })
    }
}

#[derive(Debug)]
struct Handle {
    sim: Sim,
    inode: u64,
    boot: u64,
}

impl Handle {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.sim.lock();
        if state.boot == self.boot {
            return Ok(state);
        }
        Err(io::Error::other("the power was off"))
    }
}

impl Handle {
    /// Waits as long as `holds` says so.
    fn held<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        holds: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        if !holds(&state) {
            return state;
        }
        let changed = &self.sim.shared.changed;
        state.held += 1;
        changed.notify_all();
        let until = changed.wait_while(state, |state| holds(state));
        let mut state = until.unwrap_or_else(PoisonError::into_inner);
        state.held -= 1;
        state
    }
}

impl File for Handle {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let state = self.state()?;
        let mut state = self.held(state, |state| state.holds_reads && at >= HEAD_BYTES);
        state.judge(|fault| fault.op == Some(Op::Read))?;
        let file = state.inodes[&self.inode]
            .live
            .get(index(at)..)
            .unwrap_or_default();
        let filled = buffer.len().min(file.len());
        buffer[..filled].copy_from_slice(&file[..filled]);
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut state = self.state()?;
        let outcome = state.admit(Op::Write);
        let written = match &outcome {
            Ok(()) => bytes.len(),
            Err(_) if state.is_off => 0,
            // A part of it may be there.
            Err(_) => state.random.below(bytes.len() + 1),
        };
        if written > 0 {
            let (at, bytes) = (index(at), bytes[..written].to_vec());
            state.change(self.inode, Change::Write { at, bytes });
        }
        outcome
    }

    fn sync(&self) -> io::Result<()> {
        let state = self.state()?;
        let mut state = self.held(state, |state| state.holds_syncs);
        let outcome = state.admit(Op::Sync);
        if state.is_off {
            return outcome;
        }
        let State { inodes, random, .. } = &mut *state;
        let inode = inodes.get_mut(&self.inode).expect("inodes stay");
        if outcome.is_err() {
            inode.lottery(random);
            return outcome;
        }
        for change in inode.unsynced.drain(..) {
            change.apply(&mut inode.durable);
        }
        Ok(())
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.state()?.inodes[&self.inode].live.len() as u64)
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.state()?;
        state.admit(Op::SetBytes)?;
        state.change(self.inode, Change::Length(index(bytes)));
        Ok(())
    }
}

#[derive(Debug)]
struct Locked {
    sim: Sim,
    folder: PathBuf,
    boot: u64,
}

impl Drop for Locked {
    fn drop(&mut self) {
        let mut state = self.sim.lock();
        if state.boot == self.boot {
            state.locked.remove(&self.folder);
        }
    }
}

fn index(at: u64) -> usize {
    usize::try_from(at).expect("files of tests are small")
}
