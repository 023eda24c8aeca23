"""What the Python client drivers share: the scenario and the output are those of driver.mjs.

An adapter is a class with `connect(scenario, run)`, an async context manager that gives an object with the methods
that `Run` calls below.
"""

import json
import sys

import anyio
import mcp_types as types
from mcp.shared.exceptions import MCPError

DEADLINE_S = 30
LOG_LEVEL = "io.modelcontextprotocol/logLevel"


def drive(adapter):
    scenario = json.load(sys.stdin)
    anyio.run(_drive, adapter, scenario)


async def _drive(adapter, scenario):
    run = Run(scenario.get("answers", {}))
    async with adapter.connect(scenario, run) as client:
        run.client = client
        _print({"connected": client.connected()})
        for step in scenario["steps"]:
            await run.step(step)


class Run:
    def __init__(self, answers):
        self.answers = answers
        self.events = []
        self.client = None
        self._changed = anyio.Event()

    async def step(self, step):
        self.events = []
        line = {"do": step["do"]}
        try:
            with anyio.fail_after(DEADLINE_S):
                line["ok"] = dump(await getattr(self, step["do"])(step)) or {}
        except MCPError as error:
            line["error"] = {"code": error.error.code, "message": error.error.message, "data": error.error.data}
        except Exception as error:  # A step's failure is its result; the test decides what it means.
            line["error"] = {"code": type(error).__name__, "message": str(error)}
        _print({**line, "events": self.events})

    # What the client is asked and told.

    def callbacks(self):
        """Only what the scenario has an answer for, because each one declares a capability."""
        return {name: getattr(self, name) for name in ("elicitation", "sampling", "roots") if name in self.answers}

    async def elicitation(self, params):
        self.seen("elicitation/create", params)
        return types.ElicitResult(**self.answers["elicitation"])

    async def sampling(self, params):
        self.seen("sampling/createMessage", params)
        return types.CreateMessageResult(**self.answers["sampling"])

    async def roots(self):
        self.seen("roots/list", None)
        return types.ListRootsResult(roots=[types.Root(**root) for root in self.answers["roots"]])

    async def notified(self, message):
        if not isinstance(message, Exception):
            # Logs and progress have callbacks of their own, so they come twice.
            if message.method not in ("notifications/message", "notifications/progress"):
                self.seen(message.method, message.params)

    async def logged(self, params):
        self.seen("notifications/message", params)

    async def progressed(self, progress, total, message):
        self.seen("notifications/progress", {"progress": progress, "total": total, "message": message})

    def seen(self, method, params):
        self.events.append({"method": method, "params": dump(params)})
        self._changed.set()
        self._changed = anyio.Event()

    async def until(self, method):
        while True:
            changed = self._changed
            for event in self.events:
                if event["method"] == method:
                    return event
            await changed.wait()

    # The steps.

    async def listTools(self, _):
        return {"tools": await _pages("tools", self.client.list_tools)}

    async def listPrompts(self, _):
        return {"prompts": await _pages("prompts", self.client.list_prompts)}

    async def listResources(self, _):
        return {"resources": await _pages("resources", self.client.list_resources)}

    async def listResourceTemplates(self, _):
        return {"resourceTemplates": await _pages("resource_templates", self.client.list_resource_templates)}

    async def readResource(self, step):
        return await self.client.read_resource(step["uri"])

    async def getPrompt(self, step):
        return await self.client.get_prompt(step["name"], step.get("arguments"))

    async def complete(self, step):
        ref = step["ref"]
        by_prompt = ref["type"] == "ref/prompt"
        reference = types.PromptReference(**ref) if by_prompt else types.ResourceTemplateReference(**ref)
        return await self.client.complete(reference, step["argument"])

    async def ping(self, _):
        return await self.client.ping()

    async def setLevel(self, step):
        return await self.client.set_level(step["level"])

    async def callTool(self, step):
        progress = self.progressed if step.get("progress") else None
        meta = {LOG_LEVEL: step["logLevel"]} if "logLevel" in step else None
        return await self.client.call_tool(step["name"], step.get("arguments", {}), progress, meta)

    async def cancel(self, step):
        """Cancels a call once its first progress proves that it runs at the server."""
        answered = False

        async def call():
            nonlocal answered
            await self.callTool({**step, "progress": True})
            answered = True

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await self.until("notifications/progress")
            tasks.cancel_scope.cancel()
        if answered:
            raise RuntimeError("the call was answered although it was cancelled")
        return {"cancelled": "scope"}

    async def subscribe(self, step):
        """Subscribes to a resource, makes the server change it, and returns the update."""
        uri = step["uri"]
        if self.client.modern():
            async with self.client.listen(resource_subscriptions=[uri]) as events:
                await self.callTool(step["trigger"])
                return {"uri": str((await events.__anext__()).uri)}
        await self.client.subscribe(uri)
        await self.callTool(step["trigger"])
        update = await self.until("notifications/resources/updated")
        await self.client.unsubscribe(uri)
        return {"uri": update["params"]["uri"]}

    async def toolsChanged(self, step):
        """Makes the server change its list of tools, and waits until this client is told."""
        if self.client.modern():
            async with self.client.listen(tools_list_changed=True) as events:
                await self.callTool(step["trigger"])
                await events.__anext__()
        else:
            await self.callTool(step["trigger"])
            await self.until("notifications/tools/list_changed")


async def _pages(key, fetch):
    items, cursor = [], None
    while True:
        page = await fetch(cursor)
        items.extend(dump(item) for item in getattr(page, key))
        cursor = page.next_cursor
        if cursor is None:
            return items


def dump(value):
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    return value


def _print(line):
    print(json.dumps(line, ensure_ascii=False), flush=True)
