// Small parts that several views share.

import { useRef, useState } from "preact/hooks";
import type { ComponentChildren } from "preact";
import { bytes, seconds } from "./amounts";
import type { Denial, MadeFile, More } from "../types";
import { contentOf } from "../panel";
import { t } from "../words";

const COPIED_MS = 1500;

export function Copy({ text }: { text: string }) {
  const [isCopied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setCopied(true);
    setTimeout(() => setCopied(false), COPIED_MS);
  };
  return (
    <button class="link" onClick={() => void copy()}>
      {isCopied ? t("copied") : t("copy")}
    </button>
  );
}

export function Refusals({ denials }: { denials: Denial[] }) {
  if (!denials.length) return null;
  return (
    <section class="refusals" aria-label={t("refusals")}>
      {denials.map((denial) => (
        <div class="refusal">
          <p>
            <strong>{t("refusals")}:</strong> {denial.tried}{" "}
            {(denial.count ?? 1) > 1 && <span class="quiet">× {denial.count} </span>}
            {denial.line ? <span>({t("refusedLine", { n: denial.line })}) </span> : null}
            <span class="quiet">{t("refusedBy", { layer: denial.layer })}</span>
          </p>
          <p>{denial.sentence || [denial.rule, denial.hint].filter(Boolean).join(". ")}</p>
          {denial.allow_with && (
            <div class="remedy">
              <p class="quiet">{t("allowWith")}</p>
              <pre tabIndex={0} aria-label={t("allowWith")}>{denial.allow_with}</pre>
              <Copy text={denial.allow_with} />
            </div>
          )}
        </div>
      ))}
    </section>
  );
}

export function Files({ files, container }: { files: MadeFile[]; container: string }) {
  if (!files.length) return null;
  return (
    <ul class="made" aria-label={t("filesMade")}>
      {files.map((file) => (
        <li>
          {file.file_id ? (
            <Download href={contentOf(container, file.file_id)} path={file.path} />
          ) : (
            <span>{file.path}</span>
          )}{" "}
          <span class="quiet">
            {bytes(file.bytes)}
            {file.not_kept ? `, ${t("notKept", { why: file.not_kept })}` : ""}
          </span>
        </li>
      ))}
    </ul>
  );
}

export function Download({ href, path }: { href: string; path: string }) {
  const name = path.split("/").pop() ?? path;
  return (
    <a class="file" href={href} download={name} aria-label={`${t("download")} ${path}`}>
      {path}
    </a>
  );
}

/** One line on how a run ended and what it took. */
export function Ending({ more }: { more: More }) {
  const { usage } = more;
  const cuts = (["stdout", "stderr"] as const).filter((name) => more.truncated[name].dropped_bytes);
  return (
    <p class="ending quiet">
      <span>{seconds(usage.wall_s)}</span>
      <span>
        {t("cpu")} {seconds(usage.cpu_user_s + usage.cpu_system_s)}
      </span>
      <span>{bytes(usage.peak_memory_bytes)}</span>
      {more.state === "rolled_back" && <span>{t("stateRolledBack")}</span>}
      {more.state === "lost" && <span>{t("stateLost")}</span>}
      {cuts.map((name) => (
        <span>
          {t("truncated", { bytes: bytes(more.truncated[name].dropped_bytes), stream: name })}
        </span>
      ))}
      {more.displays_dropped ? <span>{t("leftOut", { n: more.displays_dropped })}</span> : null}
    </p>
  );
}

/** Takes files that are dropped anywhere on it. */
export function DropZone(props: {
  onFiles: (files: File[]) => void;
  class: string;
  children: ComponentChildren;
}) {
  const [isOver, setOver] = useState(false);
  const depth = useRef(0);
  const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files");
  const enter = (event: DragEvent) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    depth.current += 1;
    setOver(true);
  };
  const leave = () => {
    depth.current = Math.max(0, depth.current - 1);
    if (!depth.current) setOver(false);
  };
  const drop = (event: DragEvent) => {
    event.preventDefault();
    depth.current = 0;
    setOver(false);
    const files = [...(event.dataTransfer?.files ?? [])];
    if (files.length) props.onFiles(files);
  };
  return (
    <div
      class={props.class}
      onDragEnter={enter}
      onDragOver={(event) => hasFiles(event) && event.preventDefault()}
      onDragLeave={leave}
      onDrop={drop}
    >
      {props.children}
      {isOver && <div class="drop">{t("dropHere")}</div>}
    </div>
  );
}

export function FilePicker({ onFiles }: { onFiles: (files: File[]) => void }) {
  const input = useRef<HTMLInputElement>(null);
  const pick = () => {
    const files = [...(input.current?.files ?? [])];
    if (input.current) input.current.value = "";
    if (files.length) onFiles(files);
  };
  return (
    <>
      <input
        ref={input}
        class="hidden"
        type="file"
        multiple
        tabIndex={-1}
        aria-label={t("attach")}
        onChange={pick}
      />
      <button class="tool" type="button" onClick={() => input.current?.click()}>
        {t("attach")}
      </button>
    </>
  );
}
