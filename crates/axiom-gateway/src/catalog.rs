//! The lists of one server, as the server gave them: fetched whole, kept until the server says they changed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axiom_core::time;
use axiom_protocol::method::Method;
use axiom_protocol::revision::{Era, Revision};
use axiom_protocol::span::Span;
use axiom_protocol::text::{push_quoted, text};
use axiom_protocol::tool_headers::{self, ToolHeaders};
use axiom_protocol::walk;
use bytes::Bytes;

use crate::bridge;
use crate::fault::Fault;
use crate::level;
use crate::session::Audience;
use crate::upstream::{Link, whole};

/// The four lists of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ListKind {
    Tools,
    Prompts,
    Resources,
    Templates,
}

/// One server's list, whole.
#[derive(Debug)]
pub(crate) struct Catalog {
    kind: ListKind,
    pub items: Vec<Item>,
    /// The revision in whose words it is.
    pub revision: Revision,
    fetched: time::Instant,
    /// How long the list is good when nobody announces changes.
    ttl: Duration,
    /// False once the server said that the list changed.
    valid: AtomicBool,
    /// True while a link is up on which the server would say so.
    watched: AtomicBool,
    /// A modern server's hint: nobody else may see this list.
    pub private: bool,
    /// Tools whose arguments are mirrored in headers (`x-mcp-header`), by name.
    pub headers: HashMap<String, ToolHeaders>,
    /// Tools that may be called as tasks (2025-11-25), by name.
    pub tasks: HashMap<String, TaskSupport>,
}

/// What a tool says in `execution.taskSupport`, if it says that it may be called as a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TaskSupport {
    Optional,
    Required,
}

/// One tool, prompt, resource or template.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// What names it: `name`, `uri` or `uriTemplate`, unescaped.
    pub key: String,
    /// The object as the server wrote it.
    pub raw: Bytes,
    /// Where in `raw` the key's value is, quotes included.
    pub key_at: Span,
}

/// All lists of one server, by who asked.
#[derive(Debug, Default)]
pub(crate) struct Catalogs {
    kept: Mutex<HashMap<(Audience, ListKind), Arc<Catalog>>>,
    /// One fetch at a time for each list: whoever comes meanwhile gets its result.
    fetching: Mutex<HashMap<(Audience, ListKind), Turn>>,
    /// Counts announced changes, so that one that comes during a fetch is not overlooked.
    changes: AtomicU64,
}

/// Whoever holds it fetches.
type Turn = Arc<tokio::sync::Mutex<()>>;

/// Pages of one list, at most: a server whose cursor never ends must not hold us for ever.
const PAGES_MAX: usize = 1_000;
/// Items of one list, at most.
const ITEMS_MAX: usize = 100_000;

impl ListKind {
    pub(crate) const ALL: [ListKind; 4] = [
        ListKind::Tools,
        ListKind::Prompts,
        ListKind::Resources,
        ListKind::Templates,
    ];

    /// The list a method asks for.
    pub(crate) fn of(method: Method) -> Option<ListKind> {
        match method {
            Method::ToolsList => Some(ListKind::Tools),
            Method::PromptsList => Some(ListKind::Prompts),
            Method::ResourcesList => Some(ListKind::Resources),
            Method::ResourceTemplatesList => Some(ListKind::Templates),
            _ => None,
        }
    }

    /// The lists that a notification says have changed.
    pub(crate) fn changed_by(method: Method) -> &'static [ListKind] {
        match method {
            Method::ToolsListChanged => &[ListKind::Tools],
            Method::PromptsListChanged => &[ListKind::Prompts],
            Method::ResourcesListChanged => &[ListKind::Resources, ListKind::Templates],
            _ => &[],
        }
    }

    pub(crate) fn method(self) -> &'static str {
        match self {
            ListKind::Tools => "tools/list",
            ListKind::Prompts => "prompts/list",
            ListKind::Resources => "resources/list",
            ListKind::Templates => "resources/templates/list",
        }
    }

    /// The result's field that holds the items.
    pub(crate) fn field(self) -> &'static str {
        match self {
            ListKind::Tools => "tools",
            ListKind::Prompts => "prompts",
            ListKind::Resources => "resources",
            ListKind::Templates => "resourceTemplates",
        }
    }

    /// The capability under which a server offers the list.
    pub(crate) fn capability(self) -> &'static str {
        match self {
            ListKind::Tools => "tools",
            ListKind::Prompts => "prompts",
            ListKind::Resources | ListKind::Templates => "resources",
        }
    }

    /// What names an item.
    fn key(self) -> &'static str {
        match self {
            ListKind::Tools | ListKind::Prompts => "name",
            ListKind::Resources => "uri",
            ListKind::Templates => "uriTemplate",
        }
    }
}

