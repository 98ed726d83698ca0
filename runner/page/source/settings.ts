// How the page looks and speaks: the only thing that it keeps in the browser for longer.

import { changed, state, type Look } from "./state";
import { speak, type Language } from "./words";

const KEY = "cellblock-settings";

interface Settings {
  language: Language;
  look: Look;
}

export function remember(update: Partial<Settings>): void {
  Object.assign(state, update);
  try {
    localStorage.setItem(KEY, JSON.stringify({ language: state.language, look: state.look }));
  } catch {
    // A browser that keeps nothing shows the page all the same.
  }
  apply();
}

export function recall(): void {
  state.language = navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
  try {
    const found = JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Settings>;
    if (found.language === "en" || found.language === "zh") state.language = found.language;
    if (found.look === "light" || found.look === "dark") state.look = found.look;
  } catch {
    // What was kept is no settings: those of the system hold.
  }
  apply();
}

function apply(): void {
  speak(state.language);
  document.documentElement.dataset.look = state.look;
  changed();
}
