//! What a model gives a tool, and what it is told when it got something wrong.

use std::str::FromStr;

use serde_json::{Map, Value as Json};

use crate::config::did_you_mean;
use crate::events::Place;

/// Why a call cannot be answered, in words that help the model to make a better one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Complaint(pub(crate) String);

impl Complaint {
    pub(crate) fn new(text: impl Into<String>) -> Complaint {
        Complaint(text.into())
    }
}

/// The arguments of one call, each asked for by its name.
pub(crate) struct Arguments<'a>(Option<&'a Map<String, Json>>);

impl<'a> Arguments<'a> {
    /// # Errors
    /// A name that the tool does not know.
    pub(crate) fn of(params: &'a Json, known: &[&str]) -> Result<Arguments<'a>, Complaint> {
        let arguments = match params.get("arguments") {
            None | Some(Json::Null) => None,
            Some(Json::Object(arguments)) => Some(arguments),
            Some(_) => return Err(Complaint::new("`arguments` must be an object")),
        };
        let unknown = arguments
            .into_iter()
            .flat_map(Map::keys)
            .find(|key| !known.contains(&key.as_str()));
        match unknown {
            None => Ok(Arguments(arguments)),
            Some(key) => {
                let hint = did_you_mean(key, known)
                    .unwrap_or_else(|| format!("the arguments are {}", known.join(", ")));
                Err(Complaint::new(format!("there is no argument `{key}`; {hint}")))
            }
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'a Json> {
        self.0?.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn flag(&self, name: &str, usual: bool) -> Result<bool, Complaint> {
        self.get(name).map_or(Ok(usual), |value| {
            value
                .as_bool()
                .ok_or_else(|| must_be(name, "true or false", value))
        })
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<&'a str>, Complaint> {
        self.get(name)
            .map(|value| value.as_str().ok_or_else(|| must_be(name, "a string", value)))
            .transpose()
    }

    /// A text that means something.
    pub(crate) fn parsed<T>(&self, name: &str) -> Result<Option<T>, Complaint>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        let parse = |text: &str| {
            text.parse()
                .map_err(|error: T::Err| Complaint(format!("`{name}`: {error}")))
        };
        self.text(name)?.map(parse).transpose()
    }

    /// A number from 1 to `max`.
    pub(crate) fn count(&self, name: &str, usual: usize, max: usize) -> Result<usize, Complaint> {
        let Some(value) = self.get(name) else {
            return Ok(usual);
        };
        let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
        number
            .filter(|number| (1..=max).contains(number))
            .ok_or_else(|| must_be(name, &format!("an integer from 1 to {max}"), value))
    }

    pub(crate) fn offset(&self, name: &str) -> Result<Option<u64>, Complaint> {
        let read = |value: &Json| {
            let number = value
                .as_u64()
                .or_else(|| value.as_str().and_then(|text| text.parse().ok()));
            number.ok_or_else(|| must_be(name, "an offset, like 1234", value))
        };
        self.get(name).map(read).transpose()
    }

    /// An offset, or a time in any of the forms that the command line knows.
    pub(crate) fn place(&self, name: &str) -> Result<Option<Place>, Complaint> {
        match self.get(name) {
            Some(Json::Number(_)) => Ok(self.offset(name)?.map(Place::Offset)),
            _ => self.parsed(name),
        }
    }
}

pub(crate) fn must_be(name: &str, what: &str, value: &Json) -> Complaint {
    let said: String = value.to_string().chars().take(80).collect();
    Complaint(format!("`{name}` must be {what}, not {said}"))
}
