//! Searches the protocol to its last state, and the faults planted in it: `cargo run --release -p oncekey-model`, or with a part of a
//! name those alone that have it in theirs: `… -- limit`.

use std::time::Instant;

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

fn main() {
    println!("| {:<58} | {:>10} | {:>7} | {:<28} |", "searched", "states", "seconds", "found");
    println!("|{:-<60}|{:->12}|{:->9}|{:-<30}|", "", ":", ":", "");
    let protocol = Protocol { resets: 1, expiries: 1, ..Protocol::PLAIN };
    search("trigger: two of a key, a reset, an end of window", protocol.clone());
    search("trigger: and a request sent again", Protocol { attempts: 1, resets: 1, resends: 1, ..Protocol::PLAIN });
    search("trigger: and a cancellation", Protocol { expiries: 1, cancels: 1, ..Protocol::PLAIN });
    search(
        "trigger: a reset that is sent again, an end of window",
        Protocol { attempts: 1, resets: 1, deletes: 2, expiries: 1, ..Protocol::PLAIN },
    );
    search("trigger: a start whose answer is lost", Protocol { lost_answers: 1, expiries: 1, ..Protocol::PLAIN });
    search("trigger: in two environments", Protocol { environments: [0, 1], ..Protocol::PLAIN });
    let releases = [Release::OnEnd, Release::Never];
    search(
        "trigger: keys that any end frees, and none",
        Protocol { releases, expiries: 1, cancels: 1, ..Protocol::PLAIN },
    );
    let replaces = Protocol { on_held: [OnHeld::Replace; 2], attempts: 1, resends: 1, ..Protocol::PLAIN };
    search("trigger: two who replace, a request sent again", replaces.clone());
    let one = Protocol { on_held: [OnHeld::Return, OnHeld::Replace], ..replaces.clone() };
    search("trigger: one who replaces, a cancellation", Protocol { cancels: 1, ..one.clone() });
    search("trigger: one who replaces, an end of window", Protocol { resends: 0, expiries: 1, ..one.clone() });
    let poisoned = Protocol { dead_letters: 1, ..Protocol::PLAIN };
    search("trigger: and a message that is dead-lettered", poisoned.clone());
    let wait = Wait { deaths: 2, duplicates: 1, cancels: 1, mutant: None };
    search("wait: two children, two deaths, rival handlers, a cancel", wait.clone());
    let delay = Delay { movers: 2, deaths: 1, refusals: 1, mutant: None };
    search("delay: two who move a start, a death, a refusal", delay);
    let cron = Cron { handlers: 2, changes: 2, deaths: 1, patience: 1, mutant: None };
    search("cron: two deliveries at once, two changes, a death", cron.clone());
    let token = Token { runs: 1, callers: 2, deaths: 1, duplicates: 1, mutant: None };
    search("token: two completions, a timeout, a death", token.clone());
    search("token: two who wait", Token { runs: 2, callers: 1, ..token.clone() });
    for mutant in [
        trigger::Mutant::PutBeforeSend,
        trigger::Mutant::ClearUnconditionally,
        trigger::Mutant::NeverHelp,
        trigger::Mutant::NoFollowUpTwice,
    ] {
        search(&format!("fault: {mutant:?}"), Protocol { mutant: Some(mutant), ..protocol.clone() });
    }
    for mutant in [trigger::Mutant::AnyClaimMade, trigger::Mutant::HelpedAnyClaim] {
        let resent = Protocol { attempts: 1, resets: 1, resends: 1, mutant: Some(mutant), ..Protocol::PLAIN };
        search(&format!("fault: {mutant:?}"), resent);
    }
    for (mutant, model) in [
        (trigger::Mutant::NoBar, &one),
        (trigger::Mutant::ReplaceSuccessor, &replaces),
        (trigger::Mutant::ReplacedIsHeld, &one),
        (trigger::Mutant::TakeUnseen, &replaces),
    ] {
        search(&format!("fault: {mutant:?}"), Protocol { mutant: Some(mutant), ..model.clone() });
    }
    let mutant = trigger::Mutant::BuryByMoving;
    search(&format!("fault: {mutant:?}"), Protocol { mutant: Some(mutant), ..poisoned });
    for mutant in [
        wait::Mutant::SuspendUnconditionally,
        wait::Mutant::NoResumeTwice,
        wait::Mutant::LookBeforeRegistering,
        wait::Mutant::ForgetBeforeWaking,
        wait::Mutant::NoCount,
        wait::Mutant::RaiseIsEnough,
    ] {
        search(&format!("fault: {mutant:?}"), Wait { mutant: Some(mutant), cancels: 0, ..wait.clone() });
    }
    for mutant in delay::Mutant::ALL {
        search(&format!("fault: {mutant:?}"), Delay::planted(mutant));
    }
    let debounce = Debounce { triggers: 3, deaths: 1, resends: 1, mutant: None };
    search("debounce: three triggers, a death, a request sent again", debounce.clone());
    for mutant in debounce::Mutant::ALL {
        search(&format!("fault: {mutant:?}"), Debounce { mutant: Some(mutant), ..debounce.clone() });
    }
    limits();
    search("rate: two runs, a duplicate, a death, a failure", Rate::plain());
    search("rate: a run whose message is delivered too often", Rate::with_dead_letters());
    for mutant in rate::Mutant::ALL {
        search(&format!("fault: {mutant:?}"), mutant.planted());
    }
    for mutant in cron::Mutant::ALL {
        search(&format!("fault: {mutant:?}"), Cron { mutant: Some(mutant), changes: 1, ..cron.clone() });
    }
    let declare = Declare { handlers: 2, duplicates: 2, deaths: 2, sweeps: 1, mutant: None };
    search("declare: three deployments, two deaths, a look", declare.clone());
    for mutant in declare::Mutant::ALL {
        search(&format!("fault: {mutant:?}"), Declare { mutant: Some(mutant), ..declare.clone() });
    }
    for mutant in token::Mutant::ALL {
        search(&format!("fault: {mutant:?}"), Token { mutant: Some(mutant), ..token.clone() });
    }
}

