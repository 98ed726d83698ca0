// Conversations: asking, following the answer over lost connections, stopping, branching.

import { ApiError, SECOND_MS, all, call, events, part, pause, type Json, type List } from "./api";
import { keepPoint, note, refresh, rollBack } from "./panel";
import { changed, isBusy, newKey, set, state, type Attachment, type Talk, type Turn } from "./state";
import type { Conversation, Item, Point } from "./types";
import { t } from "./words";

const TITLE_CHARS = 80;
const FILES_KEY = "files";
const METADATA_CHARS = 500;
const RETRIES_MS = [200, 500, 1000, 2000, 4000];
const FINAL = new Set(["completed", "failed", "incomplete", "cancelled"]);
const INCLUDE = ["code_interpreter_call.outputs", "code_interpreter_call.x_outcome"];
const KEPT_ITEMS = 20;
const PENDING = "cellblock-pending";

// ---- the list -----------------------------------------------------------------------------------

export async function loadConversations(): Promise<void> {
  const found = await call<List<Conversation>>("GET", "/page/conversations");
  set({ conversations: found.data });
}

export function newTalk(): void {
  const talk: Talk = {
    id: "",
    metadata: { page: "1" },
    turns: [],
    isLoaded: true,
    attachments: [],
    containerId: "",
  };
  set({ talk, contest: null, drawer: "", view: "chat" });
  showAddress();
  void refresh();
}

export async function openTalk(id: string): Promise<void> {
  if (state.talk?.id === id && !state.contest) return set({ drawer: "" });
  const talk = await loadTalk(id);
  set({ talk, contest: null, drawer: "", view: "chat" });
  showAddress();
  void refresh();
  const pending = pendingOf(id);
  if (pending) void resume(talk, pending);
}

async function loadTalk(id: string): Promise<Talk> {
  const conversation = await call<Conversation>("GET", `/v1/conversations/${part(id)}`);
  const talk: Talk = {
    id,
    metadata: conversation.metadata,
    turns: [],
    isLoaded: true,
    attachments: attachmentsIn(conversation.metadata),
    containerId: "",
  };
  for (const item of await all<Item>(`/v1/conversations/${part(id)}/items`)) addItem(talk, item);
  return talk;
}

function addItem(talk: Talk, item: Item): void {
  if (item.type === "message" && item.role === "user") {
    talk.turns.push(turnOf(item.content?.map((one) => one.text).join("") ?? "", [], "completed"));
    return;
  }
  if (!talk.turns.length) talk.turns.push(turnOf("", [], "completed"));
  talk.turns.at(-1)?.items.push(item);
  noteContainer(talk, item);
}

function noteContainer(talk: Talk, item: Item): void {
  if (item.type === "code_interpreter_call" && item.container_id)
    talk.containerId = item.container_id;
}

function turnOf(question: string, files: string[], status: Turn["status"]): Turn {
  return {
    key: newKey(),
    question,
    files,
    items: [],
    status,
    problem: "",
    isConnected: true,
    responseId: "",
    seen: -1,
    tokens: null,
  };
}

export async function deleteTalk(id: string): Promise<void> {
  await call("DELETE", `/v1/conversations/${part(id)}`);
  if (state.talk?.id === id) newTalk();
  await loadConversations();
}

export function showAddress(): void {
  const id = state.talk?.id ?? "";
  const hash = state.view === "scratch" ? "#/scratch" : id ? `#/chat/${id}` : "#/chat";
  if (location.hash !== hash) history.replaceState(null, "", hash);
}

// ---- asking -------------------------------------------------------------------------------------

/** Ask in the current conversation; in several branches of it when more than one is wanted. */
export async function ask(question: string): Promise<void> {
  const talk = state.talk;
  if (!talk || isBusy(talk) || !question.trim()) return;
  if (state.bestOf > 1) return askInBranches(talk, question);
  const turn = turnOf(question, talk.turns.length ? [] : names(talk.attachments), "running");
  talk.turns.push(turn);
  changed();
  await answer(talk, turn);
}

export async function askAgain(turn: Turn): Promise<void> {
  const talk = state.talk;
  if (!talk || isBusy(talk)) return;
  talk.turns.splice(talk.turns.indexOf(turn), 1);
  await ask(turn.question);
}

const names = (files: Attachment[]) => files.map((file) => file.name);

