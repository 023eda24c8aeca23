//! Results made readable to a client of an older revision than the server's: what that revision does not know is taken
//! out, or said in words that it knows.
//!
//! Revisions only ever added fields and kinds of content, so the tables below say since when there is what. A client
//! that is as new as its server never comes here. Everything else of a message stays as it is, to the byte: fields that
//! no revision knows, long numbers, the order of keys.

use axiom_protocol::method::Method;
use axiom_protocol::revision::Revision::{self, V2025_03_26, V2025_06_18, V2025_11_25, V2026_07_28};
use axiom_protocol::rewrite::{Edit, object_with, splice};
use axiom_protocol::span::Span;
use axiom_protocol::text::{quoted, text};
use axiom_protocol::walk::{elements, get, members};

use crate::catalog::ListKind;

pub(crate) use form::Unaskable;

mod form;
#[cfg(test)]
mod tests;

/// What an object may hold, and since when. What is not named here was there from the beginning, or is unknown.
type Since = &'static [(&'static str, Revision)];

const RESULT: Since = &[("resultType", V2026_07_28)];
/// Of lists and of `resources/read`.
const CACHEABLE: Since = &[
    ("resultType", V2026_07_28),
    ("ttlMs", V2026_07_28),
    ("cacheScope", V2026_07_28),
];
const RESULT_META: Since = &[
    ("io.modelcontextprotocol/serverInfo", V2026_07_28),
    ("io.modelcontextprotocol/subscriptionId", V2026_07_28),
];
const CALL_RESULT: Since = &[("resultType", V2026_07_28), ("structuredContent", V2025_06_18)];
const TOOL: Since = &[
    ("annotations", V2025_03_26),
    ("title", V2025_06_18),
    ("outputSchema", V2025_06_18),
    ("_meta", V2025_06_18),
    ("icons", V2025_11_25),
    ("execution", V2025_11_25),
];
const PROMPT: Since = &[
    ("title", V2025_06_18),
    ("_meta", V2025_06_18),
    ("icons", V2025_11_25),
];
const PROMPT_ARGUMENT: Since = &[("title", V2025_06_18)];
/// Of templates and of resource links, too.
const RESOURCE: Since = &[
    ("title", V2025_06_18),
    ("_meta", V2025_06_18),
    ("icons", V2025_11_25),
];
const RESOURCE_CONTENTS: Since = &[("_meta", V2025_06_18)];
const CONTENT: Since = &[("_meta", V2025_06_18)];
const CONTENT_TYPE: Since = &[
    ("audio", V2025_03_26),
    ("resource_link", V2025_06_18),
    ("tool_use", V2025_11_25),
    ("tool_result", V2025_11_25),
];
/// Of content and resources. A tool's annotations are another kind of object.
const ANNOTATIONS: Since = &[("lastModified", V2025_06_18)];
/// Of a message for sampling. Since then its content may be a list, too.
const SAMPLING_MESSAGE: Since = &[("_meta", V2025_11_25)];
const SAMPLING_CONTENT_LIST: Revision = V2025_11_25;
const SAMPLING: Since = &[
    ("tools", V2025_11_25),
    ("toolChoice", V2025_11_25),
    ("task", V2025_11_25),
];
const PROGRESS: Since = &[("message", V2025_03_26)];
const IMPLEMENTATION: Since = &[
    ("title", V2025_06_18),
    ("icons", V2025_11_25),
    ("description", V2025_11_25),
    ("websiteUrl", V2025_11_25),
];
/// Capabilities under `extensions` are not among them: extensions are negotiated that way in older revisions as well.
const CAPABILITIES: Since = &[("completions", V2025_03_26), ("tasks", V2025_11_25)];

/// True for methods whose results, or what is told before them, may hold something that `client` does not know.
pub(crate) fn concerns(method: Method, client: Revision, server: Revision) -> bool {
    client < server
        && (server == Revision::MODERN
            || client < V2025_03_26
            || matches!(
                method,
                Method::ToolsList
                    | Method::ToolsCall
                    | Method::PromptsList
                    | Method::PromptsGet
                    | Method::ResourcesList
                    | Method::ResourceTemplatesList
                    | Method::ResourcesRead
            ))
}

