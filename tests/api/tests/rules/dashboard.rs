//! The dashboard's doors: who may see a page, what a form must carry, what a page may hold. What it looks like and does in a
//! browser is told in `tests/browser`.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use oncekey_core::EnvironmentId;
use oncekey_core::environment::{create, hash_api_key, revoke};
use oncekey_tests_api::{DEV, Oncekey, PROD, Place, run_id};
use oncekey_worker::{Context, Task, Worker};
use reqwest::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

use super::tokens::{created, shown};

/// A browser, as far as these rules need one: it keeps its cookie and follows nothing.
pub(crate) struct Visitor<'a> {
    oncekey: &'a Oncekey,
    http: Client,
    cookie: String,
}

impl<'a> Visitor<'a> {
    /// One that has seen the form to sign in, and no more.
    async fn at_the_door(oncekey: &'a Oncekey) -> Self {
        let http = Client::builder().redirect(Policy::none()).build().unwrap();
        let mut visitor = Self { oncekey, http, cookie: String::new() };
        let form = visitor.ask("/sign-in").await;
        visitor.keep(&form);
        visitor
    }

    /// One that has signed in.
    pub(crate) async fn signed_in(oncekey: &'a Oncekey, api_key: &str) -> Self {
        let mut visitor = Self::at_the_door(oncekey).await;
        let answer = visitor.send("/sign-in", "/sign-in", &[("key", api_key)]).await;
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        visitor.keep(&answer);
        visitor
    }

    fn keep(&mut self, answer: &Response) {
        let set = answer.headers()[SET_COOKIE].to_str().unwrap();
        self.cookie = set.split(';').next().unwrap().to_owned();
    }

    pub(crate) async fn ask(&self, path: &str) -> Response {
        self.http.get(self.oncekey.url(path)).header(COOKIE, &self.cookie).send().await.unwrap()
    }

