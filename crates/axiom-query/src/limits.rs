//! What queries may take at most, and what is done so that they cannot take more.

use std::path::PathBuf;
use std::time::Duration;

/// Bounds of a query process.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes that all queries together may hold. What sorts, joins and groups hold beyond that goes to the disk.
    pub memory_bytes: u64,
    /// Bytes that they may put on the disk meanwhile.
    pub temp_bytes: u64,
    /// Where; a folder of its own is made in it and removed at the end.
    pub temp_dir: PathBuf,
    /// How long a query may run, its last row included.
    pub timeout: Duration,
    /// Queries that run at once; others wait.
    pub queries_max: usize,
    /// How long they wait.
    pub wait: Duration,
}

/// What the process itself needs, beside its queries: the index and blocks of the log (160 MiB at most), threads' stacks,
/// batches on their way. Found with the largest queries of the tests.
const OWN_BYTES: u64 = 512 << 20;

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            memory_bytes: 512 << 20,
            temp_bytes: 2 << 30,
            temp_dir: std::env::temp_dir(),
            timeout: Duration::from_secs(60),
            queries_max: 4,
            wait: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// The bytes at which the process ends.
    pub fn hard_bytes(&self) -> u64 {
        self.memory_bytes.saturating_add(OWN_BYTES)
    }

    /// Sees to it that this process ends rather than take more than [`Limits::hard_bytes`]: not all that a query holds is
    /// counted while it is made, a text that is repeated a billion times for instance. The limit is that of written memory
    /// (`RLIMIT_DATA`): address space that is only reserved, as allocators do, does not count.
    ///
    /// # Errors
    /// When the system refuses it.
    pub fn enforce(&self) -> std::io::Result<()> {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let data = Rlimit {
            current: Some(self.hard_bytes()),
            maximum: getrlimit(Resource::Data).maximum,
        };
        setrlimit(Resource::Data, data)?;
        // Its end is no defect: nobody looks into a gigabyte of it.
        let none = Rlimit {
            current: Some(0),
            maximum: getrlimit(Resource::Core).maximum,
        };
        Ok(setrlimit(Resource::Core, none)?)
    }
}
