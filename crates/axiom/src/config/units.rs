//! Durations and sizes as a person writes them.

use std::time::Duration;

/// `250ms`, `30s`, `5m`, `24h`, `7d`; parts may follow each other: `1h30m`.
///
/// # Errors
/// What to write instead.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const HELP: &str = "write a number and a unit: ms, s, m, h or d, like \"30s\"";
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(HELP.to_owned());
    }
    while !rest.is_empty() {
        let (number, unit, tail) = number_and_unit(rest).ok_or(HELP)?;
        let unit_ms: u64 = match unit {
            "ms" => 1,
            "s" | "sec" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(HELP.to_owned()),
        };
        let part = number.checked_mul(unit_ms).filter(|ms| *ms <= DURATION_MS_MAX);
        total += Duration::from_millis(part.ok_or("the longest duration is 10000d")?);
        rest = tail.trim_start();
    }
    if total > Duration::from_millis(DURATION_MS_MAX) {
        return Err("the longest duration is 10000d".to_owned());
    }
    Ok(total)
}

/// 10,000 days: far beyond use, far below where adding to a clock overflows.
const DURATION_MS_MAX: u64 = 10_000 * 86_400_000;

/// `512`, `64kB` (thousands), `4MiB` (of 1,024).
///
/// # Errors
/// What to write instead.
pub(crate) fn bytes(text: &str) -> Result<usize, String> {
    const HELP: &str = "write a number and a unit: B, kB, MB, GB (of 1000) or KiB, MiB, GiB (of 1024)";
    let (number, unit, tail) = match text.trim().parse() {
        Ok(number) => (number, "B", ""),
        Err(_) => number_and_unit(text.trim()).ok_or(HELP)?,
    };
    let unit_bytes: u64 = match unit.to_ascii_lowercase().as_str() {
        "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return Err(HELP.to_owned()),
    };
    if !tail.is_empty() {
        return Err(HELP.to_owned());
    }
    let total = number
        .checked_mul(unit_bytes)
        .and_then(|total| usize::try_from(total).ok());
    total.ok_or_else(|| "this is more than the machine can address".to_owned())
}

/// Splits `30s rest` into 30, `s` and ` rest`.
fn number_and_unit(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, rest) = text.split_at_checked(digits)?;
    let rest = rest.trim_start();
    let letters = rest
        .find(|c: char| !c.is_ascii_alphabetic())
        .unwrap_or(rest.len());
    let (unit, tail) = rest.split_at_checked(letters)?;
    Some((number.parse().ok()?, unit, tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let seconds = |text| duration(text).map(|duration| duration.as_secs_f64());
        assert_eq!(seconds("30s"), Ok(30.0));
        assert_eq!(seconds("250ms"), Ok(0.25));
        assert_eq!(seconds("1h30m"), Ok(5400.0));
        assert_eq!(seconds(" 5 m "), Ok(300.0));
        assert_eq!(seconds("0s"), Ok(0.0));
        for bad in [
            "",
            "s",
            "30",
            "30 parsecs",
            "-5s",
            "1.5s",
            "99999999999999999999s",
            "10001d",
            "9999d9999d",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(bytes("512"), Ok(512));
        assert_eq!(bytes("4MB"), Ok(4_000_000));
        assert_eq!(bytes("4 MiB"), Ok(4 << 20));
        assert_eq!(bytes("64kb"), Ok(64_000));
        for bad in ["", "MB", "4 MB MB", "4 bananas", "-1", "99999999999GiB"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }
}
