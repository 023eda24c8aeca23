//! One measured promise, in the form that `axiom-bench promises --json` prints; its main.rs documents the fields.

use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) id: String,
    /// A number, or the text `not measured`.
    pub(crate) value: Value,
    #[serde(default)]
    pub(crate) unit: String,
    pub(crate) verdict: Verdict,
    #[serde(default)]
    pub(crate) detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// The goal is met.
    Goal,
    /// Only the gate is met.
    Gate,
    Missed,
    /// Could not be measured on this machine.
    Skipped,
}

impl Measured {
    /// `1.31 x nginx CPU: goal met (16.6 us, nginx 12.6 us)`: no date, so that an unchanged result changes nothing.
    pub(crate) fn result(&self) -> String {
        let value = match &self.value {
            Value::String(text) => text.clone(),
            Value::Number(number) => format!("{} {}", round(number), self.unit),
            other => other.to_string(),
        };
        let verdict = match self.verdict {
            Verdict::Goal => ": goal met",
            Verdict::Gate => ": gate met",
            Verdict::Missed => ": missed",
            Verdict::Skipped => "",
        };
        let detail = if self.detail.is_empty() {
            String::new()
        } else {
            format!(" ({})", self.detail)
        };
        // A bar or a line break would end the table's cell.
        format!("{}{verdict}{detail}", value.trim_end())
            .replace('|', "/")
            .replace(['\n', '\r'], " ")
    }
}

/// Three significant digits are more than the machine's noise leaves.
fn round(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(value) if value.abs() >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
        None => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &str) -> anyhow::Result<()> {
        assert_eq!(serde_json::from_str::<Measured>(line)?.result(), expected);
        Ok(())
    }

    #[test]
    fn a_line_of_the_bench_becomes_a_cell() -> anyhow::Result<()> {
        check(
            r#"{"id":"P1","value":1.3149,"unit":"x nginx CPU","goal":1.4,"gate":1.7,"verdict":"goal","detail":"16.6 | 12.6 us"}"#,
            "1.31 x nginx CPU: goal met (16.6 / 12.6 us)",
        )?;
        check(
            r#"{"id":"P4","value":"not measured","unit":"x","verdict":"skipped","detail":"no nginx here"}"#,
            "not measured (no nginx here)",
        )?;
        check(
            r#"{"id":"P9-rss","value":12,"unit":"MB","verdict":"missed"}"#,
            "12 MB: missed",
        )
    }
}
