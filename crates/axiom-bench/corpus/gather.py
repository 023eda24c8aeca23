#!/usr/bin/env python3
"""Gathers a corpus of what builds, tests, tools and models print on this machine, as events.

    gather.py OUT --workspace DIR [--axiom BINARY] [--bed DIR]

OUT gets one JSON object on each line: class, kind, task, stream, level, format, time (nanoseconds) and body. Nothing is
made up: programs are run and their lines are taken with the time at which they came; logs and documents are read from
where they lie. Each class is cut at its share, so two runs on one machine differ in times, ports and ids alone.

    class      share   from
    build      30 %    cargo check -vv, npm ci --loglevel silly, pip install -vv, apt's and dpkg's logs
    test       25 %    CPython's own tests, verbosely, and cargo test
    json       25 %    the gateway's events of MCP traffic with bodies, cargo metadata, rustc's JSON messages
    traceback  8 %     failing Python and Node programs
    prose      12 %    READMEs of crates and npm packages, and what crates say about their code: in place of what models write

The shares are of NDJSON bytes, of BYTES_MAX in all. A source that this machine lacks is named and left out.
"""

import argparse
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

BYTES_MAX = 20 << 20
SHARES = {"build": 30, "test": 25, "json": 25, "traceback": 8, "prose": 12}
# No program says more than this, so that none is all there is of its class.
SAID_MAX = 1536 << 10
# What an event has as NDJSON beside its body, roughly.
ENVELOPE_BYTES = 190


class Corpus:
    def __init__(self, out):
        self.out = out
        self.left = {name: BYTES_MAX * share // 100 for name, share in SHARES.items()}
        self.tasks = 0

    def task(self, name):
        self.tasks += 1
        return f"{name}-{self.tasks:04}"

    def event(self, of, kind, task, body, level="info", form="text", at=None):
        """Returns False when the class has its share."""
        if isinstance(body, bytes):
            body = body.decode("utf-8", "replace")
        self.left[of] -= len(body.encode()) + ENVELOPE_BYTES
        if self.left[of] < 0:
            return False
        line = {"class": of, "kind": kind, "task": task, "stream": task, "level": level, "format": form}
        line["time"] = at or time.time_ns()
        line["body"] = body
        self.out.write(json.dumps(line, ensure_ascii=False) + "\n")
        return True

    def is_full(self, of):
        return self.left[of] < 0

    def run(self, of, name, command, **options):
        """What a program prints, line by line, when it prints it."""
        if self.is_full(of):
            return
        say(f"{of}: {' '.join(command)[:100]}")
        try:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
            )
        except OSError as error:
            say(f"left out: {error}")
            return
        task = self.task(name)
        least = self.left[of] - SAID_MAX
        for line in child.stdout:
            is_taken = self.event(of, "task.output", task, line.rstrip(b"\n"), level_of(line))
            if not is_taken or self.left[of] < least:
                child.kill()
                break
        child.wait()

    def file(self, of, name, path):
        if self.is_full(of) or not os.path.exists(path):
            return
        task = self.task(name)
        with open(path, "rb") as lines:
            for line in lines:
                if not self.event(of, "task.output", task, line.rstrip(b"\n"), level_of(line)):
                    return


def level_of(line):
    if line.startswith((b"error", b"ERROR", b"FAIL", b"Traceback")):
        return "error"
    return "warn" if line.startswith((b"warning", b"WARN", b"npm warn")) else "info"


def say(text):
    print(text, file=sys.stderr)


def build(corpus, workspace, folder):
    for log in ["dpkg.log", "apt/term.log", "apt/history.log", "alternatives.log"]:
        corpus.file("build", "apt", f"/var/log/{log}")
    environment = {**os.environ, "CARGO_TARGET_DIR": f"{folder}/target", "CARGO_TERM_COLOR": "never"}
    for package in ["axiom-protocol", "axiom-core"]:
        corpus.run("build", "cargo", ["cargo", "check", "-vv", "-p", package], cwd=workspace, env=environment)
    for number, lock in enumerate(sorted(glob.glob(f"{workspace}/tests/servers/**/package-lock.json", recursive=True))):
        place = f"{folder}/npm{number}"
        os.makedirs(place)
        for name in ["package.json", "package-lock.json"]:
            shutil.copy(os.path.join(os.path.dirname(lock), name), place)
        install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "silly"]
        corpus.run("build", "npm", install, cwd=place)
    lock = f"{workspace}/tests/servers/python/main.lock.txt"
    install = [sys.executable, "-m", "pip", "install", "-vv", "--no-deps", "--disable-pip-version-check", "-r", lock]
    corpus.run("build", "pip", [*install, "--target", f"{folder}/pip"])
    # Code that is read rather than built: no more of it than of the rest.
    for option in [["--stat"], ["-p", "-n", "20"]]:
        corpus.run("build", "git", ["git", "--no-pager", "log", "--no-color", *option], cwd=workspace)


