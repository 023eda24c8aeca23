//! Several servers' lists as one: stable order, names that do not collide, cursors of our own.
//!
//! A merged list is built once and held as bytes; it is served until one of its parts changes. A server that is down
//! or slow is left out (fail open) and comes in with a `list_changed` once it is up.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axiom_core::channel::oneshot;
use axiom_core::{Task, spawn, time};
use axiom_protocol::revision::Revision;
use bytes::Bytes;
use futures_util::future::join_all;

use crate::bridge::OUR_INFO;
use crate::catalog::{Catalog, Item, ListKind};
use crate::fault::Fault;
use crate::names;
use crate::options::{Prefix, ViewOptions};
use crate::seal::{Purpose, Sealer};
use crate::session::Audience;
use crate::upstream::{Upstream, Want};

/// Servers that share an endpoint.
#[derive(Debug)]
pub(crate) struct Group {
    /// In the order of their names, which is the order of every list.
    pub members: Vec<Arc<Upstream>>,
    pub prefix: Prefix,
    pub view: Option<ViewOptions>,
    merged: RwLock<HashMap<(Audience, ListKind), Arc<Merged>>>,
}

/// One list of a group.
#[derive(Debug)]
pub(crate) struct Merged {
    kind: ListKind,
    /// Each member's list.
    parts: Vec<Part>,
    /// Set when a list that was missing has come in.
    stale: Arc<AtomicBool>,
    built: time::Instant,
    /// Shown key -> member and its own key.
    pub entries: HashMap<String, (usize, String)>,
    /// Offsets of each item's end in `items`.
    ends: Vec<usize>,
    /// The items with commas between them.
    items: Bytes,
    /// Whole results for the usual case of a single page, by era.
    pub legacy: Bytes,
    pub modern: Bytes,
}

/// What is known of one member's list.
#[derive(Debug)]
enum Part {
    Here(Arc<Catalog>),
    /// Still being read, in a task of its own.
    Late(Arc<Task>),
    /// It could not be had.
    Missing,
}

/// A client's first list waits this long for servers that are still starting. Clients give up after about a minute.
const FIRST_WAIT: Duration = Duration::from_secs(10);
/// A server that was missing in the last list gets this long in the next.
const NEXT_WAIT: Duration = Duration::from_millis(100);
/// A list with a missing server is built anew after this long.
const REBUILD_AFTER: Duration = Duration::from_secs(1);
/// Items on one page. Many clients read only the first page, so it is larger than any list that a model can use.
const PAGE_ITEMS: usize = 1_000;
/// How long a missing server is waited for in the background.
const COMEBACK_TRIES: u32 = 120;
const COMEBACK_PAUSE: Duration = Duration::from_secs(5);

impl Group {
    pub(crate) fn new(members: Vec<Arc<Upstream>>, prefix: Prefix, view: Option<ViewOptions>) -> Group {
        Group {
            members,
            prefix,
            view,
            merged: RwLock::default(),
        }
    }

    pub(crate) fn member(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.members
            .binary_search_by(|member| (*member.name).cmp(name))
            .ok()
            .map(|index| &self.members[index])
    }

