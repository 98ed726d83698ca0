// The state of the page: one object that actions change, and views that follow it.

import { useEffect, useState } from "preact/hooks";
import type { Conversation, Item, Outcome, PageSession, Point, Usage, Variable } from "./types";
import type { Language } from "./words";

export interface Attachment {
  id: string;
  name: string;
  bytes: number;
}

export interface Turn {
  key: number;
  question: string;
  files: string[];
  items: Item[];
  status: "running" | "completed" | "failed" | "incomplete" | "cancelled";
  problem: string;
  isConnected: boolean;
  responseId: string;
  /** Number of the last event that was seen. */
  seen: number;
  tokens: { input: number; output: number } | null;
}

export interface Talk {
  id: string;
  metadata: Record<string, string>;
  turns: Turn[];
  isLoaded: boolean;
  attachments: Attachment[];
  containerId: string;
}

export interface Cell {
  key: number;
  code: string;
  streams: { name: "stdout" | "stderr"; text: string }[];
  displays: Record<string, string>[];
  outcome: Outcome | null;
  problem: string;
  isRunning: boolean;
}

export interface Pad {
  key: number;
  id: string;
  name: string;
  parent: number | null;
  cells: Cell[];
  isRunning: boolean;
}

/** What is known of the session beside the conversation or the pad. */
export interface Panel {
  target: string;
  variables: Variable[] | null;
  files: { path: string; bytes: number | null; href: string }[] | null;
  points: Point[] | null;
  layers: string[];
  note: string;
}

export interface Bill {
  last: Usage | null;
  runs: number;
  wall_s: number;
  cpu_s: number;
  peak: number;
  input: number;
  output: number;
}

export type View = "chat" | "scratch";
export type Look = "auto" | "light" | "dark";

export interface State {
  server: PageSession | null;
  /** Why there is no server to talk with; empty while there is. */
  door: "" | "loading" | "sign-in" | "offline";
  doorProblem: string;
  view: View;
  language: Language;
  look: Look;
  drawer: "" | "menu" | "panel";
  conversations: Conversation[];
  talk: Talk | null;
  contest: { question: string; parent: Talk; talks: Talk[] } | null;
  model: string;
  bestOf: number;
  uploads: string[];
  uploadProblem: string;
  pads: Pad[];
  pad: number;
  panel: Panel;
  /** Variable whose rows are shown in full. */
  grid: { target: string; name: string; rows: number } | null;
}

export const NO_PANEL: Panel = {
  target: "",
  variables: null,
  files: null,
  points: null,
  layers: [],
  note: "",
};

export const state: State = {
  server: null,
  door: "loading",
  doorProblem: "",
  view: "chat",
  language: "en",
  look: "auto",
  drawer: "",
  conversations: [],
  talk: null,
  contest: null,
  model: "",
  bestOf: 1,
  uploads: [],
  uploadProblem: "",
  pads: [],
  pad: 0,
  panel: NO_PANEL,
  grid: null,
};

const followers = new Set<() => void>();
let isWaiting = false;

/** Tell the views that the state changed; many changes within a frame are one. */
export function changed(): void {
  if (isWaiting) return;
  isWaiting = true;
  const tell = () => {
    if (!isWaiting) return;
    isWaiting = false;
    for (const follow of followers) follow();
  };
  // A page in the background gets no frames.
  if (document.hidden) setTimeout(tell, 50);
  else requestAnimationFrame(tell);
}

export function set(update: Partial<State>): void {
  Object.assign(state, update);
  changed();
}

/** Re-render the calling component whenever the state changes. */
export function useApp(): State {
  const [, tick] = useState(0);
  useEffect(() => {
    const follow = () => tick((n) => n + 1);
    followers.add(follow);
    follow();
    return () => void followers.delete(follow);
  }, []);
  return state;
}

let lastKey = 0;
export const newKey = () => ++lastKey;

export function isBusy(talk: Talk | null): boolean {
  return talk?.turns.at(-1)?.status === "running";
}

export function currentPad(): Pad | undefined {
  return state.pads.find((pad) => pad.key === state.pad);
}
