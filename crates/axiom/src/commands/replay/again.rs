//! One call after the other, made again: where it goes, whether it may, and what came of it.

use std::collections::{BTreeMap, HashMap};

use axiom_core::time::now;
use axiom_gateway::options::{Endpoint, Options};
use axiom_protocol::revision::Revision;
use serde::Serialize;
use serde_json::value::RawValue;
use url::Url;

use super::Found;
use crate::cli::Replay;
use crate::client::{Client, ClientError, Members};
use crate::compose::read;
use crate::config::is_server_name;
use crate::config::load::discover;
use crate::outcome::{Exit, Failed};
use crate::replay::diff::{Comparison, Rules};
use crate::replay::recorded::{Answer, Call};
use crate::terminal::Terminal;

/// The server of a gateway that is made for an address alone.
pub(crate) const ADDRESSED: &str = "to";

/// Where calls go this time.
#[derive(Debug, Clone)]
pub(super) enum To {
    /// To the endpoint at which they came.
    Same,
    /// A server of the configuration.
    Server(String),
    /// A server at this address.
    Url(Endpoint),
}

/// What came of one call.
#[derive(Debug)]
pub(super) enum Outcome {
    Compared(Box<Compared>),
    /// It was not made.
    Refused {
        offset: u64,
        call: Option<Box<Call>>,
        why: String,
        hint: Option<String>,
        exit: Exit,
    },
    /// It was tried, and no server answered it.
    Failed {
        call: Box<Call>,
        why: String,
        exit: Exit,
    },
}

#[derive(Debug)]
pub(super) struct Compared {
    pub(super) call: Call,
    /// Where it went, for people: a server's name or address, or an endpoint.
    pub(super) to: String,
    pub(super) now: Answer,
    pub(super) duration_us: u64,
    pub(super) comparison: Comparison,
}

/// The place of a call: an endpoint, and the name that its tool or prompt has there.
struct Place {
    path: String,
    name: Option<String>,
    revision: Revision,
}

/// A session with one endpoint, and which of its tools only read.
struct Session {
    client: Client,
    /// Asked for when the first tool is called.
    read_only: Option<HashMap<String, bool>>,
}

pub(super) struct Again<'a> {
    base: &'a str,
    to: &'a To,
    rules: &'a Rules,
    replay: &'a Replay,
    terminal: &'a Terminal,
    /// By path and revision.
    sessions: BTreeMap<(String, &'static str), Session>,
    /// Of views with names of their own.
    options: Option<Options>,
}

impl To {
    pub(super) fn parse(to: Option<&str>) -> Result<To, Failed> {
        let Some(to) = to else { return Ok(To::Same) };
        if !to.contains("://") {
            return match is_server_name(to) {
                true => Ok(To::Server(to.to_owned())),
                false => Err(Failed::new(
                    Exit::Usage,
                    format!("`{to}` is neither a server's name nor its address"),
                )
                .hint(
                    "`axiom servers` names the servers; an address is written whole, like https://host/mcp",
                )),
            };
        }
        let wrong = |why: String| Failed::new(Exit::Usage, format!("`{to}` cannot be called: {why}"));
        let url = Url::parse(to).map_err(|error| wrong(error.to_string()))?;
        let headers = BTreeMap::new();
        match url.scheme() {
            "http" | "https" => Ok(To::Url(Endpoint::Http {
                url: url.into(),
                headers,
            })),
            "ws" | "wss" => Ok(To::Url(Endpoint::WebSocket {
                url: url.into(),
                headers,
            })),
            other => Err(wrong(format!(
                "its scheme is {other}; it must be http, https, ws or wss"
            ))),
        }
    }

    fn shown(&self) -> Option<String> {
        match self {
            To::Same => None,
            To::Server(name) => Some(name.clone()),
            To::Url(Endpoint::Http { url, .. } | Endpoint::WebSocket { url, .. }) => Some(url.clone()),
            To::Url(_) => None,
        }
    }
}

/// Why a call is not made.
struct Refused {
    exit: Exit,
    why: String,
    hint: Option<String>,
}

