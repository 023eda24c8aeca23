//! Into the queue, through each state, and out again.

use super::*;

#[test]
fn everything_comes_back_once_and_late_reports_say_so() {
    check(
        small(2, 9),
        "add a ann normal 2
         add b ann normal 2
         next
         start a
         start a
         free
         end a
         end a
         next
         free
         end b
         free
         wake",
        "place: a
         task 1 was reported as started before
         used 2 GiB, starting 0, started 1, stopping 0
         task 1 has ended already, or never was
         place: b
         used 2 GiB, starting 1, started 0, stopping 0
         used 0 GiB, starting 0, started 0, stopping 0
         sleep",
    );
}

#[test]
fn cancel_in_each_state() {
    check(
        small(9, 2),
        "add a ann normal 1
         add b ann normal 1
         add c ann normal 1
         next
         start a
         cancel a
         cancel b
         cancel b
         cancel c
         cancel c
         free
         stop a
         fail b
         free
         cancel a",
        "place: a b
         running: attempt 1
         running: attempt 2
         running: attempt 2
         gone: c
         unknown
         used 2 GiB, starting 1, started 1, stopping 2
         used 0 GiB, starting 0, started 0, stopping 0
         unknown",
    );
}

#[test]
fn a_task_that_is_put_back_keeps_its_turn_and_fences_its_past() {
    check(
        small(9, 1),
        "add a ann normal 1
         add b ann normal 1
         next
         back a
         end a
         back a
         next
         cancel a
         end a
         next",
        "place: a
         attempt 1 of task 1 is over, and the task waits again
         attempt 1 of task 1 is over, and the task waits again
         place: a
         running: attempt 2
         place: b",
    );
}

#[test]
fn an_older_attempt_is_told_of_the_present_one() {
    let mut scheduler = Scheduler::new(options()).unwrap();
    let ticket = scheduler
        .submit(secs(0), job(Owner::alone("ann"), Class::Low, ()))
        .unwrap();
    let first = scheduler.next(secs(0), Pressure::default()).placed.remove(0);
    scheduler
        .put_back(secs(0), first.lease, Outcome::Stopped, first.job)
        .unwrap();
    scheduler.next(secs(0), Pressure::default());
    let stale = scheduler.ended(secs(0), first.lease, Outcome::Done).unwrap_err();
    assert_eq!(stale.to_string(), "attempt 1 of task 1 is not its present one, 2");
    scheduler
        .ended(secs(0), scheduler.lease(ticket).unwrap(), Outcome::Done)
        .unwrap();
    scheduler.check_invariants().unwrap();
}

#[test]
fn full_queues_give_the_task_back_with_a_reason() {
    let mut options = small(8, 0);
    (options.queue.tasks_max, options.queue.bytes_max) = (4, 100);
    (options.tenant.queued_max, options.group.queued_max) = (1, 2);
    options.tenant.queued_bytes_max = 60;
    check(
        options,
        "add a acme/1 normal 1
         add b acme/1 normal 1
         add c acme/2 normal 1
         add d acme/3 normal 1
         add e bob normal 1 bytes=61
         add f bob normal 1 bytes=60
         add g cat normal 1 bytes=50
         add h dan normal 1
         add i eve normal 1
         add j eve normal 9
         add k eve normal 1 backend=cloud
         add l eve normal 1 deadline=0
         next",
        "no b: tenant 1 has 1 tasks waiting, which is the limit; try again in about 1.0 s
         no d: group acme has 2 tasks waiting, which is the limit; try again in about 1.0 s
         no e: tenant bob has 60 B of tasks waiting at most, and this one does not fit in; trying again does not help
         no g: the scheduler has 100 B of tasks waiting at most, and this one does not fit in; try again in about 1.0 s
         no i: the scheduler has 4 tasks waiting, which is the limit; try again in about 1.0 s
         no j: it needs 9663676416 B of memory, and all tasks together may have 8589934592 B
         no k: there is no backend cloud
         no l: the deadline for its start has passed
         place:",
    );
}

#[test]
fn deadlines_drop_what_was_not_placed_before() {
    check(
        small(9, 1),
        "add a ann normal 1 deadline=5
         add b ann normal 1 deadline=5
         add c ann normal 1 deadline=7
         next
         wake
         at 5
         end a
         next
         wake",
        "place: a
         wake at 5 s
         place: c
         drop b: the deadline for its start has passed
         sleep",
    );
}

#[test]
fn options_that_contradict_themselves_are_told() {
    let mut twice = options();
    twice.backends.push(BackendOptions::new("oci"));
    let error = Scheduler::<()>::new(twice).unwrap_err();
    assert_eq!(error.to_string(), "backend oci is given twice");
}

#[test]
fn adopted_tasks_count_whatever_the_limits_say() {
    let mut scheduler = Scheduler::new(small(1, 1)).unwrap();
    for _ in 0..3 {
        scheduler
            .adopt(secs(0), job(Owner::alone("ann"), Class::Low, ()))
            .unwrap();
    }
    let queued = scheduler
        .submit(secs(0), job(Owner::alone("ann"), Class::Low, ()))
        .unwrap();
    assert_eq!(scheduler.next(secs(0), Pressure::default()).placed, []);
    for ticket in 1..=3 {
        let lease = scheduler.lease(Ticket(ticket)).unwrap();
        scheduler.ended(secs(0), lease, Outcome::Done).unwrap();
        scheduler.check_invariants().unwrap();
    }
    let placed = scheduler.next(secs(0), Pressure::default()).placed;
    assert_eq!(
        placed[0].lease,
        Lease {
            ticket: queued,
            attempt: 4
        }
    );
}
