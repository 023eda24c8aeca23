//! A shard's files are damaged in every way that comes to mind: it is always noticed, a reader never gives an event that was
//! not written, and opening the log keeps whatever is sound.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use axiom_events::verify::{Verdict, verify};
use axiom_events::{Ack, Append, Batch, Event, EventId, Log, Options, Reader};

use crate::history::{FOLDER, Found, Own, block_on, machine, read_all};
use crate::sim::{Random, Sim};

const MUTATIONS: u64 = 2000;

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A shard that was written on a real disk, and what is in it.
struct Shard {
    files: Files,
    events: Vec<Own>,
    /// The newest segment was not sealed.
    is_open: bool,
}

/// A block of the shard: its file, its place in it, its events.
struct Placed {
    path: PathBuf,
    bytes: Vec<u8>,
    at: usize,
    offsets: std::ops::Range<u64>,
}

fn options(folder: &Path) -> Options {
    let mut options = Options::new(folder);
    options.segment_bytes = 12 << 10;
    options
}

/// Some segments of some blocks each, of all sizes; one block's body is another block.
fn write_shard(is_open: bool) -> Shard {
    let folder = tempfile::tempdir().expect("a folder");
    let log = Log::open(options(folder.path()), machine()).expect("it opens");
    let mut random = Random::new(5);
    for n in 0..36u64 {
        let mut batch = Batch::new();
        for _ in 0..=random.below(6) {
            let bytes = [0, 20, 300, 2000][random.below(4)];
            let body = random.bytes(bytes);
            let event = Event {
                time: random.next().cast_signed(),
                tenant: "t",
                stream: ["a", "b", "c"][random.below(3)],
                task: ["", "task"][random.below(2)],
                kind: "test",
                id: random.below(3).eq(&0).then(|| EventId(random.next().into())),
                body: &body,
                ..Event::default()
            };
            batch.push(&event).expect("it keeps to the limits");
        }
        let append = Append {
            batch,
            ack: [Ack::Each, Ack::Group][usize::from(n % 2 == 0)],
            ..Append::default()
        };
        block_on(log.append(append)).expect("it is recorded");
    }
    let events = read_all(&log.reader()).events;
    let files = |folder: &Path| -> Files {
        let names = machine().files(folder).expect("it can be read");
        let wanted = names.iter().filter(|name| name.as_str() != "lock");
        wanted
            .map(|name| {
                let bytes = fs_err::read(folder.join(name)).expect("it can be read");
                (Path::new(FOLDER).join(name), bytes)
            })
            .collect()
    };
    let mut copied = is_open.then(|| files(folder.path()));
    log.close();
    Shard {
        files: copied.take().unwrap_or_else(|| files(folder.path())),
        events,
        is_open,
    }
}

impl Shard {
    fn segments(&self) -> Vec<PathBuf> {
        let is_segment = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "seg");
        self.files.keys().filter(is_segment).cloned().collect()
    }

    /// Where the bytes of a file end that mean something.
    fn used(&self, path: &Path) -> usize {
        let last = self.files[path].iter().rposition(|byte| *byte != 0);
        last.map_or(0, |last| last + 1)
    }

    fn blocks(&self) -> Vec<Placed> {
        let mut blocks = Vec::new();
        for path in self.segments() {
            let file = &self.files[&path];
            let mut at = 128;
            while file.get(at..at + 4) == Some(b"AXB\x01") {
                let number = |from: usize| {
                    u32::from_le_bytes(*file[at + from..].first_chunk().expect("a block has a head"))
                };
                let bytes = 96 + number(44) as usize;
                let first = u64::from_le_bytes(*file[at + 16..].first_chunk().expect("a block has a head"));
                blocks.push(Placed {
                    path: path.clone(),
                    bytes: file[at..at + bytes].to_vec(),
                    at,
                    offsets: first..first + u64::from(number(12)),
                });
                at += bytes;
            }
        }
        blocks
    }
}

