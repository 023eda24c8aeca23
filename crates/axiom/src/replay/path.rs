//! Places in a JSON value, as a person names those that do not matter: `$.content[0].text`, `$.content[*].id`,
//! `$..timestamp`.

use std::str::FromStr;

/// A place, or a pattern for places. What is inside of one is meant too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Key(String),
    Index(usize),
    /// Any member or item.
    Any,
    /// Any number of steps, none too.
    Deep,
}

/// Why a text names no place.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{rest}` in `{path}` is no step: write .name, [\"name\"], [0], [*] or ..name")]
pub struct BadPath {
    path: String,
    rest: String,
}

/// A step into a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

impl FromStr for Ignored {
    type Err = BadPath;

    fn from_str(path: &str) -> Result<Ignored, BadPath> {
        let mut rest = path.strip_prefix('$').unwrap_or(path);
        let mut parts = Vec::new();
        // `content[0]` is what one writes who does not know the dollar.
        let dotted;
        if !rest.is_empty() && !rest.starts_with(['.', '[']) {
            dotted = format!(".{rest}");
            rest = &dotted;
        }
        while !rest.is_empty() {
            rest = step(rest, &mut parts).ok_or_else(|| BadPath {
                path: path.to_owned(),
                rest: rest.to_owned(),
            })?;
        }
        Ok(Ignored(parts))
    }
}

/// Reads one step and gives what is behind it.
fn step<'a>(text: &'a str, parts: &mut Vec<Part>) -> Option<&'a str> {
    if let Some(after) = text.strip_prefix("..") {
        parts.push(Part::Deep);
        return if after.starts_with('[') {
            Some(after)
        } else {
            name(after, parts)
        };
    }
    if let Some(after) = text.strip_prefix('.') {
        return name(after, parts);
    }
    let inside = text.strip_prefix('[')?;
    if let Some(quote) = inside.chars().next().filter(|char| matches!(char, '"' | '\'')) {
        let (key, after) = inside.strip_prefix(quote)?.split_once(quote)?;
        parts.push(Part::Key(key.to_owned()));
        return after.strip_prefix(']');
    }
    let (index, after) = inside.split_once(']')?;
    parts.push(match index {
        "*" => Part::Any,
        index => Part::Index(index.parse().ok()?),
    });
    Some(after)
}

fn name<'a>(text: &'a str, parts: &mut Vec<Part>) -> Option<&'a str> {
    let end = text.find(['.', '[']).unwrap_or(text.len());
    let (name, after) = text.split_at(end);
    parts.push(match name {
        "" => return None,
        "*" => Part::Any,
        name => Part::Key(name.to_owned()),
    });
    Some(after)
}

impl Ignored {
    pub(super) fn is(&self, at: &[Step]) -> bool {
        fits(&self.0, at)
    }
}

fn fits(parts: &[Part], at: &[Step]) -> bool {
    match (parts.split_first(), at.split_first()) {
        (None, None) => true,
        (Some((Part::Deep, others)), here) => {
            fits(others, at) || here.is_some_and(|(_, deeper)| fits(parts, deeper))
        }
        (Some((part, others)), Some((step, deeper))) => {
            let is_here = match (part, step) {
                (Part::Any, _) => true,
                (Part::Key(wanted), Step::Key(key)) => wanted == key,
                (Part::Index(wanted), Step::Index(index)) => wanted == index,
                _ => false,
            };
            is_here && fits(others, deeper)
        }
        _ => false,
    }
}

/// `$.content[0].text`.
pub(super) fn shown(at: &[Step]) -> String {
    let is_word = |key: &str| {
        !key.is_empty()
            && key
                .chars()
                .all(|char| char.is_alphanumeric() || matches!(char, '_' | '-'))
    };
    let mut path = "$".to_owned();
    for step in at {
        match step {
            Step::Key(key) if is_word(key) => path.push_str(&format!(".{key}")),
            Step::Key(key) => path.push_str(&format!("[{}]", serde_json::Value::from(key.as_str()))),
            Step::Index(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: &str) -> Step {
        Step::Key(key.to_owned())
    }

    #[test]
    fn a_pattern_fits_its_places_and_no_others() {
        let place = [key("content"), Step::Index(0), key("text")];
        for pattern in [
            "$.content[0].text",
            "content[0].text",
            "$[\"content\"][*].text",
            "$..text",
            "$..*",
            "$.*[*]['text']",
        ] {
            assert!(pattern.parse::<Ignored>().unwrap().is(&place), "{pattern}");
        }
        for pattern in [
            "$",
            "$.content",
            "$.content[1].text",
            "$.content[0]",
            "$..data",
            "$.text",
        ] {
            assert!(!pattern.parse::<Ignored>().unwrap().is(&place), "{pattern}");
        }
        assert_eq!(shown(&place), "$.content[0].text");
        assert_eq!(shown(&[key("a b"), key("")]), "$[\"a b\"][\"\"]");
    }

    #[test]
    fn what_is_no_path_is_explained() {
        let said = "$.a[x]".parse::<Ignored>().unwrap_err().to_string();
        assert_eq!(
            said,
            "`[x]` in `$.a[x]` is no step: write .name, [\"name\"], [0], [*] or ..name"
        );
        for path in ["$.", "$.a[", "$[", "$..", "$.a..", "$[\"a\"x"] {
            assert!(path.parse::<Ignored>().is_err(), "{path}");
        }
    }
}
