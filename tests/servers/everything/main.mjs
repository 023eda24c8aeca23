// The dual-era server that the official conformance suite is pointed at: every tool, resource and prompt that its
// scenarios call by name, served to 2026-07-28 clients and to session clients of the revisions before it.
//
//   node main.mjs http [PORT]   prints {"event":"listening","mcp":URL} when it listens; port 0, the default, picks one
//   node main.mjs stdio         either era, decided by the first message, as the SDK does it

import { serveStdio } from '@modelcontextprotocol/server/stdio';

import { build } from './build.mjs';
import { serveHttp } from './http.mjs';

const [mode = 'http', port = '0'] = process.argv.slice(2);

if (mode === 'stdio') {
    serveStdio(context => build(context));
} else {
    console.log(JSON.stringify({ event: 'listening', mcp: await serveHttp(Number(port)) }));
}
