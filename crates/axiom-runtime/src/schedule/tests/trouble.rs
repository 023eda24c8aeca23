//! Pressure, broken backends, and backends that are slow to start.

use super::*;

#[test]
fn pressure_shuts_out_the_lower_classes_while_something_runs() {
    check(
        options(),
        "memory-pressure 15
         add l1 ann low 1
         add l2 ann low 1
         add n1 ann normal 1
         next
         wake
         memory-pressure 6
         next
         memory-pressure 25
         end n1
         next
         memory-pressure 4
         next
         memory-pressure 99
         add l3 ann low 1
         end l1
         next
         end l2
         next",
        "place: n1
         wake at 2 s
         place:
         place: l1
         place: l2
         place:
         place: l3",
    );
}

#[test]
fn a_broken_backend_holds_up_only_its_own() {
    let mut options = options();
    options.backends[0].breaker.failures_max = 2;
    options.backends[0].breaker.probes_max = 1;
    options.backends[0].breaker.probes_to_close = 1;
    check(
        options,
        "add a ann normal 1
         add b ann normal 1
         next
         add w ann normal 1
         add x ann normal 1
         add o ann low 1 backend=oci
         add r ann normal 1 broken=refuse
         fail a
         fail b
         next
         wake
         at 1
         next
         next
         start w
         next",
        "place: a b
         place: o
         drop r: backend sandbox fails too often and has a pause; try again in about 0.9 s
         wake at 0 s
         place: w
         place:
         place: x",
    );
}

#[test]
fn only_so_many_start_at_once() {
    let mut options = options();
    options.backends[0].starts = StartLimits {
        at_first: 2,
        ..StartLimits::default()
    };
    options.backends[0].running_max = 3;
    check(
        options,
        "add a ann normal 1
         add b ann normal 1
         add c ann normal 1
         add d ann normal 1
         next
         start a
         next
         start b
         start c
         next
         end a
         next",
        "place: a b
         place: c
         place:
         place: d",
    );
}
