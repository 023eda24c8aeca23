//! A view is an endpoint of its own: some tools of some servers, under the names that its owner chose.

use axiom_tests::config::Config;
use axiom_tests::gateway::Gateway;
use axiom_tests::peer::{Peer, Session, Stateless};
use axiom_tests::servers;
use serde_json::{Value, json};

fn gateway() -> Gateway {
    let config = Config::new()
        .stdio("everything", &servers::everything().command)
        .stdio("dual", &servers::dual_stdio())
        .view(
            "small",
            "include = [\"everything.get-s*\", \"everything.echo\", \"dual.test_simple_text\"]",
        )
        .view("small", "rename = { \"everything.echo\" = \"say\" }");
    Gateway::start(&config)
}

fn names(peer: &mut dyn Peer) -> Vec<String> {
    let value = peer.ask("tools/list", "{}").value();
    let tools = value["tools"].as_array().expect("tools are a list");
    let mut names: Vec<String> = tools
        .iter()
        .filter_map(|tool| tool["name"].as_str().map(str::to_owned))
        .collect();
    names.sort();
    names
}

#[test]
fn a_view_shows_and_calls_what_it_includes_and_nothing_else() {
    let gateway = gateway();
    let url = gateway.url("/v/small/mcp");
    let peers: [Box<dyn Peer>; 2] = [Box::new(Session::open(&url)), Box::new(Stateless::new(&url))];
    for mut peer in peers {
        let expected = [
            "dual__test_simple_text",
            "everything__get-structured-content",
            "everything__get-sum",
            "say",
        ];
        assert_eq!(names(peer.as_mut()), expected);
        let said: Value = json!({ "message": "hello" });
        assert_eq!(peer.call("say", &said).text(), "Echo: hello");
        assert_eq!(
            peer.call("everything__get-sum", &json!({ "a": 40, "b": 2 }))
                .text(),
            "The sum of 40 and 2 is 42."
        );
        for hidden in [
            "everything__echo",
            "echo",
            "everything__get-env",
            "dual__test_image_content",
        ] {
            let reply = peer.call(hidden, &said);
            assert_eq!(reply.code(), -32602, "{hidden}: {:?}", reply.result);
        }
    }
}
