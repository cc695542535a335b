//! The table of routes is all there is: the routers, the template and the description of the API have what it has, and
//! nothing else.

use std::collections::BTreeSet;
use std::path::Path;

use oncekey_http::routes::{self, Access, Function, Route};
use oncekey_tests_api::Oncekey;
use reqwest::StatusCode;
use reqwest::redirect::Policy;
use serde_json::Value;

const TEMPLATE: &str = include_str!("../../../../infra/template.yaml");

fn name(route: &Route) -> String {
    format!("{} {}", route.method(), route.path)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_served_to_whom_the_table_says() {
    let oncekey = Oncekey::anywhere().await;
    let http = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
    for route in routes::ALL {
        let path = route.path.replace(['{', '}'], "");
        let answer = http.request(route.method(), oncekey.url(&path)).send().await.unwrap();
        let (status, name) = (answer.status(), name(&route));
        assert!(![StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED].contains(&status), "{name} is not served");
        let led_to_sign_in =
            answer.headers().get("location").is_some_and(|to| to.to_str().unwrap().starts_with("/sign-in"));
        let access = match status {
            StatusCode::UNAUTHORIZED => Access::ApiKey,
            _ if led_to_sign_in => Access::Session,
            _ => Access::Anyone,
        };
        assert_eq!(access, route.access, "{name}: {status}");
    }
}

#[test]
fn no_router_names_a_path_that_is_not_in_the_table() {
    let functions = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../functions");
    let mut served = BTreeSet::new();
    for function in std::fs::read_dir(functions).unwrap() {
        let source = function.unwrap().path().join("src/lib.rs");
        let source = std::fs::read_to_string(&source).unwrap();
        for (at, _) in source.match_indices(".route(") {
            let argument = source[at + ".route(".len()..].trim_start();
            let named = argument.strip_prefix("routes::").and_then(|rest| rest.split_once(".path"));
            let (route, _) = named.unwrap_or_else(|| panic!("not of the table: {}", argument.lines().next().unwrap()));
            assert!(served.insert(route.to_owned()), "{route} is served twice");
        }
    }
    assert_eq!(served.len(), routes::ALL.len(), "served: {served:?}");
}

#[test]
fn the_description_has_the_routes_that_take_an_api_key() {
    let described: Value = serde_json::from_str(oncekey_http::OPENAPI).unwrap();
    let described: BTreeSet<String> = described["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(move |method| (path, method)))
        .map(|(path, method)| format!("{} {path}", method.to_uppercase()))
        .collect();
    let with_key = routes::ALL.iter().filter(|route| route.access == Access::ApiKey);
    assert_eq!(described, with_key.map(name).collect(), "cargo run -- openapi > shared/http/openapi.json");
}

/// A route of the HTTP API as the template declares it, and the function that it leads to.
struct Declared<'a> {
    method: &'a str,
    path: &'a str,
    to: &'a str,
}

impl Declared<'_> {
    /// How exactly it covers a route, if it does: API Gateway takes the one that does so best.
    fn covers(&self, route: &Route) -> Option<usize> {
        if self.method != "ANY" && self.method != route.method().as_str() {
            return None;
        }
        let mut wanted = route.path.split('/');
        let mut exact = 0;
        for part in self.path.split('/') {
            if part.ends_with("+}") {
                return wanted.next().map(|_| exact);
            }
            let wanted = wanted.next()?;
            if part == wanted {
                exact += 1;
            } else if !part.starts_with('{') || wanted.is_empty() {
                return None;
            }
        }
        wanted.next().is_none().then_some(exact + 1)
    }

    fn is_greedy(&self) -> bool {
        self.path.ends_with("+}")
    }
}

/// What stands between two texts on a line.
fn between<'a>(line: &'a str, before: &str, after: &str) -> Option<&'a str> {
    line.split_once(before)?.1.split_once(after).map(|(text, _)| text)
}

fn declared() -> Vec<Declared<'static>> {
    let keys: Vec<_> = TEMPLATE.lines().filter_map(|line| Some((line, between(line, "RouteKey: \"", "\"")?))).collect();
    assert_eq!(keys.len(), TEMPLATE.matches("AWS::ApiGatewayV2::Route\n").count(), "one line a route, as all are");
    let declared = keys.into_iter().map(|(line, key)| {
        let (method, path) = key.split_once(' ').unwrap_or(("", key));
        Declared { method, path, to: between(line, "integrations/${", "Integration}").unwrap() }
    });
    declared.collect()
}

#[test]
fn the_template_leads_every_route_to_its_function_and_no_other_path() {
    let declared = declared();
    let (default, declared): (Vec<_>, Vec<_>) = declared.iter().partition(|one| one.path == "$default");
    assert_eq!(
        default.iter().map(|one| one.to).collect::<Vec<_>>(),
        ["Runs"],
        "what is not there is answered in words"
    );
    let mut used = BTreeSet::new();
    for route in &routes::ALL {
        let best = declared.iter().filter_map(|one| Some((one.covers(route)?, one))).max_by_key(|(exact, _)| *exact);
        let (_, one) = best.unwrap_or_else(|| panic!("infra/template.yaml has no RouteKey for {}", name(route)));
        let function = match route.function {
            Function::Trigger => "Trigger",
            Function::Reset => "Reset",
            Function::Runs => "Runs",
            Function::Dashboard => "Dashboard",
        };
        assert_eq!(one.to, function, "{}", name(route));
        // A decoded slash makes two segments of one.
        let free = route.around_free_segment().is_some();
        assert_eq!(one.is_greedy(), free, "{}: {{proxy+}} is for a segment of the caller's", name(route));
        used.insert((one.method, one.path));
    }
    for one in declared {
        assert!(used.contains(&(one.method, one.path)), "no route is behind {} {}", one.method, one.path);
    }
}
