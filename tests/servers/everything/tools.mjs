// Tools that answer in one go, and those that ask their client one thing first.

import { setTimeout as pause } from 'node:timers/promises';

import { fromJsonSchema, inputRequired, inputResponse } from '@modelcontextprotocol/server';
import { z } from 'zod';

import { audio, image, PNG, say, text } from './media.mjs';

// Of all calls in this process: an instance lives for one request only.
const cancelled = { count: 0, waiting: [] };
let slowBegun = 0;

export function addTools(server, era, changes) {
    const tool = (name, description, answer) => server.registerTool(name, { description }, answer);
    content(tool);
    notifications(tool);
    questions(server, era);
    schemas(server);
    mutations(server, tool, changes);
}

function content(tool) {
    tool('test_simple_text', 'Answers with text', () => say('This is a simple text response for testing.'));
    tool('test_image_content', 'Answers with an image', () => ({ content: [image] }));
    tool('test_audio_content', 'Answers with audio', () => ({ content: [audio] }));
    tool('test_embedded_resource', 'Answers with an embedded resource', () => ({
        content: [
            {
                type: 'resource',
                resource: {
                    uri: 'test://embedded-resource',
                    mimeType: 'text/plain',
                    text: 'This is an embedded resource content.'
                }
            }
        ]
    }));
    tool('test_multiple_content_types', 'Answers with text, an image and a resource', () => ({
        content: [
            text('Multiple content types test:'),
            { type: 'image', data: PNG, mimeType: 'image/png' },
            {
                type: 'resource',
                resource: {
                    uri: 'test://mixed-content-resource',
                    mimeType: 'application/json',
                    text: JSON.stringify({ test: 'data', value: 123 })
                }
            }
        ]
    }));
    tool('test_error_handling', 'Always fails', () => {
        throw new Error('This tool intentionally returns an error for testing');
    });
}

// The pauses are the point here: a client must get each notification while the call still runs.
function notifications(tool) {
    tool('test_tool_with_logging', 'Logs three lines while it runs', async ctx => {
        await ctx.mcpReq.log('info', 'Tool execution started');
        await pause(50);
        await ctx.mcpReq.log('info', 'Tool processing data');
        await pause(50);
        await ctx.mcpReq.log('info', 'Tool execution completed');
        return say('Logged three lines');
    });
    tool('test_logging_tool', 'Logs one line when the request allows it', async ctx => {
        await ctx.mcpReq.log('info', 'Logged on request');
        return say('Logged what was allowed');
    });
    tool('test_tool_with_progress', 'Reports progress while it runs', async ctx => {
        const progressToken = ctx.mcpReq._meta?.progressToken;
        for (const progress of [0, 50, 100]) {
            if (progress > 0) await pause(50);
            if (progressToken === undefined) continue;
            const params = { progressToken, progress, total: 100, message: `${progress} of 100` };
            await ctx.mcpReq.notify({ method: 'notifications/progress', params });
        }
        // A client that reads the last notification and the result together forgets the notification.
        await pause(50);
        return say('Reported progress');
    });
    tool('test_reconnection', 'Closes its own stream half-way, so that the client must come back', async ctx => {
        ctx.http?.closeSSE?.();
        await pause(100);
        return say('Reconnection test completed successfully');
    });
    tool('test_slow', 'Reports once, then runs for a minute unless it is cancelled', async ctx => {
        slowBegun += 1;
        const progressToken = ctx.mcpReq._meta?.progressToken;
        if (progressToken !== undefined) {
            await ctx.mcpReq.notify({ method: 'notifications/progress', params: { progressToken, progress: 0 } });
        }
        try {
            await pause(60_000, undefined, { signal: ctx.mcpReq.signal });
        } catch {
            cancelled.count += 1;
            for (const tell of cancelled.waiting.splice(0)) tell();
        }
        return say('Nobody cancelled');
    });
    tool('test_cancelled_calls', 'Says how many calls were cancelled, as soon as one was', async () => {
        if (cancelled.count === 0) await new Promise(resolve => cancelled.waiting.push(resolve));
        return say(String(cancelled.count));
    });
    tool('test_slow_calls', 'Says how many calls of test_slow began, and how many of them were cancelled', () =>
        say(JSON.stringify({ begun: slowBegun, cancelled: cancelled.count }))
    );
}

// One question in the middle of a call. Before 2026-07-28 the server asks its client and waits; since then the answer is
// `input_required`, and the same call comes again with the response.
const ASK = {
    legacy: {
        sampling: (ctx, params, then) => ctx.mcpReq.requestSampling(params, related(ctx)).then(then),
        elicitation: (ctx, params, then) => ctx.mcpReq.elicitInput(params, related(ctx)).then(then)
    },
    modern: {
        sampling: (ctx, params, then) => answered(ctx, then) ?? asked(inputRequired.createMessage(params)),
        elicitation: (ctx, params, then) => answered(ctx, then) ?? asked(inputRequired.elicit(params))
    }
};
// Left alone the SDK asks on the standing stream, and a client that calls before it opened that one never hears of it.
export const related = ctx => ({ relatedRequestId: ctx.mcpReq.id });
const asked = question => inputRequired({ inputRequests: { question } });
const answered = (ctx, then) => {
    const { kind, result, ...elicited } = inputResponse(ctx.mcpReq.inputResponses, 'question');
    return kind === 'missing' ? undefined : then(result ?? elicited);
};

