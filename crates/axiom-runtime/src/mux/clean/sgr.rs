//! Colours and other looks of text: the parameters between `ESC [` and `m`.

/// No terminal needs more for one look.
const PARAMETERS_BYTES_MAX: usize = 64;
/// Text that nobody sees, but that is copied with what is seen.
const CONCEAL: &str = "8";

/// True for a look as the standard has it, as opposed to a private sequence that ends in `m`, too (`ESC [ > 4 m` changes what the
/// keyboard sends), and to hidden text.
pub(super) fn is_harmless(parameters: &str) -> bool {
    let is_standard = parameters
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b';' | b':'));
    let is_short = parameters.len() <= PARAMETERS_BYTES_MAX;
    is_standard && is_short && !looks(parameters).any(|look| number(look) == CONCEAL)
}

/// Whether some look is on after these parameters; `was_on` before them. One that was merely put out by its own number
/// still counts: a reset too many does no harm.
pub(super) fn leaves_on(parameters: &str, was_on: bool) -> bool {
    looks(parameters).fold(was_on, |_, look| !number(look).is_empty())
}

/// The looks among the parameters, without the numbers that say which colour.
fn looks(parameters: &str) -> impl Iterator<Item = &str> {
    let mut numbers = parameters.split(';');
    std::iter::from_fn(move || {
        let look = numbers.next()?;
        if matches!(number(look), "38" | "48" | "58") {
            // `38;5;208` or `38;2;255;128;0`. With colons all of it is one parameter.
            let of_colour = match numbers.clone().next().map(number) {
                Some("5") => 2,
                Some("2") => 4,
                _ => 0,
            };
            numbers.by_ref().take(of_colour).for_each(drop);
        }
        Some(look)
    })
}

/// Without leading zeros: empty for 0, which is the reset, as is a parameter that is left out.
fn number(look: &str) -> &str {
    look.trim_start_matches('0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_stays_on() {
        for on in [
            "31",
            "1;31",
            "0;1",
            "38;5;0",
            "38;2;0;0;0",
            "38:5:0",
            "48;5;0",
            "0031",
        ] {
            assert!(leaves_on(on, false), "{on}");
        }
        for off in ["", "0", "00", "1;0", "31;", "38;5;1;0", "38;2;1;2;3;0"] {
            assert!(!leaves_on(off, true), "{off}");
        }
    }

    #[test]
    fn lets_no_private_or_hidden_one_through() {
        for good in ["", "0", "1;4;7", "38;5;8", "38;2;8;8;8", "4:3", "98"] {
            assert!(is_harmless(good), "{good}");
        }
        for bad in [">4;2", "?4", "8", "1;8", "08", "38;5;1;8", "<1", &"1;".repeat(33)] {
            assert!(!is_harmless(bad), "{bad}");
        }
    }
}
