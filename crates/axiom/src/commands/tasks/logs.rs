//! `axiom logs`: what tasks have said, in the order in which they said it.

use std::collections::BTreeMap;
use std::path::Path;

use axiom_core::channel::{self, Sender};
use axiom_core::spawn;
use axiom_sandbox::handle::{Attached, Event};
use axiom_sandbox::output::{Next, Reader, Source};

use crate::cli::Logs;
use crate::outcome::{Exit, Failed};
use crate::terminal::Terminal;

use super::print::Printer;
use super::{Found, named, told};

/// Pieces of output on their way to the printer.
const PIECES_MAX: usize = 64;

/// # Errors
/// When there is no such task, or what it said cannot be read or shown.
pub(super) async fn run(logs: &Logs, terminal: &Terminal) -> Result<Exit, Failed> {
    let tasks = named(&logs.folder.paths(terminal)?, &logs.tasks)?;
    let ids: Vec<String> = tasks.iter().map(|task| task.id.clone()).collect();
    let mut printer = Printer::new(terminal, &ids);
    match logs.follow {
        true => follow(&tasks, &mut printer).await,
        false => show(&tasks, &mut printer),
    }
}

/// What is there now, by its time.
fn show(tasks: &[Found], printer: &mut Printer) -> Result<Exit, Failed> {
    let mut readers: Vec<(&String, Reader)> = Vec::new();
    for Found { id, folder } in tasks {
        match Reader::open(&folder.join("output")) {
            Ok(reader) => readers.push((id, reader)),
            // It was never started: it has said nothing.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The next piece of each, by its time and then by its task.
    let mut next: BTreeMap<(i64, usize), (Source, Vec<u8>)> = BTreeMap::new();
    for task in 0..readers.len() {
        next.extend(piece(&mut readers, task, printer)?);
    }
    while let Some(((_, task), (source, bytes))) = next.pop_first() {
        printer.put(readers[task].0, source, &bytes)?;
        if printer.is_unread() {
            return Ok(Exit::Ok);
        }
        next.extend(piece(&mut readers, task, printer)?);
    }
    tasks.iter().try_for_each(|task| printer.finish(&task.id))?;
    Ok(Exit::Ok)
}

type Piece = ((i64, usize), (Source, Vec<u8>));

fn piece(
    readers: &mut [(&String, Reader)],
    task: usize,
    printer: &Printer,
) -> std::io::Result<Option<Piece>> {
    let (id, reader) = &mut readers[task];
    Ok(match reader.next(false)? {
        Next::Frame(frame) => Some(((frame.time, task), (frame.source, frame.bytes.to_vec()))),
        Next::End => None,
        Next::Damaged { at, why } => {
            printer.say(
                id,
                &format!("the rest of what it said was lost on the disk, from byte {at} on: {why}"),
            );
            None
        }
    })
}

async fn follow(tasks: &[Found], printer: &mut Printer) -> Result<Exit, Failed> {
    let (tx, mut rx) = channel::bounded(PIECES_MAX);
    for (task, found) in tasks.iter().enumerate() {
        let (folder, tx) = (found.folder.clone(), tx.clone());
        spawn("follow a task", async move {
            let failed = watch(&folder, task, &tx).await.err();
            if let Some(error) = failed {
                tx.send((task, Err(error))).await.ok();
            }
        });
    }
    drop(tx);
    while let Some((task, event)) = rx.recv().await {
        let id = &tasks[task].id;
        match event {
            Ok(Event::Output { source, bytes, .. }) => printer.put(id, source, &bytes)?,
            Ok(Event::Damaged { at, why }) => {
                printer.say(
                    id,
                    &format!("some of what it said was lost on the disk, at byte {at}: {why}"),
                );
            }
            Ok(Event::Reply(_) | Event::Room) => {}
            Ok(Event::Ended(end)) => {
                printer.finish(id)?;
                printer.say(id, &told(&end));
            }
            Err(error) => printer.say(id, &format!("cannot be followed: {error}")),
        }
        if printer.is_unread() {
            break;
        }
    }
    Ok(Exit::Ok)
}

async fn watch(
    folder: &Path,
    task: usize,
    tx: &Sender<(usize, std::io::Result<Event>)>,
) -> std::io::Result<()> {
    let mut attached = Attached::open(folder).await?;
    loop {
        let event = attached.next().await?;
        let is_last = matches!(event, Event::Ended(_));
        if tx.send((task, Ok(event))).await.is_err() || is_last {
            return Ok(());
        }
    }
}
