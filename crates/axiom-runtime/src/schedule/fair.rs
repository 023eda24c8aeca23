//! Whose turn it is within a class: start-time fair queueing between groups, and within a group between its tenants.
//!
//! Each class has a virtual clock, and in it each group a tag: when, in virtual time, its next task starts. The group with the
//! lowest tag is next. The clock moves to that tag, and the group's tag on by `cost / weight`. A group that had nothing to
//! place for a while starts at the clock, not at its old tag: what it did not use is not saved up. The same again for the
//! tenants of each group, with the group's own clock; a tenant's tasks go in the order in which they came.
//!
//! The bound: while two groups both have a task that may be placed, the services that they get, as cost by weight, differ by
//! `cost_max / weight` of the one and of the other together, however long that is. The same for two tenants of one group.
//!
//! Tasks at different backends stand in different *lines*, so that a backend without a place holds up only its own; a tag is
//! of all lines of a class, so that using many backends is no way to get more. Three sorted sets hold it all together:
//!
//! ```text
//!  ready_groups   (line, tag, group)           groups below their cap, with a tenant in
//!  ready_tenants  (group, line, tag, tenant)   tenants below their cap and not standing aside, with a task in
//!  tasks          (tenant, line, ticket)
//! ```
//!
//! The first of a prefix is the choice, and each change is a change of a few entries.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use super::backend::BackendId;
use super::tenants::{Account, GroupId, Tag, TenantId, Tenants};
use super::{Class, PerClass, Ticket};

/// The tasks of one class at one backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Line {
    pub(super) class: Class,
    pub(super) backend: BackendId,
}

#[derive(Debug)]
pub(super) struct Fair {
    pub(super) tenants: Tenants,
    /// Virtual time among the groups.
    clock: PerClass<Tag>,
    pub(super) ready_groups: BTreeSet<(Line, Tag, GroupId)>,
    pub(super) ready_tenants: BTreeSet<(GroupId, Line, Tag, TenantId)>,
    pub(super) tasks: BTreeSet<(TenantId, Line, Ticket)>,
    /// Lines whose first task does not fit, and that others may pass.
    pub(super) aside: BTreeSet<(TenantId, Line)>,
}

impl Fair {
    pub(super) fn new(tenants: Tenants) -> Fair {
        Fair {
            tenants,
            clock: PerClass::default(),
            ready_groups: BTreeSet::new(),
            ready_tenants: BTreeSet::new(),
            tasks: BTreeSet::new(),
            aside: BTreeSet::new(),
        }
    }

    /// The next task of a class, of those at these backends.
    pub(super) fn first(&self, class: Class, backends: &[BackendId]) -> Option<Ticket> {
        let lines = || {
            backends.iter().map(|backend| Line {
                class,
                backend: *backend,
            })
        };
        let (_, group) = lines().filter_map(|line| self.first_group(line)).min()?;
        let (tag, tenant) = lines().filter_map(|line| self.first_tenant(group, line)).min()?;
        let ready = lines().filter(|line| self.ready_tenants.contains(&(group, *line, tag, tenant)));
        ready.filter_map(|line| self.first_task(tenant, line)).min()
    }

    pub(super) fn enter(&mut self, id: TenantId, line: Line, ticket: Ticket, bytes: u64) {
        self.tasks.insert((id, line, ticket));
        self.for_both(id, |account| {
            account.queued += 1;
            account.queued_bytes += bytes;
        });
        self.tenants.tenant_mut(id).account.add(line);
        self.list_tenant(id, line);
    }

    /// Takes a task out of its line. Its tenant has to be settled afterwards.
    pub(super) fn leave(&mut self, id: TenantId, line: Line, ticket: Ticket, bytes: u64) {
        self.tasks.remove(&(id, line, ticket));
        self.for_both(id, |account| {
            account.queued -= 1;
            account.queued_bytes -= bytes;
        });
        self.tenants.tenant_mut(id).account.remove(line);
        self.list_tenant(id, line);
    }

    /// A task of this class has its turn: it counts as service.
    pub(super) fn served(&mut self, id: TenantId, class: Class, cost: NonZeroU32) {
        let group_id = self.tenants.tenant(id).group;
        let group = self.tenants.group_mut(group_id);
        let start = group.account.tags[class].max(self.clock[class]);
        let tenant_clock = group.clock[class];
        self.clock[class] = start;
        let group_tag = start.after(cost, group.account.share.weight);

        let account = &self.tenants.tenant(id).account;
        let tenant_start = account.tags[class].max(tenant_clock);
        let tenant_tag = tenant_start.after(cost, account.share.weight);
        self.tenants.group_mut(group_id).clock[class] = tenant_start;
        self.tag_tenant(id, class, tenant_tag);
        self.tag_group(group_id, class, group_tag);
    }

