//! How many bytes may wait for the store, all tasks together, and who may add to them.
//!
//! No task may have more waiting than it leaves free for all others together (nor more than `task_bytes_max`). So one that
//! writes without pause gets half of the budget when it is alone, many share it, and something is left for one more.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::block::{BLOCK_BYTES, MARK_BYTES};
use super::lock;

/// Shared by all tasks.
#[derive(Debug)]
pub(super) struct Budget {
    bytes_max: usize,
    task_bytes_max: usize,
    /// Charged to all accounts.
    used: AtomicUsize,
    /// Accounts that wait for room, each at most once.
    waiting: Mutex<Vec<Arc<Account>>>,
    /// How many those are, to be read without the lock.
    waiting_len: AtomicUsize,
}

/// One task's share.
#[derive(Debug, Default)]
pub(super) struct Account {
    used: AtomicUsize,
    is_waiting: AtomicBool,
    room: Notify,
}

/// Bytes that one write takes at most: as much as a pipe holds.
pub(super) const WRITE_BYTES_MAX: usize = 64 << 10;
/// Less room than this is no room: reading byte by byte would cost more than waiting.
const WRITE_BYTES_MIN: usize = 1 << 10;
/// A byte may be a line, and then takes this. What is kept of an unfinished line takes less: see [`kept_charge`].
const BYTE_CHARGE: usize = 1 + MARK_BYTES;
/// For the block that a write becomes, and the one that the line kept after it becomes.
const WRITE_CHARGE: usize = 2 * (BLOCK_BYTES + MARK_BYTES);

/// An unfinished line of so many bytes can be given out as a piece without any new charge: its buffer was charged twice.
pub(super) const PIECE_BYTES_MIN: usize = BLOCK_BYTES + 64;

/// What is charged for an unfinished line: its buffer, which may have grown to twice its length, and its block to be.
pub(super) fn kept_charge(is_open: bool, rest_bytes: usize) -> usize {
    match is_open {
        true => 2 * rest_bytes + BLOCK_BYTES + MARK_BYTES,
        false => 0,
    }
}

impl Budget {
    pub(super) fn new(bytes_max: usize, task_bytes_max: usize) -> Self {
        Budget {
            bytes_max,
            task_bytes_max,
            used: AtomicUsize::new(0),
            waiting: Mutex::default(),
            waiting_len: AtomicUsize::new(0),
        }
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(SeqCst)
    }

    /// True if most of it is used: nobody should keep what could be stored.
    pub(super) fn is_scarce(&self) -> bool {
        self.used() > self.bytes_max / 4 * 3
    }

    /// How many bytes the account's task may write now; 0 if it must wait.
    pub(super) fn credit(&self, account: &Account) -> usize {
        match self.room(self.used(), account) {
            room if room < WRITE_BYTES_MIN => 0,
            room => room.min(WRITE_BYTES_MAX),
        }
    }

    /// Charges the account for a write of at most `wanted` bytes, as much as it may come to; returns how many bytes that is for,
    /// and the charge. Nothing if there is no room for a write worth its while.
    pub(super) fn reserve(&self, account: &Account, wanted: usize) -> Option<(usize, usize)> {
        let wanted = wanted.min(WRITE_BYTES_MAX);
        let mut used = self.used();
        loop {
            let bytes = self.room(used, account).min(wanted);
            if bytes < wanted.min(WRITE_BYTES_MIN) {
                return None;
            }
            let charge = bytes * BYTE_CHARGE + WRITE_CHARGE;
            match self.used.compare_exchange(used, used + charge, SeqCst, SeqCst) {
                Ok(_) => {
                    account.used.fetch_add(charge, SeqCst);
                    return Some((bytes, charge));
                }
                Err(now) => used = now,
            }
        }
    }

    /// Takes `bytes` off the account, of which more is released soon: whoever waits for room hears of it then.
    pub(super) fn give_back(&self, account: &Account, bytes: usize) {
        account.used.fetch_sub(bytes, SeqCst);
        self.used.fetch_sub(bytes, SeqCst);
    }

