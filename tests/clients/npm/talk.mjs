// Runs the samples of the official npm client against a server; prints one JSON object.
import OpenAI, { toFile } from "openai";

const [origin, apiKey, model, what, question] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${origin}/v1`, apiKey, maxRetries: 0 });
const tools = [{ type: "code_interpreter" }];
const request = { model, input: question, tools, enable_thinking: true };
const messages = [{ role: "user", content: question }];

async function responses() {
  let thinking = "", answer = "", usage = null;
  const codes = [];
  for await (const event of await client.responses.create({ ...request, stream: true })) {
    if (event.type === "response.reasoning_summary_text.delta") thinking += event.delta;
    if (event.type === "response.output_text.delta") answer += event.delta;
    if (event.type === "response.output_item.done" && event.item.code !== undefined)
      codes.push([event.item.code, event.item.outputs[0].logs]);
    if (event.type === "response.completed") usage = event.response.usage;
  }
  return { thinking, answer, codes, count: usage.x_tools.code_interpreter.count };
}

async function helper() {
  const stream = client.responses.stream(request);
  let code = "";
  stream.on("response.code_interpreter_call_code.delta", (event) => { code += event.delta; });
  const final = await stream.finalResponse();
  return { answer: final.output_text, types: final.output.map((item) => item.type), code };
}

async function chat() {
  let thinking = "", answer = "", empty = 0;
  const stream = await client.chat.completions.create({
    model, messages, stream: true, enable_thinking: true, enable_code_interpreter: true,
  });
  for await (const chunk of stream) {
    if (!chunk.choices?.length) { empty += 1; continue; }
    const delta = chunk.choices[0].delta;
    if (delta.reasoning_content !== undefined && delta.reasoning_content !== null)
      thinking += delta.reasoning_content;
    if (delta.content) answer += delta.content;
  }
  return { thinking, answer, empty };
}

async function wrong() {
  try {
    await client.responses.create({ ...request, enable_thinking: false });
  } catch (error) {
    const { status, code, param, type, requestID } = error;
    return { name: error.constructor.name, status, code, param, type, hasId: Boolean(requestID) };
  }
  return {};
}

async function files() {
  const file = await client.files.create({
    file: await toFile(Buffer.from("1\n2\n3\n"), "data.csv"), purpose: "user_data",
  });
  const container = { type: "auto", file_ids: [file.id] };
  const response = await client.responses.create({
    model, input: question, tools: [{ type: "code_interpreter", container }],
  });
  const cited = response.output.at(-1).content[0].annotations[0];
  const where = { container_id: cited.container_id };
  const content = await client.containers.files.content.retrieve(cited.file_id, where);
  const names = [];
  for await (const one of client.containers.files.list(cited.container_id, { limit: 1 }))
    names.push(one.path);
  const kept = await client.files.content(file.id);
  await client.containers.files.delete(cited.file_id, where);
  const gone = await client.containers.delete(cited.container_id).then(() => true);
  const deleted = (await client.files.delete(file.id)).deleted;
  return {
    filename: cited.filename, made: await content.text(), names: names.sort(),
    kept: await kept.text(), deleted, gone,
  };
}

async function leave() {
  const stream = await client.responses.create({ ...request, stream: true });
  for await (const event of stream)
    if (event.type === "response.code_interpreter_call.interpreting") stream.controller.abort();
  return { aborted: stream.controller.signal.aborted };
}

const kinds = { leave, files, responses, helper, chat, wrong };
console.log(JSON.stringify(await kinds[what]()));
