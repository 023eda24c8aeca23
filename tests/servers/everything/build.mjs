// One server instance: per request for 2026-07-28, per session before it. Both see the same features.

import { createRequestStateCodec, McpServer } from '@modelcontextprotocol/server';

import { addPrompts } from './prompts.mjs';
import { addResources } from './resources.mjs';
import { addRounds } from './rounds.mjs';
import { addTools } from './tools.mjs';

// State travels through the client between the rounds of a call; a fixed key lets any process verify it.
const codec = createRequestStateCodec({ key: 'only a test server would have its key in its source' });

export function build({ era }, bus) {
    const server = new McpServer(
        { name: 'axiom-test-everything', version: '1.0.0' },
        {
            capabilities: {
                tools: { listChanged: true },
                prompts: { listChanged: true },
                resources: { listChanged: true, subscribe: true },
                completions: {},
                logging: {}
            },
            instructions: 'Calls every feature of the protocol; nothing has an effect outside this process.',
            requestState: { verify: codec.verify }
        }
    );
    const changes = era === 'modern' ? modernChanges(bus) : legacyChanges(server, bus);
    addTools(server, changes);
    addRounds(server, codec);
    addResources(server);
    addPrompts(server);
    return server;
}

// Modern clients listen on the bus: whoever changes something publishes it there.
function modernChanges(bus) {
    return {
        tools: () => bus.publish({ kind: 'tools_list_changed' }),
        prompts: () => bus.publish({ kind: 'prompts_list_changed' }),
        resource: uri => bus.publish({ kind: 'resource_updated', uri })
    };
}

// A session is told directly, and only of the resources it subscribed to.
function legacyChanges(server, bus) {
    const watched = new Set();
    server.server.setRequestHandler('resources/subscribe', ({ params }) => {
        watched.add(params.uri);
        return {};
    });
    server.server.setRequestHandler('resources/unsubscribe', ({ params }) => {
        watched.delete(params.uri);
        return {};
    });
    const unsubscribe = bus.subscribe(event => {
        if (event.kind === 'resource_updated' && watched.has(event.uri)) {
            server.server.sendResourceUpdated({ uri: event.uri });
        }
        if (event.kind === 'tools_list_changed') server.sendToolListChanged();
        if (event.kind === 'prompts_list_changed') server.sendPromptListChanged();
    });
    server.server.onclose = unsubscribe;
    return modernChanges(bus);
}
