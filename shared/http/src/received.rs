//! What was sent: bodies and headers, with refusals that read like every other error.

use std::str::FromStr;

use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_ENCODING;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use oncekey_core::request::KeyHeaders;
use oncekey_core::request::ignored::Ignored;
use oncekey_core::{Error, RequestId};

use crate::MAX_BODY_BYTES;
use crate::error::{ApiError, refusal};

/// How much of a body that is too large is read and thrown away, so that its sender gets to read the answer instead of
/// meeting a closed connection.
const MAX_DISCARDED: usize = 16 * 1024 * 1024;

/// UTF-8's.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A request's body, within the limit, and without a byte order mark.
#[derive(Debug)]
pub struct Body(pub Vec<u8>);

/// Why a body is not taken.
#[derive(Debug)]
pub enum BodyRefusal {
    /// It has a content encoding.
    Encoded(String),
    /// It cannot be read, or is too large.
    Other(Error),
}

impl From<Error> for BodyRefusal {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<BodyRefusal> for Error {
    fn from(refused: BodyRefusal) -> Self {
        match refused {
            BodyRefusal::Encoded(text) => Self::Unprocessable(text),
            BodyRefusal::Other(error) => error,
        }
    }
}

impl IntoResponse for BodyRefusal {
    fn into_response(self) -> Response {
        match self {
            Self::Encoded(text) => refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, &text),
            Self::Other(error) => ApiError(error).into_response(),
        }
    }
}

impl<S: Sync> FromRequest<S> for Body {
    type Rejection = BodyRefusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, BodyRefusal> {
        if let Some(encoding) = request.headers().get(CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
            let text = format!("content-encoding {encoding:?}: send the body as it is, without an encoding");
            return Err(BodyRefusal::Encoded(text));
        }
        let mut chunks = request.into_body().into_data_stream();
        let (mut body, mut size) = (Vec::new(), 0);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| Error::invalid("body", "it could not be read to its end"))?;
            size += chunk.len();
            if size <= MAX_BODY_BYTES {
                body.extend_from_slice(&chunk);
            } else if size > MAX_DISCARDED {
                break;
            }
        }
        if size > MAX_BODY_BYTES {
            let text = format!("body: more than {MAX_BODY_BYTES} bytes (4.5 MiB), which is the limit");
            return Err(Error::TooLarge(text).into());
        }
        // What some editors put before a text.
        if body.starts_with(BYTE_ORDER_MARK) {
            body.drain(..BYTE_ORDER_MARK.len());
        }
        Ok(Self(body))
    }
}

/// A header's text.
///
/// # Errors
/// [`Error::Invalid`] naming the header when it is not UTF-8.
pub fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Error> {
    let text = |value: &'a axum::http::HeaderValue| {
        std::str::from_utf8(value.as_bytes()).map_err(|_| Error::invalid(format!("header {name}"), "it is not UTF-8"))
    };
    headers.get(name).map(text).transpose()
}

/// The client's own id of this request, the same on each of its retries; fresh for callers that send none.
///
/// # Errors
/// [`Error::Invalid`] when it is empty or longer than 255 characters.
pub fn request_id(headers: &HeaderMap) -> Result<RequestId, Error> {
    match header_text(headers, "x-trigger-request-idempotency-key")? {
        Some(id) => Ok(RequestId::from_caller(id)?),
        None => Ok(RequestId::fresh()),
    }
}

/// What was said and nobody reads. A client that sends what is new to us goes on, and is told; who writes requests by hand
/// has misspelt something, and can mend it.
///
/// # Errors
/// [`Error::Unprocessable`] naming it, for callers without any of the client's headers.
pub fn told_unless_by_hand(headers: &HeaderMap, ignored: Ignored) -> Result<Vec<String>, Error> {
    if is_by_hand(headers) {
        ignored.refused()?;
        return Ok(Vec::new());
    }
    Ok(ignored.into_told())
}

/// Whether a request has none of the client's headers.
#[must_use]
pub fn is_by_hand(headers: &HeaderMap) -> bool {
    !headers.keys().any(|name| name.as_str().starts_with("x-trigger-"))
}

/// What the headers of a request say of its key.
///
/// # Errors
/// [`Error::Invalid`] naming the header.
pub fn key_headers(headers: &HeaderMap) -> Result<KeyHeaders, Error> {
    Ok(KeyHeaders {
        key: item_text(headers, "idempotency-key")?,
        ttl: item_text(headers, "idempotency-key-ttl")?,
        release: word(headers, "idempotency-key-release")?,
        on_held: word(headers, "idempotency-key-held")?,
    })
}

/// What a header says that takes one of a few words.
fn word<T: FromStr<Err = String>>(headers: &HeaderMap, name: &str) -> Result<Option<T>, Error> {
    let text = item_text(headers, name)?;
    text.map(|text| text.parse().map_err(|why: String| Error::invalid(format!("header {name}"), why))).transpose()
}

/// The text of a header that is sent once: bare, or a structured field's string (RFC 9651) with parameters, which say
/// nothing to us. A bare text has no comma: it may be what two headers have become on their way.
fn item_text(headers: &HeaderMap, name: &str) -> Result<Option<String>, Error> {
    let invalid = |why: &str| Error::invalid(format!("header {name}"), why);
    if headers.get_all(name).iter().nth(1).is_some() {
        return Err(invalid("it is sent twice: send it once"));
    }
    let Some(text) = header_text(headers, name)?.map(str::trim) else { return Ok(None) };
    let Some(quoted) = text.strip_prefix('"') else {
        return match text.contains(',') {
            false => Ok(Some(text.to_owned())),
            true => {
                Err(invalid("it has a comma, as two headers in one have: send one, and a text with a comma in quotes"))
            }
        };
    };
    let (plain, rest) = quoted_string(quoted).ok_or_else(|| invalid("its quotes do not end"))?;
    match rest.trim_start() {
        "" => Ok(Some(plain)),
        parameters if parameters.starts_with(';') && !parameters.contains(',') => Ok(Some(plain)),
        _ => Err(invalid("send one text in quotes, and nothing after it")),
    }
}

/// The text up to the quote that ends it, and what stands behind that. Its only escapes are `\"` and `\\`.
fn quoted_string(text: &str) -> Option<(String, &str)> {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((plain, &text[at + 1..])),
            '\\' => plain.push(characters.next()?.1),
            _ => plain.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(values: &[&str]) -> Result<Option<String>, String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("idempotency-key", value.parse().expect("a header"));
        }
        key_headers(&headers).map(|headers| headers.key).map_err(|error| error.to_string())
    }

    #[test]
    fn an_idempotency_key_header_may_be_bare_or_quoted() {
        for (sent, text) in [
            ("order-42", "order-42"),
            (r#" "order-42" "#, "order-42"),
            (r#""a\"b\\c""#, r#"a"b\c"#),
            (r#""k";v=1"#, "k"),
            (r#""k" ; v="a b""#, "k"),
            (r#""a, b""#, "a, b"),
            ("k;v=1", "k;v=1"),
            (r#""""#, ""),
        ] {
            assert_eq!(key(&[sent]), Ok(Some(text.to_owned())), "{sent}");
        }
        assert_eq!(key(&[]), Ok(None));
    }

    #[test]
    fn two_keys_are_none_however_they_arrive() {
        for sent in [&["a", "b"][..], &["a", "a"], &["a, b"], &["a,b"], &[r#""a", "b""#], &[r#""a";v=1, "b""#], &["\""]]
        {
            let error = key(sent).expect_err("two");
            assert!(error.starts_with("header idempotency-key: "), "{error}");
        }
    }
}
