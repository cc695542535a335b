//! Forms: what was sent, and proof that one of our pages sent it.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use maud::{Markup, html};
use oncekey_core::Error;

use crate::session::Session;

/// The field that carries the session's token.
const TOKEN: &str = "token";

/// The fields of a form or a query.
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    pub(crate) fn parse(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    /// A field's text, without the blanks around it; empty if it is not there.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value.trim())
    }

    /// A field's text, unless it is empty.
    pub(crate) fn given(&self, name: &str) -> Option<&str> {
        Some(self.get(name)).filter(|text| !text.is_empty())
    }

    /// Refuses a form that no page of `session` sent.
    pub(crate) fn check(&self, session: &Session) -> Result<(), Error> {
        if self.get(TOKEN) == session.token {
            return Ok(());
        }
        Err(Error::Unprocessable("this form is from an older page: go back, reload it, and try again".to_owned()))
    }
}

/// What the URL's query asks for.
pub(crate) struct Query(pub Fields);

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(Fields::parse(parts.uri.query().unwrap_or_default().as_bytes())))
    }
}

/// The field that proves a form to be ours.
pub(crate) fn token(session: &Session) -> Markup {
    html! { input type="hidden" name=(TOKEN) value=(session.token); }
}
