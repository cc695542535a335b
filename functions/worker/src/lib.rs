//! The demo worker: the tasks of `docs/tour.md`.

mod basics;
mod examples;

use oncekey_worker::Worker;

/// The demo tasks.
pub fn worker() -> Worker {
    let all = basics::tasks().into_iter().chain(examples::tasks());
    all.fold(Worker::new(), Worker::task)
}
