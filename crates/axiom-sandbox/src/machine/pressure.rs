//! Pressure-stall information: how much of the last ten seconds tasks had to wait for what the machine is short of.

use serde::{Deserialize, Serialize};

/// In percent of the last ten seconds. `some`: at least one task waited. `full`: all of them did, so nothing got done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    pub cpu_some_avg10: f64,
    pub memory_some_avg10: f64,
    pub memory_full_avg10: f64,
    pub io_some_avg10: f64,
}

impl Pressure {
    /// That of the whole machine, now.
    ///
    /// # Errors
    /// A sentence for a person, where the kernel does not measure it.
    pub fn read() -> Result<Pressure, String> {
        // With psi=0 the files may exist and refuse to be read.
        let text = |name: &str| {
            fs_err::read_to_string(format!("/proc/pressure/{name}")).map_err(|error| error.to_string())
        };
        let (cpu, memory, io) = (text("cpu")?, text("memory")?, text("io")?);
        Pressure::parse(&cpu, &memory, &io)
            .ok_or_else(|| "what the kernel says about pressure makes no sense".into())
    }

    /// From the texts of `/proc/pressure/cpu`, `memory` and `io`, or those of a group.
    pub fn parse(cpu: &str, memory: &str, io: &str) -> Option<Pressure> {
        Some(Pressure {
            cpu_some_avg10: avg10(cpu, "some")?,
            memory_some_avg10: avg10(memory, "some")?,
            memory_full_avg10: avg10(memory, "full")?,
            io_some_avg10: avg10(io, "some")?,
        })
    }
}

/// For the report.
pub(super) fn said(pressure: &Pressure) -> String {
    let Pressure {
        cpu_some_avg10: cpu,
        memory_some_avg10: memory,
        io_some_avg10: io,
        ..
    } = pressure;
    format!("waits in the last 10 s: cpu {cpu} %, memory {memory} %, io {io} %")
}

/// From lines `some avg10=0.12 avg60=0.00 avg300=0.00 total=12345`. A share of time is from 0 to 100.
pub(crate) fn avg10(text: &str, kind: &str) -> Option<f64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(kind)?.strip_prefix(' '))?;
    let value = line.split(' ').find_map(|word| word.strip_prefix("avg10="))?;
    value.parse().ok().filter(|share| (0.0..=100.0).contains(share))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_missing_line_is_no_zero() {
        let some = "some avg10=1.50 avg60=0.00 avg300=0.00 total=1\n";
        assert_eq!(Pressure::parse(some, some, some), None);
        let both = format!("{some}full avg10=0.25 avg60=0.00 avg300=0.00 total=1\n");
        let pressure = Pressure::parse(some, &both, some).unwrap();
        assert_eq!((pressure.cpu_some_avg10, pressure.memory_full_avg10), (1.5, 0.25));
    }

    proptest! {
        #[test]
        fn what_the_kernel_writes_is_read(hundredths in 0u32..=10_000, others in 0u32..=10_000, total: u64) {
            let (share, other) = (f64::from(hundredths) / 100.0, f64::from(others) / 100.0);
            let line = format!("avg10={share:.2} avg60={other:.2} avg300={other:.2} total={total}");
            let text = format!("some {line}\nfull avg10={other:.2} avg60=0.00 avg300=0.00 total=0\n");
            prop_assert_eq!(avg10(&text, "some"), Some(share));
            prop_assert_eq!(avg10(&text, "full"), Some(other));
        }

        #[test]
        fn any_text_is_survived(text in "(some |full )?(avg10=)?[0-9a-zA-Z.=+ \n-]{0,30}") {
            if let Some(share) = avg10(&text, "some") {
                prop_assert!((0.0..=100.0).contains(&share));
            }
        }
    }
}
