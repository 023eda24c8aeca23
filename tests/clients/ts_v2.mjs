// The TypeScript client of today, in the era that the scenario asks for: "auto", "legacy" or a revision to pin.

import { Client, SSEClientTransport, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';

import { capabilitiesOf, drive } from './driver.mjs';

await drive(scenario => {
    const client = new Client(
        { name: 'axiom-test-ts-v2', version: '1.0.0' },
        { capabilities: capabilitiesOf(scenario), versionNegotiation: { mode: modeOf(scenario.era) } }
    );
    return {
        client,
        transport: transportOf(scenario),
        version: () => client.getNegotiatedProtocolVersion(),
        modern: () => client.getProtocolEra() === 'modern',
        answer: (method, fn) => client.setRequestHandler(method, fn),
        callTool: (params, options) => client.callTool(params, options)
    };
});

function modeOf(era = 'auto') {
    return era === 'auto' || era === 'legacy' ? era : { pin: era };
}

function transportOf({ transport, url, command }) {
    switch (transport) {
        case 'sse':
            return new SSEClientTransport(new URL(url));
        case 'stdio':
            return new StdioClientTransport({ command: command[0], args: command.slice(1), stderr: 'inherit' });
        default:
            return new StreamableHTTPClientTransport(new URL(url));
    }
}
