//! `axiom import` on one sample file per client.

use insta::assert_snapshot;

use crate::session::Scratch;

/// Imports a sample into an empty folder: what was said, and the file that came out.
fn import(name: &str, file: &str) -> String {
    let scratch = Scratch::new(name);
    scratch.sample(file);
    let said = scratch.run(&["import", file, "--write"]);
    format!(
        "{said}--- axiom.toml\n{}",
        scratch
            .read("axiom.toml")
            .replace(&*scratch.path.to_string_lossy(), "<scratch>")
    )
}

#[test]
fn claude_desktop() {
    assert_snapshot!(import("claude-desktop", "claude_desktop_config.json"), @r#"
    exit 0
    --- stdout
    claude_desktop_config.json (Claude Desktop): 2 servers
      + filesystem
          command   npx -y @modelcontextprotocol/server-filesystem /home/me/Documents '/tmp/with space'
      + github
          command   docker run -i --rm -e GITHUB_PERSONAL_ACCESS_TOKEN github-mcp
          env       GITHUB_PERSONAL_ACCESS_TOKEN
    --- stderr
    wrote 2 servers into axiom.toml
    values left out of the file; set them where axiom starts:
      export GITHUB_PERSONAL_ACCESS_TOKEN=...
    --- axiom.toml
    # The servers behind the Axiom gateway. `axiom config schema` prints every key.

    [servers.filesystem]
    command = ["npx", "-y", "@modelcontextprotocol/server-filesystem", "/home/me/Documents", "/tmp/with space"]

    [servers.github]
    command = ["docker", "run", "-i", "--rm", "-e", "GITHUB_PERSONAL_ACCESS_TOKEN", "github-mcp"]
    env = { GITHUB_PERSONAL_ACCESS_TOKEN = "${env:GITHUB_PERSONAL_ACCESS_TOKEN}" }
    "#);
}

#[test]
fn claude_code() {
    assert_snapshot!(import("claude-code", ".mcp.json"), @r#"
    exit 0
    --- stdout
    .mcp.json (Claude Code): 3 servers
      + api-server
          url       ${env:API_BASE:-https://api.example.com}/mcp
          headers   Authorization
          note      renamed from `api server`
      + events
          url       https://events.example.com/sse
          transport sse
          headers   X-Api-Key
      + db
          command   '${env:HOME}/bin/db-server' --config '${env:DB_CONFIG:-/etc/db.json}'
          env       DB_PORT
    --- stderr
    wrote 3 servers into axiom.toml
    values left out of the file; set them where axiom starts:
      export EVENTS_X_API_KEY=...
    --- axiom.toml
    # The servers behind the Axiom gateway. `axiom config schema` prints every key.

    [servers.api-server]
    url = "${env:API_BASE:-https://api.example.com}/mcp"
    headers = { Authorization = "Bearer ${env:API_KEY}" }

    [servers.events]
    url = "https://events.example.com/sse"
    transport = "sse"
    headers = { X-Api-Key = "${env:EVENTS_X_API_KEY}" }

    [servers.db]
    command = ["${env:HOME}/bin/db-server", "--config", "${env:DB_CONFIG:-/etc/db.json}"]
    env = { DB_PORT = "5432" }
    "#);
}

#[test]
fn cursor() {
    let said = import("cursor", ".cursor/mcp.json");
    // The folder's name is the workspace's, and ours has the process id in it.
    let said = said.replace(&format!("cursor-{}", std::process::id()), "cursor");
    assert_snapshot!(said, @r#"
    exit 0
    --- stdout
    .cursor/mcp.json (Cursor): 2 servers
      + lint
          command   node cursor/lint.js
          note      `envFile` is not imported
      + off
          command   old-server
          disabled  true
    --- stderr
    wrote 2 servers into axiom.toml
    --- axiom.toml
    # The servers behind the Axiom gateway. `axiom config schema` prints every key.

    [servers.lint]
    command = ["node", "cursor/lint.js"]

    [servers.off]
    command = ["old-server"]
    disabled = true
    "#);
}

#[test]
fn vs_code() {
    assert_snapshot!(import("vs-code", ".vscode/mcp.json"), @r#"
    exit 0
    --- stdout
    .vscode/mcp.json (VS Code): 2 servers
      + perplexity
          command   npx -y server-perplexity '--region=${env:REGION:-eu}'
          env       PERPLEXITY_API_KEY
          note      the editor asked for `perplexity-key` (Perplexity API key); it is read from PERPLEXITY_KEY now
      + remote
          url       https://example.com/mcp
    --- stderr
    wrote 2 servers into axiom.toml
    values left out of the file; set them where axiom starts:
      export PERPLEXITY_KEY=...
    --- axiom.toml
    # The servers behind the Axiom gateway. `axiom config schema` prints every key.

    [servers.perplexity]
    command = ["npx", "-y", "server-perplexity", "--region=${env:REGION:-eu}"]
    env = { PERPLEXITY_API_KEY = "${env:PERPLEXITY_KEY}" }

    [servers.remote]
    url = "https://example.com/mcp"
    "#);
}

#[test]
fn windsurf() {
    assert_snapshot!(import("windsurf", "mcp_config.json"), @r#"
    exit 0
    --- stdout
    mcp_config.json (Windsurf): 2 servers
      + figma
          url       https://figma.example.com/mcp
          headers   Authorization
      + memory
          command   npx -y server-memory
          env       MEMORY_FILE
    --- stderr
    wrote 2 servers into axiom.toml
    values left out of the file; set them where axiom starts:
      export FIGMA_TOKEN=...
    --- axiom.toml
    # The servers behind the Axiom gateway. `axiom config schema` prints every key.

    [servers.figma]
    url = "https://figma.example.com/mcp"
    headers = { Authorization = "Bearer ${env:FIGMA_TOKEN}" }

    [servers.memory]
    command = ["npx", "-y", "server-memory"]
    env = { MEMORY_FILE = "/tmp/memory.json" }
    "#);
}

#[test]
fn zed() {
    assert_snapshot!(import("zed", "zed-settings.json"), @r#"
    exit 0
    --- stdout
    zed-settings.json (Zed): 3 servers
      + local
          command   uvx mcp-server-git
      + older
          command   node server.js
          env       DEBUG
      + remote
          url       https://zed.example.com/mcp
      - postgres-context-server  skipped: an extension of the editor starts it, not a command
    --- stderr
    wrote 3 servers into axiom.toml
    --- axiom.toml
    # The servers behind the Axiom gateway. `axiom config schema` prints every key.

    [servers.local]
    command = ["uvx", "mcp-server-git"]

    [servers.older]
    command = ["node", "server.js"]
    env = { DEBUG = "1" }

    [servers.remote]
    url = "https://zed.example.com/mcp"
    "#);
}

#[test]
fn codex() {
    assert_snapshot!(import("codex", "codex-config.toml"), @r#"
    exit 0
    --- stdout
    codex-config.toml (Codex): 2 servers
      + docs
          command   npx -y docs-server
          env       API_KEY, HOME
      + figma
          url       https://mcp.figma.example.com/mcp
          headers   X-Region, Authorization
          disabled  true
    --- stderr
    wrote 2 servers into axiom.toml
    values left out of the file; set them where axiom starts:
      export API_KEY=...
    --- axiom.toml
    # The servers behind the Axiom gateway. `axiom config schema` prints every key.

    [servers.docs]
    command = ["npx", "-y", "docs-server"]
    env = { API_KEY = "${env:API_KEY}", HOME = "${env:HOME}" }
    start_timeout = "20s"
    call_timeout = "45500ms"

    [servers.figma]
    url = "https://mcp.figma.example.com/mcp"
    headers = { X-Region = "eu", Authorization = "Bearer ${env:FIGMA_TOKEN}" }
    disabled = true
    "#);
}

#[test]
fn gemini() {
    assert_snapshot!(import("gemini", ".gemini/settings.json"), @r#"
    exit 0
    --- stdout
    .gemini/settings.json (Gemini CLI): 3 servers
      + pythonTools
          command   python -m my_server --port 8080
          cwd       ./tools
          env       DATABASE_URL, API_KEY
          note      `includeTools` is not imported
      + streams
          url       http://localhost:3000/mcp
          headers   X-Custom
      + events
          url       http://localhost:8081/sse
          transport sse
    --- stderr
    wrote 3 servers into axiom.toml
    --- axiom.toml
    # The servers behind the Axiom gateway. `axiom config schema` prints every key.

    [servers.pythonTools]
    command = ["python", "-m", "my_server", "--port", "8080"]
    env = { DATABASE_URL = "${env:DB_CONNECTION_STRING}", API_KEY = "${env:EXTERNAL_API_KEY}" }
    cwd = "./tools"
    call_timeout = "15s"

    [servers.streams]
    url = "http://localhost:3000/mcp"
    headers = { X-Custom = "v" }

    [servers.events]
    url = "http://localhost:8081/sse"
    transport = "sse"
    "#);
}

#[test]
fn open_code() {
    assert_snapshot!(import("open-code", "opencode.json"), @r#"
    exit 0
    --- stdout
    opencode.json (OpenCode): 2 servers
      + everything
          command   npx -y server-everything
          env       MODE
      + remote
          url       https://open.example.com/mcp
          disabled  true
    --- stderr
    wrote 2 servers into axiom.toml
    --- axiom.toml
    # The servers behind the Axiom gateway. `axiom config schema` prints every key.

    [servers.everything]
    command = ["npx", "-y", "server-everything"]
    env = { MODE = "x" }

    [servers.remote]
    url = "https://open.example.com/mcp"
    disabled = true
    "#);
}

const COMMENTED: &str = r#"# My servers. Do not reorder!
[gateway]
listen = "127.0.0.1:4000"   # not 3000, that is taken

# The first one.
[servers.memory]
command = ["npx", "-y", "server-memory"]     # odd   spacing
env = { MEMORY_FILE = "/tmp/memory.json" }
call_timeout = "1m"

[servers.figma]
url = "https://another.example.com/mcp"

# Views come last.
[views.all]
include = ["*.*"]
# The end.
"#;

#[test]
fn an_existing_file_keeps_its_comments_and_its_servers() {
    let scratch = Scratch::with("keeps", "axiom.toml", COMMENTED);
    scratch.sample("mcp_config.json");
    scratch.sample("claude_desktop_config.json");
    let said = scratch.run(&[
        "import",
        "mcp_config.json",
        "claude_desktop_config.json",
        "--write",
        "--yes",
    ]);
    assert_snapshot!(said, @r#"
    exit 1
    --- stdout
    mcp_config.json (Windsurf): 2 servers
      ! figma  another server has this name; skipped
          url       https://figma.example.com/mcp
          headers   Authorization
      = memory  already there
          command   npx -y server-memory
          env       MEMORY_FILE
    claude_desktop_config.json (Claude Desktop): 2 servers
      + filesystem
          command   npx -y @modelcontextprotocol/server-filesystem /home/me/Documents '/tmp/with space'
      + github
          command   docker run -i --rm -e GITHUB_PERSONAL_ACCESS_TOKEN github-mcp
          env       GITHUB_PERSONAL_ACCESS_TOKEN
    --- stderr
    wrote 2 servers into axiom.toml
    the file before: axiom.toml.bak-1
    values left out of the file; set them where axiom starts:
      export GITHUB_PERSONAL_ACCESS_TOKEN=...
    "#);
    assert_snapshot!(scratch.read("axiom.toml"), @r#"
    # My servers. Do not reorder!
    [gateway]
    listen = "127.0.0.1:4000"   # not 3000, that is taken

    # The first one.
    [servers.memory]
    command = ["npx", "-y", "server-memory"]     # odd   spacing
    env = { MEMORY_FILE = "/tmp/memory.json" }
    call_timeout = "1m"

    [servers.figma]
    url = "https://another.example.com/mcp"

    [servers.filesystem]
    command = ["npx", "-y", "@modelcontextprotocol/server-filesystem", "/home/me/Documents", "/tmp/with space"]

    [servers.github]
    command = ["docker", "run", "-i", "--rm", "-e", "GITHUB_PERSONAL_ACCESS_TOKEN", "github-mcp"]
    env = { GITHUB_PERSONAL_ACCESS_TOKEN = "${env:GITHUB_PERSONAL_ACCESS_TOKEN}" }

    # Views come last.
    [views.all]
    include = ["*.*"]
    # The end.
    "#);
    assert_eq!(scratch.read("axiom.toml.bak-1"), COMMENTED);
}

#[test]
fn a_second_import_changes_nothing() {
    let scratch = Scratch::new("twice");
    scratch.sample(".mcp.json");
    scratch.run(&["import", ".mcp.json", "--write"]);
    let first = scratch.read("axiom.toml");
    assert_snapshot!(scratch.run(&["import", ".mcp.json", "--write"]), @r#"
    exit 0
    --- stdout
    .mcp.json (Claude Code): 3 servers
      = api-server  already there
          url       ${env:API_BASE:-https://api.example.com}/mcp
          headers   Authorization
          note      renamed from `api server`
      = events  already there
          url       https://events.example.com/sse
          transport sse
          headers   X-Api-Key
      = db  already there
          command   '${env:HOME}/bin/db-server' --config '${env:DB_CONFIG:-/etc/db.json}'
          env       DB_PORT
    --- stderr
    nothing new for axiom.toml
    "#);
    assert_eq!(scratch.read("axiom.toml"), first);
    assert!(!scratch.path.join("axiom.toml.bak-1").exists());
}

#[test]
fn without_write_nothing_is_written() {
    let scratch = Scratch::new("preview");
    scratch.sample("mcp_config.json");
    assert_snapshot!(scratch.run(&["import", "mcp_config.json", "--json"]), @r#"
    exit 0
    --- stdout
    {"backup":null,"exports":["FIGMA_TOKEN"],"files":[{"client":"Windsurf","file":"mcp_config.json","servers":[{"disabled":false,"exports":["FIGMA_TOKEN"],"headers":["Authorization"],"name":"figma","notes":[],"original_name":"figma","status":"new","transport":null,"url":"https://figma.example.com/mcp"},{"command":["npx","-y","server-memory"],"cwd":null,"disabled":false,"env":["MEMORY_FILE"],"exports":[],"name":"memory","notes":[],"original_name":"memory","status":"new"}],"skipped":[]}],"into":"axiom.toml","written":false}
    "#);
    assert!(!scratch.path.join("axiom.toml").exists());
}

#[test]
fn secrets_stay_only_when_asked() {
    let scratch = Scratch::new("inline");
    scratch.sample("mcp_config.json");
    scratch.run(&["import", "mcp_config.json", "--write", "--inline-secrets"]);
    assert!(scratch.read("axiom.toml").contains("Bearer figd_secret"));
}

#[test]
fn files_that_are_nothing() {
    let scratch = Scratch::with("nothing", "x.json", "{\"a\": 1, \"b\": 2}");
    scratch.write("broken.json", "{\"mcpServers\": }");
    scratch.write("taken.toml", "servers = 1\n");
    scratch.sample("mcp_config.json");
    assert_snapshot!(scratch.run(&["import", "x.json"]), @r#"
    exit 1
    --- stderr
    error: x.json: no MCP servers in here; its keys are `a`, `b`
    hint: expected `mcpServers`, `servers`, `context_servers`, `mcp_servers` or `mcp`
    "#);
    assert_snapshot!(scratch.run(&["import", "broken.json"]), @r#"
    exit 1
    --- stderr
      × this is not valid JSON
       ╭─[broken.json:1:16]
     1 │ {"mcpServers": }
       ·                ┬
       ·                ╰── unexpected close brace
       ╰────
    error: broken.json cannot be parsed
    "#);
    assert_snapshot!(scratch.run(&["import", "missing.json"]), @r#"
    exit 3
    --- stderr
    error: failed to open file `missing.json`: No such file or directory (os error 2)
    "#);
    assert_snapshot!(scratch.run(&["import", "mcp_config.json", "--into", "axiom.json"]), @r#"
    exit 2
    --- stderr
    error: cannot write into axiom.json
    hint: import writes TOML: name a file that ends in .toml
    "#);
    assert_snapshot!(scratch.run(&["import", "mcp_config.json", "--write", "--into", "taken.toml"]), @r#"
    exit 1
    --- stdout
    mcp_config.json (Windsurf): 2 servers
      + figma
          url       https://figma.example.com/mcp
          headers   Authorization
      + memory
          command   npx -y server-memory
          env       MEMORY_FILE
    --- stderr
    error: nothing was written to taken.toml: `servers` is not a table in the file
    "#);
}

/// A file that is replaced keeps its mode, and a link stays a link.
#[cfg(unix)]
#[test]
fn a_link_and_a_mode_survive() {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = Scratch::with("link", "real/axiom.toml", "# mine\n");
    let real = scratch.path.join("real/axiom.toml");
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink(&real, scratch.path.join("axiom.toml")).unwrap();
    scratch.sample("mcp_config.json");
    scratch.run(&["import", "mcp_config.json", "--write"]);
    assert!(scratch.path.join("axiom.toml").is_symlink());
    assert!(scratch.read("real/axiom.toml").starts_with("# mine\n"));
    assert_eq!(
        std::fs::metadata(&real).unwrap().permissions().mode() & 0o777,
        0o600
    );
}
