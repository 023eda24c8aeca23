//! The screen of `axiom top`, as its model says it.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row as Cells, Table};

use super::model::{Model, Row, Sort, View};

/// Rows of the screen that are not the table's: the totals, the table's head, the last line.
const OTHER_ROWS: u16 = 3;

/// A column: its name, what it is sorted by if it is, how wide it is.
const COLUMNS: [(&str, Option<Sort>, Constraint); 11] = [
    ("TASK", Some(Sort::Id), Constraint::Length(12)),
    ("STATE", Some(Sort::State), Constraint::Length(14)),
    ("EXECUTOR", None, Constraint::Length(9)),
    ("AGE", Some(Sort::Age), Constraint::Length(7)),
    ("CPU%", Some(Sort::Cpu), Constraint::Length(6)),
    ("MEMORY", Some(Sort::Memory), Constraint::Length(9)),
    ("PROCS", Some(Sort::Processes), Constraint::Length(6)),
    ("LINES/S", Some(Sort::Lines), Constraint::Length(8)),
    ("OUTPUT", Some(Sort::Bytes), Constraint::Length(9)),
    ("COMMAND", Some(Sort::Command), Constraint::Fill(2)),
    ("LAST LINE", None, Constraint::Fill(3)),
];

/// How many tasks a screen of this size shows.
pub(super) fn page(area: Rect) -> usize {
    usize::from(area.height.saturating_sub(OTHER_ROWS))
}

/// Draws what the model shows, its rows from `offset` on, with the one at `chosen` marked.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, (offset, chosen): (usize, usize)) {
    let [top, middle, bottom] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)])
            .areas(frame.area());
    let shown = model.shown();
    frame.render_widget(Paragraph::new(totals(model, &shown)), top);
    match &model.view {
        View::Lines { id, lines } => self::lines(frame, middle, id, lines),
        _ => table(frame, middle, model, &shown, (offset, chosen)),
    }
    frame.render_widget(Paragraph::new(last(model, &shown)), bottom);
}

fn totals<'a>(model: &Model, shown: &[&Row]) -> Line<'a> {
    let totals = Model::totals(shown);
    let filtered = match model.filter.is_empty() {
        true => String::new(),
        false => format!(" like {:?}", model.filter),
    };
    let text = format!(
        "axiom top  {} tasks{filtered}, {} live  cpu {:.0} %  memory {}  {} processes  output {}",
        totals.tasks,
        totals.live,
        totals.cpu_percent,
        bytes(totals.memory_bytes),
        totals.processes,
        bytes(totals.output_bytes),
    );
    Line::from(Span::styled(text, Style::new().add_modifier(Modifier::BOLD)))
}

fn table(frame: &mut Frame<'_>, area: Rect, model: &Model, shown: &[&Row], (offset, chosen): (usize, usize)) {
    let head = COLUMNS.map(|(name, sort, _)| {
        let mark = match (sort == Some(model.sort), model.is_reversed) {
            (false, _) => "",
            (true, false) => "*",
            (true, true) => "^",
        };
        Cell::from(format!("{name}{mark}"))
    });
    let head = Cells::new(head).style(Style::new().add_modifier(Modifier::UNDERLINED));
    let page = usize::from(area.height.saturating_sub(1));
    let rows = shown.iter().enumerate().skip(offset).take(page);
    let rows = rows.map(|(nth, row)| {
        let style = match nth == chosen {
            true => Style::new().add_modifier(Modifier::REVERSED),
            false => style(model, row),
        };
        Cells::new(cells(row)).style(style)
    });
    let widths = COLUMNS.map(|(_, _, width)| width);
    frame.render_widget(Table::new(rows, widths).header(head), area);
}

fn style(model: &Model, row: &Row) -> Style {
    match row {
        Row { lives: false, .. } => Style::new().add_modifier(Modifier::DIM),
        Row { is_frozen: true, .. } if model.has_colour => Style::new().fg(Color::Cyan),
        _ => Style::new(),
    }
}

fn cells(row: &Row) -> [String; 11] {
    let some = |text: Option<String>| text.unwrap_or_default();
    [
        row.id.clone(),
        row.state.clone(),
        row.executor.to_owned(),
        some(row.age_seconds.map(age)),
        some(row.cpu_percent.map(|percent| format!("{percent:.1}"))),
        some(row.memory_bytes.map(bytes)),
        some(row.processes.map(|count| count.to_string())),
        some(row.lines_per_second.map(|lines| format!("{lines:.0}"))),
        bytes(row.output_bytes),
        row.command.clone(),
        row.last_line.clone(),
    ]
}

fn lines(frame: &mut Frame<'_>, area: Rect, id: &str, lines: &[String]) {
    let rows = usize::from(area.height.saturating_sub(1));
    let last = lines.iter().skip(lines.len().saturating_sub(rows));
    let head = Line::from(Span::styled(
        format!("last lines of {id}"),
        Style::new().add_modifier(Modifier::UNDERLINED),
    ));
    let text: Vec<Line<'_>> = std::iter::once(head)
        .chain(last.map(|line| Line::from(line.as_str())))
        .collect();
    frame.render_widget(Paragraph::new(text), area);
}

