// The way in: the printed link's token, or the key, for a cookie.

import { ApiError, call } from "./api";
import { loadConversations, newTalk, openTalk } from "./chat";
import { refresh } from "./panel";
import { newPad, restorePads } from "./scratch";
import { set, state } from "./state";
import type { PageSession } from "./types";

const TOKEN = /^#token=([\w-]+)$/;

/** Sign in where there is something to sign in with, then show what the address names. */
export async function enter(proof: { key?: string } = {}): Promise<void> {
  const token = TOKEN.exec(location.hash)?.[1];
  if (token) history.replaceState(null, "", "#/chat");
  set({ door: "loading", doorProblem: "" });
  try {
    if (token || proof.key) await call("POST", "/page/session", token ? { token } : proof);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    // A link that was used is no loss to a browser that has its cookie.
    state.doorProblem = error.message;
  }
  try {
    const server = await call<PageSession>("GET", "/page/session");
    set({ server, model: server.models[0] ?? "", door: "", doorProblem: "" });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return set({ door: error.status === 0 ? "offline" : "sign-in" });
  }
  await restorePads();
  await goTo(location.hash);
}

/** Show what a new address names; a new link signs in anew. */
export async function follow(hash: string): Promise<void> {
  await (TOKEN.test(hash) ? enter() : goTo(hash));
}

async function goTo(hash: string): Promise<void> {
  if (state.door) return;
  if (!state.pads.length) newPad();
  if (!state.server?.has_model || hash === "#/scratch") {
    set({ view: "scratch" });
    return refresh();
  }
  await loadConversations();
  if (location.hash !== hash) return; // Something else was chosen meanwhile.
  const id = /^#\/chat\/(\w+)$/.exec(hash)?.[1];
  if (!id) return newTalk();
  try {
    await openTalk(id);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    newTalk();
  }
}

export async function signOut(): Promise<void> {
  await call("DELETE", "/page/session");
  set({ door: "sign-in", server: null, talk: null, conversations: [], pads: [] });
}