    /// The merged list as `want` sees it.
    pub(crate) async fn list(&self, want: &Want, kind: ListKind) -> Arc<Merged> {
        let key = (want.audience(), kind);
        let last = self
            .merged
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .cloned();
        if let Some(last) = &last
            && last.is_fresh(time::now())
        {
            return Arc::clone(last);
        }
        let stale = Arc::new(AtomicBool::new(false));
        let members = self.members.iter().enumerate().map(|(index, member)| {
            let before = last.as_ref().and_then(|last| last.parts.get(index));
            part(member, want, kind, before, &stale)
        });
        let parts = join_all(members).await;
        let merged = Arc::new(self.build(kind, parts, stale, want.revision));
        self.merged
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, Arc::clone(&merged));
        merged
    }

    /// Forgets lists that would not be served again as they are.
    pub(crate) fn sweep(&self) {
        let now = time::now();
        self.merged
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, merged| merged.is_fresh(now));
    }

    fn build(&self, kind: ListKind, parts: Vec<Part>, stale: Arc<AtomicBool>, client: Revision) -> Merged {
        let shown = self.shown_names(kind, &parts);
        let mut entries = HashMap::new();
        let mut items = Vec::new();
        let mut ends = Vec::new();
        for ((index, item), name) in items_of(&parts).zip(shown) {
            let Some(name) = name else { continue };
            if entries.contains_key(&name) {
                let member = &self.members[index].name;
                tracing::warn!(server = %member, name, list = kind.field(), "hidden: another server has it already");
                continue;
            }
            if !ends.is_empty() {
                items.push(b',');
            }
            let is_newer = parts[index]
                .catalog()
                .is_some_and(|catalog| client < catalog.revision);
            let levelled = is_newer.then(|| item.levelled(kind, client)).flatten();
            let item = levelled.as_ref().unwrap_or(item);
            if name == item.key {
                items.extend_from_slice(&item.raw)
            } else {
                item.renamed(&name, &mut items)
            }
            ends.push(items.len());
            entries.insert(name, (index, item.key.clone()));
        }
        let items = Bytes::from(items);
        let mut merged = Merged {
            kind,
            parts,
            stale,
            built: time::now(),
            entries,
            ends,
            items,
            legacy: Bytes::new(),
            modern: Bytes::new(),
        };
        (merged.legacy, merged.modern) = (merged.page(0, None, false), merged.page(0, None, true));
        merged
    }

    /// The name each item goes by here, in the items' order; `None` for what this endpoint does not show.
    fn shown_names(&self, kind: ListKind, parts: &[Part]) -> Vec<Option<String>> {
        let has_name = matches!(kind, ListKind::Tools | ListKind::Prompts);
        let mut counts: BTreeMap<&str, HashSet<usize>> = BTreeMap::new();
        if has_name && self.prefix == Prefix::Conflict {
            for (index, item) in items_of(parts) {
                counts.entry(&item.key).or_default().insert(index);
            }
        }
        items_of(parts)
            .map(|(index, item)| {
                let server = &self.members[index].name;
                if let Some(view) = &self.view {
                    let full = format!("{server}.{}", item.key);
                    if let Some(renamed) = view.rename.get(&full) {
                        return Some(renamed.clone());
                    }
                    if !view.include.iter().any(|pattern| names::matches(pattern, &full)) {
                        return None;
                    }
                }
                if !has_name {
                    return Some(item.key.clone());
                }
                Some(match self.prefix {
                    Prefix::Always => names::prefixed(server, &item.key),
                    Prefix::Conflict
                        if counts
                            .get(item.key.as_str())
                            .is_some_and(|in_servers| in_servers.len() > 1) =>
                    {
                        names::prefixed(server, &item.key)
                    }
                    Prefix::Conflict | Prefix::Never => names::guarded(&item.key),
                })
            })
            .collect()
    }
}

/// All items with the index of the member they come from.
fn items_of(parts: &[Part]) -> impl Iterator<Item = (usize, &Item)> {
    parts
        .iter()
        .enumerate()
        .filter_map(|(index, part)| part.catalog().map(|catalog| (index, catalog)))
        .flat_map(|(index, catalog)| catalog.items.iter().map(move |item| (index, item)))
}

impl Merged {
    fn is_fresh(&self, now: time::Instant) -> bool {
        let age = now.saturating_duration_since(self.built);
        !self.stale.load(Ordering::Acquire)
            && self.parts.iter().all(|part| match part {
                Part::Here(catalog) => catalog.is_fresh(now),
                Part::Late(task) => !task.is_finished() || age < REBUILD_AFTER,
                Part::Missing => age < REBUILD_AFTER,
            })
    }

    /// The result of a list request with this cursor.
    pub(crate) fn result(&self, cursor: Option<&str>, modern: bool, sealer: &Sealer) -> Result<Bytes, Fault> {
        let start = match cursor {
            None if self.ends.len() <= PAGE_ITEMS => {
                return Ok(if modern {
                    self.modern.clone()
                } else {
                    self.legacy.clone()
                });
            }
            None => 0,
            Some(cursor) => self.open_cursor(cursor, sealer)?,
        };
        let next =
            (start + PAGE_ITEMS < self.ends.len()).then(|| self.seal_cursor(start + PAGE_ITEMS, sealer));
        Ok(self.page(start, next.as_deref(), modern))
    }

