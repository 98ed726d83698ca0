// The scratch pad: snippets in sessions of one's own, without a model.

import { ApiError, call, events, part, type Json, type List } from "./api";
import { note, refresh } from "./panel";
import { changed, currentPad, newKey, set, state, type Cell, type Pad } from "./state";
import type { Outcome } from "./types";
import { t } from "./words";

const SHOWN_CHARS = 1_000_000;
const PADS = "cellblock-pads";
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
  savePads();
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
    if (last?.name === event) last.text = within(last.text + String(data.text));
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

/** The head and the tail of a stream that grows beyond what a page can show. */
function within(text: string): string {
  if (text.length <= 2 * SHOWN_CHARS) return text;
  return `${text.slice(0, SHOWN_CHARS / 2)}\n[…]\n${text.slice(-SHOWN_CHARS)}`;
}

// ---- pads, over a reload ------------------------------------------------------------------------

/** Note which sessions are open; what ran in them is shown no more, but they go on. */
export function savePads(): void {
  const kept = state.pads.filter((pad) => pad.id);
  const rows = kept.map(({ key, id, name, parent }) => ({ key, id, name, parent }));
  sessionStorage.setItem(PADS, JSON.stringify(rows));
}

/** Open the pads of before whose sessions still live. */
export async function restorePads(): Promise<void> {
  const rows = JSON.parse(sessionStorage.getItem(PADS) ?? "[]") as Pad[];
  if (!rows.length) return;
  const live = await call<List<{ id: string }>>("GET", "/v1/sessions");
  const ids = new Set(live.data.map((one) => one.id));
  const keys = new Map(rows.map((row) => [row.key, newKey()]));
  const pads = rows
    .filter((row) => ids.has(row.id))
    .map((row) => ({
      key: keys.get(row.key) ?? newKey(),
      id: row.id,
      name: row.name,
      parent: row.parent === null ? null : (keys.get(row.parent) ?? null),
      cells: [],
      isRunning: false,
    }));
  // A branch whose parent is gone stands by itself.
  for (const pad of pads)
    if (!pads.some((one) => one.key === pad.parent)) (pad as Pad).parent = null;
  if (pads.length) set({ pads, pad: pads.at(-1)?.key ?? 0 });
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
    savePads();
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
