//! Any result of 2026-07-28, levelled for each older revision, checked against what that revision's `schema.ts` names.

use axiom_protocol::method::Method;
use axiom_protocol::revision::Revision;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use super::{JUNE, MARCH, NOVEMBER, OLDEST, level, message, read};

/// The fields of each interface, revision by revision, as the specification's `schema.ts` has them. Where a revision is
/// not named, its interface is that of the revision before.
const SCHEMA: &[(&str, Revision, &[&str])] = &[
    ("Tool", OLDEST, &["name", "description", "inputSchema"]),
    (
        "Tool",
        MARCH,
        &["name", "description", "inputSchema", "annotations"],
    ),
    (
        "Tool",
        JUNE,
        &[
            "name",
            "title",
            "description",
            "inputSchema",
            "outputSchema",
            "annotations",
            "_meta",
        ],
    ),
    (
        "Tool",
        NOVEMBER,
        &[
            "name",
            "title",
            "icons",
            "description",
            "inputSchema",
            "execution",
            "outputSchema",
            "annotations",
            "_meta",
        ],
    ),
    ("Prompt", OLDEST, &["name", "description", "arguments"]),
    (
        "Prompt",
        JUNE,
        &["name", "title", "description", "arguments", "_meta"],
    ),
    (
        "Prompt",
        NOVEMBER,
        &["name", "title", "icons", "description", "arguments", "_meta"],
    ),
    ("PromptArgument", OLDEST, &["name", "description", "required"]),
    (
        "PromptArgument",
        JUNE,
        &["name", "title", "description", "required"],
    ),
    (
        "Resource",
        OLDEST,
        &["uri", "name", "description", "mimeType", "size", "annotations"],
    ),
    (
        "Resource",
        JUNE,
        &[
            "uri",
            "name",
            "title",
            "description",
            "mimeType",
            "size",
            "annotations",
            "_meta",
        ],
    ),
    (
        "Resource",
        NOVEMBER,
        &[
            "uri",
            "name",
            "title",
            "icons",
            "description",
            "mimeType",
            "size",
            "annotations",
            "_meta",
        ],
    ),
    (
        "ResourceTemplate",
        OLDEST,
        &["uriTemplate", "name", "description", "mimeType", "annotations"],
    ),
    (
        "ResourceTemplate",
        JUNE,
        &[
            "uriTemplate",
            "name",
            "title",
            "description",
            "mimeType",
            "annotations",
            "_meta",
        ],
    ),
    (
        "ResourceTemplate",
        NOVEMBER,
        &[
            "uriTemplate",
            "name",
            "title",
            "icons",
            "description",
            "mimeType",
            "annotations",
            "_meta",
        ],
    ),
    ("Annotations", OLDEST, &["audience", "priority"]),
    ("Annotations", JUNE, &["audience", "priority", "lastModified"]),
    ("ResourceContents", OLDEST, &["uri", "mimeType", "text", "blob"]),
    (
        "ResourceContents",
        JUNE,
        &["uri", "mimeType", "text", "blob", "_meta"],
    ),
    ("text", OLDEST, &["type", "text", "annotations"]),
    ("text", JUNE, &["type", "text", "annotations", "_meta"]),
    ("image", OLDEST, &["type", "data", "mimeType", "annotations"]),
    (
        "image",
        JUNE,
        &["type", "data", "mimeType", "annotations", "_meta"],
    ),
    ("resource", OLDEST, &["type", "resource", "annotations"]),
    ("resource", JUNE, &["type", "resource", "annotations", "_meta"]),
    ("audio", MARCH, &["type", "data", "mimeType", "annotations"]),
    (
        "audio",
        JUNE,
        &["type", "data", "mimeType", "annotations", "_meta"],
    ),
    (
        "resource_link",
        JUNE,
        &[
            "type",
            "uri",
            "name",
            "title",
            "description",
            "mimeType",
            "size",
            "annotations",
            "_meta",
        ],
    ),
    (
        "resource_link",
        NOVEMBER,
        &[
            "type",
            "uri",
            "name",
            "title",
            "icons",
            "description",
            "mimeType",
            "size",
            "annotations",
            "_meta",
        ],
    ),
    ("CallToolResult", OLDEST, &["content", "isError", "_meta"]),
    (
        "CallToolResult",
        JUNE,
        &["content", "structuredContent", "isError", "_meta"],
    ),
    ("GetPromptResult", OLDEST, &["description", "messages", "_meta"]),
    ("PromptMessage", OLDEST, &["role", "content"]),
    ("ReadResourceResult", OLDEST, &["contents", "_meta"]),
    ("ListToolsResult", OLDEST, &["tools", "nextCursor", "_meta"]),
    ("ListPromptsResult", OLDEST, &["prompts", "nextCursor", "_meta"]),
    (
        "ListResourcesResult",
        OLDEST,
        &["resources", "nextCursor", "_meta"],
    ),
    (
        "ListResourceTemplatesResult",
        OLDEST,
        &["resourceTemplates", "nextCursor", "_meta"],
    ),
];

