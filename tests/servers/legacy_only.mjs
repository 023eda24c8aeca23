// The features of the dual-era server, for session clients of 2025-11-25 and before, and for nobody else.
//
//   node legacy_only.mjs http    prints {"event":"listening","mcp":URL} when it listens, on a port it picks
//   node legacy_only.mjs stdio

import { InMemoryServerEventBus } from '@modelcontextprotocol/server';
import { StdioServerTransport } from '@modelcontextprotocol/server/stdio';

import { build } from './everything/build.mjs';
import { listen, Sessions } from './everything/http.mjs';

if (process.argv[2] === 'stdio') {
    await build({ era: 'legacy' }).connect(new StdioServerTransport());
} else {
    const sessions = new Sessions(new InMemoryServerEventBus());
    console.log(JSON.stringify({ event: 'listening', mcp: await listen(sessions, 0) }));
}
