//! Comparing numbers as numbers, exactly: `42.0`, `42` and `4.2e1` are one, and no digit of a long one is lost.

/// A JSON number taken apart. Its value is the digits as an integer, times ten to the `exponent`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decimal<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

impl<'a> Decimal<'a> {
    /// Exactly the grammar of JSON: no `+`, no leading zero, no bare point.
    pub(crate) fn parse(number: &'a [u8]) -> Option<Self> {
        let (negative, rest) = match number.strip_prefix(b"-") {
            Some(rest) => (true, rest),
            None => (false, number),
        };
        let (whole, rest) = digits(rest)?;
        if whole.len() > 1 && whole[0] == b'0' {
            return None;
        }
        let (fraction, rest) = match rest.strip_prefix(b".") {
            Some(rest) => digits(rest)?,
            None => (&[][..], rest),
        };
        let exponent = match rest.split_first() {
            None => 0,
            Some((b'e' | b'E', power)) => {
                let digits = power
                    .strip_prefix(b"+")
                    .or(power.strip_prefix(b"-"))
                    .unwrap_or(power);
                if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                    return None;
                }
                // A power beyond 32 bits is no number that a tool can mean.
                i64::from(std::str::from_utf8(power).ok()?.parse::<i32>().ok()?)
            }
            Some(_) => return None,
        };
        Some(Self {
            negative,
            whole,
            fraction,
            exponent,
        })
    }

    pub(crate) fn equals(&self, other: &Self) -> bool {
        let zero = self.significant().next().is_none();
        if zero || other.significant().next().is_none() {
            return zero && other.significant().next().is_none();
        }
        self.negative == other.negative
            && self.power() == other.power()
            && self.significant().eq(other.significant())
    }

    /// Whether a double holds it exactly as an integer, by JavaScript's definition; what is no integer counts as safe.
    pub(crate) fn is_safe(&self) -> bool {
        const SAFE_MAX: u64 = (1 << 53) - 1;
        if self.power() < 0 {
            return true;
        }
        self.to_integer()
            .and_then(|integer| integer.trim_start_matches('-').parse::<u64>().ok())
            .is_some_and(|integer| integer <= SAFE_MAX)
    }

    /// As a decimal integer without point and power (`42.0` is `42`), if it is one of at most 40 digits.
    pub(crate) fn to_integer(self) -> Option<String> {
        let zeros = usize::try_from(self.power()).ok()?;
        let mut out: String = self.significant().map(|digit| char::from(*digit)).collect();
        if out.is_empty() {
            return Some("0".to_owned());
        }
        if out.len() + zeros > 40 {
            return None;
        }
        out.extend(std::iter::repeat_n('0', zeros));
        if self.negative {
            out.insert(0, '-');
        }
        Some(out)
    }

    /// The digits without leading and trailing zeros.
    fn significant(&self) -> impl Iterator<Item = &'a u8> + use<'a> {
        let count = self.whole.len() + self.fraction.len() - self.trailing_zeros();
        self.whole
            .iter()
            .chain(self.fraction)
            .take(count)
            .skip_while(|digit| **digit == b'0')
    }

    /// The power of ten of the last significant digit.
    fn power(&self) -> i64 {
        let shift = self.trailing_zeros() as i64 - self.fraction.len() as i64;
        self.exponent + shift
    }

    fn trailing_zeros(&self) -> usize {
        self.fraction
            .iter()
            .rev()
            .chain(self.whole.iter().rev())
            .take_while(|digit| **digit == b'0')
            .count()
    }
}

/// At least one digit, and what follows.
fn digits(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (len > 0).then(|| text.split_at(len))
}