    /// The tenant has one more running.
    pub(super) fn run(&mut self, id: TenantId) {
        self.for_both(id, |account| account.running += 1);
        self.list(id);
    }

    /// The tenant has one less running.
    pub(super) fn end(&mut self, id: TenantId) {
        self.for_both(id, |account| account.running -= 1);
        self.list(id);
        self.tenants.settle(id);
    }

    /// Lets others go before this line, or not any more.
    pub(super) fn set_aside(&mut self, id: TenantId, line: Line, aside: bool) {
        if aside {
            self.aside.insert((id, line));
        } else {
            self.aside.remove(&(id, line));
        }
        self.list_tenant(id, line);
    }

    /// Puts all lines of a tenant, and of its group, where they belong after their caps may have been reached or left.
    pub(super) fn list(&mut self, id: TenantId) {
        let tenant = self.tenants.tenant(id);
        let group = tenant.group;
        let lines: Vec<Line> = tenant.account.lines.keys().copied().collect();
        for line in lines {
            self.list_tenant(id, line);
        }
        self.list_all_of_group(group);
    }

    pub(super) fn list_all_of_group(&mut self, id: GroupId) {
        let lines: Vec<Line> = self.tenants.group(id).account.lines.keys().copied().collect();
        for line in lines {
            self.list_group(id, line);
        }
    }

    fn list_tenant(&mut self, id: TenantId, line: Line) {
        let tenant = self.tenants.tenant(id);
        let (group, account) = (tenant.group, &tenant.account);
        let waits = account.lines.contains_key(&line) && !self.aside.contains(&(id, line));
        let entry = (group, line, account.tags[line.class], id);
        if waits && account.may_run() {
            if self.ready_tenants.insert(entry) {
                self.tenants.group_mut(group).account.add(line);
            }
        } else if self.ready_tenants.remove(&entry) {
            self.tenants.group_mut(group).account.remove(line);
        }
        self.list_group(group, line);
    }

    fn list_group(&mut self, id: GroupId, line: Line) {
        let account = &self.tenants.group(id).account;
        let entry = (line, account.tags[line.class], id);
        if account.lines.contains_key(&line) && account.may_run() {
            self.ready_groups.insert(entry);
        } else {
            self.ready_groups.remove(&entry);
        }
    }

    fn tag_tenant(&mut self, id: TenantId, class: Class, tag: Tag) {
        let tenant = self.tenants.tenant_mut(id);
        let (group, old) = (
            tenant.group,
            std::mem::replace(&mut tenant.account.tags[class], tag),
        );
        for line in lines_of(&tenant.account, class) {
            if self.ready_tenants.remove(&(group, line, old, id)) {
                self.ready_tenants.insert((group, line, tag, id));
            }
        }
    }

    fn tag_group(&mut self, id: GroupId, class: Class, tag: Tag) {
        let account = &mut self.tenants.group_mut(id).account;
        let old = std::mem::replace(&mut account.tags[class], tag);
        for line in lines_of(account, class) {
            if self.ready_groups.remove(&(line, old, id)) {
                self.ready_groups.insert((line, tag, id));
            }
        }
    }

    fn for_both(&mut self, id: TenantId, change: impl Fn(&mut Account)) {
        let tenant = self.tenants.tenant_mut(id);
        change(&mut tenant.account);
        let group = tenant.group;
        change(&mut self.tenants.group_mut(group).account);
    }

    fn first_group(&self, line: Line) -> Option<(Tag, GroupId)> {
        let from = self
            .ready_groups
            .range((line, Tag::FIRST, GroupId::FIRST)..)
            .next();
        from.filter(|entry| entry.0 == line)
            .map(|entry| (entry.1, entry.2))
    }

    fn first_tenant(&self, group: GroupId, line: Line) -> Option<(Tag, TenantId)> {
        let from = (group, line, Tag::FIRST, TenantId::FIRST);
        let first = self.ready_tenants.range(from..).next();
        first
            .filter(|entry| (entry.0, entry.1) == (group, line))
            .map(|entry| (entry.2, entry.3))
    }

    fn first_task(&self, tenant: TenantId, line: Line) -> Option<Ticket> {
        let first = self.tasks.range((tenant, line, Ticket(0))..).next();
        first
            .filter(|entry| (entry.0, entry.1) == (tenant, line))
            .map(|entry| entry.2)
    }
}

fn lines_of(account: &Account, class: Class) -> impl Iterator<Item = Line> {
    account
        .lines
        .keys()
        .copied()
        .filter(move |line| line.class == class)
}
