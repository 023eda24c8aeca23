// Over HTTP: stateless requests go to the SDK's per-request handler, everything else to a session.

import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';

import { localhostHostValidation, localhostOriginValidation, toNodeHandler } from '@modelcontextprotocol/node';
import {
    createMcpHandler,
    InMemoryServerEventBus,
    isLegacyRequest,
    WebStandardStreamableHTTPServerTransport
} from '@modelcontextprotocol/server';

import { build } from './build.mjs';

export function serveHttp(port) {
    const bus = new InMemoryServerEventBus();
    const modern = createMcpHandler(context => build(context, bus), { legacy: 'reject', bus });
    const sessions = new Sessions(bus);
    const fetch = async request => ((await isLegacyRequest(request)) ? sessions.fetch(request) : modern.fetch(request));
    return listen({ fetch }, port);
}

// Serves on the loopback address, to callers that know that it is one.
export function listen(handler, port) {
    const handle = toNodeHandler(handler);
    const hostIsLocal = localhostHostValidation();
    const originIsLocal = localhostOriginValidation();
    const server = createServer((request, response) => {
        if (hostIsLocal(request, response) && originIsLocal(request, response)) handle(request, response);
    });
    return new Promise(resolve =>
        server.listen(port, '127.0.0.1', () => resolve(`http://127.0.0.1:${server.address().port}/mcp`))
    );
}

// A session per `initialize`, as the revisions up to 2025-11-25 have it.
export class Sessions {
    #bus;
    #transports = new Map();

    constructor(bus) {
        this.#bus = bus;
    }

    async fetch(request) {
        const id = request.headers.get('mcp-session-id');
        const transport = id === null ? await this.#open() : this.#transports.get(id);
        return transport ? transport.handleRequest(request) : unknownSession();
    }

    async #open() {
        const transport = new WebStandardStreamableHTTPServerTransport({
            sessionIdGenerator: randomUUID,
            eventStore: new Events(),
            retryInterval: 100,
            onsessioninitialized: id => this.#transports.set(id, transport),
            onsessionclosed: id => this.#transports.delete(id)
        });
        await build({ era: 'legacy' }, this.#bus).connect(transport);
        return transport;
    }
}

function unknownSession() {
    const error = { code: -32_001, message: 'Session not found' };
    return Response.json({ jsonrpc: '2.0', id: null, error }, { status: 404 });
}

// What a client that lost its stream may ask for again. It lives as long as its session.
class Events {
    #events = [];

    async storeEvent(stream, message) {
        this.#events.push({ stream, message });
        return `${stream}:${this.#events.length - 1}`;
    }

    async replayEventsAfter(last, { send }) {
        const split = last.lastIndexOf(':');
        const stream = last.slice(0, split);
        for (let n = Number(last.slice(split + 1)) + 1; n < this.#events.length; n++) {
            const event = this.#events[n];
            if (event.stream === stream && event.message !== undefined) await send(`${stream}:${n}`, event.message);
        }
        return stream;
    }
}