async function answer(talk: Talk, turn: Turn): Promise<void> {
  try {
    if (!talk.id) await create(talk, turn.question);
    const body = {
      model: state.model || state.server?.models[0] || "default",
      input: turn.question,
      conversation: talk.id,
      tools: [
        {
          type: "code_interpreter",
          container: { type: "auto", file_ids: talk.attachments.map((file) => file.id) },
        },
      ],
      include: INCLUDE,
      background: true,
      stream: true,
    };
    await follow(talk, turn, () => events("POST", "/v1/responses", body));
  } catch (error) {
    fail(turn, error);
  }
  await ended(talk, turn);
}

async function ended(talk: Talk, turn: Turn): Promise<void> {
  forgetPending(talk.id);
  changed();
  if (state.talk !== talk) return;
  const hasRun = turn.items.some((item) => item.type === "code_interpreter_call");
  if (hasRun && turn.status === "completed") {
    await keepPoint(pointName());
  }
  await refresh();
}

function fail(turn: Turn, error: unknown): void {
  turn.status = "failed";
  const isSilent = error instanceof ApiError && error.status === 0;
  turn.problem = isSilent ? t("lostEarly") : error instanceof Error ? error.message : String(error);
  if (error instanceof ApiError && error.status === 401) set({ door: "sign-in" });
}

async function create(talk: Talk, question: string): Promise<void> {
  talk.metadata = { ...talk.metadata, title: question.trim().slice(0, TITLE_CHARS) };
  const metadata = { ...talk.metadata, ...metadataOf(talk.attachments) };
  const made = await call<Conversation>("POST", "/v1/conversations", { metadata });
  talk.id = made.id;
  talk.metadata = made.metadata;
  if (state.talk === talk) showAddress();
  await loadConversations();
}

/** Follow the events of a response until it is over, over as many connections as it takes. */
async function follow(
  talk: Talk,
  turn: Turn,
  first: () => AsyncGenerator<{ data: Json }>,
): Promise<void> {
  let source = first;
  for (let tries = 0; ; ) {
    try {
      for await (const { data } of source()) {
        tries = 0;
        turn.isConnected = true;
        apply(talk, turn, data);
        if (turn.responseId) rememberPending(talk.id, turn);
        changed();
      }
    } catch (error) {
      if (!(error instanceof ApiError) || !turn.responseId) throw error;
      if (error.status !== 0 && error.status < 500) return settle(talk, turn);
    }
    if (turn.status !== "running") return;
    if (!turn.responseId) throw new ApiError(0, "");
    turn.isConnected = false;
    changed();
    const wait = RETRIES_MS[Math.min(tries, RETRIES_MS.length - 1)] ?? SECOND_MS;
    await pause(wait);
    tries += 1;
    source = () =>
      events("GET", `/v1/responses/${part(turn.responseId)}?stream=true&starting_after=${turn.seen}`);
  }
}

/** The server cannot stream the response again: take it as it is kept. */
async function settle(talk: Talk, turn: Turn): Promise<void> {
  const body = await call<Json>("GET", `/v1/responses/${part(turn.responseId)}`);
  whole(talk, turn, body);
  turn.isConnected = true;
  if (turn.status === "running") {
    turn.status = "failed";
    turn.problem = t("lostEarly");
  }
}

async function resume(talk: Talk, pending: { response: string; question: string }): Promise<void> {
  const turn = turnOf(pending.question, [], "running");
  turn.responseId = pending.response;
  talk.turns.push(turn);
  changed();
  try {
    await follow(talk, turn, () =>
      events("GET", `/v1/responses/${part(turn.responseId)}?stream=true&starting_after=-1`),
    );
  } catch (error) {
    fail(turn, error);
  }
  if (turn.status === "failed" && turn.problem.includes("not found")) talk.turns.pop();
  else if (turn.status === "completed") dropTwin(talk, turn);
  await ended(talk, turn);
}

/** A response that ended while the conversation was read is in it twice. */
function dropTwin(talk: Talk, turn: Turn): void {
  const ids = new Set(turn.items.map((item) => item.id));
  const isTwin = (one: Turn) => one !== turn && one.items.some((item) => ids.has(item.id));
  talk.turns = talk.turns.filter((one) => !isTwin(one));
}

export async function stop(talk: Talk): Promise<void> {
  const turn = talk.turns.at(-1);
  if (!turn?.responseId || turn.status !== "running") return;
  const body = await call<Json>("POST", `/v1/responses/${part(turn.responseId)}/cancel`, {});
  whole(talk, turn, body);
  changed();
  if ((turn.status as string) !== "cancelled") return;
  // What was cancelled is not in the conversation: the next question would not know of it.
  const message = { type: "message", role: "user", content: turn.question };
  const items = turn.items.filter((item) => item.type !== "code_interpreter_call" || item.code);
  await call("POST", `/v1/conversations/${part(talk.id)}/items`, {
    items: [message, ...items].slice(0, KEPT_ITEMS) as unknown as Json[],
  });
}