fn last<'a>(model: &Model, shown: &[&Row]) -> Line<'a> {
    let text = match &model.view {
        View::Confirm { id } => {
            let row = shown.iter().find(|row| row.id == *id);
            let command = row.map(|row| row.command.clone()).unwrap_or_default();
            format!("kill {id} ({command}) with all that it has started? y / n")
        }
        View::Filter => format!("filter: {}_   Enter keeps it, Esc forgets it", model.filter),
        View::Lines { .. } => "Esc goes back".to_owned(),
        View::Table if !model.note.is_empty() => model.note.clone(),
        View::Table => {
            "q quit  Enter lines  k kill  f freeze/thaw  / filter  s sort (i t n a c m p l b)  r reverse"
                .to_owned()
        }
    };
    let style = match &model.view {
        View::Confirm { .. } if model.has_colour => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
        View::Confirm { .. } => Style::new().add_modifier(Modifier::BOLD),
        _ => Style::new(),
    };
    Line::from(Span::styled(text, style))
}

pub(super) fn age(seconds: u64) -> String {
    match seconds {
        ..100 => format!("{seconds} s"),
        100..6000 => format!("{} min", seconds / 60),
        6000..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Three digits at least, so that a change can be seen.
pub(super) fn bytes(bytes: u64) -> String {
    match bytes {
        ..10_000 => format!("{bytes} B"),
        10_000..10_240_000 => format!("{} KiB", bytes >> 10),
        10_240_000..10_737_418_240 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::model::Key;
    use super::*;

    fn row(id: &str, command: &str, lives: bool) -> Row {
        Row {
            id: id.to_owned(),
            state: if lives { "runs" } else { "exit 0" }.to_owned(),
            lives,
            command: command.to_owned(),
            executor: "process",
            age_seconds: Some(65),
            cpu_percent: lives.then_some(12.34),
            memory_bytes: lives.then_some(20 << 20),
            processes: lives.then_some(3),
            lines_per_second: lives.then_some(7.0),
            output_bytes: 54_321,
            last_line: "tests: 12 passed".to_owned(),
            ..Row::default()
        }
    }

    fn model() -> Model {
        let mut model = Model::new(true);
        model.update(vec![
            row("0a1b2c3d4e5f", "make test", true),
            row("1a1b2c3d4e5f", "true", false),
            row("2a1b2c3d4e5f", "sleep 600", true),
        ]);
        model
    }

    fn screen(model: &mut Model) -> String {
        let mut terminal = Terminal::new(TestBackend::new(130, 7)).unwrap();
        let drawn = terminal.draw(|frame| {
            let window = model.window(page(frame.area()));
            draw(frame, model, window);
        });
        drawn.unwrap();
        let lines = terminal.backend().to_string();
        let lines = lines.lines().map(|line| line.trim_matches('"').trim_end());
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_table() {
        assert_snapshot!(screen(&mut model()), @r"
        axiom top  3 tasks, 2 live  cpu 25 %  memory 40 MiB  6 processes  output 159 KiB
        TASK         STATE*         EXECUTOR  AGE     CPU%   MEMORY    PROCS  LINES/S  OUTPUT    COMMAND          LAST LINE
        0a1b2c3d4e5f runs           process   65 s    12.3   20 MiB    3      7        53 KiB    make test        tests: 12 passed
        2a1b2c3d4e5f runs           process   65 s    12.3   20 MiB    3      7        53 KiB    sleep 600        tests: 12 passed
        1a1b2c3d4e5f exit 0         process   65 s                                     53 KiB    true             tests: 12 passed

        q quit  Enter lines  k kill  f freeze/thaw  / filter  s sort (i t n a c m p l b)  r reverse
        ");
    }

    #[test]
    fn a_kill_is_asked_about() {
        let mut model = model();
        model.key(Key::Down);
        model.key(Key::Char('k'));
        let shown = screen(&mut model);
        let last = shown.lines().last().unwrap();
        assert_eq!(
            last,
            "kill 2a1b2c3d4e5f (sleep 600) with all that it has started? y / n"
        );
    }

    #[test]
    fn a_filter_is_seen_while_it_is_typed() {
        let mut model = model();
        for key in "/make".chars() {
            model.key(Key::Char(key));
        }
        let shown = screen(&mut model);
        assert!(
            shown.starts_with("axiom top  1 tasks like \"make\", 1 live"),
            "{shown}"
        );
        assert!(shown.contains("filter: make_"), "{shown}");
        assert!(!shown.contains("sleep 600"), "{shown}");
    }

    #[test]
    fn the_last_lines_of_one_are_the_last_that_fit() {
        let mut model = model();
        let lines = (0..50).map(|nth| format!("line {nth}")).collect();
        model.view = View::Lines {
            id: "0a1b2c3d4e5f".to_owned(),
            lines,
        };
        let shown = screen(&mut model);
        assert!(
            shown.contains("line 49") && shown.contains("line 46") && !shown.contains("line 45"),
            "{shown}"
        );
    }

    /// Any size and any text: a small terminal is no reason to panic, and control characters do not come through.
    #[test]
    fn every_screen_is_drawn() {
        let mut model = model();
        model.update(vec![row("a", "\x1b[2J\u{4e2d}\u{6587}\u{200b}e\u{301}", true); 3]);
        for (width, height) in [(1, 0), (1, 1), (2, 3), (20, 4), (300, 2)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            let drawn = terminal.draw(|frame| {
                let window = model.window(page(frame.area()));
                draw(frame, &model, window);
            });
            drawn.unwrap();
            assert!(!terminal.backend().to_string().contains('\x1b'));
        }
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0, 9_999, 10_000, 10_239_999, 50 << 20, 20 << 30].map(bytes);
        assert_eq!(shown, ["0 B", "9999 B", "9 KiB", "9999 KiB", "50 MiB", "20 GiB"]);
    }
}
