"""A server of 2024 on mcp 1.6: HTTP+SSE. Prints {"event":"listening","mcp":URL} when it listens, on a port it picks."""

import json
import socket

import uvicorn
from mcp.server.fastmcp import FastMCP

server = FastMCP("old-sse")


@server.tool()
def add(a: int, b: int) -> str:
    """Adds two numbers"""
    return str(a + b)


@server.resource("old://greeting")
def greeting() -> str:
    """A greeting"""
    return "hello from 2024"


@server.prompt()
def ask(topic: str) -> str:
    """Asks about a topic"""
    return f"What do you know about {topic}?"


listener = socket.create_server(("127.0.0.1", 0))
url = f"http://127.0.0.1:{listener.getsockname()[1]}/sse"
print(json.dumps({"event": "listening", "mcp": url}), flush=True)
uvicorn.Server(uvicorn.Config(server.sse_app(), log_level="warning", timeout_graceful_shutdown=1)).run(sockets=[listener])
