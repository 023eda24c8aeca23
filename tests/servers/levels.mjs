// A server of 2026-07-28 alone that uses everything that was added since 2024-11-05.
//
//   node levels.mjs http    prints {"event":"listening","mcp":URL} when it listens, on a port it picks
//   node levels.mjs stdio

import { createServer } from 'node:http';

import { toNodeHandler } from '@modelcontextprotocol/node';
import { createMcpHandler, McpServer } from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import { z } from 'zod';

import { audio, text } from './everything/media.mjs';

const icons = [{ src: 'https://icons.example/report.png', mimeType: 'image/png' }];
const link = {
    type: 'resource_link',
    uri: 'levels://report',
    name: 'report',
    title: 'The report',
    description: 'All of it',
    mimeType: 'text/plain',
    annotations: { audience: ['user'], lastModified: '2026-07-28T00:00:00Z' },
    icons
};

function build() {
    const server = new McpServer(
        { name: 'levels', title: 'All levels', version: '1.0.0', websiteUrl: 'https://levels.example', icons },
        { capabilities: { tools: {}, prompts: {}, resources: {}, completions: {} } }
    );
    const described = { title: 'A report', description: 'Answers with a report', icons, _meta: { 'levels.example/a': 1 } };
    server.registerTool(
        'report',
        { ...described, outputSchema: z.object({ pages: z.number() }), annotations: { readOnlyHint: true } },
        () => ({ content: [link, audio], structuredContent: { pages: 7 } })
    );
    // Since 2026-07-28 the structure may be anything.
    server.registerTool('pages', { ...described, outputSchema: z.array(z.number()) }, () => ({
        content: [],
        structuredContent: [1, 2, 3]
    }));
    server.registerPrompt(
        'ask',
        { title: 'Ask', description: 'Asks about the report', argsSchema: z.object({ about: z.string() }), icons },
        () => ({ messages: [link, audio, text('What does it say?')].map(content => ({ role: 'user', content })) })
    );
    server.registerResource('report', 'levels://report', { title: 'The report', icons }, () => ({
        contents: [{ uri: 'levels://report', text: 'It says nothing.', _meta: { 'levels.example/a': 1 } }]
    }));
    return server;
}

if (process.argv[2] === 'stdio') {
    serveStdio(build, { legacy: 'reject' });
} else {
    const server = createServer(toNodeHandler(createMcpHandler(build, { legacy: 'reject' })));
    server.listen(0, '127.0.0.1', () => {
        const mcp = `http://127.0.0.1:${server.address().port}/mcp`;
        console.log(JSON.stringify({ event: 'listening', mcp }));
    });
}
