// Talks to a server with Vercel's AI SDK: `node talk.mjs HOW ORIGIN KEY MODEL`. Prints one JSON object.
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";

const [how, origin, apiKey, model] = process.argv.slice(2);
const openai = createOpenAI({ baseURL: `${origin}/v1`, apiKey });
const asked = [];
const settings = {
  model: openai.responses(model),
  prompt: "How warm is Paris, and what is 123**21?",
  maxRetries: 0,
  stopWhen: stepCountIs(5),
  tools: {
    code_interpreter: openai.tools.codeInterpreter({}),
    get_weather: tool({
      description: "How warm it is at a place.",
      inputSchema: jsonSchema({
        type: "object",
        properties: { city: { type: "string" } },
        required: ["city"],
      }),
      execute: async ({ city }) => {
        asked.push(city);
        return "21 degrees";
      },
    }),
  },
};
let answer;
if (how === "streamed") {
  const result = streamText({ ...settings, onError: ({ error }) => { throw error; } });
  answer = await result.text;
} else {
  answer = (await generateText(settings)).text;
}
console.log(JSON.stringify({ answer, asked }));