// ---- events -------------------------------------------------------------------------------------

function apply(talk: Talk, turn: Turn, data: Json): void {
  const type = String(data.type ?? "");
  if (typeof data.sequence_number === "number") turn.seen = data.sequence_number;
  const index = data.output_index as number;
  const item = turn.items[index];
  const delta = String(data.delta ?? "");
  if (data.response) return whole(talk, turn, data.response as Json);
  if (type === "response.output_item.added" || type === "response.output_item.done") {
    const found = data.item as Item;
    turn.items[index] = found;
    noteContainer(talk, found);
  } else if (!item) {
    return;
  } else if (type === "response.reasoning_summary_text.delta") {
    turn.items[index] = { ...item, summary: [{ text: (item.summary?.[0]?.text ?? "") + delta }] };
  } else if (type === "response.output_text.delta") {
    const text = (item.content?.[0]?.text ?? "") + delta;
    turn.items[index] = { ...item, content: [{ type: "output_text", text }] };
  } else if (type === "response.code_interpreter_call_code.delta") {
    turn.items[index] = { ...item, code: (item.code ?? "") + delta };
  } else if (type === "response.code_interpreter_call.interpreting") {
    turn.items[index] = { ...item, status: "interpreting" };
  }
}

function whole(talk: Talk, turn: Turn, body: Json): void {
  turn.responseId = String(body.id ?? turn.responseId);
  const status = String(body.status ?? "");
  if (!FINAL.has(status)) return;
  turn.items = (body.output as Item[] | undefined) ?? turn.items;
  for (const item of turn.items) noteContainer(talk, item);
  turn.status = status as Turn["status"];
  const error = body.error as { message?: string } | null;
  const details = body.incomplete_details as { reason?: string } | null;
  turn.problem = error?.message ?? details?.reason ?? "";
  const usage = body.usage as { input_tokens: number; output_tokens: number } | null;
  if (usage) turn.tokens = { input: usage.input_tokens, output: usage.output_tokens };
}

// ---- what is under way, over a reload -----------------------------------------------------------

function rememberPending(id: string, turn: Turn): void {
  const value = { response: turn.responseId, question: turn.question };
  sessionStorage.setItem(`${PENDING}-${id}`, JSON.stringify(value));
}

function forgetPending(id: string): void {
  sessionStorage.removeItem(`${PENDING}-${id}`);
}

function pendingOf(id: string): { response: string; question: string } | null {
  const text = sessionStorage.getItem(`${PENDING}-${id}`);
  return text ? (JSON.parse(text) as { response: string; question: string }) : null;
}

// ---- files --------------------------------------------------------------------------------------

export async function attach(files: File[]): Promise<void> {
  const talk = state.talk;
  if (!talk) return;
  for (const file of files) {
    set({ uploads: [...state.uploads, file.name], uploadProblem: "" });
    try {
      const form = new FormData();
      form.append("purpose", "user_data");
      form.append("file", file, file.name);
      const made = await call<{ id: string; bytes: number }>("POST", "/v1/files", form);
      talk.attachments.push({ id: made.id, name: file.name, bytes: made.bytes });
    } catch (error) {
      set({ uploadProblem: `${file.name}: ${error instanceof Error ? error.message : error}` });
    }
    const left = [...state.uploads];
    left.splice(left.indexOf(file.name), 1);
    set({ uploads: left });
  }
  await describe(talk);
}

export async function detach(talk: Talk, id: string): Promise<void> {
  talk.attachments = talk.attachments.filter((file) => file.id !== id);
  changed();
  await describe(talk);
}

async function describe(talk: Talk): Promise<void> {
  if (!talk.id) return;
  const metadata = { ...talk.metadata, ...metadataOf(talk.attachments) };
  await call("POST", `/v1/conversations/${part(talk.id)}`, { metadata });
  talk.metadata = metadata;
}

/** The attachments as metadata, whose values may have 512 characters each. */
function metadataOf(files: Attachment[]): Record<string, string> {
  const found: Record<string, string> = {};
  let text = "";
  let number = 0;
  for (const file of files) {
    const one = JSON.stringify([file.id, file.name.slice(0, 100), file.bytes]);
    if (text.length + one.length > METADATA_CHARS) {
      found[`${FILES_KEY}${number++}`] = text;
      text = "";
    }
    text += (text ? "\n" : "") + one;
  }
  found[`${FILES_KEY}${number}`] = text;
  return found;
}

