//! A rate as people write it: `100/s`, `20/m`, `5000/h`, `10/15s`.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

/// At most so many in any span of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    count: NonZeroU32,
    span_s: NonZeroU32,
}

/// The longest span: a day. What is to last longer must outlive the process, which a limiter does not.
const SPAN_S_MAX: u32 = 24 * 3600;

/// Why a text is no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no rate: write a number of at least 1, a slash and a span of at most a day, like 100/s, 20/m, 5000/h or 10/15s"
)]
pub struct NoRate(pub String);

impl Rate {
    /// `None` for nothing at all, which is no rate but a refusal, and for a span that is none or longer than a day.
    pub fn new(count: u32, span_s: u32) -> Option<Rate> {
        let (count, span_s) = (NonZeroU32::new(count)?, NonZeroU32::new(span_s)?);
        (span_s.get() <= SPAN_S_MAX).then_some(Rate { count, span_s })
    }

    pub fn count(self) -> u32 {
        self.count.get()
    }

    pub fn span(self) -> Duration {
        Duration::from_secs(u64::from(self.span_s.get()))
    }
}

impl FromStr for Rate {
    type Err = NoRate;

    fn from_str(text: &str) -> Result<Rate, NoRate> {
        let parsed = || {
            let (count, span) = text.split_once('/')?;
            let at = span.len().checked_sub(1)?;
            let (number, unit) = span.split_at_checked(at)?;
            let unit_s: u32 = match unit {
                "s" => 1,
                "m" => 60,
                "h" => 3600,
                "d" => SPAN_S_MAX,
                _ => return None,
            };
            let times = match number {
                "" => 1,
                number => plain(number)?,
            };
            Rate::new(plain(count)?, unit_s.checked_mul(times)?)
        };
        parsed().ok_or_else(|| NoRate(text.to_owned()))
    }
}

/// A number without sign or spaces.
fn plain(text: &str) -> Option<u32> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok())?
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(SPAN_S_MAX, "d"), (3600, "h"), (60, "m"), (1, "s")];
        let span_s = self.span_s.get();
        let largest = units
            .into_iter()
            .find(|(unit_s, _)| span_s.is_multiple_of(*unit_s));
        let (unit_s, unit) = largest.unwrap_or((1, "s"));
        match span_s / unit_s {
            1 => write!(f, "{}/{unit}", self.count),
            times => write!(f, "{}/{times}{unit}", self.count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_they_are_written() {
        for (text, count, span_s) in [
            ("100/s", 100, 1),
            ("20/m", 20, 60),
            ("5000/h", 5000, 3600),
            ("1/d", 1, 86_400),
            ("10/15s", 10, 15),
            ("4294967295/90m", u32::MAX, 5400),
        ] {
            let rate: Rate = text.parse().expect("it is one");
            assert_eq!((rate.count(), rate.span()), (count, Duration::from_secs(span_s)));
            assert_eq!(rate.to_string(), text);
        }
        // The shortest way to say it.
        let rate: Rate = "7/120s".parse().expect("it is one");
        assert_eq!(rate.to_string(), "7/2m");
        for text in [
            "",
            "/",
            "/s",
            "1/",
            "1",
            "0/s",
            "1/0s",
            "-1/s",
            "+1/s",
            "1 /s",
            "1/ s",
            "1/w",
            "1/2d",
            "1/25h",
            "1/é",
            "4294967296/s",
            "1/99999999999s",
            "1.5/s",
            "1/s/s",
        ] {
            let error = text.parse::<Rate>().expect_err(text);
            assert!(error.to_string().contains("100/s"), "{error}");
        }
    }
}
