//! Every mistake that a configuration can have, as a person sees it.

use insta::assert_snapshot;

use crate::session::Scratch;

/// `axiom config check` on this text.
fn check(name: &str, text: &str) -> String {
    Scratch::with(name, "axiom.toml", text).run(&["config", "check"])
}

fn check_json(name: &str, text: &str) -> String {
    Scratch::with(name, "axiom.json", text).run(&["config", "check"])
}

#[test]
fn a_good_file() {
    let text = r#"
[gateway]
listen = "localhost:0"
[servers.files]
command = ["files", "${env:HOME}"]
[servers.old]
url = "http://127.0.0.1:1/mcp"
disabled = true
[views.readonly]
include = ["files.read_*", "old.*"]
"#;
    assert_snapshot!(check("good", text), @r#"
    exit 0
    --- stderr
    axiom.toml is fine: servers 1 (1 disabled), views 1
    "#);
}

#[test]
fn all_mistakes_at_once() {
    let text = r#"
[gateway]
lisen = "127.0.0.1:3000"
prefix = "allways"

[servers.files]
command = "npx -y server"
timeout = "5s"

[servers.remote]
url = "ftp://example.com"
"#;
    assert_snapshot!(check("all", text), @r#"
    exit 1
    --- stderr
      × unknown key `lisen` in `gateway`
       ╭─[axiom.toml:3:1]
     2 │ [gateway]
     3 │ lisen = "127.0.0.1:3000"
       · ──┬──
       ·   ╰── not a key here
     4 │ prefix = "allways"
       ╰────
      help: did you mean `listen`?

      × `gateway.prefix` must be `always`, `conflict` or `never`
       ╭─[axiom.toml:4:10]
     3 │ lisen = "127.0.0.1:3000"
     4 │ prefix = "allways"
       ·          ────┬────
       ·              ╰── this value
     5 │
       ╰────
      help: did you mean `always`?

      × `servers.files.command` must be an array
       ╭─[axiom.toml:7:11]
     6 │ [servers.files]
     7 │ command = "npx -y server"
       ·           ───────┬───────
       ·                  ╰── this value
     8 │ timeout = "5s"
       ╰────
      help: write the program and each argument on its own: ["npx", "-y", "server"]

      × unknown key `timeout` in `servers.files`
       ╭─[axiom.toml:8:1]
     7 │ command = "npx -y server"
     8 │ timeout = "5s"
       · ───┬───
       ·    ╰── not a key here
     9 │
       ╰────
      help: there are `start_timeout`, `call_timeout` and `idle_timeout`

      × `servers.remote.url` has the scheme `ftp`; it must be http, https, ws or wss
        ╭─[axiom.toml:11:7]
     10 │ [servers.remote]
     11 │ url = "ftp://example.com"
        ·       ─────────┬─────────
        ·                ╰── this value
        ╰────
      help: write it whole, like "https://example.com/mcp"
    error: axiom.toml has 5 errors
    "#);
}

#[test]
fn unknown_keys() {
    assert_snapshot!(check("unknown-top", "[server.x]\ncommand = [\"x\"]\n"), @r#"
    exit 1
    --- stderr
      × unknown key `server` in the file
       ╭─[axiom.toml:1:2]
     1 │ [server.x]
       ·  ───┬──
       ·     ╰── not a key here
     2 │ command = ["x"]
       ╰────
      help: did you mean `servers`?
    error: axiom.toml has 1 error
    "#);
    assert_snapshot!(check("unknown-limit", "[gateway.limits]\nmessage_max = 1\n"), @r#"
    exit 1
    --- stderr
      × unknown key `message_max` in `gateway.limits`
       ╭─[axiom.toml:2:1]
     1 │ [gateway.limits]
     2 │ message_max = 1
       · ─────┬─────
       ·      ╰── not a key here
       ╰────
      help: the keys here are `connections_max`, `message_bytes_max`, `upstream_message_bytes_max`, `depth_max`,
            `replay_bytes_max`, `replay_ttl`, `session_ttl`, `parked_max`, `parked_ttl`, `request_timeout` and
            `drain_timeout`
    error: axiom.toml has 1 error
    "#);
    assert_snapshot!(check("unknown-server", "[servers.x]\ncommand = [\"x\"]\nargs = [\"y\"]\ncolour = 1\n"), @r#"
    exit 1
    --- stderr
      × unknown key `args` in `servers.x`
       ╭─[axiom.toml:3:1]
     2 │ command = ["x"]
     3 │ args = ["y"]
       · ──┬─
       ·   ╰── not a key here
     4 │ colour = 1
       ╰────
      help: arguments are part of `command`: command = ["program", "argument"]

      × unknown key `colour` in `servers.x`
       ╭─[axiom.toml:4:1]
     3 │ args = ["y"]
     4 │ colour = 1
       · ───┬──
       ·    ╰── not a key here
       ╰────
      help: the keys here are `command`, `env`, `cwd`, `url`, `transport`, `headers`, `start_timeout`,
            `call_timeout`, `idle_timeout`, `links_max`, `list_ttl`, `trust_annotations` and `disabled`
    error: axiom.toml has 2 errors
    "#);
    assert_snapshot!(check("unknown-view", "[views.v]\ninclude = []\nexclude = []\n"), @r#"
    exit 1
    --- stderr
      × unknown key `exclude` in `views.v`
       ╭─[axiom.toml:3:1]
     2 │ include = []
     3 │ exclude = []
       · ───┬───
       ·    ╰── not a key here
       ╰────
      help: did you mean `include`?
    error: axiom.toml has 1 error
    "#);
}

#[test]
fn wrong_types() {
    assert_snapshot!(check("type-table", "gateway = 1\nservers = []\nviews = \"x\"\n"), @r#"
    exit 1
    --- stderr
      × `gateway` must be a table
       ╭─[axiom.toml:1:11]
     1 │ gateway = 1
       ·           ┬
       ·           ╰── this is an integer
     2 │ servers = []
       ╰────

      × `servers` must be a table
       ╭─[axiom.toml:2:11]
     1 │ gateway = 1
     2 │ servers = []
       ·           ─┬
       ·            ╰── this is an array
     3 │ views = "x"
       ╰────

      × `views` must be a table
       ╭─[axiom.toml:3:9]
     2 │ servers = []
     3 │ views = "x"
       ·         ─┬─
       ·          ╰── this is a string
       ╰────
    error: axiom.toml has 3 errors
    "#);
    assert_snapshot!(check("type-values", r#"
[gateway]
listen = 3000
prefix = true
allowed_hosts = "example.com"
[gateway.limits]
connections_max = "many"
depth_max = 0
message_bytes_max = "4 bananas"
session_ttl = 30
request_timeout = "0s"
[servers.x]
command = ["x", 1]
env = { A = 1 }
disabled = "yes"
"#), @r#"
    exit 1
    --- stderr
      × `gateway.listen` must be a string
       ╭─[axiom.toml:3:10]
     2 │ [gateway]
     3 │ listen = 3000
       ·          ──┬─
       ·            ╰── this is an integer
     4 │ prefix = true
       ╰────

      × `gateway.prefix` must be a string
       ╭─[axiom.toml:4:10]
     3 │ listen = 3000
     4 │ prefix = true
       ·          ──┬─
       ·            ╰── this is a boolean
     5 │ allowed_hosts = "example.com"
       ╰────

      × `gateway.allowed_hosts` must be an array
       ╭─[axiom.toml:5:17]
     4 │ prefix = true
     5 │ allowed_hosts = "example.com"
       ·                 ──────┬──────
       ·                       ╰── this is a string
     6 │ [gateway.limits]
       ╰────

      × `gateway.limits.connections_max` must be an integer
       ╭─[axiom.toml:7:19]
     6 │ [gateway.limits]
     7 │ connections_max = "many"
       ·                   ───┬──
       ·                      ╰── this is a string
     8 │ depth_max = 0
       ╰────

      × `gateway.limits.depth_max` must be between 1 and 4096
       ╭─[axiom.toml:8:13]
     7 │ connections_max = "many"
     8 │ depth_max = 0
       ·             ┬
       ·             ╰── this value
     9 │ message_bytes_max = "4 bananas"
       ╰────

      × `gateway.limits.message_bytes_max` must be a size
        ╭─[axiom.toml:9:21]
      8 │ depth_max = 0
      9 │ message_bytes_max = "4 bananas"
        ·                     ─────┬─────
        ·                          ╰── this value
     10 │ session_ttl = 30
        ╰────
      help: write a number and a unit: B, kB, MB, GB (of 1000) or KiB, MiB, GiB (of 1024)

      × `gateway.limits.session_ttl` must be a duration
        ╭─[axiom.toml:10:15]
      9 │ message_bytes_max = "4 bananas"
     10 │ session_ttl = 30
        ·               ─┬
        ·                ╰── this value
     11 │ request_timeout = "0s"
        ╰────
      help: which unit? For seconds write "30s"

      × `gateway.limits.request_timeout` must be longer than zero
        ╭─[axiom.toml:11:19]
     10 │ session_ttl = 30
     11 │ request_timeout = "0s"
        ·                   ──┬─
        ·                     ╰── this value
     12 │ [servers.x]
        ╰────

      × `servers.x.command` must be a string
        ╭─[axiom.toml:13:17]
     12 │ [servers.x]
     13 │ command = ["x", 1]
        ·                 ┬
        ·                 ╰── this is an integer
     14 │ env = { A = 1 }
        ╰────

      × `servers.x.env.A` must be a string
        ╭─[axiom.toml:14:13]
     13 │ command = ["x", 1]
     14 │ env = { A = 1 }
        ·             ┬
        ·             ╰── this is an integer
     15 │ disabled = "yes"
        ╰────

      × `servers.x.disabled` must be true or false
        ╭─[axiom.toml:15:12]
     14 │ env = { A = 1 }
     15 │ disabled = "yes"
        ·            ──┬──
        ·              ╰── this is a string
        ╰────
    error: axiom.toml has 11 errors
    "#);
}

#[test]
fn servers() {
    assert_snapshot!(check("both", "[servers.x]\ncommand = [\"x\"]\nurl = \"http://h/\"\n"), @r#"
    exit 1
    --- stderr
      × `servers.x` has both `command` and `url`
       ╭─[axiom.toml:3:1]
     2 │ command = ["x"]
     3 │ url = "http://h/"
       · ─┬─
       ·  ╰── one too many
       ╰────
      help: a server is either started by its `command` or reached at its `url`
    error: axiom.toml has 1 error
    "#);
    assert_snapshot!(check("neither", "[servers.x]\n"), @r#"
    exit 1
    --- stderr
      × `servers.x` says neither how to start the server nor where it is
       ╭─[axiom.toml:1:10]
     1 │ [servers.x]
       ·          ┬
       ·          ╰── no `command`, no `url`
       ╰────
      help: add command = ["program", "argument"] or url = "http://host/mcp"
    error: axiom.toml has 1 error
    "#);
    assert_snapshot!(check("empty", "[servers.x]\ncommand = []\n"), @r#"
    exit 1
    --- stderr
      × `servers.x.command` is empty
       ╭─[axiom.toml:2:11]
     1 │ [servers.x]
     2 │ command = []
       ·           ─┬
       ·            ╰── this value
       ╰────
      help: the first item is the program: command = ["npx", "-y", "some-server"]
    error: axiom.toml has 1 error
    "#);
    assert_snapshot!(check("misplaced", r#"
[servers.x]
command = ["x"]
headers = { A = "b" }
[servers.y]
url = "http://h/"
env = { A = "b" }
"#), @r#"
    exit 1
    --- stderr
      × `servers.x.headers` only goes with `url`
       ╭─[axiom.toml:4:1]
     3 │ command = ["x"]
     4 │ headers = { A = "b" }
       · ───┬───
       ·    ╰── means nothing here
     5 │ [servers.y]
       ╰────

      × `servers.y.env` only goes with `command`
       ╭─[axiom.toml:7:1]
     6 │ url = "http://h/"
     7 │ env = { A = "b" }
       · ─┬─
       ·  ╰── means nothing here
       ╰────
    error: axiom.toml has 2 errors
    "#);
    assert_snapshot!(check("urls", r#"
[servers.a]
url = "example.com/mcp"
[servers.b]
url = "http://"
[servers.c]
url = "http://h/"
transport = "ws"
[servers.d]
url = "ws://h/"
transport = "streamable-http"
[servers.e]
url = "http://h/"
headers = { "bad name" = "x", Good = "line\nbreak" }
"#), @r#"
    exit 1
    --- stderr
      × `servers.a.url` is not a URL: relative URL without a base
       ╭─[axiom.toml:3:7]
     2 │ [servers.a]
     3 │ url = "example.com/mcp"
       ·       ────────┬────────
       ·               ╰── this value
     4 │ [servers.b]
       ╰────
      help: write it whole, like "https://example.com/mcp"

      × `servers.b.url` is not a URL: empty host
       ╭─[axiom.toml:5:7]
     4 │ [servers.b]
     5 │ url = "http://"
       ·       ────┬────
       ·           ╰── this value
     6 │ [servers.c]
       ╰────
      help: write it whole, like "https://example.com/mcp"

      × `servers.c.transport` and `servers.c.url` contradict each other
       ╭─[axiom.toml:8:13]
     7 │ url = "http://h/"
     8 │ transport = "ws"
       ·             ──┬─
       ·               ╰── the url is http://
     9 │ [servers.d]
       ╰────
      help: ws:// and wss:// go with "ws"; http:// and https:// with "http" or "sse"

      × `servers.d.transport` must be `http`, `sse` or `ws`
        ╭─[axiom.toml:11:13]
     10 │ url = "ws://h/"
     11 │ transport = "streamable-http"
        ·             ────────┬────────
        ·                     ╰── this value
     12 │ [servers.e]
        ╰────
      help: write "http"

      × `bad name` cannot be the name of a header
        ╭─[axiom.toml:14:13]
     13 │ url = "http://h/"
     14 │ headers = { "bad name" = "x", Good = "line\nbreak" }
        ·             ─────┬────
        ·                  ╰── letters, digits and `-`
        ╰────

      × `servers.e.headers.Good` has a character that no header may have
        ╭─[axiom.toml:14:38]
     13 │ url = "http://h/"
     14 │ headers = { "bad name" = "x", Good = "line\nbreak" }
        ·                                      ──────┬──────
        ·                                            ╰── this value
        ╰────
    error: axiom.toml has 6 errors
    "#);
    assert_snapshot!(check("names", r#"
[servers.a__b]
command = ["x"]
[servers."with space"]
command = ["x"]
[servers.abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz]
command = ["x"]
"#), @r#"
    exit 1
    --- stderr
      × `a__b` cannot be the name of a server
       ╭─[axiom.toml:2:10]
     1 │
     2 │ [servers.a__b]
       ·          ──┬─
       ·            ╰── `__` separates server and tool
     3 │ command = ["x"]
       ╰────
      help: a name has 1 to 32 letters, digits, `_` and `-`, and no `__`

      × `with space` cannot be the name of a server
       ╭─[axiom.toml:4:10]
     3 │ command = ["x"]
     4 │ [servers."with space"]
       ·          ──────┬─────
       ·                ╰── only letters, digits, `_` and `-`
     5 │ command = ["x"]
       ╰────
      help: a name has 1 to 32 letters, digits, `_` and `-`, and no `__`

      × `abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz` cannot be the name of a server
       ╭─[axiom.toml:6:10]
     5 │ command = ["x"]
     6 │ [servers.abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz]
       ·          ──────────────────────────┬─────────────────────────
       ·                                    ╰── longer than 32 characters
     7 │ command = ["x"]
       ╰────
      help: a name has 1 to 32 letters, digits, `_` and `-`, and no `__`
    error: axiom.toml has 3 errors
    "#);
}

#[test]
fn environment() {
    assert_snapshot!(check("env", r#"
[servers.x]
command = ["x", "--key=${env:MISSING}", "${env:ALSO_MISSING:-fine}", "$${env:LITERAL}"]
env = { TOKEN = "${env:TOKEN}", BAD = "${env:not a name}", OPEN = "${env:HOME" }
"#), @r#"
    exit 1
    --- stderr
      × `servers.x.command` needs the environment variable MISSING, which is not set
       ╭─[axiom.toml:3:24]
     2 │ [servers.x]
     3 │ command = ["x", "--key=${env:MISSING}", "${env:ALSO_MISSING:-fine}", "$${env:LITERAL}"]
       ·                        ───────┬──────
       ·                               ╰── not set
     4 │ env = { TOKEN = "${env:TOKEN}", BAD = "${env:not a name}", OPEN = "${env:HOME" }
       ╰────
      help: export MISSING=..., or give a default: ${env:MISSING:-default}

      × `servers.x.env.TOKEN` needs the environment variable TOKEN, which is not set
       ╭─[axiom.toml:4:18]
     3 │ command = ["x", "--key=${env:MISSING}", "${env:ALSO_MISSING:-fine}", "$${env:LITERAL}"]
     4 │ env = { TOKEN = "${env:TOKEN}", BAD = "${env:not a name}", OPEN = "${env:HOME" }
       ·                  ──────┬─────
       ·                        ╰── not set
       ╰────
      help: export TOKEN=..., or give a default: ${env:TOKEN:-default}

      × `servers.x.env.BAD` asks for `not a name`, which cannot be a variable's name
       ╭─[axiom.toml:4:40]
     3 │ command = ["x", "--key=${env:MISSING}", "${env:ALSO_MISSING:-fine}", "$${env:LITERAL}"]
     4 │ env = { TOKEN = "${env:TOKEN}", BAD = "${env:not a name}", OPEN = "${env:HOME" }
       ·                                        ────────┬────────
       ·                                                ╰── not a name
       ╰────
      help: names have letters, digits and `_`

      × `servers.x.env.OPEN` has an unclosed `${env:`
       ╭─[axiom.toml:4:68]
     3 │ command = ["x", "--key=${env:MISSING}", "${env:ALSO_MISSING:-fine}", "$${env:LITERAL}"]
     4 │ env = { TOKEN = "${env:TOKEN}", BAD = "${env:not a name}", OPEN = "${env:HOME" }
       ·                                                                    ─────┬────
       ·                                                                         ╰── no `}` follows
       ╰────
      help: write ${env:NAME}; for the literal text write $${env:
    error: axiom.toml has 4 errors
    "#);
}

#[test]
fn views() {
    assert_snapshot!(check("views", r#"
[servers.files]
command = ["x"]
[views.a]
include = ["file.read", "files"]
rename = { "files.a" = "same", "files.b" = "same", "nope" = "x" }
[views.b]
"#), @r#"
    exit 1
    --- stderr
      ⚠ no server is called `file`
       ╭─[axiom.toml:5:12]
     4 │ [views.a]
     5 │ include = ["file.read", "files"]
       ·            ─────┬─────
       ·                 ╰── matches nothing
     6 │ rename = { "files.a" = "same", "files.b" = "same", "nope" = "x" }
       ╰────
      help: did you mean `files`?

      × `views.a.include` must hold patterns like `server.name`
       ╭─[axiom.toml:5:25]
     4 │ [views.a]
     5 │ include = ["file.read", "files"]
       ·                         ───┬───
       ·                            ╰── this value
     6 │ rename = { "files.a" = "same", "files.b" = "same", "nope" = "x" }
       ╰────
      help: write server and name: "files.read_*", or "files.*" for all of a server

      × `views.a.rename` gives the same name twice
       ╭─[axiom.toml:6:44]
     5 │ include = ["file.read", "files"]
     6 │ rename = { "files.a" = "same", "files.b" = "same", "nope" = "x" }
       ·                                            ───┬──
       ·                                               ╰── this value
     7 │ [views.b]
       ╰────

      × `views.a.rename` must have keys like `server.name`
       ╭─[axiom.toml:6:52]
     5 │ include = ["file.read", "files"]
     6 │ rename = { "files.a" = "same", "files.b" = "same", "nope" = "x" }
       ·                                                    ───┬──
       ·                                                       ╰── no server
     7 │ [views.b]
       ╰────

      × `views.b` includes nothing
       ╭─[axiom.toml:7:8]
     6 │ rename = { "files.a" = "same", "files.b" = "same", "nope" = "x" }
     7 │ [views.b]
       ·        ┬
       ·        ╰── no `include`
       ╰────
      help: say what it shows: include = ["server.*"]
    error: axiom.toml has 4 errors and 1 warning
    "#);
}

#[test]
fn the_gateway() {
    assert_snapshot!(check("gateway", r#"
[gateway]
listen = "0.0.0.0:3000"
allowed_hosts = ["https://example.com", "example.com"]
allowed_origins = ["example.com", "https://example.com"]
"#), @r#"
    exit 1
    --- stderr
      ⚠ `gateway.listen` opens 0.0.0.0:3000 to other machines
       ╭─[axiom.toml:3:10]
     2 │ [gateway]
     3 │ listen = "0.0.0.0:3000"
       ·          ───────┬──────
       ·                 ╰── not a loopback address
     4 │ allowed_hosts = ["https://example.com", "example.com"]
       ╰────
      help: clients are not asked who they are: keep to 127.0.0.1, or put a guard in front

      × `gateway.allowed_hosts` must hold host names
       ╭─[axiom.toml:4:18]
     3 │ listen = "0.0.0.0:3000"
     4 │ allowed_hosts = ["https://example.com", "example.com"]
       ·                  ──────────┬──────────
       ·                            ╰── this value
     5 │ allowed_origins = ["example.com", "https://example.com"]
       ╰────
      help: write names without scheme and port, like "mcp.example.com"

      × `gateway.allowed_origins` must hold origins
       ╭─[axiom.toml:5:20]
     4 │ allowed_hosts = ["https://example.com", "example.com"]
     5 │ allowed_origins = ["example.com", "https://example.com"]
       ·                    ──────┬──────
       ·                          ╰── this value
       ╰────
      help: write scheme and host, like "https://app.example.com"
    error: axiom.toml has 2 errors and 1 warning
    "#);
}

#[test]
fn duplicates_and_syntax() {
    assert_snapshot!(check("dup", "[servers.x]\ncommand = [\"x\"]\ncommand = [\"y\"]\n"), @r#"
    exit 1
    --- stderr
      × `command` is set twice
       ╭─[axiom.toml:3:1]
     2 │ command = ["x"]
     3 │ command = ["y"]
       · ───┬───
       ·    ╰── set here again
       ╰────
    error: axiom.toml has 1 error
    "#);
    assert_snapshot!(check("dup-table", "[servers.x]\ncommand = [\"x\"]\n[servers.x]\nurl = \"http://h/\"\n"), @r#"
    exit 1
    --- stderr
      × `x` is set twice
       ╭─[axiom.toml:3:10]
     2 │ command = ["x"]
     3 │ [servers.x]
       ·          ┬
       ·          ╰── set here again
     4 │ url = "http://h/"
       ╰────
    error: axiom.toml has 1 error
    "#);
    let more = "[servers.x]\ncommand = [\"x\"]\ncommand = [\"y\"]\n\"command\" = 1\n[servers.x]\nurl = 1\n[gateway]\nlisen = 1\n";
    assert_snapshot!(check("dup-more", more), @r#"
    exit 1
    --- stderr
      × `command` is set twice
       ╭─[axiom.toml:3:1]
     2 │ command = ["x"]
     3 │ command = ["y"]
       · ───┬───
       ·    ╰── set here again
     4 │ "command" = 1
       ╰────

      × `"command"` is set twice
       ╭─[axiom.toml:4:1]
     3 │ command = ["y"]
     4 │ "command" = 1
       · ────┬────
       ·     ╰── set here again
     5 │ [servers.x]
       ╰────

      × `x` is set twice
       ╭─[axiom.toml:5:10]
     4 │ "command" = 1
     5 │ [servers.x]
       ·          ┬
       ·          ╰── set here again
     6 │ url = 1
       ╰────

      × unknown key `lisen` in `gateway`
       ╭─[axiom.toml:8:1]
     7 │ [gateway]
     8 │ lisen = 1
       · ──┬──
       ·   ╰── not a key here
       ╰────
      help: did you mean `listen`?
    error: axiom.toml has 4 errors
    "#);
    assert_snapshot!(check("syntax", "[servers.x\ncommand = [\"x\"]\n"), @r#"
    exit 1
    --- stderr
      × this is not valid TOML
       ╭─[axiom.toml:1:11]
     1 │ [servers.x
       ·           ▲
       ·           ╰── unclosed table, expected `]`
     2 │ command = ["x"]
       ╰────
    error: axiom.toml has 1 error
    "#);
    assert_snapshot!(check_json("dup-json", "{\n  \"gateway\": {\"listen\": \"127.0.0.1:1\", \"listen\": 2},\n  \"servrs\": {}\n}\n"), @r#"
    exit 1
    --- stderr
      × `listen` is set twice in `gateway`
       ╭─[axiom.json:2:40]
     1 │ {
     2 │   "gateway": {"listen": "127.0.0.1:1", "listen": 2},
       ·                                        ────┬───
       ·                                            ╰── set here again
     3 │   "servrs": {}
       ╰────

      × unknown key `servrs` in the file
       ╭─[axiom.json:3:3]
     2 │   "gateway": {"listen": "127.0.0.1:1", "listen": 2},
     3 │   "servrs": {}
       ·   ────┬───
       ·       ╰── not a key here
     4 │ }
       ╰────
      help: did you mean `servers`?
    error: axiom.json has 2 errors
    "#);
    assert_snapshot!(check_json("syntax-json", "{\n  \"gateway\": {\n"), @r#"
    exit 1
    --- stderr
      × this is not valid JSON
       ╭─[axiom.json:2:14]
     1 │ {
     2 │   "gateway": {
       ·              ─┬
       ·               ╰── unterminated object
       ╰────
    error: axiom.json has 1 error
    "#);
}

#[test]
fn files() {
    let scratch = Scratch::new("files");
    assert_snapshot!(scratch.run(&["config", "check"]), @r#"
    exit 3
    --- stderr
    error: there is no configuration file here
    hint: looked for axiom.toml, axiom.json and .mcp.json; name one with --config
    "#);
    assert_snapshot!(scratch.run(&["config", "check", "--config", "nope.toml"]), @r#"
    exit 3
    --- stderr
    error: there is no file nope.toml
    "#);
    // TOML before JSON before a client's file.
    scratch.write(
        ".mcp.json",
        r#"{"mcpServers": {"a": {"command": "x"}, "b": {"args": []}}}"#,
    );
    assert_snapshot!(scratch.run(&["config", "check"]), @r#"
    exit 1
    --- stderr
      × `servers.b` says neither how to start the server nor where it is
       ╭─[.mcp.json:1:40]
     1 │ {"mcpServers": {"a": {"command": "x"}, "b": {"args": []}}}
       ·                                        ─┬─
       ·                                         ╰── no `command`, no `url`
       ╰────
      help: add command = ["program", "argument"] or url = "http://host/mcp"
    error: .mcp.json has 1 error
    "#);
    scratch.write("axiom.json", r#"{"servers": {}}"#);
    assert_snapshot!(scratch.run(&["config", "check"]), @r#"
    exit 0
    --- stderr
    axiom.json is fine: servers 0, views 0
    "#);
    scratch.write("axiom.toml", "");
    assert_snapshot!(scratch.run(&["config", "check", "--json"]), @r#"
    exit 0
    --- stdout
    {"file":"axiom.toml","problems":[],"valid":true}
    "#);
}

#[test]
fn for_programs() {
    let scratch = Scratch::with(
        "programs",
        "axiom.toml",
        "[gateway]\nprefix = \"é\"\nlisten2 = 1\n",
    );
    assert_snapshot!(scratch.run(&["config", "check", "--json"]), @r#"
    exit 1
    --- stdout
    {"file":"axiom.toml","problems":[{"column":10,"end":23,"help":null,"label":"this value","level":"error","line":2,"message":"`gateway.prefix` must be `always`, `conflict` or `never`","start":19},{"column":1,"end":31,"help":"did you mean `listen`?","label":"not a key here","level":"error","line":3,"message":"unknown key `listen2` in `gateway`","start":24}],"valid":false}
    "#);
}

/// The committed schema is the one that this binary prints.
#[test]
fn the_committed_schema_is_fresh() {
    let scratch = Scratch::new("schema");
    let output = scratch.command(&["config", "schema"]).output().unwrap();
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schema/axiom.schema.json");
    let committed = std::fs::read_to_string(committed).unwrap();
    let hint = "run `cargo run -- config schema > schema/axiom.schema.json`";
    assert!(
        String::from_utf8(output.stdout).unwrap() == committed,
        "the schema is stale: {hint}"
    );
}
