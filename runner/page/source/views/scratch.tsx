// The scratch pad: snippets, one under the other, and where the next one is written.

import { useEffect, useRef, useState } from "preact/hooks";
import { Displays } from "../parts/displays";
import { Code } from "../parts/highlight";
import { Output } from "../parts/output";
import { Copy, DropZone, Ending, FilePicker, Refusals } from "../parts/small";
import { isName } from "../panel";
import { interrupt, newPad, openPad, put, run } from "../scratch";
import { currentPad, set, useApp, type Cell, type Pad } from "../state";
import type { Outcome } from "../types";
import { t } from "../words";

const INDENT = "    ";
const ROWS_LEAST = 4;
const ROWS_MOST = 16;

export function ScratchView() {
  const { pads, uploads, uploadProblem } = useApp();
  const pad = currentPad();
  const box = useRef<HTMLDivElement>(null);
  const cells = pad?.cells.length ?? 0;
  useEffect(() => {
    if (box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [cells, pad?.cells.at(-1)?.isRunning]);
  if (!pad) return null;
  return (
    <DropZone class="main scratch" onFiles={(files) => void put(files)}>
      <div class="pads">
        {pads.length > 1 && (
          <label>
            <span>{t("session")}</span>
            <select
              value={String(pad.key)}
              onChange={(event) => openPad(Number(event.currentTarget.value))}
            >
              {pads.map((one) => <option value={one.key}>{one.name}</option>)}
            </select>
          </label>
        )}
        <button class="tool" onClick={newPad}>
          {t("newSession")}
        </button>
      </div>
      <div class="turns" ref={box} tabIndex={0} role="log" aria-label={t("scratch")}>
        {pad.cells.length === 0 && <p class="welcome">{t("welcomeScratch")}</p>}
        {pad.cells.map((cell) => (
          <CellView key={cell.key} cell={cell} pad={pad} />
        ))}
      </div>
      {(uploads.length > 0 || uploadProblem) && (
        <ul class="attached">
          {uploads.map((name) => <li role="status">{t("uploading", { name })}</li>)}
          {uploadProblem && <li role="alert" class="problem">{uploadProblem}</li>}
        </ul>
      )}
      <Editor pad={pad} />
    </DropZone>
  );
}

function Editor({ pad }: { pad: Pad }) {
  const [code, setCode] = useState("");
  const area = useRef<HTMLTextAreaElement>(null);
  const go = () => {
    if (pad.isRunning || !code.trim()) return;
    setCode("");
    void run(code);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const element = area.current;
    if (!element || event.isComposing) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey || event.shiftKey)) {
      event.preventDefault();
      go();
    } else if (event.key === "Enter") {
      const line = code.slice(0, element.selectionStart).split("\n").pop() ?? "";
      const indent = /^\s*/.exec(line)?.[0] ?? "";
      const more = line.trimEnd().endsWith(":") ? INDENT : "";
      if (!indent && !more) return;
      event.preventDefault();
      element.setRangeText(`\n${indent}${more}`, element.selectionStart, element.selectionEnd, "end");
      setCode(element.value);
    } else if (event.key === "Tab" && !event.shiftKey && code.trim()) {
      // In an empty field, and with Shift, Tab moves on: the keyboard is never caught here.
      event.preventDefault();
      element.setRangeText(INDENT, element.selectionStart, element.selectionEnd, "end");
      setCode(element.value);
    }
  };
  const rows = Math.min(Math.max(code.split("\n").length + 1, ROWS_LEAST), ROWS_MOST);
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        go();
      }}
    >
      <textarea
        ref={area}
        class="editor"
        rows={rows}
        value={code}
        spellcheck={false}
        autocapitalize="off"
        autocomplete="off"
        aria-label={t("runLabel")}
        placeholder={t("runHint")}
        onInput={(event) => setCode(event.currentTarget.value)}
        onKeyDown={onKeyDown}
      />
      <div class="tools">
        <FilePicker onFiles={(files) => void put(files)} />
        <span class="space" />
        {pad.isRunning ? (
          <button type="button" class="main-button stop" onClick={() => void interrupt(pad)}>
            {t("stop")}
          </button>
        ) : (
          <button type="submit" class="main-button" disabled={!code.trim()}>
            {t("run")}
          </button>
        )}
      </div>
    </form>
  );
}

function CellView({ cell, pad }: { cell: Cell; pad: Pad }) {
  const { outcome } = cell;
  const name = cell.code.trim().split("\n").pop()?.trim() ?? "";
  const isShown = cell.displays.some((one) => Object.keys(one).length > 1);
  const onAllRows = isName(name)
    ? (rows: number) => set({ grid: { target: pad.id, name, rows } })
    : undefined;
  const streams = [...cell.streams];
  if (outcome?.text && !isShown) streams.push({ name: "stdout", text: outcome.text });
  if (outcome?.error) streams.push({ name: "stderr", text: outcome.error.traceback });
  return (
    <section class="run" aria-label={t("code")} aria-busy={cell.isRunning}>
      <header>
        <span>{t("code")}</span>
        <span class="quiet" role="status">{cell.isRunning ? t("running") : ""}</span>
        <Copy text={cell.code} />
      </header>
      <Code code={cell.code} label={t("code")} />
      <Output streams={streams} label={t("output")} />
      <Displays displays={cell.displays} onAllRows={onAllRows} />
      {outcome && <Refusals denials={outcome.denials} />}
      {outcome && howItEnded(outcome) && <p class="problem">{howItEnded(outcome)}</p>}
      {cell.problem && <p class="problem" role="alert">{cell.problem}</p>}
      {outcome && <Ending more={outcome} />}
    </section>
  );
}

function howItEnded(outcome: Outcome): string {
  const { status, limit = "", observed = 0, allowed = 0 } = outcome;
  if (status === "limit_exceeded")
    return t("limit", { limit, observed: observed.toPrecision(4), allowed });
  if (status === "refused")
    return t("notRun", {
      reason: `${outcome.reason ?? ""}${
        outcome.line ? ` (${t("refusedLine", { n: outcome.line })})` : ""
      }`,
    });
  if (status === "died") return t("exit", { how: outcome.signal ?? String(outcome.exit_code) });
  return "";
}
