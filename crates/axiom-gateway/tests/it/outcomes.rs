//! Every call ends in exactly one outcome, and it is its own: random calls, answers, cancellations, deaths, reloads.

use std::collections::BTreeMap;
use std::time::Duration;

use axiom_gateway::options::Prefix;

use crate::client::{Client, modern};
use crate::server::{Heard, Server};
use crate::stage::{Stage, json, options_with, settle};

/// Small and good enough; the same on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }

    fn take<T>(&mut self, from: &mut Vec<T>) -> Option<T> {
        if from.is_empty() {
            return None;
        }
        let index = self.roll(from.len());
        Some(from.swap_remove(index))
    }
}

/// One client and what it waits for.
struct Caller {
    client: Client,
    is_modern: bool,
    /// Tag of each call by its id; true once cancelled.
    open: BTreeMap<usize, (usize, bool)>,
    next_id: usize,
}

const STEPS: usize = 150;
const TOOLS: [&str; 3] = ["alpha__x", "beta__x", "gamma__x"];

impl Caller {
    async fn call(&mut self, tag: usize, tool: &str) {
        let id = self.next_id;
        self.next_id += 1;
        self.open.insert(id, (tag, false));
        let params = format!(r#"{{"name":"{tool}","arguments":{{"tag":{tag}}}}}"#);
        let request = if self.is_modern {
            modern(&id.to_string(), "tools/call", &params)
        } else {
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{params}}}"#)
        };
        self.client.say(&request).await;
    }

    async fn cancel(&mut self, dice: &mut Dice) {
        let ids: Vec<usize> = self.open.keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        let id = ids[dice.roll(ids.len())];
        self.open.get_mut(&id).unwrap().1 = true;
        self.client
            .say(&format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
            ))
            .await;
    }

    /// Compares what has come with what was asked.
    fn check(&mut self, seed: u64) {
        while let Some(raw) = self.client.has_heard() {
            let answer = json(&raw);
            if answer["method"].is_string() {
                // News of a reload.
                continue;
            }
            let id = usize::try_from(answer["id"].as_u64().unwrap()).unwrap();
            let (tag, _) = self.open.remove(&id).unwrap_or_else(|| {
                panic!("seed {seed}: a second outcome, or one after none was asked: {raw}")
            });
            if answer.get("error").is_some() {
                // It died, or its options changed before the call was on its way.
                let code = &answer["error"]["code"];
                assert!(*code == 1003 || *code == 1001, "seed {seed}: {raw}");
            } else {
                assert_eq!(
                    answer["result"]["content"][0], tag,
                    "seed {seed}: another's answer: {raw}"
                );
            }
        }
    }
}

async fn play(seed: u64) {
    let mut dice = Dice(seed);
    let servers = [
        Server::with_tools("alpha", &["x"]),
        Server::with_tools("beta", &["x"]),
        Server::modern("gamma", r#"{"tools":{}}"#),
    ];
    let stage = Stage::with(options_with(&servers.each_ref(), Prefix::Always));
    let mut callers = Vec::new();
    for capabilities in ["{}", "{}", r#"{"roots":{}}"#, ""] {
        let is_modern = capabilities.is_empty();
        let client = if is_modern {
            Client::new(&stage, "/mcp")
        } else {
            Client::legacy_with(&stage, "/mcp", capabilities).await
        };
        callers.push(Caller {
            client,
            is_modern,
            open: BTreeMap::new(),
            next_id: 0,
        });
    }
    let mut waiting: Vec<Heard> = Vec::new();
    for tag in 0..STEPS {
        let who = dice.roll(callers.len());
        match dice.roll(40) {
            0 => {
                let mut reloaded = stage.gateway.options();
                let beta = reloaded.servers.get_mut("beta").unwrap();
                beta.call_timeout += Duration::from_secs(1);
                stage.gateway.apply(reloaded);
            }
            1 | 2 => {
                if let Some(heard) = dice.take(&mut waiting) {
                    heard.line.die();
                }
            }
            3..=7 => callers[who].cancel(&mut dice).await,
            8..=21 => {
                if let Some(heard) = dice.take(&mut waiting) {
                    answer(&heard).await;
                    if dice.roll(5) == 0 {
                        answer(&heard).await;
                    }
                }
            }
            _ => callers[who].call(tag, TOOLS[dice.roll(TOOLS.len())]).await,
        }
        if dice.roll(3) == 0 {
            settle().await;
        }
        collect(&servers, &mut waiting).await;
        callers.iter_mut().for_each(|caller| caller.check(seed));
    }
    settle().await;
    collect(&servers, &mut waiting).await;
    for heard in &waiting {
        answer(heard).await;
    }
    settle().await;
    for (who, caller) in callers.iter_mut().enumerate() {
        caller.check(seed);
        caller.open.retain(|_, (_, is_cancelled)| !*is_cancelled);
        assert!(
            caller.open.is_empty(),
            "seed {seed}: no outcome for {:?} of client {who}",
            caller.open
        );
    }
    for status in stage.gateway.servers() {
        assert_eq!(status.in_flight, 0, "seed {seed}: {status:?}");
    }
}

async fn collect(servers: &[std::sync::Arc<Server>], waiting: &mut Vec<Heard>) {
    for server in servers {
        while let Some(heard) = server.has_heard().await {
            if heard.message["method"] == "tools/call" {
                waiting.push(heard);
            }
        }
    }
}

async fn answer(heard: &Heard) {
    let tag = &heard.message["params"]["arguments"]["tag"];
    heard
        .answer(&format!(r#"{{"resultType":"complete","content":[{tag}]}}"#))
        .await;
}

#[tokio::test(start_paused = true)]
async fn every_call_ends_in_exactly_one_outcome_and_it_is_its_own() {
    for seed in 1..=60_u64 {
        play(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)).await;
    }
}
