use std::time::Duration;

use axiom_core::time::{now, timeout};

use super::*;

/// A client of the demo: sends values, receives values.
struct Client {
    pipe: Pipe,
}

impl Client {
    fn new() -> Self {
        Client {
            pipe: Arc::new(Demo).connect(),
        }
    }

    async fn send(&self, message: Json) {
        self.pipe.tx.send(Bytes::from(message.to_string())).await.unwrap();
    }

    async fn recv(&mut self) -> Json {
        serde_json::from_slice(&self.pipe.rx.recv().await.unwrap()).unwrap()
    }

    /// A legacy request; its result or error.
    async fn ask(&mut self, method: &str, params: Json) -> Json {
        self.send(json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}))
            .await;
        let answer = self.recv().await;
        assert_eq!(answer["id"], 7);
        answer.get("result").or(answer.get("error")).unwrap().clone()
    }

    async fn ask_modern(&mut self, method: &str, mut params: Json) -> Json {
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
        self.ask(method, params).await
    }
}

#[tokio::test]
async fn every_legacy_revision_is_negotiated() {
    let mut client = Client::new();
    for (asked, given) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
    ] {
        let result = client
            .ask(
                "initialize",
                json!({"protocolVersion": asked, "capabilities": {}}),
            )
            .await;
        assert_eq!(result["protocolVersion"], given);
        assert_eq!(result["serverInfo"]["name"], "axiom-demo");
    }
    assert_eq!(client.ask("ping", json!({})).await, json!({}));
}

#[tokio::test]
async fn the_modern_era_is_stateless_and_strict() {
    let mut client = Client::new();
    let discovered = client.ask_modern("server/discover", json!({})).await;
    assert_eq!(discovered["supportedVersions"][0], "2026-07-28");
    assert_eq!(discovered["resultType"], "complete");
    assert_eq!(discovered["cacheScope"], "public");
    let listed = client.ask_modern("tools/list", json!({})).await;
    assert_eq!(listed["tools"].as_array().unwrap().len(), 4);
    assert!(listed["ttlMs"].is_u64());
    for method in ["initialize", "ping", "logging/setLevel", "resources/subscribe"] {
        assert_eq!(
            client.ask_modern(method, json!({})).await["code"],
            -32601,
            "{method}"
        );
    }
    assert_eq!(client.ask("server/discover", json!({})).await["code"], -32602);
    let other = json!({"_meta": {"io.modelcontextprotocol/protocolVersion": "2027-01-01"}});
    let refused = client.ask("server/discover", other).await;
    assert_eq!(
        (&refused["code"], &refused["data"]["requested"]),
        (&json!(-32022), &json!("2027-01-01"))
    );
}

#[tokio::test]
async fn legacy_answers_have_no_modern_fields() {
    let mut client = Client::new();
    let listed = client.ask("tools/list", json!({})).await;
    let keys: Vec<&String> = listed.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["tools"]);
}

#[tokio::test]
async fn tools_answer() {
    let mut client = Client::new();
    let mut call = async |name: &str, arguments: Json| {
        client
            .ask("tools/call", json!({"name": name, "arguments": arguments}))
            .await
    };
    assert_eq!(
        call("echo", json!({"text": "hé"})).await["content"][0]["text"],
        "hé"
    );
    assert_eq!(
        call("add", json!({"a": 1, "b": 2})).await["structuredContent"],
        json!({"sum": 3})
    );
    assert_eq!(
        call("add", json!({"a": 0.5, "b": 2})).await["structuredContent"],
        json!({"sum": 2.5})
    );
    assert_eq!(
        call("add", json!({"a": i64::MAX, "b": 1})).await["structuredContent"]["sum"],
        9.223372036854776e18
    );
    assert_eq!(call("add", json!({"a": "1"})).await["isError"], true);
    assert_eq!(call("slow", json!({"seconds": -1})).await["isError"], true);
    assert!(
        call("now", json!({})).await["content"][0]["text"]
            .as_str()
            .unwrap()
            .ends_with('Z')
    );
    assert_eq!(call("nope", json!({})).await["code"], -32602);
}

#[tokio::test]
async fn resources_prompts_and_completion_answer() {
    let mut client = Client::new();
    let read = client
        .ask("resources/read", json!({"uri": "demo://greeting/Ada"}))
        .await;
    assert_eq!(read["contents"][0]["text"], "Hello, Ada!");
    assert_eq!(
        client.ask("resources/read", json!({"uri": "demo://nope"})).await["code"],
        -32002
    );
    assert_eq!(
        client
            .ask_modern("resources/read", json!({"uri": "demo://nope"}))
            .await["code"],
        -32602
    );
    let prompt = client
        .ask(
            "prompts/get",
            json!({"name": "greet", "arguments": {"name": "Ada"}}),
        )
        .await;
    assert_eq!(prompt["messages"][0]["role"], "user");
    let completion = client
        .ask(
            "completion/complete",
            json!({"ref": {"type": "ref/prompt", "name": "greet"}, "argument": {"name": "name", "value": "a"}}),
        )
        .await;
    assert_eq!(completion["completion"]["values"], json!(["Ada", "Alan"]));
    assert_eq!(
        client.ask("tools/list", json!({"cursor": "x"})).await["code"],
        -32602
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_reports_and_does_not_block() {
    let mut client = Client::new();
    let params = json!({
        "name": "slow", "arguments": {"seconds": 4, "steps": 2}, "_meta": {"progressToken": "t"}
    });
    client
        .send(json!({"jsonrpc": "2.0", "id": "1", "method": "tools/call", "params": params}))
        .await;
    assert_eq!(client.ask("ping", json!({})).await, json!({}));
    let started = now();
    assert_eq!(client.recv().await["params"]["progress"], 1);
    assert_eq!(
        client.recv().await["params"],
        json!({
            "progressToken": "t", "progress": 2, "total": 2, "message": "step 2 of 2"
        })
    );
    let answer = client.recv().await;
    assert_eq!(
        (&answer["id"], &answer["result"]["content"][0]["text"]),
        (&json!("1"), &json!("done after 4.0 s"))
    );
    assert_eq!(started.elapsed().as_secs(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_never_answers() {
    let mut client = Client::new();
    for id in [json!(1), json!("1")] {
        let params = json!({"name": "slow", "arguments": {"seconds": 5}});
        client
            .send(json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}))
            .await;
    }
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    client.send(cancel).await;
    assert_eq!(client.recv().await["id"], "1");
    let silence = timeout(Duration::from_secs(60), client.pipe.rx.recv()).await;
    assert!(matches!(silence, Err(_elapsed)));
}

#[tokio::test]
async fn nonsense_is_answered_and_survived() {
    let mut client = Client::new();
    for (text, code) in [
        ("nonsense", -32700),
        ("[]", -32600),
        ("{\"id\":1}", -32600),
        ("{\"id\":null,\"method\":\"ping\"}", -32600),
    ] {
        client.pipe.tx.send(Bytes::from(text)).await.unwrap();
        assert_eq!(client.recv().await["error"]["code"], code, "{text}");
    }
    client
        .send(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
        .await;
    client
        .send(json!({"jsonrpc": "2.0", "id": 3, "result": {}}))
        .await;
    assert_eq!(client.ask("ping", json!({})).await, json!({}));
}
