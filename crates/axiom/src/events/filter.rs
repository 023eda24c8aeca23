//! Which events are wanted: `kind=gateway.call level>=warn server=demo`. All conditions must hold.

use std::str::FromStr;

use axiom_events::{Event, Format, Level};
use serde_json::Value as Json;

use crate::config::did_you_mean;

/// Conditions on an event. Without any, every event is wanted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    conditions: Vec<Condition>,
}

/// Why a filter cannot be understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadFilter {
    #[error("`{condition}` is no condition: write FIELD=VALUE, like server=demo or level>=warn")]
    NoCondition { condition: String },
    #[error("`{field}` is no field of an event{}", hint.as_deref().map(|hint| format!("; {hint}")).unwrap_or_default())]
    UnknownField { field: String, hint: Option<String> },
    #[error("`{value}` is no level: write trace, debug, info, warn, error or critical")]
    UnknownLevel { value: String },
    #[error("`{field}` is compared with a number, not with `{value}`")]
    NoNumber { field: String, value: String },
    #[error("`{field}` has no order: compare it with = or !=")]
    NoOrder { field: String },
}

#[derive(Debug, Clone, PartialEq)]
enum Condition {
    Level(Comparison, Level),
    /// A word of the event itself.
    Word(Field, Equal, Pattern),
    /// A word of a JSON body.
    BodyWord(&'static str, Equal, Pattern),
    BodyNumber(&'static str, Comparison, f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Kind,
    Stream,
    Task,
    Tenant,
    Trace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Equal {
    Yes,
    No,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    AtLeast,
    AtMost,
    Above,
    Below,
}

/// A word, or the beginning of one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    text: String,
    is_prefix: bool,
}

const OWN: &[(&str, Field)] = &[
    ("kind", Field::Kind),
    ("stream", Field::Stream),
    ("task", Field::Task),
    ("tenant", Field::Tenant),
    ("trace", Field::Trace),
];
const BODY_WORDS: &[&str] = &[
    "server",
    "method",
    "name",
    "outcome",
    "endpoint",
    "transport",
    "session",
    "state",
    "replay_of",
];
const BODY_NUMBERS: &[&str] = &["duration_us", "request_bytes", "response_bytes", "code"];
/// The longer ones first.
const OPERATORS: &[(&str, Comparison)] = &[
    ("!=", Comparison::NotEqual),
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    ("=", Comparison::Equal),
    (">", Comparison::Above),
    ("<", Comparison::Below),
];

impl FromStr for Filter {
    type Err = BadFilter;

    fn from_str(text: &str) -> Result<Filter, BadFilter> {
        let conditions = text.split_whitespace().map(condition).collect::<Result<_, _>>()?;
        Ok(Filter { conditions })
    }
}

fn condition(text: &str) -> Result<Condition, BadFilter> {
    let no_condition = || BadFilter::NoCondition {
        condition: text.to_owned(),
    };
    let at = text.find(['=', '!', '<', '>']).filter(|at| *at > 0);
    let (field, rest) = text.split_at(at.ok_or_else(no_condition)?);
    let found = OPERATORS
        .iter()
        .find_map(|(sign, comparison)| Some((*comparison, rest.strip_prefix(sign)?)));
    let (comparison, value) = found.ok_or_else(no_condition)?;
    if field == "level" {
        let unknown = |()| BadFilter::UnknownLevel {
            value: value.to_owned(),
        };
        return Ok(Condition::Level(comparison, value.parse().map_err(unknown)?));
    }
    if let Some(name) = BODY_NUMBERS.iter().find(|name| **name == field) {
        let number = value.parse().map_err(|_| BadFilter::NoNumber {
            field: field.to_owned(),
            value: value.to_owned(),
        })?;
        return Ok(Condition::BodyNumber(name, comparison, number));
    }
    let equal = match comparison {
        Comparison::Equal => Ok(Equal::Yes),
        Comparison::NotEqual => Ok(Equal::No),
        _ => Err(BadFilter::NoOrder {
            field: field.to_owned(),
        }),
    };
    if let Some((_, own)) = OWN.iter().find(|(name, _)| *name == field) {
        return Ok(Condition::Word(*own, equal?, Pattern::new(value)));
    }
    if let Some(name) = BODY_WORDS.iter().find(|name| **name == field) {
        return Ok(Condition::BodyWord(name, equal?, Pattern::new(value)));
    }
    Err(unknown(field))
}

fn unknown(field: &str) -> BadFilter {
    let own = OWN.iter().map(|(name, _)| *name);
    let known: Vec<&str> = own
        .chain(["level"])
        .chain(BODY_WORDS.iter().copied())
        .chain(BODY_NUMBERS.iter().copied())
        .collect();
    let hint = did_you_mean(field, &known).unwrap_or_else(|| format!("there are {}", known.join(", ")));
    BadFilter::UnknownField {
        field: field.to_owned(),
        hint: Some(hint),
    }
}

impl Filter {
    /// Whether it says of which streams or kinds events must be.
    pub(crate) fn names_streams(&self) -> bool {
        let names = |condition: &Condition| {
            matches!(
                condition,
                Condition::Word(Field::Stream | Field::Kind, Equal::Yes, _)
            )
        };
        self.conditions.iter().any(names)
    }

    /// Whether the event is wanted.
    pub fn wants(&self, event: &Event<'_>) -> bool {
        // Read for the first condition that needs it.
        let mut body = None;
        self.conditions
            .iter()
            .all(|condition| condition.holds(event, &mut body))
    }
}

impl Condition {
    fn holds(&self, event: &Event<'_>, body: &mut Option<Json>) -> bool {
        match self {
            Condition::Level(comparison, level) => comparison.holds(event.level.cmp(level)),
            Condition::Word(field, equal, pattern) => {
                let trace;
                let word = match field {
                    Field::Kind => event.kind,
                    Field::Stream => event.stream,
                    Field::Task => event.task,
                    Field::Tenant => event.tenant,
                    Field::Trace => {
                        trace = event.trace.map(|trace| trace.to_string());
                        trace.as_deref().unwrap_or_default()
                    }
                };
                pattern.fits(word) == (*equal == Equal::Yes)
            }
            Condition::BodyWord(name, equal, pattern) => {
                let word = read(event, body).get(name).and_then(Json::as_str);
                word.is_some_and(|word| pattern.fits(word)) == (*equal == Equal::Yes)
            }
            Condition::BodyNumber(name, comparison, number) => {
                let found = read(event, body).get(name).and_then(Json::as_f64);
                let order = found.and_then(|found| found.partial_cmp(number));
                order.is_some_and(|order| comparison.holds(order))
            }
        }
    }
}

/// The body, read once.
fn read<'b>(event: &Event<'_>, body: &'b mut Option<Json>) -> &'b Json {
    body.get_or_insert_with(|| match event.format {
        Format::Json => serde_json::from_slice(event.body).unwrap_or_default(),
        Format::Text | Format::Binary => Json::Null,
    })
}

impl Pattern {
    fn new(value: &str) -> Pattern {
        let prefix = value.strip_suffix('*');
        Pattern {
            text: prefix.unwrap_or(value).to_owned(),
            is_prefix: prefix.is_some(),
        }
    }

    fn fits(&self, word: &str) -> bool {
        if self.is_prefix {
            word.starts_with(&self.text)
        } else {
            word == self.text
        }
    }
}

impl Comparison {
    fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Comparison::Equal => order.is_eq(),
            Comparison::NotEqual => order.is_ne(),
            Comparison::AtLeast => order.is_ge(),
            Comparison::AtMost => order.is_le(),
            Comparison::Above => order.is_gt(),
            Comparison::Below => order.is_lt(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(filter: &str, expected: bool) {
        let event = Event {
            stream: "gateway.demo",
            task: "t1",
            kind: "gateway.call",
            level: Level::Warn,
            format: Format::Json,
            body: br#"{"server":"demo","outcome":"tool_error","duration_us":1500,"code":-32602}"#,
            ..Event::default()
        };
        let parsed: Filter = filter.parse().unwrap();
        assert_eq!(parsed.wants(&event), expected, "{filter}");
    }

    #[test]
    fn conditions_hold_or_do_not() {
        for filter in [
            "",
            "kind=gateway.call",
            "kind=gateway.*",
            "level>=warn level<error level=warn level!=info",
            "server=demo outcome!=result",
            "duration_us>=1500 duration_us<2000 code=-32602",
            "stream=gateway.demo task=t1 tenant=",
            "method!=tools/call",
        ] {
            check(filter, true);
        }
        for filter in [
            "kind=gateway",
            "level>warn",
            "server=other",
            "server=demo outcome=result",
            "duration_us>1500",
            "method=tools/call",
            "response_bytes>=0",
            "trace=0",
        ] {
            check(filter, false);
        }
    }

    #[test]
    fn what_is_no_filter_is_explained() {
        for (filter, said) in [
            (
                "demo",
                "`demo` is no condition: write FIELD=VALUE, like server=demo or level>=warn",
            ),
            (
                "=x",
                "`=x` is no condition: write FIELD=VALUE, like server=demo or level>=warn",
            ),
            (
                "a!b",
                "`a!b` is no condition: write FIELD=VALUE, like server=demo or level>=warn",
            ),
            (
                "sever=x",
                "`sever` is no field of an event; did you mean `server`?",
            ),
            (
                "level=loud",
                "`loud` is no level: write trace, debug, info, warn, error or critical",
            ),
            ("code=x", "`code` is compared with a number, not with `x`"),
            ("server>=x", "`server` has no order: compare it with = or !="),
        ] {
            assert_eq!(filter.parse::<Filter>().unwrap_err().to_string(), said);
        }
    }
}
