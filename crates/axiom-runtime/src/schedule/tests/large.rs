//! What does not fit in.

use super::*;

#[test]
fn small_tasks_pass_a_large_one_until_it_gets_a_hold() {
    let mut options = small(10, 99);
    options.large.bypass_max = 2;
    check(
        options,
        "add old zoe normal 6
         next
         add big ann normal 8
         add s1 bob normal 1
         add s2 bob normal 1
         add s3 bob normal 1
         add s4 bob normal 1
         next
         next
         add c1 cat critical 1
         next
         end s1
         end s2
         end c1
         end old
         next
         wake",
        "place: old
         place: s1 s2
         place:
         place: c1
         place: big s3 s4
         sleep",
    );
}

#[test]
fn a_hold_in_vain_ends_and_the_large_task_tries_again() {
    let mut options = small(10, 99);
    options.large.bypass_max = 0;
    options.large.hold = secs(60);
    check(
        options,
        "add day zoe normal 6
         next
         add big ann normal 8
         add s1 bob normal 1
         add s2 bob normal 1
         next
         wake
         at 60
         next
         add s3 bob normal 1
         next
         wake
         at 120
         add s4 bob normal 1
         next
         wake
         at 240
         next
         wake
         cancel big
         next
         wake",
        "place: day
         place:
         wake at 60 s
         place: s1 s2
         place: s3
         wake at 120 s
         place:
         wake at 240 s
         place: s4
         wake at 360 s
         gone: big
         place:
         sleep",
    );
}

#[test]
fn a_hold_for_a_task_that_is_not_next_any_more_ends_by_itself() {
    let mut options = small(10, 99);
    options.large.bypass_max = 0;
    check(
        options,
        "add day zoe normal 6
         next
         add big ann low 8
         next
         wake
         memory-pressure 15
         at 6
         next
         wake",
        "place: day
         place:
         wake at 5 s
         place:
         wake at 8 s",
    );
}

#[test]
fn a_small_task_is_found_behind_however_many_that_do_not_fit() {
    let mut options = small(10, 99);
    options.large.look_max = 3;
    let mut scheduler = Scheduler::new(options).unwrap();
    let sizes = [6].into_iter().chain([8; 20]).chain([1]);
    for (number, gib) in sizes.enumerate() {
        let mut job = job(Owner::alone(&number.to_string()), Class::Normal, number);
        job.memory_bytes = gib * GIB;
        scheduler.submit(secs(0), job).unwrap();
    }
    let (mut looks, mut placed) = (0, Vec::new());
    while scheduler.wake_at() == Some(secs(0)) || looks == 0 {
        let next = scheduler.next(secs(0), Pressure::default());
        placed.extend(next.placed.into_iter().map(|placed| placed.job.work));
        scheduler.check_invariants().unwrap();
        looks += 1;
    }
    assert_eq!((placed, looks), (vec![0, 21], 10));
    assert_eq!(scheduler.wake_at(), Some(secs(1)));
}

#[test]
fn a_budget_that_shrinks_drops_what_can_never_fit() {
    check(
        small(10, 1),
        "add a ann normal 8
         add b ann normal 8
         add c ann normal 4
         next
         budget 5 1
         next
         end a
         next",
        "place: a
         place:
         drop b: it needs 8589934592 B of memory, and all tasks together may have 5368709120 B
         place: c",
    );
}
