//! `x-mcp-header`: from a schema to headers and back.

use axiom_protocol::tool_headers::{InvalidToolHeader, ToolHeaders, compile};
use axiom_protocol::{Span, codes};

use crate::headers::Headers;

fn compiled(schema: &str) -> Result<ToolHeaders, InvalidToolHeader> {
    compile(schema.as_bytes(), Span::all(schema.as_bytes()))
}

const SCHEMA: &str = r#"{"type":"object","properties":{
    "region":{"type":"string","x-mcp-header":"Region"},
    "query":{"type":"string","default":{"x-mcp-header":"no"},"enum":["x-mcp-header"]},
    "x-mcp-header":{"type":"object","properties":{"limit":{"x-mcp-header":"Limit","type":"integer"}}},
    "dry":{"type":"boolean","x-mcp-he\u0061der":"Dry-Run"}},
    "$defs":{"x-mcp-header":{"type":"string"}},"required":["region"]}"#;

/// The error text, or "ok".
fn check(arguments: &str, headers: &[(&str, &str)]) -> String {
    let tool = compiled(SCHEMA).unwrap();
    let raw = arguments.as_bytes();
    let place = (!raw.is_empty()).then(|| Span::all(raw));
    match tool.check(&Headers(headers), raw, place) {
        Ok(()) => "ok".to_owned(),
        Err(error) => {
            assert_eq!(error.code(), codes::HEADER_MISMATCH);
            error.to_string()
        }
    }
}

