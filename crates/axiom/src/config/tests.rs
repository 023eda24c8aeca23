use proptest::prelude::*;

use super::*;

fn names_of(keys: &serde_json::Value) -> Vec<&str> {
    let mut names: Vec<&str> = keys
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, _)| key.as_str())
        .collect();
    names.sort_unstable();
    names
}

/// The schema and the decoder know the same keys.
#[test]
fn schema_and_decoder_agree() {
    let schema: serde_json::Value = serde_json::from_str(&schema::text()).unwrap();
    let sorted = |keys: &[&'static str]| {
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        keys
    };
    assert_eq!(names_of(&schema["properties"]), sorted(TOP_KEYS));
    for (definition, keys) in [
        ("Gateway", gateway::KEYS),
        ("Limits", gateway::LIMIT_KEYS),
        ("Server", servers::KEYS),
        ("View", views::KEYS),
        ("Events", events::KEYS),
        ("StoreTable", tiers::STORE_KEYS),
        ("Retention", tiers::RETENTION_KEYS),
        ("StayTable", tiers::LIMIT_KEYS),
        ("DeleteTable", tiers::DELETION_KEYS),
        ("Sample", events::SAMPLE_KEYS),
        #[cfg(target_os = "linux")]
        ("Agent", agents::KEYS),
        #[cfg(target_os = "linux")]
        ("Approve", agents::APPROVE_KEYS),
        #[cfg(target_os = "linux")]
        ("AgentLimits", agents::LIMIT_KEYS),
        #[cfg(target_os = "linux")]
        ("Rule", rules::KEYS),
        #[cfg(target_os = "linux")]
        ("Tasks", tasks::KEYS),
        #[cfg(target_os = "linux")]
        ("TaskLimits", tasks::LIMIT_KEYS),
        #[cfg(target_os = "linux")]
        ("Oci", pools::OCI_KEYS),
        #[cfg(target_os = "linux")]
        ("Pool", pools::KEYS),
    ] {
        assert_eq!(
            names_of(&schema["$defs"][definition]["properties"]),
            sorted(keys),
            "{definition}"
        );
    }
}

/// The defaults that the schema tells are the ones that hold.
#[test]
fn schema_tells_the_real_defaults() {
    let schema: serde_json::Value = serde_json::from_str(&schema::text()).unwrap();
    let defaults = |definition: &str| -> String {
        let properties = schema["$defs"][definition]["properties"].as_object().unwrap();
        let told = properties
            .iter()
            .filter_map(|(key, value)| Some(format!("{key} = {}\n", value.get("default")?)));
        told.collect()
    };
    let text = format!(
        "[gateway]\n{}[gateway.limits]\n{}[servers.x]\ncommand = [\"x\"]\n{}[events]\ndir = \"e\"\n{}[events.sample]\n{}",
        defaults("Gateway"),
        defaults("Limits"),
        defaults("Server"),
        defaults("Events"),
        defaults("Sample"),
    );
    let tasks = |lines: &str| match cfg!(target_os = "linux") {
        true => format!("\n[tasks]\ndir = \"t\"\n{lines}"),
        false => String::new(),
    };
    let text = text + &tasks(&defaults("Tasks"));
    let told = decode(&text, Format::Toml, &|_| None)
        .config
        .unwrap_or_else(|| panic!("{text}"));
    let silent = "[servers.x]\ncommand = [\"x\"]\n[events]\ndir = \"e\"".to_owned() + &tasks("");
    let silent = decode(&silent, Format::Toml, &|_| None).config.unwrap();
    assert_eq!(format!("{told:?}"), format!("{silent:?}"));
}

