//! What is wrong in a file, where, and what would help; and how a person sees it.

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, Severity};

use super::tree::Span;

/// One thing wrong in a configuration file.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    pub severity: Level,
    /// One sentence, lower case, no full stop.
    pub message: String,
    /// The bytes to underline.
    pub span: Span,
    /// A few words under the underline.
    pub label: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// Whether the file can still be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Error,
    Warning,
}

impl Problem {
    pub fn error(span: &Span, message: impl Into<String>, label: impl Into<String>) -> Self {
        let (message, label) = (message.into(), label.into());
        Problem {
            severity: Level::Error,
            message,
            span: span.clone(),
            label,
            help: None,
        }
    }

    pub fn warning(span: &Span, message: impl Into<String>, label: impl Into<String>) -> Self {
        Problem {
            severity: Level::Warning,
            ..Problem::error(span, message, label)
        }
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub fn is_error(&self) -> bool {
        self.severity == Level::Error
    }

    /// Line and column, both from 1, counted in characters.
    pub fn position(&self, text: &str) -> (usize, usize) {
        let before = text.get(..self.span.start).unwrap_or(text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (line, column)
    }
}

/// Draws problems over the text of their file, in the order of the file.
///
/// # Errors
/// None: a problem that cannot be drawn is given as one plain line.
pub fn render(problems: &[Problem], file: &str, text: &str, look: Look) -> String {
    let mut ordered: Vec<&Problem> = problems.iter().collect();
    ordered.sort_by_key(|problem| problem.span.start);
    let handler = look.handler();
    let mut drawn = String::new();
    for problem in ordered {
        let drawable = Drawable {
            problem,
            source: NamedSource::new(file, text.to_owned()),
        };
        let mut one = String::new();
        if handler.render_report(&mut one, &drawable).is_err() {
            let (line, column) = problem.position(text);
            one = format!("{file}:{line}:{column}: {}\n", problem.message);
        }
        drawn.push_str(one.trim_start_matches('\n'));
        if !drawn.ends_with("\n\n") {
            drawn.push('\n');
        }
    }
    drawn
}

/// How text for people is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Colours, for a terminal.
    Colour,
    /// No escape codes: a pipe, a file, or `NO_COLOR`.
    Plain,
}

impl Look {
    fn handler(self) -> GraphicalReportHandler {
        let theme = match self {
            Look::Colour => GraphicalTheme::unicode(),
            Look::Plain => GraphicalTheme::unicode_nocolor(),
        };
        // A fixed width: a message must not wrap differently in a log and in a test.
        GraphicalReportHandler::new_themed(theme)
            .with_links(false)
            .with_width(110)
    }
}

/// A problem with its file's text, in miette's terms.
#[derive(Debug)]
struct Drawable<'a> {
    problem: &'a Problem,
    source: NamedSource<String>,
}

impl std::fmt::Display for Drawable<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.problem.message)
    }
}

impl std::error::Error for Drawable<'_> {}

impl Diagnostic for Drawable<'_> {
    fn severity(&self) -> Option<Severity> {
        Some(match self.problem.severity {
            Level::Error => Severity::Error,
            Level::Warning => Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.problem
            .help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn std::fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.problem.span.clone();
        let label = LabeledSpan::new_with_span(Some(self.problem.label.clone()), span);
        Some(Box::new(std::iter::once(label)))
    }
}
