//! What is known of a call: gathered while it goes on, and written once, as its event's body.

use std::sync::Arc;

use axiom_protocol::revision::Revision;
use axiom_protocol::text::push_quoted;

use super::forms::Common;
use super::members::Members;
use super::secrets::Cut;
use super::subject::Subject;
use super::{NAME_BYTES_MAX, Outcome};

/// Numbers that a call has at most in a form.
const VALUES_MAX: usize = 4;

#[derive(Debug)]
pub(super) struct Known {
    pub subject: Arc<Subject>,
    pub client_revision: Option<Revision>,
    pub session: Option<u64>,
    pub server: Server,
    pub server_revision: Option<Revision>,
    pub replay_of: Option<Box<str>>,
    pub request_bytes: u64,
    pub response_bytes: u64,
    pub request: Option<Cut>,
    pub response: Option<Cut>,
}

/// Which server has a call.
#[derive(Debug)]
pub(super) enum Server {
    None,
    /// The one that [its subject has](Subject::server).
    Usual,
    Other(Arc<str>),
}

/// The numbers of a call, for the blanks of its form.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values {
    values: [u64; VALUES_MAX],
    len: usize,
}

/// How a call ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub outcome: Outcome,
    pub code: Option<i64>,
    pub duration_us: u64,
}

impl Known {
    pub(super) fn server(&self) -> Option<&str> {
        match &self.server {
            Server::None => None,
            Server::Usual => self.subject.server.get().map(|server| &**server),
            Server::Other(server) => Some(server),
        }
    }

    /// Notes which server has it, if that is not known.
    pub(super) fn at(&mut self, server: &Arc<str>) {
        if !matches!(self.server, Server::None) {
            return;
        }
        let usual = self.subject.server.get_or_init(|| Arc::clone(server));
        self.server = match Arc::ptr_eq(usual, server) || usual == server {
            true => Server::Usual,
            false => Server::Other(Arc::clone(server)),
        };
    }

    /// What its event has in common with others that differ in numbers alone. `None` if it has more than that of its own.
    pub(super) fn common(&self, ended: Ended) -> Option<Common> {
        let has_more = !self.subject.is_shared
            || self.replay_of.is_some()
            || self.request.is_some()
            || self.response.is_some()
            || matches!(self.server, Server::Other(_));
        (!has_more).then(|| Common {
            outcome: ended.outcome,
            code: ended.code,
            client_revision: self.client_revision,
            server_revision: self.server_revision,
            has_server: matches!(self.server, Server::Usual),
            has_response: self.response_bytes > 0,
            has_session: self.session.is_some(),
        })
    }

    /// The numbers, in the order in which [`Known::write`] writes them.
    pub(super) fn values(&self, ended: Ended) -> Values {
        let mut values = Values {
            values: [0; VALUES_MAX],
            len: 0,
        };
        values.push(self.request_bytes);
        if self.response_bytes > 0 {
            values.push(self.response_bytes);
        }
        values.push(ended.duration_us);
        if let Some(session) = self.session {
            values.push(session);
        }
        values
    }

    /// Appends the event's body. What statistics count comes first and always in this order, so that they
    /// [need not read the rest](crate::stats).
    pub(super) fn write(&self, ended: Ended, out: &mut Vec<u8>) {
        self.write_to(ended, Members::of(out));
    }

    /// Appends the form of the event's body, with blanks for its [values](Known::values).
    pub(super) fn write_form(&self, ended: Ended, out: &mut Vec<u8>) {
        self.write_to(ended, Members::of_form(out));
    }

    fn write_to(&self, ended: Ended, mut members: Members<'_>) {
        let subject = &*self.subject;
        match &subject.method_name {
            Some(name) => members.text("method", name, NAME_BYTES_MAX),
            None => members.word("method", subject.method.as_str()),
        }
        if !subject.name.is_empty() {
            members.raw("name", &subject.name);
        }
        if let Some(server) = self.server() {
            members.word("server", server);
        }
        members.word("outcome", ended.outcome.name());
        members.number("request_bytes", self.request_bytes);
        if self.response_bytes > 0 {
            members.number("response_bytes", self.response_bytes);
        }
        members.number("duration_us", ended.duration_us);
        if let Some(code) = ended.code {
            members.signed("code", code);
        }
        members.text("endpoint", &subject.endpoint, NAME_BYTES_MAX);
        members.word("transport", subject.via.name());
        if let Some(revision) = self.client_revision {
            members.word("client_revision", revision.as_str());
        }
        if let Some(revision) = self.server_revision {
            members.word("server_revision", revision.as_str());
        }
        if let Some(session) = self.session {
            members.hex("session", session);
        }
        if let Some(of) = &self.replay_of {
            members.word("replay_of", of);
        }
        for (key, body) in [("request", &self.request), ("response", &self.response)] {
            match body {
                Some(Cut::Whole(json)) => members.raw(key, json),
                Some(Cut::Part(text)) => members.raw(&format!("{key}_cut"), &quoted(text)),
                None => {}
            }
        }
        members.close();
    }
}

impl Values {
    pub(super) fn all(&self) -> &[u64] {
        &self.values[..self.len]
    }

    fn push(&mut self, value: u64) {
        self.values[self.len] = value;
        self.len += 1;
    }
}

/// A text as JSON.
pub(super) fn quoted(text: &str) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(text.len() + 16);
    push_quoted(&mut quoted, text);
    quoted
}

