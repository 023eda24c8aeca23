//! The options, made ready for use: which endpoint shows which servers under which names.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::hub::Hub;
use crate::merge::Group;
use crate::options::{Options, ServerOptions};
use crate::record::Recorder;
use crate::seal::Sealer;
use crate::upstream::Upstream;

/// What the gateway works by until the next reload.
#[derive(Debug)]
pub(crate) struct Plan {
    pub options: Options,
    pub upstreams: BTreeMap<String, Arc<Upstream>>,
    endpoints: HashMap<String, Arc<Endpoint>>,
}

/// One place where clients connect.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// The Streamable HTTP path, which also names the endpoint: `/mcp`, `/s/<server>/mcp`, `/v/<view>/mcp`.
    pub path: Arc<str>,
    pub scope: Scope,
}

/// What an endpoint shows.
#[derive(Debug)]
pub(crate) enum Scope {
    /// One server, nothing renamed.
    One(Arc<Upstream>),
    /// Several, in one list.
    Group(Group),
}

/// The endpoint of all servers.
pub(crate) const ALL_PATH: &str = "/mcp";

impl Plan {
    /// A plan that keeps the upstreams of `old` whose options did not change.
    pub(crate) fn new(
        options: Options,
        old: Option<&Plan>,
        hub: &Arc<Hub>,
        recorder: &Recorder,
        sealer: &Arc<Sealer>,
        runtime: &Handle,
    ) -> Plan {
        let upstreams: BTreeMap<String, Arc<Upstream>> = options
            .servers
            .iter()
            .map(|(name, server)| {
                let upstream = old
                    .and_then(|old| old.kept(name, server))
                    .unwrap_or_else(|| new_upstream(name, server, &options, hub, recorder, sealer, runtime));
                (name.clone(), upstream)
            })
            .collect();
        let mut endpoints = HashMap::new();
        let mut add = |path: String, scope: Scope| {
            let endpoint = Endpoint {
                path: path.as_str().into(),
                scope,
            };
            endpoints.insert(path, Arc::new(endpoint));
        };
        let members: Vec<Arc<Upstream>> = upstreams.values().cloned().collect();
        add(
            ALL_PATH.to_owned(),
            Scope::Group(Group::new(members.clone(), options.prefix, None)),
        );
        for (name, upstream) in &upstreams {
            add(format!("/s/{name}/mcp"), Scope::One(Arc::clone(upstream)));
        }
        for (name, view) in &options.views {
            let group = Group::new(members.clone(), options.prefix, Some(view.clone()));
            add(format!("/v/{name}/mcp"), Scope::Group(group));
        }
        Plan {
            options,
            upstreams,
            endpoints,
        }
    }

    fn kept(&self, name: &str, options: &ServerOptions) -> Option<Arc<Upstream>> {
        self.upstreams
            .get(name)
            .filter(|upstream| upstream.options == *options)
            .cloned()
    }

    pub(crate) fn endpoint(&self, path: &str) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(path)
    }

    /// Upstreams that `newer` no longer has, or has with other options.
    pub(crate) fn gone_in<'a>(&'a self, newer: &'a Plan) -> impl Iterator<Item = &'a Arc<Upstream>> {
        self.upstreams.values().filter(|old| {
            newer
                .upstreams
                .get(&*old.name)
                .is_none_or(|new| !Arc::ptr_eq(old, new))
        })
    }

    /// True if names or views changed, so that lists differ although no server does.
    pub(crate) fn shows_otherwise_than(&self, old: &Plan) -> bool {
        self.options.prefix != old.options.prefix || self.options.views != old.options.views
    }

    /// Forgets merged lists that are out of date.
    pub(crate) fn sweep(&self) {
        for endpoint in self.endpoints.values() {
            if let Scope::Group(group) = &endpoint.scope {
                group.sweep();
            }
        }
    }

    pub(crate) fn shows(&self, endpoint: &str, server: &str) -> bool {
        self.endpoint(endpoint)
            .is_some_and(|endpoint| match &endpoint.scope {
                Scope::One(upstream) => &*upstream.name == server,
                Scope::Group(group) => group.members.iter().any(|member| &*member.name == server),
            })
    }
}

fn new_upstream(
    name: &str,
    server: &ServerOptions,
    options: &Options,
    hub: &Arc<Hub>,
    recorder: &Recorder,
    sealer: &Arc<Sealer>,
    runtime: &Handle,
) -> Arc<Upstream> {
    Upstream::new(
        name,
        server.clone(),
        options.limits.clone(),
        Arc::clone(hub),
        recorder.clone(),
        Arc::clone(sealer),
        runtime.clone(),
    )
}
