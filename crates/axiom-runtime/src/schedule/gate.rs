//! The gate that the machine's pressure closes: new work of the lower classes waits while what runs already stalls.
//!
//! Pressure-stall information says which part of the last ten seconds somebody waited for memory or a CPU. It tells of trouble
//! that no sum of limits can foresee: tasks share pages, and others use the machine too. Each class has a threshold, and
//! opens again only well below it, as `avg10` falls slowly and a gate that flutters lets in a burst each time.

use super::{Class, PerClass};

/// `some avg10` of the two files in `/proc/pressure`, in percent. What is not known is 0.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pressure {
    pub memory_some_avg10: f64,
    pub cpu_some_avg10: f64,
}

/// Where a class is shut out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GateOptions {
    /// At this pressure or above it, nothing new of the class is placed.
    pub close_at: PerClass<Pressure>,
    /// It opens again when both kinds of pressure are below this part of `close_at`.
    pub open_at_part: f64,
}

impl Default for GateOptions {
    fn default() -> GateOptions {
        let at = |memory_some_avg10, cpu_some_avg10| Pressure {
            memory_some_avg10,
            cpu_some_avg10,
        };
        GateOptions {
            close_at: PerClass {
                // A person who waits for a slow machine is better off than one who waits for nothing.
                critical: at(f64::INFINITY, f64::INFINITY),
                // A CPU that is short is shared: one task more makes each of them slower and none of them stall. So it shuts out
                // only what nobody has asked for.
                high: at(40.0, f64::INFINITY),
                normal: at(20.0, f64::INFINITY),
                low: at(10.0, 50.0),
            },
            open_at_part: 0.5,
        }
    }
}

#[derive(Debug)]
pub(super) struct Gate {
    options: GateOptions,
    closed: PerClass<bool>,
}

impl Gate {
    pub(super) fn new(options: GateOptions) -> Gate {
        Gate {
            options,
            closed: PerClass::default(),
        }
    }

    pub(super) fn measure(&mut self, pressure: Pressure) {
        for class in Class::ALL {
            let close_at = self.options.close_at[class];
            // A number that is none compares as neither, and leaves the gate as it is.
            let above = pressure.memory_some_avg10 >= close_at.memory_some_avg10
                || pressure.cpu_some_avg10 >= close_at.cpu_some_avg10;
            let part = self.options.open_at_part;
            let below = pressure.memory_some_avg10 < close_at.memory_some_avg10 * part
                && pressure.cpu_some_avg10 < close_at.cpu_some_avg10 * part;
            if above {
                self.closed[class] = true;
            } else if below {
                self.closed[class] = false;
            }
        }
    }

    /// Whether the class may pass. One below a class that may not, may not either.
    pub(super) fn lets(&self, class: Class) -> bool {
        !Class::ALL
            .iter()
            .any(|above| *above <= class && self.closed[*above])
    }

    pub(super) fn is_open(&self) -> bool {
        self.lets(Class::Low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(readings: &[(f64, f64)], expected: &str) {
        let mut gate = Gate::new(GateOptions::default());
        let shown = readings.iter().map(|(memory, cpu)| {
            gate.measure(Pressure {
                memory_some_avg10: *memory,
                cpu_some_avg10: *cpu,
            });
            let passing = Class::ALL.iter().filter(|class| gate.lets(**class)).count();
            format!("{passing}")
        });
        assert_eq!(shown.collect::<Vec<_>>().join(" "), expected);
    }

    #[test]
    fn lower_classes_are_shut_out_first() {
        check(
            &[(0.0, 0.0), (9.9, 49.9), (10.0, 0.0), (20.0, 0.0), (99.0, 0.0)],
            "4 4 3 2 1",
        );
        check(&[(0.0, 49.0), (0.0, 50.0), (0.0, 100.0)], "4 3 3");
    }

    #[test]
    fn a_closed_gate_opens_only_well_below() {
        check(
            &[(10.0, 0.0), (9.0, 0.0), (5.0, 0.0), (4.9, 0.0), (9.0, 0.0)],
            "3 3 3 4 4",
        );
        check(&[(10.0, 0.0), (0.0, 30.0), (0.0, 20.0)], "3 3 4");
    }

    #[test]
    fn what_is_no_number_changes_nothing() {
        check(&[(f64::NAN, f64::NAN), (10.0, 0.0), (f64::NAN, 0.0)], "4 3 3");
    }
}
