use oncekey_core::Timestamp;

use super::receive::Received;
use super::schedules::Schedule;
use super::*;

const VISIBILITY: Duration = Duration::from_secs(30);

fn queues(file: Option<&Path>, clock: &Clock) -> Queues {
    let queue = |name: &str, redrive| QueueSettings { name: name.to_owned(), visibility_timeout: VISIBILITY, redrive };
    let settings = vec![queue("work", Some((2, "dead".to_owned()))), queue("dead", None)];
    Queues::open(file, settings, clock.clone()).expect("queues")
}

fn send(queues: &Queues, body: &str, delay: Duration) {
    queues.send("work", &[(body.to_owned(), "{}".to_owned(), delay)]).expect("send");
}

fn receive(queues: &Queues, name: &str) -> Vec<Received> {
    let queue = queues.settings(name).expect("queue");
    queues.receive_now(queue, 10, VISIBILITY).expect("receive")
}

fn frozen() -> Clock {
    Clock::frozen(Timestamp::from_millis(1_000_000))
}

#[test]
fn a_received_message_is_hidden_until_its_timeout_and_then_comes_again() {
    let clock = frozen();
    let queues = queues(None, &clock);
    send(&queues, "a", Duration::ZERO);
    assert_eq!(receive(&queues, "work").len(), 1);
    assert_eq!(receive(&queues, "work").len(), 0);
    clock.advance(VISIBILITY);
    assert_eq!(receive(&queues, "work")[0].receive_count, 2);
}

#[test]
fn a_delayed_message_comes_when_it_is_due() {
    let clock = frozen();
    let queues = queues(None, &clock);
    send(&queues, "a", Duration::from_secs(5));
    assert_eq!(receive(&queues, "work").len(), 0);
    clock.advance(Duration::from_secs(5));
    assert_eq!(receive(&queues, "work").len(), 1);
}

#[test]
fn a_message_received_too_often_goes_to_the_dead_letter_queue() {
    let clock = frozen();
    let queues = queues(None, &clock);
    send(&queues, "a", Duration::ZERO);
    for _ in 0..2 {
        assert_eq!(receive(&queues, "work").len(), 1);
        clock.advance(VISIBILITY);
    }
    assert_eq!(receive(&queues, "work").len(), 0);
    assert_eq!(receive(&queues, "dead")[0].body, "a");
}

#[test]
fn only_the_latest_receipt_deletes() {
    let clock = frozen();
    let queues = queues(None, &clock);
    send(&queues, "a", Duration::ZERO);
    let old = receive(&queues, "work").remove(0).receipt;
    clock.advance(VISIBILITY);
    let new = receive(&queues, "work").remove(0).receipt;
    queues.delete(&[old]).expect("delete");
    assert_eq!(queues.depth("work").expect("depth").in_flight, 1);
    queues.delete(&[new]).expect("delete");
    assert_eq!(queues.depth("work").expect("depth").in_flight, 0);
}

#[test]
fn messages_survive_the_process_and_those_in_flight_come_again_at_once() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("queues");
    let clock = frozen();
    let before = queues(Some(&file), &clock);
    send(&before, "received", Duration::ZERO);
    assert_eq!(receive(&before, "work").len(), 1);
    send(&before, "delayed", Duration::from_secs(5));
    drop(before);
    let after = queues(Some(&file), &clock);
    let bodies: Vec<_> = receive(&after, "work").into_iter().map(|message| message.body).collect();
    assert_eq!(bodies, ["received"]);
}

#[tokio::test]
async fn a_long_poll_ends_when_a_message_arrives() {
    let queues = queues(None, &Clock::system());
    let waiting = queues.clone();
    let poll = tokio::spawn(async move {
        let queue = waiting.settings("work").expect("queue").clone();
        waiting.receive(&queue, 1, VISIBILITY, Duration::from_secs(60)).await.expect("receive")
    });
    tokio::task::yield_now().await;
    send(&queues, "a", Duration::ZERO);
    assert_eq!(poll.await.expect("poll").len(), 1);
}

fn schedule(name: &str, at: Timestamp, every: Option<Duration>) -> Schedule {
    Schedule {
        group: "default".to_owned(),
        name: name.to_owned(),
        at,
        every,
        queue: "work".to_owned(),
        dead_letter: None,
        input: name.to_owned(),
        is_kept: every.is_some(),
        client_token: None,
        document: "{}".to_owned(),
        created_at: at,
        updated_at: at,
    }
}

fn bodies(queues: &Queues) -> Vec<String> {
    receive(queues, "work").into_iter().map(|message| message.body).collect()
}

#[test]
fn schedules_outlive_the_process_and_send_once_and_at_a_rate_once_for_the_times_that_were_missed() {
    let folder = tempfile::tempdir().expect("folder");
    let (file, clock) = (folder.path().join("queues.sqlite"), frozen());
    let hour = Duration::from_secs(3_600);
    let first = queues(Some(&file), &clock);
    for (name, every) in [("once", None), ("hourly", Some(hour))] {
        first.create_schedule(&schedule(name, clock.now().plus(hour), every)).expect("schedule");
    }
    assert!(bodies(&first).is_empty());
    drop(first);
    clock.advance(hour * 4 + hour / 2);
    let again = queues(Some(&file), &clock);
    let mut sent = bodies(&again);
    sent.sort();
    assert_eq!(sent, ["hourly", "once"]);
    again.lock().execute("DELETE FROM messages", []).expect("delete");
    clock.advance(hour / 2);
    assert_eq!(bodies(&again), ["hourly"]);
}
