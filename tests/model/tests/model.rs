//! Every state of the protocol is looked at, and every fault planted in it found.

use oncekey_model::broken;
use oncekey_model::cron::{self, Cron};
use oncekey_model::debounce::{self, Debounce};
use oncekey_model::declare::{self, Declare};
use oncekey_model::delay::{self, Delay};
use oncekey_model::flow::{self, Flow, Setting};
use oncekey_model::rate::{self, Rate};
use oncekey_model::token::{self, Token};
use oncekey_model::trigger::{self, OnHeld, Protocol, Release};
use oncekey_model::wait::{self, Wait};
use stateright::{Checker, HasDiscoveries, Model};

/// The first property that a model breaks, and how many states it has.
fn search<M>(model: M) -> (Option<String>, usize)
where
    M: Model + Send + Sync + 'static,
    M::State: std::hash::Hash + Send + Sync + std::fmt::Debug + PartialEq + Clone,
    M::Action: Send + Sync + std::fmt::Debug + PartialEq + Clone,
{
    let checker = model.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    (broken(&checker), checker.unique_state_count())
}

fn holds(name: &str, (broken, states): (Option<String>, usize)) {
    println!("{name}: {states} states");
    assert_eq!(broken, None, "{name}");
}

fn finds(name: &str, (broken, states): (Option<String>, usize), invariants: &[&str]) {
    println!("{name}: {broken:?} after {states} states");
    let found = broken.as_ref().is_some_and(|broken| invariants.iter().any(|invariant| broken.contains(invariant)));
    assert!(found, "{name}: {broken:?}");
}

const RESENT: Protocol = Protocol { attempts: 1, resets: 1, resends: 1, ..Protocol::PLAIN };
const RESET_TWICE: Protocol = Protocol { attempts: 1, resets: 1, deletes: 2, ..Protocol::PLAIN };
const UNHEARD: Protocol = Protocol { lost_answers: 1, ..Protocol::PLAIN };
const POISONED: Protocol = Protocol { dead_letters: 1, ..Protocol::PLAIN };
/// With all of it at once, and two deaths, it is searched by `cargo run --release -p oncekey-model`: some minutes.
const WAIT: Wait = Wait { deaths: 1, duplicates: 1, cancels: 1, mutant: None };

#[test]
fn the_start_of_a_run_that_is_moved_comes() {
    holds("moved starts", search(Delay { movers: 2, deaths: 1, refusals: 1, mutant: None }));
}

#[test]
fn faults_planted_in_moved_starts_are_found() {
    for mutant in delay::Mutant::ALL {
        let invariant = if mutant == delay::Mutant::StartByMessage { "before its time" } else { "I8" };
        finds(&format!("{mutant:?}"), search(Delay::planted(mutant)), &[invariant]);
    }
}

#[test]
fn a_schedule_ticks_once_at_each_of_its_times() {
    for patience in [0, 1] {
        holds("ticks", search(Cron { handlers: 2, changes: 1, deaths: 1, patience, mutant: None }));
    }
}

#[test]
fn faults_planted_in_ticks_are_found() {
    for mutant in cron::Mutant::ALL {
        let invariants: &[&str] = match mutant {
            cron::Mutant::FreshRequest => &["R82"],
            cron::Mutant::WriteOverTicks => &["R82", "R81"],
            cron::Mutant::MakeAnew => &["R80"],
            cron::Mutant::AnyGeneration => &["R83"],
            _ => &["R81"],
        };
        let planted = Cron { handlers: 2, changes: 1, deaths: 1, patience: 1, mutant: Some(mutant) };
        finds(&format!("{mutant:?}"), search(planted), invariants);
    }
}

#[test]
fn what_a_deployment_declares_is_there_and_nothing_else() {
    holds("declarations", search(Declare { handlers: 2, duplicates: 2, deaths: 2, sweeps: 1, mutant: None }));
}

