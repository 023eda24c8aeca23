//! What a group knows of each message: who has it, what became of it, and what of that may be forgotten.
//!
//! No disk, no clock, no waiting: time is handed in, and what must happen next is asked for.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::BuildHasher as _;
use std::time::Duration;

use axiom_core::time::Instant;

use super::{GroupOptions, Late, Strategy};

/// The books of one group.
#[derive(Debug)]
pub(super) struct Ledger {
    strategy: Strategy,
    attempts_max: u32,
    in_flight_max: usize,
    buffer_max: usize,
    unsaved_max: u64,
    message_timeout: Duration,
    retry_pause: Duration,
    /// Nothing from here on was taken from the log yet.
    read_to: u64,
    /// Messages that are not settled, by offset.
    open: BTreeMap<u64, Open>,
    /// Those of them that nobody has.
    waiting: BTreeSet<u64>,
    /// Those of them that somebody has.
    flights: BTreeSet<u64>,
    /// How many are in flight of each key. Only where order matters.
    busy: HashMap<u64, u32, foldhash::fast::RandomState>,
    /// Settled messages behind the first that is not.
    settled: BTreeSet<u64>,
    /// Given up, and parked with the next checkpoint.
    parking: BTreeMap<u64, Given>,
    consumers: Vec<Consumer>,
    next_consumer: u64,
    /// Whose turn it is, by its place among the consumers.
    turn: usize,
    next_delivery: u64,
    /// Settled since the last checkpoint, and those that the checkpoint on its way has.
    unsaved: u64,
    pub(super) parked: Parked,
    pub(super) totals: Totals,
}

/// A message that is not settled.
#[derive(Debug, Clone, Copy)]
struct Open {
    key: u64,
    /// How often it was given to somebody.
    attempts: u32,
    /// It was parked, and is given out again: the position has passed it.
    is_again: bool,
    place: Place,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    /// Until then nobody gets it.
    Waiting(Option<Instant>),
    Flight {
        consumer: u64,
        delivery: u64,
        until: Instant,
    },
}

/// A message that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) attempts: u32,
    pub(super) reason: String,
    is_again: bool,
}

#[derive(Debug)]
struct Consumer {
    id: u64,
    in_flight: usize,
    /// What it was given and has not taken yet: offset and delivery.
    slot: Option<(u64, u64)>,
    is_asking: bool,
}

/// Versions in the stream of parked messages: those from `from` on are parked, those before `replay_to` are to be given out
/// again, and `next` is that of the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Parked {
    pub(super) from: u64,
    pub(super) replay_to: u64,
    pub(super) next: u64,
}

/// What has become of messages since the group was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Totals {
    pub(super) acked: u64,
    pub(super) skipped: u64,
    pub(super) parked: u64,
    pub(super) lost: u64,
}

/// What a consumer was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) offset: u64,
    pub(super) delivery: u64,
    pub(super) attempt: u32,
}

/// What a consumer makes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Ack,
    Skip,
    Retry(String),
    Park(String),
}

/// All that is needed to go on, as of one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Snapshot {
    /// Everything before it is settled, parked or among `again`.
    pub(super) position: u64,
    /// Settled messages behind it.
    pub(super) done: Vec<u64>,
    /// Messages that were parked and are given out again, with their attempts.
    pub(super) again: Vec<(u64, u32)>,
    /// Attempts of messages behind the position that are not settled.
    pub(super) tries: Vec<(u64, u32)>,
    pub(super) parked: Parked,
    pub(super) totals: Totals,
    /// To be parked with it.
    pub(super) parks: Vec<(u64, Given)>,
    /// What it takes off the ledger's own count.
    pub(super) unsaved: u64,
}

