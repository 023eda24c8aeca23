// Prompts that answer in one go.

import { completable } from '@modelcontextprotocol/server';
import { z } from 'zod';

import { image, text } from './media.mjs';

const WORDS = ['paris', 'park', 'party', 'london'];
const user = content => ({ role: 'user', content });

export function addPrompts(server) {
    server.registerPrompt('test_simple_prompt', { description: 'A prompt without arguments' }, () => ({
        messages: [user(text('This is a simple prompt for testing.'))]
    }));
    const word = about => completable(z.string().describe(about), value => WORDS.filter(word => word.startsWith(value)));
    server.registerPrompt(
        'test_prompt_with_arguments',
        {
            description: 'A prompt with two arguments',
            argsSchema: z.object({
                arg1: word('First test argument'),
                arg2: word('Second test argument')
            })
        },
        ({ arg1, arg2 }) => ({ messages: [user(text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`))] })
    );
    server.registerPrompt(
        'test_prompt_with_embedded_resource',
        {
            description: 'A prompt that embeds a resource',
            argsSchema: z.object({ resourceUri: z.string().describe('URI of the resource to embed') })
        },
        ({ resourceUri }) => ({
            messages: [
                user({
                    type: 'resource',
                    resource: { uri: resourceUri, mimeType: 'text/plain', text: 'Embedded resource content for testing.' }
                }),
                user(text('Please process the embedded resource above.'))
            ]
        })
    );
    server.registerPrompt('test_prompt_with_image', { description: 'A prompt that contains an image' }, () => ({
        messages: [user(image), user(text('Please analyze the image above.'))]
    }));
}
