// Loaded before a server that has a fixed port and listens on every address (`node --import`): it listens on a free port
// of the loopback address instead, and prints {"event":"listening","mcp":URL} with the path in MCP_PATH.

import { Server } from 'node:net';

const { listen } = Server.prototype;

Server.prototype.listen = function (_port, ...rest) {
    this.once('listening', () => {
        const mcp = `http://127.0.0.1:${this.address().port}${process.env.MCP_PATH}`;
        process.stdout.write(`${JSON.stringify({ event: 'listening', mcp })}\n`);
    });
    return listen.call(this, 0, '127.0.0.1', ...rest);
};