/// Whether a text as it stands in some JSON, with its quotes, is no longer than `bytes_max` and has no escapes: then it is
/// what it looks like, and need not be read.
pub(super) fn is_plain(quoted: &[u8], bytes_max: usize) -> bool {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'\\';
    // Every byte is looked at, which goes faster than to stop at the first.
    let odd = quoted.iter().filter(|byte| !is_plain(byte)).count();
    odd == 0 && quoted.len() <= bytes_max + 2 && quoted.starts_with(b"\"")
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use axiom_events::{Batch, Event, Filling};
    use axiom_protocol::method::Method;
    use proptest::prelude::*;

    use super::super::{Blame, Via};
    use super::*;

    #[test]
    fn a_body_begins_with_what_statistics_read() {
        let known = Known {
            subject: Arc::new(Subject {
                method: Method::ToolsCall,
                method_name: None,
                name: quoted("demo__add").into_boxed_slice(),
                endpoint: "/mcp".into(),
                via: Via::Http,
                server: OnceLock::new(),
                is_shared: true,
            }),
            client_revision: Some(Revision::V2025_11_25),
            session: Some(0x5c07_f1d2_9e3a_4b60),
            server: Server::Other("demo".into()),
            server_revision: Some(Revision::V2025_11_25),
            replay_of: None,
            request_bytes: 118,
            response_bytes: 97,
            request: Some(Cut::Whole(b"{}".to_vec())),
            response: Some(Cut::Part("{\"a".to_owned())),
        };
        let ended = Ended {
            outcome: Outcome::Error,
            code: Some(-32000),
            duration_us: 312,
        };
        let mut out = b"before".to_vec();
        known.write(ended, &mut out);
        let expected = "before{\"method\":\"tools/call\",\"name\":\"demo__add\",\"server\":\"demo\",\"outcome\":\"error\",\
                        \"request_bytes\":118,\"response_bytes\":97,\"duration_us\":312,\"code\":-32000,\"endpoint\":\"/mcp\",\
                        \"transport\":\"http\",\"client_revision\":\"2025-11-25\",\"server_revision\":\"2025-11-25\",\
                        \"session\":\"5c07f1d29e3a4b60\",\"request\":{},\"response_cut\":\"{\\\"a\"}";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn a_name_is_plain_if_it_is_what_it_looks_like() {
        let check = |quoted: &str, expected| assert_eq!(is_plain(quoted.as_bytes(), 4), expected, "{quoted}");
        check("\"\"", true);
        check("\"abcd\"", true);
        check("\"abcde\"", false);
        check("\"a\\n\"", false);
        check("\"\u{e9}\"", false);
        check("12", false);
    }

    prop_compose! {
        fn known()(
            name in proptest::option::of("[a-z_\u{e9}\"\\\\\u{11}\u{14}]{0,6}"),
            method_name in proptest::option::of("[a-z/\u{11}]{1,6}"),
            server in proptest::option::of("[a-z]{1,5}"),
            revisions in (any::<bool>(), any::<bool>()),
            session in proptest::option::of(any::<u64>()),
            request_bytes in any::<u64>(),
            response_bytes in prop_oneof![Just(0), any::<u64>()],
        ) -> Known {
            let revision = |is_there: bool| is_there.then_some(Revision::V2025_06_18);
            let mut known = Known {
                subject: Arc::new(Subject {
                    method: Method::ToolsCall,
                    method_name: method_name.map(String::into_boxed_str),
                    name: name.map_or(Vec::new(), |name| quoted(&name)).into_boxed_slice(),
                    endpoint: "/s/a\"b/mcp".into(),
                    via: Via::Http,
                    server: OnceLock::new(),
                is_shared: true,
                }),
                client_revision: revision(revisions.0),
                session,
                server: Server::None,
                server_revision: revision(revisions.1),
                replay_of: None,
                request_bytes,
                response_bytes,
                request: None,
                response: None,
            };
            if let Some(server) = server {
                known.at(&server.into());
            }
            known
        }
    }

    fn ended() -> impl Strategy<Value = Ended> {
        let outcome = prop_oneof![
            Just((Outcome::Result, None)),
            any::<i64>().prop_map(|code| (Outcome::Error, Some(code))),
            Just((Outcome::Fault(Blame::Client), Some(-32_602))),
        ];
        (outcome, any::<u64>()).prop_map(|((outcome, code), duration_us)| Ended {
            outcome,
            code,
            duration_us,
        })
    }

    proptest! {
        #[test]
        fn a_form_that_is_filled_in_is_the_body(known in known(), ended in ended()) {
            let (mut written, mut text) = (Vec::new(), Vec::new());
            known.write(ended, &mut written);
            known.write_form(ended, &mut text);
            let values = known.values(ended);
            let event = Event { stream: "s", kind: "k", body: &text, ..Event::default() };
            let mut batch = Batch::new();
            let form = batch.form(&event, values.all().len()).unwrap();
            let filling = Filling { time: 0, task_id: None, trace: None, values: values.all() };
            prop_assert!(batch.push_filled(form, &filling));
            let body = batch.events().next().map(|event| event.body.to_vec()).unwrap_or_default();
            prop_assert_eq!(String::from_utf8_lossy(&body), String::from_utf8_lossy(&written));
        }

        #[test]
        fn what_have_all_in_common_have_one_form(one in known(), other in known(), ended in ended()) {
            let server = match (&other.server, one.subject.server.get()) {
                (Server::Usual, Some(_)) => Server::Usual,
                _ => Server::None,
            };
            let other = Known { subject: Arc::clone(&one.subject), server, ..other };
            let form = |known: &Known| {
                let mut text = Vec::new();
                known.write_form(ended, &mut text);
                text
            };
            let is_alike = one.common(ended) == other.common(ended);
            prop_assert_eq!(is_alike, form(&one) == form(&other));
        }
    }
}