/// What a limit means does not depend on what else is written: only `delete` deletes.
#[test]
fn events_are_deleted_only_where_delete_says_so() {
    let tiers = |lines: &str| {
        let text = format!("[servers.x]\ncommand = [\"x\"]\n[events]\ndir = \"e\"\n{lines}");
        let decoded = decode(&text, Format::Toml, &|_| None);
        let messages: Vec<String> = decoded
            .problems
            .into_iter()
            .map(|problem| format!("{}; {}", problem.message, problem.help.unwrap_or_default()))
            .collect();
        (decoded.config.map(|config| config.tiers), messages.join("\n"))
    };
    let days = |days: u64| Some(std::time::Duration::from_secs(days * 86_400));
    let (with, told) = tiers("store = \"file:///a\"\n[events.retention]\nwarm = \"3d\"");
    assert_eq!(told, "");
    let retention = with.unwrap().retention;
    assert_eq!(retention.warm.age, days(3));
    assert_eq!(retention.delete, axiom_tiers::Deletion::default());
    // The same without the store: a warning, and nothing is deleted.
    let (without, told) = tiers("[events.retention]\nwarm = \"3d\"");
    assert!(
        told.contains("and there is none") && told.contains("`delete`"),
        "{told}"
    );
    assert_eq!(
        without.unwrap().retention.delete,
        axiom_tiers::Deletion::default()
    );

    let (short, told) = tiers("[events.retention]\ndelete = \"30d\"");
    assert_eq!(
        (short.unwrap().retention.delete.age, told.as_str()),
        (days(30), "")
    );
    let (long, told) =
        tiers("[events.retention.delete]\nage = \"30d\"\nbytes = \"1GiB\"\ntenants = { acme = \"7d\" }");
    assert_eq!(told, "");
    let delete = long.unwrap().retention.delete;
    assert_eq!((delete.age, delete.bytes), (days(30), Some(1 << 30)));
    assert_eq!(delete.tenants.get("acme").copied(), days(7));
    for (line, place) in [("cold = \"365d\"", "cold"), ("tenants = {}", "tenants")] {
        let (none, told) = tiers(&format!("[events.retention]\n{line}"));
        assert!(none.is_none());
        assert!(
            told.contains(&format!("unknown key `{place}`")) && told.contains("`delete`"),
            "{told}"
        );
    }
}

