// One server instance: per request for 2026-07-28, per session before it. Both see the same features.

import { createRequestStateCodec, McpServer } from '@modelcontextprotocol/server';

import { addPrompts } from './prompts.mjs';
import { addResources } from './resources.mjs';
import { addRounds } from './rounds.mjs';
import { addTools } from './tools.mjs';

// State travels through the client between the rounds of a call; a fixed key lets any process verify it.
const codec = createRequestStateCodec({ key: 'only a test server would have its key in its source' });

// `bus` is shared by all instances of an HTTP server; a stdio server has one instance and no bus.
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
    const events = era === 'legacy' ? sessionEvents(server) : serverEvents(server);
    const changes = bus === undefined ? events : busChanges(bus);
    if (bus !== undefined && era === 'legacy') server.server.onclose = bus.subscribe(event => told(events, event));
    addTools(server, era, changes);
    addRounds(server, era, codec);
    addResources(server);
    addPrompts(server);
    return server;
}

// Says it to this instance's own client; the SDK passes on what the client listens to.
function serverEvents(server) {
    return {
        tools: () => server.sendToolListChanged(),
        prompts: () => server.sendPromptListChanged(),
        resource: uri => server.server.sendResourceUpdated({ uri })
    };
}

// A session is told of the resources that it subscribed to, and of no others.
function sessionEvents(server) {
    const watched = new Set();
    server.server.setRequestHandler('resources/subscribe', ({ params }) => {
        watched.add(params.uri);
        return {};
    });
    server.server.setRequestHandler('resources/unsubscribe', ({ params }) => {
        watched.delete(params.uri);
        return {};
    });
    const events = serverEvents(server);
    return { ...events, resource: uri => (watched.has(uri) ? events.resource(uri) : undefined) };
}

// An instance that lives for one request only tells the others.
function busChanges(bus) {
    return {
        tools: () => bus.publish({ kind: 'tools_list_changed' }),
        prompts: () => bus.publish({ kind: 'prompts_list_changed' }),
        resource: uri => bus.publish({ kind: 'resource_updated', uri })
    };
}

function told(events, event) {
    if (event.kind === 'resource_updated') events.resource(event.uri);
    if (event.kind === 'tools_list_changed') events.tools();
    if (event.kind === 'prompts_list_changed') events.prompts();
}
