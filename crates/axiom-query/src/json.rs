//! JSON within texts: `json_get_str(text, 'key', 0, ...)` and its like, and the operators `->` and `->>`.
//!
//! A path is keys and places in lists. A text is walked once, up to its end: what is not on the path is skipped and no
//! value is made of it. What is not there, is of another type, or is no JSON gives null.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StringViewBuilder};
use arrow::array::{BooleanArray, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::sqlparser::ast::BinaryOperator;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// What is made of the value at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Making {
    /// A text's characters.
    Str,
    Int,
    Float,
    Bool,
    /// The value's own JSON.
    Json,
    /// A text's characters, or of anything else its JSON; null of null.
    Text,
    /// Of a list or an object: how many.
    Length,
}

const ALL: [Making; 7] = [
    Making::Str,
    Making::Int,
    Making::Float,
    Making::Bool,
    Making::Json,
    Making::Text,
    Making::Length,
];

pub(crate) fn functions() -> impl Iterator<Item = ScalarUDF> {
    ALL.into_iter().map(function)
}

fn function(making: Making) -> ScalarUDF {
    ScalarUDF::from(Get {
        making,
        signature: Signature::variadic_any(Volatility::Immutable),
    })
}

/// `text -> 'key'` and `text ->> 'key'`.
#[derive(Debug)]
pub(crate) struct Arrows;

impl ExprPlanner for Arrows {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        _schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let making = match &expr.op {
            BinaryOperator::Arrow => Making::Json,
            BinaryOperator::LongArrow => Making::Text,
            _ => return Ok(PlannerResult::Original(expr)),
        };
        Ok(PlannerResult::Planned(Expr::ScalarFunction(ScalarFunction {
            func: Arc::new(function(making)),
            args: vec![expr.left, expr.right],
        })))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Get {
    making: Making,
    signature: Signature,
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    Key(String),
    /// From 0; a negative one counts from the end.
    Place(i64),
}

impl ScalarUDFImpl for Get {
    fn name(&self) -> &str {
        match self.making {
            Making::Str => "json_get_str",
            Making::Int => "json_get_int",
            Making::Float => "json_get_float",
            Making::Bool => "json_get_bool",
            Making::Json => "json_get_json",
            Making::Text => "json_as_text",
            Making::Length => "json_length",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        let is_text = |kind: &DataType| {
            matches!(
                kind,
                DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null
            )
        };
        if !arguments.first().is_some_and(is_text) {
            return plan_err!(
                "{} takes a text and the keys that lead to a value in it",
                self.name()
            );
        }
        if let Some(wrong) = arguments
            .iter()
            .skip(1)
            .find(|kind| !is_text(kind) && !kind.is_integer())
        {
            return plan_err!("{} takes keys and places in lists, not {wrong}", self.name());
        }
        Ok(match self.making {
            Making::Str | Making::Json | Making::Text => DataType::Utf8View,
            Making::Int | Making::Length => DataType::Int64,
            Making::Float => DataType::Float64,
            Making::Bool => DataType::Boolean,
        })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let Some((texts, steps)) = arrays.split_first() else {
            return plan_err!("{} takes a text", self.name());
        };
        let texts = cast(texts, &DataType::Utf8View)?;
        let texts = texts.as_string_view();
        let steps = steps.iter().map(Steps::new).collect::<Result<Vec<_>>>()?;
        let found = (0..texts.len()).map(|row| {
            let mut path = Vec::with_capacity(steps.len());
            for steps in &steps {
                path.push(steps.at(row)?);
            }
            find(texts.is_valid(row).then(|| texts.value(row))?, &path)
        });
        Ok(ColumnarValue::Array(self.making.array(found)))
    }
}

/// A path's steps at one depth, for each row.
enum Steps {
    Keys(StringViewArray),
    Places(Int64Array),
}

impl Steps {
    fn new(array: &ArrayRef) -> Result<Steps> {
        Ok(if array.data_type().is_integer() {
            Steps::Places(cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
        } else {
            Steps::Keys(cast(array, &DataType::Utf8View)?.as_string_view().clone())
        })
    }

    fn at(&self, row: usize) -> Option<Step> {
        match self {
            Steps::Keys(keys) => keys.is_valid(row).then(|| Step::Key(keys.value(row).to_owned())),
            Steps::Places(places) => places.is_valid(row).then(|| Step::Place(places.value(row))),
        }
    }
}

impl Making {
    fn array<'a>(self, found: impl Iterator<Item = Option<&'a RawValue>>) -> ArrayRef {
        let parsed =
            |value: Option<&'a RawValue>| serde_json::from_str::<serde_json::Value>(value?.get()).ok();
        match self {
            Making::Int => Arc::new(
                found
                    .map(|value| value?.get().parse().ok())
                    .collect::<Int64Array>(),
            ),
            Making::Float => Arc::new(
                found
                    .map(|value| parsed(value)?.as_f64())
                    .collect::<Float64Array>(),
            ),
            Making::Bool => Arc::new(
                found
                    .map(|value| value?.get().parse().ok())
                    .collect::<BooleanArray>(),
            ),
            Making::Length => {
                let lengths = found.map(|value| {
                    let length = match parsed(value)? {
                        serde_json::Value::Array(list) => list.len(),
                        serde_json::Value::Object(members) => members.len(),
                        _ => return None,
                    };
                    i64::try_from(length).ok()
                });
                Arc::new(lengths.collect::<Int64Array>())
            }
            Making::Str | Making::Json | Making::Text => {
                let mut builder = StringViewBuilder::new();
                for value in found {
                    match value.map(RawValue::get) {
                        Some(json) if self != Making::Json && json.starts_with('"') => {
                            builder.append_option(serde_json::from_str::<String>(json).ok());
                        }
                        Some(json) if self == Making::Json || (self == Making::Text && json != "null") => {
                            builder.append_value(json);
                        }
                        _ => builder.append_null(),
                    }
                }
                Arc::new(builder.finish())
            }
        }
    }
}

/// The value at a path in a text. Of a key that is there twice the last value counts, as with most readers of JSON.
fn find<'a>(text: &'a str, path: &[Step]) -> Option<&'a RawValue> {
    let mut value: &RawValue = serde_json::from_str(text).ok()?;
    for step in path {
        let mut within = serde_json::Deserializer::from_str(value.get());
        value = Walk(step).deserialize(&mut within).ok()??;
    }
    Some(value)
}