const LISTS: [(Method, &str, &str, &str); 4] = [
    (Method::ToolsList, "ListToolsResult", "tools", "Tool"),
    (Method::PromptsList, "ListPromptsResult", "prompts", "Prompt"),
    (
        Method::ResourcesList,
        "ListResourcesResult",
        "resources",
        "Resource",
    ),
    (
        Method::ResourceTemplatesList,
        "ListResourceTemplatesResult",
        "resourceTemplates",
        "ResourceTemplate",
    ),
];

/// Starts the names of fields that no revision has. They must survive.
const UNKNOWN: &str = "x-";

fn fields(interface: &str, revision: Revision) -> Option<&'static [&'static str]> {
    let known = SCHEMA
        .iter()
        .filter(|(name, since, _)| *name == interface && *since <= revision);
    known
        .max_by_key(|(_, since, _)| *since)
        .map(|(_, _, fields)| *fields)
}

/// Panics at the first field that `revision` does not have.
fn check(value: &Value, interface: &str, revision: Revision) {
    let known =
        fields(interface, revision).unwrap_or_else(|| panic!("{revision} has no {interface}: {value}"));
    for (name, inner) in value
        .as_object()
        .unwrap_or_else(|| panic!("{interface}: {value}"))
    {
        let is_known = known.contains(&name.as_str()) || name.starts_with(UNKNOWN);
        assert!(is_known, "{revision} has no {interface}.{name}: {value}");
        if name == "annotations" && interface != "Tool" {
            check(inner, "Annotations", revision);
        }
    }
}

fn check_block(block: &Value, revision: Revision) {
    check(block, block["type"].as_str().unwrap(), revision);
    if block["type"] == "resource" {
        check(&block["resource"], "ResourceContents", revision);
    }
}

fn check_schema(schema: &Value) {
    assert_eq!(schema["type"], "object", "{schema}");
    for (_, property) in schema["properties"].as_object().into_iter().flatten() {
        assert!(property.is_object(), "{schema}");
    }
}

fn check_result(value: &Value, method: Method, revision: Revision) {
    if let Some((_, list, field, of)) = LISTS.iter().find(|(of, ..)| *of == method) {
        check(value, list, revision);
        for item in value[field].as_array().unwrap() {
            check(item, of, revision);
            for argument in item["arguments"].as_array().into_iter().flatten() {
                check(argument, "PromptArgument", revision);
            }
            for schema in ["inputSchema", "outputSchema"] {
                item.get(schema).into_iter().for_each(check_schema);
            }
        }
        return;
    }
    match method {
        Method::ToolsCall => {
            check(value, "CallToolResult", revision);
            let structured = value.get("structuredContent");
            assert!(structured.is_none_or(Value::is_object), "{value}");
            for block in value["content"].as_array().unwrap() {
                check_block(block, revision);
            }
        }
        Method::PromptsGet => {
            check(value, "GetPromptResult", revision);
            for message in value["messages"].as_array().unwrap() {
                check(message, "PromptMessage", revision);
                check_block(&message["content"], revision);
            }
        }
        _ => {
            check(value, "ReadResourceResult", revision);
            for contents in value["contents"].as_array().unwrap() {
                check(contents, "ResourceContents", revision);
            }
        }
    }
}

