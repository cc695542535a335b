//! Who may come in: a visitor who has signed in, and a form that one of our pages sent.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::Method;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Redirect, Response};
use oncekey_http::Body;

use crate::Dashboard;
use crate::form::Fields;
use crate::page::Failure;
use crate::session::Visitor;

impl FromRequestParts<Dashboard> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, dashboard: &Dashboard) -> Result<Self, Response> {
        let refused = |error| Failure::nobodys(error).into_response();
        let session = dashboard.sessions.of(&parts.headers).await.map_err(refused)?;
        if let Some(session) = session {
            let environments = dashboard.sessions.environments(&session).await.map_err(refused)?;
            let chosen = environments.iter().find(|(place, _)| *place == session.chosen).or(environments.first());
            if let Some((_, environment)) = chosen {
                return Ok(Self { environment: environment.clone(), environments, session });
            }
        }
        // Back to where one wanted to go; a form's place is not a page.
        let to = parts.uri.path_and_query().filter(|_| parts.method == Method::GET);
        let to = to.map_or_else(|| "/".to_owned(), |to| to.to_string());
        let to = form_urlencoded::Serializer::new(String::new()).append_pair("to", &to).finish();
        Err(Redirect::to(&format!("/sign-in?{to}")).into_response())
    }
}

/// A form that somebody who has signed in sent from one of our pages. A handler that takes one runs for no other.
pub(crate) struct Submitted {
    pub visitor: Visitor,
    pub fields: Fields,
}

impl FromRequest<Dashboard> for Submitted {
    type Rejection = Response;

    async fn from_request(request: Request, dashboard: &Dashboard) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, dashboard).await?;
        let Body(body) = match Body::from_request(Request::from_parts(parts, body), dashboard).await {
            Ok(body) => body,
            Err(refused) => return Err(Failure::of(&visitor, refused.into()).into_response()),
        };
        let fields = Fields::parse(&body);
        match fields.check(&visitor.session) {
            Ok(()) => Ok(Self { visitor, fields }),
            Err(error) => Err(Failure::of(&visitor, error).into_response()),
        }
    }
}
