// Talking with the server: JSON both ways, streams of events, and errors that say what happened.

const HEADERS = { "x-cellblock-page": "1" };
export const SECOND_MS = 1000;

/** An answer of the server that is an error; `status` 0 means that there was none. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

export type Json = Record<string, unknown>;

export interface StreamEvent {
  event: string;
  data: Json;
}

async function request(
  method: string,
  path: string,
  body?: BodyInit | Json,
  signal?: AbortSignal,
): Promise<Response> {
  const isPlain = body === undefined || body instanceof Blob || body instanceof FormData;
  const init: RequestInit = { method, headers: { ...HEADERS }, credentials: "same-origin" };
  if (signal) init.signal = signal;
  if (isPlain) {
    if (body !== undefined) init.body = body as BodyInit;
  } else {
    init.body = JSON.stringify(body);
    init.headers = { ...HEADERS, "content-type": "application/json" };
  }
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(0, String(error));
  }
  if (!response.ok) throw new ApiError(response.status, await messageOf(response));
  return response;
}

async function messageOf(response: Response): Promise<string> {
  const text = await response.text().catch(() => "");
  try {
    const body = JSON.parse(text) as { error?: { message?: string }; message?: string };
    return body.error?.message ?? body.message ?? text;
  } catch {
    return text || `HTTP ${response.status}`;
  }
}

export async function call<T = Json>(
  method: string,
  path: string,
  body?: BodyInit | Json,
  signal?: AbortSignal,
): Promise<T> {
  const response = await request(method, path, body, signal);
  return (await response.json()) as T;
}

/** The events of a stream, as they come. It ends when the server ends it, or throws. */
export async function* events(
  method: string,
  path: string,
  body?: Json,
  signal?: AbortSignal,
): AsyncGenerator<StreamEvent> {
  const response = await request(method, path, body, signal);
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      let piece: ReadableStreamReadResult<string>;
      try {
        piece = await reader.read();
      } catch (error) {
        if (signal?.aborted) throw error;
        throw new ApiError(0, String(error));
      }
      if (piece.done) return;
      const blocks = (rest + piece.value).split("\n\n");
      rest = blocks.pop() ?? "";
      for (const block of blocks) {
        const found = parsed(block);
        if (found) yield found;
      }
    }
  } finally {
    void reader.cancel().catch(() => undefined);
  }
}

function parsed(block: string): StreamEvent | null {
  let event = "message";
  const data: string[] = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) event = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
  }
  if (!data.length) return null;
  try {
    return { event, data: JSON.parse(data.join("\n")) as Json };
  } catch {
    return null;
  }
}

export interface List<T> {
  data: T[];
  has_more?: boolean;
  last_id?: string | null;
}

/** All pages of a list, oldest first. */
export async function all<T>(path: string): Promise<T[]> {
  const found: T[] = [];
  let after = "";
  for (;;) {
    const mark = path.includes("?") ? "&" : "?";
    const page = await call<List<T>>(
      "GET",
      `${path}${mark}order=asc&limit=100${after ? `&after=${encodeURIComponent(after)}` : ""}`,
    );
    found.push(...page.data);
    if (!page.has_more || !page.last_id) return found;
    after = page.last_id;
  }
}

export const part = encodeURIComponent;
export const pause = (ms: number) => new Promise<void>((done) => setTimeout(done, ms));
