//! What a task writes, in any pieces: cut into lines without a byte lost, cleaned so that nothing steers a terminal, and drawn on a
//! screen as an agent's is.

#![no_main]

use axiom_runtime::agent::Screen;
use axiom_runtime::mux::clean::{Cleaner, Colours, clean};
use axiom_runtime::mux::lines::{Line, Splitter};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, u8, Vec<u8>)| {
    let (line_bytes_max, piece, bytes) = input;
    let mut splitter = Splitter::new(usize::from(line_bytes_max));
    let mut cleaner = Cleaner::new(Colours::Keep);
    let mut screen = Screen::new(u16::from(piece), u16::from(line_bytes_max));
    let mut together = Vec::new();
    let mut take = |line: Line<'_>| {
        together.extend_from_slice(line.raw);
        // Only colours are left, and they begin with ESC [ and end with m.
        let text = cleaner.clean(line);
        assert!(text.chars().all(|c| !c.is_control() || matches!(c, '\t' | '\u{1b}')), "{text:?}");
        assert!(!clean(line.raw, Colours::Strip).contains('\u{1b}'));
    };
    for chunk in bytes.chunks(usize::from(piece).max(1)) {
        splitter.feed(chunk, &mut take);
        screen.write(chunk);
    }
    splitter.finish(&mut take);
    assert_eq!(together, bytes);
    assert!(screen.rows().count() <= usize::from(line_bytes_max).max(1));
});