impl Ledger {
    /// Goes on from a snapshot. `keys` of the messages that are given out again stand in their order.
    pub(super) fn new(options: &GroupOptions, snapshot: &Snapshot, keys: &[u64]) -> Ledger {
        let mut ledger = Ledger {
            strategy: options.strategy,
            attempts_max: options.attempts_max.max(1),
            in_flight_max: options.in_flight_max.max(1),
            buffer_max: options.buffer_max.max(1),
            unsaved_max: options.checkpoint_messages.max(1).saturating_mul(2),
            message_timeout: options.message_timeout,
            retry_pause: options.retry_pause,
            read_to: snapshot.position,
            open: BTreeMap::new(),
            waiting: BTreeSet::new(),
            flights: BTreeSet::new(),
            busy: HashMap::default(),
            settled: snapshot.done.iter().copied().collect(),
            parking: BTreeMap::new(),
            consumers: Vec::new(),
            next_consumer: 0,
            turn: 0,
            next_delivery: 0,
            unsaved: 0,
            parked: snapshot.parked,
            totals: snapshot.totals,
        };
        for ((offset, attempts), key) in snapshot.again.iter().zip(keys) {
            ledger.put(*offset, *key, *attempts, true);
        }
        ledger
    }

    pub(super) fn read_to(&self) -> u64 {
        self.read_to
    }

    /// How many more messages may be taken from the log.
    pub(super) fn room(&self) -> usize {
        let held = self.open.len() + self.settled.len() + self.parking.len();
        let room = self.buffer_max.saturating_sub(held);
        // What an earlier life settled behind a message may fill a buffer that is smaller now. There is room for that message
        // all the same, or nothing would ever be settled again.
        match self.open.is_empty() && self.parking.is_empty() {
            true => room.max(1),
            false => room,
        }
    }

    /// Whether there is no room until a checkpoint has what is given up: as long as it does not, everything behind is remembered.
    pub(super) fn is_stuck(&self) -> bool {
        self.room() == 0 && !self.parking.is_empty()
    }

    /// Takes in a message from the log, unless it was settled before; `attempts` from an earlier life.
    pub(super) fn take(&mut self, offset: u64, key: u64, attempts: u32) {
        if offset >= self.read_to && !self.settled.contains(&offset) {
            self.put(offset, key, attempts, false);
        }
        self.pass(offset + 1);
    }

    /// Nothing that is wanted lies before this offset any more.
    pub(super) fn pass(&mut self, offset: u64) {
        self.read_to = self.read_to.max(offset);
        self.forget_settled();
    }

    /// Takes in a parked message that is to be given out again, by its offset and key; `None` if its event cannot be read any
    /// more. What was between it and the last one is lost. One that was discarded since it was read stays away.
    pub(super) fn replay(&mut self, version: u64, message: Option<(u64, u64)>) {
        if version < self.parked.from || version >= self.parked.replay_to {
            return;
        }
        self.lose_parked(version);
        self.parked.from = version + 1;
        match message {
            Some((offset, key)) if !self.open.contains_key(&offset) => self.put(offset, key, 0, true),
            Some(_) => {}
            None => self.totals.lost += 1,
        }
    }

    /// Parked messages before this version cannot be read any more.
    pub(super) fn lose_parked(&mut self, version: u64) {
        let lost = version.saturating_sub(self.parked.from);
        self.parked.from += lost;
        self.totals.lost += lost;
    }

    fn put(&mut self, offset: u64, key: u64, attempts: u32, is_again: bool) {
        let place = Place::Waiting(None);
        let open = Open {
            key,
            attempts,
            is_again,
            place,
        };
        self.open.insert(offset, open);
        if attempts >= self.attempts_max {
            let reason = format!("given up after {attempts} attempts: the group ended during the last one");
            return self.park(offset, reason);
        }
        self.waiting.insert(offset);
    }

    pub(super) fn join(&mut self) -> u64 {
        let id = self.next_consumer;
        self.next_consumer += 1;
        self.consumers.push(Consumer {
            id,
            in_flight: 0,
            slot: None,
            is_asking: false,
        });
        id
    }

    pub(super) fn consumers(&self) -> usize {
        self.consumers.len()
    }

    /// A consumer is gone: what it has is for others.
    pub(super) fn leave(&mut self, consumer: u64, now: Instant) {
        self.quiet(consumer);
        let is_its = |offset: &u64| matches!(self.open[offset].place, Place::Flight { consumer: its, .. } if its == consumer);
        let its: Vec<u64> = self.flights.iter().copied().filter(is_its).collect();
        for offset in its {
            self.again(offset, "its consumer went away", now, false);
        }
        self.consumers.retain(|known| known.id != consumer);
    }

