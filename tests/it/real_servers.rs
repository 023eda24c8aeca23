//! Every real server behind one gateway: the bytes are the server's own, and each real client gets what it says.

use std::collections::BTreeMap;

use axiom_tests::client::{Client, Way, inspector};
use axiom_tests::config::Config;
use axiom_tests::gateway::Gateway;
use axiom_tests::peer::{Peer, Reply, Session, Stateless};
use axiom_tests::servers::{self, Server};
use axiom_tests::stdio::Direct;
use axiom_tests::{bed, process};
use serde_json::{Value, json};

/// The servers, their files, and what each says when it is asked directly.
struct Scene {
    servers: Vec<Server>,
    truth: BTreeMap<&'static str, Vec<Reply>>,
}

impl Scene {
    fn new() -> Self {
        let servers = servers::all(&bed::scratch("real"));
        let truth = servers.iter().map(|server| {
            server.reset();
            let mut direct = Direct::start_with(server.name, &server.command, &server.environment);
            (server.name, ask_all(&mut direct, server))
        });
        let truth = truth.collect();
        Scene { servers, truth }
    }

    /// All servers behind one gateway, their files as before the first request.
    fn gateway(&self) -> Gateway {
        self.servers.iter().for_each(Server::reset);
        Gateway::start(
            &self
                .servers
                .iter()
                .fold(Config::new(), |config, server| server.add_to(config)),
        )
    }
}

fn ask_all(peer: &mut dyn Peer, server: &Server) -> Vec<Reply> {
    server
        .requests
        .iter()
        .map(|(method, params)| peer.ask(method, &params.to_string()))
        .collect()
}

/// Sessions to session servers, on a route that renames nothing: not a byte differs.
#[test]
fn the_bytes_are_the_servers_own() {
    let scene = Scene::new();
    let gateway = scene.gateway();
    for server in &scene.servers {
        let mut session = Session::open(&gateway.server(server.name));
        let replies = ask_all(&mut session, server);
        for ((request, truth), reply) in server.requests.iter().zip(&scene.truth[server.name]).zip(replies) {
            assert_eq!(
                reply.result, truth.result,
                "{}: {request:?}: {:?}",
                server.name, reply.error
            );
            assert_eq!(reply.error, truth.error, "{}: {request:?}", server.name);
        }
    }
}

/// The same for the two servers that also speak 2026-07-28, asked in that era on both sides.
#[test]
fn the_bytes_are_the_servers_own_in_the_modern_era() {
    let scene = Scene::new();
    let gateway = scene.gateway();
    for server in scene
        .servers
        .iter()
        .filter(|server| ["git", "time"].contains(&server.name))
    {
        server.reset();
        let mut direct = Direct::modern(server.name, &server.command, &server.environment);
        let truth = ask_all(&mut direct, server);
        drop(direct);
        server.reset();
        let replies = ask_all(&mut Stateless::new(&gateway.server(server.name)), server);
        for ((request, truth), reply) in server.requests.iter().zip(&truth).zip(replies) {
            assert_eq!(
                reply.result, truth.result,
                "{}: {request:?}: {:?}",
                server.name, reply.error
            );
            assert_eq!(reply.error, truth.error, "{}: {request:?}", server.name);
        }
    }
}

/// On the common endpoint each tool bears its server's name, is otherwise as the server has it, and can be called.
#[test]
fn all_servers_behind_one_endpoint() {
    let scene = Scene::new();
    let gateway = scene.gateway();
    let mut session = Session::open(&gateway.mcp());
    let tools = all_pages(&mut session, "tools");
    assert_eq!(tools, all_pages(&mut session, "tools"), "the order is stable");

    let mut expected = Vec::new();
    for server in &scene.servers {
        let list = scene.truth[server.name][0].value();
        for mut tool in list["tools"]
            .as_array()
            .expect("the first request lists tools")
            .clone()
        {
            tool["name"] = json!(format!("{}__{}", server.name, tool["name"].as_str().unwrap()));
            expected.push(tool);
        }
    }
    let by_name = |mut tools: Vec<Value>| {
        tools.sort_by_key(|tool| tool["name"].to_string());
        tools
    };
    assert_eq!(by_name(tools), by_name(expected));

    for server in &scene.servers {
        for (request, truth) in server.requests.iter().zip(&scene.truth[server.name]) {
            let (method, mut params) = request.clone();
            if !matches!(method, "tools/call" | "prompts/get") {
                continue;
            }
            params["name"] = json!(format!("{}__{}", server.name, params["name"].as_str().unwrap()));
            let reply = session.ask(method, &params.to_string());
            // Whether a name is unknown is for the gateway to say where names are its own.
            if !params["name"].as_str().unwrap().contains("no-such-tool") {
                assert_eq!(
                    reply.result, truth.result,
                    "{}: {request:?}: {:?}",
                    server.name, reply.error
                );
            }
        }
    }
    let zombies = process::descendants(gateway.pid())
        .into_iter()
        .filter(|process| process.state == 'Z')
        .count();
    assert_eq!(zombies, 0);
}