#[test]
fn faults_planted_in_declarations_are_found() {
    for mutant in declare::Mutant::ALL {
        let planted = Declare { handlers: 2, duplicates: 1, deaths: 1, sweeps: 0, mutant: Some(mutant) };
        finds(&format!("{mutant:?}"), search(planted), &["R97"]);
    }
}

#[test]
fn the_protocol_of_a_debounce_holds() {
    holds("debounce, two triggers", search(Debounce { triggers: 2, deaths: 1, resends: 1, mutant: None }));
    // With a request sent again they are searched by `cargo run --release -p oncekey-model`.
    holds("debounce, three triggers", search(Debounce { triggers: 3, deaths: 1, resends: 0, mutant: None }));
}

#[test]
fn faults_planted_in_a_debounce_are_found() {
    for mutant in debounce::Mutant::ALL {
        use debounce::Mutant::{AliasBeforePush, NeverHelp, PushWhatStarted, TakeAnyClaim};
        let invariants: &[&str] = match mutant {
            PushWhatStarted | AliasBeforePush | NeverHelp => &["R88"],
            TakeAnyClaim => &["R90"],
            _ => &["R89", "I3"],
        };
        let planted = Debounce { triggers: 3, deaths: 1, resends: 1, mutant: Some(mutant) };
        finds(&format!("{mutant:?}"), search(planted), invariants);
    }
}

#[test]
fn the_rate_of_a_queue_holds() {
    holds("rate, three runs", search(Rate { runs: 3, deaths: 0, failures: 0, until: 5, ..Rate::plain() }));
    holds("rate, two runs", search(Rate::plain()));
    holds("rate, a dead letter", search(Rate::with_dead_letters()));
}

#[test]
fn faults_planted_in_a_rate_are_found() {
    for mutant in rate::Mutant::ALL {
        let invariants: &[&str] = match mutant {
            rate::Mutant::AnyAttempt => &["R112"],
            rate::Mutant::SendOnce => &["R113"],
            rate::Mutant::SetUnchecked => &["R111", "R112"],
            rate::Mutant::DeadLetters | rate::Mutant::LateEvents => &["R113"],
            _ => &["R111"],
        };
        finds(&format!("{mutant:?}"), search(mutant.planted()), invariants);
    }
}

#[test]
fn a_token_ends_once_and_all_who_wait_for_it_are_told() {
    // With deaths and duplicates, two who wait are searched by `cargo run --release -p oncekey-model`.
    holds("token, two completions", search(Token { runs: 1, callers: 2, deaths: 1, duplicates: 0, mutant: None }));
    holds("token, a duplicate", search(Token { runs: 1, callers: 1, deaths: 1, duplicates: 1, mutant: None }));
    holds("token, two who wait", search(Token { runs: 2, callers: 1, deaths: 0, duplicates: 0, mutant: None }));
}

#[test]
fn faults_planted_in_tokens_are_found() {
    for mutant in token::Mutant::ALL {
        let invariants: &[&str] = match mutant {
            // Who is told before the second of them is told the same as the item says then.
            token::Mutant::CompleteUnconditionally | token::Mutant::TimeoutOverCompletion => &["R93", "R95"],
            token::Mutant::WakeBeforeWriting => &["R95"],
            _ => &["I9"],
        };
        let planted = Token { runs: 1, callers: 2, deaths: 1, duplicates: 0, mutant: Some(mutant) };
        finds(&format!("{mutant:?}"), search(planted), invariants);
    }
}

// Larger ones, and several of these faults at once, are searched by `cargo run --release -p oncekey-model`.