/// An object with a random choice of these fields, in random order and with random space. The first `needed` of them
/// are always there.
fn object(needed: usize, fields: Vec<(&'static str, BoxedStrategy<String>)>) -> BoxedStrategy<String> {
    let members: Vec<BoxedStrategy<Option<String>>> = fields
        .into_iter()
        .enumerate()
        .map(|(index, (name, value))| {
            (value, space(), prop::bool::ANY)
                .prop_map(move |(value, space, chosen)| {
                    (index < needed || chosen)
                        .then(|| format!("{space}\"{name}\"{space}:{space}{value}{space}"))
                })
                .boxed()
        })
        .collect();
    (members, space(), any::<u64>())
        .prop_map(|(members, space, order)| {
            let mut members: Vec<String> = members.into_iter().flatten().collect();
            if !members.is_empty() {
                let turn = usize::try_from(order % 7).unwrap() % members.len();
                members.rotate_left(turn);
            }
            format!("{{{space}{}}}", members.join(","))
        })
        .boxed()
}

fn array(of: BoxedStrategy<String>) -> BoxedStrategy<String> {
    (vec(of, 0..4), space())
        .prop_map(|(items, space)| format!("[{space}{}]", items.join(&format!("{space},"))))
        .boxed()
}

fn space() -> BoxedStrategy<&'static str> {
    prop::sample::select(vec!["", "", " ", "\n\t"]).boxed()
}

fn one_of(values: &'static [&'static str]) -> BoxedStrategy<String> {
    prop::sample::select(values.to_vec())
        .prop_map(str::to_owned)
        .boxed()
}

fn string() -> BoxedStrategy<String> {
    one_of(&[
        r#""""#,
        r#""plain""#,
        r#""\u00e4\n\"quoted\" \\""#,
        "\"\u{1f980}\"",
        r#""\ud83e""#,
    ])
}

/// Something that no revision names; it must come through to the byte.
fn odd() -> BoxedStrategy<String> {
    one_of(&[
        "123456789012345678901234567890",
        "1.0",
        r#"{ "a" : [1.50] }"#,
        r#"{"title":1,"icons":[]}"#,
    ])
}

