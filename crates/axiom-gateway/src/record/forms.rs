//! Calls that are alike but for numbers: what a thread's batch has a [form](axiom_events::form) for.

use std::sync::Arc;

use axiom_events::Form;
use axiom_protocol::revision::Revision;

use super::Outcome;
use super::subject::Subject;

/// Forms that a thread keeps in mind. One more takes the place of another one.
const KEPT_MAX: usize = 256;

/// What events of a form have in common, beside their subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Common {
    pub outcome: Outcome,
    pub code: Option<i64>,
    pub client_revision: Option<Revision>,
    pub server_revision: Option<Revision>,
    pub has_server: bool,
    pub has_response: bool,
    pub has_session: bool,
}

#[derive(Debug)]
struct Kept {
    subject: Arc<Subject>,
    common: Common,
    form: Form,
}

/// Forms by a hash of what they are for. Each is one of the batch of its time.
#[derive(Debug, Default)]
pub(super) struct Forms(Vec<Option<Kept>>);

impl Forms {
    pub(super) fn get(&self, subject: &Arc<Subject>, common: &Common) -> Option<Form> {
        let kept = self.0.get(place(subject, common))?.as_ref()?;
        let is_it = Arc::ptr_eq(&kept.subject, subject) && kept.common == *common;
        is_it.then_some(kept.form)
    }

    pub(super) fn keep(&mut self, subject: &Arc<Subject>, common: Common, form: Form) {
        if self.0.is_empty() {
            self.0.resize_with(KEPT_MAX, || None);
        }
        self.0[place(subject, &common)] = Some(Kept {
            subject: Arc::clone(subject),
            common,
            form,
        });
    }
}

fn place(subject: &Arc<Subject>, common: &Common) -> usize {
    let outcome = match common.outcome {
        Outcome::Result => 0,
        Outcome::ToolError => 1,
        Outcome::Error => 2,
        _ => 3,
    };
    // What is allocated begins at a multiple of sixteen.
    (Arc::as_ptr(subject).addr() / 16 + outcome) % KEPT_MAX
}
