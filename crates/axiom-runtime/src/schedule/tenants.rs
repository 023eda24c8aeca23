//! Groups and their tenants: what each may have, what it has, and what service it has had.
//!
//! A tenant is known while it has a task, and for some time after: the service that it had counts against it when it comes
//! back. So many are remembered without a task at most; a group is known as long as one of its tenants is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;

use super::fair::Line;
use super::waiting::has_room;
use super::{Owner, PerClass, Retry, Share, Whose, Why};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct GroupId(u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TenantId(u64);

impl GroupId {
    pub(super) const FIRST: GroupId = GroupId(0);
}

impl TenantId {
    pub(super) const FIRST: TenantId = TenantId(0);
}

/// A moment in virtual time: service, in cost by weight. It goes only forward.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tag(u128);

impl Tag {
    pub(super) const FIRST: Tag = Tag(0);

    /// This moment and a task's service. Parts of a unit count: a weight of 1000 is not the end of precision.
    pub(super) fn after(self, cost: NonZeroU32, weight: NonZeroU32) -> Tag {
        let scaled = u128::from(cost.get()) << 32;
        Tag(self.0 + scaled.div_ceil(u128::from(weight.get())))
    }
}

/// What a group or a tenant has.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) share: Share,
    pub(super) queued: usize,
    pub(super) queued_bytes: u64,
    pub(super) running: usize,
    /// In each class, when in virtual time its next task starts.
    pub(super) tags: PerClass<Tag>,
    /// Of a tenant: its waiting tasks in each line. Of a group: its tenants that are ready, in each line. Never zero.
    pub(super) lines: BTreeMap<Line, usize>,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: Arc<str>,
    pub(super) account: Account,
    /// Virtual time among its tenants.
    pub(super) clock: PerClass<Tag>,
    pub(super) tenants: usize,
}

#[derive(Debug)]
pub(super) struct Tenant {
    pub(super) owner: Owner,
    pub(super) group: GroupId,
    pub(super) account: Account,
    /// Its place among those without a task.
    idle: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Tenants {
    group_share: Share,
    tenant_share: Share,
    group_shares: HashMap<Arc<str>, Share>,
    tenant_shares: HashMap<Owner, Share>,
    pub(super) groups: HashMap<GroupId, Group>,
    pub(super) tenants: HashMap<TenantId, Tenant>,
    group_ids: HashMap<Arc<str>, GroupId>,
    tenant_ids: HashMap<Owner, TenantId>,
    /// Those without a task, from the one that is so for longest.
    pub(super) idle: BTreeSet<(u64, TenantId)>,
    pub(super) idle_max: usize,
    /// Counts names as well as departures.
    next: u64,
}

impl Tenants {
    pub(super) fn new(group: Share, tenant: Share, idle_max: usize) -> Tenants {
        Tenants {
            group_share: group,
            tenant_share: tenant,
            group_shares: HashMap::new(),
            tenant_shares: HashMap::new(),
            groups: HashMap::new(),
            tenants: HashMap::new(),
            group_ids: HashMap::new(),
            tenant_ids: HashMap::new(),
            idle: BTreeSet::new(),
            idle_max,
            next: 0,
        }
    }

    pub(super) fn group(&self, id: GroupId) -> &Group {
        self.groups
            .get(&id)
            .expect("a group is known while one of its tenants is")
    }

    pub(super) fn group_mut(&mut self, id: GroupId) -> &mut Group {
        self.groups
            .get_mut(&id)
            .expect("a group is known while one of its tenants is")
    }

    pub(super) fn tenant(&self, id: TenantId) -> &Tenant {
        self.tenants
            .get(&id)
            .expect("a tenant is known while it has a task")
    }

    pub(super) fn tenant_mut(&mut self, id: TenantId) -> &mut Tenant {
        self.tenants
            .get_mut(&id)
            .expect("a tenant is known while it has a task")
    }

    pub(super) fn tenant_id(&self, owner: &Owner) -> Option<TenantId> {
        self.tenant_ids.get(owner).copied()
    }

    pub(super) fn group_id(&self, name: &str) -> Option<GroupId> {
        self.group_ids.get(name).copied()
    }

    pub(super) fn set_group_share(&mut self, name: &str, share: Share) {
        self.group_shares.insert(name.into(), share);
        if let Some(id) = self.group_id(name) {
            self.group_mut(id).account.share = share;
        }
    }