#[test]
fn no_more_runs_of_a_queue_are_at_work_than_its_limit_and_those_that_are_parked_start() {
    let dying = Flow { deaths: 1, ends: 1, ..Flow::plain() };
    holds("a limit, two deaths", search(Flow { deaths: 2, ..dying.clone() }));
    holds("a limit, three runs", search(Flow { runs: 3, deaths: 1, ..Flow::plain() }));
    holds("a limit, retries", search(Flow { attempts: 2, deaths: 1, ..Flow::plain() }));
    holds("a limit, a suspension", search(Flow { suspensions: 1, deaths: 1, ..Flow::plain() }));
    holds("a limit, a cancellation", search(Flow { cancels: 1, ..dying.clone() }));
    holds("a limit, a dead letter", search(Flow { dead_letters: 1, ..dying.clone() }));
    holds("a limit, an old look", search(Flow { stalls: 1, ..dying }));
}

#[test]
fn a_limit_holds_with_messages_that_come_twice() {
    holds("a limit, a duplicate", search(Flow { duplicates: 1, deaths: 1, ends: 1, ..Flow::plain() }));
    let twins = Flow { twins: 1, sweeps: 1, deaths: 1, ..Flow::plain() };
    holds("a limit, a message in two hands", search(Flow { ends: 1, ..twins }));
}

#[test]
fn a_limit_holds_while_it_is_changed() {
    let raised = vec![Setting::limit(1), Setting::limit(2)];
    let lowered = vec![Setting::limit(2), Setting::limit(1), Setting::limit(2)];
    holds("a limit that is raised", search(Flow { settings: raised, deaths: 1, ..Flow::plain() }));
    holds("a limit that is lowered", search(Flow { settings: lowered, runs: 3, ..Flow::plain() }));
    holds("a pause", search(Flow { settings: Flow::paused(), deaths: 1, ..Flow::plain() }));
}

#[test]
fn faults_planted_in_a_limit_are_found() {
    for mutant in flow::Mutant::ALL {
        use flow::Mutant::{FreeAnyTurn, HandTwice, Overtake, ParkWithoutMove, StartGiven, TakeExpired};
        let invariant = match mutant {
            FreeAnyTurn | HandTwice | TakeExpired => "I11",
            StartGiven => "I13",
            ParkWithoutMove => "I8",
            Overtake => "order",
            _ => "I12",
        };
        finds(&format!("{mutant:?}"), search(Flow::planted(mutant)), &[invariant]);
    }
}

#[test]
fn the_protocol_of_a_trigger_holds_with_a_reset_and_an_end_of_window() {
    // With two attempts it is searched by `cargo run --release -p oncekey-model`, as are the larger ones below.
    holds("reset, expiry", search(Protocol { attempts: 1, resets: 1, expiries: 1, ..Protocol::PLAIN }));
}

#[test]
fn it_holds_with_a_request_that_is_sent_again_after_a_reset() {
    holds("request sent again", search(RESENT));
}

#[test]
fn it_holds_with_a_reset_that_is_sent_again() {
    holds("reset sent again", search(RESET_TWICE));
}

#[test]
fn it_holds_with_a_start_whose_answer_is_lost() {
    holds("start sent again", search(UNHEARD));
}

#[test]
fn it_holds_with_a_cancellation() {
    holds("cancellation", search(Protocol { attempts: 1, expiries: 1, cancels: 1, ..Protocol::PLAIN }));
}

#[test]
fn it_holds_with_a_message_that_is_dead_lettered() {
    // Two triggers of two attempts are searched by `cargo run --release -p oncekey-model`: some minutes.
    holds("dead letter, two triggers", search(Protocol { attempts: 1, ..POISONED }));
    holds("dead letter, two attempts", search(Protocol { triggers: 1, ..POISONED }));
}

#[test]
fn it_holds_in_two_environments() {
    holds("two environments", search(Protocol { environments: [0, 1], ..Protocol::PLAIN }));
}

/// A key that any end frees beside one that only a failure frees, and beside one that no end frees.
const RELEASES: [[Release; 2]; 3] =
    [[Release::OnEnd, Release::OnFailure], [Release::OnEnd, Release::OnEnd], [Release::Never, Release::OnEnd]];

#[test]
fn it_holds_whatever_releases_a_key() {
    for releases in RELEASES {
        let model = Protocol { releases, attempts: 1, resends: 1, ..Protocol::PLAIN };
        holds(&format!("releases {releases:?}"), search(model));
    }
}