    /// A consumer wants a message.
    pub(super) fn ask(&mut self, consumer: u64) {
        if let Some(known) = self.consumer(consumer) {
            known.is_asking = true;
        }
    }

    /// A consumer wants none for now. What it was given and has not taken goes back as if it never had it.
    pub(super) fn quiet(&mut self, consumer: u64) {
        let Some(known) = self.consumer(consumer) else {
            return;
        };
        known.is_asking = false;
        if let Some((offset, _)) = known.slot.take() {
            self.land(offset);
            let open = self.open.get_mut(&offset).expect("what is in a slot is open");
            open.attempts = open.attempts.saturating_sub(1);
            open.place = Place::Waiting(None);
            self.waiting.insert(offset);
        }
    }

    /// Nobody gets anything any more: what was given and not taken goes back.
    pub(super) fn close(&mut self) {
        let consumers: Vec<u64> = self.consumers.iter().map(|consumer| consumer.id).collect();
        for consumer in consumers {
            self.quiet(consumer);
        }
    }

    /// What a consumer was given and has not taken.
    pub(super) fn slot(&self, consumer: u64) -> Option<Delivery> {
        let known = self.consumers.iter().find(|known| known.id == consumer)?;
        let (offset, delivery) = known.slot?;
        let attempt = self.open.get(&offset)?.attempts;
        Some(Delivery {
            offset,
            delivery,
            attempt,
        })
    }

    /// A consumer takes what it was given; false if it is not its any more.
    pub(super) fn take_slot(&mut self, consumer: u64, given: Delivery) -> bool {
        let Some(known) = self.consumer(consumer) else {
            return false;
        };
        let is_its = known.slot == Some((given.offset, given.delivery));
        if is_its {
            known.slot = None;
        }
        is_its
    }

    /// Gives messages to consumers that ask; says to whom.
    pub(super) fn dispatch(&mut self, now: Instant) -> Vec<u64> {
        let mut given = Vec::new();
        while let Some((offset, place)) = self.choose(now) {
            let until = now + self.message_timeout;
            let delivery = self.next_delivery;
            self.next_delivery += 1;
            let consumer = &mut self.consumers[place];
            consumer.is_asking = false;
            consumer.in_flight += 1;
            consumer.slot = Some((offset, delivery));
            let consumer = consumer.id;
            let open = self.open.get_mut(&offset).expect("what waits is open");
            open.attempts += 1;
            open.place = Place::Flight {
                consumer,
                delivery,
                until,
            };
            *self.busy.entry(open.key).or_default() += 1;
            self.waiting.remove(&offset);
            self.flights.insert(offset);
            self.turn = place + 1;
            given.push(consumer);
        }
        given
    }

    /// The next message and the place of the consumer that is to have it.
    fn choose(&self, now: Instant) -> Option<(u64, usize)> {
        // So many come again after a crash at most.
        if self.unsaved >= self.unsaved_max {
            return None;
        }
        let is_free = |consumer: &Consumer| {
            consumer.is_asking && consumer.slot.is_none() && consumer.in_flight < self.in_flight_max
        };
        if !self.consumers.iter().any(is_free) {
            return None;
        }
        let is_due = |offset: &u64| match self.open[offset].place {
            Place::Waiting(Some(not_before)) => not_before <= now,
            Place::Waiting(None) => true,
            Place::Flight { .. } => false,
        };
        match self.strategy {
            Strategy::Single => {
                let first = self.consumers.first().filter(|consumer| is_free(consumer));
                first?;
                Some((self.waiting.iter().copied().find(is_due)?, 0))
            }
            Strategy::RoundRobin => {
                let offset = self.waiting.iter().copied().find(is_due)?;
                let count = self.consumers.len();
                let mut places = (0..count).map(|step| (self.turn + step) % count);
                let place = places.find(|place| is_free(&self.consumers[*place]))?;
                Some((offset, place))
            }
            Strategy::Pinned(_) => {
                let mut held: HashSet<u64, foldhash::fast::RandomState> = HashSet::default();
                for offset in &self.waiting {
                    let key = self.open[offset].key;
                    // One after the other: also behind one that waits for its next attempt.
                    if !held.insert(key) || self.busy.contains_key(&key) || !is_due(offset) {
                        continue;
                    }
                    let place = self.pinned_to(key)?;
                    if is_free(&self.consumers[place]) {
                        return Some((*offset, place));
                    }
                }
                None
            }
        }
    }

