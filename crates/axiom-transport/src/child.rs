//! stub
use crate::pipe::Pipe;
use std::{collections::BTreeMap, path::PathBuf, process::ExitStatus, time::Duration};
#[derive(Debug, Clone)]
pub struct ChildOptions {
    pub command: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub cwd: Option<PathBuf>,
    pub message_bytes_max: usize,
    pub grace: Duration,
}
#[derive(Debug)]
pub struct Child {}
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error("the command is empty")]
    Empty,
    #[error("program {program:?} was not found\nhint: {hint}")]
    NotFound { program: String, hint: String },
    #[error("{program:?} is not executable\nhint: {hint}")]
    NotExecutable { program: String, hint: String },
    #[error("the working directory {} does not exist", cwd.display())]
    CwdMissing { cwd: PathBuf },
    #[error("failed to start {program:?}")]
    Io { program: String, source: std::io::Error },
}
pub fn spawn_child(_options: ChildOptions) -> Result<(Pipe, Child), SpawnError> {
    unimplemented!()
}
impl Child {
    pub fn pid(&self) -> u32 {
        0
    }
    pub fn stderr(&self) -> Vec<String> {
        Vec::new()
    }
    pub async fn stop(self) {
        unimplemented!()
    }
    pub async fn exited(&mut self) -> ExitStatus {
        unimplemented!()
    }
}
