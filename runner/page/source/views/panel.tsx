// The session at the side: variables, files, points and branches, the bill, the layers.

import { useEffect, useState } from "preact/hooks";
import type { ComponentChildren } from "preact";
import { family, goBack, openTalk, pointName, pointTitle, tryInBranch } from "../chat";
import { bytes, count, seconds, shape } from "../parts/amounts";
import { Grid } from "../parts/grid";
import { Download } from "../parts/small";
import { bill, keepPoint, note, refresh, rowsOf, target } from "../panel";
import { fork, openPad } from "../scratch";
import { set, state, useApp } from "../state";
import type { Variable } from "../types";
import { LAYER_WORDS, t } from "../words";

const FILES_SHOWN = 300;
const TABLES = /(DataFrame|Series)$/;

export function PanelView() {
  const { panel } = useApp();
  return (
    <>
      <h2 class="panel-title">{t("session")}</h2>
      {panel.note && (
        <p class="note" role="status">
          {panel.note}{" "}
          <button class="link" onClick={() => note("")} aria-label={t("close")}>
            ×
          </button>
        </p>
      )}
      <Section title={t("variables")} isOpen>
        <Variables />
      </Section>
      <Section title={t("files")} isOpen>
        <FileList />
      </Section>
      <Section title={t("points")} isOpen>
        <Tree />
      </Section>
      <Section title={t("bill")} isOpen>
        <BillView />
      </Section>
      <Section title={t("layers")}>
        <Layers />
      </Section>
    </>
  );
}

function Section(props: { title: string; isOpen?: boolean; children: ComponentChildren }) {
  return (
    <details class="section" open={props.isOpen}>
      <summary>
        <h3>{props.title}</h3>
      </summary>
      {props.children}
    </details>
  );
}

const Nothing = () => <p class="quiet">{t("empty")}</p>;
const Missing = () => <p class="quiet">{t("notOffered")}</p>;

function Variables() {
  const { panel } = useApp();
  if (!panel.target) return <Nothing />;
  if (!panel.variables) return <Missing />;
  if (!panel.variables.length) return <Nothing />;
  return (
    <ul class="variables">
      {panel.variables.map((variable) => (
        <li>
          <VariableView variable={variable} />
        </li>
      ))}
    </ul>
  );
}

function VariableView({ variable }: { variable: Variable }) {
  const facts = [shape(variable.shape), variable.size_bytes ? bytes(variable.size_bytes) : ""];
  const isTable = TABLES.test(variable.type);
  const rows = Number(
    Array.isArray(variable.shape)
      ? variable.shape[0]
      : /\d+/.exec(String(variable.shape ?? ""))?.[0],
  );
  const open = () => set({ grid: { target: target(), name: variable.name, rows } });
  return (
    <>
      <div class="variable">
        <code>{variable.name}</code> <span class="quiet">{variable.type}</span>{" "}
        <span class="quiet">{facts.filter(Boolean).join(", ")}</span>{" "}
        {isTable && rows > 0 && (
          <button class="link" onClick={open}>
            {t("allRows")}
          </button>
        )}
      </div>
      {variable.preview && <div class="preview">{variable.preview}</div>}
    </>
  );
}

function FileList() {
  const { panel } = useApp();
  if (!panel.target) return <Nothing />;
  if (!panel.files) return <Missing />;
  if (!panel.files.length) return <Nothing />;
  return (
    <ul class="plain-list">
      {panel.files.slice(0, FILES_SHOWN).map((file) => (
        <li>
          <Download href={file.href} path={file.path} />{" "}
          {file.bytes !== null && <span class="quiet">{bytes(file.bytes)}</span>}
        </li>
      ))}
      {panel.files.length > FILES_SHOWN && (
        <li class="quiet">{t("andMore", { n: panel.files.length - FILES_SHOWN })}</li>
      )}
    </ul>
  );
}

// ---- points and branches ------------------------------------------------------------------------

function Points() {
  const { panel } = useApp();
  if (!panel.points?.length) return null;
  return (
    <ul>
      {panel.points.map((point) => (
        <li class="point">
          <span>{pointTitle(point)}</span>{" "}
          <button class="link" onClick={() => void goBack(point)}>
            {t("rollBack")}
          </button>
        </li>
      ))}
    </ul>
  );
}

function Tree() {
  const { view, panel, talk, pads } = useApp();
  if (!panel.target) return <Nothing />;
  const isChat = view === "chat";
  const number = Number(panel.points?.at(-1)?.id ?? 0) + 1;
  const keep = async () => {
    await keepPoint(isChat ? pointName() : t("point", { n: number }));
    await refresh();
  };
  const children = (parent: number | null): ComponentChildren => {
    const found = pads.filter((pad) => pad.parent === parent);
    if (!found.length) return null;
    return (
      <ul>
        {found.map((pad) => (
          <li>
            {pad.key === state.pad ? (
              <strong aria-current="true">{pad.name}</strong>
            ) : (
              <button class="link" onClick={() => openPad(pad.key)}>
                {pad.name}
              </button>
            )}
            {pad.key === state.pad && <Points />}
            {children(pad.key)}
          </li>
        ))}
      </ul>
    );
  };
  return (
    <div class="tree">
      {isChat ? (
        <ul>
          {family().map(({ conversation, depth }) => {
            const isHere = conversation.id === talk?.id;
            const title = conversation.metadata.title || t("untitled");
            const name = depth ? `${t("branchOf")}: ${title}` : title;
            return (
              <li style={{ marginInlineStart: `${depth * 14}px` }}>
                {isHere ? (
                  <strong aria-current="true">{name}</strong>
                ) : (
                  <button class="link" onClick={() => void openTalk(conversation.id)}>
                    {name}
                  </button>
                )}
                {isHere && <Points />}
              </li>
            );
          })}
        </ul>
      ) : (
        children(null)
      )}
      <p class="row">
        <button class="tool" onClick={() => void keep()}>
          {t("keepPoint")}
        </button>
        <button class="tool" onClick={() => void (isChat ? tryInBranch() : fork())}>
          {t("tryBranch")}
        </button>
      </p>
    </div>
  );
}

