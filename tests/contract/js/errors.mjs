// How clients of a JavaScript program report errors of a server: `node errors.mjs URL KEY ASKED` prints one JSON object,
// client -> case -> what a program reads. ASKED is JSON, case -> {key, model, raise}; see tests/contract/api/test_client_errors.py.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";
import OpenAI from "openai";

const [url, asked] = [process.argv[2], JSON.parse(process.argv[3])];

const raised = (call) =>
  call.then(
    () => "no error",
    (error) => error,
  );

async function openai({ key, model, raise }, stream) {
  const client = new OpenAI({ apiKey: key, baseURL: `${url}/v1`, maxRetries: 0 });
  const body = { model, messages: [{ role: "user", content: "Hi" }], raise, stream };
  const error = await raised(client.chat.completions.create(body));
  const { status, code, type, param, message, requestID } = error;
  return { kind: error.constructor.name, status, code, type, param, message, id: requestID };
}

// A body with more fields than the SDK knows: `fetch` adds them.
function vercel({ key, model, raise }) {
  const adding = (to, init) => fetch(to, { ...init, body: JSON.stringify({ ...JSON.parse(init.body), raise }) });
  return createOpenAICompatible({ name: "kingpost", apiKey: key, baseURL: `${url}/v1`, fetch: adding })(model);
}

function ofVercel(error) {
  const { code, type, param } = error.data.error;
  return { kind: error.name, status: error.statusCode, code, type, param, message: error.message, retryable: error.isRetryable };
}

async function generated(one) {
  return ofVercel(await raised(generateText({ model: vercel(one), prompt: "Hi", maxRetries: 0 })));
}

async function streamed(one) {
  const errors = [];
  const stream = streamText({ model: vercel(one), prompt: "Hi", maxRetries: 0, onError: ({ error }) => errors.push(error) });
  for await (const _ of stream.textStream);
  return ofVercel(errors[0]);
}

const clients = { openai: (one) => openai(one, false), "openai stream": (one) => openai(one, true), generateText: generated, streamText: streamed };
const found = {};
for (const [name, ask] of Object.entries(clients)) {
  found[name] = {};
  for (const [kind, one] of Object.entries(asked)) found[name][kind] = await ask(one);
}
console.log(JSON.stringify(found));
