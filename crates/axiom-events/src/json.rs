//! The little JSON that the log writes itself.

/// Appends a text as a JSON string.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend_from_slice(&[b'\\', char as u8]),
            ' '.. => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            control => out.extend_from_slice(format!("\\u{:04x}", u32::from(control)).as_bytes()),
        }
    }
    out.push(b'"');
}