def test(corpus, workspace, folder):
    python_tests(corpus, folder)
    environment = {**os.environ, "CARGO_TARGET_DIR": f"{folder}/target", "CARGO_TERM_COLOR": "never"}
    # The crate whose tests need the fewest others to be built.
    corpus.run("test", "cargo-test", ["cargo", "test", "-p", "axiom-core"], cwd=workspace, env=environment)


def python_tests(corpus, folder):
    names = "json re struct bytes textwrap dict list set decimal fractions statistics datetime csv configparser ast tokenize "
    names += "difflib enum functools itertools collections heapq random shlex string unicode_userstring "
    names += "argparse inspect pathlib posixpath os tempfile hashlib hmac base64 binascii email http_cookies ipaddress typing "
    names += "dataclasses descr generators contextlib copy pickle float int long math cmath complex format range slice "
    names += "sqlite3 xml_etree minidom html htmlparser urlparse urllib uuid unittest doctest"
    for name in names.split():
        command = [sys.executable, "-m", "test", "-v", "--timeout", "60", f"test_{name}"]
        corpus.run("test", "python-test", command, cwd=folder)


def documents(corpus, workspace, folder, axiom, bed):
    gateway(corpus, workspace, folder, axiom, bed)
    environment = {**os.environ, "CARGO_TARGET_DIR": f"{folder}/target"}
    task = corpus.task("rustc")
    command = ["cargo", "check", "--message-format=json", "-p", "axiom-protocol", "-p", "axiom-core"]
    printed = subprocess.run(command, cwd=workspace, env=environment, capture_output=True).stdout
    for line in printed.splitlines():
        corpus.event("json", "tool.result", task, line, form="json")
    task = corpus.task("metadata")
    printed = subprocess.run(["cargo", "metadata", "--format-version=1"], cwd=workspace, capture_output=True).stdout
    for package in json.loads(printed)["packages"]:
        corpus.event("json", "tool.result", task, json.dumps(package, separators=(",", ":")), form="json")
    for lock in sorted(glob.glob(f"{workspace}/tests/servers/**/package-lock.json", recursive=True)):
        task = corpus.task("npm-lock")
        for name, package in json.load(open(lock))["packages"].items():
            body = json.dumps({"name": name, **package}, separators=(",", ":"))
            corpus.event("json", "tool.result", task, body, form="json")


def gateway(corpus, workspace, folder, axiom, bed):
    """MCP traffic through the gateway, as it records it itself."""
    if not axiom or not os.path.exists(axiom):
        say("left out: the gateway's own events, there is no binary")
        return
    say("json: MCP traffic through the gateway")
    servers = {"demo": None}
    everything = f"{bed}/npm/node_modules/@modelcontextprotocol/server-everything/dist/index.js"
    if os.path.exists(everything):
        servers["everything"] = [f"{bed}/node/bin/node", everything]
    filesystem = f"{bed}/npm/node_modules/@modelcontextprotocol/server-filesystem/dist/index.js"
    if os.path.exists(filesystem):
        servers["files"] = [f"{bed}/node/bin/node", filesystem, f"{workspace}/crates"]
    place = f"{folder}/gateway"
    os.makedirs(place)
    with open(f"{place}/axiom.toml", "w") as config:
        config.write('[gateway]\nlisten = "127.0.0.1:0"\n[events]\ndir = "events"\nbodies = "full"\n')
        for name, command in servers.items():
            if command:
                config.write(f"[servers.{name}]\ncommand = {json.dumps(command)}\n")
    command = [axiom, "up", "--config", f"{place}/axiom.toml"]
    up = subprocess.Popen(command, stderr=subprocess.STDOUT, stdout=subprocess.PIPE)
    url = None
    for line in up.stdout:
        found = re.search(rb"http://[0-9.]+:\d+/mcp", line)
        if found:
            url = found.group().decode()
            break
    threading.Thread(target=up.stdout.read, daemon=True).start()
    try:
        if url:
            traffic(url, f"{workspace}/crates")
        time.sleep(1)
        printed = subprocess.run([axiom, "events", "export", "--dir", f"{place}/events"], capture_output=True).stdout
    finally:
        up.terminate()
        up.wait()
    for line in printed.splitlines():
        event = json.loads(line)
        body = line[line.index(b'"body":') + 7 : -1] if b'"body":' in line else b""
        left = corpus.left["json"] - len(line)
        if left < 0:
            return
        corpus.left["json"] = left
        wanted = {"class": "json", "kind": event["kind"], "task": event.get("task", ""), "stream": event["stream"]}
        wanted |= {"level": event["level"], "format": "json", "trace": event.get("trace"), "time": nanoseconds(event["time"])}
        wanted["body"] = body.decode()
        corpus.out.write(json.dumps(wanted, ensure_ascii=False) + "\n")