impl<'a> Again<'a> {
    pub(super) fn new(
        base: &'a str,
        to: &'a To,
        rules: &'a Rules,
        replay: &'a Replay,
        terminal: &'a Terminal,
    ) -> Again<'a> {
        let source = discover(replay.at.file.config.as_deref());
        Again {
            base,
            to,
            rules,
            replay,
            terminal,
            sessions: BTreeMap::new(),
            options: read(&source).ok().map(|loaded| loaded.config.options),
        }
    }

    /// Makes a call again. `is_one` is whether there is no other: then a gateway that cannot be used ends the command.
    ///
    /// # Errors
    /// What makes every further call useless.
    pub(super) async fn make(&mut self, found: Found, is_one: bool) -> Result<Outcome, Failed> {
        let call = match found {
            Ok(call) => call,
            Err((offset, refusal)) => {
                return Ok(Outcome::Refused {
                    offset,
                    call: None,
                    why: refusal.to_string(),
                    hint: refusal.hint().map(str::to_owned),
                    exit: Exit::NotFound,
                });
            }
        };
        let refused = |call: Call, refused: Refused| Outcome::Refused {
            offset: call.offset,
            call: Some(Box::new(call)),
            why: refused.why,
            hint: refused.hint,
            exit: refused.exit,
        };
        let place = match self.place(&call) {
            Ok(place) => place,
            Err(why) => return Ok(refused(call, why)),
        };
        let made = self.send(&call, &place).await;
        match made {
            Ok(Ok((now, duration_us))) => {
                let comparison = compare(self.rules, &call, &now);
                let to = self.to.shown();
                Ok(Outcome::Compared(Box::new(Compared {
                    to: to.unwrap_or_else(|| call.endpoint.clone()),
                    call,
                    now,
                    duration_us,
                    comparison,
                })))
            }
            Ok(Err(why)) => Ok(refused(call, why)),
            Err(error) if is_one => Err(self.explained(error, &place).await),
            Err(error) => Ok(Outcome::Failed {
                call: Box::new(call),
                exit: error.exit(),
                why: error.to_string(),
            }),
        }
    }

    /// Ends the sessions.
    pub(super) async fn close(self) {
        for session in self.sessions.into_values() {
            session.client.close().await;
        }
    }

    async fn explained(&self, error: ClientError, place: &Place) -> Failed {
        match (&error, self.to) {
            (ClientError::Status { status, .. }, To::Server(name)) if *status == 404 => {
                crate::commands::call::no_server(self.base, name).await
            }
            (ClientError::Status { status, .. }, _) if *status == 404 => Failed::new(
                Exit::NotFound,
                format!(
                    "the endpoint {} at which the call came is not there any more",
                    place.path
                ),
            )
            .hint("name a server with --to"),
            _ => error.into(),
        }
    }

    fn place(&self, call: &Call) -> Result<Place, Refused> {
        // Of 2026-07-28 alone we have no client; see `era_rules`.
        let revision = call.revision.filter(|revision| *revision != Revision::MODERN);
        let revision = revision.unwrap_or(Revision::LATEST_LEGACY);
        let server = match self.to {
            To::Same => {
                return Ok(Place {
                    path: call.endpoint.clone(),
                    name: None,
                    revision,
                });
            }
            To::Server(name) => name.as_str(),
            To::Url(_) => ADDRESSED,
        };
        if call.server.is_empty() || call.method == "completion/complete" {
            return Err(Refused {
                exit: Exit::Usage,
                why: match call.server.is_empty() {
                    true => format!("{} was answered by several servers together", call.method),
                    false => "a completion is about a name that another server does not know".to_owned(),
                },
                hint: Some("leave out --to".to_owned()),
            });
        }
        let is_named = matches!(call.method.as_str(), "tools/call" | "prompts/get");
        Ok(Place {
            path: format!("/s/{server}/mcp"),
            name: is_named.then(|| self.own_name(call)),
            revision,
        })
    }

    /// What the server itself calls the tool or prompt.
    fn own_name(&self, call: &Call) -> String {
        let name = call.name.as_str();
        if call.endpoint.starts_with("/s/") {
            return name.to_owned();
        }
        let view = call
            .endpoint
            .strip_prefix("/v/")
            .and_then(|rest| rest.strip_suffix("/mcp"));
        let view = view.and_then(|view| self.options.as_ref()?.views.get(view));
        let of_server = |full: &String| full.strip_prefix(&format!("{}.", call.server)).map(str::to_owned);
        let renamed = view.and_then(|view| {
            let mut renames = view.rename.iter().filter(|(_, shown)| *shown == name);
            renames.find_map(|(full, _)| of_server(full))
        });
        let plain = name.strip_prefix(&format!("{}__", call.server)).unwrap_or(name);
        renamed.unwrap_or_else(|| plain.to_owned())
    }

    async fn send(
        &mut self,
        call: &Call,
        place: &Place,
    ) -> Result<Result<(Answer, u64), Refused>, ClientError> {
        let key = (place.path.clone(), place.revision.as_str());
        if !self.sessions.contains_key(&key) {
            let client = Client::open_as(self.base, &place.path, place.revision).await?;
            let session = Session {
                client,
                read_only: None,
            };
            self.sessions.insert(key.clone(), session);
        }
        let session = self.sessions.get_mut(&key).expect("it was put there");
        if call.method == "tools/call" {
            let name = place.name.as_deref().unwrap_or(&call.name);
            if let Err(refused) = session.may_call(name, self.replay.yes, self.terminal).await? {
                return Ok(Err(refused));
            }
        }
        let params = params(call, place.name.as_deref());
        let began = now();
        let answered = session
            .client
            .repeat(&call.id, &call.method, &params, &mut |_| {})
            .await;
        let duration_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let answer = match answered {
            Ok(result) => Answer::Result(result),
            // Codes of the gateway's own are positive: no server has answered.
            Err(ClientError::Rpc { code, message }) if code <= 0 => Answer::Error { code, message },
            Err(error) => return Err(error),
        };
        Ok(Ok((answer, duration_us)))
    }
}