#[test]
fn sampling_is_as_it_is_written() {
    let sample = |lines: &str| {
        let text = format!("[servers.x]\ncommand = [\"x\"]\n[events]\ndir = \"e\"\n[events.sample]\n{lines}");
        let decoded = decode(&text, Format::Toml, &|_| None);
        let events = decoded.config.and_then(|config| config.options.events);
        events.map(|events| events.sample).ok_or_else(|| {
            let messages = decoded.problems.into_iter().map(|problem| problem.message);
            messages.collect::<Vec<_>>().join("; ")
        })
    };
    let policy = sample(
        "kinds = [\"a.*\"]\nkeep = []\nfirst = 0\nwindow = \"2m\"\nbefore_error = 0\nmemory = \"1MiB\"",
    )
    .unwrap();
    assert!(policy.samples_kind("a.b") && !policy.samples_kind("b"));
    assert_eq!(
        (policy.first, policy.before_error, policy.bytes_max),
        (0, 0, 1 << 20)
    );
    assert_eq!(policy.window, std::time::Duration::from_secs(120));
    assert_eq!(policy.after_error, 20);
    let refused = [
        (
            "kinds = [\"a*b\"]",
            "`events.sample.kinds` has a pattern that fits nothing",
        ),
        (
            "first = -1",
            "`events.sample.first` must be between 0 and 1000000",
        ),
        (
            "before_error = 1001",
            "`events.sample.before_error` must be between 0 and 1000",
        ),
        ("floor = \"0s\"", "`events.sample.floor` must be longer than zero"),
        (
            "memory = \"1GiB\"",
            "`events.sample.memory` must be between 256KiB and 32MiB",
        ),
        ("frist = 1", "unknown key `frist` in `events.sample`"),
    ];
    for (line, message) in refused {
        assert_eq!(sample(line).unwrap_err(), message);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn tasks_are_as_they_are_written() {
    use axiom_sandbox::limits::Limits;
    use axiom_sandbox::spec::Executor;
    let tasks = |text: &str| {
        let decoded = decode(text, Format::Toml, &|_| None);
        let errors = decoded.problems.into_iter().filter(Problem::is_error);
        let told: Vec<String> = errors.map(|problem| problem.message).collect();
        (decoded.config.and_then(|config| config.tasks), told.join("; "))
    };
    let (none, told) = tasks("[servers.tasks]\ncommand = [\"x\"]");
    assert_eq!((none, told.as_str()), (None, ""));
    let (usual, told) = tasks("[tasks]\ndir = \"t\"");
    assert_eq!(told, "");
    let usual = usual.unwrap();
    assert_eq!(
        (usual.executor, usual.mcp, usual.share),
        (Executor::Sandbox, true, false)
    );
    let (full, told) = tasks(
        "[tasks]\ndir = \"t\"\nmemory = \"8GiB\"\nrecord = \"ends\"\nroots = [\"/work\"]\nenv = [\"PATH\"]\nkeep = \"1h\"\nwarm = 4
         [tasks.limits]\nmemory = \"256MiB\"\ncpu = 1.5\npids = 64\nwall = \"10m\"\noutput = 1000\nfiles = 64\ndisk = \"2MiB\"\ndisk_io = \"1MB\"",
    );
    assert_eq!(told, "");
    let full = full.unwrap();
    assert_eq!((full.memory_bytes, full.records_lines), (Some(8 << 30), false));
    assert_eq!((usual.warm, full.warm), (0, 4));
    let limits = Limits {
        memory_bytes: Some(256 << 20),
        cpu_millis: Some(1500),
        pids: Some(64),
        wall: Some(std::time::Duration::from_secs(600)),
        disk_bytes: Some(2 << 20),
        unattended: None,
        disk_io_bytes_s: Some(1_000_000),
        open_files: Some(64),
        output_bytes: Some(1000),
    };
    assert_eq!((full.limits, usual.limits), (Some(limits), None));
    let open = "[gateway]\nlisten = \"0.0.0.0:3000\"\n";
    let (shared, told) = tasks(&format!("{open}[tasks]\ndir = \"t\"\nshare = true"));
    assert!(shared.is_some() && told.is_empty(), "{told}");
    for (text, words) in [
        ("[tasks]", "`tasks` needs `dir`"),
        ("[tasks]\ndir = \"\"", "`tasks.dir` must be the path of a folder"),
        (
            "[tasks]\ndir = \"t\"\nexecutor = \"docker\"",
            "`tasks.executor` must be `sandbox`, `process` or `oci`",
        ),
        (
            "[tasks]\ndir = \"t\"\nwarm = 65",
            "`tasks.warm` must be between 1 and 64",
        ),
        (
            "[tasks]\ndir = \"t\"\nrunning_max = 0",
            "`tasks.running_max` must be between 1 and 4096",
        ),
        (
            "[tasks]\ndir = \"t\"\nenv = [\"A=B\"]",
            "`tasks.env` must hold names of variables",
        ),
        (
            "[tasks]\ndir = \"t\"\n[tasks.oci]\nruntime = \"\"",
            "`tasks.oci.runtime` names no program",
        ),
        (
            "[tasks]\ndir = \"t\"\n[tasks.pools.a]\nsize = 2",
            "`tasks.pools.a` does not say what it holds",
        ),
        (
            "[tasks]\ndir = \"t\"\n[tasks.pools.a]\nkind = \"lines\"",
            "`tasks.pools.a` does not say what answers its requests",
        ),
        (
            "[tasks]\ndir = \"t\"\n[tasks.pools.a]\nkind = \"pyhton\"",
            "`tasks.pools.a.kind` must be one of `python`, `lines` and `smt`",
        ),
        (
            "[tasks]\ndir = \"t\"\n[tasks.pools.oci]\nkind = \"smt\"",
            "`tasks.pools.oci` has the name of an executor",
        ),
        (
            "[tasks]\ndir = \"t\"\n[tasks.pools.a]\nkind = \"python\"\ncommand = [\"python3\", \"-u\"]",
            "`tasks.pools.a.command` must name an interpreter alone",
        ),
        (
            "[tasks]\ndir = \"t\"\n[tasks.pools.a]\nkind = \"smt\"\npreload = [\"x\"]",
            "`tasks.pools.a.preload` means nothing here",
        ),
        (
            "[tasks]\ndir = \"t\"\n[tasks.pools.a]\nkind = \"smt\"\nexecutor = \"process\"\nlimits = { pids = 3 }",
            "`tasks.pools.a.limits.pids` cannot be kept by the executor `process`",
        ),
        (
            "[tasks]\ndir = \"t\"\n[tasks.pools.a]\nkind = \"smt\"\nexecutor = \"process\"\nread = [\"x\"]",
            "`tasks.pools.a` opens a sandbox and has none",
        ),
        (
            "[tasks]\ndir = \"t\"\nexecutor = \"oci\"\n[tasks.limits]\ndisk_io = 1000",
            "`tasks.limits.disk_io` cannot be kept by the executor `oci`",
        ),
        (
            "[tasks]\ndir = \"t\"\nroots = []",
            "`tasks.roots` must name a folder",
        ),
        (
            "[tasks]\ndir = \"t\"\nrecord = \"all\"",
            "`tasks.record` must be `lines` or `ends`",
        ),
        (
            "[tasks]\ndir = \"t\"\n[tasks.limits]\ncpu = 0",
            "`tasks.limits.cpu` must be a number of CPUs",
        ),
        (
            "[tasks]\ndir = \"t\"\n[tasks.limits]\nmemroy = 1",
            "unknown key `memroy` in `tasks.limits`",
        ),
        (
            "[tasks]\ndir = \"t\"\nexecutor = \"process\"\n[tasks.limits]\npids = 3",
            "`tasks.limits.pids` cannot be kept by the executor `process`",
        ),
        (
            "[servers.tasks]\ncommand = [\"x\"]\n[tasks]\ndir = \"t\"",
            "`servers.tasks` has the name of the server that `tasks.mcp` adds",
        ),
        (
            "[gateway]\nlisten = \"0.0.0.0:3000\"\n[tasks]\ndir = \"t\"",
            "`tasks` would let whoever reaches `gateway.listen` start commands on this machine",
        ),
    ] {
        let (config, told) = tasks(text);
        assert_eq!((config, told.as_str()), (None, words), "{text}");
    }
    let (kept, told) = tasks("[servers.tasks]\ncommand = [\"x\"]\n[tasks]\ndir = \"t\"\nmcp = false");
    assert!(kept.is_some() && told.is_empty(), "{told}");
}

#[test]
fn both_formats_mean_the_same() {
    let toml = r#"
        [gateway]
        listen = "127.0.0.1:0"
        prefix = "conflict"
        limits = { message_bytes_max = "1MiB", drain_timeout = "3s" }
        [servers.files]
        command = ["npx", "${env:PACKAGE}"]
        env = { TOKEN = "${env:TOKEN:-none}" }
        [servers.remote]
        url = "https://example.com/mcp"
        headers = { Authorization = "Bearer x" }
        [servers.socket]
        url = "wss://example.com/ws"
        [views.readonly]
        include = ["files.read_*", "remote.*"]
        rename = { "files.read_file" = "read" }
    "#;
    let json = r#"{
        // Comments are fine.
        "gateway": {"listen": "127.0.0.1:0", "prefix": "conflict",
                    "limits": {"message_bytes_max": 1048576, "drain_timeout": "3s"}},
        "servers": {
            "files": {"command": ["npx", "${env:PACKAGE}"], "env": {"TOKEN": "${env:TOKEN:-none}"}},
            "remote": {"url": "https://example.com/mcp", "headers": {"Authorization": "Bearer x"}},
            "socket": {"url": "wss://example.com/ws", "transport": "ws"},
        },
        "views": {"readonly": {"include": ["files.read_*", "remote.*"], "rename": {"files.read_file": "read"}}}
    }"#;
    let environment = |name: &str| (name == "PACKAGE").then(|| "pkg".to_owned());
    let [toml, json] = [(toml, Format::Toml), (json, Format::Json)].map(|(text, format)| {
        let decoded = decode(text, format, &environment);
        assert_eq!(decoded.problems, []);
        decoded.config.unwrap().options
    });
    assert_eq!(toml.servers, json.servers);
    assert_eq!(toml.views, json.views);
    assert_eq!(toml.limits, json.limits);
    assert_eq!(format!("{toml:?}"), format!("{json:?}"));
}

proptest! {
    /// Whatever the text, the decoder answers; it never panics, and never gives both nothing and no reason.
    #[test]
    fn no_text_breaks_the_decoder(text in text_like_ours()) {
        for format in [Format::Toml, Format::Json] {
            let decoded = decode(&text, format, &|_| None);
            prop_assert_eq!(decoded.config.is_none(), decoded.problems.iter().any(Problem::is_error));
            let drawn = render(&decoded.problems, "axiom.toml", &text, Look::Plain);
            prop_assert_eq!(drawn.is_empty(), decoded.problems.is_empty());
            every_problem_has_a_place(&decoded.problems, &text)?;
            let listen = listen_of(&text, format, &|_| None);
            if let Some(config) = decoded.config {
                prop_assert_eq!(listen, Some(config.options.listen));
            }
        }
    }

    #[test]
    fn no_bytes_break_the_decoder(text in any::<String>()) {
        for format in [Format::Toml, Format::Json] {
            let decoded = decode(&text, format, &|_| None);
            render(&decoded.problems, "axiom.toml", &text, Look::Plain);
            every_problem_has_a_place(&decoded.problems, &text)?;
        }
    }

    /// What is torn out of a good file or put into it: most of it is still read, the rest is refused at its place.
    #[test]
    fn a_damaged_file_is_refused_at_its_place(
        text in text_like_ours(),
        at in any::<prop::sample::Index>(),
        torn in 0..8_usize,
        put in "[\\[\\]{}\"'=.,#$\n\u{e9}\u{1f980}\u{0}a]{0,4}",
    ) {
        let characters: Vec<char> = text.chars().collect();
        let at = at.index(characters.len() + 1);
        let end = (at + torn).min(characters.len());
        let text: String = characters[..at].iter().copied().chain(put.chars()).chain(characters[end..].iter().copied()).collect();
        for format in [Format::Toml, Format::Json] {
            let decoded = decode(&text, format, &|_| None);
            prop_assert_eq!(decoded.config.is_none(), decoded.problems.iter().any(Problem::is_error));
            every_problem_has_a_place(&decoded.problems, &text)?;
            listen_of(&text, format, &|_| None);
        }
    }
}

fn every_problem_has_a_place(problems: &[Problem], text: &str) -> Result<(), TestCaseError> {
    for problem in problems {
        prop_assert!(
            text.get(problem.span.clone()).is_some(),
            "{:?} in {:?}",
            problem,
            text
        );
    }
    Ok(())
}

/// Lines made of our own words, so that the walk gets past the parser.
fn text_like_ours() -> impl Strategy<Value = String> {
    let headers = prop::sample::select(vec![
        "[gateway]",
        "[gateway.limits]",
        "[servers.a]",
        "[servers.a.env]",
        "[[servers]]",
        "[servers]",
        "[views.v]",
        "[views.\"é é\"]",
        "[servers.a__b]",
        "[mcpServers.x]",
        "{\"servers\": {\"x\": {\"command\": [",
    ]);
    let keys = prop::sample::select(
        [
            gateway::KEYS,
            gateway::LIMIT_KEYS,
            servers::KEYS,
            views::KEYS,
            &["args", "é", "mcpServers", "\"\""],
        ]
        .concat(),
    );
    let values = prop::sample::select(vec![
        "\"\"",
        "\"30s\"",
        "\"4MiB\"",
        "1",
        "0",
        "-1",
        "9223372036854775807",
        "true",
        "1.5",
        "nan",
        "1979-05-27",
        "[]",
        "[1]",
        "[\"a\", \"${env:X}\"]",
        "[\"a.b\", \"*\", \".\"]",
        "{}",
        "{ a = \"${env:\" }",
        "{ \"a.b\" = \"c\" }",
        "\"${env:A:-é}\"",
        "\"http://é/\"",
        "\"ws://h\"",
        "\"sse\"",
        "\"\\u0000\"",
        "'''\n'''",
        "\"${env:}\"",
    ]);
    let line = prop_oneof![
        headers.prop_map(str::to_owned),
        (keys, values).prop_map(|(key, value)| format!("{key} = {value}")),
        Just("}".to_owned()),
    ];
    prop::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}
