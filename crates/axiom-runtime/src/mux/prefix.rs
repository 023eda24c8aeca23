//! `[task8] ` in front of each line: which task speaks, in a colour that is always the same for it.
//!
//! A label is the first eight characters of the task's id, and longer where two live tasks share those: ids that begin with
//! the time do. It only grows while its task lives, so that what a person has read stays true.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::clean::RESET;

/// The labels of the tasks that live.
#[derive(Debug, Default)]
pub struct Prefixes {
    /// By what can be shown of their ids.
    live: BTreeMap<String, Label>,
    /// How many labels there are of each length, for the width of all.
    lengths: BTreeMap<usize, usize>,
}

#[derive(Debug, Clone, Copy)]
struct Label {
    length: usize,
    /// Tasks whose ids look the same. More than one only where ids hold what cannot be shown.
    tasks: usize,
}

/// Characters of an id that are shown, if they tell it from the others.
pub const LABEL_CHARS: usize = 8;

/// The 256-colour palette's numbers of colours that stand out from black and from white alike, and from each other.
const PALETTE: [u8; 14] = [33, 64, 97, 30, 130, 135, 136, 161, 166, 168, 28, 61, 163, 66];

impl Prefixes {
    /// A task lives from now on.
    pub fn add(&mut self, task: &str) {
        let shown = shown(task);
        if let Some(label) = self.live.get_mut(&shown) {
            label.tasks += 1;
            return;
        }
        let neighbours = self.neighbours(&shown);
        let longest_shared = neighbours.iter().map(|other| shared(other, &shown)).max();
        let length = longest_shared.map_or(0, |shared| shared + 1);
        let length = length.max(LABEL_CHARS).min(shown.len());
        for other in neighbours {
            self.grow(&other, shared(&other, &shown) + 1);
        }
        *self.lengths.entry(length).or_default() += 1;
        self.live.insert(shown, Label { length, tasks: 1 });
    }

    /// The task is gone.
    pub fn remove(&mut self, task: &str) {
        let shown = shown(task);
        let Some(label) = self.live.get_mut(&shown) else {
            return;
        };
        label.tasks -= 1;
        if label.tasks == 0 {
            let length = label.length;
            self.live.remove(&shown);
            self.uncount(length);
        }
    }

    /// Writes `[label] `, filled up to the longest label of those that live. A task that does not live is shown by its first
    /// eight characters.
    pub fn write(&self, task: &str, is_coloured: bool, out: &mut String) {
        let shown = shown(task);
        let length = self.live.get(&shown).map_or(LABEL_CHARS, |label| label.length);
        let label = shown.get(..length).unwrap_or(&shown);
        let width = self.lengths.last_key_value().map_or(0, |(length, _)| *length);
        if is_coloured {
            out.push_str("\x1b[38;5;");
            out.push_str(&colour(task).to_string());
            out.push('m');
        }
        out.push('[');
        out.push_str(label);
        out.push(']');
        if is_coloured {
            out.push_str(RESET);
        }
        let fill = width.saturating_sub(label.len());
        out.extend(std::iter::repeat_n(' ', fill + 1));
    }

    /// The live ids before and after `shown`: whoever shares the most with it is one of them.
    fn neighbours(&self, shown: &str) -> Vec<String> {
        let around: (Bound<&str>, Bound<&str>) = (Bound::Unbounded, Bound::Excluded(shown));
        let before = self.live.range::<str, _>(around).next_back();
        let around: (Bound<&str>, Bound<&str>) = (Bound::Excluded(shown), Bound::Unbounded);
        let after = self.live.range::<str, _>(around).next();
        before
            .into_iter()
            .chain(after)
            .map(|(id, _)| id.clone())
            .collect()
    }

    fn grow(&mut self, id: &str, length: usize) {
        let length = length.min(id.len());
        let Some(label) = self.live.get_mut(id).filter(|label| label.length < length) else {
            return;
        };
        let before = std::mem::replace(&mut label.length, length);
        *self.lengths.entry(length).or_default() += 1;
        self.uncount(before);
    }

    fn uncount(&mut self, length: usize) {
        if let Some(count) = self.lengths.get_mut(&length) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&length);
            }
        }
    }
}

/// The task's colour, as a number of the 256-colour palette: the same in every process, whoever else lives.
pub fn colour(task: &str) -> u8 {
    // FNV-1a, which spreads ids well that differ in their last character only.
    let hash = task.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let palette = PALETTE.len() as u64;
    // The upper half: the lower bits of FNV are the weak ones.
    let at = usize::try_from((hash >> 32) % palette).unwrap_or_default();
    PALETTE.get(at).copied().unwrap_or_default()
}

/// An id, one column and one byte a character: what is not printable ASCII is a question mark.
fn shown(task: &str) -> String {
    let show = |c: char| if c.is_ascii_graphic() { c } else { '?' };
    task.chars().map(show).collect()
}

