// Looks on at tasks on a WebSocket: prints each message as a line, and sends each line that it reads.
import readline from 'node:readline';

const socket = new WebSocket(process.argv[2]);
const print = message => process.stdout.write(JSON.stringify(message) + '\n');
socket.onopen = () => print({ event: 'open' });
socket.onmessage = message => process.stdout.write(message.data + '\n');
socket.onclose = close => {
    print({ event: 'close', code: close.code, clean: close.wasClean });
    process.exit(0);
};
const lines = readline.createInterface({ input: process.stdin });
lines.on('line', line => socket.send(line));
lines.on('close', () => socket.close());
