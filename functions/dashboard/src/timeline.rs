//! What a run went through, as a picture: a line an attempt, then a line a child, all on one scale.

use std::time::Duration;

use maud::{Markup, html};
use oncekey_core::run::history::Happening;
use oncekey_core::{Run, Timestamp};

use crate::format::{Kind, badge, span};

/// A stretch of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not due yet: delayed, or pausing before another attempt.
    Paused,
    /// Due, and no worker has taken it up.
    Queued,
    Executing,
    Waiting,
}

impl Phase {
    const ALL: [Self; 4] = [Self::Paused, Self::Queued, Self::Executing, Self::Waiting];

    fn class(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Queued => "idle",
            Self::Executing => "busy",
            Self::Waiting => "waiting",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Queued => "queued",
            Self::Executing => "executing",
            Self::Waiting => "waiting",
        }
    }
}

/// A phase from one moment to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    phase: Phase,
    from: Timestamp,
    to: Timestamp,
}

/// The stretches of each attempt, in order.
fn attempts(run: &Run, now: Timestamp) -> Vec<Vec<Stretch>> {
    let mut attempts = vec![Vec::new()];
    let (mut phase, mut from) = (Phase::Queued, run.spec.created_at);
    let end = run.finished_at.unwrap_or(now);
    let due_at = |attempt: usize| match attempt {
        1 => run.delayed_until(),
        _ => {
            run.failures.iter().find(|failure| failure.attempt as usize + 1 == attempt).map(|failure| failure.retry_at)
        }
    };
    let mut close = |attempts: &mut Vec<Vec<Stretch>>, next: Phase, at: Timestamp| {
        let number = attempts.len();
        if let Some(attempt) = attempts.last_mut() {
            // What comes before an attempt's first start is a pause as long as it is not due.
            let due_at = due_at(number).filter(|due_at| attempt.is_empty() && *due_at > from);
            if let Some(due_at) = due_at.map(|due_at| due_at.min(at)) {
                attempt.push(Stretch { phase: Phase::Paused, from, to: due_at });
                from = due_at;
            }
            if attempt.is_empty() || from < at {
                attempt.push(Stretch { phase, from, to: at });
            }
        }
        (phase, from) = (next, at);
    };
    for moment in &run.history {
        match moment.what {
            Happening::Started => close(&mut attempts, Phase::Executing, moment.at),
            Happening::Suspended => close(&mut attempts, Phase::Waiting, moment.at),
            Happening::Retried => {
                close(&mut attempts, Phase::Queued, moment.at);
                attempts.push(Vec::new());
            }
        }
    }
    close(&mut attempts, Phase::Queued, end);
    attempts
}

/// The scale that all lines share.
struct Scale {
    from: Timestamp,
    whole: Duration,
}

impl Scale {
    fn percent(&self, span: Duration) -> String {
        format!("{:.3}%", span.as_secs_f64() / self.whole.as_secs_f64() * 100.0)
    }

    fn bar(&self, class: &str, from: Timestamp, to: Timestamp, told: &str) -> Markup {
        // Thin ones are still seen.
        let width = to.since(from).max(self.whole / 300);
        html! {
            rect class=(class) x=(self.percent(from.since(self.from))) width=(self.percent(width)) y="3" height="14" rx="2" {
                title { (told) ": " (span(to.since(from))) }
            }
        }
    }
}

/// Draws a run and its children.
pub(crate) fn timeline(run: &Run, children: &[Run], now: Timestamp) -> Markup {
    let end_of = |run: &Run| run.finished_at.unwrap_or(now);
    let end = children.iter().map(end_of).chain([end_of(run)]).max().unwrap_or(now);
    let whole = end.since(run.spec.created_at).max(Duration::from_millis(1));
    let scale = Scale { from: run.spec.created_at, whole };
    let attempts = attempts(run, now);
    let is_drawn = |phase: Phase| attempts.iter().flatten().any(|stretch| stretch.phase == phase);
    html! {
        div.timeline role="group" aria-label="Timeline" {
            @for (number, stretches) in attempts.iter().enumerate() {
                div.lane {
                    span.label { "attempt " (number + 1) }
                    svg height="20" role="img" aria-label=(in_words(stretches)) {
                        @for Stretch { phase, from, to } in stretches { (scale.bar(phase.class(), *from, *to, phase.name())) }
                    }
                }
            }
            @for child in children {
                div.lane.child {
                    a.label href=(format!("/runs/{}", child.id)) title=(child.id) { (child.spec.task) }
                    svg height="20" role="img" aria-label=(format!("{} in {}", child.status, span(end_of(child).since(child.spec.created_at)))) {
                        (scale.bar(Kind::of(child.status).class(), child.spec.created_at, end_of(child), child.status.as_str()))
                    }
                    (badge(child.status))
                }
            }
            div.lane.axis {
                span.label {}
                span.scale { span { "0" } span { (span(whole)) } }
            }
            p.legend {
                @for phase in Phase::ALL.into_iter().filter(|phase| is_drawn(*phase)) {
                    span class=(format!("key {}", phase.class())) { (phase.name()) }
                }
            }
        }
    }
}

fn in_words(stretches: &[Stretch]) -> String {
    let words = stretches.iter().map(|one| format!("{} {}", one.phase.name(), span(one.to.since(one.from))));
    words.collect::<Vec<_>>().join(", then ")
}

#[cfg(test)]
mod tests {
    use oncekey_core::run::RunSpec;
    use oncekey_core::run::failure::Failure;
    use oncekey_core::run::history::Moment;
    use oncekey_core::{EnvironmentId, RequestId, RunId, TaskId};

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn each_attempt_is_made_of_what_it_went_through() {
        let environment = EnvironmentId::parse("a/b").expect("environment");
        let task = TaskId::parse("t").expect("task");
        let id = RunId::named(&environment, &task, &RequestId::fresh());
        let spec = RunSpec::new(environment, task, at(0));
        let moments =
            [(Happening::Started, 5), (Happening::Retried, 7), (Happening::Started, 9), (Happening::Suspended, 10)];
        let history = moments.map(|(what, millis)| Moment { what, at: at(millis) }).to_vec();
        let failure = Failure::try_from(r#"{"a":1,"m":"no","t":8}"#.to_owned()).expect("a failure");
        let run = Run { history, failures: vec![failure], finished_at: Some(at(30)), ..Run::new(id, spec, None) };
        let stretch = |phase, from, to| Stretch { phase, from: at(from), to: at(to) };
        assert_eq!(
            attempts(&run, at(99)),
            [
                vec![stretch(Phase::Queued, 0, 5), stretch(Phase::Executing, 5, 7)],
                vec![
                    stretch(Phase::Paused, 7, 8),
                    stretch(Phase::Queued, 8, 9),
                    stretch(Phase::Executing, 9, 10),
                    stretch(Phase::Waiting, 10, 30)
                ],
            ]
        );
    }
}