def nanoseconds(text):
    whole, _, rest = text.rstrip("Z").partition(".")
    seconds = int(time.mktime(time.strptime(whole, "%Y-%m-%dT%H:%M:%S"))) - time.timezone
    return seconds * 10**9 + int(rest.ljust(9, "0") or 0)


def traffic(url, folder):
    """What an agent does: it lists, reads, searches, calls."""
    ids = iter(range(1, 1 << 30))
    session = {}

    def send(method, params):
        body = {"jsonrpc": "2.0", "id": next(ids), "method": method, "params": params}
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", **session}
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                if "Mcp-Session-Id" in answer.headers:
                    session["Mcp-Session-Id"] = answer.headers["Mcp-Session-Id"]
                text = answer.read()
        except OSError as error:
            return str(error).encode()
        return text

    client = {"name": "corpus", "version": "1"}
    send("initialize", {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client})
    session["MCP-Protocol-Version"] = "2025-06-18"
    tools = send("tools/list", {})
    names = set(re.findall(rb'"name":\s*"([a-z_A-Z0-9-]+__[a-zA-Z0-9_-]+)"', tools))
    names = {name.decode() for name in names}
    paths = sorted(glob.glob(f"{folder}/**/*.*", recursive=True))
    for number in range(4000):
        path = paths[number % len(paths)]
        calls = [
            ("files__read_text_file", {"path": path, "head": 20 + number % 60}),
            ("files__list_directory", {"path": os.path.dirname(path)}),
            ("files__get_file_info", {"path": path}),
            ("everything__echo", {"message": f"step {number}: look at {path}"}),
            ("everything__get-sum", {"a": number, "b": number * 7919 % 1009}),
            ("files__search_files", {"path": folder, "pattern": f"*{'abcdefgh'[number % 8]}*.rs"}),
            ("demo__add", {"a": number, "b": number * 31}),
            ("demo__echo", {"message": f"step {number}"}),
            ("files__read_text_file", {"path": path + ".missing"}),
        ]
        known = [call for call in calls if call[0] in names] or [("nothing", {})]
        name, arguments = known[number % len(known)]
        send("tools/call", {"name": name, "arguments": arguments})
        if number % 50 == 0:
            send("tools/list", {})
            send("resources/list", {})
            send("prompts/list", {})


FAILING = r"""
import asyncio, json, sys, urllib.request, decimal, collections, concurrent.futures, xml.etree.ElementTree, sqlite3, configparser
import subprocess, pathlib, logging, datetime, ast
n = int(sys.argv[1])
def parse(): return json.loads('{"a": [1, 2, %d,]}' % n)
def look(): return {"user": {"id": n}}["user"]["name%d" % (n % 17)]
def divide(x=n): return x / (n - n)
def fetch(): return urllib.request.urlopen("http://127.0.0.1:%d/v1/items/%d" % (1 + n % 9, n), timeout=1)
def recurse(k=n % 40): return recurse(k - 1) if k else [][n]
async def gather(): await asyncio.gather(*(wait(i) for i in range(3)))
async def wait(i):
    if i == n % 3: raise TimeoutError("worker %d gave up after %d ms" % (i, n * 13 % 5000))
def chain():
    try: look()
    except KeyError as error: raise RuntimeError("cannot load profile %d" % n) from error
def pool():
    with concurrent.futures.ThreadPoolExecutor(2) as executor: list(executor.map(divide, [n, 0]))
def query(): sqlite3.connect(":memory:").execute("select * from items_%d where id = ?" % (n % 23), (n,))
def xml_(): xml.etree.ElementTree.fromstring("<a><b id='%d'></a>" % n)
def run(): subprocess.run(["false", str(n)], check=True)
def read(): pathlib.Path("/srv/data/%d/input.csv" % n).read_text()
def convert(): decimal.Decimal("12.%dx" % n)
def date(): datetime.datetime.strptime("2026-13-%02d" % (n % 30), "%Y-%m-%d")
def tree(): ast.parse("def f(%d): pass" % n)
def config(): configparser.ConfigParser().read_string("[a]\nb=1\n[a]\nc=%d" % n)
def main():
    todo = [parse, look, divide, fetch, recurse, lambda: asyncio.run(gather()), chain, pool, query, xml_, run, read, convert, date, tree, config]
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for step in range(n, n + 40):
        globals()["n"] = step
        try: todo[step * 7 % len(todo)]()
        except Exception: logging.getLogger("worker.%d" % (step % 5)).exception("step %d failed", step)
    todo[n % len(todo)]()
main()
"""

