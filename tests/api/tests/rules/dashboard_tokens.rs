//! The page of wait tokens, and the buttons that complete them.

use std::time::Duration;

use oncekey_tests_api::{DEV, Oncekey, Place};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::dashboard::{Visitor, led_to};
use super::tokens::{completed, created, shown};

fn id(token: &Value) -> &str {
    token["id"].as_str().unwrap()
}

/// The tokens of a page, in order, each with whether it has buttons.
fn rows(page: &str) -> Vec<(&str, bool)> {
    let rows = page.split("<tr><td><span class=\"id\">").skip(1);
    rows.map(|row| (row.split('<').next().unwrap(), row.contains("name=\"approve\""))).collect()
}

/// Where a link of the page leads.
fn link<'a>(page: &'a str, name: &str) -> Option<&'a str> {
    let (before, _) = page.split_once(&format!("\">{name}</a>"))?;
    before.rsplit("href=\"").next()
}

async fn output(oncekey: &Oncekey, token: &Value) -> Value {
    serde_json::from_str(shown(oncekey, token).await["output"].as_str().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_listed_newest_first_page_by_page_and_those_that_wait_have_buttons() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::frozen(place).await;
    let mut made = Vec::new();
    for number in 0..60 {
        oncekey.clock.advance(Duration::from_millis(1));
        let (timeout, tag) = (if number == 58 { "1m" } else { "1d" }, if number % 2 == 0 { "even" } else { "odd" });
        made.insert(0, created(&oncekey, json!({ "timeout": timeout, "tags": [tag] })).await);
    }
    completed(&oncekey, &made[0], json!(1)).await;
    oncekey.clock.advance(Duration::from_secs(90));
    let all: Vec<_> = made.iter().enumerate().map(|(number, token)| (id(token), number > 1)).collect();
    let visitor = Visitor::signed_in(&oncekey, DEV).await;
    let first = visitor.get("/tokens").await;
    assert_eq!(rows(&first), all[..50]);
    for (number, told) in ["COMPLETED", "TIMED_OUT", "WAITING"].into_iter().enumerate() {
        let row = first.split("<tr>").nth(number + 2).unwrap();
        assert!(
            row.contains(told) && row.contains(if number < 2 { " ago</time>" } else { ">in 23 h</time>" }),
            "{row}"
        );
    }
    assert_eq!(link(&first, "← Newer"), None);
    let second = visitor.get(link(&first, "Older →").unwrap()).await;
    assert_eq!((rows(&second), link(&second, "Older →")), (all[50..].to_vec(), None));
    assert_eq!(rows(&visitor.get(link(&second, "← Newer").unwrap()).await), all[..50]);

    let odd = visitor.get("/tokens?status=WAITING&tag=odd").await;
    let waiting: Vec<_> = all[2..].iter().copied().step_by(2).collect();
    assert_eq!(rows(&odd), waiting);
    assert!(odd.contains("name=\"back\" value=\"/tokens?status=WAITING&amp;tag=odd\""), "{odd}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_button_completes_a_token_once_and_leads_back_to_its_page() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let (one, other) = (created(&oncekey, json!({})).await, created(&oncekey, json!({})).await);
    let over = created(&oncekey, json!({ "timeout": "1s" })).await;
    oncekey.clock.advance(Duration::from_secs(2));
    let visitor = Visitor::signed_in(&oncekey, DEV).await;
    let press = async |token: &Value, button: &str, back: &str| {
        visitor.send("/tokens", "/tokens", &[(button, id(token)), ("back", back)]).await
    };
    for (token, button, back, led, stands) in [
        (&one, "approve", "/tokens", "/tokens?done=approved", json!({ "approved": true })),
        (&one, "approve", "/tokens?tag=a", "/tokens?tag=a&done=approved", json!({ "approved": true })),
        (&one, "reject", "/tokens", "/tokens?done=ended", json!({ "approved": true })),
        (&other, "reject", "//evil.example", "/?done=rejected", json!({ "approved": false })),
    ] {
        assert_eq!(led_to(&press(token, button, back).await), format!("{led}&token={}", id(token)));
        assert_eq!(output(&oncekey, token).await, stands);
    }
    let late = press(&over, "approve", "/tokens").await;
    assert_eq!(led_to(&late), format!("/tokens?done=ended&token={}", id(&over)));
    assert_eq!(shown(&oncekey, &over).await["status"], "TIMED_OUT");
    let told = visitor.get(led_to(&late)).await;
    assert!(
        told.contains("Nothing was changed") && told.contains(&format!("<span class=\"id\">{}", id(&over))),
        "{told}"
    );

    let waits = created(&oncekey, json!({})).await;
    assert_eq!(press(&waits, "maybe", "/tokens").await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(press(&json!({ "id": "waitpoint_x" }), "approve", "/tokens").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(shown(&oncekey, &waits).await["status"], "WAITING");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_waits_for_a_token_is_approved_on_its_page() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let run = oncekey.trigger("wait-for-token", json!({})).await.id;
    let waiting = oncekey.in_status(&run, "WAITING").await;
    let token = waiting["waitingFor"]["tokens"][0].as_str().unwrap();
    let visitor = Visitor::signed_in(&oncekey, DEV).await;
    let page = format!("/runs/{run}");
    let shown = visitor.get(&page).await;
    for button in ["approve", "reject"] {
        assert_eq!(shown.matches(&format!("name=\"{button}\" value=\"{token}\"")).count(), 1, "{shown}");
    }
    assert!(shown.contains(&format!("name=\"back\" value=\"{page}\"")), "{shown}");
    let pressed = visitor.send(&page, "/tokens", &[("approve", token), ("back", &page)]).await;
    assert_eq!(led_to(&pressed), format!("{page}?done=approved&token={token}"));
    assert!(visitor.get(led_to(&pressed)).await.contains("Approved: whoever waits"));
    assert_eq!(oncekey.finished(&run).await["output"], json!({ "approved": true }));
    assert!(!visitor.get(&page).await.contains("name=\"approve\""));
}
