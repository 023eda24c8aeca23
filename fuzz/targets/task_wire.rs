//! What comes over a task's socket: any bytes, read in any pieces, are messages or an error, never more bytes than there are.

#![no_main]

use axiom_sandbox::wire::Message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut at = 0;
    while let Some(rest) = bytes.get(at..) {
        match Message::read(rest) {
            Ok(Some((message, took))) => {
                assert!((5..=rest.len()).contains(&took));
                // Said again it is understood the same way.
                let mut again = Vec::new();
                message.push(&mut again);
                if !again.is_empty() {
                    let (heard, _) = Message::read(&again).expect("it is one").expect("it is whole");
                    assert_eq!(heard, message);
                }
                at += took;
            }
            Ok(None) | Err(_) => break,
        }
    }
});
