//! `cargo xtask promises`: measures every number in PROMISES.md with the real release binaries and writes the results.

mod bench;
mod measured;
mod own;
pub(crate) mod table;

use std::collections::BTreeMap;

use anyhow::bail;

use crate::workspace;
use measured::{Measured, Verdict};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Measure only this promise, by its id: P4, P9-rss, or P9 for all that begin so
    #[arg(long)]
    only: Option<String>,
    /// Measure for seconds instead of minutes; PROMISES.md keeps its results
    #[arg(long)]
    quick: bool,
    /// Print JSON lines instead of a summary
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let only = arguments.only.as_deref();
    let mut results = BTreeMap::new();
    let mut note = |one: Measured| {
        // A measurement takes minutes, so each is shown as soon as it is known.
        if arguments.json {
            println!("{}", serde_json::to_string(&one).unwrap_or_default());
        } else {
            println!("{:<10} {}", one.id, one.result());
        }
        results.insert(one.id.clone(), one);
    };
    // Whatever is not measured here is the bench's, which knows its own names.
    let mine: Vec<&own::Promise> = own::PROMISES
        .iter()
        .filter(|one| only.is_none_or(|only| only == one.id))
        .collect();
    if only.is_none() || mine.is_empty() {
        bench::measure(only, arguments.quick, &mut note)?;
    }
    for one in mine {
        if only.is_some() || !arguments.quick {
            note(one.measure()?);
        }
    }
    if results.is_empty() {
        bail!("nothing was measured; is the name of --only right?");
    }
    // A quick look is noise; only a whole measurement is written down.
    if !arguments.quick {
        write_results(&results)?;
    }
    let missed: Vec<&str> = results
        .values()
        .filter(|one| one.verdict == Verdict::Missed)
        .map(|one| one.id.as_str())
        .collect();
    eprintln!("{} measured, {} missed their gate", results.len(), missed.len());
    if !missed.is_empty() {
        bail!("the gate was missed by {}", missed.join(", "));
    }
    Ok(())
}

fn write_results(measured: &BTreeMap<String, Measured>) -> anyhow::Result<()> {
    let path = workspace::root().join(table::PAGE);
    let page = fs_err::read_to_string(&path)?;
    let results = measured
        .iter()
        .map(|(id, one)| (id.as_str(), one.result()))
        .collect();
    let (page, unknown) = table::with_results(&page, &results);
    fs_err::write(&path, page)?;
    if !unknown.is_empty() {
        bail!(
            "measured but not promised in {}: {}",
            table::PAGE,
            unknown.join(", ")
        );
    }
    Ok(())
}
