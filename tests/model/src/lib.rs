//! The protocol as a model, small enough that every state of it is looked at.
//!
//! [`trigger`] has the key: triggers that may die between any two steps, messages and events that come twice and in any
//! order, workers that die, a reset, the end of a window, a cancellation, a request sent again. [`wait`] has the wake-up: a
//! parent that suspends while its children end. [`delay`] has the start of a delayed run that is moved, and the schedules that
//! carry it there, and [`cron`] a schedule whose ticks are a chain of messages. [`token`] has what runs wait for until somebody
//! completes it or its time is over, [`debounce`] triggers that push the start of a run that is there, [`declare`] deployments
//! that declare schedules, [`flow`] the limit of a queue, and who is parked until there is room, and [`rate`] how often turns of a
//! queue start. Each can be given a fault, a [`Mutant`](trigger::Mutant), that its properties must find: a check that has never
//! failed shows little.
//!
//! The model follows `shared/core` step by step: one action of the model is one call to DynamoDB or SQS.

pub mod cron;
pub mod debounce;
pub mod declare;
pub mod delay;
pub mod flow;
pub mod rate;
pub mod token;
pub mod trigger;
pub mod wait;

use stateright::{Checker, Expectation, Model};

/// The first property that does not hold, if any.
pub fn broken<M: Model>(checker: &impl Checker<M>) -> Option<String>
where
    M::State: Clone + std::fmt::Debug + std::hash::Hash + PartialEq,
    M::Action: Clone + std::fmt::Debug + PartialEq,
{
    let mut properties = checker.model().properties().into_iter();
    let broken = properties.find(|property| {
        let discovered = checker.discovery(property.name).is_some();
        match property.expectation {
            Expectation::Always | Expectation::Eventually => discovered,
            Expectation::Sometimes => !discovered,
        }
    });
    broken.map(|property| property.name.to_owned())
}