// ---- bill and layers ----------------------------------------------------------------------------

function BillView() {
  const { server, view } = useApp();
  const spent = bill();
  const last = spent.last;
  if (!last) return <Nothing />;
  const limits = server?.limits ?? {};
  const meter = (value: number, limit: number | undefined, label: string) =>
    limit ? <meter min={0} max={limit} value={value} high={limit * 0.8} aria-label={label} /> : null;
  const cpu = last.cpu_user_s + last.cpu_system_s;
  return (
    <table class="bill">
      <tbody>
        <tr>
          <th scope="row">{t("wall")}</th>
          <td>{seconds(last.wall_s)}</td>
          <td>{meter(last.wall_s, limits.wall_s, t("wall"))}</td>
        </tr>
        <tr>
          <th scope="row">{t("cpu")}</th>
          <td>{seconds(cpu)}</td>
          <td>{meter(cpu, limits.cpu_s, t("cpu"))}</td>
        </tr>
        <tr>
          <th scope="row">{t("memory")}</th>
          <td>{bytes(last.peak_memory_bytes)}</td>
          <td>{meter(last.peak_memory_bytes, limits.memory_bytes, t("memory"))}</td>
        </tr>
        <tr>
          <th scope="row">{t("written")}</th>
          <td>{bytes(last.written_bytes)}</td>
          <td />
        </tr>
        <tr>
          <th scope="row">{t("processes")}</th>
          <td>{last.processes}</td>
          <td>{meter(last.processes, limits.processes, t("processes"))}</td>
        </tr>
        <tr>
          <th scope="row">{t("start")}</th>
          <td>{seconds(last.start_s)}</td>
          <td />
        </tr>
        <tr class="sum">
          <th scope="row">{t("inAll")}</th>
          <td colSpan={2}>
            {t("runs")}: {spent.runs}, {seconds(spent.wall_s)}, {t("cpu")} {seconds(spent.cpu_s)}
          </td>
        </tr>
        {view === "chat" && spent.input > 0 && (
          <tr>
            <th scope="row">{t("tokens")}</th>
            <td colSpan={2}>
              {count(spent.input)}, {count(spent.output)}
            </td>
          </tr>
        )}
      </tbody>
    </table>
  );
}

function Layers() {
  const { panel, server, language } = useApp();
  if (!panel.layers.length) return <Nothing />;
  return (
    <>
      <p class="quiet">
        {t("tier")}: {server?.tier}
      </p>
      <ul class="layers">
        {panel.layers.map((layer) => (
          <li>
            <code>{layer}</code>{" "}
            <span class="quiet">{LAYER_WORDS[layer]?.[language === "zh" ? 1 : 0] ?? ""}</span>
          </li>
        ))}
      </ul>
    </>
  );
}

// ---- all rows of a table ------------------------------------------------------------------------

export function GridDialog() {
  const { grid } = useApp();
  return grid ? <Opened key={`${grid.target} ${grid.name}`} {...grid} /> : null;
}

function Opened(grid: { target: string; name: string; rows: number }) {
  const [columns, setColumns] = useState<string[] | null>(null);
  const [problem, setProblem] = useState("");
  const [read] = useState(() => async (from: number, to: number) => {
    const rows = await rowsOf(grid.target, grid.name, from, to);
    return { index: rows.index, data: rows.data };
  });
  useEffect(() => {
    rowsOf(grid.target, grid.name, 0, 1).then(
      (rows) => setColumns(rows.columns.map(String)),
      (error: unknown) => setProblem(error instanceof Error ? error.message : String(error)),
    );
  }, []);
  const show = (element: HTMLDialogElement | null) => {
    if (element && !element.open) element.showModal();
  };
  const close = () => set({ grid: null });
  return (
    <dialog class="rows" ref={show} onClose={close} aria-label={grid.name}>
      <header>
        <h2>
          <code>{grid.name}</code> <span class="quiet">{count(grid.rows)}</span>
        </h2>
        <button class="tool" onClick={close}>
          {t("close")}
        </button>
      </header>
      {problem && <p class="problem" role="alert">{problem}</p>}
      {!columns && !problem && <p class="quiet">{t("loading")}</p>}
      {columns && (
        <Grid label={grid.name} columns={columns} count={grid.rows} read={read} height={520} />
      )}
    </dialog>
  );
}

