use proptest::prelude::*;

use super::*;
use crate::event::Format;

/// Finds templates for lines and says how each of them reads at the end.
fn found(bytes_max: usize, lines: &[String]) -> (Templates, Vec<Option<String>>) {
    let state = RandomState::default();
    let mut templates = Templates::new(state.clone(), bytes_max);
    let mut tokens = Tokens::default();
    let mut places = Vec::new();
    for line in lines {
        tokens.read(&state, Format::Text, line.as_bytes());
        places.push(templates.find(0, &tokens));
        assert!(templates.bytes() <= bytes_max, "{} B", templates.bytes());
        assert!(templates.len() <= TEMPLATES_MAX);
    }
    let texts = places
        .into_iter()
        .map(|(at, id)| templates.text(at, id).map(|text| text.to_string()));
    let texts = texts.collect();
    (templates, texts)
}

fn own(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

#[test]
fn what_belongs_together_is_found() {
    let lines = own(&[
        "Compiling serde v1.2.3",
        "Compiling tokio v1.48.0",
        "Downloaded tokio v1.48.0",
        "user alice logged in from here",
        "user bob logged in from there",
        "user bob bought three green apples",
        "",
    ]);
    let (templates, texts) = found(1 << 20, &lines);
    let texts: Vec<&str> = texts
        .iter()
        .map(|text| text.as_deref().unwrap_or("gone"))
        .collect();
    assert_eq!(
        texts,
        [
            "Compiling <*> v<num>",
            "Compiling <*> v<num>",
            "Downloaded tokio v<num>",
            "user <*> logged in from <*>",
            "user <*> logged in from <*>",
            "user bob bought three green apples",
            "",
        ]
    );
    assert_eq!(templates.len(), 5);
}

#[test]
fn what_is_never_alike_is_forgotten() {
    let word = |n: u32| -> String {
        let letters = [n / 676 % 26, n / 26 % 26, n % 26];
        letters
            .into_iter()
            .map(|letter| char::from(b'a' + u8::try_from(letter).expect("one of 26")))
            .collect()
    };
    let line = |n: u32| {
        // Ever other words, and ever other numbers of them.
        let words: Vec<String> = (0..1 + n % 7).map(|m| word(n * 31 + m * 977)).collect();
        words.join(" ")
    };
    let lines: Vec<String> = (0..20_000).map(line).collect();
    let (templates, texts) = found(256 << 10, &lines);
    assert!(templates.len() < 1000, "{}", templates.len());
    assert!(texts[19_999].is_some());
    assert_eq!(
        templates
            .leaves
            .values()
            .map(|leaf| leaf.templates.len())
            .sum::<usize>(),
        templates.len()
    );
    assert!(
        templates
            .leaves
            .values()
            .all(|leaf| leaf.templates.len() <= LEAF_MAX)
    );
    assert!(templates.branches.values().all(|count| *count <= BRANCHES_MAX));
}

proptest! {
    /// A template has the words that all of its lines have, and the same lines have the same templates every time.
    #[test]
    fn templates_fit_their_lines(lines in proptest::collection::vec("([a-d]{1,2} ){0,6}[a-d]", 1..200)) {
        let (_, texts) = found(1 << 20, &lines);
        for (line, text) in lines.iter().zip(&texts) {
            let text = text.as_deref().expect("there is room for all");
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let of_template: Vec<&str> = text.split_ascii_whitespace().collect();
            prop_assert_eq!(words.len(), of_template.len());
            for (word, of_template) in words.iter().zip(of_template) {
                prop_assert!(of_template == "<*>" || of_template == *word, "{} in {}", line, text);
            }
        }
        prop_assert_eq!(found(1 << 20, &lines).1, texts);
    }
}
