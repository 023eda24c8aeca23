//! Forms for clients of 2025-06-18, the first revision that has them: choices without titles of their own, no choice of
//! several, a default for a switch only.

use axiom_protocol::revision::Revision::{self, V2025_11_25};
use axiom_protocol::span::Span;
use axiom_protocol::text::text;
use axiom_protocol::walk::{elements, get};

use super::{Level, Since};

/// A question's params.
const ELICITATION: Since = &[("mode", V2025_11_25), ("task", V2025_11_25)];
const SCHEMA: Since = &[("$schema", V2025_11_25)];
/// Of every field but a switch, which always had one.
const FIELD: Since = &[("default", V2025_11_25)];

/// What a client cannot be asked, because its revision has no such thing. The sentence is for the server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unaskable {
    #[error("the client speaks {client}, which has no visits to pages (mode \"url\")")]
    Visit { client: Revision },
    #[error(
        "the client speaks {client}, whose forms have no choice of several, and the field {field:?} is required"
    )]
    Field { client: Revision, field: String },
}

/// Makes the form in `params` one that the client knows.
pub(super) fn elicitation(level: &mut Level<'_>, params: Span) -> Result<(), Unaskable> {
    let (raw, client) = (level.raw, level.client);
    if client >= V2025_11_25 {
        return Ok(());
    }
    let mode = get(raw, params, "mode").and_then(|mode| text(raw, mode));
    if mode.as_deref() == Some("url") {
        return Err(Unaskable::Visit { client });
    }
    let form = get(raw, params, "requestedSchema");
    if let Some(field) = form.and_then(|form| required_choice_of_several(raw, form)) {
        return Err(Unaskable::Field { client, field });
    }
    level.object(params, |level, member| {
        if form == Some(member.value) {
            schema(level, member.value);
        }
        level.knows(ELICITATION, member.name)
    });
    Ok(())
}

/// A field that the client cannot fill in and may not leave out.
fn required_choice_of_several(raw: &[u8], form: Span) -> Option<String> {
    let properties = get(raw, form, "properties")?;
    let required = get(raw, form, "required")?;
    elements(raw, required)
        .filter_map(|name| text(raw, name))
        .find(|name| get(raw, properties, name).is_some_and(|field| is_choice_of_several(raw, field)))
        .map(|name| name.into_owned())
}

fn is_choice_of_several(raw: &[u8], field: Span) -> bool {
    has_type(raw, field, "array")
}

fn has_type(raw: &[u8], field: Span, name: &str) -> bool {
    get(raw, field, "type").and_then(|at| text(raw, at)).as_deref() == Some(name)
}

fn schema(level: &mut Level<'_>, form: Span) {
    let raw = level.raw;
    let properties = get(raw, form, "properties");
    level.object(form, |level, member| {
        if properties == Some(member.value) {
            level.object(member.value, |level, field| {
                // The client leaves it out: nobody requires it.
                let is_known = !is_choice_of_several(raw, field.value);
                if is_known {
                    self::field(level, field.value);
                }
                is_known
            });
        }
        level.knows(SCHEMA, member.name)
    });
}

fn field(level: &mut Level<'_>, field: Span) {
    let raw = level.raw;
    let is_switch = has_type(raw, field, "boolean");
    level.object(field, |level, member| {
        if member.name == "oneOf"
            && let Some(choices) = choices(raw, member.value)
        {
            let at = Span {
                start: member.key.start,
                end: member.value.end,
            };
            level.put(at, choices);
            return true;
        }
        is_switch || level.knows(FIELD, member.name)
    });
}

/// `[{"const":"a","title":"A"}]` as `"enum":["a"],"enumNames":["A"]`; `None` if it is something else.
fn choices(raw: &[u8], one_of: Span) -> Option<Vec<u8>> {
    let mut values: Vec<&[u8]> = Vec::new();
    let mut names: Vec<&[u8]> = Vec::new();
    for choice in elements(raw, one_of) {
        let value = get(raw, choice, "const")?;
        values.push(value.of(raw));
        names.push(get(raw, choice, "title").unwrap_or(value).of(raw));
    }
    if values.is_empty() {
        return None;
    }
    let (values, names) = (values.join(&b","[..]), names.join(&b","[..]));
    Some([b"\"enum\":[", &values[..], b"],\"enumNames\":[", &names[..], b"]"].concat())
}
