//! How moments, spans, statuses and JSON read on a page.

use std::time::Duration;

use maud::{Markup, html};
use oncekey_core::{Json, Run, RunStatus, Timestamp};

/// Most characters of a payload or an output that a page shows.
const MAX_SHOWN: usize = 20_000;

/// A span in its two largest units: `3 d 4 h`, `1.5 s`, `12 ms`.
pub(crate) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let two = |large: u64, unit: &str, small: u64, next: &str| match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {next}"),
    };
    match seconds {
        0 => format!("{} ms", span.as_millis()),
        1..10 => format!("{:.1} s", span.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3_600 => two(seconds / 60, "min", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

/// A moment as it stands to `now`, with the exact one to hover over.
pub(crate) fn moment(at: Timestamp, now: Timestamp) -> Markup {
    let text = match (at.since(now), now.since(at)) {
        (ahead, _) if !ahead.is_zero() => format!("in {}", coarse(ahead)),
        (_, ago) if ago.as_secs() == 0 => "just now".to_owned(),
        (_, ago) => format!("{} ago", coarse(ago)),
    };
    html! { time datetime=(at) title=(at) { (text) } }
}

/// A span in its largest unit: what a moving clock needs.
fn coarse(span: Duration) -> String {
    match span.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min", seconds / 60),
        seconds @ 3_600..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// What a status amounts to, and so its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Good,
    Stopped,
    Busy,
    Idle,
    Bad,
}

impl Kind {
    /// In the order in which they stand on one another in a chart.
    pub(crate) const ALL: [Self; 5] = [Self::Good, Self::Stopped, Self::Busy, Self::Idle, Self::Bad];

    pub(crate) fn of(status: RunStatus) -> Self {
        match status {
            RunStatus::Completed => Self::Good,
            RunStatus::Canceled => Self::Stopped,
            RunStatus::Executing => Self::Busy,
            failed if failed.is_final() => Self::Bad,
            _ => Self::Idle,
        }
    }

    /// The style sheet's name for it.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Stopped => "stopped",
            Self::Busy => "busy",
            Self::Idle => "idle",
            Self::Bad => "bad",
        }
    }

    /// What one calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Good => "completed",
            Self::Stopped => "cancelled",
            Self::Busy => "executing",
            Self::Idle => "queued or waiting",
            Self::Bad => "failed",
        }
    }
}

/// A status as a badge.
pub(crate) fn badge(status: RunStatus) -> Markup {
    badge_of(Kind::of(status), status.as_str())
}

/// A badge. The word says it; the colour only repeats it.
pub(crate) fn badge_of(kind: Kind, word: &str) -> Markup {
    html! { span class=(format!("badge {}", kind.class())) { (word) } }
}

/// How long a run has taken since its first start, if it has started.
pub(crate) fn took(run: &Run, now: Timestamp) -> Option<Duration> {
    run.started_at.map(|started| run.finished_at.unwrap_or(now).since(started))
}

/// JSON, spread over lines, cut where it gets long. Whether it was cut.
pub(crate) fn pretty(value: &Json) -> (String, bool) {
    let text = value.pretty();
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => (text[..end].to_owned(), true),
        None => (text, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_reads_in_its_two_largest_units() {
        for (millis, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_500, "1.5 s"),
            (59_999, "59 s"),
            (60_000, "1 min"),
            (61_000, "1 min 1 s"),
            (7_260_000, "2 h 1 min"),
            (273_600_000, "3 d 4 h"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn a_moment_is_told_from_now() {
        let now = Timestamp::from_millis(1_790_000_000_000);
        let told = |at: i64| moment(Timestamp::from_millis(1_790_000_000_000 + at), now).into_string();
        assert!(told(-90_000).contains(">1 min ago<"), "{}", told(-90_000));
        assert!(told(86_400_000).contains(">in 24 h<"));
        assert!(told(0).contains("title=\"2026-09-21T14:13:20.000Z\">just now<"));
    }

    #[test]
    fn long_json_is_cut_between_characters() {
        let (text, cut) = pretty(&Json::of(&"é".repeat(30_000)).expect("json"));
        assert!(cut && text.chars().count() == MAX_SHOWN);
    }
}
