//! What `axiom top` shows, and what keys do to it. Knows neither tasks nor a terminal.

use std::cmp::Ordering;

/// One task.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) state: String,
    /// Whether there is somebody to steer.
    pub(super) lives: bool,
    pub(super) is_frozen: bool,
    pub(super) command: String,
    pub(super) executor: &'static str,
    pub(super) age_seconds: Option<u64>,
    pub(super) cpu_percent: Option<f64>,
    pub(super) memory_bytes: Option<u64>,
    pub(super) processes: Option<u32>,
    /// An estimate; only of tasks that were looked at.
    pub(super) lines_per_second: Option<f64>,
    pub(super) output_bytes: u64,
    /// Cleaned.
    pub(super) last_line: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Id,
    State,
    Command,
    Age,
    Cpu,
    Memory,
    Processes,
    Lines,
    Bytes,
}

impl Sort {
    const ALL: [Sort; 9] = [
        Sort::Id,
        Sort::State,
        Sort::Command,
        Sort::Age,
        Sort::Cpu,
        Sort::Memory,
        Sort::Processes,
        Sort::Lines,
        Sort::Bytes,
    ];

    fn next(self) -> Sort {
        let at = Sort::ALL.iter().position(|sort| *sort == self).unwrap_or(0);
        Sort::ALL[(at + 1) % Sort::ALL.len()]
    }

    /// Texts from their beginning, numbers from the largest.
    fn compare(self, one: &Row, other: &Row) -> Ordering {
        let number =
            |one: Option<f64>, other: Option<f64>| other.unwrap_or(-1.0).total_cmp(&one.unwrap_or(-1.0));
        let order = match self {
            Sort::Id => Ordering::Equal,
            // Those that live come first.
            Sort::State => other
                .lives
                .cmp(&one.lives)
                .then_with(|| one.state.cmp(&other.state)),
            Sort::Command => one.command.cmp(&other.command),
            Sort::Age => other.age_seconds.cmp(&one.age_seconds),
            Sort::Cpu => number(one.cpu_percent, other.cpu_percent),
            Sort::Memory => other.memory_bytes.cmp(&one.memory_bytes),
            Sort::Processes => other.processes.cmp(&one.processes),
            Sort::Lines => number(one.lines_per_second, other.lines_per_second),
            Sort::Bytes => other.output_bytes.cmp(&one.output_bytes),
        };
        order.then_with(|| one.id.cmp(&other.id))
    }
}

/// What is on the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum View {
    Table,
    /// A filter is being typed.
    Filter,
    /// Whether to kill that task.
    Confirm {
        id: String,
    },
    /// The last lines of one.
    Lines {
        id: String,
        lines: Vec<String>,
    },
}

/// A key, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Enter,
    Escape,
    Backspace,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    /// ctrl-C.
    Interrupt,
}

/// What is to be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    Nothing,
    Quit,
    Kill(String),
    /// Freeze it, or let it go on.
    Freeze(String, bool),
}

#[derive(Debug)]
pub(super) struct Model {
    rows: Vec<Row>,
    pub(super) sort: Sort,
    pub(super) is_reversed: bool,
    pub(super) filter: String,
    pub(super) view: View,
    selected: Option<String>,
    /// Rows that fit, as the last drawing had them.
    pub(super) page: usize,
    /// The first row on the screen.
    offset: usize,
    /// What became of the last thing that was done.
    pub(super) note: String,
    pub(super) has_colour: bool,
}

/// Of the tasks that are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Totals {
    pub(super) tasks: usize,
    pub(super) live: usize,
    pub(super) cpu_percent: f64,
    pub(super) memory_bytes: u64,
    pub(super) processes: u64,
    pub(super) output_bytes: u64,
}

impl Model {
    pub(super) fn new(has_colour: bool) -> Model {
        Model {
            rows: Vec::new(),
            sort: Sort::State,
            is_reversed: false,
            filter: String::new(),
            view: View::Table,
            selected: None,
            page: 20,
            offset: 0,
            note: String::new(),
            has_colour,
        }
    }

    /// The tasks there are now.
    pub(super) fn update(&mut self, rows: Vec<Row>) {
        self.rows = rows;
    }

    /// Those that are not filtered out, in their order.
    pub(super) fn shown(&self) -> Vec<&Row> {
        let wanted = self.filter.to_lowercase();
        let fits = |row: &&Row| {
            let texts = [&row.id, &row.state, &row.command];
            wanted.is_empty() || texts.iter().any(|text| text.to_lowercase().contains(&wanted))
        };
        let mut shown: Vec<&Row> = self.rows.iter().filter(fits).collect();
        shown.sort_by(|one, other| self.sort.compare(one, other));
        if self.is_reversed {
            shown.reverse();
        }
        shown
    }

