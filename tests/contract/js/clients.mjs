// What each client of a JavaScript program gets from a model of Kingpost: `node clients.mjs URL KEY` prints one JSON object,
// case -> {got} or {error}. The model is tests/contract/api/models/talker.
import Anthropic from "@anthropic-ai/sdk";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";
import OpenAI from "openai";

const [url, key] = process.argv.slice(2);
const own = `${url}/models/talker/environments/production/sync/v1`;
const model = "talker";
const messages = [{ role: "user", content: "Hi" }];
const openai = new OpenAI({ apiKey: key, baseURL: `${url}/v1`, maxRetries: 0 });
const anthropic = new Anthropic({ apiKey: key, baseURL: url, maxRetries: 0 });
const asked = { model, max_tokens: 10, messages };

async function all(stream, piece) {
  const pieces = [];
  for await (const one of stream) {
    const text = piece(one);
    if (text) pieces.push(text);
  }
  return pieces;
}

const ofChat = (chunk) => chunk.choices[0]?.delta?.content;
const ofMessage = (event) => event.type === "content_block_delta" && event.delta.text;

// As @livekit/agents 1.9 asks (dist/inference/llm.js): its own User-Agent beside the SDK's `Accept: application/json`.
const livekit = { headers: { "User-Agent": `livekit-agents-js/1.9.0 (node ${process.version})` }, timeout: 30_000 };
const asLivekit = (client) =>
  client.chat.completions
    .create({ model, messages, tools: undefined, stream: true, stream_options: { include_usage: true } }, livekit)
    .then((stream) => all(stream, ofChat));

// The name of the SDK's class, the status, and what the caller reads.
const refusal = (call) =>
  call.then(
    () => "not refused",
    (error) => [error.constructor.name, error.status, String(error.message)],
  );

const vercel = createOpenAICompatible({ name: "kingpost", apiKey: key, baseURL: `${url}/v1`, includeUsage: true });

const cases = {
  "openai chat": async () => (await openai.chat.completions.create({ model, messages })).choices[0].message.content,
  "openai chat stream": async () => all(await openai.chat.completions.create({ model, messages, stream: true }), ofChat),
  "openai chat stream at the model's own address": async () => {
    const client = new OpenAI({ apiKey: key, baseURL: own, maxRetries: 0 });
    return all(await client.chat.completions.create({ model, messages, stream: true }), ofChat);
  },
  "openai embeddings": async () =>
    (await openai.embeddings.create({ model, input: ["a", "bb"], encoding_format: "float" })).data.map((one) => one.embedding[0]),
  "openai responses stream": async () =>
    all(await openai.responses.create({ model, input: "Hi", stream: true }), (event) => event.type),
  "openai unknown model": () => refusal(openai.chat.completions.create({ model: "nobody", messages })),
  "openai wrong key": () => refusal(new OpenAI({ apiKey: "no", baseURL: `${url}/v1`, maxRetries: 0 }).models.list()),
  "anthropic message": async () => (await anthropic.messages.create(asked)).content[0].text,
  "anthropic stream": async () => all(await anthropic.messages.create({ ...asked, stream: true }), ofMessage),
  "anthropic stream helper": async () => anthropic.messages.stream(asked).finalText(),
  "anthropic with a token": async () =>
    new Anthropic({ apiKey: null, authToken: key, baseURL: url, maxRetries: 0 }).messages.stream(asked).finalText(),
  "anthropic stream at the model's own address": async () => {
    const client = new Anthropic({ apiKey: key, baseURL: own.replace(/\/v1$/, ""), maxRetries: 0 });
    return all(await client.messages.create({ ...asked, stream: true }), ofMessage);
  },
  "anthropic unknown model": () => refusal(anthropic.messages.create({ ...asked, model: "nobody" })),
  "ai generateText": async () => (await generateText({ model: vercel(model), prompt: "Hi", maxRetries: 0 })).text,
  "ai streamText": async () => all(streamText({ model: vercel(model), prompt: "Hi", maxRetries: 0 }).textStream, (text) => text),
  "livekit openai stream": () => asLivekit(openai),
  "livekit openai stream at the model's own address": () =>
    asLivekit(new OpenAI({ apiKey: key, baseURL: own, maxRetries: 0 })),
  "livekit anthropic stream": async () =>
    all(await anthropic.messages.create({ ...asked, stream: true }, livekit), ofMessage),
};

const found = {};
for (const [name, ask] of Object.entries(cases)) {
  try {
    found[name] = { got: await ask() };
  } catch (error) {
    found[name] = { error: `${error.constructor.name}: ${error.message}` };
  }
}
console.log(JSON.stringify(found));