    /// A page's text.
    pub(crate) async fn get(&self, path: &str) -> String {
        let answer = self.ask(path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.text().await.unwrap()
    }

    /// Sends a form of the page at `from`, with the token that this page has.
    pub(crate) async fn send(&self, from: &str, action: &str, fields: &[(&str, &str)]) -> Response {
        let page = self.get(from).await;
        let token = page.split("name=\"token\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        self.send_with(token, action, fields).await
    }

    pub(crate) async fn send_with(&self, token: &str, action: &str, fields: &[(&str, &str)]) -> Response {
        let fields = fields.iter().copied().chain([("token", token)]).map(|(name, value)| {
            let hex: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
            format!("{name}={hex}")
        });
        let body = fields.collect::<Vec<_>>().join("&");
        let request = self.http.post(self.oncekey.url(action)).header(COOKIE, &self.cookie).body(body);
        request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").send().await.unwrap()
    }
}

pub(crate) fn led_to(answer: &Response) -> &str {
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    answer.headers()[LOCATION].to_str().unwrap()
}

const PAGES: [&str; 10] =
    ["/", "/runs", "/runs/run_x", "/bulk", "/bulk/bulk_x", "/queues", "/schedules", "/tokens", "/keys", "/try"];
const FORMS: [&str; 11] = [
    "/queues",
    "/bulk",
    "/bulk/bulk_x/abort",
    "/runs/run_x/cancel",
    "/runs/run_x/replay",
    "/runs/run_x/reset",
    "/tokens",
    "/keys",
    "/try",
    "/environment",
    "/sign-out",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_page_and_form_asks_to_sign_in() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let stranger = Visitor::at_the_door(&oncekey).await;
    for page in PAGES {
        let answer = stranger.ask(page).await;
        assert_eq!(led_to(&answer), format!("/sign-in?to={}", page.replace('/', "%2F")));
    }
    for form in FORMS {
        assert_eq!(led_to(&stranger.send_with("", form, &[]).await), "/sign-in?to=%2F", "{form}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_a_cookie_that_scripts_other_sites_and_plain_http_do_not_get() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let visitor = Visitor::at_the_door(&oncekey).await;
    let wrong = visitor.send("/sign-in", "/sign-in", &[("key", "tr_unknown")]).await;
    assert_eq!((wrong.status(), wrong.headers().get(SET_COOKIE)), (StatusCode::OK, None));
    assert!(wrong.text().await.unwrap().contains("This API key is unknown"));
    let right = visitor.send("/sign-in", "/sign-in", &[("key", DEV), ("to", "//elsewhere.example")]).await;
    assert_eq!(led_to(&right), "/");
    let cookie = right.headers()[SET_COOKIE].to_str().unwrap();
    for attribute in ["HttpOnly", "Secure", "SameSite=Strict", "Path=/"] {
        assert!(cookie.split("; ").any(|part| part == attribute), "{attribute} in {cookie}");
    }
    // Twelve hours, less what has passed since the session began.
    let max_age = cookie.split("; ").find_map(|part| part.strip_prefix("Max-Age=")?.parse().ok());
    assert!(max_age.is_some_and(|seconds: u64| (42_600..=43_200).contains(&seconds)), "{cookie}");
    assert!(!cookie.contains(DEV), "{cookie}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_copies_a_session_learns_nothing_with_which_public_tokens_are_signed() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let acme = EnvironmentId::parse("acme/prod").unwrap();
    let key = create(&oncekey.app().store, &oncekey.clock, &acme).await.unwrap();
    let hash = hash_api_key(key.reveal());
    let visitor = Visitor::signed_in(&oncekey, key.reveal()).await;
    let told = visitor.cookie.split(['=', '.']).nth(1).unwrap();
    let told = String::from_utf8(BASE64URL_NOPAD.decode(told.as_bytes()).unwrap()).unwrap();
    assert!(told.contains("keys") && !told.contains(&hash[..16]), "{told}");
    assert!(visitor.get("/").await.contains("acme/prod"));
    // It ends with its key all the same.
    revoke(&oncekey.app().store, &oncekey.clock, &acme, &hash[..10]).await.unwrap();
    oncekey.clock.advance(Duration::from_secs(60));
    assert!(led_to(&visitor.ask("/").await).starts_with("/sign-in"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_changed_or_is_over_opens_nothing() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let mut visitor = Visitor::signed_in(&oncekey, DEV).await;
    let signed = visitor.cookie.clone();
    let (name, value) = signed.split_once('=').unwrap();
    let (told, signature) = value.split_once('.').unwrap();
    let other = if told.starts_with('e') { "f" } else { "e" };
    for forged in [
        format!("{name}={other}{}.{signature}", &told[1..]),
        format!("{name}={told}."),
        format!("{name}={told}"),
        format!("{name}=.{signature}"),
        format!("{name}=%00.%ff"),
    ] {
        visitor.cookie = forged;
        assert!(led_to(&visitor.ask("/").await).starts_with("/sign-in"), "{}", visitor.cookie);
    }
    visitor.cookie = signed;
    oncekey.clock.advance(Duration::from_secs(12 * 60 * 60 - 60));
    visitor.get("/").await;
    oncekey.clock.advance(Duration::from_secs(61));
    assert!(led_to(&visitor.ask("/").await).starts_with("/sign-in"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_its_api_key() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let (store, acme) = (&oncekey.app().store, EnvironmentId::parse("acme/prod").unwrap());
    let key = create(store, &oncekey.clock, &acme).await.unwrap();
    let visitor = Visitor::signed_in(&oncekey, key.reveal()).await;
    assert!(visitor.get("/").await.contains("acme/prod"));
    let all = store.api_keys().await.unwrap();
    let name = all.iter().find(|record| record.environment == acme).unwrap().name().to_owned();
    revoke(store, &oncekey.clock, &acme, &name).await.unwrap();
    oncekey.clock.advance(Duration::from_secs(61));
    assert!(led_to(&visitor.ask("/").await).starts_with("/sign-in"));
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_a_session_sees_the_environments_that_it_has_keys_of_and_no_other() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let run = oncekey.trigger("echo", json!({ "options": { "idempotencyKey": "k", "delay": "1h" } })).await;
    let mut visitor = Visitor::signed_in(&oncekey, PROD).await;
    assert!(!visitor.get("/").await.contains("local/dev"));
    assert!(visitor.get("/runs").await.contains("There are no runs yet"));
    assert_eq!(visitor.ask(&format!("/runs/{}", run.id)).await.status(), StatusCode::NOT_FOUND);
    assert!(!visitor.get("/keys?task=echo&key=k").await.contains(&run.id));
    for (action, status) in
        [("cancel", StatusCode::NOT_FOUND), ("replay", StatusCode::NOT_FOUND), ("reset", StatusCode::NOT_FOUND)]
    {
        let fields = [("request", "r")];
        let answer = visitor.send("/", &format!("/runs/{}/{action}", run.id), &fields).await;
        assert_eq!(answer.status(), status, "{action}");
    }
    let claimed_at = oncekey.app().store.run(&run_id(&run.id)).await.unwrap().unwrap().spec.created_at;
    let since = claimed_at.millis().to_string();
    let token = created(&oncekey, json!({})).await;
    assert!(!visitor.get("/tokens").await.contains(token["id"].as_str().unwrap()));
    let press = [("approve", token["id"].as_str().unwrap()), ("back", "/tokens")];
    let answer = visitor.send("/", "/tokens", &press).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    assert_eq!(shown(&oncekey, &token).await["status"], "WAITING");
    let holder = [("task", "echo"), ("key", "k"), ("holder", run.id.as_str()), ("since", since.as_str())];
    assert!(led_to(&visitor.send("/", "/keys", &holder).await).starts_with("/keys?"));
    assert_eq!(oncekey.run(&run.id).await["idempotencyKey"], "k");

    // With the other key too, one may switch.
    let answer = visitor.send("/sign-in", "/sign-in", &[("key", DEV)]).await;
    visitor.keep(&answer);
    assert!(visitor.get(&format!("/runs/{}", run.id)).await.contains(&run.id));
    let answer = visitor.send("/", "/environment", &[("chosen", "1")]).await;
    visitor.keep(&answer);
    assert_eq!(visitor.ask(&format!("/runs/{}", run.id)).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_no_page_of_the_session_sent_changes_nothing() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let run = oncekey.trigger("echo", json!({ "options": { "idempotencyKey": "k", "delay": "1h" } })).await;
    let waits = created(&oncekey, json!({})).await;
    let visitor = Visitor::signed_in(&oncekey, DEV).await;
    for token in ["", "guessed"] {
        for action in ["cancel", "replay", "reset"] {
            let answer = visitor.send_with(token, &format!("/runs/{}/{action}", run.id), &[("request", "r")]).await;
            assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{action}");
        }
        let answer = visitor.send_with(token, "/try", &[("task", "echo"), ("request", "r")]).await;
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
        let answer = visitor.send_with(token, "/tokens", &[("approve", waits["id"].as_str().unwrap())]).await;
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    }
    assert_eq!(shown(&oncekey, &waits).await["status"], "WAITING");
    assert_eq!(oncekey.all_runs().await, [run.id.as_str()]);
    assert_eq!(
        (&oncekey.run(&run.id).await["status"], oncekey.keyed("echo", "k").await.id),
        (&json!("DELAYED"), run.id)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn buttons_may_be_pressed_twice() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let run = oncekey.trigger("echo", json!({ "payload": 7, "options": { "idempotencyKey": "k" } })).await;
    oncekey.finished(&run.id).await;
    let visitor = Visitor::signed_in(&oncekey, DEV).await;
    let page = format!("/runs/{}", run.id);
    let replay = || async {
        let answer = visitor.send(&page, &format!("{page}/replay"), &[("request", "the same")]).await;
        led_to(&answer).to_owned()
    };
    assert_eq!(replay().await, replay().await);
    assert_eq!(oncekey.all_runs().await.len(), 2);
    // The page is old when its key has gone to another run: that run keeps it.
    for _ in 0..2 {
        led_to(&visitor.send(&page, &format!("{page}/reset"), &[]).await);
    }
    let next = oncekey.keyed("echo", "k").await;
    led_to(&visitor.send(&page, &format!("{page}/reset"), &[]).await);
    assert_eq!(oncekey.keyed("echo", "k").await.id, next.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_runs_no_script_but_ours_escapes_what_users_gave_and_is_small() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let evil = "</pre><script>alert(1)</script>'\"";
    let options = json!({ "idempotencyKey": evil, "tags": [evil], "metadata": { "m": evil } });
    let run = oncekey.trigger("fail", json!({ "payload": evil, "options": options })).await;
    oncekey.finished(&run.id).await;
    for n in 0..120 {
        oncekey.trigger("echo", json!({ "options": { "idempotencyKey": format!("order-{n}") } })).await;
    }
    for n in 0..60 {
        created(&oncekey, json!({ "idempotencyKey": format!("{evil}{n}"), "tags": [evil] })).await;
    }
    let visitor = Visitor::signed_in(&oncekey, DEV).await;
    let of_run = format!("/runs/{}", run.id);
    let filtered =
        "/tokens?status=waiting&tag=%3C/pre%3E%3Cscript%3Ealert(1)%3C/script%3E'%22&done=approved&token=%3Cscript%3E";
    for path in ["/", "/runs", &of_run, "/tokens", filtered, "/keys?task=fail&key=%3Cscript%3Ealert(1)", "/try"] {
        let answer = visitor.ask(path).await;
        let policy = answer.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
        let page = answer.text().await.unwrap();
        assert_eq!((page.matches("<script").count(), page.matches("alert(1)</script").count()), (1, 0), "{path}");
        assert!(page.len() < 60_000, "{path} has {} bytes", page.len());
        assert!(!page.contains(DEV), "{path}");
    }
    for path in [&of_run, "/tokens", filtered] {
        let page = visitor.get(path).await;
        assert!(page.contains("&lt;/pre&gt;&lt;script&gt;alert(1)"), "{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_is_told_on_a_page() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let visitor = Visitor::signed_in(&oncekey, DEV).await;
    for (path, status, text) in [
        ("/runs?status=DONE", 400, "is not a status"),
        ("/runs?after=x", 400, "is not a cursor"),
        ("/runs?period=soon", 400, "give a span"),
        ("/runs?task=%20", 200, "There are no runs yet"),
        ("/runs?task=none", 200, "No run is like that"),
        ("/runs?task=a%20b", 400, "use 1 to 128 characters"),
        ("/runs/nothing", 404, "there is no run"),
        ("/tokens?status=DONE", 400, "is not a status"),
        ("/tokens?before=x", 400, "is not a cursor"),
        ("/tokens?status=", 200, "There are no wait tokens yet"),
        ("/tokens?tag=none", 200, "No token is like that"),
        ("/keys?task=echo&key=k&scope=attempt&parent=run_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 400, "give its number"),
    ] {
        let answer = visitor.ask(path).await;
        assert_eq!(answer.status().as_u16(), status, "{path}");
        assert!(answer.text().await.unwrap().contains(text), "{path}");
    }
    for (fields, text) in [
        ([("task", "echo"), ("payload", "{"), ("ttl", "")], "it is not JSON"),
        ([("task", "a b"), ("payload", ""), ("ttl", "")], "use 1 to 128 characters"),
        ([("task", "echo"), ("payload", ""), ("ttl", "10x")], "is not a duration"),
    ] {
        let fields: Vec<_> = fields.into_iter().chain([("request", "r"), ("key", "k")]).collect();
        let answer = visitor.send("/try", "/try", &fields).await;
        assert!(answer.text().await.unwrap().contains(text), "{text}");
    }
    assert!(oncekey.all_runs().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_its_run_holds_no_more_is_marked_in_the_list() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    oncekey.finished(&oncekey.keyed("fail", "k").await.id).await;
    let visitor = Visitor::signed_in(&oncekey, DEV).await;
    assert!(visitor.get("/runs?key=k").await.contains(">k</div><span class=\"muted\">(freed)<"));
    oncekey.keyed("echo", "k").await;
    let page = visitor.get("/runs?key=k").await;
    assert_eq!((page.matches("(freed)").count(), page.matches("class=\"key\"").count()), (1, 2), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_page_of_a_key_frees_no_later_claim_of_it() {
    let Some(place) = Place::own_stack() else { return };
    let oncekey = Oncekey::start(place).await;
    let visitor = Visitor::signed_in(&oncekey, DEV).await;
    let first = oncekey.keyed("echo", "k").await;
    let page = visitor.get("/keys?task=echo&key=k").await;
    let hidden = |name: &str| {
        let field = page.split(&format!("name=\"{name}\" value=\"")).nth(1).unwrap();
        field.split('"').next().unwrap().to_owned()
    };
    let (holder, since) = (hidden("holder"), hidden("since"));
    assert_eq!(holder, first.id);
    let fields = [("task", "echo"), ("key", "k"), ("holder", holder.as_str()), ("since", since.as_str())];
    visitor.send("/", "/keys", &fields).await;
    let second = oncekey.keyed("echo", "k").await;
    assert_ne!(second.id, first.id);
    visitor.send("/", "/keys", &fields).await;
    assert_eq!(oncekey.keyed("echo", "k").await.id, second.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tasks_of_a_worker_in_the_same_process_are_shown_before_they_have_run() {
    let Some(place) = Place::here_alone("a worker elsewhere is not known") else { return };
    let task = |id: &str| Task::new(id, |_: Context, _: Value| async { Ok(()) });
    let worker = Worker::new().task(task("send-email")).task(task("charge"));
    let oncekey = Oncekey::running(place, worker.clone(), |options| options).await;
    let visitor = Visitor::signed_in(&oncekey, DEV).await;
    let home = visitor.get("/").await;
    assert!(home.contains("/api/v1/tasks/charge/trigger") && home.contains("<code>send-email</code>"), "{home}");
    let form = visitor.get("/try").await;
    assert!(form.contains("<option value=\"charge\"></option><option value=\"send-email\"></option>"), "{form}");
    oncekey.finished(&oncekey.trigger("charge", json!({})).await.id).await;
    assert!(visitor.get("/").await.contains("/runs?task=send-email"));
    // As a change of the files does.
    worker.replace([task("echo")]);
    assert!(visitor.get("/try").await.contains("name=\"task\" list=\"tasks\" value=\"echo\""));
}
