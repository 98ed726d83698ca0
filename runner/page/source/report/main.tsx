// The evaluation's report: figures, comparison, a table that sorts and filters, and each sample.

import { render } from "preact";
import { useMemo, useState } from "preact/hooks";
import "../look.css";
import "./report.css";
import { Code, highlighted } from "../parts/highlight";
import {
  changeOf,
  data,
  failedLine,
  sampleLines,
  taskLines,
  wanted,
  type Column,
  type Line,
  type Row,
  type Side,
  type Wish,
} from "./data";
import { isChinese, t, type Word } from "./words";

const SHOWN = 500;
const MB = 1024 * 1024;
const RESULT_CHARS = 120;

function App() {
  const [isByTask, setByTask] = useState(true);
  const [wish, setWish] = useState<Wish>({
    outcome: "",
    text: "",
    change: "",
    column: "name",
    isDown: false,
  });
  const [most, setMost] = useState(SHOWN);
  const lines = isByTask ? taskLines : sampleLines;
  const found = useMemo(() => wanted(lines, wish), [lines, wish]);
  const change = (update: Partial<Wish>) => setWish({ ...wish, ...update });
  const { summary } = data;
  return (
    <main>
      <h1>{t("title", { ...summary })}</h1>
      {data.compared && <p class="quiet">{t("compared")}</p>}
      <Figures />
      {data.compared && <Comparison />}
      {data.before.gone > 0 && <p class="quiet">{t("gone", { n: data.before.gone })}</p>}
      <div class="controls">
        <div class="views" role="group" aria-label={t("samples")}>
          {[true, false].map((one) => (
            <button class="view" aria-pressed={isByTask === one} onClick={() => setByTask(one)}>
              {t(one ? "tasks" : "samples")}
            </button>
          ))}
        </div>
        <label>
          {t("filter")}{" "}
          <select
            id="outcome"
            value={wish.outcome}
            onChange={(event) => change({ outcome: event.currentTarget.value })}
          >
            <option value="">{t("all")}</option>
            {Object.keys(summary.outcomes).map((name) => <option value={name}>{name}</option>)}
          </select>
        </label>
        <label>
          {t("search")}{" "}
          <input
            type="search"
            placeholder={t("searchHint")}
            value={wish.text}
            onInput={(event) => change({ text: event.currentTarget.value })}
          />
        </label>
        {data.compared && (
          <label>
            {t("changes")}{" "}
            <select
              value={wish.change}
              onChange={(event) => change({ change: event.currentTarget.value as Wish["change"] })}
            >
              <option value="">{t("anyChange")}</option>
              <option value="changed">{t("onlyChanged")}</option>
              <option value="broken">{t("onlyBroken")}</option>
              <option value="fixed">{t("onlyFixed")}</option>
            </select>
          </label>
        )}
        <span role="status" class="quiet">
          {t("shown", { n: found.length, all: lines.length })}
        </span>
      </div>
      <Table lines={found.slice(0, most)} wish={wish} onSort={change} />
      {!found.length && <p class="quiet">{t("none")}</p>}
      {found.length > most && (
        <button class="tool" onClick={() => setMost(most + SHOWN)}>
          {t("more")}
        </button>
      )}
    </main>
  );
}

function Figures() {
  const { summary, before } = data;
  const signed = (value: number) => `${value >= 0 ? "+" : "−"}${Math.abs(value).toFixed(4)}`;
  return (
    <dl class="figures" aria-label={t("figures")}>
      {Object.entries(summary.pass_at).map(([name, value]) => (
        <div>
          <dt>{name}</dt>
          <dd>
            {value.toFixed(4)}{" "}
            {name === "pass@1" && before.pass_at_1 !== null && (
              <span class="delta">{signed(value - before.pass_at_1)}</span>
            )}
          </dd>
        </div>
      ))}
      {Object.entries(summary.outcomes).map(([name, count]) => (
        <div class={name}>
          <dt>{name.replaceAll("_", " ")}</dt>
          <dd>{count}</dd>
        </div>
      ))}
    </dl>
  );
}

