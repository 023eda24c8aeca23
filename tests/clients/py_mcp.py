"""The Python client of the SDK: mode "auto", "legacy", or a revision to pin."""

from contextlib import asynccontextmanager

from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters

from driver import drive


@asynccontextmanager
async def connect(scenario, run):
    answers = run.callbacks()
    callbacks = {}
    if "elicitation" in answers:
        callbacks["elicitation_callback"] = lambda _, params: answers["elicitation"](params)
    if "sampling" in answers:
        callbacks["sampling_callback"] = lambda _, params: answers["sampling"](params)
    if "roots" in answers:
        callbacks["list_roots_callback"] = lambda _: answers["roots"]()
    mode = scenario.get("era", "auto")
    client = Client(
        _server(scenario), mode=mode, message_handler=run.notified, logging_callback=run.logged, **callbacks
    )
    async with client:
        yield Adapter(client)


def _server(scenario):
    if scenario["transport"] == "stdio":
        command, *args = scenario["command"]
        return StdioServerParameters(command=command, args=args)
    return sse_client(scenario["url"]) if scenario["transport"] == "sse" else scenario["url"]


class Adapter:
    def __init__(self, client):
        self.client = client
        self.listen = client.listen
        self.read_resource = client.read_resource
        self.get_prompt = client.get_prompt
        self.complete = client.complete
        self.ping = client.send_ping
        self.set_level = client.set_logging_level
        self.subscribe = client.subscribe_resource
        self.unsubscribe = client.unsubscribe_resource

    def connected(self):
        info, capabilities = self.client.server_info, self.client.server_capabilities
        return {
            "version": self.client.protocol_version,
            "server": info and info.model_dump(by_alias=True, exclude_none=True),
            "capabilities": capabilities and capabilities.model_dump(by_alias=True, exclude_none=True),
        }

    def modern(self):
        return self.client.protocol_version >= "2026"

    async def list_tools(self, cursor):
        return await self.client.list_tools(cursor=cursor)

    async def list_prompts(self, cursor):
        return await self.client.list_prompts(cursor=cursor)

    async def list_resources(self, cursor):
        return await self.client.list_resources(cursor=cursor)

    async def list_resource_templates(self, cursor):
        return await self.client.list_resource_templates(cursor=cursor)

    async def call_tool(self, name, arguments, progress, meta):
        return await self.client.call_tool(name, arguments, progress_callback=progress, meta=meta)


if __name__ == "__main__":
    import sys

    drive(sys.modules[__name__])