/// Changes the files; says what it did, or `None` if that changed nothing that means anything.
fn mutate(shard: &Shard, files: &mut Files, random: &mut Random) -> Option<String> {
    let segments = shard.segments();
    let newest = segments.last().expect("there are some").clone();
    let path = segments[random.below(segments.len())].clone();
    let name = path
        .file_name()
        .expect("it has one")
        .to_string_lossy()
        .into_owned();
    let used = shard.used(&path);
    let file = files.get_mut(&path).expect("it is there");
    let at = random.below(used);
    let before = file.clone();
    let what = match random.below(10) {
        0..=2 => {
            let bit = random.below(8);
            file[at] ^= 1 << bit;
            format!("bit {bit} of byte {at} of {name}")
        }
        3 => {
            // Where a block ends, an open segment may as well end.
            let ends = |block: &Placed| block.path == path && block.at + block.bytes.len() == at;
            if shard.is_open && path == newest && (at == 128 || shard.blocks().iter().any(ends)) {
                return None;
            }
            file.truncate(at);
            format!("{name} is cut at {at}")
        }
        4 => {
            let end = used.min(at + 1 + random.below(3000));
            // A zeroed end of an open segment is what a shorter one looks like, if it begins with a block.
            if shard.is_open && path == newest && end == used {
                return None;
            }
            file[at..end].fill(0);
            format!("zeros in {at}..{end} of {name}")
        }
        5 => {
            let blocks = shard.blocks();
            let here: Vec<&Placed> = blocks.iter().filter(|block| block.path == path).collect();
            let first = random.below(here.len().saturating_sub(1));
            let [one, other, ..] = here.get(first..)? else {
                return None;
            };
            let both = [other.bytes.clone(), one.bytes.clone()].concat();
            file[one.at..one.at + both.len()].copy_from_slice(&both);
            format!(
                "{:?} and {:?} of {name} change places",
                one.offsets, other.offsets
            )
        }
        6 => {
            let blocks = shard.blocks();
            let block = &blocks[random.below(blocks.len())];
            let here: Vec<&Placed> = blocks.iter().filter(|block| block.path == path).collect();
            let to = here.get(random.below(here.len()))?.at;
            file.splice(to..to, block.bytes.iter().copied());
            format!("{:?} once more at {to} of {name}", block.offsets)
        }
        7 => {
            // What came before the oldest one may have been retired, and an open one leaves no trace elsewhere.
            if path == segments[0] || (shard.is_open && path == newest) {
                return None;
            }
            files.remove(&path);
            return Some(format!("{name} is removed"));
        }
        8 => {
            let other = segments[random.below(segments.len())].clone();
            let theirs = files[&other].clone();
            let ours = files.insert(path.clone(), theirs).expect("it is there");
            files.insert(other.clone(), ours);
            return (path != other).then(|| format!("{name} and {} change names", other.display()));
        }
        _ => {
            let bytes = 1 + random.below(5000);
            let mut garbage = random.bytes(bytes);
            // Zeros behind an open segment are what is there anyway.
            garbage[0] |= 1;
            file.extend(garbage);
            format!("{bytes} B behind the end of {name}")
        }
    };
    (files[&path] != before).then_some(what)
}

/// Each event is one that was written, at its place.
fn is_truth(shard: &Shard, found: &Found) {
    for own in &found.events {
        let written = shard
            .events
            .get(usize::try_from(own.offset).expect("it is small"));
        assert_eq!(written, Some(own));
    }
}

/// Offsets of blocks that are whole, wherever they are now, as long as they come one after the other.
fn sound(shard: &Shard, files: &Files) -> BTreeSet<u64> {
    let blocks = shard.blocks();
    let mut offsets = BTreeSet::new();
    for file in files.values() {
        let mut end = 0;
        for at in memchr::memmem::find_iter(file, b"AXB\x01") {
            let is_here = |block: &&Placed| file[at..].starts_with(&block.bytes);
            if let Some(block) = blocks.iter().find(is_here)
                && block.offsets.start >= end
            {
                end = block.offsets.end;
                offsets.extend(block.offsets.clone());
            }
        }
    }
    offsets
}

fn check(shard: &Shard, files: &Files) -> Verdict {
    let sim = Sim::holding(files);
    let folder = Path::new(FOLDER);
    let verdict = verify(&sim, folder).expect("damage is no error");
    let before = read_all(&Reader::open(sim.arc(), folder).expect("damage is no error"));
    is_truth(shard, &before);
    let offsets = |found: &Found| -> BTreeSet<u64> { found.events.iter().map(|own| own.offset).collect() };
    let lost: Vec<u64> = sound(shard, files)
        .difference(&offsets(&before))
        .copied()
        .collect();
    assert!(lost.is_empty(), "these are sound and not read: {lost:?}");

    let log = Log::open(options(folder), sim.arc()).expect("damage is no error");
    let opened = read_all(&log.reader());
    is_truth(shard, &opened);
    assert_eq!(
        offsets(&opened),
        offsets(&before),
        "the log has others than a reader"
    );
    let mut batch = Batch::new();
    let event = Event {
        stream: "new",
        kind: "after",
        ..Event::default()
    };
    batch.push(&event).expect("it keeps to the limits");
    let append = Append {
        batch,
        ..Append::default()
    };
    let appended = block_on(log.append(append)).expect("the log goes on");
    if !shard.is_open {
        let end = shard.events.len() as u64;
        assert!(
            appended.first_offset >= end,
            "offset {} again",
            appended.first_offset
        );
    }
    log.close();
    let mut last = read_all(&Reader::open(sim.arc(), folder).expect("damage is no error"));
    let new = last.events.pop().expect("there is the new one");
    assert_eq!((new.offset, new.kind.as_str()), (appended.first_offset, "after"));
    assert_eq!(last.events, opened.events);
    verdict
}

fn mutations(is_open: bool, count: u64) {
    let shard = write_shard(is_open);
    assert!(shard.segments().len() > 4 && shard.blocks().len() > 30);
    let untouched = check(&shard, &shard.files);
    assert!(
        untouched.is_sound() && untouched.torn_bytes == 0,
        "{untouched:#?}"
    );
    let mut done = 0;
    for seed in 0..count {
        let mut files = shard.files.clone();
        let mut random = Random::new(seed);
        let Some(what) = mutate(&shard, &mut files, &mut random) else {
            continue;
        };
        let checked = std::panic::AssertUnwindSafe(|| check(&shard, &files));
        let Ok(verdict) = std::panic::catch_unwind(checked) else {
            panic!("seed {seed}: {what}; see above");
        };
        assert!(
            !verdict.is_sound() || verdict.torn_bytes > 0,
            "not noticed: {what}"
        );
        done += 1;
    }
    assert!(done > count * 3 / 4, "{done} of {count} changed anything");
}

#[test]
fn damage_to_a_closed_log_is_noticed_and_contained() {
    mutations(false, MUTATIONS);
}

#[test]
fn damage_to_an_open_log_is_noticed_and_contained() {
    mutations(true, MUTATIONS / 4);
}
