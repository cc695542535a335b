//! What callers send.

use serde_json::{Value, json};

/// The number of the first payload of those who are debounced: theirs are nobody else's.
pub const DEBOUNCED: usize = 20;

/// What a caller of this number sends: the second more than stands in a run's own item, the third what no message may have as
/// it is.
#[must_use]
pub fn payload(number: usize) -> Value {
    match number {
        1 | 21 => {
            let mut random = fastrand::Rng::with_seed(1);
            json!({ "number": number, "text": (0..1_200).map(|_| random.alphanumeric()).collect::<String>() })
        }
        2 | 22 => json!({ "number": number, "text": "\u{0}\u{b}\u{1f}\u{fffe}\u{ffff}" }),
        _ => json!({ "number": number }),
    }
}

/// Whether a caller that sends this payload wants its run to start later.
#[must_use]
pub fn is_delayed(number: usize) -> bool {
    number % 4 == 3
}