impl Session {
    /// Whether a tool may be called a second time: it only reads, or somebody takes it on himself.
    async fn may_call(
        &mut self,
        name: &str,
        yes: bool,
        terminal: &Terminal,
    ) -> Result<Result<(), Refused>, ClientError> {
        if yes {
            return Ok(Ok(()));
        }
        let read_only = match &mut self.read_only {
            Some(read_only) => read_only,
            None => {
                let tools = self.client.list("tools/list", "tools").await?;
                let tools = tools.iter().map(|item| {
                    let tool = Members::of(item);
                    let hint = tool.members("annotations").read("readOnlyHint");
                    (tool.text("name"), hint == Some(true))
                });
                self.read_only.insert(tools.collect())
            }
        };
        let why = match read_only.get(name) {
            Some(true) => return Ok(Ok(())),
            Some(false) => format!("the tool `{name}` does not say that it only reads"),
            None => {
                return Ok(Err(Refused {
                    exit: Exit::NotFound,
                    why: format!("there is no tool `{name}` there"),
                    hint: None,
                }));
            }
        };
        let refused = || Refused {
            exit: Exit::Denied,
            why: why.clone(),
            hint: Some(
                "with --yes it is called all the same, and may do a second time what it did".to_owned(),
            ),
        };
        if !terminal.can_ask() {
            return Ok(Err(refused()));
        }
        let agreed = terminal
            .ask(format_args!("{why}: call it again?"))
            .unwrap_or(false);
        if agreed {
            // Asked once for each tool.
            read_only.insert(name.to_owned(), true);
        }
        Ok(if agreed { Ok(()) } else { Err(refused()) })
    }
}

/// What was asked, under the name that the tool or prompt has now.
fn params(call: &Call, name: Option<&str>) -> Params {
    let recorded = Members::of(&call.params);
    let keys: Vec<String> = recorded.keys().map(str::to_owned).collect();
    let members = keys.into_iter().filter_map(|key| {
        let value = match name {
            Some(name) if key == "name" => serde_json::value::to_raw_value(name).ok()?,
            _ => recorded.raw(&key)?.to_owned(),
        };
        Some((key, value))
    });
    Params(members.collect())
}

#[derive(Debug, Serialize)]
struct Params(BTreeMap<String, Box<RawValue>>);

fn compare(rules: &Rules, call: &Call, now: &Answer) -> Comparison {
    let rules = era_rules(rules, call);
    match (&call.answer, now) {
        (Answer::Result(old), Answer::Result(new)) => rules.compare(old, new),
        (Answer::Error { .. }, Answer::Error { .. }) => rules.compare(&as_json(&call.answer), &as_json(now)),
        // Whatever is ignored in it, an error is no result.
        _ => Comparison::of_kinds(&as_json(&call.answer), &as_json(now)),
    }
}

/// A client of 2026-07-28 gets members that others do not get, and the call is made again as a session's.
fn era_rules(rules: &Rules, call: &Call) -> Rules {
    let mut rules = rules.clone();
    if call.revision == Some(Revision::MODERN) {
        let members = ["$._meta", "$.resultType", "$.ttlMs", "$.cacheScope"];
        rules
            .unsaid
            .extend(members.iter().filter_map(|path| path.parse().ok()));
    }
    rules
}

pub(super) fn as_json(answer: &Answer) -> Box<RawValue> {
    match answer {
        Answer::Result(result) => result.clone(),
        Answer::Error { code, message } => {
            let error = serde_json::json!({"code": code, "message": message});
            serde_json::value::to_raw_value(&error).expect("a number and a text are JSON")
        }
    }
}

impl Compared {
    pub(super) fn is_equal(&self) -> bool {
        self.comparison.count == 0
    }
}
