// The conversation: its turns, and where the next question is written.

import { useEffect, useRef, useState } from "preact/hooks";
import { ask, askAgain, attach, choose, detach, stop } from "../chat";
import { DropZone, FilePicker } from "../parts/small";
import { isBusy, set, useApp, type Talk } from "../state";
import { t, type Word } from "../words";
import { TurnView } from "./turn";

const EXAMPLES: Word[] = ["example1", "example2", "example3"];
const MOST_BRANCHES = 4;
const NEAR_END_PX = 120;

export function ChatView() {
  const { talk, contest } = useApp();
  if (contest) return <Contest />;
  if (!talk) return <p class="quiet pad">{t("loading")}</p>;
  return (
    <DropZone class="main chat" onFiles={(files) => void attach(files)}>
      <Turns talk={talk} />
      <Composer talk={talk} />
    </DropZone>
  );
}

function Turns({ talk }: { talk: Talk }) {
  const box = useRef<HTMLDivElement>(null);
  const follows = useRef(true);
  useEffect(() => {
    const element = box.current;
    if (element && follows.current) element.scrollTop = element.scrollHeight;
  });
  const note = () => {
    const element = box.current;
    if (!element) return;
    const left = element.scrollHeight - element.scrollTop - element.clientHeight;
    follows.current = left < NEAR_END_PX;
  };
  return (
    <div class="turns" ref={box} onScroll={note} tabIndex={0} role="log" aria-label={t("chat")}>
      {talk.turns.length === 0 && <Welcome />}
      {talk.turns.map((turn, index) => (
        <TurnView
          key={turn.key}
          turn={turn}
          talk={talk}
          onAgain={() => void askAgain(turn)}
          onRepeat={index === talk.turns.length - 1 ? () => void ask(turn.question) : undefined}
        />
      ))}
    </div>
  );
}

function Welcome() {
  return (
    <div class="welcome">
      <p>{t("welcome")}</p>
      <p class="quiet">{t("tryThis")}</p>
      <ul>
        {EXAMPLES.map((word) => (
          <li>
            <button class="example" onClick={() => void ask(t(word))}>
              {t(word)}
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}

function Composer({ talk }: { talk: Talk }) {
  const { server, model, bestOf, uploads, uploadProblem } = useApp();
  const [text, setText] = useState("");
  const isRunning = isBusy(talk);
  const send = () => {
    if (isRunning || !text.trim()) return;
    setText("");
    void ask(text);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    // While a word is being composed, as in Chinese, Enter chooses it.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  };
  const models = server?.models ?? [];
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      {(talk.attachments.length > 0 || uploads.length > 0 || uploadProblem) && (
        <ul class="attached">
          {talk.attachments.map((file) => (
            <li>
              {file.name}{" "}
              <button
                type="button"
                class="link"
                aria-label={t("removeFile", { name: file.name })}
                onClick={() => void detach(talk, file.id)}
              >
                ×
              </button>
            </li>
          ))}
          {uploads.map((name) => <li role="status">{t("uploading", { name })}</li>)}
          {uploadProblem && <li role="alert" class="problem">{uploadProblem}</li>}
        </ul>
      )}
      <textarea
        class="ask"
        rows={3}
        value={text}
        aria-label={t("askLabel")}
        placeholder={t("askHint")}
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={onKeyDown}
      />
      <div class="tools">
        <FilePicker onFiles={(files) => void attach(files)} />
        {models.length > 1 && (
          <label>
            <span>{t("model")}</span>
            <select value={model} onChange={(event) => set({ model: event.currentTarget.value })}>
              {models.map((name) => <option value={name}>{name}</option>)}
            </select>
          </label>
        )}
        <label title={t("bestOfHint")}>
          <span>{t("bestOf")}</span>
          <select
            value={String(bestOf)}
            onChange={(event) => set({ bestOf: Number(event.currentTarget.value) })}
          >
            {Array.from({ length: MOST_BRANCHES }, (_, n) => <option value={n + 1}>{n + 1}</option>)}
          </select>
        </label>
        <span class="space" />
        {isRunning ? (
          <button type="button" class="main-button stop" onClick={() => void stop(talk)}>
            {t("stop")}
          </button>
        ) : (
          <button type="submit" class="main-button" disabled={!text.trim()}>
            {t("send")}
          </button>
        )}
      </div>
    </form>
  );
}

function Contest() {
  const { contest } = useApp();
  if (!contest) return null;
  return (
    <div class="main contest">
      <header>
        <h2>{t("contestTitle", { n: contest.talks.length })}</h2>
        <p>{contest.question}</p>
      </header>
      <div class="columns">
        {contest.talks.map((talk, index) => {
          const turn = talk.turns.at(-1);
          return (
            <section class="column" aria-label={t("branchNumber", { n: index + 1 })}>
              <h3>{t("branchNumber", { n: index + 1 })}</h3>
              {turn && <TurnView turn={{ ...turn, question: "" }} talk={talk} />}
              <button class="main-button" onClick={() => void choose(talk)} disabled={isBusy(talk)}>
                {t("choose")}
              </button>
            </section>
          );
        })}
      </div>
    </div>
  );
}
