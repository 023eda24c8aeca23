//! Whatever an agent prints, in whatever pieces and however often: a prompt is typed once, and so is each answer.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// What an agent does next.
#[derive(Debug, Clone)]
enum Act {
    /// Lines that mean nothing.
    Say(String),
    /// Draws one line again and again.
    Spin(u8),
    /// Draws its question so often, and after the answer once more so often, before it goes on.
    Question { draws: u8, redraws: u8, pause: u64 },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        "[ -~]{0,60}"
            .prop_filter("no question", |text| !text.contains("(y/n)"))
            .prop_map(Act::Say),
        (1_u8..20).prop_map(Act::Spin),
        (1_u8..5, 0_u8..8, 0_u64..500).prop_map(|(draws, redraws, pause)| Act::Question {
            draws,
            redraws,
            pause
        }),
    ];
    vec(act, 0..12)
}

/// Hands it over in pieces, with pauses. What is drawn anew is whole again before it counts as gone.
fn print(scene: &mut Scene, text: &str, pieces: &[(usize, u64)]) {
    let mut rest = text.as_bytes();
    for (len, pause) in pieces.iter().cycle() {
        if rest.is_empty() {
            return;
        }
        let (piece, after) = rest.split_at((*len).min(rest.len()));
        let steps = scene.conversation.output(scene.now, piece);
        scene.did(steps);
        scene.wait(*pause);
        rest = after;
    }
}

fn count(scene: &Scene, what: &str) -> usize {
    scene.done.iter().filter(|done| *done == what).count()
}

proptest! {
    #[test]
    fn each_question_is_answered_once(
        acts in acts(),
        pieces in vec((8_usize..30, 0_u64..60), 1..20),
        is_anywhere in any::<bool>(),
    ) {
        let mut scene = Scene::new(typed(), "fix it");
        print(&mut scene, "\x1b[2J\x1b[HAgent\r\n> ", &pieces);
        scene.wait(300);
        scene.print("fix it\r\n");
        let mut questions = 0;
        for act in acts {
            match act {
                Act::Say(text) => print(&mut scene, &format!("{text}\r\n"), &pieces),
                Act::Spin(frames) => {
                    for frame in 0..frames {
                        print(&mut scene, &format!("\r\x1b[K{} busy", char::from(b'!' + frame)), &pieces);
                        scene.wait(80);
                    }
                    print(&mut scene, "\r\x1b[K", &pieces);
                }
                Act::Question { draws, redraws, pause } => {
                    questions += 1;
                    let question = match is_anywhere {
                        // It draws a line below, too, and comes back.
                        true => "\r\x1b[KRun it? (y/n) \r\n[Enter] sends\x1b[A\x1b[15G",
                        false => "\r\x1b[KRun it? (y/n) ",
                    };
                    for _ in 0..draws {
                        print(&mut scene, question, &pieces);
                    }
                    scene.wait(2500);
                    prop_assert_eq!(count(&scene, "type \"y\\r\""), questions);
                    for _ in 0..redraws {
                        print(&mut scene, question, &pieces);
                        scene.wait(pause);
                    }
                    print(&mut scene, "y\r\n\x1b[Kran\r\n", &pieces);
                }
            }
        }
        scene.wait(4000);
        prop_assert_eq!(count(&scene, "type \"fix it\""), 1);
        prop_assert_eq!(count(&scene, "type \"y\\r\""), questions);
    }

    /// No answers but to what was printed, wherever the cursor goes, whatever moves on the screen, and whatever turns beside it.
    #[test]
    fn there_are_no_more_answers_than_questions(
        pieces in vec((prop_oneof![
            3 => Just("\r  Run it? (y/n) ".to_owned()),
            3 => "\r[-|/* ]",
            4 => "\r|\n|\r\n|\x1b\\[[0-9]{0,2}[ABCDEFGHLST@d]|\x1bM|\x1b7|\x1b8|\x1bD",
        ], 0_u64..1000), 0..60),
    ) {
        let profile = Profile { prompt: PromptBy::Argument, ..typed() };
        let mut scene = Scene::new(profile, "");
        let printed = pieces.iter().filter(|(piece, _)| piece.contains("Run")).count();
        for (piece, pause) in pieces {
            scene.print(&piece);
            scene.wait(pause);
        }
        scene.wait(5000);
        prop_assert!(count(&scene, "type \"y\\r\"") <= printed, "{:?}", scene.done);
    }

    /// A prompt is typed once or not at all, and nothing is wanted from it for ever.
    #[test]
    fn a_prompt_is_typed_once_at_most(pieces in vec(("(> |\r|\n|\x1b\\[[0-9]{0,2}[A-Z]|[ -~]){0,6}", 0_u64..3000), 0..40)) {
        let mut scene = Scene::new(typed(), "fix it");
        for (piece, pause) in pieces {
            scene.print(&piece);
            scene.wait(pause);
        }
        scene.wait(200_000);
        prop_assert!(count(&scene, "type \"fix it\"") <= 1);
        let exits = count(&scene, "type \"/exit\"");
        prop_assert!(exits <= 1);
    }
}
