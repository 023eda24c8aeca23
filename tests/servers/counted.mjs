// A session server over stdio whose one tool has an effect before it asks: it writes a line into the file that it is
// started with, asks for a name, and says how many lines there are.
//
//   node counted.mjs FILE

import { appendFileSync, readFileSync } from 'node:fs';

import { McpServer } from '@modelcontextprotocol/server';
import { StdioServerTransport } from '@modelcontextprotocol/server/stdio';

const file = process.argv[2];
const server = new McpServer({ name: 'axiom-test-counted', version: '1.0.0' }, { capabilities: { tools: {} } });
server.registerTool('run', { description: 'Counts, then asks who wants to know' }, async ctx => {
    appendFileSync(file, 'ran\n');
    const asked = await ctx.mcpReq.elicitInput({
        message: 'Who wants to know?',
        requestedSchema: { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] }
    });
    const runs = readFileSync(file, 'utf8').split('\n').length - 1;
    return { content: [{ type: 'text', text: `${asked.content?.name ?? asked.action}: ${runs}` }] };
});
await server.connect(new StdioServerTransport());