    pub(super) fn set_tenant_share(&mut self, owner: &Owner, share: Share) {
        self.tenant_shares.insert(owner.clone(), share);
        if let Some(id) = self.tenant_id(owner) {
            self.tenant_mut(id).account.share = share;
        }
    }

    /// Whether one more task of this size may wait, as far as its owner goes.
    pub(super) fn room_for(&self, owner: &Owner, bytes: u64, retry: Retry) -> Result<(), Why> {
        let group = self.group_id(&owner.group).map(|id| &self.group(id).account);
        let tenant = self.tenant_id(owner).map(|id| &self.tenant(id).account);
        let of_group = (
            Whose::group(&owner.group),
            group,
            self.share_of_group(&owner.group),
        );
        let of_tenant = (Whose::tenant(&owner.tenant), tenant, self.share_of_tenant(owner));
        for (whose, account, share) in [of_tenant, of_group] {
            let (queued, queued_bytes) =
                account.map_or((0, 0), |account| (account.queued, account.queued_bytes));
            let (tasks, all_bytes) = ((queued, share.queued_max), (queued_bytes, share.queued_bytes_max));
            has_room(whose, tasks, all_bytes, bytes, retry)?;
        }
        Ok(())
    }

    /// The tenant, who has a task from now on.
    pub(super) fn join(&mut self, owner: &Owner) -> TenantId {
        if let Some(id) = self.tenant_id(owner) {
            if let Some(idle) = self.tenant_mut(id).idle.take() {
                self.idle.remove(&(idle, id));
            }
            return id;
        }
        let group = self.join_group(&owner.group);
        let id = TenantId(self.count());
        let tenant = Tenant {
            owner: owner.clone(),
            group,
            account: Account::new(self.share_of_tenant(owner)),
            idle: None,
        };
        self.tenants.insert(id, tenant);
        self.tenant_ids.insert(owner.clone(), id);
        id
    }

    fn join_group(&mut self, name: &Arc<str>) -> GroupId {
        let id = match self.group_id(name) {
            Some(id) => id,
            None => {
                let id = GroupId(self.count());
                let group = Group {
                    name: Arc::clone(name),
                    account: Account::new(self.share_of_group(name)),
                    clock: PerClass::default(),
                    tenants: 0,
                };
                self.groups.insert(id, group);
                self.group_ids.insert(Arc::clone(name), id);
                id
            }
        };
        self.group_mut(id).tenants += 1;
        id
    }

    /// The tenant has one task less. If it was the last one, others may have to be forgotten.
    pub(super) fn settle(&mut self, id: TenantId) {
        let account = &self.tenant(id).account;
        if account.queued > 0 || account.running > 0 {
            return;
        }
        let left = self.count();
        self.tenant_mut(id).idle = Some(left);
        self.idle.insert((left, id));
        while self.idle.len() > self.idle_max {
            let Some((_, oldest)) = self.idle.pop_first() else {
                break;
            };
            self.forget(oldest);
        }
    }

    fn forget(&mut self, id: TenantId) {
        let Some(tenant) = self.tenants.remove(&id) else {
            return;
        };
        self.tenant_ids.remove(&tenant.owner);
        let group = self.group_mut(tenant.group);
        group.tenants -= 1;
        if group.tenants == 0 {
            self.groups.remove(&tenant.group);
            self.group_ids.remove(&tenant.owner.group);
        }
    }

    fn share_of_group(&self, name: &Arc<str>) -> Share {
        self.group_shares.get(name).copied().unwrap_or(self.group_share)
    }

    fn share_of_tenant(&self, owner: &Owner) -> Share {
        self.tenant_shares
            .get(owner)
            .copied()
            .unwrap_or(self.tenant_share)
    }

    fn count(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Account {
    fn new(share: Share) -> Account {
        Account {
            share,
            queued: 0,
            queued_bytes: 0,
            running: 0,
            tags: PerClass::default(),
            lines: BTreeMap::new(),
        }
    }

    pub(super) fn may_run(&self) -> bool {
        self.running < self.share.running_max
    }

    pub(super) fn add(&mut self, line: Line) {
        *self.lines.entry(line).or_default() += 1;
    }

    pub(super) fn remove(&mut self, line: Line) {
        if let Some(count) = self.lines.get_mut(&line) {
            *count -= 1;
            if *count == 0 {
                self.lines.remove(&line);
            }
        }
    }
}