/// A whole message whose `result` answers `method`, for a client of an older revision. `None`: it can stay as it is.
pub(crate) fn result(raw: &[u8], result: Span, method: Method, client: Revision) -> Option<Vec<u8>> {
    let mut level = Level::new(raw, client);
    match method {
        Method::ToolsCall => level.call_result(result),
        _ => level.other_result(result, method),
    }
    level.finish()
}

/// One item of a list, the same way.
pub(crate) fn item(raw: &[u8], kind: ListKind, client: Revision) -> Option<Vec<u8>> {
    let mut level = Level::new(raw, client);
    level.item(Span::all(raw), kind);
    level.finish()
}

/// A server's question to a client: a whole message with these `params`. `None`: it can stay as it is.
///
/// # Errors
/// [`Unaskable`], if the client's revision has no words for it.
pub(crate) fn question(
    raw: &[u8],
    params: Span,
    method: Method,
    client: Revision,
) -> Result<Option<Vec<u8>>, Unaskable> {
    let mut level = Level::new(raw, client);
    match method {
        Method::CreateMessage => level.sampling(params),
        Method::Elicit => form::elicitation(&mut level, params)?,
        _ => {}
    }
    Ok(level.finish())
}

/// What a server says before its answer: a whole message.
pub(crate) fn notice(raw: &[u8], client: Revision) -> Option<Vec<u8>> {
    if client >= V2025_03_26 {
        return None;
    }
    let message = Span::all(raw);
    let method = text(raw, get(raw, message, "method")?)?;
    if method != Method::Progress.as_str() {
        return None;
    }
    let mut level = Level::new(raw, client);
    level.drop_unknown(get(raw, message, "params")?, PROGRESS);
    level.finish()
}

/// The `_meta` of a result, for a client of a revision with sessions; `None` if nothing is left.
pub(crate) fn meta(raw: &[u8], client: Revision) -> Option<Vec<u8>> {
    let mut level = Level::new(raw, client);
    level
        .result_meta(Span::all(raw))
        .then(|| level.finish().unwrap_or_else(|| raw.to_vec()))
}

/// The result of `initialize`, for a client of any revision with sessions.
pub(crate) fn greeting(raw: &[u8], client: Revision) -> Option<Vec<u8>> {
    let mut level = Level::new(raw, client);
    level.object(Span::all(raw), |level, member| {
        match member.name {
            "serverInfo" => level.drop_unknown(member.value, IMPLEMENTATION),
            "capabilities" => level.drop_unknown(member.value, CAPABILITIES),
            _ => {}
        }
        true
    });
    level.finish()
}

/// What is to be changed in one text.
struct Level<'a> {
    raw: &'a [u8],
    client: Revision,
    changes: Vec<(Span, Vec<u8>)>,
}

/// A member of an object.
#[derive(Clone, Copy)]
struct Member<'m> {
    name: &'m str,
    key: Span,
    value: Span,
}

