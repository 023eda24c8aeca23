//! Three machines in one kernel: a client and two replicas, each linked to both others and to nothing else.
//!
//! A machine is a network namespace. The kernel keeps one as long as a process is in it or a socket of it is open, and
//! takes its links away with it: nothing is left behind, however a test ends.

use std::fs::File;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::panic::resume_unwind;
use std::process::Command;
use std::time::Duration;

use rustix::fd::AsFd as _;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::child::Running;
use crate::wait;

/// For one look at whether packets pass.
const DIAL_TIMEOUT: Duration = Duration::from_millis(200);

/// One of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    Client,
    A,
    B,
}

/// How the way between the replicas is cut. The client reaches both all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The cable is out: nothing passes, in either direction.
    Cable,
    /// What `A` sends to `B` is lost. What `B` sends still arrives, so requests are executed and nobody hears of it.
    Answers,
}

/// The machines and the links between them.
pub struct Network {
    /// Processes that do nothing but keep their namespace.
    keepers: [Running; 3],
}

const MACHINES: [Machine; 3] = [Machine::Client, Machine::A, Machine::B];

impl Machine {
    /// The one address of a machine, the same on each of its links.
    pub fn ip(self) -> &'static str {
        match self {
            Machine::Client => "10.0.0.1",
            Machine::A => "10.0.0.2",
            Machine::B => "10.0.0.3",
        }
    }

    /// What the others call their link to it.
    fn link(self) -> &'static str {
        match self {
            Machine::Client => "to-client",
            Machine::A => "to-a",
            Machine::B => "to-b",
        }
    }
}

impl Network {
    /// Makes the machines and links them. `None`, with the reason on stderr, where this user may not do so: then there
    /// is nothing to test.
    pub fn make() -> Option<Network> {
        if let Err(reason) = may_make() {
            eprintln!("skipped: no networks of its own for this test: {reason}");
            return None;
        }
        let keepers = MACHINES.map(|machine| {
            let keep = "echo up; exec cat";
            let mut command = Command::new("unshare");
            let running = Running::start(machine.link(), command.args(["--net", "sh", "-c", keep]));
            running.stdout.wait("a machine is up", |line| line == "up");
            running
        });
        let network = Network { keepers };
        for machine in MACHINES {
            network.ip(machine, &["link", "set", "lo", "up"]);
        }
        for [one, other] in [
            [Machine::Client, Machine::A],
            [Machine::Client, Machine::B],
            [Machine::A, Machine::B],
        ] {
            network.link(one, other);
        }
        Some(network)
    }

    /// Runs `work` on a machine: the sockets and processes that it makes are there.
    pub fn at<T: Send>(&self, machine: Machine, work: impl FnOnce() -> T + Send) -> T {
        let namespace = self.namespace(machine);
        std::thread::scope(|scope| {
            let there = scope.spawn(move || {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("root may enter a network namespace");
                work()
            });
            there.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Cuts the way between the replicas.
    pub fn cut(&self, cut: Cut) {
        match cut {
            Cut::Cable => self.ip(Machine::A, &["link", "set", "to-b", "down"]),
            Cut::Answers => {
                let to = Machine::B.ip();
                self.ip(Machine::A, &["route", "replace", "blackhole", to]);
            }
        }
    }

    /// Makes the way between the replicas whole again, and waits until packets pass: that takes the kernel a moment.
    pub fn heal(&self, cut: Cut) {
        match cut {
            Cut::Cable => self.ip(Machine::A, &["link", "set", "to-b", "up"]),
            Cut::Answers => {
                let (to, from) = (Machine::B.ip(), Machine::A.ip());
                self.ip(
                    Machine::A,
                    &[
                        "route", "replace", to, "dev", "to-b", "scope", "link", "src", from,
                    ],
                );
            }
        }
        self.wait_for_packets(Machine::A, Machine::B);
        self.wait_for_packets(Machine::B, Machine::A);
    }

    /// Nobody listens at that port, and the other machine says so.
    fn wait_for_packets(&self, from: Machine, to: Machine) {
        let address = format!("{}:9", to.ip()).parse().expect("an address");
        let refused = || {
            let answer = TcpStream::connect_timeout(&address, DIAL_TIMEOUT);
            let refused = answer.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
            refused.then_some(())
        };
        self.at(from, || wait::until("packets pass", refused));
    }

    fn link(&self, one: Machine, other: Machine) {
        let keeper = self.keepers[other as usize].pid().to_string();
        let (there, back) = (other.link(), one.link());
        self.ip(
            one,
            &[
                "link", "add", there, "type", "veth", "peer", "name", back, "netns", &keeper,
            ],
        );
        for (from, link, to) in [(one, there, other), (other, back, one)] {
            self.ip(from, &["address", "add", from.ip(), "peer", to.ip(), "dev", link]);
            self.ip(from, &["link", "set", link, "up"]);
        }
    }

    fn ip(&self, machine: Machine, args: &[&str]) {
        let output = self.at(machine, || Command::new("ip").args(args).output());
        let output = output.expect("ip starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "ip {} at {machine:?}: {said}",
            args.join(" ")
        );
    }

    fn namespace(&self, machine: Machine) -> File {
        let keeper = self.keepers[machine as usize].pid();
        File::open(format!("/proc/{keeper}/ns/net")).expect("the keeper runs")
    }
}

/// Tries what is needed, and says what is missing.
fn may_make() -> Result<(), String> {
    let tried = Command::new("unshare")
        .args(["--net", "ip", "link", "add", "type", "veth"])
        .output()
        .map_err(|error| format!("unshare, of util-linux, does not start: {error}"))?;
    if tried.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&tried.stderr);
    Err(format!(
        "{}; it takes root (CAP_SYS_ADMIN and CAP_NET_ADMIN) and iproute2 (cargo xtask setup)",
        said.trim()
    ))
}
