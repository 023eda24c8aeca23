//! A process that appends, seals and merges is killed, over and over: what it acknowledged is there, once, in some tier.
//!
//! The process is this test binary itself, told by its arguments to run [`child`] alone.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::sim::Random;
use crate::world::{World, all, expected};

const FOLDER: &str = "AXIOM_TIERS_KILL_FOLDER";
const KILLS: u64 = 40;
/// Events between two steps of the child.
const STEP: u64 = 60;

#[test]
#[ignore = "it is a part of another test, which runs it in a process of its own"]
fn child() {
    let folder = std::env::var(FOLDER).expect("whoever runs it says where");
    let world = World::new(Path::new(&folder));
    world.workshop.tidy(&world.log).expect("it is tidy");
    let mut next = world.log.reader().end();
    loop {
        world.append(next..next + STEP);
        next += STEP;
        say(next);
        world.seal(1).expect("it is sealed");
        let objects = world.objects();
        if objects.len() > 3 {
            world
                .workshop
                .rewrite(&objects[1..], |_| true, &[], "merged")
                .expect("they are merged");
        }
        world.workshop.reclaim(&world.log).expect("it is deleted");
        say(next);
    }
}

fn say(acknowledged: u64) {
    let mut out = std::io::stdout().lock();
    // Whoever listened may have killed us.
    let _said = writeln!(out, "\nacknowledged {acknowledged}").and_then(|()| out.flush());
}

#[test]
fn what_was_acknowledged_is_in_some_tier_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new(7);
    let mut acknowledged = 0;
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["kill::child", "--exact", "--ignored", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for _ in 0..1 + random.below(6) {
            let said = lines.by_ref().map_while(Result::ok).find_map(|line| {
                line.strip_prefix("acknowledged ")
                    .map(|number| number.parse::<u64>().unwrap())
            });
            acknowledged = said.expect("it lives until it is killed");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let world = World::new(folder.path());
        let end = world.log.reader().end();
        assert!(
            end >= acknowledged,
            "kill {kill}: {acknowledged} were acknowledged, {end} are there"
        );
        assert_eq!(
            all(&world.log.reader()),
            expected(end),
            "kill {kill}, before it is tidied up"
        );
        world.workshop.tidy(&world.log).unwrap();
        assert_eq!(all(&world.beside()), expected(end), "kill {kill}");
        world.log.close();
    }
    let world = World::new(folder.path());
    assert!(!world.objects().is_empty(), "something was sealed at all");
    world.log.close();
}