fn icons() -> BoxedStrategy<String> {
    one_of(&["[]", r#"[{"src":"https://x.example/i.png"}]"#])
}

fn annotations() -> BoxedStrategy<String> {
    object(
        0,
        vec![
            ("audience", one_of(&[r#"["user"]"#])),
            ("priority", one_of(&["0.50"])),
            ("lastModified", one_of(&[r#""2026-01-01T00:00:00Z""#])),
            ("x-a", odd()),
        ],
    )
}

fn block() -> BoxedStrategy<String> {
    let with = |kind: &'static [&'static str], needed: Vec<(&'static str, BoxedStrategy<String>)>| {
        let mut fields = vec![("type", one_of(kind))];
        fields.extend(needed);
        let needed = fields.len();
        fields.extend([
            ("annotations", annotations()),
            ("_meta", odd_object()),
            ("x-b", odd()),
        ]);
        object(needed, fields)
    };
    prop_oneof![
        with(&[r#""text""#], vec![("text", string())]),
        with(
            &[r#""image""#],
            vec![("data", one_of(&[r#""AAAA""#])), ("mimeType", string())]
        ),
        with(
            &[r#""audio""#],
            vec![("data", one_of(&[r#""AAA=""#])), ("mimeType", string())]
        ),
        with(&[r#""resource""#], vec![("resource", contents())]),
        link(),
    ]
    .boxed()
}

fn odd_object() -> BoxedStrategy<String> {
    object(0, vec![("x-m", odd())])
}

fn link() -> BoxedStrategy<String> {
    let mut fields = resource_fields("uri");
    fields.insert(0, ("type", one_of(&[r#""resource_link""#])));
    object(3, fields)
}

fn resource_fields(key: &'static str) -> Vec<(&'static str, BoxedStrategy<String>)> {
    vec![
        (key, string()),
        ("name", string()),
        ("title", string()),
        ("icons", icons()),
        ("description", string()),
        ("mimeType", string()),
        ("annotations", annotations()),
        ("_meta", odd_object()),
        ("x-r", odd()),
    ]
}

fn contents() -> BoxedStrategy<String> {
    object(
        2,
        vec![
            ("uri", string()),
            ("text", string()),
            ("_meta", odd_object()),
            ("x-c", odd()),
        ],
    )
}

fn schema() -> BoxedStrategy<String> {
    one_of(&[
        "true",
        "{}",
        r#"{"type":"object"}"#,
        r#"{ "type" : "array", "items":{}}"#,
        r#"{"oneOf":[{"type":"object"}]}"#,
        r#"{"type":"object","properties":{"a":true,"b":{"type":"string"},"c":false},"maxProperties":1.0}"#,
    ])
}

fn tool() -> BoxedStrategy<String> {
    object(
        2,
        vec![
            ("name", string()),
            ("inputSchema", schema()),
            ("outputSchema", schema()),
            ("title", string()),
            ("icons", icons()),
            ("execution", one_of(&[r#"{"taskSupport":"optional"}"#])),
            ("annotations", one_of(&[r#"{"title":"T","readOnlyHint":true}"#])),
            ("_meta", odd_object()),
            ("x-t", odd()),
        ],
    )
}

fn prompt() -> BoxedStrategy<String> {
    let argument = object(1, vec![("name", string()), ("title", string()), ("x-p", odd())]);
    object(
        1,
        vec![
            ("name", string()),
            ("arguments", array(argument)),
            ("title", string()),
            ("icons", icons()),
            ("_meta", odd_object()),
        ],
    )
}

/// A result of 2026-07-28, with all that came with it.
fn modern(needed: Vec<(&'static str, BoxedStrategy<String>)>, cacheable: bool) -> BoxedStrategy<String> {
    let mut fields = vec![("resultType", one_of(&[r#""complete""#]))];
    if cacheable {
        fields.extend([
            ("ttlMs", one_of(&["0"])),
            ("cacheScope", one_of(&[r#""public""#])),
        ]);
    }
    fields.extend(needed);
    let needed = fields.len();
    let meta = object(
        0,
        vec![
            ("io.modelcontextprotocol/serverInfo", one_of(&[r#"{"name":"s"}"#])),
            ("x-m", odd()),
        ],
    );
    fields.extend([("_meta", meta), ("x-1", odd())]);
    object(needed, fields)
}

fn any_result() -> BoxedStrategy<(Method, String)> {
    let message = object(
        2,
        vec![
            ("role", one_of(&[r#""user""#])),
            ("content", block()),
            ("x-2", odd()),
        ],
    );
    let structured = one_of(&[
        "null",
        "{}",
        r#"{"n":1.0}"#,
        "[1.0,2]",
        "12345678901234567890123",
        "\"s\"",
    ]);
    let call = |fields: Vec<(&'static str, BoxedStrategy<String>)>| {
        modern(fields, false).prop_map(|text| (Method::ToolsCall, text))
    };
    let of = |method: Method, field: &'static str, item: BoxedStrategy<String>| {
        modern(vec![(field, array(item))], true).prop_map(move |text| (method, text))
    };
    prop_oneof![
        of(Method::ToolsList, "tools", tool()),
        of(Method::PromptsList, "prompts", prompt()),
        of(
            Method::ResourcesList,
            "resources",
            object(2, resource_fields("uri"))
        ),
        of(
            Method::ResourceTemplatesList,
            "resourceTemplates",
            object(2, resource_fields("uriTemplate"))
        ),
        of(Method::ResourcesRead, "contents", contents()),
        modern(vec![("messages", array(message))], false).prop_map(|text| (Method::PromptsGet, text)),
        call(vec![("content", array(block()))]),
        call(vec![
            ("structuredContent", structured.clone()),
            ("content", array(block()))
        ]),
    ]
    .boxed()
}

fn old() -> BoxedStrategy<Revision> {
    prop::sample::select(Revision::LEGACY.to_vec()).boxed()
}

/// All values of fields that no revision has, as they are written.
fn unknown(text: &str) -> usize {
    text.matches("\"x-").count()
}

proptest! {
    #[test]
    fn a_client_sees_only_what_its_revision_has((method, text) in any_result(), client in old()) {
        let before = message(&text);
        let after = level(&before, method, client).expect("each result of 2026-07-28 has something new");
        check_result(&read(&after)["result"], method, client);
        prop_assert_eq!(level(&after, method, client), None, "nothing is left to do: {}", after);
        let is_around = after.starts_with(r#" {"x":1.0, "id" : 1,"result":{"#) && after.ends_with(r#" ,"jsonrpc":"2.0"}"#);
        prop_assert!(is_around, "{}", after);
    }

    /// A server of 2025-11-25 has fewer new fields; what its clients know stays, to the byte.
    #[test]
    fn what_is_known_stays_as_it_is((method, text) in any_result()) {
        let before = message(&text);
        let after = level(&before, method, NOVEMBER).unwrap();
        if method != Method::ToolsCall {
            prop_assert_eq!(unknown(&after), unknown(&before));
        }
        // Taking the fields of 2026-07-28 out of what is left changes nothing more than they did.
        let mut expected = read(&before)["result"].clone();
        for field in ["resultType", "ttlMs", "cacheScope"] {
            expected.as_object_mut().unwrap().remove(field);
        }
        let after = read(&after)["result"].clone();
        for field in ["prompts", "resources", "resourceTemplates", "messages", "contents", "x-1"] {
            prop_assert_eq!(after.get(field), expected.get(field));
        }
    }
}
