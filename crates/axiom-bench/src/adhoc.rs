//! `compare` and `load`: measurements of the moment, without a promise.

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use anyhow::Context;
use axiom_testkit::echo::Eras;

use crate::{
    Gateway,
    load::{self, Plan},
    measured::Figures,
    process,
    promises::Effort,
    report,
    request::{Dialect, Work},
    rounds::{self, Case, Outcome},
    subject::{self, Folder, Subject, Upstream},
};

/// Measure servers side by side in front of one upstream.
#[derive(Debug, clap::Args)]
pub(crate) struct Compare {
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "direct,nginx,floor,fastmcp,axiom"
    )]
    subjects: Vec<SubjectName>,
    #[command(flatten)]
    shape: Shape,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    #[command(flatten)]
    gateway: Gateway,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum SubjectName {
    Direct,
    Nginx,
    Floor,
    Fastmcp,
    Axiom,
}

/// Load one server.
#[derive(Debug, clap::Args)]
pub(crate) struct Load {
    /// For example http://127.0.0.1:3000/mcp
    url: String,
    /// What the server puts before tool names.
    #[arg(long, default_value = "")]
    prefix: String,
    /// Report CPU time and memory of this process and its children.
    #[arg(long)]
    pid: Option<u32>,
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    shape: Shape,
}

/// The shape of the load.
#[derive(Debug, clap::Args)]
struct Shape {
    #[arg(long, default_value = "echo")]
    work: Work,
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Requests per second, sent by the clock; without it each connection sends when it has its answer.
    #[arg(long)]
    rate: Option<f64>,
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Speak 2026-07-28 instead of opening sessions.
    #[arg(long)]
    modern: bool,
}

impl Shape {
    fn plan(&self, address: SocketAddr, dialect: Dialect, pids: Vec<u32>) -> Plan {
        Plan {
            address,
            dialect,
            work: self.work,
            connections: self.connections,
            rate: self.rate,
            warm_up: Duration::from_millis(500),
            window: Duration::from_secs_f64(self.seconds),
            pids,
        }
    }
}

impl Compare {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let setup = self.gateway.setup(Effort::FULL);
        let folder = Folder::new()?;
        let direct = subject::echo(&folder, Eras::Dual)?;
        let mut others: Vec<Subject> = Vec::new();
        for name in &self.subjects {
            let started = match name {
                SubjectName::Direct => continue,
                SubjectName::Nginx => subject::nginx(&folder, &direct, setup.workers),
                SubjectName::Floor => subject::floor(&folder, &direct, setup.workers),
                SubjectName::Fastmcp => subject::rivals::fastmcp(&folder, &direct),
                SubjectName::Axiom => {
                    let upstream = Upstream::Http(format!("http://{}/mcp", direct.address));
                    subject::axiom(&folder, &setup.axiom, &upstream)
                }
            };
            match started {
                Ok(subject) => others.push(subject),
                Err(error) => report::say(&format!("left out: {error:#}")),
            }
        }
        let direct = self.subjects.contains(&SubjectName::Direct).then_some(&direct);
        let subjects = direct.into_iter().chain(&others);
        let cases: Vec<Case> = subjects
            .map(|subject| {
                let dialect = subject.dialect(self.shape.modern);
                Case {
                    label: subject.name,
                    plan: self.shape.plan(subject.address, dialect, subject.pids()),
                }
            })
            .collect();
        let outcomes = rounds::run(&cases, self.rounds)?;
        let title = format!("{:?}, {} connections", self.shape.work, self.shape.connections);
        report::line(&report::table(&title, &outcomes, "nginx"));
        Ok(ExitCode::SUCCESS)
    }
}

impl Load {
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let (address, path) =
            subject::parse_url(&self.url).context("the URL must be http://ADDRESS:PORT/PATH")?;
        let dialect = Dialect {
            modern: self.shape.modern,
            path,
            prefix: self.prefix.clone(),
        };
        let pids = self.pid.map(process::tree).unwrap_or_default();
        let figures = Figures::of(&load::run(&self.shape.plan(address, dialect, pids))?);
        if self.json {
            report::json_line(&figures);
        } else {
            let outcome = Outcome {
                label: "load",
                rounds: vec![figures],
            };
            report::line(&report::table(&self.url, &[outcome], "load"));
        }
        Ok(if figures.errors == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}
