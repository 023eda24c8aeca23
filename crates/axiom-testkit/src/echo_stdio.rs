//! The echo server over stdio: one message per line.

use std::io::{self, BufRead, Write};

use crate::{
    echo::{Echo, acknowledged, error},
    wire::Message,
};

/// Answers lines until the input ends. Answers to lines that came together leave together.
///
/// # Errors
/// Reading or writing failed; the peer is gone.
pub fn serve(echo: &Echo, input: impl io::Read, mut output: impl Write) -> io::Result<()> {
    let mut input = io::BufReader::with_capacity(256 * 1024, input);
    let (mut line, mut out) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        answer(echo, &line, &mut out);
        // More whole lines are waiting: answer them first, one write instead of many.
        if !input.buffer().contains(&b'\n') {
            output.write_all(&out)?;
            output.flush()?;
            out.clear();
        }
    }
}

fn answer(echo: &Echo, line: &[u8], out: &mut Vec<u8>) {
    let Some(message) = Message::read(line) else {
        if !line.trim_ascii().is_empty() {
            out.extend(error(None, -32700, "parse error").into_bytes());
            out.push(b'\n');
        }
        return;
    };
    if let (Some(id), b"subscriptions/listen") = (message.id, message.method) {
        out.extend(acknowledged(id));
        out.push(b'\n');
    } else if let Some(answer) = echo.answer(&message) {
        out.extend_from_slice(&answer.head);
        out.extend_from_slice(&answer.tail);
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::echo::Eras;

    #[test]
    fn each_request_line_gets_one_answer_line() {
        let input = concat!(
            "{\"id\":1,\"method\":\"ping\"}\n\n{\"method\":\"notifications/initialized\"}\nnonsense\n",
            "{\"id\":\"b\",\"method\":\"tools/call\",\"params\":{\"name\":\"echo\",\"arguments\":{\"text\":\"hi\"}}}\n",
        );
        let mut output = Vec::new();
        serve(&Echo::new(Eras::Legacy, 2), input.as_bytes(), &mut output).expect("memory does not fail");
        let expected = concat!(
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n",
            "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32700,\"message\":\"parse error\"}}\n",
            "{\"jsonrpc\":\"2.0\",\"id\":\"b\",\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"hi\"}]}}\n",
        );
        assert_eq!(String::from_utf8(output).expect("utf-8"), expected);
    }
}
