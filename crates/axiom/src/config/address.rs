//! The address in a file that is otherwise wrong: enough to find the gateway that still serves its last good version.

use std::net::SocketAddr;

use axiom_gateway::options::Options;

use super::decoder::Decoder;
use super::tree::Node;
use super::{Environment, Format, gateway, json, toml};

/// The address that a text asks for, as far as it can be known. Pure, as [`decode`](super::decode) is.
///
/// A file without an address asks for the default one. Of TOML that cannot be read to its end, the lines before the
/// mistake count; where they name no address, it may have stood below.
pub fn listen_of(text: &str, format: Format, environment: Environment<'_>) -> Option<SocketAddr> {
    let (root, is_whole) = match format {
        Format::Toml => readable(text)?,
        Format::Json => (json::parse(text).ok()?, true),
    };
    match root.get("gateway").and_then(|gateway| gateway.get("listen")) {
        Some(node) => gateway::listen(&mut Decoder::new(text, environment), node),
        None => is_whole.then(|| Options::default().listen),
    }
}

/// The whole text, or what stands before the line of its first mistake.
fn readable(text: &str) -> Option<(Node, bool)> {
    let mistake = match toml::parse(text) {
        Ok((root, _)) => return Some((root, true)),
        Err(problem) => problem.span.start,
    };
    let before = text.get(..mistake)?;
    let (lines, _cut) = before.rsplit_once('\n')?;
    let (root, _) = toml::parse(lines).ok()?;
    Some((root, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, format: Format, expected: Option<&str>) {
        let environment = |name: &str| (name == "PORT").then(|| "4000".to_owned());
        let expected = expected.map(|address| address.parse().unwrap());
        assert_eq!(listen_of(text, format, &environment), expected, "{text}");
    }

    #[test]
    fn as_far_as_it_can_be_known() {
        let default = Some("127.0.0.1:3000");
        let told = Some("127.0.0.1:4000");
        for (text, expected) in [
            ("", default),
            ("[servers.a]\ncomand = 1", default),
            ("[gateway]\nlisten = \"127.0.0.1:4000\"\nprefx = 1", told),
            (
                "[gateway]\nlisten = \"localhost:${env:PORT}\"\n[servers.a]\n",
                told,
            ),
            ("[gateway]\nlisten = \"localhost:${env:NONE}\"", None),
            ("[gateway]\nlisten = 4000", None),
            ("gateway = 1", default),
            // The syntax is wrong: below the address, above it, and in its line.
            ("[gateway]\nlisten = \"127.0.0.1:4000\"\n[servers.a\n", told),
            ("[servers.a\n[gateway]\nlisten = \"127.0.0.1:4000\"", None),
            ("[gateway]\nlisten = \"127.0.0.1:4000\n", None),
        ] {
            check(text, Format::Toml, expected);
        }
        check(
            r#"{"gateway": {"listen": "127.0.0.1:4000"}, "x": 1}"#,
            Format::Json,
            told,
        );
        check(r#"{"mcpServers": {"a": {"command": 1}}}"#, Format::Json, default);
        check(r#"{"gateway": {"listen": "127.0.0.1:4000"}"#, Format::Json, None);
    }
}