function Comparison() {
  const kinds: [string, (side: Side | null) => boolean][] = [
    [t("passed"), (side) => side?.outcome === "passed"],
    [t("notPassed"), (side) => side !== null && side.outcome !== "passed"],
    [t("absent"), (side) => side === null],
  ];
  const count = (was: (side: Side | null) => boolean, is: (side: Side | null) => boolean) =>
    data.rows.filter((row) => was(row.before) && is(row)).length;
  return (
    <table class="comparison">
      <caption>{t("comparison")}</caption>
      <thead>
        <tr>
          <td />
          {kinds.slice(0, 2).map(([name]) => (
            <th scope="col">
              {t("now")} {name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {kinds.map(([name, was], row) => (
          <tr>
            <th scope="row">
              {t("before")} {name}
            </th>
            {kinds.slice(0, 2).map(([, is], column) => (
              <td class={row === column ? "" : "odd"}>{count(was, is)}</td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

const COLUMNS: [Column, Word, boolean][] = [
  ["name", "task", false],
  ["outcome", "outcome", false],
  ["change", "change", false],
  ["passed", "passedOf", true],
  ["cpu", "cpu", true],
  ["wall", "wall", true],
  ["memory", "memory", true],
];

const SPENT = new Set<Column>(["cpu", "wall", "memory"]);

const classOf = (column: Column, isNumber: boolean) =>
  [isNumber ? "number" : "", SPENT.has(column) ? "spent" : ""].join(" ").trim();

interface TableProps {
  lines: Line[];
  wish: Wish;
  onSort: (update: Partial<Wish>) => void;
}

function Table({ lines, wish, onSort }: TableProps) {
  const columns = COLUMNS.filter(([column]) => data.compared || column !== "change");
  return (
    <div class="wide" tabIndex={0} role="region" aria-label={t("tasks")}>
      <table class="lines">
        <thead>
          <tr>
            {columns.map(([column, word, isNumber]) => {
              const isHere = wish.column === column;
              const way = isHere ? (wish.isDown ? "descending" : "ascending") : undefined;
              return (
                <th scope="col" class={classOf(column, isNumber)} aria-sort={way}>
                  <button
                    class="sort"
                    onClick={() => onSort({ column, isDown: isHere ? !wish.isDown : isNumber })}
                  >
                    {t(word)}
                    <span aria-hidden="true">{isHere ? (wish.isDown ? " ▾" : " ▴") : ""}</span>
                  </button>
                </th>
              );
            })}
          </tr>
        </thead>
        <tbody>
          {lines.map((line) => (
            <LineView key={line.key} line={line} width={columns.length} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function LineView({ line, width }: { line: Line; width: number }) {
  const [isOpen, setOpen] = useState(false);
  const passed = line.rows.filter((row) => row.outcome === "passed").length;
  return (
    <>
      <tr class="line">
        <td>
          <button
            class="link name"
            aria-expanded={isOpen}
            aria-label={t("open", { name: line.name })}
            onClick={() => setOpen(!isOpen)}
          >
            {line.name}
          </button>
        </td>
        <td>
          <span class={line.outcome}>{line.outcome.replaceAll("_", " ")}</span>{" "}
          <span class="quiet">{line.result.slice(0, RESULT_CHARS)}</span>
        </td>
        {data.compared && <td class={line.change}>{t(line.change)}</td>}
        <td class="number">
          {passed} / {line.rows.length}
        </td>
        <td class="number spent">{line.cpu.toFixed(3)}</td>
        <td class="number spent">{line.wall.toFixed(3)}</td>
        <td class="number spent">{(line.memory / MB).toFixed(0)}</td>
      </tr>
      {isOpen && (
        <tr class="details">
          <td colSpan={width}>
            <Details line={line} />
          </td>
        </tr>
      )}
    </>
  );
}

function Details({ line }: { line: Line }) {
  const first = line.rows[0];
  const task = first && data.tasks[first.task];
  // The failing samples first: they are what a reader opens a task for.
  const rows = [...line.rows].sort(
    (a, b) => Number(a.outcome === "passed") - Number(b.outcome === "passed"),
  );
  return (
    <>
      {task?.question && (
        <details>
          <summary>{t("question")}</summary>
          <pre tabIndex={0}>{task.question}</pre>
        </details>
      )}
      {rows.map((row) => (
        <Sample row={row} test={task?.test ?? ""} isAlone={rows.length === 1} />
      ))}
    </>
  );
}

function Sample({ row, test, isAlone }: { row: Row; test: string; isAlone: boolean }) {
  const [isOpen, setOpen] = useState(isAlone || row.outcome !== "passed");
  const isChanged = changeOf(row) !== "same";
  return (
    <details
      class="sample"
      open={isOpen}
      onToggle={(event) => setOpen((event.currentTarget as HTMLDetailsElement).open)}
    >
      <summary>
        {t("sample")} {row.index}: <span class={row.outcome}>{row.outcome.replaceAll("_", " ")}</span>
        {isChanged && <span class="odd"> ({t("before")} {row.before?.outcome ?? t("absent")})</span>}
      </summary>
      {isOpen && (
        <>
          {row.flaky && (
            <p class="odd">
              {t("mayChange")}: {row.flaky}
            </p>
          )}
          <div class={data.compared && row.before ? "sides two" : "sides"}>
            {data.compared && row.before && (
              <SideView side={row.before} test={test} title={t("before")} />
            )}
            <SideView side={row} test={test} title={data.compared ? t("now") : ""} />
          </div>
          {Object.keys(row.details).length > 0 && (
            <details>
              <summary>{t("details")}</summary>
              <pre tabIndex={0}>{JSON.stringify(row.details, null, 1)}</pre>
            </details>
          )}
        </>
      )}
    </details>
  );
}

function SideView({ side, test, title }: { side: Side; test: string; title: string }) {
  const output = [side.result, side.stderr].filter(Boolean).join("\n");
  return (
    <section aria-label={title || t("sample")}>
      {title && <h3>{title}</h3>}
      <h4>{t("code")}</h4>
      <Code code={side.code} label={t("code")} />
      {side.outcome !== "passed" && test && <Test test={test} line={failedLine(side)} />}
      <h4>{t("output")}</h4>
      <pre class="output" tabIndex={0} aria-label={t("output")}>{output}</pre>
    </section>
  );
}

function Test({ test, line }: { test: string; line: number }) {
  const lines = test.split("\n");
  const isMarked = line > 0 && line <= lines.length;
  const part = (from: number, to?: number) => {
    const text = lines.slice(from, to).join("\n");
    return highlighted(text && from > 0 ? `\n${text}` : text);
  };
  return (
    <>
      <h4>
        {t("test")} {isMarked && <span class="failed">({t("failedLine", { n: line })})</span>}
      </h4>
      <pre class="code" tabIndex={0} aria-label={t("test")}>
        {isMarked ? (
          <code>
            {part(0, line - 1)}
            {line > 1 ? "\n" : ""}
            <mark>{highlighted(lines[line - 1] ?? "")}</mark>
            {line < lines.length ? part(line) : null}
          </code>
        ) : (
          <code>{highlighted(test)}</code>
        )}
      </pre>
    </>
  );
}

const place = document.getElementById("report");
if (!place) throw new Error("The document has no place for the report.");
document.documentElement.lang = isChinese ? "zh-Hans" : "en";
document.title = t("title", { ...data.summary });
render(<App />, place);