impl Catalog {
    fn empty(kind: ListKind, revision: Revision) -> Catalog {
        Catalog {
            kind,
            items: Vec::new(),
            revision,
            fetched: time::now(),
            ttl: Duration::MAX,
            valid: AtomicBool::new(true),
            watched: AtomicBool::new(true),
            private: false,
            headers: HashMap::new(),
            tasks: HashMap::new(),
        }
    }

    /// Adds an item. A tool whose mirrored headers break the rules is left out, as the specification asks of clients on
    /// HTTP: a call to it could not be made.
    fn take(&mut self, item: Item, link: &Link) {
        let schema =
            walk::get(&item.raw, whole(&item.raw), "inputSchema").filter(|_| self.kind == ListKind::Tools);
        match schema.map(|schema| tool_headers::compile(&item.raw, schema)) {
            Some(Ok(headers)) if !headers.is_empty() => {
                self.headers.insert(item.key.clone(), headers);
            }
            Some(Err(error)) => {
                tracing::warn!(server = %link.upstream.name, tool = item.key, %error, "a tool was left out");
                return;
            }
            Some(Ok(_)) | None => {}
        }
        if let Some(support) = task_support(&item.raw).filter(|_| self.kind == ListKind::Tools) {
            self.tasks.insert(item.key.clone(), support);
        }
        self.items.push(item);
    }

    /// True while the list may be served without asking.
    pub(crate) fn is_fresh(&self, now: time::Instant) -> bool {
        self.valid.load(Ordering::Acquire)
            && (self.watched.load(Ordering::Acquire)
                || now.saturating_duration_since(self.fetched) < self.ttl)
    }
}

impl Catalogs {
    /// The list as `link` sees it, from memory if that is still good.
    pub(crate) async fn get(&self, link: &Arc<Link>, kind: ListKind) -> Result<Arc<Catalog>, Fault> {
        let key = (link.audience(), kind);
        if let Some(fresh) = self.fresh(key) {
            return Ok(fresh);
        }
        let turn = Arc::clone(lock(&self.fetching).entry(key).or_default());
        let _turn = turn.lock().await;
        if let Some(fresh) = self.fresh(key) {
            return Ok(fresh);
        }
        let changes = self.changes.load(Ordering::Acquire);
        let catalog = Arc::new(fetch(link, kind).await?);
        if self.changes.load(Ordering::Acquire) != changes {
            // Something changed during the fetch: good for whoever asked before, not for the next one.
            catalog.valid.store(false, Ordering::Release);
        }
        lock(&self.kept).insert(key, Arc::clone(&catalog));
        Ok(catalog)
    }

    fn fresh(&self, key: (Audience, ListKind)) -> Option<Arc<Catalog>> {
        lock(&self.kept)
            .get(&key)
            .filter(|catalog| catalog.is_fresh(time::now()))
            .cloned()
    }

    /// The list as `link` saw it last, fresh or not.
    pub(crate) fn kept(&self, link: &Link, kind: ListKind) -> Option<Arc<Catalog>> {
        lock(&self.kept).get(&(link.audience(), kind)).cloned()
    }

    /// The list as last seen by anybody, fresh or not. For status pages.
    pub(crate) fn last_seen(&self, kind: ListKind) -> Option<Arc<Catalog>> {
        lock(&self.kept)
            .iter()
            .filter(|((_, kept), _)| *kept == kind)
            .map(|(_, catalog)| catalog)
            .max_by_key(|catalog| catalog.fetched)
            .cloned()
    }

    /// The server said that a list changed.
    pub(crate) fn invalidate(&self, kind: ListKind) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        for ((_, kept), catalog) in lock(&self.kept).iter() {
            if *kept == kind {
                catalog.valid.store(false, Ordering::Release);
            }
        }
    }

    /// Changes that this link would have announced may go unheard from now on.
    pub(crate) fn unwatched(&self, link: &Link) {
        for ((audience, _), catalog) in lock(&self.kept).iter() {
            if *audience == link.audience() {
                catalog.watched.store(false, Ordering::Release);
            }
        }
    }

    /// A link is gone: the next one may find other lists.
    pub(crate) fn link_lost(&self, link: &Link) {
        let audience = link.audience();
        for ((kept, _), catalog) in lock(&self.kept).iter() {
            if *kept == audience {
                catalog.valid.store(false, Ordering::Release);
            }
        }
        // Only the plain link's lists are worth showing when they are out of date.
        if !link.is_plain() {
            lock(&self.kept).retain(|(kept, _), _| *kept != audience);
            lock(&self.fetching).retain(|(kept, _), _| *kept != audience);
        }
    }
}