    /// Whoever has the highest number for this key: when a consumer comes or goes, only its own keys move.
    fn pinned_to(&self, key: u64) -> Option<usize> {
        let number = |consumer: &Consumer| foldhash::fast::FixedState::default().hash_one((key, consumer.id));
        let places = self.consumers.iter().enumerate();
        let highest = places.max_by_key(|(_, consumer)| number(consumer));
        highest.map(|(place, _)| place)
    }

    /// What a consumer says of a message that it has.
    pub(super) fn settle(&mut self, given: Delivery, verdict: Verdict, now: Instant) -> Result<(), Late> {
        let is_its = self.open.get(&given.offset).is_some_and(
            |open| matches!(open.place, Place::Flight { delivery, .. } if delivery == given.delivery),
        );
        if !is_its {
            let offset = given.offset;
            return Err(Late { offset });
        }
        match verdict {
            Verdict::Ack => {
                self.done(given.offset);
                self.totals.acked += 1;
            }
            Verdict::Skip => {
                self.done(given.offset);
                self.totals.skipped += 1;
            }
            Verdict::Retry(reason) => self.again(given.offset, &reason, now, true),
            Verdict::Park(reason) => {
                self.land(given.offset);
                self.park(given.offset, reason);
            }
        }
        Ok(())
    }

    /// A message's event cannot be read any more.
    pub(super) fn lose(&mut self, offset: u64) {
        self.totals.lost += 1;
        self.done(offset);
    }

