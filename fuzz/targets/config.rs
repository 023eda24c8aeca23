//! Any text as a configuration: no panic, a reason whenever there is no configuration, every problem at a place in the text,
//! and the address that is read of a broken file is the one of a good one.
#![no_main]

use axiom::config::{Decoded, Format, Look, Problem, decode, listen_of, render};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|raw: &[u8]| {
    let Ok(text) = std::str::from_utf8(raw) else {
        return;
    };
    let environment = |name: &str| (name.len() < 4).then(|| "127.0.0.1:4000".to_owned());
    for format in [Format::Toml, Format::Json] {
        let Decoded { config, problems } = decode(text, format, &environment);
        assert_eq!(config.is_none(), problems.iter().any(Problem::is_error));
        for problem in &problems {
            assert!(text.get(problem.span.clone()).is_some(), "{problem:?}");
        }
        let drawn = render(&problems, "axiom.toml", text, Look::Plain);
        assert_eq!(drawn.is_empty(), problems.is_empty());
        let listen = listen_of(text, format, &environment);
        if let Some(config) = config {
            assert_eq!(listen, Some(config.options.listen));
        }
    }
});
