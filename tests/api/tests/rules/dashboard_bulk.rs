//! The pages of bulk actions, and the buttons that make and stop them.

use std::time::Duration;

use oncekey_tests_api::{DEV, Oncekey, PROD, Place};
use reqwest::StatusCode;
use serde_json::json;

use super::bulk::{counts, delayed, ended, seen, unsent};
use super::dashboard::{Visitor, led_to};

/// What a page has that keeps itself up to date.
const LIVE: &str = "id=\"live\" data-live";

/// Where a link of the page leads.
fn link(page: &str, name: &str) -> Option<String> {
    let (before, _) = page.split_once(&format!("\">{name}</a>"))?;
    before.rsplit("href=\"").next().map(|link| link.replace("&amp;", "&"))
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_a_filter_shows_is_cancelled_or_replayed_by_two_buttons_of_which_the_second_asks() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let (mine, others) = (delayed(&oncekey, 3, "a&b").await, delayed(&oncekey, 1, "others").await);
    oncekey.clock.advance(Duration::from_secs(1));
    let visitor = Visitor::signed_in(&oncekey, DEV).await;
    assert!(!visitor.get("/runs").await.contains("all of these"), "nothing is said of which");
    let list = visitor.get("/runs?tag=a%26b&status=DELAYED").await;
    let ask = link(&list, "Cancel all of these…").unwrap();
    assert_eq!(ask, "/bulk?status=DELAYED&tag=a%26b&action=cancel");
    let page = visitor.get(&ask).await;
    assert!(page.contains("3 runs:") && page.contains("Cancel all</button>"), "{page}");
    assert!(mine.iter().all(|run| page.contains(run)) && !page.contains(&others[0]));
    assert_eq!(oncekey.run(&mine[0]).await["status"], "DELAYED", "asking changes nothing");
    let fields = [("request", "one"), ("action", "cancel"), ("tag", "a&b"), ("status", "DELAYED")];
    let pressed = visitor.send(&ask, "/bulk", &fields).await;
    let action = led_to(&pressed).to_owned();
    // Pressed twice, it is one.
    assert_eq!(led_to(&visitor.send(&ask, "/bulk", &fields).await), action);
    let id = action.strip_prefix("/bulk/").unwrap();
    assert_eq!(ended(&oncekey, id).await["counts"], counts(3, 3, 0));
    let page = visitor.get(&action).await;
    assert!(page.contains("COMPLETED") && page.contains("<dt>Cancelled</dt><dd>3</dd>"), "{page}");
    assert!(!page.contains(LIVE) && !page.contains("Stop</button>"), "{page}");
    // What has ended can be replayed alone.
    let list = visitor.get("/runs?tag=a%26b&status=CANCELED").await;
    assert_eq!(link(&list, "Cancel all of these…"), None);
    let ask = link(&list, "Replay all of these…").unwrap();
    let fields = [("request", "two"), ("action", "replay"), ("tag", "a&b"), ("status", "CANCELED")];
    let action = led_to(&visitor.send(&ask, "/bulk", &fields).await).to_owned();
    assert_eq!(ended(&oncekey, action.strip_prefix("/bulk/").unwrap()).await["counts"], counts(3, 3, 0));
    assert_eq!(oncekey.all_runs().await.len(), 7);
    assert_eq!(oncekey.run(&others[0]).await["status"], "DELAYED");
    let none = visitor.get("/bulk?tag=none&action=cancel").await;
    assert!(none.contains("No run is like that.") && !none.contains("Cancel all</button>"), "{none}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_action_is_listed_watched_and_stopped_in_its_environment() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let visitor = Visitor::signed_in(&oncekey, DEV).await;
    assert!(visitor.get("/bulk").await.contains("There are none."));
    let ids = delayed(&oncekey, 2, "mine").await;
    oncekey.clock.advance(Duration::from_secs(1));
    let action = unsent(&oncekey, "r", &json!({ "action": "cancel", "name": "<b>", "runIds": ids })).await;
    let page = format!("/bulk/{}", action.id);
    let watched = visitor.get(&page).await;
    assert!(watched.contains(LIVE) && watched.contains("Stop</button>"), "{watched}");
    assert!(watched.contains("<dt>Runs</dt><dd>2</dd>") && watched.contains("&lt;b&gt;"), "{watched}");
    let listed = visitor.get("/bulk").await;
    assert!(listed.contains(&page) && listed.contains("0 of 2") && listed.contains("PENDING"), "{listed}");
    let stranger = Visitor::signed_in(&oncekey, PROD).await;
    assert!(!stranger.get("/bulk").await.contains(&page));
    assert_eq!(stranger.ask(&page).await.status(), StatusCode::NOT_FOUND);
    let abort = format!("{page}/abort");
    assert_eq!(stranger.send("/bulk", &abort, &[]).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(visitor.send_with("guessed", &abort, &[]).await.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(seen(&oncekey, action.id.as_str()).await["status"], "PENDING");
    for _ in 0..2 {
        assert_eq!(led_to(&visitor.send("/bulk", &abort, &[]).await), page);
    }
    assert!(visitor.get(&page).await.contains("ABORTED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_form_is_about_all_runs_or_about_what_nobody_can_do() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let run = delayed(&oncekey, 1, "mine").await.remove(0);
    oncekey.clock.advance(Duration::from_secs(1));
    let visitor = Visitor::signed_in(&oncekey, DEV).await;
    for fields in [
        &[("request", "r"), ("action", "cancel")][..],
        &[("request", "r"), ("action", "delete"), ("tag", "mine")],
        &[("request", "r"), ("tag", "mine")],
        &[("action", "cancel"), ("tag", "mine")],
        &[("request", "r"), ("action", "cancel"), ("status", "DONE")],
    ] {
        assert_eq!(visitor.send("/runs", "/bulk", fields).await.status(), StatusCode::BAD_REQUEST, "{fields:?}");
    }
    let forged =
        visitor.send_with("guessed", "/bulk", &[("request", "r"), ("action", "cancel"), ("tag", "mine")]).await;
    assert_eq!(forged.status(), StatusCode::UNPROCESSABLE_ENTITY);
    for query in ["action=cancel", "action=delete&tag=mine", "action=cancel&status=DONE", "after=x", "before=x"] {
        assert_eq!(visitor.ask(&format!("/bulk?{query}")).await.status(), StatusCode::BAD_REQUEST, "{query}");
    }
    assert_eq!(visitor.ask("/bulk/bulk_x").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(oncekey.run(&run).await["status"], "DELAYED");
    assert!(visitor.get("/bulk").await.contains("There are none."));
}
