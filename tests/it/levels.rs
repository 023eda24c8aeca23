//! A server that uses everything new, asked by a client of each older revision: each sees what its own revision has, and
//! is told the rest in words.

use axiom_tests::config::Config;
use axiom_tests::gateway::Gateway;
use axiom_tests::peer::{Peer as _, Session};
use axiom_tests::servers;
use serde_json::{Value, json};

const LINK_IN_WORDS: &str = "Resource link: The report <levels://report> (text/plain)\nAll of it";
const AUDIO_IN_WORDS: &str =
    "Audio (audio/wav, 44 B) was left out: revision 2024-11-05 of the protocol has none.";

/// What each revision has, as its `schema.ts` says.
struct Level {
    revision: &'static str,
    tool: &'static [&'static str],
    /// Of a prompt, a resource and the server's own description: the fields that were added later.
    described: &'static [&'static str],
    implementation: &'static [&'static str],
    has_links: bool,
    has_audio: bool,
}

const LEVELS: [Level; 4] = [
    Level {
        revision: "2024-11-05",
        tool: &["description", "inputSchema", "name"],
        described: &[],
        implementation: &["name", "version"],
        has_links: false,
        has_audio: false,
    },
    Level {
        revision: "2025-03-26",
        tool: &["annotations", "description", "inputSchema", "name"],
        described: &[],
        implementation: &["name", "version"],
        has_links: false,
        has_audio: true,
    },
    Level {
        revision: "2025-06-18",
        tool: &[
            "_meta",
            "annotations",
            "description",
            "inputSchema",
            "name",
            "outputSchema",
            "title",
        ],
        described: &["title"],
        implementation: &["name", "title", "version"],
        has_links: true,
        has_audio: true,
    },
    Level {
        revision: "2025-11-25",
        tool: &[
            "_meta",
            "annotations",
            "description",
            "icons",
            "inputSchema",
            "name",
            "outputSchema",
            "title",
        ],
        described: &["icons", "title"],
        implementation: &["icons", "name", "title", "version", "websiteUrl"],
        has_links: true,
        has_audio: true,
    },
];

#[test]
fn each_older_revision_on_a_server_with_everything_new() {
    let (_server, url) = servers::levels_http();
    let config = Config::new()
        .stdio("child", &servers::levels_stdio())
        .url("remote", &url);
    let gateway = Gateway::start(&config);
    for level in &LEVELS {
        for server in ["child", "remote"] {
            let mut own = Session::open_as(&gateway.server(server), level.revision, &json!({}));
            let info = &own.initialized["serverInfo"];
            assert_eq!(keys(info), level.implementation, "{} {server}", level.revision);
            sees_its_level(&mut own, level, "");
            let mut common = Session::open_as(&gateway.mcp(), level.revision, &json!({}));
            sees_its_level(&mut common, level, &format!("{server}__"));
        }
    }
}

fn sees_its_level(session: &mut Session, level: &Level, prefix: &str) {
    let who = format!("{} as {prefix:?}", level.revision);
    assert_eq!(session.initialized["protocolVersion"], level.revision, "{who}");
    let mut ask = |method: &str, params: Value| {
        let result = session.ask(method, &params.to_string()).value();
        for added in ["resultType", "ttlMs", "cacheScope", "_meta"] {
            assert_eq!(result.get(added), None, "{who}: {added} of {method}");
        }
        result
    };

    let tools = ask("tools/list", json!({}));
    let report = find(&tools["tools"], &format!("{prefix}report"));
    assert_eq!(keys(report), level.tool, "{who}");
    let pages = find(&tools["tools"], &format!("{prefix}pages"));
    assert_eq!(
        pages.get("outputSchema"),
        None,
        "{who}: not the schema of an object"
    );

    let answer = ask(
        "tools/call",
        json!({ "name": format!("{prefix}report"), "arguments": {} }),
    );
    let content = &answer["content"];
    is_link(&content[0], level, &who);
    is_audio(&content[1], level, &who);
    if level.has_links {
        assert_eq!(answer["structuredContent"], json!({ "pages": 7 }), "{who}");
        assert_eq!(content.get(2), None, "{who}");
    } else {
        assert_eq!(answer.get("structuredContent"), None, "{who}");
        assert_eq!(
            content[2],
            json!({ "type": "text", "text": "{\"pages\":7}" }),
            "{who}"
        );
    }
    let answer = ask(
        "tools/call",
        json!({ "name": format!("{prefix}pages"), "arguments": {} }),
    );
    let said = json!({ "content": [{ "type": "text", "text": "[1,2,3]" }] });
    assert_eq!(answer, said, "{who}: structured content of any shape is new");

    let prompts = ask("prompts/list", json!({}));
    let prompt = find(&prompts["prompts"], &format!("{prefix}ask"));
    has_described(prompt, level, &["arguments", "description", "name"], &who);
    let prompt = ask(
        "prompts/get",
        json!({ "name": format!("{prefix}ask"), "arguments": { "about": "it" } }),
    );
    let messages = &prompt["messages"];
    is_link(&messages[0]["content"], level, &who);
    is_audio(&messages[1]["content"], level, &who);
    let words = json!({ "type": "text", "text": "What does it say?" });
    assert_eq!(messages[2]["content"], words, "{who}");

    let resources = ask("resources/list", json!({}));
    let resource = find(&resources["resources"], "report");
    has_described(resource, level, &["name", "uri"], &who);
    let read = ask("resources/read", json!({ "uri": "levels://report" }));
    let contents = &read["contents"][0];
    assert_eq!(contents["text"], "It says nothing.", "{who}");
    assert_eq!(contents.get("_meta").is_some(), level.has_links, "{who}");

    // The same failure has another code in each era.
    let missing = session.ask("resources/read", r#"{"uri":"levels://none"}"#);
    assert_eq!(missing.code(), -32002, "{who}: {}", missing.message());
}

fn is_link(block: &Value, level: &Level, who: &str) {
    assert_eq!(block["annotations"]["audience"], json!(["user"]), "{who}");
    let is_dated = block["annotations"].get("lastModified").is_some();
    assert_eq!(is_dated, level.has_links, "{who}");
    if level.has_links {
        assert_eq!(block["type"], "resource_link", "{who}");
        let icons = block.get("icons").is_some();
        assert_eq!(icons, level.described.contains(&"icons"), "{who}");
    } else {
        assert_eq!(keys(block), ["annotations", "text", "type"], "{who}");
        assert_eq!(block["text"], LINK_IN_WORDS, "{who}");
    }
}

fn is_audio(block: &Value, level: &Level, who: &str) {
    if level.has_audio {
        assert_eq!(block["type"], "audio", "{who}");
    } else {
        assert_eq!(*block, json!({ "type": "text", "text": AUDIO_IN_WORDS }), "{who}");
    }
}

fn has_described(item: &Value, level: &Level, plain: &[&str], who: &str) {
    let mut expected = [plain, level.described].concat();
    expected.sort_unstable();
    assert_eq!(keys(item), expected, "{who}");
}

fn find<'a>(list: &'a Value, name: &str) -> &'a Value {
    let items = list.as_array().expect("it is a list");
    let found = items.iter().find(|item| item["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {list}"))
}

fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = object
        .as_object()
        .expect("it is an object")
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    keys
}
