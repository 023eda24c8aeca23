//! What calls are about. The same few things are called again and again, so each thread knows those that it saw last, and a
//! call has no copy of a name, nor counts who shares one with other threads.

use std::sync::{Arc, OnceLock};

use axiom_protocol::method::Method;

use super::Via;

/// Subjects that a thread knows. One more takes the place of another one.
const KNOWN_MAX: usize = 256;

/// What a call is about, and where and how it came.
#[derive(Debug)]
pub(super) struct Subject {
    pub method: Method,
    /// The name of a method that we have no rule for.
    pub method_name: Option<Box<str>>,
    /// The name of what is called, as JSON; empty where there is none.
    pub name: Box<[u8]>,
    pub endpoint: Arc<str>,
    pub via: Via,
    /// The server that has it, of the first call that got to one.
    pub server: OnceLock<Arc<str>>,
    /// Other calls are about it, too, as long as its thread knows it.
    pub is_shared: bool,
}

/// Those that a thread knows, by a hash of what they are.
#[derive(Debug, Default)]
pub(super) struct Subjects(Vec<Option<Arc<Subject>>>);

impl Subjects {
    /// A call of a method that we have a rule for; `name` is as in [`Subject::name`].
    pub(super) fn find(
        &mut self,
        method: Method,
        name: &[u8],
        endpoint: &Arc<str>,
        via: Via,
    ) -> Arc<Subject> {
        if self.0.is_empty() {
            self.0.resize(KNOWN_MAX, None);
        }
        let slot = &mut self.0[place(name, method) % KNOWN_MAX];
        if let Some(subject) = slot
            && subject.method == method
            && subject.via == via
            && Arc::ptr_eq(&subject.endpoint, endpoint)
            && *subject.name == *name
        {
            return Arc::clone(subject);
        }
        Arc::clone(slot.insert(Arc::new(Subject {
            method,
            method_name: None,
            name: name.into(),
            endpoint: Arc::clone(endpoint),
            via,
            server: OnceLock::new(),
            is_shared: true,
        })))
    }
}

/// Spreads names well enough. Whoever chooses names that fall together has them made anew each time, no more.
fn place(name: &[u8], method: Method) -> usize {
    let mut mixed = method as u64;
    for part in name.chunks(8) {
        let mut bytes = [0; 8];
        bytes[..part.len()].copy_from_slice(part);
        mixed = (mixed ^ u64::from_le_bytes(bytes)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^= mixed >> 32;
    }
    usize::try_from(mixed >> 40).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_known_until_another_takes_its_place() {
        let mut subjects = Subjects::default();
        let endpoint: Arc<str> = "/mcp".into();
        let first = subjects.find(Method::ToolsCall, b"\"a\"", &endpoint, Via::Http);
        let again = subjects.find(Method::ToolsCall, b"\"a\"", &endpoint, Via::Http);
        assert!(Arc::ptr_eq(&first, &again));
        let reloaded: Arc<str> = "/mcp".into();
        for (method, name, endpoint, via) in [
            (Method::PromptsGet, b"\"a\"", &endpoint, Via::Http),
            (Method::ToolsCall, b"\"b\"", &endpoint, Via::Http),
            (Method::ToolsCall, b"\"a\"", &reloaded, Via::Http),
            (Method::ToolsCall, b"\"a\"", &endpoint, Via::Stdio),
        ] {
            let other = subjects.find(method, name, endpoint, via);
            assert!(!Arc::ptr_eq(&first, &other));
            assert_eq!((other.method, &*other.name, other.via), (method, &name[..], via));
        }
        for number in 0..10 * KNOWN_MAX {
            let name = format!("\"{number}\"").into_bytes();
            assert_eq!(
                *subjects.find(Method::ToolsCall, &name, &endpoint, Via::Http).name,
                *name
            );
        }
        assert_eq!(subjects.0.len(), KNOWN_MAX);
    }
}
