//! What an import is about to do, for a person who must agree to it: every command in full, of secrets only the names.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use super::draft::{Draft, Launch, Skipped};
use super::write::{Plan, Standing};

/// The preview of one file, several lines.
pub fn text(file: &str, client: &str, plan: &[Plan], skipped: &[Skipped]) -> String {
    let mut text = format!("{} ({client}): {}\n", visible(file), servers(plan.len()));
    for Plan { draft, standing } in plan {
        let (mark, remark) = match standing {
            Standing::New => ('+', ""),
            Standing::Same => ('=', "  already there"),
            Standing::Conflict => ('!', "  another server has this name; skipped"),
        };
        line(&mut text, format_args!("  {mark} {}{remark}", draft.name));
        for (label, value) in facts(draft) {
            line(&mut text, format_args!("      {label:<9} {value}"));
        }
    }
    for Skipped { name, reason, .. } in skipped {
        line(
            &mut text,
            format_args!("  - {}  skipped: {}", visible(name), visible(reason)),
        );
    }
    text
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _infallible = writeln!(text, "{arguments}").is_ok();
}

fn servers(count: usize) -> String {
    if count == 1 {
        "1 server".to_owned()
    } else {
        format!("{count} servers")
    }
}

/// What a person must see of a server before it may be started.
fn facts(draft: &Draft) -> Vec<(&'static str, String)> {
    let names = |pairs: &[(String, super::draft::Text)]| {
        pairs
            .iter()
            .map(|(name, _)| visible(name))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut facts = Vec::new();
    match &draft.launch {
        Launch::Command { command, env, cwd } => {
            facts.push((
                "command",
                command_line(command.iter().map(|word| word.text.as_str())),
            ));
            facts.extend(cwd.as_ref().map(|cwd| ("cwd", visible(&cwd.text))));
            facts.extend((!env.is_empty()).then(|| ("env", names(env))));
        }
        Launch::Remote {
            url,
            transport,
            headers,
        } => {
            facts.push(("url", without_password(&url.text)));
            facts.extend(transport.map(|transport| ("transport", transport.to_owned())));
            facts.extend((!headers.is_empty()).then(|| ("headers", names(headers))));
        }
    }
    facts.extend(draft.disabled.then(|| ("disabled", "true".to_owned())));
    facts.extend(draft.notes.iter().map(|note| ("note", visible(note))));
    facts
}

/// A command as a shell would take it. What a terminal would not show is escaped: nothing may hide in a preview.
pub fn command_line<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let quoted = words.map(|word| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%^".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word.to_owned()
        } else {
            format!("'{}'", visible(word).replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// The text with control, invisible and direction-changing characters written out.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        let hides = c.is_control()
            || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
            || matches!(c, '\u{e0000}'..='\u{e007f}');
        if hides {
            shown.extend(c.escape_unicode())
        } else {
            shown.push(c)
        }
    }
    shown
}

fn without_password(url: &str) -> String {
    if let Ok(mut parsed) = url::Url::parse(url)
        && parsed.password().is_some()
        && parsed.set_password(Some("***")).is_ok()
    {
        return visible(parsed.as_str());
    }
    visible(url)
}

/// The same for programs. Values of `env` and `headers` stay out of it.
pub fn json(file: &str, client: &str, plan: &[Plan], skipped: &[Skipped]) -> Json {
    let servers: Vec<Json> = plan
        .iter()
        .map(|Plan { draft, standing }| server_json(draft, *standing))
        .collect();
    let skipped: Vec<Json> = skipped
        .iter()
        .map(|skipped| json!({"name": skipped.name, "reason": skipped.reason}))
        .collect();
    json!({"file": file, "client": client, "servers": servers, "skipped": skipped})
}

fn server_json(draft: &Draft, standing: Standing) -> Json {
    let names = |pairs: &[(String, super::draft::Text)]| -> Vec<String> {
        pairs.iter().map(|(name, _)| name.clone()).collect()
    };
    let mut server = json!({
        "name": draft.name,
        "original_name": draft.original,
        "status": standing.word(),
        "disabled": draft.disabled,
        "notes": draft.notes,
        "exports": draft.exports,
    });
    match &draft.launch {
        Launch::Command { command, env, cwd } => {
            server["command"] = command.iter().map(|word| word.text.as_str()).collect();
            server["env"] = json!(names(env));
            server["cwd"] = json!(cwd.as_ref().map(|cwd| &cwd.text));
        }
        Launch::Remote {
            url,
            transport,
            headers,
        } => {
            server["url"] = json!(without_password(&url.text));
            server["transport"] = json!(transport);
            server["headers"] = json!(names(headers));
        }
    }
    server
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_whole_and_unambiguous() {
        let words = ["npx", "-y", "a b", "it's", "", "\u{1b}[2K\u{202e}evil"];
        assert_eq!(
            command_line(words.into_iter()),
            r"npx -y 'a b' 'it'\''s' '' '\u{1b}[2K\u{202e}evil'"
        );
    }

    #[test]
    fn a_password_in_a_url_is_hidden() {
        assert_eq!(without_password("http://me:x@h/p"), "http://me:***@h/p");
        assert_eq!(without_password("${env:URL}"), "${env:URL}");
    }
}