function questions(server, era) {
    const ask = ASK[era];
    server.registerTool(
        'test_sampling',
        { description: 'Asks the client to sample', inputSchema: z.object({ prompt: z.string() }) },
        ({ prompt }, ctx) =>
            ask.sampling(ctx, { messages: [{ role: 'user', content: text(prompt) }], maxTokens: 100 }, ({ content }) =>
                say(`LLM response: ${content.type === 'text' ? content.text : content.type}`)
            )
    );
    const elicit = (name, description, input, params, answer) =>
        server.registerTool(name, { description, ...input }, (...args) =>
            ask.elicitation(args.at(-1), params(args[0]), ({ action, content }) =>
                say(answer(action, JSON.stringify(content)))
            )
        );
    const completed = (action, given) => `Elicitation completed: action=${action}, content=${given}`;
    elicit(
        'test_elicitation',
        'Asks the user for a name and an address',
        { inputSchema: z.object({ message: z.string() }) },
        ({ message }) => ({
            message,
            requestedSchema: {
                type: 'object',
                properties: {
                    username: { type: 'string', description: "User's response" },
                    email: { type: 'string', description: "User's email address" }
                },
                required: ['username', 'email']
            }
        }),
        (action, given) => `User response: action: ${action}, content: ${given}`
    );
    elicit('test_elicitation_sep1034_defaults', 'Asks with a default for each type', {}, () => ({
        message: 'Please accept the defaults',
        requestedSchema: {
            type: 'object',
            properties: {
                name: { type: 'string', default: 'John Doe' },
                age: { type: 'integer', default: 30 },
                score: { type: 'number', default: 95.5 },
                status: { type: 'string', enum: ['active', 'inactive', 'pending'], default: 'active' },
                verified: { type: 'boolean', default: true }
            },
            required: []
        }
    }), completed);
    elicit('test_elicitation_sep1330_enums', 'Asks with each kind of choice', {}, () => ({
        message: 'Please choose',
        requestedSchema: { type: 'object', properties: CHOICES, required: [] }
    }), completed);
}

const titled = (prefix, ...titles) => titles.map((title, n) => ({ const: `${prefix}${n + 1}`, title }));
const CHOICES = {
    untitledSingle: { type: 'string', enum: ['option1', 'option2', 'option3'] },
    titledSingle: { type: 'string', oneOf: titled('value', 'First Option', 'Second Option', 'Third Option') },
    legacyEnum: {
        type: 'string',
        enum: ['opt1', 'opt2', 'opt3'],
        enumNames: ['Option One', 'Option Two', 'Option Three']
    },
    untitledMulti: { type: 'array', items: { type: 'string', enum: ['option1', 'option2', 'option3'] } },
    titledMulti: { type: 'array', items: { anyOf: titled('value', 'First Choice', 'Second Choice', 'Third Choice') } }
};

function schemas(server) {
    server.registerTool(
        'json_schema_2020_12_tool',
        { description: 'Tool with JSON Schema 2020-12 features', inputSchema: fromJsonSchema(RICH_SCHEMA) },
        args => say(JSON.stringify(args))
    );
    server.registerTool(
        'test_custom_header',
        {
            description: 'Has an argument that 2026-07-28 clients repeat in a header',
            inputSchema: fromJsonSchema({
                type: 'object',
                properties: {
                    region: { type: 'string', 'x-mcp-header': 'Region' },
                    query: { type: 'string' }
                },
                required: ['region']
            })
        },
        ({ region }) => say(`region ${region}`)
    );
}

// Each keyword that a typed relay may lose on the way.
const RICH_SCHEMA = {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    type: 'object',
    $defs: {
        address: {
            $anchor: 'addressDef',
            type: 'object',
            properties: { street: { type: 'string' }, city: { type: 'string' } }
        }
    },
    properties: {
        name: { type: 'string' },
        address: { $ref: '#/$defs/address' },
        contactMethod: { type: 'string', enum: ['phone', 'email'] },
        phone: { type: 'string' },
        email: { type: 'string' }
    },
    allOf: [{ anyOf: [{ required: ['phone'] }, { required: ['email'] }] }],
    if: { properties: { contactMethod: { const: 'phone' } }, required: ['contactMethod'] },
    then: { required: ['phone'] },
    else: { required: ['email'] },
    additionalProperties: false
};

function mutations(server, tool, changes) {
    tool('test_trigger_tool_change', 'Tells listeners that the tools changed', () => {
        changes.tools();
        return say('Told');
    });
    tool('test_trigger_prompt_change', 'Tells listeners that the prompts changed', () => {
        changes.prompts();
        return say('Told');
    });
    server.registerTool(
        'test_trigger_resource_update',
        { description: 'Tells subscribers that a resource changed', inputSchema: z.object({ uri: z.string() }) },
        ({ uri }) => {
            changes.resource(uri);
            return say('Told');
        }
    );
}