/// The limit of a queue.
fn limits() {
    let dying = Flow { deaths: 1, ends: 1, ..Flow::plain() };
    let raised = [Flow::paused(), vec![Setting::limit(2)]].concat();
    let lowered = vec![Setting::limit(2), Setting::limit(1), Setting::limit(2)];
    for (name, model) in [
        ("three runs, a death, an end of a lease", Flow { runs: 3, ..dying.clone() }),
        ("two attempts, a death, an end of a lease", Flow { attempts: 2, ..dying.clone() }),
        ("a suspension, a death, an end of a lease", Flow { suspensions: 1, ..dying.clone() }),
        ("a duplicate, a cancellation", Flow { duplicates: 1, cancels: 1, ..dying.clone() }),
        ("two hands, two deaths, a sweep", Flow { twins: 1, sweeps: 1, deaths: 2, ..dying.clone() }),
        ("a pause, then two places", Flow { settings: raised, ..dying.clone() }),
        ("lowered below what runs, and raised", Flow { settings: lowered, runs: 3, deaths: 1, ..Flow::plain() }),
        ("three runs, an old look", Flow { runs: 3, stalls: 1, ..dying.clone() }),
        ("a duplicate, four processes at a time", Flow { duplicates: 1, hands: 4, ..dying }),
    ] {
        search(&format!("limit: {name}"), model);
    }
    for mutant in flow::Mutant::ALL {
        search(&format!("fault in a limit: {mutant:?}"), Flow::planted(mutant));
    }
}

fn search<M>(name: &str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: std::hash::Hash + Send + Sync + std::fmt::Debug + PartialEq + Clone,
    M::Action: Send + Sync + std::fmt::Debug + PartialEq + Clone,
{
    if std::env::args().nth(1).is_some_and(|part| !name.contains(&part)) {
        return;
    }
    let start = Instant::now();
    let checker = model.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let found = oncekey_model::broken(&checker);
    let found = found.as_deref().map_or("nothing", |property| property);
    println!(
        "| {name:<58} | {:>10} | {:>7.1} | {:<28} |",
        checker.unique_state_count(),
        start.elapsed().as_secs_f64(),
        found.split(':').next().unwrap_or(found)
    );
}
