// The frame of the page: heading, conversations, main part, session; and the way in.

import { useState } from "preact/hooks";
import { deleteTalk, newTalk, openTalk, showAddress } from "../chat";
import { enter, signOut } from "../door";
import { refresh } from "../panel";
import { newPad } from "../scratch";
import { set, state, useApp, type Look, type View } from "../state";
import { remember } from "../settings";
import { t, type Language } from "../words";
import { ChatView } from "./chat";
import { GridDialog, PanelView } from "./panel";
import { ScratchView } from "./scratch";

export function App() {
  const { door, view, drawer, server } = useApp();
  if (door === "sign-in") return <SignIn />;
  if (door) return <Waiting />;
  const isChat = view === "chat" && server?.has_model;
  return (
    <div class={`frame ${drawer ? `show-${drawer}` : ""} ${isChat ? "" : "no-menu"}`}>
      <a class="skip" href="#main">
        {t("skip")}
      </a>
      <Top />
      {isChat && (
        <nav class="menu" aria-label={t("conversations")}>
          <Conversations />
        </nav>
      )}
      <main id="main" tabIndex={-1}>
        <h1 class="hidden">{isChat ? t("chat") : t("scratch")}</h1>
        {isChat ? <ChatView /> : <ScratchView />}
      </main>
      <aside class="panel" aria-label={t("session")}>
        <PanelView />
        <div class="narrow">
          <Settings />
        </div>
      </aside>
      <GridDialog />
    </div>
  );
}

export function show(view: View): void {
  set({ view, drawer: "" });
  if (view === "scratch" && !state.pads.length) newPad();
  if (view === "chat" && !state.talk) newTalk();
  showAddress();
  void refresh();
}

function Top() {
  const { server, view, drawer } = useApp();
  const toggle = (name: "menu" | "panel") => set({ drawer: drawer === name ? "" : name });
  const isChat = view === "chat" && server?.has_model;
  return (
    <header class="top">
      {isChat && (
        <button
          class="tool narrow"
          aria-expanded={drawer === "menu"}
          aria-label={t("menu")}
          onClick={() => toggle("menu")}
        >
          ☰
        </button>
      )}
      <strong class={server?.has_model ? "brand wide-only" : "brand"}>Cellblock</strong>
      {server?.has_model ? (
        <div class="views" role="group" aria-label="Cellblock">
          {(["chat", "scratch"] as const).map((one) => (
            <button class="view" aria-pressed={view === one} onClick={() => show(one)}>
              {t(one)}
            </button>
          ))}
        </div>
      ) : (
        <span class="quiet wide-only">{t("noModel")}</span>
      )}
      <span class="space" />
      <div class="wide-only">
        <Settings />
      </div>
      <button
        class="tool narrow"
        aria-expanded={drawer === "panel"}
        aria-label={t("panel")}
        onClick={() => toggle("panel")}
      >
        {t("session")}
      </button>
    </header>
  );
}

/** A narrow screen shows them below the session. */
function Settings() {
  const { language, look, door } = useApp();
  return (
    <div class="settings">
      <select
        aria-label={t("language")}
        value={language}
        onChange={(event) => remember({ language: event.currentTarget.value as Language })}
      >
        <option value="en" lang="en">English</option>
        <option value="zh" lang="zh-Hans">中文</option>
      </select>
      <select
        aria-label={t("look")}
        value={look}
        onChange={(event) => remember({ look: event.currentTarget.value as Look })}
      >
        <option value="auto">{t("lookAuto")}</option>
        <option value="light">{t("lookLight")}</option>
        <option value="dark">{t("lookDark")}</option>
      </select>
      {!door && (
        <button class="tool" onClick={() => void signOut()}>
          {t("signOut")}
        </button>
      )}
    </div>
  );
}

function Conversations() {
  const { conversations, talk } = useApp();
  const [asked, setAsked] = useState("");
  const roots = conversations.filter(
    (one) => !one.metadata.parent || !conversations.some((two) => two.id === one.metadata.parent),
  );
  return (
    <>
      <button class="tool new" onClick={newTalk}>
        {t("newChat")}
      </button>
      <ul class="talks">
        {roots.map((one) => {
          const title = one.metadata.title || t("untitled");
          return (
            <li class={one.id === talk?.id ? "here" : ""}>
              <button
                class="talk"
                aria-current={one.id === talk?.id ? "page" : undefined}
                onClick={() => void openTalk(one.id)}
              >
                {title}
              </button>
              {asked === one.id ? (
                <span class="row">
                  <button class="link danger" onClick={() => void deleteTalk(one.id)}>
                    {t("delete")}
                  </button>
                  <button class="link" onClick={() => setAsked("")}>
                    {t("cancel")}
                  </button>
                </span>
              ) : (
                <button
                  class="link remove"
                  aria-label={`${t("delete")}: ${title}`}
                  onClick={() => setAsked(one.id)}
                >
                  ×
                </button>
              )}
            </li>
          );
        })}
      </ul>
    </>
  );
}

// ---- the way in ---------------------------------------------------------------------------------

function Waiting() {
  const { door } = useApp();
  return (
    <>
      <header class="top">
        <strong class="brand">Cellblock</strong>
      </header>
      <main class="door">
        <h1 class="hidden">Cellblock</h1>
        <p role="status">{door === "offline" ? t("offline") : t("loading")}</p>
        {door === "offline" && (
          <button class="main-button" onClick={() => void enter()}>
            {t("retry")}
          </button>
        )}
      </main>
    </>
  );
}

function SignIn() {
  const { doorProblem } = useApp();
  const [key, setKey] = useState("");
  return (
    <>
      <header class="top">
        <strong class="brand">Cellblock</strong>
        <span class="space" />
        <Settings />
      </header>
      <main class="door">
        <h1>{t("signIn")}</h1>
        <p>{t("signInWhy")}</p>
        {doorProblem && <p class="problem" role="alert">{doorProblem}</p>}
        <form
          onSubmit={(event) => {
            event.preventDefault();
            setKey("");
            void enter({ key });
          }}
        >
          <label class="key">
            <span>{t("key")}</span>
            <input
              type="password"
              autocomplete="off"
              value={key}
              onInput={(event) => setKey(event.currentTarget.value)}
            />
          </label>
          <button class="main-button" type="submit" disabled={!key}>
            {t("signIn")}
          </button>
        </form>
        <p class="quiet">{t("keyKept")}</p>
      </main>
    </>
  );
}