    pub(super) fn totals(shown: &[&Row]) -> Totals {
        let mut totals = Totals {
            tasks: shown.len(),
            ..Totals::default()
        };
        for row in shown {
            totals.live += usize::from(row.lives);
            totals.cpu_percent += row.cpu_percent.unwrap_or(0.0);
            totals.memory_bytes += row.memory_bytes.unwrap_or(0);
            totals.processes += u64::from(row.processes.unwrap_or(0));
            totals.output_bytes += row.output_bytes;
        }
        totals
    }

    /// Where the chosen row stands; the first one if it is gone.
    pub(super) fn at(&self, shown: &[&Row]) -> usize {
        let chosen = self.selected.as_deref();
        shown.iter().position(|row| Some(&*row.id) == chosen).unwrap_or(0)
    }

    /// The rows that are on the screen: the first of them, and the chosen one.
    pub(super) fn window(&mut self, page: usize) -> (usize, usize) {
        self.page = page.max(1);
        let shown = self.shown();
        let (at, count) = (self.at(&shown), shown.len());
        let last = count.saturating_sub(self.page);
        self.offset = self
            .offset
            .min(last)
            .min(at)
            .max((at + 1).saturating_sub(self.page));
        (self.offset, at)
    }

    /// The ids of the rows on the screen.
    pub(super) fn on_screen(&self) -> Vec<String> {
        let shown = self.shown();
        let rows = shown.iter().skip(self.offset).take(self.page);
        rows.map(|row| row.id.clone()).collect()
    }

    pub(super) fn key(&mut self, key: Key) -> Action {
        self.note.clear();
        match (&self.view, key) {
            (_, Key::Interrupt) => return Action::Quit,
            (View::Filter, _) => self.type_filter(key),
            (View::Confirm { id }, Key::Char('y' | 'Y')) => {
                let id = id.clone();
                self.view = View::Table;
                return Action::Kill(id);
            }
            (View::Confirm { .. }, _) => self.view = View::Table,
            (View::Lines { .. }, Key::Escape | Key::Enter | Key::Char('q')) => self.view = View::Table,
            (View::Lines { .. }, _) => {}
            (View::Table, _) => return self.key_in_table(key),
        }
        Action::Nothing
    }

    fn key_in_table(&mut self, key: Key) -> Action {
        let page = isize::try_from(self.page).unwrap_or(isize::MAX);
        match key {
            Key::Char('q') => return Action::Quit,
            Key::Char('k') => {
                if let Some(row) = self.chosen().filter(|row| row.lives) {
                    self.view = View::Confirm { id: row.id.clone() };
                }
            }
            Key::Char('f') => {
                if let Some(row) = self.chosen().filter(|row| row.lives) {
                    return Action::Freeze(row.id.clone(), !row.is_frozen);
                }
            }
            Key::Enter => {
                if let Some(row) = self.chosen() {
                    let (id, lines) = (row.id.clone(), Vec::new());
                    self.view = View::Lines { id, lines };
                }
            }
            Key::Char('/') => self.view = View::Filter,
            Key::Escape => self.filter.clear(),
            Key::Char('s') => self.sort = self.sort.next(),
            Key::Char('r') => self.is_reversed = !self.is_reversed,
            Key::Char(letter) => self.sort_by(letter),
            Key::Up => self.go(-1),
            Key::Down => self.go(1),
            Key::PageUp => self.go(-page),
            Key::PageDown => self.go(page),
            Key::Home => self.go(isize::MIN),
            Key::End => self.go(isize::MAX),
            Key::Backspace | Key::Interrupt => {}
        }
        Action::Nothing
    }

    fn sort_by(&mut self, letter: char) {
        let sort = match letter {
            'i' => Sort::Id,
            't' => Sort::State,
            'n' => Sort::Command,
            'a' => Sort::Age,
            'c' => Sort::Cpu,
            'm' => Sort::Memory,
            'p' => Sort::Processes,
            'l' => Sort::Lines,
            'b' => Sort::Bytes,
            _ => return,
        };
        // The same key again turns it round.
        self.is_reversed = self.sort == sort && !self.is_reversed;
        self.sort = sort;
    }

