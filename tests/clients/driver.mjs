// What every TypeScript client driver does: read a scenario from stdin, connect, run its steps, print one JSON line each.
//
// Scenario: { url | command, transport: "http" | "sse" | "ws" | "stdio", era, answers: { elicitation, sampling, roots },
//             steps: [{ do: "callTool", name, arguments, ... }] }
// Output:   { connected: { version, server, capabilities } }, then for each step
//           { do, ok | error: { code, message, data }, events: [notifications that came during the step] }
//
// The adapter of a client gives { client, transport, modern, answer(method, fn), callTool(params, options) }.

const DEADLINE_MS = 30_000;
const LOG_LEVEL = 'io.modelcontextprotocol/logLevel';

export async function drive(adapt) {
    const scenario = JSON.parse(await readAll(process.stdin));
    const adapter = await adapt(scenario);
    const run = new Run(adapter, scenario);
    await run.connect();
    for (const step of scenario.steps) await run.step(step);
    await adapter.client.close();
    // A stream that a server keeps open would keep this process alive.
    process.exit(0);
}

export function capabilitiesOf({ answers = {} }) {
    return {
        ...(answers.elicitation && { elicitation: {} }),
        ...(answers.sampling && { sampling: {} }),
        ...(answers.roots && { roots: { listChanged: true } })
    };
}

class Run {
    #adapter;
    #answers;
    #events = [];
    #waiters = new Set();

    constructor(adapter, { answers = {} }) {
        this.#adapter = adapter;
        this.#answers = answers;
    }

    async connect() {
        const { client, transport, answer } = this.#adapter;
        client.fallbackNotificationHandler = async ({ method, params }) => this.#seen({ method, params });
        // The SDKs forget who waits for progress as soon as they read the result, and only then tell of a notification that
        // they read along with it. So it is taken as any other notification, before it is sorted to its request.
        client.removeNotificationHandler('notifications/progress');
        const { elicitation, sampling, roots } = this.#answers;
        if (elicitation) answer('elicitation/create', this.#asked('elicitation/create', elicitation));
        if (sampling) answer('sampling/createMessage', this.#asked('sampling/createMessage', sampling));
        if (roots) answer('roots/list', this.#asked('roots/list', { roots }));
        await client.connect(transport, { timeout: DEADLINE_MS });
        print({
            connected: {
                version: this.#adapter.version(),
                server: client.getServerVersion(),
                capabilities: client.getServerCapabilities(),
                instructions: client.getInstructions()
            }
        });
    }

    async step(step) {
        this.#events = [];
        const line = { do: step.do };
        try {
            line.ok = (await this[step.do](step)) ?? {};
        } catch (error) {
            line.error = { code: error.code, message: error.message, data: error.data };
        }
        print({ ...line, events: this.#events });
    }

    listTools = () => this.#pages('tools', cursor => this.#adapter.client.listTools(cursor));
    listPrompts = () => this.#pages('prompts', cursor => this.#adapter.client.listPrompts(cursor));
    listResources = () => this.#pages('resources', cursor => this.#adapter.client.listResources(cursor));
    listResourceTemplates = () =>
        this.#pages('resourceTemplates', cursor => this.#adapter.client.listResourceTemplates(cursor));
    readResource = ({ uri }) => this.#adapter.client.readResource({ uri });
    getPrompt = ({ name, arguments: args }) => this.#adapter.client.getPrompt({ name, arguments: args });
    complete = ({ ref, argument }) => this.#adapter.client.complete({ ref, argument });
    ping = () => this.#adapter.client.ping();
    setLevel = ({ level }) => this.#adapter.client.setLoggingLevel(level);

    callTool({ name, arguments: args = {}, progress, logLevel }, options = {}) {
        const params = { name, arguments: args, ...(logLevel && { _meta: { [LOG_LEVEL]: logLevel } }) };
        // It makes the SDK ask for progress.
        const onprogress = progress ? () => {} : undefined;
        return this.#adapter.callTool(params, { timeout: DEADLINE_MS, onprogress, ...options });
    }

    // Calls a tool as a task of 2025-11-25 and follows it to its end, as the SDK does.
    callToolAsTask = ({ name, arguments: args = {} }) =>
        this.#adapter.callToolAsTask({ name, arguments: args }, { timeout: DEADLINE_MS });

    // Cancels a call once its first progress proves that it runs at the server.
    async cancel(step) {
        const abort = new AbortController();
        const call = this.callTool({ ...step, progress: true }, { signal: abort.signal });
        await this.#until(event => event.method === 'notifications/progress');
        abort.abort('no longer wanted');
        return await call.then(
            () => {
                throw new Error('the call was answered although it was cancelled');
            },
            error => ({ cancelled: String(error.message ?? error) })
        );
    }

    // Subscribes to a resource, makes the server change it, and returns the update.
    async subscribe({ uri, trigger }) {
        const { client, modern } = this.#adapter;
        const listening = modern() ? await client.listen({ resourceSubscriptions: [uri] }) : undefined;
        if (!listening) await client.subscribeResource({ uri });
        await this.callTool(trigger);
        const update = await this.#until(event => event.method === 'notifications/resources/updated');
        if (listening) await listening.close();
        else await client.unsubscribeResource({ uri });
        return update.params;
    }

    // Makes the server change its list of tools, and waits until this client is told.
    async toolsChanged({ trigger }) {
        const { client, modern } = this.#adapter;
        const listening = modern() ? await client.listen({ toolsListChanged: true }) : undefined;
        await this.callTool(trigger);
        await this.#until(event => event.method === 'notifications/tools/list_changed');
        await listening?.close();
    }

    // All pages in one list; the SDKs differ in whether they follow the cursor themselves.
    async #pages(key, list) {
        const all = [];
        let cursor;
        do {
            const page = await list(cursor === undefined ? undefined : { cursor });
            all.push(...page[key]);
            cursor = page.nextCursor;
        } while (cursor !== undefined);
        return { [key]: all };
    }

    #asked(method, answer) {
        return async ({ params }) => {
            this.#seen({ method, params });
            return answer;
        };
    }

    #seen(event) {
        this.#events.push(event);
        for (const waiter of [...this.#waiters]) waiter();
    }

    #until(wanted) {
        return new Promise((resolve, reject) => {
            const look = () => {
                const event = this.#events.find(wanted);
                if (!event) return;
                clearTimeout(timer);
                this.#waiters.delete(look);
                resolve(event);
            };
            const timer = setTimeout(() => reject(new Error(`only saw ${JSON.stringify(this.#events)}`)), DEADLINE_MS);
            this.#waiters.add(look);
            look();
        });
    }
}

async function readAll(stream) {
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    return Buffer.concat(chunks).toString();
}

function print(line) {
    process.stdout.write(`${JSON.stringify(line)}\n`);
}
