// Calls that need input and take several rounds: an answer `input_required`, then the same call with the responses.

import { acceptedContent, inputRequired, inputResponse } from '@modelcontextprotocol/server';
import { z } from 'zod';

import { say, text } from './media.mjs';
import { related } from './tools.mjs';

const CLIENT_CAPABILITIES = 'io.modelcontextprotocol/clientCapabilities';

const form = (field, type) => ({ type: 'object', properties: { [field]: { type } }, required: [field] });
const ask = (message, field, type = 'string') => inputRequired.elicit({ message, requestedSchema: form(field, type) });
const sample = (prompt, maxTokens) =>
    inputRequired.createMessage({ messages: [{ role: 'user', content: text(prompt) }], maxTokens });

// What a response held, or undefined: then the tool asks again, which also is the answer to a wrong response.
const string = (ctx, key, field) =>
    acceptedContent(ctx.mcpReq.inputResponses, key, z.object({ [field]: z.string() }))?.[field];
const sampled = (ctx, key) => {
    const response = inputResponse(ctx.mcpReq.inputResponses, key);
    return response.kind === 'sampling' ? response.result.content : undefined;
};
const roots = (ctx, key) => {
    const response = inputResponse(ctx.mcpReq.inputResponses, key);
    return response.kind === 'roots' ? response.roots : undefined;
};

export function addRounds(server, era, codec) {
    const tool = (name, description, answer) => server.registerTool(name, { description }, answer);
    oneRound(tool);
    withState(tool, codec);
    byCapability(server, era, tool);
    prompt(server);
}

function oneRound(tool) {
    const elicitation = ctx => {
        const name = string(ctx, 'user_name', 'name');
        if (name === undefined) {
            return inputRequired({ inputRequests: { user_name: ask('What is your name?', 'name') } });
        }
        return say(`Hello, ${name}!`);
    };
    tool('test_input_required_result_elicitation', 'Needs a name from the user', elicitation);
    tool('test_streaming_elicitation', 'Needs a name from the user', elicitation);
    tool('test_input_required_result_sampling', 'Needs a sampled answer', ctx => {
        const content = sampled(ctx, 'capital_question');
        if (content === undefined) {
            const capital_question = sample('What is the capital of France?', 100);
            return inputRequired({ inputRequests: { capital_question } });
        }
        return say(`The model said: ${content.text}`);
    });
    tool('test_input_required_result_list_roots', 'Needs the roots of the client', ctx => {
        const found = roots(ctx, 'client_roots');
        if (found === undefined) {
            return inputRequired({ inputRequests: { client_roots: inputRequired.listRoots() } });
        }
        return say(`Roots: ${found.map(root => `${root.name} ${root.uri}`).join(', ')}`);
    });
}

function withState(tool, codec) {
    const confirmed = ctx => acceptedContent(ctx.mcpReq.inputResponses, 'confirm', z.object({ ok: z.boolean() }));
    const confirm = async (ctx, done) => {
        const state = ctx.mcpReq.requestState();
        if (confirmed(ctx) === undefined || state?.step !== 'confirm') {
            return inputRequired({
                inputRequests: { confirm: ask('Please confirm', 'ok', 'boolean') },
                requestState: await codec.mint({ step: 'confirm' }, ctx)
            });
        }
        return say(done);
    };
    tool('test_input_required_result_request_state', 'Needs a confirmation and its own state back', ctx =>
        confirm(ctx, 'state-ok')
    );
    tool('test_input_required_result_tampered_state', 'Refuses state that was tampered with', ctx =>
        confirm(ctx, 'The state is as it was minted')
    );
    tool('test_input_required_result_multiple_inputs', 'Needs three answers at once', async ctx => {
        const name = string(ctx, 'user_name', 'name');
        const greeting = sampled(ctx, 'greeting');
        const found = roots(ctx, 'client_roots');
        if (name === undefined || greeting === undefined || found === undefined) {
            return inputRequired({
                inputRequests: {
                    user_name: ask('What is your name?', 'name'),
                    greeting: sample('Generate a greeting', 50),
                    client_roots: inputRequired.listRoots()
                },
                requestState: await codec.mint({ step: 'all' }, ctx)
            });
        }
        return say(`${greeting.text} ${name}, of ${found.length} roots`);
    });
    tool('test_input_required_result_multi_round', 'Needs two answers, one after the other', async ctx => {
        const state = ctx.mcpReq.requestState() ?? { round: 1 };
        const name = state.round === 1 ? string(ctx, 'step1', 'name') : state.name;
        if (name === undefined) {
            return inputRequired({
                inputRequests: { step1: ask('Step 1: What is your name?', 'name') },
                requestState: await codec.mint({ round: 1 }, ctx)
            });
        }
        const color = state.round === 2 ? string(ctx, 'step2', 'color') : undefined;
        if (color === undefined) {
            return inputRequired({
                inputRequests: { step2: ask('Step 2: What is your favorite color?', 'color') },
                requestState: await codec.mint({ round: 2, name }, ctx)
            });
        }
        return say(`${name} likes ${color}`);
    });
}

function byCapability(server, era, tool) {
    const question = sample('Are you there?', 10).params;
    tool('test_missing_capability', 'Needs a client that declares sampling', async ctx => {
        // Asks without a look at what the client declared, as session servers do; whoever receives it must refuse.
        if (era === 'legacy') return say((await ctx.mcpReq.requestSampling(question, related(ctx))).content.text);
        // The SDK answers -32021 for us when the client did not declare sampling.
        const content = sampled(ctx, 'answer');
        if (content === undefined) return inputRequired({ inputRequests: { answer: inputRequired.createMessage(question) } });
        return say(content.text);
    });
    tool('test_input_required_result_capabilities', 'Asks only what this client can answer', ctx => {
        const declared =
            era === 'legacy' ? server.server.getClientCapabilities() : ctx.mcpReq.envelope[CLIENT_CAPABILITIES];
        const inputRequests = {
            ...(declared.elicitation && { user_name: ask('What is your name?', 'name') }),
            ...(declared.sampling && { greeting: sample('Generate a greeting', 50) }),
            ...(declared.roots && { client_roots: inputRequired.listRoots() })
        };
        const missing = Object.keys(inputRequests).some(key => ctx.mcpReq.inputResponses?.[key] === undefined);
        return missing ? inputRequired({ inputRequests }) : say('Asked what could be asked');
    });
}

function prompt(server) {
    server.registerPrompt(
        'test_input_required_result_prompt',
        { description: 'Needs context from the user' },
        ctx => {
            const context = string(ctx, 'user_context', 'context');
            if (context === undefined) {
                const user_context = ask('What context should the prompt use?', 'context');
                return inputRequired({ inputRequests: { user_context } });
            }
            return { messages: [{ role: 'user', content: text(`In the context of ${context}:`) }] };
        }
    );
}