    fn type_filter(&mut self, key: Key) {
        match key {
            Key::Char(letter) => self.filter.push(letter),
            Key::Backspace => drop(self.filter.pop()),
            Key::Escape => {
                self.filter.clear();
                self.view = View::Table;
            }
            Key::Enter => self.view = View::Table,
            _ => {}
        }
    }

    fn chosen(&self) -> Option<&Row> {
        let shown = self.shown();
        shown.get(self.at(&shown)).copied()
    }

    fn go(&mut self, by: isize) {
        let shown = self.shown();
        let last = shown.len().saturating_sub(1);
        let at = self.at(&shown).saturating_add_signed(by).min(last);
        self.selected = shown.get(at).map(|row| row.id.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, command: &str, cpu: Option<f64>) -> Row {
        Row {
            id: id.to_owned(),
            state: "runs".to_owned(),
            lives: cpu.is_some(),
            command: command.to_owned(),
            cpu_percent: cpu,
            output_bytes: 1,
            ..Row::default()
        }
    }

    fn model() -> Model {
        let mut model = Model::new(false);
        model.update(vec![
            row("c", "make test", Some(5.0)),
            row("a", "sleep 9", None),
            row("b", "make all", Some(50.0)),
        ]);
        model
    }

    #[track_caller]
    fn check(model: &Model, expected: &[&str]) {
        let ids: Vec<&str> = model.shown().iter().map(|row| &*row.id).collect();
        assert_eq!(ids, expected);
    }

    fn keys(model: &mut Model, keys: &str) -> Vec<Action> {
        keys.chars().map(|key| model.key(Key::Char(key))).collect()
    }

    #[test]
    fn rows_are_sorted_by_what_is_wanted() {
        let mut model = model();
        check(&model, &["b", "c", "a"]);
        keys(&mut model, "i");
        check(&model, &["a", "b", "c"]);
        keys(&mut model, "i");
        check(&model, &["c", "b", "a"]);
        keys(&mut model, "c");
        check(&model, &["b", "c", "a"]);
        keys(&mut model, "r");
        check(&model, &["a", "c", "b"]);
        keys(&mut model, "n");
        check(&model, &["b", "c", "a"]);
        for _ in Sort::ALL {
            keys(&mut model, "s");
        }
        assert_eq!(model.sort, Sort::Command);
    }

    #[test]
    fn a_filter_is_typed_and_forgotten() {
        let mut model = model();
        keys(&mut model, "/MAKEq");
        model.key(Key::Backspace);
        check(&model, &["b", "c"]);
        model.key(Key::Enter);
        assert_eq!((&*model.filter, &model.view), ("MAKE", &View::Table));
        let totals = Model::totals(&model.shown());
        assert_eq!((totals.tasks, totals.live, totals.cpu_percent), (2, 2, 55.0));
        model.key(Key::Escape);
        check(&model, &["b", "c", "a"]);
    }

    #[test]
    fn nothing_is_killed_without_a_yes() {
        let mut model = model();
        assert_eq!(keys(&mut model, "kn"), [Action::Nothing, Action::Nothing]);
        assert_eq!(
            keys(&mut model, "ky"),
            [Action::Nothing, Action::Kill("b".to_owned())]
        );
        assert_eq!(keys(&mut model, "f"), [Action::Freeze("b".to_owned(), true)]);
        // What has ended is not steered.
        model.key(Key::End);
        assert_eq!(
            keys(&mut model, "kyf"),
            [Action::Nothing, Action::Nothing, Action::Nothing]
        );
    }

    #[test]
    fn the_chosen_row_stays_chosen_and_on_the_screen() {
        let mut model = Model::new(false);
        let rows = |count: u32| {
            (0..count)
                .map(|nth| row(&format!("{nth:04}"), "x", Some(0.0)))
                .collect()
        };
        model.update(rows(1000));
        assert_eq!(model.window(10), (0, 0));
        model.key(Key::PageDown);
        assert_eq!(model.window(10), (1, 10));
        model.key(Key::End);
        assert_eq!(model.window(10), (990, 999));
        assert_eq!(model.on_screen().len(), 10);
        model.key(Key::Up);
        // Others come and go; it is still the same task.
        model.update(rows(999));
        assert_eq!(model.window(10), (989, 998));
        model.update(rows(5));
        assert_eq!(model.window(10), (0, 0));
        model.update(Vec::new());
        assert_eq!(model.window(10), (0, 0));
        model.key(Key::Down);
        model.key(Key::Enter);
        assert_eq!(model.view, View::Table);
    }
}