const REPLACES: Protocol = Protocol { on_held: [OnHeld::Replace; 2], attempts: 1, resends: 1, ..Protocol::PLAIN };
const REPLACES_ONE: Protocol = Protocol { on_held: [OnHeld::Return, OnHeld::Replace], ..REPLACES };

#[test]
fn it_holds_with_runs_that_are_replaced() {
    // With a request sent again they are searched by `cargo run --release -p oncekey-model`.
    holds("two who replace", search(Protocol { resends: 0, ..REPLACES }));
    holds("one who replaces", search(Protocol { resends: 0, ..REPLACES_ONE }));
    for releases in RELEASES {
        holds(&format!("who replaces, releases {releases:?}"), search(Protocol { releases, resends: 0, ..REPLACES }));
    }
}

#[test]
fn the_protocol_of_a_wait_holds() {
    holds("wait, an event with two handlers", search(Wait { cancels: 0, ..WAIT }));
    holds("wait, a cancellation", search(Wait { duplicates: 0, ..WAIT }));
}

#[test]
fn every_fault_in_a_trigger_is_found() {
    use trigger::Mutant::{
        AnyClaimMade, BuryByMoving, BuryUnderLease, ClearUnconditionally, HelpedAnyClaim, NeverHelp, NoBar,
        NoFollowUpTwice, OnlyFailuresAreDead, OwnLeaseRefuses, PutBeforeSend, ReleaseOfWhoAsks, ReplaceSuccessor,
        ReplacedIsHeld, ResetAnyClaim, TakeUnseen,
    };
    let plain = Protocol { resets: 1, expiries: 1, ..Protocol::PLAIN };
    for (mutant, model, invariants) in [
        // An acknowledged run that has no end breaks both.
        (PutBeforeSend, plain.clone(), &["I2", "I8"][..]),
        (ClearUnconditionally, plain.clone(), &["I4", "I5"]),
        (NeverHelp, plain.clone(), &["I2", "I8"]),
        (NoFollowUpTwice, plain, &["I2", "I8"]),
        (AnyClaimMade, RESENT, &["R40", "R30"]),
        (HelpedAnyClaim, RESENT, &["R40", "R30"]),
        (ReleaseOfWhoAsks, Protocol { releases: [Release::OnFailure, Release::OnEnd], ..Protocol::PLAIN }, &["I5"]),
        (OnlyFailuresAreDead, Protocol { releases: [Release::OnEnd; 2], ..Protocol::PLAIN }, &["R30"]),
        (BuryByMoving, POISONED, &["I2", "I8"]),
        (OwnLeaseRefuses, UNHEARD, &["I2", "taken up by nobody"]),
        (ResetAnyClaim, RESET_TWICE, &["I1", "I5"]),
        (NoBar, REPLACES_ONE, &["I1", "R77"]),
        (ReplaceSuccessor, REPLACES, &["R76"]),
        (ReplacedIsHeld, REPLACES_ONE, &["R30"]),
        (TakeUnseen, REPLACES, &["I5"]),
        (BuryUnderLease, POISONED, &["while its worker is at it"]),
    ] {
        finds(&format!("{mutant:?}"), search(Protocol { mutant: Some(mutant), ..model }), invariants);
    }
}

#[test]
fn every_fault_in_a_wait_is_found() {
    use wait::Mutant::{
        ForgetBeforeWaking, LookBeforeRegistering, NoCount, NoResumeTwice, RaiseIsEnough, SuspendUnconditionally,
    };
    for mutant in
        [SuspendUnconditionally, NoResumeTwice, LookBeforeRegistering, ForgetBeforeWaking, NoCount, RaiseIsEnough]
    {
        finds(&format!("{mutant:?}"), search(Wait { mutant: Some(mutant), cancels: 0, ..WAIT }), &["I9"]);
    }
}
