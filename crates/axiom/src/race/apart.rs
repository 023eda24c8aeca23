//! Programs that may do no more than a task: git, where whoever asks for a race may have written the repository.
//!
//! Each runs as a task does, behind the same walls and within the same limits, but is none: it is in no list, and what it says is for
//! us. Its folder is removed when it has ended.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axiom_sandbox::exit::How;
use axiom_sandbox::handle::{Attached, End, Event, Spawner, StartError};
use axiom_sandbox::limits::Limits;
use axiom_sandbox::output::Source;
use axiom_sandbox::spec::{Executor, Grants, Spec};
use axiom_sandbox::wire::Request;

use super::git::Said;
use super::new_id;

/// What it says and we read: a list of all files of a large repository has less. Of more, it is killed.
const SAID_BYTES_MAX: u64 = 256 << 20;

/// How such programs run.
#[derive(Debug)]
pub(crate) struct Apart {
    pub(crate) spawner: Arc<Spawner>,
    /// Where they have their folders.
    pub(crate) tasks: PathBuf,
    /// Where they run.
    pub(crate) folder: PathBuf,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) executor: Executor,
    pub(crate) limits: Limits,
    pub(crate) grants: Grants,
}

impl Apart {
    /// Runs one to its end. Dropped, it is left alone and ends by itself.
    ///
    /// # Errors
    /// Why it could not be run, in words.
    pub(crate) async fn run(&self, argv: &[OsString], env: &[(&str, &str)]) -> Result<Said, String> {
        let texts = argv.iter().map(|text| text.to_str().map(str::to_owned));
        let argv: Option<Vec<String>> = texts.collect();
        let mut all = self.env.clone();
        all.extend(
            env.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let spec = Spec {
            id: new_id(),
            argv: argv.ok_or("a path is no text")?,
            env: all,
            folder: self.folder.clone(),
            terminal: None,
            limits: Limits {
                output_bytes: Some(SAID_BYTES_MAX),
                ..self.limits.clone()
            },
            executor: self.executor.clone(),
            grants: self.grants.clone(),
            spool_bytes: SAID_BYTES_MAX,
        };
        let place = self.tasks.join(&spec.id);
        let said = self.run_task(&place, &spec).await;
        if let Err(error) = fs_err::remove_dir_all(&place) {
            tracing::debug!(%error, "what a program left stays until the next start");
        }
        said
    }

    async fn run_task(&self, place: &Path, spec: &Spec) -> Result<Said, String> {
        match self.spawner.start(&self.tasks, spec).await {
            Ok(_) => {}
            Err(StartError::NotStarted(not_started)) => {
                let hint = not_started.hint.as_ref().map(|hint| format!("; {hint}"));
                return Err(format!("{not_started}{}", hint.unwrap_or_default()));
            }
            Err(error) => return Err(error.to_string()),
        }
        let failed = |error: std::io::Error| error.to_string();
        let mut attached = Attached::open(place).await.map_err(failed)?;
        attached.ask(Request::EndInput).ok();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        loop {
            match attached.next().await.map_err(failed)? {
                Event::Output { source, bytes, .. } => match source {
                    Source::Stdout => stdout.extend_from_slice(&bytes),
                    _ => stderr.extend_from_slice(&bytes),
                },
                Event::Damaged { why, .. } => return Err(format!("what it said was lost: {why}")),
                Event::Room | Event::Reply(_) => {}
                Event::Ended(End::Lost) => return Err("its shim was killed".to_owned()),
                Event::Ended(End::Exit(exit)) => {
                    return Ok(Said {
                        is_success: exit.how == How::Code(0),
                        stdout,
                        stderr,
                        end: format!("it ended: {:?}", exit.how),
                    });
                }
            }
        }
    }
}