/// Looks for one step in an object or a list.
struct Walk<'s>(&'s Step);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = members.next_key::<Key<'de>>()? {
            if matches!(self.0, Step::Key(wanted) if *wanted == key.0) {
                found = Some(members.next_value()?);
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut all: Vec<&'de RawValue> = Vec::new();
        while let Some(item) = items.next_element()? {
            all.push(item);
        }
        let Step::Place(place) = self.0 else {
            return Ok(None);
        };
        let place = if *place < 0 {
            usize::try_from(place.unsigned_abs())
                .ok()
                .and_then(|back| all.len().checked_sub(back))
        } else {
            usize::try_from(*place).ok()
        };
        Ok(place.and_then(|place| all.get(place).copied()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// A member's name, borrowed where it has no escapes.
struct Key<'a>(std::borrow::Cow<'a, str>);

impl<'de> de::Deserialize<'de> for Key<'de> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrow;
        impl<'de> Visitor<'de> for Borrow {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member's name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(name.into()))
            }

            fn visit_str<E>(self, name: &str) -> Result<Key<'de>, E> {
                Ok(Key(name.to_owned().into()))
            }
        }
        deserializer.deserialize_str(Borrow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, path: &[Step]) -> Option<String> {
        find(text, path).map(|value| value.get().to_owned())
    }

    #[test]
    fn values_are_found_by_their_path_and_nothing_else_is() {
        let key = |key: &str| Step::Key(key.to_owned());
        let text = r#"{"a": {"b": [1, "two", {"c": null}]}, "a\"x": 2.50, "twice": 1, "twice": 2}"#;
        for (path, expected) in [
            (vec![], Some(text)),
            (vec![key("a"), key("b"), Step::Place(1)], Some("\"two\"")),
            (vec![key("a"), key("b"), Step::Place(-1), key("c")], Some("null")),
            (vec![key("a"), key("b"), Step::Place(3)], None),
            (vec![key("a"), key("b"), Step::Place(-4)], None),
            (vec![key("a\"x")], Some("2.50")),
            (vec![key("twice")], Some("2")),
            (vec![key("b")], None),
            (vec![key("a\"x"), key("b")], None),
            (vec![Step::Place(0)], None),
        ] {
            assert_eq!(at(text, &path).as_deref(), expected, "{path:?}");
        }
        for no_json in ["", "{", "text", "{\"a\": 1} x", "nul"] {
            assert_eq!(at(no_json, &[key("a")]), None, "{no_json}");
        }
    }
}
