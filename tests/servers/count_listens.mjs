// Loaded before a server (`node --import`): prints {"event":"listens","open":N,"ever":N} each time a subscription of
// 2026-07-28 over HTTP begins or ends. With PORT set, the server listens there, so that it can be started again in its place.

import { Server } from 'node:http';
import { Server as Listener } from 'node:net';

const counted = { event: 'listens', open: 0, ever: 0 };
const count = (open, ever) => {
    counted.open += open;
    counted.ever += ever;
    process.stdout.write(`${JSON.stringify(counted)}\n`);
};

const { emit } = Server.prototype;
Server.prototype.emit = function (event, request, response) {
    if (event === 'request' && request.headers['mcp-method'] === 'subscriptions/listen') {
        count(1, 1);
        response.once('close', () => count(-1, 0));
    }
    return Reflect.apply(emit, this, arguments);
};

const { listen } = Listener.prototype;
Listener.prototype.listen = function (port, ...rest) {
    return listen.call(this, Number(process.env.PORT ?? port), ...rest);
};