FAILING_NODE = r"""
const n = Number(process.argv[2]);
const steps = [
  () => JSON.parse('{"a": ' + n + ',}'), () => undefined.items[n], () => require('fs').readFileSync('/srv/data/' + n),
  () => new URL('nowhere-' + n), () => require('./missing-' + (n % 9)), () => Buffer.alloc(-n), () => [].reduce((a, b) => a + b),
  () => { const deep = (k) => k ? deep(k - 1) : null.x; deep(n % 12); },
];
for (let step = n; step < n + 60; step++) {
  try { steps[(step * 5) % steps.length](); } catch (error) { console.error(`[${new Date().toISOString()}] step ${step}:`, error.stack); }
}
steps[n % steps.length]();
"""


def traceback(corpus, folder):
    for name, text in [("job.py", FAILING), ("job.js", FAILING_NODE)]:
        with open(f"{folder}/{name}", "w") as program:
            program.write(text)
    for number in range(1, 2000):
        if corpus.is_full("traceback"):
            break
        program = ["node", f"{folder}/job.js"] if number % 3 == 0 else [sys.executable, f"{folder}/job.py"]
        task = corpus.task("job")
        printed = subprocess.run([*program, str(number * 37)], stdin=subprocess.DEVNULL, capture_output=True).stderr
        if number % 2:
            # As a pipe gives them.
            for line in printed.splitlines():
                corpus.event("traceback", "task.output", task, line, "error")
        else:
            # As a logger gives them: each with its trace.
            for text in re.split(rb"\n(?=\d{4}-|\[\d{4}-)", printed):
                corpus.event("traceback", "task.error", task, text, "error")


def prose(corpus, bed):
    home = os.environ.get("CARGO_HOME", os.path.expanduser("~/.cargo"))
    paths = sorted(glob.glob(f"{home}/registry/src/*/*/*.md")) + sorted(glob.glob(f"{bed}/npm/node_modules/**/*.md", recursive=True))
    paths = [path for path in paths if not re.search(r"(?i)change|license|history|release|security|conduct", os.path.basename(path))]
    seen = set()
    for path in paths + sorted(glob.glob(f"{home}/registry/src/*/*/src/**/*.rs", recursive=True)):
        text = open(path, encoding="utf-8", errors="replace").read()
        if path.endswith(".rs"):
            # What is said about the code, with its examples.
            said = re.findall(r"^[ \t]*//[/!] ?(.*)$|^([^\n]*)$", text, re.MULTILINE)
            text = "\n".join(comment for comment, _ in said)
        task = None
        for paragraph in re.split(r"\n\s*\n", text):
            # The same sentence in ten READMEs of one project is said once.
            if len(paragraph) < 80 or paragraph in seen:
                continue
            seen.add(paragraph)
            task = task or corpus.task("agent")
            if not corpus.event("prose", "llm.text", task, paragraph):
                return


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--workspace", required=True)
    parser.add_argument("--axiom")
    parser.add_argument("--bed", default="")
    arguments = parser.parse_args()
    arguments.workspace = os.path.abspath(arguments.workspace)
    with tempfile.TemporaryDirectory() as folder, open(arguments.out, "w") as out:
        corpus = Corpus(out)
        prose(corpus, arguments.bed)
        traceback(corpus, folder)
        build(corpus, arguments.workspace, folder)
        documents(corpus, arguments.workspace, folder, arguments.axiom, arguments.bed)
        test(corpus, arguments.workspace, folder)
    for name, left in corpus.left.items():
        if left >= 0:
            say(f"{name} is {left} B short of its share: there is no more on this machine")


if __name__ == "__main__":
    main()
