// One question and what came of it: thinking, code with its output, and the answer.

import { useMemo, useRef } from "preact/hooks";
import type { ComponentChildren } from "preact";
import { Displays } from "../parts/displays";
import { Code } from "../parts/highlight";
import { Markdown } from "../parts/markdown";
import { Output } from "../parts/output";
import { Copy, Download, Ending, Files, Refusals } from "../parts/small";
import { contentOf, isName } from "../panel";
import { set, type Talk, type Turn } from "../state";
import type { Item } from "../types";
import { t } from "../words";

const MOUNT = "sandbox:/mnt/data/";
const PROBLEM_WORDS = new Set(["running", "interpreting", "in_progress"]);

interface Props {
  turn: Turn;
  talk: Talk;
  onAgain?: () => void;
  /** Offered below an answer: to ask the same anew, in branches where several are wanted. */
  onRepeat?: () => void;
}

export function TurnView({ turn, talk, onAgain, onRepeat }: Props) {
  const isRunning = turn.status === "running";
  return (
    <article class="turn" aria-busy={isRunning}>
      {turn.question && (
        <div class="question">
          <h2 class="speaker">{t("you")}</h2>
          <p>{turn.question}</p>
          {turn.files.length > 0 && <p class="quiet">{turn.files.join(", ")}</p>}
        </div>
      )}
      <div class="answer">
        <h2 class="speaker">{t("assistant")}</h2>
        {turn.items.map((item) => (
          <ItemView key={item.id} item={item} talk={talk} />
        ))}
        {isRunning && turn.isConnected && <p class="wait" role="status">{t("running")} …</p>}
        {isRunning && !turn.isConnected && <p class="problem" role="status">{t("reconnecting")}</p>}
        {turn.status === "completed" && onRepeat && (
          <button class="link" onClick={onRepeat}>
            {t("askAgain")}
          </button>
        )}
        {turn.status === "cancelled" && <p class="quiet">{t("stopped")}</p>}
        {turn.status === "incomplete" && (
          <p class="problem">{t("incomplete", { why: turn.problem })}</p>
        )}
        {turn.status === "failed" && (
          <p class="problem" role="alert">
            {t("failed", { why: turn.problem })}{" "}
            {onAgain && (
              <button class="link" onClick={onAgain}>
                {t("askAgain")}
              </button>
            )}
          </p>
        )}
      </div>
    </article>
  );
}

function ItemView({ item, talk }: { item: Item; talk: Talk }) {
  // An item is replaced when it changes; one that did not is not made again.
  return useMemo(() => itemOf(item, talk), [item, talk.containerId]);
}

function itemOf(item: Item, talk: Talk) {
  if (item.type === "reasoning") {
    const text = item.summary?.map((one) => one.text).join("\n\n") ?? "";
    return text ? <Thinking text={text} isOver={item.status === "completed"} /> : null;
  }
  if (item.type === "code_interpreter_call") return <Run item={item} />;
  if (item.type === "web_search_call")
    return <p class="quiet">{t("searched", { query: item.action?.query ?? "" })}</p>;
  if (item.type === "web_extractor_call")
    return <p class="quiet">{t("read", { urls: (item.urls ?? []).join(", ") })}</p>;
  if (item.type === "message") return <Message item={item} talk={talk} />;
  return null;
}

function Thinking({ text, isOver }: { text: string; isOver: boolean }) {
  return (
    <details class="thinking" open={!isOver}>
      <summary>{t("thinking")}</summary>
      <p>{text}</p>
    </details>
  );
}

function Run({ item }: { item: Item }) {
  const more = item.x_outcome;
  const images = item.outputs?.filter((one) => one.url).map((one) => one.url ?? "") ?? [];
  const displays = more?.displays ?? [];
  const logs = withoutEcho(item.outputs?.find((one) => one.logs)?.logs ?? "", displays);
  const code = item.code ?? "";
  const name = code.trim().split("\n").pop()?.trim() ?? "";
  const container = item.container_id ?? "";
  const onAllRows = isName(name)
    ? (rows: number) => set({ grid: { target: container, name, rows } })
    : undefined;
  return (
    <section class="run" aria-label={t("code")}>
      <header>
        <span>{t("code")}</span>
        <span class="quiet" role="status">
          {item.status === "in_progress" && t("writing")}
          {item.status === "interpreting" && t("running")}
        </span>
        <Copy text={code} />
      </header>
      <Code code={code} label={t("code")} />
      <Output streams={[{ name: more?.status === "raised" ? "stderr" : "stdout", text: logs }]}
        label={t("output")} />
      <Displays displays={displays} images={images} onAllRows={onAllRows} />
      {more && <Refusals denials={more.denials} />}
      {more?.files && <Files files={more.files} container={container} />}
      {more && !PROBLEM_WORDS.has(item.status ?? "") && <Ending more={more} />}
    </section>
  );
}

/** The output without the echo of a value that is shown as a table or a picture as well. */
function withoutEcho(logs: string, displays: Record<string, string>[]): string {
  const last = displays.at(-1);
  const echo = last && Object.keys(last).length > 1 ? last["text/plain"] : "";
  if (!echo || !logs.trimEnd().endsWith(echo.trimEnd())) return logs;
  return logs.trimEnd().slice(0, logs.trimEnd().length - echo.trimEnd().length);
}

function Message({ item, talk }: { item: Item; talk: Talk }) {
  const text = item.content?.map((one) => one.text).join("") ?? "";
  const citations = item.content?.flatMap((one) => one.annotations ?? []) ?? [];
  const files = citations.filter((one) => one.type === "container_file_citation");
  const pages = citations.filter((one) => one.type === "url_citation" && one.url);
  // Always the newest citations, under one name: new links would make all text anew.
  const known = useRef(files);
  known.current = files;
  const link = useRef((href: string, children: ComponentChildren) => {
    if (/^https?:\/\//i.test(href))
      return <a href={href} target="_blank" rel="noopener noreferrer">{children}</a>;
    if (!href.startsWith(MOUNT)) return <span title={href}>{children}</span>;
    const path = decodeURI(href.slice(MOUNT.length));
    const file = known.current.find((one) => one.filename === path.split("/").pop());
    if (!file?.file_id) return <span title={href}>{children}</span>;
    const container = file.container_id ?? talk.containerId;
    return <Download href={contentOf(container, file.file_id)} path={path} />;
  });
  const once = useMemo(() => link.current.bind(null), [files.length]);
  return (
    <div class="message">
      <Markdown text={text} link={once} />
      {files.length > 0 && (
        <ul class="made" aria-label={t("filesMade")}>
          {files.map((file) => (
            <li>
              <Download
                href={contentOf(file.container_id ?? talk.containerId, file.file_id ?? "")}
                path={file.filename ?? ""}
              />
            </li>
          ))}
        </ul>
      )}
      {pages.length > 0 && (
        <ul class="made" aria-label={t("citations")}>
          {pages.map((page) => (
            <li>
              <a href={page.url} target="_blank" rel="noopener noreferrer">
                {page.title || page.url}
              </a>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
