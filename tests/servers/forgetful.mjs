// A server of sessions over HTTP that keeps them in memory, as most do, so that a restart forgets them all. What its tools
// do is appended to a file, which outlasts it.
//
//   node forgetful.mjs PORT FILE STATUS    prints {"event":"listening","mcp":URL}; port 0 picks one
//
// STATUS is how it refuses a session that it does not know: 404 as the specification asks, or 400 as the examples of the
// SDK did for long.

import { randomUUID } from 'node:crypto';
import { appendFileSync } from 'node:fs';
import { createServer } from 'node:http';

import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';

const [port, file, status] = process.argv.slice(2);
const sessions = new Map();

function build() {
    const server = new McpServer({ name: 'forgetful', version: '1.0.0' });
    const tool = (name, annotations) =>
        server.registerTool(name, { description: name, annotations }, () => {
            appendFileSync(file, `${name}\n`);
            return { content: [{ type: 'text', text: `${name} done` }] };
        });
    tool('pay', undefined);
    tool('look', { readOnlyHint: true });
    tool('set', { readOnlyHint: false, idempotentHint: true });
    tool('push', { readOnlyHint: false, idempotentHint: false });
    server.registerTool('hang', { description: 'Begins and never ends' }, async () => {
        appendFileSync(file, 'hang\n');
        await new Promise(() => {});
    });
    server.registerResource('note', 'note://1', {}, () => ({ contents: [{ uri: 'note://1', text: 'noted' }] }));
    return server;
}

async function open() {
    const transport = new StreamableHTTPServerTransport({
        sessionIdGenerator: randomUUID,
        enableJsonResponse: true,
        onsessioninitialized: id => sessions.set(id, transport)
    });
    await build().connect(transport);
    return transport;
}

function refuse(response) {
    const [code, message] =
        status === '404' ? [-32_001, 'Session not found'] : [-32_000, 'Bad Request: No valid session ID provided'];
    response.writeHead(Number(status), { 'content-type': 'application/json' });
    response.end(JSON.stringify({ jsonrpc: '2.0', error: { code, message }, id: null }));
}

const server = createServer(async (request, response) => {
    const id = request.headers['mcp-session-id'];
    // Without the stream for news, so that a lost session is noticed by the next call and not before.
    if (request.method === 'GET') return response.writeHead(405).end();
    const transport = id === undefined ? await open() : sessions.get(id);
    if (transport) await transport.handleRequest(request, response);
    else refuse(response);
});
server.listen(Number(port), '127.0.0.1', () => {
    const mcp = `http://127.0.0.1:${server.address().port}/mcp`;
    console.log(JSON.stringify({ event: 'listening', mcp }));
});
