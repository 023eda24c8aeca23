//! Whole messages that the gateway itself writes. Every piece given as bytes must already be JSON.

use crate::text::push_quoted;

/// An error answer. Without an id it says `"id":null`, which JSON-RPC asks for when the request could not be read.
pub fn error(id: Option<&[u8]>, code: i64, message: &str, data: Option<&[u8]>) -> Vec<u8> {
    let mut out =
        Vec::with_capacity(80 + message.len() + id.map_or(4, <[u8]>::len) + data.map_or(0, <[u8]>::len));
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    out.extend_from_slice(id.unwrap_or(b"null"));
    out.extend_from_slice(br#","error":{"code":"#);
    out.extend_from_slice(code.to_string().as_bytes());
    out.extend_from_slice(br#","message":"#);
    push_quoted(&mut out, message);
    if let Some(data) = data {
        out.extend_from_slice(br#","data":"#);
        out.extend_from_slice(data);
    }
    out.extend_from_slice(b"}}");
    out
}

/// A successful answer.
pub fn result(id: &[u8], result: &[u8]) -> Vec<u8> {
    message(&[br#"{"jsonrpc":"2.0","id":"#, id, br#","result":"#, result, b"}"])
}

/// A request. `params` is an object; empty means none.
pub fn request(id: &[u8], method: &str, params: &[u8]) -> Vec<u8> {
    let head = [
        br#"{"jsonrpc":"2.0","id":"#,
        id,
        br#","method":""#,
        method.as_bytes(),
        b"\"",
    ]
    .concat();
    with_params(head, params)
}

/// A notification. `params` is an object; empty means none.
pub fn notification(method: &str, params: &[u8]) -> Vec<u8> {
    let head = message(&[br#"{"jsonrpc":"2.0","method":""#, method.as_bytes(), b"\""]);
    with_params(head, params)
}

fn with_params(mut head: Vec<u8>, params: &[u8]) -> Vec<u8> {
    if !params.is_empty() {
        head.reserve_exact(params.len() + 11);
        head.extend_from_slice(br#","params":"#);
        head.extend_from_slice(params);
    }
    head.push(b'}');
    head
}

fn message(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}
