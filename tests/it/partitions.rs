//! Replicas on machines of their own: the network between them is cut and healed, one of them is slow, or gone with its
//! machine. Whatever happens, the client hears of it within a bound, nothing runs twice, and what can go on goes on.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use axiom_tests::config::Config;
use axiom_tests::gateway::Gateway;
use axiom_tests::http::Answer;
use axiom_tests::network::{Cut, Machine, Network};
use axiom_tests::peer::{LATEST_LEGACY, Peer as _, Reply, Session, message};
use axiom_tests::{bed, wait};
use serde_json::{Value, json};

use crate::replicas::{answer, answered, can_be_asked, key_file, next, runs_of, stateless, with_counted};

/// A replica that no longer hears another one notices within 12 s; the rest is for a busy machine.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Where nothing connects them yet it takes 2 s.
const DIAL_MAX: Duration = Duration::from_secs(8);

/// Two replicas of a server that counts in `runs` what it did, each on a machine of its own.
struct Stage<'a> {
    network: &'a Network,
    a: Gateway,
    b: Gateway,
    runs: PathBuf,
}

/// Runs `story` at the client's machine, or not at all where there can be no network.
fn on_stage(story: impl FnOnce(Stage<'_>) + Send) {
    let Some(network) = Network::make() else {
        return;
    };
    let (keys, runs) = (key_file(), bed::scratch("runs").join("runs"));
    let [a, b] = [Machine::A, Machine::B].map(|machine| {
        let config = with_counted(&keys, &runs);
        network.at(machine, || replica(config, machine))
    });
    let network = &network;
    network.at(Machine::Client, || {
        story(Stage { network, a, b, runs });
    });
}

fn replica(config: Config, machine: Machine) -> Gateway {
    let address: SocketAddr = format!("{}:3000", machine.ip()).parse().expect("an address");
    let config = config
        .gateway(&format!("advertise = \"http://{address}\""))
        .gateway(&format!("allowed_hosts = [\"{}\"]", machine.ip()));
    Gateway::start_at(&config, address)
}

impl Stage<'_> {
    /// A call that `a` has parked, and the params that continue it.
    fn parked(&self) -> String {
        let asked = stateless(&self.a).call("run", &json!({})).value();
        assert_eq!(asked["resultType"], "input_required", "{asked}");
        answered(&asked)
    }

    /// Continues a parked call through `b`, and says how long that took.
    fn continue_at_b(&self, params: &str) -> (Reply, Duration) {
        let begun = Instant::now();
        (stateless(&self.b).ask("tools/call", params), begun.elapsed())
    }

    /// A session that `a` began, at `b`.
    fn session_at_b(&self) -> Session {
        self.session_of("counted")
    }

    /// The same at the server whose `test_slow` runs for a minute.
    fn slow_session_at_b(&self) -> Session {
        self.session_of("dual")
    }

    fn session_of(&self, server: &str) -> Session {
        let session = Session::open_as(&self.a.server(server), LATEST_LEGACY, &can_be_asked());
        session.elsewhere(&self.b.server(server))
    }

    fn runs(&self) -> usize {
        runs_of(&self.runs)
    }
}

/// As many requests as there are workers, and more: each has a connection to the other replica then.
fn warm(session: &mut Session) {
    for _ in 0..8 {
        session.ask("tools/list", "{}").value();
    }
}