    /// Takes back what was held for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        let is_over =
            |offset: &u64| matches!(self.open[offset].place, Place::Flight { until, .. } if until <= now);
        let over: Vec<u64> = self.flights.iter().copied().filter(is_over).collect();
        for offset in over {
            let reason = format!("no answer within {:?}", self.message_timeout);
            if let Place::Flight { consumer, .. } = self.open[&offset].place
                && let Some(known) = self.consumer(consumer)
            {
                known.slot.take_if(|(given, _)| *given == offset);
            }
            self.again(offset, &reason, now, false);
        }
    }

    /// When there is something to do again, whatever else happens.
    pub(super) fn wake_at(&self, now: Instant) -> Option<Instant> {
        let times = self.open.values().filter_map(|open| match open.place {
            // One that is due and still waits, waits for a consumer.
            Place::Waiting(not_before) => not_before.filter(|not_before| *not_before > now),
            Place::Flight { until, .. } => Some(until),
        });
        times.min()
    }

    /// It goes to somebody else, or is given up if that was tried often enough.
    fn again(&mut self, offset: u64, reason: &str, now: Instant, pauses: bool) {
        self.land(offset);
        let open = self.open.get_mut(&offset).expect("what is in flight is open");
        if open.attempts >= self.attempts_max {
            let attempts = open.attempts;
            return self.park(offset, format!("given up after {attempts} attempts: {reason}"));
        }
        open.place = Place::Waiting(pauses.then(|| now + self.retry_pause));
        self.waiting.insert(offset);
    }

    fn park(&mut self, offset: u64, reason: String) {
        let open = self.open.remove(&offset).expect("what is parked was open");
        let given = Given {
            attempts: open.attempts,
            reason,
            is_again: open.is_again,
        };
        self.parking.insert(offset, given);
        self.unsaved += 1;
    }

    fn done(&mut self, offset: u64) {
        self.land(offset);
        self.waiting.remove(&offset);
        let open = self.open.remove(&offset).expect("what is settled was open");
        if !open.is_again {
            self.settled.insert(offset);
        }
        self.unsaved += 1;
        self.forget_settled();
    }

    /// It is in nobody's hands any more.
    fn land(&mut self, offset: u64) {
        if !self.flights.remove(&offset) {
            return;
        }
        let open = self.open[&offset];
        if let Some(count) = self.busy.get_mut(&open.key) {
            *count -= 1;
            if *count == 0 {
                self.busy.remove(&open.key);
            }
        }
        if let Place::Flight { consumer, .. } = open.place
            && let Some(known) = self.consumer(consumer)
        {
            known.in_flight -= 1;
        }
    }

    fn consumer(&mut self, id: u64) -> Option<&mut Consumer> {
        self.consumers.iter_mut().find(|known| known.id == id)
    }

    /// The offset of the first message that is neither settled nor one that was parked before.
    fn low(&self) -> u64 {
        let mut open = self.open.iter().filter(|(_, open)| !open.is_again);
        let mut parking = self.parking.iter().filter(|(_, given)| !given.is_again);
        let open = open.next().map_or(self.read_to, |(offset, _)| *offset);
        let parking = parking.next().map_or(self.read_to, |(offset, _)| *offset);
        open.min(parking)
    }

    fn forget_settled(&mut self) {
        let low = self.low();
        if self.settled.first().is_some_and(|first| *first < low) {
            self.settled = self.settled.split_off(&low);
        }
    }

    pub(super) fn unsaved(&self) -> u64 {
        self.unsaved
    }

    /// Those that somebody has, and those that wait.
    pub(super) fn in_hand(&self) -> (usize, usize) {
        (self.flights.len(), self.waiting.len())
    }

    /// What a checkpoint must say now. Those that are being parked count as parked in it.
    pub(super) fn snapshot(&self) -> Snapshot {
        let mut open = self.open.iter().filter(|(_, open)| !open.is_again);
        let position = open.next().map_or(self.read_to, |(offset, _)| *offset);
        let parks: Vec<(u64, Given)> = self
            .parking
            .iter()
            .map(|(offset, given)| (*offset, given.clone()))
            .collect();
        let from_log = parks.iter().filter(|(_, given)| !given.is_again);
        let mut done: Vec<u64> = from_log.map(|(offset, _)| *offset).collect();
        done.extend(&self.settled);
        done.retain(|offset| *offset >= position);
        done.sort_unstable();
        let attempts = |is_again| {
            let open = self
                .open
                .iter()
                .filter(move |(_, open)| open.is_again == is_again);
            open.map(|(offset, open)| (*offset, open.attempts))
        };
        let mut totals = self.totals;
        totals.parked += parks.len() as u64;
        Snapshot {
            position,
            done,
            again: attempts(true).collect(),
            tries: attempts(false).filter(|(_, attempts)| *attempts > 0).collect(),
            parked: Parked {
                next: self.parked.next + parks.len() as u64,
                ..self.parked
            },
            totals,
            parks,
            unsaved: self.unsaved,
        }
    }

    /// A snapshot is in the log.
    pub(super) fn saved(&mut self, snapshot: &Snapshot) {
        for (offset, given) in &snapshot.parks {
            self.parking.remove(offset);
            if !given.is_again {
                self.settled.insert(*offset);
            }
        }
        self.totals.parked += snapshot.parks.len() as u64;
        self.parked.next += snapshot.parks.len() as u64;
        self.unsaved -= snapshot.unsaved;
        self.forget_settled();
    }

    /// Parked messages, all of them as of now, are to be given out again; says how many.
    pub(super) fn replay_all(&mut self) -> u64 {
        self.parked.replay_to = self.parked.next;
        self.parked.count()
    }

    /// The oldest parked messages are given up for good; says how many.
    pub(super) fn discard(&mut self, count_max: u64) -> u64 {
        let count = count_max.min(self.parked.count());
        self.parked.from += count;
        self.parked.replay_to = self.parked.replay_to.max(self.parked.from);
        count
    }
}

impl Parked {
    /// Messages that are parked now.
    pub(super) fn count(&self) -> u64 {
        self.next.saturating_sub(self.from)
    }
}

#[cfg(test)]
mod tests;
