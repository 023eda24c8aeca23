//! Whether the pools of the configuration here can be had, by starting one process of each.

use std::collections::BTreeMap;
use std::path::Path;

use axiom_core::time;
use axiom_runtime::supervisor::PoolOptions;
use axiom_sandbox::handle::Spawner;
use axiom_sandbox::pool::{PoolError, Workers, Zygotes};
use serde::Serialize;

use crate::config::Pool;
use crate::config::load::{Source, discover, load};

/// One pool.
#[derive(Debug, Serialize)]
pub(super) struct TriedPool {
    pub(super) name: String,
    pub(super) works: bool,
    pub(super) reason: String,
    /// What to do. Empty if it works.
    pub(super) how: String,
}

/// Those of a configuration that can be read; what is wrong with another one is told elsewhere.
pub(super) fn configured(file: Option<&Path>) -> BTreeMap<String, Pool> {
    let Source::File(path) = discover(file) else {
        return BTreeMap::new();
    };
    let tasks = load(&path).ok().and_then(|loaded| loaded.config.tasks);
    tasks.map(|tasks| tasks.pools).unwrap_or_default()
}

pub(super) async fn try_all(
    spawner: &Spawner,
    place: &Path,
    env: &BTreeMap<String, String>,
    pools: BTreeMap<String, Pool>,
) -> Vec<TriedPool> {
    let mut tried = Vec::new();
    for (name, pool) in pools {
        let began = time::now();
        let outcome = match pool.at_its_places() {
            Ok(pool) => try_one(spawner, place, pool.options(env.clone(), &[])).await,
            Err(error) => Err((error.to_string(), "name what is there".to_owned())),
        };
        let program = pool.command.first().map(String::as_str).unwrap_or_default();
        let (works, reason, how) = match outcome {
            Ok(()) => {
                let millis = began.elapsed().as_millis();
                (
                    true,
                    format!("{program} started and takes tasks, after {millis} ms"),
                    String::new(),
                )
            }
            Err((reason, how)) => (false, reason, how),
        };
        tried.push(TriedPool {
            name,
            works,
            reason,
            how,
        });
    }
    tried
}

async fn try_one(spawner: &Spawner, place: &Path, options: PoolOptions) -> Result<(), (String, String)> {
    let told = |error: PoolError| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        let how = error.hint().unwrap_or_default().to_owned();
        (format!("{error}{}", cause.unwrap_or_default()), how)
    };
    match options {
        PoolOptions::Zygotes { options, .. } => {
            let zygotes = Zygotes::new(place, options);
            let found = zygotes.place(spawner).await;
            zygotes.end().await;
            found.map(drop).map_err(told)
        }
        PoolOptions::Workers(options) => {
            let workers = Workers::new(place, options);
            let found = workers.lease(spawner).await.map(drop);
            workers.end().await;
            found.map_err(told)
        }
    }
}
