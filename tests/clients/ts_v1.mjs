// The TypeScript client of before: sessions only, but over each transport there ever was.

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { WebSocketClientTransport } from '@modelcontextprotocol/sdk/client/websocket.js';
import {
    CreateMessageRequestSchema,
    ElicitRequestSchema,
    ListRootsRequestSchema
} from '@modelcontextprotocol/sdk/types.js';

import { capabilitiesOf, drive } from './driver.mjs';

const SCHEMAS = {
    'elicitation/create': ElicitRequestSchema,
    'sampling/createMessage': CreateMessageRequestSchema,
    'roots/list': ListRootsRequestSchema
};

await drive(scenario => {
    const client = new Client(
        { name: 'axiom-test-ts-v1', version: '1.0.0' },
        { capabilities: capabilitiesOf(scenario) }
    );
    const transport = transportOf(scenario);
    let version;
    // The client tells its transport which version was agreed on, and nobody else.
    const { setProtocolVersion } = transport;
    transport.setProtocolVersion = agreed => {
        version = agreed;
        setProtocolVersion?.call(transport, agreed);
    };
    return {
        client,
        transport,
        version: () => version,
        modern: () => false,
        answer: (method, fn) => client.setRequestHandler(SCHEMAS[method], fn),
        callTool: (params, options) => client.callTool(params, undefined, options),
        callToolAsTask: async (params, options) => {
            const stream = client.experimental.tasks.callToolStream(params, undefined, { ...options, task: {} });
            for await (const message of stream) {
                if (message.type === 'result') return message.result;
                if (message.type === 'error') throw message.error;
            }
            throw new Error('the task has no end');
        }
    };
});

function transportOf({ transport, url, command }) {
    switch (transport) {
        case 'sse':
            return new SSEClientTransport(new URL(url));
        case 'ws':
            return new WebSocketClientTransport(new URL(url));
        case 'stdio':
            return new StdioClientTransport({ command: command[0], args: command.slice(1), stderr: 'inherit' });
        default:
            return new StreamableHTTPClientTransport(new URL(url));
    }
}
