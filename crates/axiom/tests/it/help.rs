//! The help texts: a change to them should be seen in review.

use insta::assert_snapshot;

use crate::session::Scratch;

#[test]
fn the_whole() {
    let scratch = Scratch::new("help");
    assert_snapshot!(scratch.run(&["--help"]), @r#"
    exit 0
    --- stdout
    Puts many MCP servers behind one endpoint.

    Without a command, `axiom` is `axiom up`: it serves the servers of ./axiom.toml, else ./axiom.json,
    else ./.mcp.json, else a built-in demo server.

    Usage: axiom [OPTIONS] [COMMAND]

    Commands:
      up       Serve all servers at one address until interrupted (the default)
      stdio    Serve all servers on stdin and stdout, as the child of a desktop client
      servers  Show the servers and how each of them is
      stats    Show how many calls there were and how they went, since events are recorded and lately
      tools    Show the tools of all servers
      call     Call a tool
      events   Look at what was recorded: calls, and changes of servers, sessions and the configuration
      replay   Make recorded calls again and show how their answers differ
      sql      Ask what was recorded, in SQL
      run      Run a command, many times at once if wanted, and show what all of them say
      ps       Show the tasks
      top      Watch the tasks live: what they use, what they say; and steer them
      logs     Show what tasks have said
      attach   Be at a task's terminal, or at its input, and leave it again
      race     Run several attempts at one thing, each in a git worktree of its own, and keep the best
      kill     End tasks, or send them a signal
      rm       Forget tasks that have ended, and what they said
      doctor   Show what this machine can do for tasks, what it lacks and how to get it
      import   Take over servers from another program's configuration
      config   Check the configuration, or print its schema
      key      Make a key that replicas share
      help     Print this message or the help of the given subcommand(s)

    Options:
      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version

    Everywhere:
          --log <FILTER>
              What to log to stderr, like `debug` or `axiom_gateway=trace` [env: AXIOM_LOG]

          --no-color
              No colours [env: NO_COLOR]

    Exit codes:
      0    success
      1    failure
      2    wrong use of the command line
      3    not found (file, server or tool)
      4    denied
      5    unavailable or timed out
      130  interrupted
    "#);
}

#[test]
fn each_command() {
    let scratch = Scratch::new("help-each");
    assert_snapshot!(scratch.run(&["up", "-h"]), @r#"
    exit 0
    --- stdout
    Serve all servers at one address until interrupted (the default)

    Usage: axiom up [OPTIONS]

    Options:
          --config <FILE>     Configuration file [default: ./axiom.toml, ./axiom.json or ./.mcp.json]
          --listen <ADDRESS>  Address to listen at instead of the configured one; port 0 picks a free
                              one
          --json              Print one line of JSON when ready
      -h, --help              Print help

    Everywhere:
          --log <FILTER>  What to log to stderr, like `debug` or `axiom_gateway=trace` [env: AXIOM_LOG]
          --no-color      No colours [env: NO_COLOR]
    "#);
    assert_snapshot!(scratch.run(&["stdio", "-h"]), @r#"
    exit 0
    --- stdout
    Serve all servers on stdin and stdout, as the child of a desktop client

    Usage: axiom stdio [OPTIONS]

    Options:
          --config <FILE>  Configuration file [default: ./axiom.toml, ./axiom.json or ./.mcp.json]
          --server <NAME>  Serve this one server, with its own names
          --view <NAME>    Serve this view
      -h, --help           Print help

    Everywhere:
          --log <FILTER>  What to log to stderr, like `debug` or `axiom_gateway=trace` [env: AXIOM_LOG]
          --no-color      No colours [env: NO_COLOR]
    "#);
    assert_snapshot!(scratch.run(&["servers", "-h"]), @r#"
    exit 0
    --- stdout
    Show the servers and how each of them is

    Usage: axiom servers [OPTIONS]

    Options:
          --config <FILE>  Configuration file [default: ./axiom.toml, ./axiom.json or ./.mcp.json]
          --json           Print JSON
      -h, --help           Print help

    Everywhere:
          --log <FILTER>  What to log to stderr, like `debug` or `axiom_gateway=trace` [env: AXIOM_LOG]
          --no-color      No colours [env: NO_COLOR]
    "#);
    assert_snapshot!(scratch.run(&["tools", "-h"]), @r#"
    exit 0
    --- stdout
    Show the tools of all servers

    Usage: axiom tools [OPTIONS] [SERVER]

    Arguments:
      [SERVER]  Only the tools of this server, under its own names

    Options:
          --config <FILE>  Configuration file [default: ./axiom.toml, ./axiom.json or ./.mcp.json]
          --json           Print JSON, with the schemas
      -h, --help           Print help

    Everywhere:
          --log <FILTER>  What to log to stderr, like `debug` or `axiom_gateway=trace` [env: AXIOM_LOG]
          --no-color      No colours [env: NO_COLOR]
    "#);
    assert_snapshot!(scratch.run(&["call", "-h"]), @r#"
    exit 0
    --- stdout
    Call a tool

    Usage: axiom call [OPTIONS] <SERVER.TOOL> [KEY=VALUE]...

    Arguments:
      <SERVER.TOOL>   Server and tool, as SERVER.TOOL
      [KEY=VALUE]...  Arguments; the tool's schema says which are numbers

    Options:
          --json [<ARGUMENTS>]  Print the whole result as JSON; with a value, take all arguments from it
          --config <FILE>       Configuration file [default: ./axiom.toml, ./axiom.json or ./.mcp.json]
      -h, --help                Print help

    Everywhere:
          --log <FILTER>  What to log to stderr, like `debug` or `axiom_gateway=trace` [env: AXIOM_LOG]
          --no-color      No colours [env: NO_COLOR]

    Examples:
      axiom call demo.echo text=hello
      axiom call demo.add a=1 b=2 --json
      axiom call demo.add --json '{"a": 1, "b": 2}'
    "#);
    assert_snapshot!(scratch.run(&["import", "-h"]), @r#"
    exit 0
    --- stdout
    Take over servers from another program's configuration

    Usage: axiom import [OPTIONS] <FILE>...

    Arguments:
      <FILE>...  Files of Claude Desktop, Claude Code, Cursor, VS Code, Windsurf, Zed, Codex, Gemini
                 CLI, OpenCode

    Options:
          --write           Write the servers; without it they are only shown
          --into <FILE>     The file to write into [default: axiom.toml]
          --yes             Write without asking
          --inline-secrets  Write secrets as they are, instead of ${env:NAME}
          --json            Print JSON
      -h, --help            Print help

    Everywhere:
          --log <FILTER>  What to log to stderr, like `debug` or `axiom_gateway=trace` [env: AXIOM_LOG]
          --no-color      No colours [env: NO_COLOR]
    "#);
    assert_snapshot!(scratch.run(&["config", "check", "-h"]), @r#"
    exit 0
    --- stdout
    Read the configuration and tell everything that is wrong with it

    Usage: axiom config check [OPTIONS]

    Options:
          --config <FILE>  Configuration file [default: ./axiom.toml, ./axiom.json or ./.mcp.json]
          --json           Print JSON
      -h, --help           Print help

    Everywhere:
          --log <FILTER>  What to log to stderr, like `debug` or `axiom_gateway=trace` [env: AXIOM_LOG]
          --no-color      No colours [env: NO_COLOR]
    "#);
}

#[test]
fn wrong_use() {
    let scratch = Scratch::new("wrong-use");
    assert_snapshot!(scratch.run(&["serve"]), @r#"
    exit 2
    --- stderr
    error: unrecognized subcommand 'serve'

      tip: some similar subcommands exist: 'events', 'servers'

    Usage: axiom [OPTIONS] [COMMAND]

    For more information, try '--help'.
    "#);
    assert_snapshot!(scratch.run(&["up", "--listen", "3000"]), @r#"
    exit 2
    --- stderr
    error: invalid value '3000' for '--listen <ADDRESS>': write an address and a port, like "127.0.0.1:3000"; port 0 picks a free one

    For more information, try '--help'.
    "#);
    assert_snapshot!(scratch.run(&["config", "check", "--log", "a=b=c"]), @r#"
    exit 2
    --- stderr
    error: the log filter "a=b=c" is not valid: error parsing level filter: expected one of "off", "error", "warn", "info", "debug", "trace", or a number 0-5
    hint: write a level (error, warn, info, debug, trace) or target=level, separated by commas
    "#);
}
