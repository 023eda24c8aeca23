// The features of the dual-era server, for clients of 2026-07-28 and for nobody else.
//
//   node modern_only.mjs http    prints {"event":"listening","mcp":URL} when it listens, on a port it picks
//   node modern_only.mjs stdio

import { createMcpHandler, InMemoryServerEventBus } from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';

import { build } from './everything/build.mjs';
import { listen } from './everything/http.mjs';

if (process.argv[2] === 'stdio') {
    serveStdio(context => build(context), { legacy: 'reject' });
} else {
    const bus = new InMemoryServerEventBus();
    const handler = createMcpHandler(context => build(context, bus), { legacy: 'reject', bus });
    console.log(JSON.stringify({ event: 'listening', mcp: await listen(handler, 0) }));
}