fn all_pages(session: &mut Session, key: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut params = json!({});
    loop {
        let page = session.ask(&format!("{key}/list"), &params.to_string()).value();
        all.extend(page[key].as_array().expect("a page holds a list").iter().cloned());
        match page.get("nextCursor") {
            Some(cursor) => params = json!({ "cursor": cursor }),
            None => return all,
        }
    }
}

#[test]
fn typescript_v2_gets_what_they_say() {
    each_server_through(Client::TsV2);
}

#[test]
fn typescript_v2_held_to_sessions_gets_what_they_say() {
    each_server_through(Client::TsV2Legacy);
}

#[test]
fn typescript_v1_gets_what_they_say() {
    each_server_through(Client::TsV1);
}

#[test]
fn python_gets_what_they_say() {
    each_server_through(Client::PyMcp);
}

#[test]
fn python_held_to_sessions_gets_what_they_say() {
    each_server_through(Client::PyMcpLegacy);
}

#[test]
fn fastmcp_gets_what_they_say() {
    each_server_through(Client::FastMcp);
}

fn each_server_through(client: Client) {
    let scene = Scene::new();
    let gateway = scene.gateway();
    compare(client, &scene, &|server| Way::Http(gateway.server(server.name)));
}

fn compare(client: Client, scene: &Scene, way: &dyn Fn(&Server) -> Way) {
    for server in &scene.servers {
        let steps: Vec<Value> = server
            .requests
            .iter()
            .map(|(method, params)| step(method, params))
            .collect();
        let report = client.run(&way(server), &json!({}), &steps);
        for (n, truth) in scene.truth[server.name].iter().enumerate() {
            let request = &server.requests[n];
            match &truth.error {
                None => assert_eq!(
                    essence(report.ok(n), request),
                    essence(&truth.value(), request),
                    "{client:?}, {}: {request:?}",
                    server.name
                ),
                Some(error) => {
                    assert_eq!(
                        report.error(n)["code"],
                        error["code"],
                        "{client:?}, {}: {request:?}",
                        server.name
                    );
                }
            }
        }
    }
}

#[test]
fn the_inspector_gets_what_they_say() {
    let scene = Scene::new();
    let gateway = scene.gateway();
    for server in &scene.servers {
        let url = gateway.server(server.name);
        let request = &server.requests[0];
        let mut tools = essence(&inspector("http", &[&url], &["--method", "tools/list"]), request);
        let truth = essence(&scene.truth[server.name][0].value(), request);
        // It declares roots, elicitation and sampling, and some servers have tools for clients that do.
        let known = |tool: &Value| {
            truth["tools"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|known| known["name"] == tool["name"])
        };
        tools["tools"]
            .as_array_mut()
            .expect("tools are a list")
            .retain(known);
        assert_eq!(tools, truth, "{}", server.name);
    }
    let arguments = [
        "--method",
        "tools/call",
        "--tool-name",
        "everything__echo",
        "--tool-arg",
        "message=hello",
    ];
    let called = inspector("http", &[&gateway.mcp()], &arguments);
    assert_eq!(called["content"][0]["text"], "Echo: hello");
    let called = inspector("sse", &[&gateway.url("/sse")], &arguments);
    assert_eq!(called["content"][0]["text"], "Echo: hello");
}

/// A request as the drivers name it.
fn step(method: &str, params: &Value) -> Value {
    let name = match method {
        "tools/list" => "listTools",
        "prompts/list" => "listPrompts",
        "resources/list" => "listResources",
        "resources/templates/list" => "listResourceTemplates",
        "tools/call" => "callTool",
        "prompts/get" => "getPrompt",
        "resources/read" => "readResource",
        "completion/complete" => "complete",
        _ => panic!("no step for {method}"),
    };
    let mut step = params.clone();
    step["do"] = json!(name);
    step
}

/// A result without what a revision or a client adds to every result, and without nulls, which typed clients drop.
fn essence(result: &Value, (method, _): &(&str, Value)) -> Value {
    if *method == "resources/list" {
        return first_page(result);
    }
    let mut essence = result.clone();
    let fields = essence.as_object_mut().expect("a result is an object");
    for added in ["_meta", "resultType", "ttlMs", "cacheScope"] {
        fields.remove(added);
    }
    if fields.get("isError") == Some(&json!(false)) {
        fields.remove("isError");
    }
    // The old servers put the resource's own fields into its contents; typed clients drop what is not in the protocol.
    for content in essence
        .get_mut("contents")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        content
            .as_object_mut()
            .expect("a content is an object")
            .remove("name");
    }
    for tool in essence
        .get_mut("tools")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        // 2026-07-28 knows no such field, and a client of that era drops it.
        tool.as_object_mut()
            .expect("a tool is an object")
            .remove("execution");
    }
    strip(&mut essence);
    essence
}

/// An old server lists a hundred resources in pages of ten, with their contents. The clients follow the pages, and most
/// drop what the protocol does not know.
fn first_page(result: &Value) -> Value {
    let resources = result["resources"].as_array().expect("resources are a list");
    resources
        .iter()
        .take(10)
        .map(|resource| json!([resource["uri"], resource["name"], resource["mimeType"]]))
        .collect()
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}
