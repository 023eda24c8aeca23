// A client for the suite's client scenarios, with the gateway in between: it starts the gateway in front of the scenario's
// server, connects to the gateway, and does what the scenario wants to see. The suite appends the URL.
//
//   AXIOM_BIN=... node client.mjs modern|legacy URL      modern: the SDK of today at 2026-07-28; legacy: the one of before

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const [era, server] = process.argv.slice(2);
const scenario = process.env.MCP_CONFORMANCE_SCENARIO;
const context = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? '{}');

const INFO = { name: 'axiom-test-conformance', version: '1.0.0' };
const CAPABILITIES = { elicitation: { form: { applyDefaults: true } } };

const call = (client, name, args) => client.callTool({ name, arguments: args });

const SCENARIOS = {
    initialize: client => client.listTools(),
    tools_call: client => call(client, 'add_numbers', { a: 5, b: 3 }),
    'elicitation-sep1034-client-defaults': callEach,
    'sse-retry': callEach,
    'request-metadata': client => client.listTools(),
    'sep-2322-client-request-state': callEach,
    'http-standard-headers': async client => {
        await callEach(client);
        const { resources } = await client.listResources();
        for (const { uri } of resources) await client.readResource({ uri });
        const { prompts } = await client.listPrompts();
        for (const { name } of prompts) await client.getPrompt({ name });
    },
    'http-custom-headers': async client => {
        await client.listTools();
        for (const { name, arguments: args } of context.toolCalls) await call(client, name, args);
    },
    'http-invalid-tool-headers': callEach,
    'json-schema-ref-no-deref': client => client.listTools(),
    'json-schema-2020-12-preservation': async client => {
        const { tools } = await client.listTools();
        const { inputSchema } = tools.find(({ name }) => name === 'json_schema_2020_12_tool');
        await call(client, 'json_schema_echo', { schema: inputSchema });
    }
};

// Every tool on the list, with a word for each argument: the scenario's server notes which tools and how.
async function callEach(client) {
    const { tools } = await client.listTools();
    for (const { name, inputSchema } of tools) {
        const words = Object.keys(inputSchema.properties ?? {}).map(argument => [argument, 'word']);
        const called = call(client, name, Object.fromEntries(words));
        // The scenario has a result without resultType taken as complete; the SDK of today refuses it from a modern server.
        await (name === 'test_mrtr_no_result_type' ? called.catch(() => {}) : called);
    }
}

// A scenario of the client's own OAuth: this client does nothing, and the scenario fails. The SDKs are loaded below, since
// the suite runs its scenarios all at once and has many of these.
const steps = SCENARIOS[scenario] ?? process.exit(0);
const gateway = await startGateway();
try {
    const connect = era === 'modern' ? connectToday : connectAsBefore;
    const client = await connect(new URL(`${gateway.base}/s/scenario/mcp`));
    await steps(client);
    await client.close();
    // The suite looks only at what its server saw; the test wants to know that this client came to its end as well.
    console.log('done');
} finally {
    await gateway.stop();
}
process.exit(0);

async function connectToday(url) {
    const { Client, StreamableHTTPClientTransport } = await import('@modelcontextprotocol/client');
    const client = new Client(INFO, { capabilities: CAPABILITIES, versionNegotiation: { mode: { pin: '2026-07-28' } } });
    client.setRequestHandler('elicitation/create', () => accept(client));
    await client.connect(new StreamableHTTPClientTransport(url));
    return client;
}

async function connectAsBefore(url) {
    const { Client } = await import('@modelcontextprotocol/sdk/client/index.js');
    const { StreamableHTTPClientTransport } = await import('@modelcontextprotocol/sdk/client/streamableHttp.js');
    const { ElicitRequestSchema } = await import('@modelcontextprotocol/sdk/types.js');
    const client = new Client(INFO, { capabilities: CAPABILITIES });
    client.setRequestHandler(ElicitRequestSchema, () => accept(client));
    await client.connect(new StreamableHTTPClientTransport(url));
    return client;
}

// Accepts what it is asked, and leaves the fields to the SDK. A call meanwhile must not get in the way of the one that asks.
async function accept(client) {
    if (scenario === 'sep-2322-client-request-state') await call(client, 'test_mrtr_unrelated', {});
    return { action: 'accept', content: {} };
}

async function startGateway() {
    const folder = await mkdtemp(join(tmpdir(), 'axiom-conformance-'));
    const file = join(folder, 'axiom.toml');
    await writeFile(file, `[gateway]\nlisten = "127.0.0.1:0"\n[servers.scenario]\nurl = ${JSON.stringify(server)}\n`);
    const child = spawn(process.env.AXIOM_BIN, ['up', '--json', '--config', file], { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = once(child, 'exit');
    // The suite has lost its patience; the gateway must not outlive this client.
    process.once('SIGTERM', () => {
        child.kill('SIGTERM');
        process.exit(1);
    });
    for await (const line of createInterface({ input: child.stdout })) {
        const { event, mcp } = JSON.parse(line);
        if (event !== 'listening') continue;
        const stop = async () => {
            child.kill('SIGTERM');
            await ended;
            await rm(folder, { recursive: true });
        };
        return { base: mcp.replace(/\/mcp$/, ''), stop };
    }
    throw new Error('the gateway ended before it listened');
}
