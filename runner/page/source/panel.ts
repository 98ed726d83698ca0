// The session beside the conversation or the pad: what is in it, its points, what it spent.

import { ApiError, call, part, type List } from "./api";
import { NO_PANEL, changed, currentPad, set, state, type Bill, type Panel } from "./state";
import type { Point, Usage, Variable } from "./types";
import { t } from "./words";

/** The id that the session's routes know: of a pad's session, or of a conversation's container. */
export function target(): string {
  if (state.view === "scratch") return currentPad()?.id ?? "";
  return state.talk?.containerId ?? "";
}

const path = (id: string, rest = "") => `/v1/sessions/${part(id)}${rest}`;

/** Read the session anew. What the server does not offer is left out of the panel. */
export async function refresh(): Promise<void> {
  const id = target();
  if (!id) return set({ panel: NO_PANEL });
  const before = state.panel.target === id ? state.panel : { ...NO_PANEL, target: id };
  const [session, variables, points, files] = await Promise.all([
    optional<{ layers: string[] }>("GET", path(id)),
    optional<List<Variable>>("GET", path(id, "/variables")),
    optional<List<Point>>("GET", path(id, "/checkpoints")),
    filesOf(id),
  ]);
  if (target() !== id) return;
  const panel: Panel = {
    ...before,
    layers: session?.layers ?? [],
    variables: variables?.data ?? null,
    points: points?.data ?? null,
    files,
  };
  set({ panel });
}

async function optional<T>(method: string, address: string): Promise<T | null> {
  try {
    return await call<T>(method, address);
  } catch (error) {
    if (error instanceof ApiError) return null;
    throw error;
  }
}

async function filesOf(id: string): Promise<Panel["files"]> {
  if (state.view === "scratch") {
    const found = await optional<List<{ path: string; bytes?: number }>>("GET", path(id, "/files"));
    return (
      found?.data.map((file) => ({
        path: file.path,
        bytes: file.bytes ?? null,
        href: path(id, `/files/${file.path.split("/").map(part).join("/")}`),
      })) ?? null
    );
  }
  const address = `/v1/containers/${part(id)}/files?limit=100`;
  const found = await optional<List<{ id: string; path: string; bytes: number }>>("GET", address);
  return (
    found?.data.map((file) => ({
      path: file.path.replace(/^\/mnt\/data\//, ""),
      bytes: file.bytes,
      href: contentOf(id, file.id),
    })) ?? null
  );
}

export const contentOf = (container: string, file: string) =>
  `/v1/containers/${part(container)}/files/${part(file)}/content`;

// ---- points -------------------------------------------------------------------------------------

/** Keep the variables as they are now. A server without points, or a session that cannot be
 * copied, goes on without one. */
export async function keepPoint(name: string | null): Promise<void> {
  const id = target();
  if (!id) return;
  try {
    await call("POST", path(id, "/checkpoint"), { name });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    note(error.message);
  }
}

/** Put the variables back to `point`; whether that was done. */
export async function rollBack(point: Point, title: string): Promise<boolean> {
  try {
    await call("POST", path(target(), "/rollback"), { checkpoint: point.id });
    note(t("rolledBack", { name: title }));
    return true;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    note(error.message);
    return false;
  }
}

export function note(text: string): void {
  set({ panel: { ...state.panel, note: text } });
}

// ---- the bill -----------------------------------------------------------------------------------

export function bill(): Bill {
  const found: Bill = { last: null, runs: 0, wall_s: 0, cpu_s: 0, peak: 0, input: 0, output: 0 };
  const add = (usage: Usage | undefined) => {
    if (!usage) return;
    found.last = usage;
    found.runs += 1;
    found.wall_s += usage.wall_s;
    found.cpu_s += usage.cpu_user_s + usage.cpu_system_s;
    found.peak = Math.max(found.peak, usage.peak_memory_bytes);
  };
  if (state.view === "scratch") {
    for (const cell of currentPad()?.cells ?? []) add(cell.outcome?.usage);
    return found;
  }
  for (const turn of state.talk?.turns ?? []) {
    for (const item of turn.items) add(item.x_outcome?.usage);
    found.input += turn.tokens?.input ?? 0;
    found.output += turn.tokens?.output ?? 0;
  }
  return found;
}

// ---- rows of a table, on demand -----------------------------------------------------------------

export interface Rows {
  columns: string[];
  index: unknown[];
  data: unknown[][];
}

const COLUMNS_MOST = 200;
const NAME = /^[\p{L}_][\p{L}\p{N}_]*$/u;

export const isName = (text: string) => NAME.test(text);

/** Rows `from` to `to` of the table in the variable `name`: read by a snippet in the session. */
export async function rowsOf(id: string, name: string, from: number, to: number): Promise<Rows> {
  if (!isName(name)) throw new Error(name);
  const code = [
    "(lambda table: print((table.to_frame() if len(table.shape) == 1 else table)",
    `.iloc[${from}:${to}, :${COLUMNS_MOST}].to_json(orient='split', date_format='iso', default_handler=str)))(${name})`,
  ].join("");
  const done = await call<{ stdout: string; error?: { message: string }; status: string }>(
    "POST",
    path(id, "/run"),
    { code },
  );
  if (done.status !== "completed") throw new Error(done.error?.message ?? done.status);
  changed();
  return JSON.parse(done.stdout) as Rows;
}
