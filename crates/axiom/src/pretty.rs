//! JSON for people: line breaks and indentation, and not one other byte changed.

/// Lays out a JSON text. Numbers, escapes and the order of keys stay as they were typed; only the white space between
/// them is ours.
pub(crate) fn pretty(json: &str) -> String {
    let mut laid_out = String::with_capacity(json.len() * 2);
    let mut depth = 0;
    let mut rest = json.trim_start();
    while let Some(first) = rest.chars().next() {
        let token = match first {
            '"' => string_len(rest),
            '{' | '[' | '}' | ']' | ',' | ':' => 1,
            _ => rest.find(is_between).unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(token);
        rest = after.trim_start();
        match token {
            "{" | "[" if rest.starts_with(['}', ']']) => {
                let (end, after) = rest.split_at(1);
                laid_out.push_str(token);
                laid_out.push_str(end);
                rest = after.trim_start();
            }
            "{" | "[" => {
                depth += 1;
                laid_out.push_str(token);
                new_line(&mut laid_out, depth);
            }
            "}" | "]" => {
                depth = depth.saturating_sub(1);
                new_line(&mut laid_out, depth);
                laid_out.push_str(token);
            }
            "," => {
                laid_out.push(',');
                new_line(&mut laid_out, depth);
            }
            ":" => laid_out.push_str(": "),
            _ => laid_out.push_str(token),
        }
    }
    laid_out
}

/// What ends a number or a word.
fn is_between(character: char) -> bool {
    character.is_ascii_whitespace() || matches!(character, '{' | '[' | '}' | ']' | ',' | ':' | '"')
}

/// Bytes of the string that a text begins with, quotes included.
fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Deeper levels are not indented further: a hostile nesting of thousands would be mostly spaces.
const INDENTED_LEVELS_MAX: usize = 100;

fn new_line(text: &mut String, depth: usize) {
    text.push('\n');
    text.push_str(&"  ".repeat(depth.min(INDENTED_LEVELS_MAX)));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_but_white_space_changes() {
        let json =
            r#" {"z":123456789012345678901234567890,"a":[1.50,-0,{} ,[ ]],"\u00e9":"a\"b: {","n":null}"#;
        let expected = r#"{
  "z": 123456789012345678901234567890,
  "a": [
    1.50,
    -0,
    {},
    []
  ],
  "\u00e9": "a\"b: {",
  "n": null
}"#;
        assert_eq!(pretty(json), expected);
    }

    /// serde_json's own layout is the model; its maps are sorted, and so is what it is given.
    fn value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            "[ -~\u{e9}\u{4e16}]{0,8}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::btree_map("[ -~]{0,4}", inner, 0..4)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn as_serde_json_lays_out(value in value()) {
            prop_assert_eq!(pretty(&value.to_string()), format!("{value:#}"));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[{}\\[\\],:\"\\\\ a\u{e9}1]{0,40}") {
            pretty(&text);
        }
    }
}