/// How many characters both begin with.
fn shared(one: &str, other: &str) -> usize {
    let pairs = one.bytes().zip(other.bytes());
    pairs.take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(tasks: &[&str]) -> Prefixes {
        let mut prefixes = Prefixes::default();
        tasks.iter().for_each(|task| prefixes.add(task));
        prefixes
    }

    fn check(prefixes: &Prefixes, task: &str, expected: &str) {
        let mut text = String::new();
        prefixes.write(task, false, &mut text);
        assert_eq!(text, expected);
    }

    #[test]
    fn eight_characters_and_aligned() {
        let prefixes = prefixes(&["0f3a9b2c4d5e", "short"]);
        check(&prefixes, "0f3a9b2c4d5e", "[0f3a9b2c] ");
        check(&prefixes, "short", "[short]    ");
        check(&prefixes, "unknown-task", "[unknown-] ");
    }

    #[test]
    fn those_that_share_eight_are_longer_until_they_end() {
        let mut prefixes = prefixes(&["019ab3c4-11", "019ab3c4-27", "build"]);
        check(&prefixes, "019ab3c4-11", "[019ab3c4-1] ");
        check(&prefixes, "019ab3c4-27", "[019ab3c4-2] ");
        check(&prefixes, "build", "[build]      ");
        prefixes.remove("019ab3c4-27");
        check(&prefixes, "019ab3c4-11", "[019ab3c4-1] ");
        prefixes.remove("019ab3c4-11");
        check(&prefixes, "build", "[build] ");
        prefixes.remove("build");
        prefixes.remove("build");
        assert!(prefixes.live.is_empty() && prefixes.lengths.is_empty());
    }

    #[test]
    fn one_id_may_begin_another() {
        let prefixes = prefixes(&["deploy-eu", "deploy-eu-2", "deploy-e"]);
        check(&prefixes, "deploy-e", "[deploy-e]   ");
        check(&prefixes, "deploy-eu", "[deploy-eu]  ");
        check(&prefixes, "deploy-eu-2", "[deploy-eu-] ");
    }

    proptest::proptest! {
        /// Whoever comes and goes: labels of different tasks differ, and none gets shorter.
        #[test]
        fn labels_tell_tasks_apart(steps in proptest::collection::vec(("[ab]{0,2}c{5,9}[ab]{0,4}", proptest::bool::ANY), 0..30)) {
            let mut prefixes = Prefixes::default();
            let mut before: BTreeMap<String, usize> = BTreeMap::new();
            for (task, comes) in steps {
                if before.contains_key(&task) != comes {
                    if comes { prefixes.add(&task) } else { prefixes.remove(&task) }
                }
                let length = |(id, label): (&String, &Label)| (id.clone(), label.length);
                let now: BTreeMap<String, usize> = prefixes.live.iter().map(length).collect();
                let shrunk = now.iter().any(|(id, length)| before.get(id).is_some_and(|before| before > length));
                proptest::prop_assert!(!shrunk);
                let labels: std::collections::BTreeSet<&str> =
                    now.iter().filter_map(|(id, length)| id.get(..*length)).collect();
                proptest::prop_assert_eq!(labels.len(), now.len());
                before = now;
            }
        }
    }

    #[test]
    fn an_id_cannot_steer_the_terminal() {
        let prefixes = prefixes(&["\x1b[2J\n\u{202e}é", "\x1b[2J\r\u{202e}é"]);
        check(&prefixes, "\x1b[2J\n\u{202e}é", "[?[2J???] ");
    }

    #[test]
    fn colours_are_stable_and_spread() {
        let mut text = String::new();
        prefixes(&["t-1"]).write("t-1", true, &mut text);
        assert_eq!(text, format!("\x1b[38;5;{}m[t-1]\x1b[0m ", colour("t-1")));
        let mut counts = BTreeMap::new();
        for task in 0..1400 {
            *counts.entry(colour(&format!("task-{task:04}"))).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), PALETTE.len());
        assert!(
            counts.values().all(|count| (50..200).contains(count)),
            "{counts:?}"
        );
    }

    /// As WCAG computes it: 3 is what it asks for large or bold text, on black and on white.
    #[test]
    fn the_palette_reads_well_on_dark_and_light() {
        const LEVELS: [f64; 6] = [0.0, 95.0, 135.0, 175.0, 215.0, 255.0];
        let light = |level: u8| ((LEVELS[usize::from(level)] / 255.0 + 0.055) / 1.055).powf(2.4);
        for colour in PALETTE {
            let cube = colour - 16;
            let (red, green, blue) = (light(cube / 36), light(cube / 6 % 6), light(cube % 6));
            let luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
            let (on_black, on_white) = ((luminance + 0.05) / 0.05, 1.05 / (luminance + 0.05));
            assert!(
                on_black >= 3.0 && on_white >= 3.0,
                "{colour}: {on_black:.2} {on_white:.2}"
            );
        }
    }
}
