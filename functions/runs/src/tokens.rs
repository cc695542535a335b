//! Wait tokens: create, list, retrieve, complete; and the URL by which whoever has it completes one.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_TYPE, HOST};
use oncekey_core::protocol::token::{self, TokenFilter, TokensFrom};
use oncekey_core::request::token::{CompleteBody, TokenBody, called_back_with, status};
use oncekey_core::token::StoredToken;
use oncekey_core::{App, EnvironmentId, Error, Timestamp, TokenId, span};
use oncekey_http::{ApiError, Body, Caller, Owner, Permit, Refusal, TokenPath, header_text, routes};
use oncekey_wire::{CompletedToken, CreatedToken, Pagination, Token, TokenStatus, TokensPage};

use crate::query::{form_pairs, moment};

/// Tokens on a page where its size is not said.
const DEFAULT_SIZE: usize = 25;
/// Tokens on a page at most.
const MAX_SIZE: usize = 100;
/// The media type of what tokens are completed with.
const JSON: &str = "application/json";
const DONE: Json<CompletedToken> = Json(CompletedToken { success: true });

/// Creates a wait token, or gives the one of this key
#[utoipa::path(
    post,
    path = routes::CREATE_TOKEN.path,
    tag = "wait tokens",
    request_body = Option<TokenBody>,
    responses((status = 200, description = "The token", body = CreatedToken), Refusal),
    security(("api_key" = []))
)]
pub(crate) async fn create(
    State(app): State<App>,
    Owner(permit): Owner,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<(HeaderMap, Json<CreatedToken>), ApiError> {
    let now = app.clock.now();
    let request = TokenBody::parse(&body, now)?;
    let (token, is_cached) = token::create(&app, permit.environment(), request, now).await?;
    let url = url(&app, &headers, permit.environment(), &token)?;
    let claims = permit.handle_headers(None, now);
    Ok((claims, Json(CreatedToken { id: token.id, is_cached, url })))
}

/// Lists wait tokens, newest first
#[utoipa::path(
    get,
    path = routes::LIST_TOKENS.path,
    tag = "wait tokens",
    params(
        ("page[size]" = Option<u32>, Query, description = "Tokens a page, 1 to 100; 25 by default"),
        ("page[after]" = Option<String>, Query, description = "The cursor `next` of another page"),
        ("page[before]" = Option<String>, Query, description = "The cursor `previous` of another page"),
        ("filter[status]" = Option<String>, Query, description = "Statuses, with commas between"),
        ("filter[idempotencyKey]" = Option<String>, Query, description = "The key, as it was sent"),
        ("filter[tags]" = Option<String>, Query, description = "Tags, with commas between: one of them"),
        ("filter[createdAt][from]" = Option<String>, Query, description = "Milliseconds since 1970, or a date"),
        ("filter[createdAt][to]" = Option<String>, Query, description = "Milliseconds since 1970, or a date"),
        ("filter[createdAt][period]" = Option<String>, Query, description = "A span back from now, like 7d"),
    ),
    responses((status = 200, description = "A page", body = TokensPage), Refusal),
    security(("api_key" = []))
)]
pub(crate) async fn list(
    State(app): State<App>,
    Caller(environment): Caller,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Json<TokensPage>, ApiError> {
    let now = app.clock.now();
    let (filter, from, size) = asked(query.as_deref().unwrap_or_default(), now)?;
    let page = token::list(&app, &environment, &filter, &from, size).await?;
    let data = page
        .tokens
        .into_iter()
        .map(|token| shown(&app, &headers, &environment, token, now))
        .collect::<Result<_, _>>()?;
    let mut pagination = Pagination::default();
    (pagination.next, pagination.previous) = (page.next.map(String::from), page.previous.map(String::from));
    Ok(Json(TokensPage { data, pagination }))
}

fn asked(query: &str, now: Timestamp) -> Result<(TokenFilter, TokensFrom, usize), Error> {
    let (mut filter, mut from, mut size) = (TokenFilter::default(), TokensFrom::default(), DEFAULT_SIZE);
    let wrong = |name: &str, text: &str| Error::invalid(name, text);
    for (name, value) in form_pairs(query) {
        let list = || value.split(',').filter(|part| !part.is_empty());
        let cursor = || TokenId::parse(&value).map_err(|_| wrong(&name, "give a cursor of another page"));
        match name.as_str() {
            "page[size]" => {
                let number = value.parse().ok().filter(|number| (1..=MAX_SIZE).contains(number));
                size = number.ok_or_else(|| wrong(&name, "give a whole number from 1 to 100"))?;
            }
            "page[after]" => from = TokensFrom::After(cursor()?),
            "page[before]" => from = TokensFrom::Before(cursor()?),
            "filter[status]" => filter.statuses = list().map(|text| status(&name, text)).collect::<Result<_, _>>()?,
            "filter[idempotencyKey]" => filter.key = Some(value),
            "filter[tags]" => filter.tags = list().map(str::to_owned).collect(),
            "filter[createdAt][from]" => filter.from = Some(moment(&name, &value)?),
            "filter[createdAt][to]" => filter.to = Some(moment(&name, &value)?),
            "filter[createdAt][period]" => {
                let period =
                    span::parse(&value).ok_or_else(|| wrong(&name, "give a span like \"7d\" (w, d, h, m, s)"))?;
                let back = i64::try_from(period.as_millis()).unwrap_or(i64::MAX);
                filter.from = Some(Timestamp::from_millis(now.millis().saturating_sub(back)));
            }
            _ if name.starts_with("filter[") => return Err(wrong(&name, "there is no such filter: leave it out")),
            _ => {}
        }
    }
    Ok((filter, from, size))
}

/// Shows a wait token
#[utoipa::path(
    get,
    path = routes::RETRIEVE_TOKEN.path,
    tag = "wait tokens",
    params(("id" = TokenId, Path, description = "The token's id")),
    responses((status = 200, description = "The token", body = Token), Refusal),
    security(("api_key" = []))
)]
pub(crate) async fn retrieve(
    State(app): State<App>,
    Caller(environment): Caller,
    TokenPath(id): TokenPath,
    headers: HeaderMap,
) -> Result<Json<Token>, ApiError> {
    // What is shown as over stays so: it is written first.
    let token = token::look(&app, &environment, &id).await?;
    let (timeout, output) = (token.timeout(), token.output.clone());
    let mut shown = shown(&app, &headers, &environment, token, app.clock.now())?;
    shown.output = match shown.status.known() {
        Some(TokenStatus::TimedOut) => Some(timeout),
        _ => output,
    };
    if shown.output.is_some() {
        shown.output_type = Some(JSON.to_owned());
        shown.output_is_error = Some(shown.status.known() == Some(TokenStatus::TimedOut));
    }
    Ok(Json(shown))
}