function attachmentsIn(metadata: Record<string, string>): Attachment[] {
  const found: Attachment[] = [];
  for (const [key, text] of Object.entries(metadata)) {
    if (!key.startsWith(FILES_KEY)) continue;
    for (const line of text.split("\n").filter(Boolean)) {
      const [id, name, bytes] = JSON.parse(line) as [string, string, number];
      found.push({ id, name, bytes });
    }
  }
  return found;
}

// ---- branches -----------------------------------------------------------------------------------

async function branches(talk: Talk, count: number): Promise<string[]> {
  const path = `/page/conversations/${part(talk.id)}/branches`;
  const made = await call<List<Conversation>>("POST", path, { count });
  return made.data.map((one) => one.id);
}

/** Go on in a copy of the conversation, with variables and files of its own. */
export async function tryInBranch(): Promise<void> {
  const talk = state.talk;
  if (!talk?.id) return;
  try {
    const [id] = await branches(talk, 1);
    await loadConversations();
    if (id) await openTalk(id);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    note(error.message);
  }
}

async function askInBranches(parent: Talk, question: string): Promise<void> {
  let talks: Talk[];
  try {
    if (!parent.id) await create(parent, question);
    const ids = await branches(parent, state.bestOf);
    talks = await Promise.all(ids.map(loadTalk));
  } catch (error) {
    // A session that cannot be copied says why where the answer would stand.
    const turn = turnOf(question, [], "running");
    parent.turns.push(turn);
    fail(turn, error);
    changed();
    return;
  }
  set({ contest: { question, parent, talks } });
  await Promise.all(
    talks.map(async (talk) => {
      const turn = turnOf(question, [], "running");
      talk.turns.push(turn);
      changed();
      await answer(talk, turn);
    }),
  );
}

export async function choose(talk: Talk): Promise<void> {
  const contest = state.contest;
  if (!contest) return;
  set({ talk, contest: null, bestOf: 1 });
  showAddress();
  const kept = new Set(["", talk.containerId, contest.parent.containerId]);
  for (const other of contest.talks) {
    if (other === talk) continue;
    if (isBusy(other)) await stop(other);
    await call("DELETE", `/v1/conversations/${part(other.id)}`);
    if (kept.has(other.containerId)) continue;
    await call("DELETE", `/v1/containers/${part(other.containerId)}`);
  }
  if (!contest.parent.turns.length) await call("DELETE", `/v1/conversations/${contest.parent.id}`);
  await loadConversations();
  await refresh();
}

// ---- points -------------------------------------------------------------------------------------

/** A point of a conversation is named by the newest item that it knows of. */
export function pointName(): string | null {
  const items = state.talk?.turns.flatMap((turn) => turn.items) ?? [];
  return items.at(-1)?.id ?? null;
}

/** How the page calls a point: by the answer that it was kept after. */
export function pointTitle(point: Point): string {
  const isAfter = (turn: Turn) => turn.items.some((item) => item.id === point.name);
  const at = state.talk?.turns.findIndex(isAfter) ?? -1;
  if (state.view === "chat" && at >= 0) return t("afterTurn", { n: at + 1 });
  return state.view === "chat" || !point.name ? t("point", { n: point.id }) : point.name;
}

/** Put the variables back, and the conversation to where it was: the model goes by what it says. */
export async function goBack(point: Point): Promise<void> {
  const title = pointTitle(point);
  if (!(await rollBack(point, title))) return;
  const talk = state.talk;
  if (state.view === "chat" && talk && point.name) {
    const items = await all<Item>(`/v1/conversations/${part(talk.id)}/items`);
    const at = items.findIndex((item) => item.id === point.name);
    for (const item of at >= 0 ? items.slice(at + 1) : [])
      await call("DELETE", `/v1/conversations/${part(talk.id)}/items/${part(item.id)}`);
    const loaded = await loadTalk(talk.id);
    set({ talk: loaded });
  }
  await refresh();
}

/** The conversations that came from the same beginning, each with its depth. */
export function family(): { conversation: Conversation; depth: number }[] {
  const byId = new Map(state.conversations.map((one) => [one.id, one]));
  const own = byId.get(state.talk?.id ?? "");
  if (!own) return [];
  let root = own;
  for (let up = byId.get(root.metadata.parent ?? ""); up; up = byId.get(up.metadata.parent ?? ""))
    root = up;
  const found: { conversation: Conversation; depth: number }[] = [];
  const walk = (conversation: Conversation, depth: number) => {
    found.push({ conversation, depth });
    const children = state.conversations.filter((one) => one.metadata.parent === conversation.id);
    for (const child of children.reverse()) walk(child, depth + 1);
  };
  walk(root, 0);
  return found;
}