    /// Takes `bytes` off the account, and lets those go on who waited for them.
    pub(super) fn release(&self, account: &Account, bytes: usize) {
        self.give_back(account, bytes);
        if self.waiting_len.load(SeqCst) > 0 {
            self.wake();
        }
    }

    /// Waits until the account has credit.
    ///
    /// # Cancel safety
    /// Safe: nothing is taken. An account whose wait was dropped is at most woken in vain.
    pub(super) async fn ready(&self, account: &Arc<Account>) {
        while self.credit(account) == 0 {
            self.enlist(account);
            // What was released before it stood in the list woke nobody.
            if self.credit(account) > 0 {
                return;
            }
            account.room.notified().await;
        }
    }

    /// The account's task is gone.
    pub(super) fn forget(&self, account: &Arc<Account>) {
        if account.is_waiting.load(SeqCst) {
            let mut waiting = lock(&self.waiting);
            waiting.retain(|other| !Arc::ptr_eq(other, account));
            self.waiting_len.store(waiting.len(), SeqCst);
        }
    }

    fn room(&self, used: usize, account: &Account) -> usize {
        let own = account.used.load(SeqCst);
        let free = self.bytes_max.saturating_sub(used);
        // Whatever is added to its own is gone from what is free: hence the half.
        let fair = free.saturating_sub(own) / 2;
        let room = fair.min(self.task_bytes_max.saturating_sub(own));
        room.saturating_sub(WRITE_CHARGE) / BYTE_CHARGE
    }

    fn enlist(&self, account: &Arc<Account>) {
        if !account.is_waiting.swap(true, SeqCst) {
            let mut waiting = lock(&self.waiting);
            waiting.push(Arc::clone(account));
            self.waiting_len.store(waiting.len(), SeqCst);
        }
    }

    fn wake(&self) {
        let mut waiting = lock(&self.waiting);
        waiting.retain(|account| {
            let must_wait = self.credit(account) == 0;
            if !must_wait {
                account.is_waiting.store(false, SeqCst);
                account.room.notify_one();
            }
            must_wait
        });
        self.waiting_len.store(waiting.len(), SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;

    fn fill(budget: &Budget, account: &Account) -> usize {
        std::iter::from_fn(|| budget.reserve(account, WRITE_BYTES_MAX))
            .map(|(_, charge)| charge)
            .sum()
    }

    #[test]
    fn one_gets_half_and_many_share() {
        let budget = Budget::new(1024 * KIB, 1024 * KIB);
        let alone = Account::default();
        let half = fill(&budget, &alone);
        assert!((500 * KIB..=512 * KIB).contains(&half), "{half}");
        // There is room for another one, and what is free is never given out twice.
        let other = Account::default();
        assert!(budget.credit(&other) > 0);
        let quarter = fill(&budget, &other);
        assert!((250 * KIB..=257 * KIB).contains(&quarter), "{quarter}");
        budget.release(&alone, half);
        budget.release(&other, quarter);
        assert_eq!(budget.used(), 0);
        let accounts: Vec<Account> = (0..1000).map(|_| Account::default()).collect();
        let all: usize = accounts.iter().map(|account| fill(&budget, account)).sum();
        assert!(all <= 1024 * KIB && budget.used() == all);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_is_woken_and_a_dropped_wait_harms_nobody() {
        let budget = Budget::new(64 * KIB, 16 * KIB);
        let account = Arc::new(Account::default());
        budget.ready(&account).await;
        let charge = fill(&budget, &account);
        for _ in 0..3 {
            let second = std::time::Duration::from_secs(1);
            axiom_core::time::timeout(second, budget.ready(&account))
                .await
                .unwrap_err();
        }
        assert_eq!(lock(&budget.waiting).len(), 1);
        let (waited, ()) = tokio::join!(
            axiom_core::time::timeout(std::time::Duration::from_secs(1), budget.ready(&account)),
            async { budget.release(&account, charge) },
        );
        waited.unwrap();
        assert!(lock(&budget.waiting).is_empty());
        fill(&budget, &account);
        budget.enlist(&account);
        budget.forget(&account);
        assert!(lock(&budget.waiting).is_empty());
    }
}
