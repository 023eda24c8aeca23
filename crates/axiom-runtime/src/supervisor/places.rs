//! Whose turn it is: orders in, starts out.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axiom_core::time;
use axiom_sandbox::exit::How;
use axiom_sandbox::machine::Pressure as Gauge;
use axiom_sandbox::spec::Executor;

use super::ledger::LedgerPage;
use super::table::Table;
use super::view::Phase;
use super::{Shared, SubmitError, attempt, new_id};
use crate::agent::PromptBy;
use crate::order::{Input, Order};
use crate::schedule::{Dropped, Job, Placed, Pressure, WhenBroken};

/// What an order takes beside its texts.
const ORDER_BYTES: usize = 1 << 10;
/// The kernel works pressure out every two seconds; reading it costs three files.
const PRESSURE_AGE: Duration = Duration::from_millis(500);

pub(super) fn submit(shared: &Arc<Shared>, mut order: Order) -> Result<Arc<str>, SubmitError> {
    if shared.is_closing() {
        return Err(SubmitError::Closed);
    }
    order.check()?;
    if let Some(agent) = &order.agent
        && !shared.options.agents.contains_key(agent)
    {
        let agent = agent.clone();
        return Err(SubmitError::NoAgent { agent });
    }
    if let Some(pool) = order.pool.as_ref().filter(|pool| !shared.pools.has(pool)) {
        let pool = pool.clone();
        return Err(SubmitError::NoPool { pool });
    }
    if let Some(id) = known(&shared.table(), &order)? {
        return Ok(id);
    }
    let id = new_id();
    order.spec.id = id.to_string();
    // A worker has an environment already.
    if !matches!(order.spec.executor, Executor::Worker(_)) {
        let own_id = ("AXIOM_TASK_ID".to_owned(), id.to_string());
        order.spec.env.extend([own_id]);
    }
    let input = order.input.take();
    let input = prompt(shared, &order).or(input);
    if let Some(input) = &input {
        // Before the page: an order is not there without what belongs to it.
        shared
            .ledger
            .write_input(&id, input)
            .map_err(SubmitError::Ledger)?;
    }
    let page = LedgerPage {
        created: time::unix_nanos(),
        order: Arc::new(order),
        restarts: Vec::new(),
        over: 0,
        killed: None,
        ending: None,
        is_told: false,
    };
    if let Err(error) = shared.ledger.write(&id, &page) {
        shared.ledger.drop_input(&id);
        return Err(SubmitError::Ledger(error));
    }
    let input_bytes = input.map_or(0, |input| input.bytes.len());
    match enter(shared, &id, &page, input_bytes) {
        Ok(taken) if taken == id => {
            shared.notes.queued(&id, &page.order, page.created);
            shared.look.notify_one();
            Ok(id)
        }
        not_taken => {
            shared.ledger.take_back(&id);
            not_taken
        }
    }
}

/// What an agent reads that takes its prompt as input.
fn prompt(shared: &Shared, order: &Order) -> Option<Input> {
    let profile = shared.options.agents.get(order.agent.as_ref()?)?;
    (profile.prompt == PromptBy::Stdin).then(|| Input {
        bytes: order.prompt.clone().into_bytes(),
        ends: true,
    })
}

/// The task that this order is already, if it is one; or why it cannot be any.
fn known(table: &Table, order: &Order) -> Result<Option<Arc<str>>, SubmitError> {
    if let Some(id) = table.with_key(order) {
        return Ok(Some(Arc::clone(id)));
    }
    let Some(parent) = &order.parent else {
        return Ok(None);
    };
    let parent = parent.clone();
    match table.tasks.get(&*parent) {
        None => Err(SubmitError::NoParent { parent }),
        Some(entry) if entry.killed.is_some() => Err(SubmitError::ParentEnds { parent }),
        Some(_) => Ok(None),
    }
}