/// Completes a wait token
///
/// One that has ended stays as it is, and that is not an error.
#[utoipa::path(
    post,
    path = routes::COMPLETE_TOKEN.path,
    tag = "wait tokens",
    params(("id" = TokenId, Path, description = "The token's id")),
    request_body = Option<CompleteBody>,
    responses((status = 200, description = "It has ended", body = CompletedToken), Refusal),
    security(("api_key" = []), ("public_token" = []))
)]
pub(crate) async fn complete(
    State(app): State<App>,
    permit: Permit,
    TokenPath(id): TokenPath,
    Body(body): Body,
) -> Result<Json<CompletedToken>, ApiError> {
    permit.may_complete(&id)?;
    let data = CompleteBody::parse(&body)?;
    token::complete(&app, permit.environment(), &id, data.as_deref()).await?;
    Ok(DONE)
}

/// Completes the token whose URL this is with the body that is sent there: JSON, or a text.
pub(crate) async fn call_back(
    State(app): State<App>,
    axum::extract::Path(id): axum::extract::Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Json<CompletedToken>, ApiError> {
    let (mut environment, mut code) = (None, None);
    for (name, value) in form_pairs(query.as_deref().unwrap_or_default()) {
        match name.as_str() {
            "environment" => environment = EnvironmentId::parse(&value).ok(),
            "code" => code = Some(value),
            _ => {}
        }
    }
    let (Ok(id), Some(environment), Some(code)) = (TokenId::parse(&id), environment, code) else {
        return Err(token::not_its_url().into());
    };
    let is_json = header_text(&headers, CONTENT_TYPE.as_str())?.is_some_and(says_json);
    let output = called_back_with(body, is_json)?;
    token::call_back(&app, &environment, &id, &code, output.as_deref()).await?;
    Ok(DONE)
}

/// Whether a media type is JSON's, or one that is written in JSON.
fn says_json(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == JSON || kind.ends_with("+json")
}

fn shown(
    app: &App,
    headers: &HeaderMap,
    environment: &EnvironmentId,
    token: StoredToken,
    now: Timestamp,
) -> Result<Token, Error> {
    let status = token.status_at(now);
    Ok(Token {
        url: url(app, headers, environment, &token)?,
        id: token.id,
        completed_at: if status == TokenStatus::TimedOut { Some(token.timeout_at) } else { token.completed_at },
        status: status.into(),
        timeout_at: token.timeout_at,
        idempotency_key: token.key,
        idempotency_key_expires_at: token.key_ends_at,
        tags: token.tags,
        created_at: token.created_at,
        output: None,
        output_type: None,
        output_is_error: None,
    })
}

/// Where a token is completed without an API key: at the address by which its caller came here, unless that is a task's own.
fn url(app: &App, headers: &HeaderMap, environment: &EnvironmentId, token: &StoredToken) -> Result<String, Error> {
    if let Some(url) = &app.public_url {
        return Ok(token.url(url, environment));
    }
    let host = header_text(headers, HOST.as_str())?.unwrap_or_default();
    let scheme = match header_text(headers, "x-forwarded-proto")? {
        Some("https") => "https",
        _ => "http",
    };
    Ok(token.url(&format!("{scheme}://{host}"), environment))
}