/// Calls the tool that counts and then asks; the stream on which it asked.
fn call_that_asked(session: &Session) -> (Answer, Value) {
    let mut stream = session.send(&session.request(message("7", "tools/call", r#"{"name":"run"}"#)));
    let question = next(&mut stream);
    assert_eq!(question["method"], "elicitation/create", "{question}");
    (stream, question)
}

/// Nothing of the continuation gets through: the call goes on waiting, and is continued after the partition.
#[test]
fn a_parked_call_outlives_a_partition() {
    on_stage(|stage| {
        for (round, bound) in [(1, DIAL_MAX), (2, SILENCE_MAX)] {
            let params = stage.parked();
            stage.network.cut(Cut::Cable);
            let (lost, took) = stage.continue_at_b(&params);
            assert_eq!(lost.code(), 1010, "{}", lost.message());
            assert!(took < bound, "{took:?}");
            stage.network.heal(Cut::Cable);
            let (reply, _) = stage.continue_at_b(&params);
            assert_eq!(reply.text(), format!("Ada: {round}"));
            assert_eq!(stage.runs(), round, "nothing ran again");
            // In the next round there are connections already.
            warm(&mut stage.session_at_b());
        }
    });
}

/// The continuation is executed, but nobody hears of it: it must not be executed again.
#[test]
fn a_parked_call_whose_answer_is_lost_runs_once() {
    on_stage(|stage| {
        let params = stage.parked();
        warm(&mut stage.session_at_b());
        stage.network.cut(Cut::Answers);
        let (lost, took) = stage.continue_at_b(&params);
        assert_eq!(lost.code(), 1010, "{}", lost.message());
        assert!(lost.message().contains("whether it took effect is unknown"));
        assert!(took < SILENCE_MAX, "{took:?}");
        stage.network.heal(Cut::Answers);
        let (again, _) = stage.continue_at_b(&params);
        assert_eq!(again.code(), 1010, "it was answered: {}", again.message());
        assert_eq!(stage.runs(), 1);
    });
}

/// The replica that passed it on tells its client that it no longer can; the call itself is where it was.
#[test]
fn a_session_outlives_a_partition() {
    on_stage(|stage| {
        for (round, cut) in [(1, Cut::Cable), (2, Cut::Answers)] {
            let mut session = stage.session_at_b();
            warm(&mut session);
            let (stream, question) = call_that_asked(&session);
            stage.network.cut(cut);
            let begun = Instant::now();
            assert!(stream.was_cut(), "{cut:?}");
            let reply = session.ask("tools/list", "{}");
            assert!(
                [1003, -32001].contains(&reply.code()),
                "{cut:?}: {}",
                reply.message()
            );
            let took = begun.elapsed();
            assert!(took < SILENCE_MAX + SILENCE_MAX, "{cut:?}: {took:?}");
            stage.network.heal(cut);
            session.ask("tools/list", "{}").value();
            assert_eq!(answer(&session, &question).status, 202, "{cut:?}");
            wait::until("the call ends", || {
                (stage.a.status("counted")["in_flight"].as_u64() == Some(0)).then_some(())
            });
            assert_eq!(stage.runs(), round, "{cut:?}: nothing ran again");
        }
    });
}

/// A call that is cut off before its first word: only the silence shows it.
#[test]
fn a_call_in_progress_ends_with_a_partition() {
    on_stage(|stage| {
        // The calls of the rounds before still run.
        for (before, cut) in [Cut::Cable, Cut::Answers].into_iter().enumerate() {
            let session = stage.slow_session_at_b();
            let in_flight = || stage.a.status("dual")["in_flight"].as_u64().unwrap_or_default();
            // What opens a session is in flight for a moment, too.
            wait::until("nothing else is", || (in_flight() == before as u64).then_some(()));
            let reply = std::thread::scope(|scope| {
                let waiting = scope.spawn(|| session.ask_as("9", "tools/call", r#"{"name":"test_slow"}"#));
                wait::until("the call is at the server", || {
                    (in_flight() > before as u64).then_some(())
                });
                stage.network.cut(cut);
                let begun = Instant::now();
                let reply = waiting.join().expect("an answer");
                assert!(begun.elapsed() < SILENCE_MAX, "{cut:?}: {:?}", begun.elapsed());
                reply
            });
            assert_eq!((reply.status, reply.code()), (200, 1003), "{}", reply.message());
            stage.network.heal(cut);
        }
    });
}

/// Slower than any silence may last: its kernel still confirms what it gets, so it is waited for.
#[test]
fn a_slow_owner_is_waited_for() {
    on_stage(|stage| {
        let mut session = stage.session_at_b();
        warm(&mut session);
        let params = stage.parked();
        stage.a.pause();
        std::thread::scope(|scope| {
            let listing = scope.spawn(|| session.ask_as("9", "tools/list", "{}"));
            let parked = scope.spawn(|| stage.continue_at_b(&params).0);
            let early = wait::within(SLOWNESS, || {
                (listing.is_finished() || parked.is_finished()).then_some(())
            });
            stage.a.resume();
            assert!(early.is_none(), "it was given up");
            listing.join().expect("an answer").value();
            assert_eq!(parked.join().expect("an answer").text(), "Ada: 1");
        });
        assert_eq!(stage.runs(), 1);
    });
}

/// Longer than the silence after which a connection is broken.
const SLOWNESS: Duration = Duration::from_secs(13);

/// A process that ends says so on its connections; a machine does not.
#[test]
fn an_owner_is_lost_with_its_machine() {
    for (cut, bound) in [(None, DIAL_MAX), (Some(Cut::Cable), SILENCE_MAX)] {
        on_stage(|stage| {
            let mut session = stage.session_at_b();
            warm(&mut session);
            let params = stage.parked();
            let (stream, _) = call_that_asked(&session);
            if let Some(cut) = cut {
                stage.network.cut(cut);
            }
            let Stage { network, a, b, runs } = stage;
            a.kill();
            let begun = Instant::now();
            let lost = stateless(&b).ask("tools/call", &params);
            assert_eq!(lost.code(), 1010, "{cut:?}: {}", lost.message());
            assert!(begun.elapsed() < bound, "{cut:?}: {:?}", begun.elapsed());
            assert!(stream.was_cut(), "{cut:?}");
            let reply = session.ask("tools/list", "{}");
            assert_eq!((reply.status, reply.code()), (404, -32001), "{cut:?}");
            assert!(
                begun.elapsed() < bound + DIAL_MAX,
                "{cut:?}: {:?}",
                begun.elapsed()
            );
            assert_eq!(runs_of(&runs), 2, "{cut:?}: nothing ran again");
            // Its client begins anew where it is served.
            let again = Session::open_as(&b.server("counted"), LATEST_LEGACY, &can_be_asked());
            let (_asking, question) = call_that_asked(&again);
            assert_eq!(answer(&again, &question).status, 202, "{cut:?}");
            if let Some(cut) = cut {
                network.heal(cut);
            }
        });
    }
}