/// Puts it into the table and the queue, unless somebody with the same key was faster.
fn enter(
    shared: &Shared,
    id: &Arc<str>,
    page: &LedgerPage,
    input_bytes: usize,
) -> Result<Arc<str>, SubmitError> {
    let mut job = job(shared, id, &page.order);
    // It waits on the disk, which has its limits as well.
    job.queued_bytes += input_bytes as u64;
    let mut table = shared.table();
    if let Some(other) = known(&table, &page.order)? {
        return Ok(other);
    }
    let ticket = table.scheduler.submit(shared.now(), job);
    let ticket = ticket.map_err(|refused| SubmitError::Refused(refused.why))?;
    let entry = table.add(id, Arc::clone(&page.order), page.created);
    entry.ticket = Some(ticket);
    Ok(Arc::clone(id))
}

/// A task, as the scheduler sees it.
pub(super) fn job(shared: &Shared, id: &Arc<str>, order: &Order) -> Job<Arc<str>> {
    let spec = &order.spec;
    let texts = order.prompt.len()
        + spec.argv.iter().map(String::len).sum::<usize>()
        + spec
            .env
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum::<usize>();
    Job {
        owner: order.owner.owner(),
        class: order.class.class(),
        backend: shared.pools.backend(order),
        memory_bytes: order
            .counted_bytes
            .or(spec.limits.memory_bytes)
            .or_else(|| shared.pools.memory_bytes(order))
            .unwrap_or(shared.options.task_memory_bytes),
        queued_bytes: (ORDER_BYTES + texts) as u64,
        cost: NonZeroU32::MIN,
        deadline: order
            .start_within
            .map(|within| shared.now().saturating_add(within)),
        when_broken: WhenBroken::Wait,
        work: Arc::clone(id),
    }
}

/// Starts what may start, until the supervisor is closed.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut closing = shared.closing.subscribe();
    let mut pressure = (Duration::ZERO, pressure());
    while !shared.is_closing() {
        let now = shared.now();
        if now.saturating_sub(pressure.0) >= PRESSURE_AGE {
            pressure = (now, self::pressure());
        }
        let (next, wake_at) = {
            let mut table = shared.table();
            let next = table.scheduler.next(now, pressure.1);
            (next, table.scheduler.wake_at())
        };
        next.dropped
            .into_iter()
            .for_each(|dropped| tell_dropped(&shared, dropped));
        next.placed.into_iter().for_each(|placed| start(&shared, placed));
        let wake = async {
            match wake_at {
                Some(at) => time::sleep_until(shared.origin + at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // cancel-safe: a permit that was given stays.
            () = shared.look.notified() => {}
            // cancel-safe: a timer.
            () = wake => {}
            // cancel-safe: the value stays.
            _ = closing.changed() => {}
        }
    }
}

/// What the machine says of itself; nothing where the kernel does not measure it.
fn pressure() -> Pressure {
    match Gauge::read() {
        Ok(gauge) => Pressure {
            memory_some_avg10: gauge.memory_some_avg10,
            cpu_some_avg10: gauge.cpu_some_avg10,
        },
        Err(_) => Pressure::default(),
    }
}

fn tell_dropped(shared: &Arc<Shared>, dropped: Dropped<Arc<str>>) {
    let why = dropped.why.to_string();
    shared.settle(&dropped.job.work, Some(How::NotStarted { why }));
}

fn start(shared: &Arc<Shared>, placed: Placed<Arc<str>>) {
    let Placed { lease, job } = placed;
    let id = job.work;
    let attempt = {
        let mut table = shared.table();
        let Some(entry) = table.tasks.get_mut(&id) else {
            return;
        };
        entry.ticket = None;
        entry.lease = Some(lease);
        entry.phase = Phase::Starting;
        entry.attempt += 1;
        entry.attempt
    };
    shared.also("a task", attempt::run(Arc::clone(shared), id, lease, attempt));
}
