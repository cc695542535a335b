//! Numbers as they are written. JSON's have any number of digits, and doubles, which canonical JSON has, some sixteen: two that
//! differ only beyond that would be taken for one.

use std::borrow::Cow;

/// What a number that no double stands for is replaced by, before its text: a text that nobody sends.
const MARK: &str = "\\u0000number ";
/// The same, as it is read.
const READ_MARK: &str = "\u{0}number ";

/// `json`, which is valid JSON, with a text in the place of each number that no double stands for: one text for all spellings
/// of one value.
pub(crate) fn mark_inexact(json: &str) -> Cow<'_, str> {
    let (mut marked, mut copied) = (String::new(), 0);
    for (at, number) in numbers(json) {
        if let Some(exact) = inexact(number) {
            marked.push_str(&json[copied..at]);
            marked.push_str(&format!("\"{MARK}{exact}\""));
            copied = at + number.len();
        }
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    marked.push_str(&json[copied..]);
    Cow::Owned(marked)
}

/// The first number in `json`, which is valid JSON, that neither 64 bits of a whole number nor a double stand for.
pub(crate) fn unkept(json: &str) -> Option<&str> {
    let is_kept = |number: &str| {
        number.contains(['.', 'e', 'E']) || number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok()
    };
    numbers(json).map(|(_, number)| number).find(|number| !is_kept(number))
}

/// The numbers in `json`, which is valid JSON, and where they begin.
fn numbers(json: &str) -> impl Iterator<Item = (usize, &str)> {
    let bytes = json.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            match bytes.get(at)? {
                b'"' => at = end_of_string(bytes, at),
                b'-' | b'0'..=b'9' => {
                    let begin = at;
                    let is_part = |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
                    at += bytes[begin..].iter().take_while(|byte| is_part(byte)).count();
                    return Some((begin, &json[begin..at]));
                }
                _ => at += 1,
            }
        }
    })
}

/// The number that a text stands for which [`mark_inexact`] put there.
pub(crate) fn marked(text: &str) -> Option<&str> {
    text.strip_prefix(READ_MARK)
}

/// The place after the string that begins at `at`.
fn end_of_string(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

/// The value of a number, if the double that is read of it, written as short as it can be, has another.
fn inexact(number: &str) -> Option<String> {
    let exact = Decimal::of(number);
    let read = number.parse::<f64>().ok().map(|double| Decimal::of(&format!("{double:e}")));
    match (exact, read) {
        (Some(exact), Some(Some(read))) => (exact != read).then(|| exact.to_string()),
        // Of an exponent beyond all measure; no such number is read.
        _ => Some(number.to_owned()),
    }
}

/// A number's value: digits that neither begin nor end with zero, and the power of ten that they are multiplied by.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    fn of(number: &str) -> Option<Self> {
        let (negative, number) = number.strip_prefix('-').map_or((false, number), |rest| (true, rest));
        let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        let exponent: i64 = exponent.parse().ok()?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        let digits = digits.trim_start_matches('0');
        let kept = digits.trim_end_matches('0');
        if kept.is_empty() {
            return Some(Self { negative: false, digits: String::new(), exponent: 0 });
        }
        let dropped = i64::try_from(digits.len() - kept.len()).ok()?;
        let exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?.checked_add(dropped)?;
        Some(Self { negative, digits: kept.to_owned(), exponent })
    }
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.negative { "-" } else { "" };
        match self.exponent {
            0 => write!(f, "{sign}{}", self.digits),
            exponent => write!(f, "{sign}{}e{exponent}", self.digits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_double_stands_for_is_left_as_it_is() {
        for json in
            ["1", "-0.0", "1e2", "0.1", "[9007199254740992, 1.5e300]", r#"{"9007199254740993": "9007199254740993\""}"#]
        {
            assert_eq!(mark_inexact(json), json);
        }
    }

    #[test]
    fn what_no_double_stands_for_has_one_text_for_each_value() {
        let text = |json: &str| {
            let value: serde_json::Value = serde_json::from_str(&mark_inexact(json)).expect("json");
            marked(value[0].as_str().expect("a text")).expect("a mark").to_owned()
        };
        assert_eq!(text("[9007199254740993]"), "9007199254740993");
        assert_eq!(text("[9007199254740993.0]"), text("[9007199254740993]"));
        assert_eq!(text("[9.007199254740993E+15]"), text("[9007199254740993]"));
        assert_eq!(text("[-0.1234567890123456789]"), "-1234567890123456789e-19");
        assert_eq!(text("[100000000000000000001]"), "100000000000000000001");
        assert_ne!(text("[100000000000000000001]"), text("[100000000000000000002]"));
        assert_eq!(text("[1e-400]"), "1e-400");
    }
}
