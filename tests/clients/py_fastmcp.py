"""The FastMCP client, through the methods that give the protocol's own results."""

from contextlib import asynccontextmanager

from fastmcp import Client
from fastmcp.client.transports import SSETransport, StdioTransport
from mcp.client.subscriptions import listen

from driver import drive


@asynccontextmanager
async def connect(scenario, run):
    answers = run.callbacks()
    callbacks = {}
    if "elicitation" in answers:
        callbacks["elicitation_handler"] = lambda _message, _type, params, _ctx: answers["elicitation"](params)
    if "sampling" in answers:
        callbacks["sampling_handler"] = lambda _messages, params, _ctx: answers["sampling"](params)
    if "roots" in answers:

        async def roots(_ctx):
            return (await answers["roots"]()).roots

        callbacks["roots"] = roots
    mode = scenario.get("era", "auto")
    client = Client(_server(scenario), mode=mode, message_handler=run.notified, log_handler=run.logged, **callbacks)
    async with client:
        yield Adapter(client)


def _server(scenario):
    if scenario["transport"] == "stdio":
        command, *args = scenario["command"]
        return StdioTransport(command=command, args=args)
    return SSETransport(scenario["url"]) if scenario["transport"] == "sse" else scenario["url"]


class Adapter:
    def __init__(self, client):
        self.client = client
        self.read_resource = client.read_resource_mcp
        self.complete = client.complete_mcp
        self.set_level = client.set_logging_level
        self.subscribe = client.session.subscribe_resource
        self.unsubscribe = client.session.unsubscribe_resource

    def connected(self):
        info, capabilities = self.client.server_info, self.client.server_capabilities
        return {
            "version": self.client.protocol_version,
            "server": info and info.model_dump(by_alias=True, exclude_none=True),
            "capabilities": capabilities and capabilities.model_dump(by_alias=True, exclude_none=True),
        }

    def modern(self):
        return self.client.protocol_version >= "2026"

    def listen(self, **wanted):
        return listen(self.client.session, **wanted)

    async def ping(self):
        return {"pong": await self.client.ping()}

    async def get_prompt(self, name, arguments):
        return await self.client.get_prompt_mcp(name, arguments)

    async def list_tools(self, cursor):
        return await self.client.list_tools_mcp(cursor=cursor)

    async def list_prompts(self, cursor):
        return await self.client.list_prompts_mcp(cursor=cursor)

    async def list_resources(self, cursor):
        return await self.client.list_resources_mcp(cursor=cursor)

    async def list_resource_templates(self, cursor):
        return await self.client.list_resource_templates_mcp(cursor=cursor)

    async def call_tool(self, name, arguments, progress, meta):
        return await self.client.call_tool_mcp(name, arguments, progress_handler=progress, meta=meta)


if __name__ == "__main__":
    import sys

    drive(sys.modules[__name__])