/// Reads all pages of a list.
async fn fetch(link: &Arc<Link>, kind: ListKind) -> Result<Catalog, Fault> {
    if !link.greeting.has(kind.capability()) {
        return Ok(Catalog::empty(kind, link.revision));
    }
    let mut catalog = Catalog {
        fetched: time::now(),
        ttl: link.upstream.options.list_ttl,
        ..Catalog::empty(kind, link.revision)
    };
    catalog.watched = AtomicBool::new(link.is_listening() && link.greeting.announces(kind.capability()));
    let mut cursor: Option<Vec<u8>> = None;
    for _ in 0..PAGES_MAX {
        let params = page_params(link.era(), cursor.as_deref());
        let answer = link.request(kind.method(), &params).await?;
        let Some(result) = answer.result() else {
            // Some servers declare `resources` and know no templates.
            if answer.envelope.error_code == Some(axiom_protocol::codes::METHOD_NOT_FOUND) {
                return Ok(Catalog::empty(kind, link.revision));
            }
            let error =
                String::from_utf8_lossy(answer.raw(answer.envelope.error).unwrap_or_default()).into_owned();
            return Err(link
                .upstream
                .protocol_fault(format!("{} failed: {error}", kind.method())));
        };
        take_page(&mut catalog, link, &result, kind)?;
        cursor = answer
            .raw(answer.envelope.in_result.next_cursor)
            .filter(|raw| *raw != b"null")
            .map(<[u8]>::to_vec);
        if cursor.is_none() {
            return Ok(catalog);
        }
        if catalog.items.len() > ITEMS_MAX {
            break;
        }
    }
    Err(link
        .upstream
        .protocol_fault(format!("{} has no end", kind.method())))
}

fn page_params(era: Era, cursor: Option<&[u8]>) -> Vec<u8> {
    let field: Vec<(&str, &[u8])> = cursor.map(|cursor| ("cursor", cursor)).into_iter().collect();
    match (era, cursor) {
        (Era::Modern, _) => bridge::modern_params_with(&field),
        (Era::Legacy, Some(cursor)) => [b"{\"cursor\":", cursor, b"}"].concat(),
        (Era::Legacy, None) => b"{}".to_vec(),
    }
}

fn take_page(catalog: &mut Catalog, link: &Link, result: &Bytes, kind: ListKind) -> Result<(), Fault> {
    let span = whole(result);
    let items = walk::get(result, span, kind.field()).ok_or_else(|| {
        link.upstream
            .protocol_fault(format!("{} without '{}'", kind.method(), kind.field()))
    })?;
    if !items.of(result).starts_with(b"[") {
        return Err(link
            .upstream
            .protocol_fault(format!("'{}' is no array", kind.field())));
    }
    for item in walk::elements(result, items) {
        let raw = result.slice(item.start as usize..item.end as usize);
        match item_of(raw, kind) {
            Some(item) => catalog.take(item, link),
            None => {
                tracing::warn!(server = %link.upstream.name, list = kind.field(), "an item without a name was dropped")
            }
        }
    }
    if link.era() == Era::Modern {
        let ttl_ms = walk::get(result, span, "ttlMs")
            .and_then(|at| std::str::from_utf8(at.of(result)).ok()?.parse().ok());
        catalog.ttl = catalog.ttl.min(Duration::from_millis(ttl_ms.unwrap_or(0)));
        let scope = walk::get(result, span, "cacheScope").and_then(|at| text(result, at));
        catalog.private |= scope.as_deref() != Some("public");
    }
    Ok(())
}

fn task_support(tool: &[u8]) -> Option<TaskSupport> {
    let execution = walk::get(tool, whole(tool), "execution")?;
    match text(tool, walk::get(tool, execution, "taskSupport")?)?.as_ref() {
        "optional" => Some(TaskSupport::Optional),
        "required" => Some(TaskSupport::Required),
        _ => None,
    }
}

fn item_of(raw: Bytes, kind: ListKind) -> Option<Item> {
    if !raw.starts_with(b"{") {
        return None;
    }
    let key_at = walk::get(&raw, whole(&raw), kind.key())?;
    let key = text(&raw, key_at)?.into_owned();
    Some(Item { key, raw, key_at })
}

impl Item {
    /// The object as a client of an older revision can read it; `None` if that is as it is.
    pub(crate) fn levelled(&self, kind: ListKind, client: Revision) -> Option<Item> {
        item_of(Bytes::from(level::item(&self.raw, kind, client)?), kind)
    }

    /// The object under another name, everything else byte for byte.
    pub(crate) fn renamed(&self, name: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.raw[..self.key_at.start as usize]);
        push_quoted(out, name);
        out.extend_from_slice(&self.raw[self.key_at.end as usize..]);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No critical section leaves a map half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