impl<'a> Level<'a> {
    fn new(raw: &'a [u8], client: Revision) -> Level<'a> {
        Level {
            raw,
            client,
            changes: Vec::new(),
        }
    }

    fn finish(self) -> Option<Vec<u8>> {
        if self.changes.is_empty() {
            return None;
        }
        let mut edits: Vec<Edit<'_>> = self
            .changes
            .iter()
            .map(|(at, with)| Edit { at: *at, with })
            .collect();
        Some(splice(self.raw, &mut edits))
    }

    fn knows(&self, since: Since, name: &str) -> bool {
        since
            .iter()
            .all(|(known, revision)| *known != name || *revision <= self.client)
    }

    fn put(&mut self, at: Span, with: Vec<u8>) {
        self.changes.push((at, with));
    }

    /// Takes out the members of `object` that `keep` does not want, each with the comma that goes with it.
    fn object(&mut self, object: Span, mut keep: impl FnMut(&mut Self, Member<'_>) -> bool) {
        let raw = self.raw;
        let mut end = object.start;
        let mut kept_any = false;
        // Where the unwanted begin that stand first.
        let mut head = None;
        for (key, value) in members(raw, object) {
            // A key without text is none that any table names.
            let name = text(raw, key).unwrap_or_default();
            let is_kept = keep(
                self,
                Member {
                    name: &name,
                    key,
                    value,
                },
            );
            match (is_kept, kept_any) {
                (false, true) => self.cut(end, value.end),
                (false, false) => head = head.or(Some(key.start)),
                (true, _) => {
                    kept_any = true;
                    if let Some(start) = head.take() {
                        self.cut(start, key.start);
                    }
                }
            }
            end = value.end;
        }
        if let Some(start) = head {
            self.cut(start, end);
        }
    }

    fn cut(&mut self, start: u32, end: u32) {
        self.put(Span { start, end }, Vec::new());
    }

    fn drop_unknown(&mut self, object: Span, since: Since) {
        self.object(object, |level, member| level.knows(since, member.name));
    }

    fn other_result(&mut self, result: Span, method: Method) {
        let raw = self.raw;
        let list = ListKind::of(method);
        let since = if list.is_some() || method == Method::ResourcesRead {
            CACHEABLE
        } else {
            RESULT
        };
        self.object(result, |level, member| {
            match (member.name, list, method) {
                ("_meta", ..) => return level.result_meta(member.value),
                (name, Some(kind), _) if name == kind.field() => {
                    for item in elements(raw, member.value) {
                        level.item(item, kind);
                    }
                }
                ("messages", _, Method::PromptsGet) => {
                    for message in elements(raw, member.value) {
                        if let Some(content) = get(raw, message, "content") {
                            level.block(content);
                        }
                    }
                }
                ("contents", _, Method::ResourcesRead) => {
                    for contents in elements(raw, member.value) {
                        level.drop_unknown(contents, RESOURCE_CONTENTS);
                    }
                }
                _ => {}
            }
            level.knows(since, member.name)
        });
    }

    /// Says whether anything is left that the client knows.
    fn result_meta(&mut self, meta: Span) -> bool {
        let raw = self.raw;
        let mut is_empty = true;
        let is_left = members(raw, meta).any(|(key, _)| {
            is_empty = false;
            self.knows(RESULT_META, &text(raw, key).unwrap_or_default())
        });
        if is_left {
            self.drop_unknown(meta, RESULT_META);
        }
        is_left || is_empty
    }

    /// The result of a call, or one inside a message for sampling.
    ///
    /// Structured content that the client cannot read is said in words, unless the server has done so: it should, and
    /// then there is some text.
    fn call_result(&mut self, result: Span) {
        let raw = self.raw;
        let content = get(raw, result, "content");
        let blocks = content.filter(|content| content.of(raw).starts_with(b"["));
        let is_lost = |level: &Self, value: Span| {
            !level.knows(CALL_RESULT, "structuredContent") || !value.of(raw).starts_with(b"{")
        };
        let in_words = get(raw, result, "structuredContent")
            .filter(|value| is_lost(self, *value) && value.of(raw) != b"null")
            .filter(|_| !blocks.is_some_and(|blocks| elements(raw, blocks).any(|block| is_text(raw, block))))
            .map(|value| text_block(&escaped(value.of(raw)), None));
        if let (Some(in_words), Some(content)) = (&in_words, content) {
            self.add_block(content, in_words);
        }
        let mut in_place = in_words.filter(|_| content.is_none());
        self.object(result, |level, member| match member.name {
            "_meta" => level.result_meta(member.value),
            "content" => {
                if blocks == Some(member.value) {
                    for block in elements(raw, member.value) {
                        level.block(block);
                    }
                }
                true
            }
            "structuredContent" if is_lost(level, member.value) => match in_place.take() {
                Some(block) => {
                    let at = Span {
                        start: member.key.start,
                        end: member.value.end,
                    };
                    level.put(at, [b"\"content\":[", &block[..], b"]"].concat());
                    true
                }
                None => false,
            },
            name => level.knows(CALL_RESULT, name),
        });
    }

    /// A further block at the end of `content`; in place of it if that is no list.
    fn add_block(&mut self, content: Span, block: &[u8]) {
        let raw = self.raw;
        if !content.of(raw).starts_with(b"[") {
            return self.put(content, [b"[", block, b"]"].concat());
        }
        let end = content.end - 1;
        let comma: &[u8] = if elements(raw, content).next().is_some() {
            b","
        } else {
            b""
        };
        self.put(Span { start: end, end }, [comma, block].concat());
    }

    fn item(&mut self, item: Span, kind: ListKind) {
        let raw = self.raw;
        match kind {
            ListKind::Tools => self.tool(item),
            ListKind::Prompts => self.object(item, |level, member| {
                if member.name == "arguments" {
                    for argument in elements(raw, member.value) {
                        level.drop_unknown(argument, PROMPT_ARGUMENT);
                    }
                }
                level.knows(PROMPT, member.name)
            }),
            ListKind::Resources | ListKind::Templates => self.resource(item),
        }
    }

    fn resource(&mut self, resource: Span) {
        self.object(resource, |level, member| {
            if member.name == "annotations" {
                level.drop_unknown(member.value, ANNOTATIONS);
            }
            level.knows(RESOURCE, member.name)
        });
    }

    /// Since 2026-07-28 an output may be anything; before, only an object. One that is not goes, and with it goes what
    /// the tool's results say in that form.
    fn tool(&mut self, tool: Span) {
        let raw = self.raw;
        self.object(tool, |level, member| {
            if !level.knows(TOOL, member.name) {
                return false;
            }
            match member.name {
                "inputSchema" => level.input_schema(member.value),
                "outputSchema" if !is_object_schema(raw, member.value) => return false,
                "outputSchema" => level.properties(member.value),
                _ => {}
            }
            true
        });
    }

    /// Arguments are an object in every revision. Older clients refuse a whole list for one schema that does not say so.
    fn input_schema(&mut self, schema: Span) {
        let raw = self.raw;
        if !schema.of(raw).starts_with(b"{") {
            return self.put(schema, br#"{"type":"object"}"#.to_vec());
        }
        match get(raw, schema, "type") {
            Some(at) if text(raw, at).as_deref() == Some("object") => {}
            Some(at) => self.put(at, br#""object""#.to_vec()),
            None => {
                let comma = if members(raw, schema).next().is_some() {
                    ","
                } else {
                    ""
                };
                let start = schema.start + 1;
                self.put(
                    Span { start, end: start },
                    format!(r#""type":"object"{comma}"#).into_bytes(),
                );
            }
        }
        self.properties(schema);
    }

    /// A property's schema may be a boolean since 2026-07-28. Objects that mean the same were always allowed.
    fn properties(&mut self, schema: Span) {
        let raw = self.raw;
        let Some(properties) = get(raw, schema, "properties") else {
            return;
        };
        for (_, property) in members(raw, properties) {
            match property.of(raw) {
                b"true" => self.put(property, b"{}".to_vec()),
                b"false" => self.put(property, br#"{"not":{}}"#.to_vec()),
                _ => {}
            }
        }
    }

    /// A block of content of any kind.
    fn block(&mut self, block: Span) {
        let raw = self.raw;
        let kind = get(raw, block, "type").and_then(|at| text(raw, at));
        let kind = kind.as_deref().unwrap_or_default();
        if !self.knows(CONTENT_TYPE, kind) {
            let in_words = self.in_words(block, kind);
            return self.put(block, in_words);
        }
        match kind {
            "resource_link" => self.resource(block),
            "tool_result" => self.call_result(block),
            _ => self.object(block, |level, member| {
                match member.name {
                    "annotations" => level.drop_unknown(member.value, ANNOTATIONS),
                    "resource" => level.drop_unknown(member.value, RESOURCE_CONTENTS),
                    _ => {}
                }
                level.knows(CONTENT, member.name)
            }),
        }
    }

    /// What a block of an unknown kind says, as a block of text.
    fn in_words(&self, block: Span, kind: &str) -> Vec<u8> {
        let raw = self.raw;
        let field = |name: &str| get(raw, block, name).and_then(|at| string_body(at.of(raw)));
        let said = match kind {
            "resource_link" => {
                let mut said = b"Resource link: ".to_vec();
                said.extend_from_slice(
                    field("title")
                        .or_else(|| field("name"))
                        .unwrap_or(b"without a name"),
                );
                for (before, name, after) in [
                    (" <", "uri", ">"),
                    (" (", "mimeType", ")"),
                    ("\\n", "description", ""),
                ] {
                    if let Some(value) = field(name) {
                        said.extend_from_slice(before.as_bytes());
                        said.extend_from_slice(value);
                        said.extend_from_slice(after.as_bytes());
                    }
                }
                said
            }
            "audio" => {
                let mut said = b"Audio (".to_vec();
                said.extend_from_slice(field("mimeType").unwrap_or(b"of an unknown type"));
                let bytes = field("data").map_or(0, decoded_len);
                let why = format!(
                    ", {bytes} B) was left out: revision {} of the protocol has none.",
                    self.client
                );
                said.extend_from_slice(why.as_bytes());
                said
            }
            _ => escaped(block.of(raw)),
        };
        let annotations = get(raw, block, "annotations").filter(|at| at.of(raw).starts_with(b"{"));
        let unknown: Vec<&str> = ANNOTATIONS
            .iter()
            .filter(|(name, _)| !self.knows(ANNOTATIONS, name))
            .map(|(name, _)| *name)
            .collect();
        let annotations = annotations.map(|at| object_with(raw, at, &[], &unknown));
        text_block(&said, annotations.as_deref())
    }

    fn sampling(&mut self, params: Span) {
        let raw = self.raw;
        self.object(params, |level, member| {
            if member.name == "messages" {
                for message in elements(raw, member.value) {
                    level.sampling_message(message);
                }
            }
            level.knows(SAMPLING, member.name)
        });
    }

    /// A message to sample from. One with several blocks becomes as many messages where a message has one block.
    fn sampling_message(&mut self, message: Span) {
        let raw = self.raw;
        let content = get(raw, message, "content");
        let list = content.filter(|content| content.of(raw).starts_with(b"["));
        if let Some(list) = list.filter(|_| self.client < SAMPLING_CONTENT_LIST) {
            let role = get(raw, message, "role").map_or(&b"\"user\""[..], |role| role.of(raw));
            let messages: Vec<Vec<u8>> = elements(raw, list)
                .map(|block| {
                    let block = block.of(raw);
                    let mut level = Level::new(block, self.client);
                    level.block(Span::all(block));
                    let levelled = level.finish();
                    let content = levelled.as_deref().unwrap_or(block);
                    [b"{\"role\":", role, b",\"content\":", content, b"}"].concat()
                })
                .collect();
            let messages = if messages.is_empty() {
                [
                    b"{\"role\":",
                    role,
                    b",\"content\":",
                    &text_block(b"", None),
                    b"}",
                ]
                .concat()
            } else {
                messages.join(&b","[..])
            };
            return self.put(message, messages);
        }
        self.object(message, |level, member| {
            match (member.name, list) {
                ("content", Some(list)) if list == member.value => {
                    for block in elements(raw, list) {
                        level.block(block);
                    }
                }
                ("content", _) => level.block(member.value),
                _ => {}
            }
            level.knows(SAMPLING_MESSAGE, member.name)
        });
    }
}

fn is_text(raw: &[u8], block: Span) -> bool {
    get(raw, block, "type").and_then(|at| text(raw, at)).as_deref() == Some("text")
}

fn is_object_schema(raw: &[u8], schema: Span) -> bool {
    get(raw, schema, "type").and_then(|at| text(raw, at)).as_deref() == Some("object")
}

/// What stands between the quotes of a JSON string, as it is written there; `None` if it is none or empty. Taken over
/// with its escapes, so that it means the same in the new string.
fn string_body(value: &[u8]) -> Option<&[u8]> {
    let body = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    (!body.is_empty()).then_some(body)
}

/// JSON as the body of a JSON string.
fn escaped(json: &[u8]) -> Vec<u8> {
    let quoted = quoted(&String::from_utf8_lossy(json));
    quoted[1..quoted.len() - 1].to_vec()
}

/// `said` is the body of a JSON string.
fn text_block(said: &[u8], annotations: Option<&[u8]>) -> Vec<u8> {
    let mut block = [br#"{"type":"text","text":""#, said, b"\""].concat();
    if let Some(annotations) = annotations {
        block.extend_from_slice(b",\"annotations\":");
        block.extend_from_slice(annotations);
    }
    block.push(b'}');
    block
}

/// Bytes that a base64 text stands for.
fn decoded_len(base64: &[u8]) -> usize {
    let digits = base64
        .iter()
        .rposition(|byte| *byte != b'=')
        .map_or(0, |at| at + 1);
    digits * 3 / 4
}