    fn page(&self, start: usize, next: Option<&str>, modern: bool) -> Bytes {
        let end = (start + PAGE_ITEMS).min(self.ends.len());
        // An item begins behind the comma that follows the one before.
        let from = if start == 0 { 0 } else { self.ends[start - 1] + 1 };
        let to = if end == 0 { 0 } else { self.ends[end - 1] };
        let items = if start < end { &self.items[from..to] } else { &[] };
        let mut page = Vec::with_capacity(items.len() + 256);
        page.push(b'{');
        if modern {
            page.extend_from_slice(b"\"resultType\":\"complete\",");
        }
        page.extend_from_slice(format!("\"{}\":[", self.kind.field()).as_bytes());
        page.extend_from_slice(items);
        page.push(b']');
        if let Some(next) = next {
            page.extend_from_slice(format!(",\"nextCursor\":\"{next}\"").as_bytes());
        }
        if modern {
            let private = self
                .parts
                .iter()
                .filter_map(Part::catalog)
                .any(|part| part.private);
            let scope = if private { "private" } else { "public" };
            // Clients are told of changes; a time for which nothing can change is nobody's to promise.
            page.extend_from_slice(
                format!(
                    ",\"ttlMs\":0,\"cacheScope\":\"{scope}\",\"_meta\":{{\"io.modelcontextprotocol/serverInfo\":{OUR_INFO}}}"
                )
                .as_bytes(),
            );
        }
        page.push(b'}');
        Bytes::from(page)
    }

    /// A cursor is an offset in this kind of list. Sealed, so that a client cannot make one up.
    fn seal_cursor(&self, offset: usize, sealer: &Sealer) -> String {
        sealer.seal(
            Purpose::Cursor,
            format!("{} {offset}", self.kind.field()).as_bytes(),
        )
    }

    fn open_cursor(&self, cursor: &str, sealer: &Sealer) -> Result<usize, Fault> {
        sealer
            .open(Purpose::Cursor, cursor)
            .and_then(|plain| String::from_utf8(plain).ok())
            .and_then(|plain| {
                let (field, offset) = plain.split_once(' ')?;
                (field == self.kind.field())
                    .then(|| offset.parse().ok())
                    .flatten()
            })
            .ok_or_else(|| Fault::InvalidParams("unknown cursor: ask for the first page again".to_owned()))
    }
}

impl Part {
    fn catalog(&self) -> Option<&Arc<Catalog>> {
        match self {
            Part::Here(catalog) => Some(catalog),
            Part::Late(_) | Part::Missing => None,
        }
    }
}

/// One member's list. What takes too long goes on in the background and makes the merged list stale when it is there.
async fn part(
    member: &Arc<Upstream>,
    want: &Want,
    kind: ListKind,
    before: Option<&Part>,
    stale: &Arc<AtomicBool>,
) -> Part {
    if let Some(Part::Late(task)) = before
        && !task.is_finished()
    {
        return Part::Late(Arc::clone(task));
    }
    let wait = match before {
        Some(Part::Late(_) | Part::Missing) => NEXT_WAIT,
        Some(Part::Here(_)) | None => FIRST_WAIT,
    };
    let given_up = Arc::new(AtomicBool::new(false));
    let (tx, rx) = oneshot::channel();
    let task = {
        let (member, want) = (Arc::clone(member), want.clone());
        let (stale, given_up) = (Arc::clone(stale), Arc::clone(&given_up));
        spawn("read list", async move {
            let result = async {
                let link = member.link(&want).await?;
                member.catalogs.get(&link, kind).await
            }
            .await;
            let is_here = result.is_ok();
            // Nobody waits for a late one.
            let _late = tx.send(result).is_err();
            if is_here && given_up.load(Ordering::Acquire) {
                stale.store(true, Ordering::Release);
                member.hub.lists_changed(&member.name);
            }
        })
    };
    match time::timeout(wait, rx).await {
        Ok(Ok(Ok(catalog))) => Part::Here(catalog),
        Ok(Ok(Err(fault))) => {
            tracing::debug!(server = %member.name, list = kind.field(), %fault, "left out of a list");
            member.note_error(Some(fault.to_string()));
            await_comeback(member, want.revision);
            Part::Missing
        }
        Ok(Err(_)) => Part::Missing,
        Err(_) => {
            given_up.store(true, Ordering::Release);
            Part::Late(Arc::new(task))
        }
    }
}

/// Waits in the background for a server that is down, and then says that the lists changed.
fn await_comeback(member: &Arc<Upstream>, revision: Revision) {
    // One that others can use has refused this client only; waiting would not help.
    if !member.live_links().is_empty() || member.comeback.swap(true, Ordering::AcqRel) {
        return;
    }
    let member = Arc::clone(member);
    drop(spawn("await server", async move {
        // Without the client's own capabilities: its session must not be kept alive by this wait.
        let want = Want::plain(revision);
        for _ in 0..COMEBACK_TRIES {
            time::sleep(COMEBACK_PAUSE).await;
            if member.is_stopped() {
                break;
            }
            if member.link(&want).await.is_ok() {
                member.hub.lists_changed(&member.name);
                break;
            }
        }
        member.comeback.store(false, Ordering::Release);
    }));
}
