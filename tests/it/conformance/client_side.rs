//! The suite's client scenarios. Each starts a server that watches what its client does; here that client is the gateway,
//! with an SDK client in front of it (see `tests/conformance/client.mjs`).
//!
//! Left out are the scenarios `auth/...`: they want to see a client sign in at the server. Here the client does not meet
//! that server, and passing its tokens on is what a gateway must not do. They run all the same, and are listed as expected
//! failures one by one, so that the day the gateway signs in on its own account does not pass unnoticed.

use axiom_tests::bed;
use axiom_tests::child::Running;

use super::suite::Revision::{self, Legacy, Modern};
use super::suite::{self, Expected, Scored};

/// A line is a test: which client, at which scenarios, how many pass of those that we have, and the file of what may fail.
macro_rules! clients {
    ($($test:ident: $client:ident, $scenarios:ident, $passed:literal of $of:literal, $file:literal;)*) => {
        $(#[test]
        fn $test() {
            let expected = Scored { passed: $passed, of: $of };
            assert_eq!(passed($client, $scenarios, $file), expected);
        })*
    };
}

clients! {
    modern_client_of_a_modern_server: Modern, Modern, 7 of 7, "client-modern";
    legacy_client_of_a_legacy_server: Legacy, Legacy, 4 of 4, "client-legacy";
    modern_client_of_a_legacy_server: Modern, Legacy, 4 of 4, "client-modern-to-legacy";
    legacy_client_of_a_modern_server: Legacy, Modern, 5 of 7, "client-legacy-to-modern";
}

fn passed(client: Revision, scenarios: Revision, expected_failures: &str) -> Scored {
    let expected = Expected::read(expected_failures);
    let client = match client {
        Modern => "modern",
        Legacy => "legacy",
    };
    let script = bed::ours("conformance/client.mjs");
    let output = bed::scratch("conformance");
    let mut command = suite::program("client", &expected, &output);
    command
        .args(["--requirements", scenarios.name()])
        .args(["--command", &format!("{} {script} {client}", bed::node())])
        .env("AXIOM_BIN", bed::built("axiom"));
    let mut running = Running::start("the conformance suite", &mut command);
    let mut required = scenarios.required("client");
    required.retain(|name| !name.starts_with("auth/"));
    let passed = suite::passed(&mut running, &expected, &required, &output);
    for scenario in &passed {
        // A client that gave up half-way would leave the rest of the scenario unseen, which the suite lets pass.
        let folder = suite::folder_of(&output, scenario).expect("a scenario that passed has a folder");
        let stdout = std::fs::read_to_string(folder.join("stdout.txt")).expect("the client's output is kept");
        let stderr = std::fs::read_to_string(folder.join("stderr.txt")).expect("the client's output is kept");
        assert!(
            stdout.contains("done"),
            "the client of {scenario} failed:\n{stderr}"
        );
    }
    Scored {
        passed: passed.len(),
        of: required.len(),
    }
}
