// The scratch pad: snippets in sessions of one's own, without a model.

import { ApiError, call, events, part, type Json } from "./api";
import { note, refresh } from "./panel";
import { changed, currentPad, newKey, set, state, type Cell, type Pad } from "./state";
import type { Outcome } from "./types";
import { t } from "./words";

const running = new Map<number, AbortController>();

export function newPad(): void {
  const key = newKey();
  const pad: Pad = { key, id: "", name: "", parent: null, cells: [], isRunning: false };
  pad.name = `${t("session")} ${state.pads.length + 1}`;
  set({ pads: [...state.pads, pad], pad: key });
  void refresh();
}

export function openPad(key: number): void {
  set({ pad: key, drawer: "" });
  void refresh();
}

async function sessionOf(pad: Pad): Promise<string> {
  if (!pad.id) pad.id = (await call<{ id: string }>("POST", "/v1/sessions")).id;
  return pad.id;
}

export async function run(code: string): Promise<void> {
  const pad = currentPad();
  if (!pad || pad.isRunning || !code.trim()) return;
  const cell: Cell = {
    key: newKey(),
    code,
    streams: [],
    displays: [],
    outcome: null,
    problem: "",
    isRunning: true,
  };
  pad.cells.push(cell);
  pad.isRunning = true;
  changed();
  const control = new AbortController();
  running.set(pad.key, control);
  try {
    const path = `/v1/sessions/${part(await sessionOf(pad))}/run`;
    const body = { code, stream: true };
    for await (const { event, data } of events("POST", path, body, control.signal))
      apply(cell, event, data);
    if (!cell.outcome && !cell.problem) cell.problem = t("runInterrupted");
  } catch (error) {
    cell.problem = problemOf(pad, error, control.signal.aborted);
  }
  running.delete(pad.key);
  cell.isRunning = pad.isRunning = false;
  changed();
  await refresh();
}

function problemOf(pad: Pad, error: unknown, isAborted: boolean): string {
  if (isAborted) return t("stopped");
  if (!(error instanceof ApiError)) return String(error);
  if (error.status === 401) set({ door: "sign-in" });
  if (error.status === 0) return t("runInterrupted");
  if (error.status === 404 || error.status === 409) {
    pad.id = "";
    return `${error.message} ${t("sessionEnded")}`;
  }
  return error.message;
}

function apply(cell: Cell, event: string, data: Json): void {
  if (event === "stdout" || event === "stderr") {
    const last = cell.streams.at(-1);
    if (last?.name === event) last.text += String(data.text);
    else cell.streams.push({ name: event, text: String(data.text) });
    cell.streams = [...cell.streams];
  } else if (event === "displayed") {
    cell.displays = [...cell.displays, data.bundle as Record<string, string>];
  } else if (event === "finished") {
    cell.outcome = data as unknown as Outcome;
  } else if (event === "error") {
    cell.problem = String(data.message);
  }
  changed();
}

/** Stop the snippet that runs; by leaving its stream where the server knows no other way. */
export async function interrupt(pad: Pad): Promise<void> {
  try {
    await call("POST", `/v1/sessions/${part(pad.id)}/interrupt`, {});
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    running.get(pad.key)?.abort();
  }
}

export async function fork(): Promise<void> {
  const pad = currentPad();
  if (!pad?.id) return;
  try {
    const made = await call<Json>("POST", `/v1/sessions/${part(pad.id)}/fork`, {});
    const list = made.data as { id: string }[] | undefined;
    const id = String(list?.[0]?.id ?? made.id);
    const key = newKey();
    const name = `${t("branchOf")} ${state.pads.length + 1}`;
    const cells = [...pad.cells];
    const branch: Pad = { key, id, name, parent: pad.key, cells, isRunning: false };
    set({ pads: [...state.pads, branch], pad: key });
    await refresh();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    note(error.status === 404 ? t("notOffered") : error.message);
  }
}

export async function put(files: File[]): Promise<void> {
  const pad = currentPad();
  if (!pad) return;
  for (const file of files) {
    set({ uploads: [...state.uploads, file.name], uploadProblem: "" });
    try {
      const id = await sessionOf(pad);
      await call("PUT", `/v1/sessions/${part(id)}/files/${part(file.name)}`, file);
    } catch (error) {
      set({ uploadProblem: `${file.name}: ${error instanceof Error ? error.message : error}` });
    }
    const left = [...state.uploads];
    left.splice(left.indexOf(file.name), 1);
    set({ uploads: left });
  }
  await refresh();
}
