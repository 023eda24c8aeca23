//! Times as people write and read them, in UTC.

use std::str::FromStr;

use axiom_core::time::unix_nanos;

use crate::config::units;

/// A place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Offset(u64),
    /// Nanoseconds since 1970.
    Time(i64),
}

const SECOND: i64 = 1_000_000_000;
const DAY_SECONDS: i64 = 86_400;

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Place, &'static str> {
        if let Ok(offset) = text.parse() {
            return Ok(Place::Offset(offset));
        }
        if let Ok(ago) = units::duration(text) {
            let ago = i64::try_from(ago.as_nanos()).unwrap_or(i64::MAX);
            return Ok(Place::Time(unix_nanos().saturating_sub(ago)));
        }
        parse(text)
            .map(Place::Time)
            .ok_or("write an offset, a time in UTC like 2026-07-28T09:00:00Z, or how long ago, like 10m")
    }
}

/// `2026-07-28T09:00:00.123456789Z`.
pub(crate) fn full(time: i64) -> String {
    let (date, clock) = halves(time);
    format!("{date}T{clock}.{:09}Z", time.rem_euclid(SECOND))
}

/// `2026-07-28 09:00:00.123`.
pub(crate) fn short(time: i64) -> String {
    let (date, clock) = halves(time);
    format!("{date} {clock}.{:03}", time.rem_euclid(SECOND) / 1_000_000)
}

fn halves(time: i64) -> (String, String) {
    let seconds = time.div_euclid(SECOND);
    let (year, month, day) = date_of(seconds.div_euclid(DAY_SECONDS));
    let clock = seconds.rem_euclid(DAY_SECONDS);
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    (
        format!("{year:04}-{month:02}-{day:02}"),
        format!("{hour:02}:{minute:02}:{second:02}"),
    )
}

/// A date, and a time with `T` or a space in front; seconds, their fraction and `Z` may be left out.
fn parse(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, clock) = match text.split_once(['T', ' ']) {
        Some((date, clock)) => (date, clock),
        None => (text, "00:00"),
    };
    let mut numbers = date.split('-').map(|number| number.parse::<i64>().ok());
    let (year, month, day) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let is_date = numbers.next().is_none() && (1970..=2261).contains(&year) && (1..=12).contains(&month);
    let days = days_of(year, month, day);
    // The thirtieth of February is a day in March.
    if !is_date || date_of(days) != (year, month, day) {
        return None;
    }
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut numbers = clock.split(':').map(|number| number.parse::<i64>().ok());
    let (hour, minute) = (numbers.next()??, numbers.next()??);
    let second = numbers.next().unwrap_or(Some(0))?;
    let in_range = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..60).contains(&second);
    if !in_range || numbers.next().is_some() || fraction.len() > 9 {
        return None;
    }
    let nanos: i64 = format!("{fraction:0<9}").parse().ok()?;
    let seconds = days * DAY_SECONDS + hour * 3600 + minute * 60 + second;
    seconds.checked_mul(SECOND)?.checked_add(nanos)
}

/// The date of a day since 1970, in the Gregorian calendar. Years are counted from March, so that a leap day is the last.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The day since 1970 of a date.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        for (nanos, text) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00.000000000Z"),
            (1_785_229_200_123_456_789, "2026-07-28T09:00:00.123456789Z"),
            (4_107_542_399_000_000_000, "2100-02-28T23:59:59.000000000Z"),
        ] {
            assert_eq!(full(nanos), text);
            assert_eq!(parse(text), Some(nanos));
        }
        assert_eq!(parse("2026-07-28"), Some(1_785_196_800_000_000_000));
        assert_eq!(parse("2026-07-28 09:00"), Some(1_785_229_200_000_000_000));
        for day in 0..80_000 {
            let (year, month, date) = date_of(day);
            assert_eq!(days_of(year, month, date), day);
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "yesterday",
            "2026-02-30",
            "2026-13-01",
            "2026-07-28T24:00",
            "2026-07-28T09",
            "-1",
        ] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
        assert_eq!("17".parse(), Ok(Place::Offset(17)));
        let ago = "10m".parse::<Place>();
        assert!(matches!(ago, Ok(Place::Time(time)) if time < unix_nanos() - 599 * SECOND));
    }
}