#[test]
fn a_schema_is_compiled() {
    let tool = compiled(SCHEMA).unwrap();
    assert_eq!(
        tool.names().collect::<Vec<_>>(),
        ["mcp-param-region", "mcp-param-dry-run", "mcp-param-limit"]
    );
    assert!(
        compiled(r#"{"type":"object","properties":{"a":{"type":"string"}}}"#)
            .unwrap()
            .is_empty()
    );
    assert!(compiled("true").unwrap().is_empty());
}

#[test]
fn annotations_that_make_a_tool_invalid() {
    use InvalidToolHeader::*;
    let property = |property: &str| compiled(&format!(r#"{{"properties":{{"a":{property}}}}}"#)).unwrap_err();
    let header = || "H".to_owned();
    assert_eq!(property(r#"{"type":"string","x-mcp-header":1}"#), NotAString);
    assert_eq!(property(r#"{"type":"string","x-mcp-header":""}"#), Empty);
    for bad in ["a b", "a:b", "é", "a\\r\\n", "(x)", "a/b"] {
        assert!(
            matches!(
                property(&format!(r#"{{"type":"string","x-mcp-header":"{bad}"}}"#)),
                NotAToken { .. }
            ),
            "{bad}"
        );
    }
    for kind in [
        r#""type":"number","#,
        r#""type":"object","#,
        r#""type":"array","#,
        r#""type":"null","#,
        "",
        r#""type":["string","null"],"#,
    ] {
        assert_eq!(
            property(&format!(r#"{{{kind}"x-mcp-header":"H"}}"#)),
            NotPrimitive { header: header() },
            "{kind}"
        );
    }
    for path in [
        r#"{"items":{"type":"string","x-mcp-header":"H"}}"#,
        r#"{"oneOf":[{"type":"string","x-mcp-header":"H"}]}"#,
        r#"{"anyOf":[{"properties":{"b":{"type":"string","x-mcp-header":"H"}}}]}"#,
        r#"{"allOf":[{"type":"string","x-mcp-header":"H"}]}"#,
        r#"{"not":{"type":"string","x-mcp-header":"H"}}"#,
        r#"{"if":{"type":"string","x-mcp-header":"H"}}"#,
        r#"{"then":{"properties":{"b":{"type":"string","x-mcp-header":"H"}}}}"#,
        r#"{"else":{"type":"string","x-mcp-header":"H"}}"#,
        r#"{"$defs":{"d":{"type":"string","x-mcp-header":"H"}}}"#,
        r#"{"patternProperties":{"^x":{"type":"string","x-mcp-header":"H"}}}"#,
        r#"{"additionalProperties":{"type":"string","x-mcp-header":"H"}}"#,
        r#"{"prefixItems":[true,{"type":"string","x-mcp-header":"H"}]}"#,
    ] {
        assert_eq!(property(path), Unreachable { header: header() }, "{path}");
    }
    let root = r#"{"type":"string","x-mcp-header":"H"}"#;
    assert_eq!(compiled(root).unwrap_err(), Unreachable { header: header() });
    let twice = r#"{"properties":{"a":{"type":"string","x-mcp-header":"H"},"b":{"type":"string","x-mcp-header":"h"}}}"#;
    assert_eq!(
        compiled(twice).unwrap_err(),
        Repeated {
            header: "h".to_owned()
        }
    );
}

/// Arguments, headers, the outcome.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

#[test]
fn headers_must_say_what_the_arguments_say() {
    let region = ("Mcp-Param-Region", "eu");
    let limit = |value| ("mcp-param-limit", value);
    let cases: &[Case<'_>] = &[
        ("", &[], "ok"),
        ("{}", &[], "ok"),
        (r#"{"region":"eu"}"#, &[region], "ok"),
        (r#"{"region":"eu"}"#, &[region, ("mcp-param-unknown", "x")], "ok"),
        (r#"{"r\u0065gion":"\u0065u"}"#, &[region], "ok"),
        (
            r#"{"region":"é"}"#,
            &[("mcp-param-region", "=?base64?w6k=?=")],
            "ok",
        ),
        (r#"{"region":null}"#, &[], "ok"),
        (
            r#"{"region":"eu"}"#,
            &[],
            "Header mismatch: Mcp-Param-Region header is missing",
        ),
        (
            r#"{"region":"us"}"#,
            &[region],
            "Header mismatch: Mcp-Param-Region header value 'eu' does not match body value 'us'",
        ),
        (
            r#"{"region":null}"#,
            &[region],
            "Header mismatch: Mcp-Param-Region header is present but the body has no such value",
        ),
        (
            "{}",
            &[region],
            "Header mismatch: Mcp-Param-Region header is present but the body has no such value",
        ),
        (
            r#"{"region":"eu"}"#,
            &[region, region],
            "Header mismatch: Mcp-Param-Region header is repeated",
        ),
        (
            r#"{"region":"eu","region":"us"}"#,
            &[region],
            "Header mismatch: the body has 'region' twice, so the Mcp-Param-Region header cannot be checked",
        ),
        (
            r#"{"region":"eu"}"#,
            &[("mcp-param-region", "=?base64?!?=")],
            "Header mismatch: Mcp-Param-Region header holds invalid Base64",
        ),
        (r#"{"x-mcp-header":{"limit":42}}"#, &[limit("42")], "ok"),
        (r#"{"x-mcp-header":{"limit":42}}"#, &[limit("42.0")], "ok"),
        (r#"{"x-mcp-header":{"limit":42.0}}"#, &[limit("42")], "ok"),
        (r#"{"x-mcp-header":{"limit":4.2e1}}"#, &[limit("42")], "ok"),
        (r#"{"x-mcp-header":{"limit":-0}}"#, &[limit("0")], "ok"),
        (
            r#"{"x-mcp-header":{"limit":9007199254740993}}"#,
            &[limit("9007199254740993")],
            "ok",
        ),
        (
            r#"{"x-mcp-header":{"limit":9007199254740993}}"#,
            &[limit("9007199254740992")],
            "Header mismatch: Mcp-Param-Limit header value '9007199254740992' does not match body value '9007199254740993'",
        ),
        // Not mirrored by clients that count in doubles.
        (r#"{"x-mcp-header":{"limit":9007199254740993}}"#, &[], "ok"),
        (
            r#"{"x-mcp-header":{"limit":42}}"#,
            &[limit("+42")],
            "Header mismatch: Mcp-Param-Limit header value '+42' does not match body value '42'",
        ),
        (
            r#"{"x-mcp-header":{"limit":42}}"#,
            &[limit("042")],
            "Header mismatch: Mcp-Param-Limit header value '042' does not match body value '42'",
        ),
        (
            r#"{"x-mcp-header":{"limit":42}}"#,
            &[],
            "Header mismatch: Mcp-Param-Limit header is missing",
        ),
        (r#"{"x-mcp-header":{"limit":"42"}}"#, &[limit("42")], "ok"),
        // What is no single value is for the server to refuse; it must not be claimed to be one.
        (r#"{"x-mcp-header":7}"#, &[], "ok"),
        (r#"{"region":["eu"]}"#, &[], "ok"),
        (
            r#"{"region":["eu"]}"#,
            &[("mcp-param-region", r#"["eu"]"#)],
            "Header mismatch: Mcp-Param-Region header value '[\"eu\"]' does not match body value '[\"eu\"]'",
        ),
        (r#"{"dry":true}"#, &[("mcp-param-dry-run", "true")], "ok"),
        (
            r#"{"dry":true}"#,
            &[("mcp-param-dry-run", "True")],
            "Header mismatch: Mcp-Param-Dry-Run header value 'True' does not match body value 'true'",
        ),
        (
            r#"{"dry":false}"#,
            &[("mcp-param-dry-run", "true")],
            "Header mismatch: Mcp-Param-Dry-Run header value 'true' does not match body value 'false'",
        ),
    ];
    for (arguments, headers, expected) in cases {
        assert_eq!(check(arguments, headers), *expected, "{arguments}");
    }
}

#[test]
fn headers_are_made_from_arguments() {
    let emit = |arguments: &str| {
        compiled(SCHEMA)
            .unwrap()
            .emit(arguments.as_bytes(), Some(Span::all(arguments.as_bytes())))
    };
    let pairs = |pairs: &[(&str, &str)]| -> Vec<_> {
        pairs
            .iter()
            .map(|(name, value)| (format!("mcp-param-{name}"), (*value).to_owned()))
            .collect()
    };
    assert_eq!(
        emit(r#"{"region":"Hello, 世界","dry":false,"query":"q","x-mcp-header":{"limit":-4.20e1}}"#),
        pairs(&[
            ("region", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            ("dry-run", "false"),
            ("limit", "-42")
        ])
    );
    assert_eq!(emit(r#"{"region":null,"dry":{},"x-mcp-header":[]}"#), pairs(&[]));
    assert_eq!(emit(r#"{"region":"a","region":"b"}"#), pairs(&[]));
    for (number, header) in [
        ("0", "0"),
        ("-0", "0"),
        ("0.0", "0"),
        ("1e3", "1000"),
        ("1000e-3", "1"),
        ("120", "120"),
        ("1.5", "1.5"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("1e50", "1e50"),
    ] {
        let arguments = format!(r#"{{"x-mcp-header":{{"limit":{number}}}}}"#);
        assert_eq!(emit(&arguments), pairs(&[("limit", header)]), "{number}");
        // What we send, we accept.
        assert_eq!(check(&arguments, &[("mcp-param-limit", header)]), "ok");
    }
    assert!(compiled(SCHEMA).unwrap().emit(b"", None).is_empty());
}
