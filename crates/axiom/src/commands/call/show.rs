//! A tool's result and what it says on the way, for people.

use serde_json::value::RawValue;

use crate::client::{Members, Message};
use crate::import::preview::visible;
use crate::outcome::Failed;
use crate::pretty::pretty;
use crate::terminal::Terminal;

/// Progress and log messages are talk.
pub(super) fn tell(message: &Message, terminal: &Terminal) {
    let params = message.params();
    let json = |key: &str| params.raw(key).map_or("null", RawValue::get);
    match message.method() {
        Some("notifications/progress") => {
            let total = params.raw("total").map(|total| format!("/{}", total.get()));
            terminal.say(format_args!(
                "{}{} {}",
                visible(json("progress")),
                visible(&total.unwrap_or_default()),
                visible(&params.text("message"))
            ));
        }
        Some("notifications/message") => {
            let data = params.read("data").unwrap_or_else(|| json("data").to_owned());
            let level = params.read("level").unwrap_or_else(|| "log".to_owned());
            terminal.say(format_args!("{}: {}", visible(&level), visible(&data)));
        }
        _ => {}
    }
}

/// The texts of a result; what is no text is named. Structured content only where there is no text.
pub(super) fn print(result: &RawValue, terminal: &Terminal) -> Result<(), Failed> {
    let result = Members::of(result);
    let blocks = result.items("content").unwrap_or_default();
    if blocks.is_empty()
        && let Some(structured) = result.raw("structuredContent")
    {
        terminal.data(pretty(structured.get()))?;
    }
    for block in blocks {
        let block = Members::of(&block);
        match block.text("type").as_str() {
            "text" => terminal.data(block.text("text"))?,
            "resource" => {
                let resource = block.members("resource");
                match resource.read::<String>("text") {
                    Some(text) => terminal.data(text)?,
                    None => terminal.data(format_args!("[resource {}]", visible(&resource.text("uri"))))?,
                }
            }
            "resource_link" => {
                terminal.data(format_args!("[resource {}]", visible(&block.text("uri"))))?;
            }
            other => {
                let size = block.text("data").len() / 4 * 3;
                terminal.data(format_args!(
                    "[{} {}, about {size} B; --json shows it]",
                    visible(other),
                    visible(&block.text("mimeType"))
                ))?;
            }
        }
    }
    Ok(())
}
