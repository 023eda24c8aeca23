//! The official conformance suite: its server scenarios as a matrix of clients, servers and transports, and its client
//! scenarios with the gateway between client and scenario.
//!
//! What is expected to fail stands in `tests/conformance`, each line with its reason. The suite is strict about such a
//! file: a failure or a warning that is not in it is an error, and so is a line whose check passes.

mod client_side;
mod suite;

use axiom_tests::child::Running;
use axiom_tests::config::Config;
use axiom_tests::gateway::Gateway;
use axiom_tests::peer::{Peer, Stateless};
use axiom_tests::servers;
use serde_json::json;

use suite::Revision::{self, Legacy, Modern};
use suite::Scored;

/// A line is a test: which scenarios, to which server, on which way, how many pass, and the file of what may fail.
macro_rules! cells {
    ($($test:ident: $revision:ident, $server:ident, $way:ident, $passed:literal of $of:literal, $file:literal;)*) => {
        $(#[test]
        fn $test() {
            let expected = Scored { passed: $passed, of: $of };
            assert_eq!(passed($revision, Server::$server, Way::$way, $file), expected);
        })*
    };
}

cells! {
    // What the servers can do by themselves.
    modern_direct:                    Modern, Dual,       Direct, 37 of 37, "nothing";
    legacy_direct:                    Legacy, Dual,       Direct, 30 of 30, "nothing";
    modern_direct_to_a_modern_server: Modern, ModernOnly, Direct, 37 of 37, "nothing";
    legacy_direct_to_a_legacy_server: Legacy, LegacyOnly, Direct, 30 of 30, "nothing";
    // Client and server have an era in common.
    modern_through_the_gateway:       Modern, Dual,       Http,   37 of 37, "nothing";
    modern_to_a_child_process:        Modern, Dual,       Stdio,  37 of 37, "nothing";
    modern_to_a_modern_server:        Modern, ModernOnly, Http,   37 of 37, "nothing";
    modern_to_a_modern_child_process: Modern, ModernOnly, Stdio,  37 of 37, "nothing";
    legacy_through_the_gateway:       Legacy, Dual,       Http,   30 of 30, "nothing";
    legacy_to_a_child_process:        Legacy, Dual,       Stdio,  30 of 30, "nothing";
    legacy_to_a_legacy_server:        Legacy, LegacyOnly, Http,   30 of 30, "nothing";
    legacy_to_a_legacy_child_process: Legacy, LegacyOnly, Stdio,  30 of 30, "nothing";
    // Only the gateway makes them understand each other.
    modern_to_a_legacy_server:        Modern, LegacyOnly, Http,   36 of 37, "modern-to-legacy";
    modern_to_a_legacy_child_process: Modern, LegacyOnly, Stdio,  36 of 37, "modern-to-legacy";
    legacy_to_a_modern_server:        Legacy, ModernOnly, Http,   30 of 30, "nothing";
    legacy_to_a_modern_child_process: Legacy, ModernOnly, Stdio,  30 of 30, "nothing";
}

/// Which clients a server understands.
#[derive(Clone, Copy)]
enum Server {
    Dual,
    ModernOnly,
    LegacyOnly,
}

/// How the suite reaches the server: past the gateway, or through it and then by this transport.
#[derive(Clone, Copy)]
enum Way {
    Direct,
    Http,
    Stdio,
}

impl Server {
    fn http(self) -> (Running, String) {
        match self {
            Server::Dual => servers::dual_http(),
            Server::ModernOnly => servers::modern_only_http(),
            Server::LegacyOnly => servers::legacy_only_http(),
        }
    }

    fn stdio(self) -> Vec<String> {
        match self {
            Server::Dual => servers::dual_stdio(),
            Server::ModernOnly => servers::modern_only_stdio(),
            Server::LegacyOnly => servers::legacy_only_stdio(),
        }
    }
}

fn passed(revision: Revision, server: Server, way: Way, file: &str) -> Scored {
    let (_server, config) = match way {
        Way::Direct => {
            let (_server, url) = server.http();
            return suite::server(&url, revision, file);
        }
        Way::Http => {
            let (running, url) = server.http();
            (Some(running), Config::new().url("server", &url))
        }
        Way::Stdio => (None, Config::new().stdio("server", &server.stdio())),
    };
    let gateway = Gateway::start(&config);
    let url = gateway.server("server");
    if matches!((revision, server, way), (Modern, Server::LegacyOnly, Way::Stdio)) {
        be_started_for_forms(&url);
    }
    suite::server(&url, revision, file)
}

/// A session server on a pipe is started for each set of capabilities that a client declares. One check waits no longer
/// than 600 ms for the first word of a call that declares forms only, and Node may need as long to start.
fn be_started_for_forms(url: &str) {
    let mut client = Stateless::new(url);
    client.capabilities = json!({ "elicitation": {} });
    assert!(client.ask("tools/list", "{}").result.is_some());
}
