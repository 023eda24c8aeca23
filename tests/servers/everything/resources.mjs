// Direct resources and one template.

import { ResourceTemplate } from '@modelcontextprotocol/server';

import { PNG } from './media.mjs';

export function addResources(server) {
    const direct = (uri, name, mimeType, description, contents) =>
        server.registerResource(name, uri, { description, mimeType }, () => ({
            contents: [{ uri, mimeType, ...contents }]
        }));
    direct('test://static-text', 'static-text', 'text/plain', 'A text that never changes', {
        text: 'This is the content of the static text resource.'
    });
    direct('test://static-binary', 'static-binary', 'image/png', 'An image that never changes', { blob: PNG });
    direct('test://watched-resource', 'watched-resource', 'text/plain', 'A resource to subscribe to', {
        text: 'Watched resource content'
    });
    server.registerResource(
        'template',
        new ResourceTemplate('test://template/{id}/data', {
            list: undefined,
            complete: { id: value => ['123', '124', '200'].filter(id => id.startsWith(value)) }
        }),
        { description: 'Data for an id', mimeType: 'application/json' },
        (uri, { id }) => ({
            contents: [
                {
                    uri: uri.href,
                    mimeType: 'application/json',
                    text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` })
                }
            ]
        })
    );
}
