//! Packets: what is too large for a call's body is put to a place first. Here the place is this process, and what was put there
//! takes the place of its path when that is named: were it put to the bucket by the task's own process, that would leave it.

use axum::body::Bytes;
use axum::http::StatusCode;
use oncekey_core::payload::{Payload, PayloadType};
use serde_json::{Map, Value, json};

use crate::host::verbs::call::{Answered, ok, refuse};
use crate::host::verbs::state::Verbs;
use crate::invocation::lock;

impl Verbs<'_> {
    /// Tells where to put a packet: at `host`, under the caller's own token.
    pub(super) fn place_packet(&self, host: Option<&str>, token: Option<&str>, path: &[&str]) -> Answered {
        let (Some(host), Some(token)) = (host, token) else {
            return refuse(StatusCode::BAD_REQUEST, "the call does not say where it was sent to");
        };
        let path = path.join("/");
        ok(json!({ "presignedUrl": format!("http://{host}/oncekey/v1/packets/{token}/{path}"), "storagePath": path }))
    }

    /// Takes a packet.
    pub(super) fn take_packet(&self, path: &[&str], kind: Option<&str>, body: &Bytes) -> Answered {
        if body.len() > Payload::MAX_BYTES {
            let (size, most) = (body.len(), Payload::MAX_BYTES);
            return refuse(StatusCode::PAYLOAD_TOO_LARGE, format!("it has {size} bytes; the limit is {most} (3 MB)"));
        }
        let Ok(text) = String::from_utf8(body.to_vec()) else {
            return refuse(StatusCode::BAD_REQUEST, "a packet is UTF-8");
        };
        let kind = PayloadType::of_content_type(kind.unwrap_or_default());
        lock(&self.state).packets.insert(path.join("/"), Payload { text: Some(text), kind });
        ok(json!({}))
    }

    /// What was put under a path.
    pub(crate) fn packet(&self, path: &str) -> Option<Payload> {
        lock(&self.state).packets.get(path).cloned()
    }

    /// Puts what the body of a trigger names by its path in the place of that.
    pub(super) fn unpack(&self, body: &mut Map<String, Value>) {
        let options = body.get("options").and_then(Value::as_object);
        let kind = options.and_then(|options| options.get("payloadType")).and_then(Value::as_str);
        let path = body.get("payload").and_then(Value::as_str).filter(|_| kind == Some(PayloadType::Store.as_str()));
        let Some(Payload { text: Some(text), kind }) = path.and_then(|path| self.packet(path)) else { return };
        // Of JSON, the value stands in a body, and of anything else its text.
        let payload = match kind {
            PayloadType::Json => serde_json::from_str(&text).unwrap_or_default(),
            _ => Value::String(text),
        };
        body.insert("payload".to_owned(), payload);
        if let Some(options) = body.get_mut("options").and_then(Value::as_object_mut) {
            options.insert("payloadType".to_owned(), json!(kind.as_str()));
        }
    }
}
