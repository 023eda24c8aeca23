//! Who is next.

use super::*;

#[test]
fn classes_go_by_rank_and_tenants_by_turns() {
    check(
        options(),
        "add l1 ann low 1
         add n1 ann normal 1
         add n2 ann normal 1
         add n3 bob normal 1
         add h1 ann high 1
         add c1 bob critical 1
         next",
        "place: c1 h1 n1 n3 n2 l1",
    );
}

#[test]
fn weights_and_costs_share_within_a_class() {
    check(
        options(),
        "add a1 ann normal 1 cost=2
         add a2 ann normal 1 cost=2
         add b1 bob normal 1
         add b2 bob normal 1
         add b3 bob normal 1
         next",
        "place: a1 b1 b2 a2 b3",
    );
}

#[test]
fn many_keys_of_one_group_get_no_more_than_one() {
    check(
        options(),
        "add s1 acme/1 normal 1
         add s2 acme/2 normal 1
         add s3 acme/3 normal 1
         add b1 bob normal 1
         add b2 bob normal 1
         add b3 bob normal 1
         next",
        "place: s1 b1 s2 b2 s3 b3",
    );
}

#[test]
fn what_nobody_used_is_not_saved_up() {
    for (old, new) in [("ann", "bob"), ("acme/1", "acme/2")] {
        let add = |name: &str, owner: &str| format!("add {name} {owner} normal 1\n");
        let early: String = (1..=4).map(|n| add(&format!("a{n}"), old)).collect();
        let late: String = (5..=7)
            .map(|n| add(&format!("a{n}"), old) + &add(&format!("b{n}"), new))
            .collect();
        check(
            options(),
            &format!("{early} next\n {late} next"),
            "place: a1 a2 a3 a4
             place: b5 a5 b6 a6 b7 a7",
        );
    }
}

#[test]
fn caps_hold_for_tenants_and_for_groups() {
    let mut options = options();
    (options.tenant.running_max, options.group.running_max) = (1, 2);
    check(
        options,
        "add a1 acme/1 normal 1
         add a2 acme/1 critical 1
         add b1 acme/2 normal 1
         add c1 acme/3 normal 1
         next
         end a2
         next
         end b1
         next",
        "place: a2 b1
         place: a1
         place: c1",
    );
}
