//! Spans of time as callers write them: `90s`, `5m`, `2h30m`, `3d`, `1w`.

use std::time::Duration;

/// Reads a span of one or more whole numbers with units `w`, `d`, `h`, `m`, `s`, largest first, as in `1h30m`.
///
/// `None` if the text is anything else or does not fit 64 bits of seconds.
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0u64;
    let mut last_unit = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let mut characters = tail.chars();
        let unit = unit_seconds(characters.next()?)?;
        if unit >= last_unit {
            return None;
        }
        last_unit = unit;
        seconds = seconds.checked_add(number.parse::<u64>().ok()?.checked_mul(unit)?)?;
        rest = characters.as_str();
    }
    (!text.is_empty()).then(|| Duration::from_secs(seconds))
}

/// Reads a span of exactly one whole number and one unit of `s`, `m`, `h`, `d`.
#[must_use]
pub fn parse_single(text: &str) -> Option<Duration> {
    let unit = text.chars().last().filter(|unit| *unit != 'w')?;
    let number = text.strip_suffix(unit)?;
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| parse(text))?
}

fn unit_seconds(unit: char) -> Option<u64> {
    match unit {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(60 * 60),
        'd' => Some(24 * 60 * 60),
        'w' => Some(7 * 24 * 60 * 60),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_units_add_up_largest_first() {
        assert_eq!(parse("1h30m"), Some(Duration::from_secs(5_400)));
        assert_eq!(parse("1w2d"), Some(Duration::from_secs(9 * 86_400)));
    }

    #[test]
    fn anything_else_is_no_span() {
        for text in ["", "5", "m", "30m1h", "1h1h", "-5s", "1.5h", "5 m", "99999999999999999999s", "1é"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_single_span_is_one_number_and_one_of_four_units() {
        assert_eq!(parse_single("60s"), Some(Duration::from_secs(60)));
        for text in ["1h30m", "1w", "s", "", "+5s", "５s"] {
            assert_eq!(parse_single(text), None, "{text}");
        }
    }
}
