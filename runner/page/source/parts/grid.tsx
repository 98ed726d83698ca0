// A table of any length: only the rows in sight are there, and asked for.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";

const ROW_PX = 28;
const BLOCK = 100;
/** Browsers lay out no element that is higher. */
const ROWS_MOST = 600_000;
const SPARE = 8;
const SETTLE_MS = 60;
const BLOCKS_KEPT = 50;
const LEAST_CH = 6;
const MOST_CH = 40;

export interface Block {
  index: unknown[];
  data: unknown[][];
}

interface Props {
  label: string;
  columns: string[];
  count: number;
  /** Rows from `from` to `to`. */
  read: (from: number, to: number) => Block | Promise<Block>;
  height?: number;
}

export function Grid({ label, columns, count: all, read, height = 360 }: Props) {
  const count = Math.min(all, ROWS_MOST) || 0;
  const blocks = useRef(new Map<number, Block | "asked">());
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [problem, setProblem] = useState("");
  const [, tick] = useState(0);
  useEffect(() => {
    blocks.current.clear();
    tick((n) => n + 1);
  }, [read]);
  const first = Math.max(0, Math.floor(top / ROW_PX) - SPARE);
  const last = Math.min(count, Math.ceil((top + height) / ROW_PX) + SPARE);
  useEffect(() => {
    const ask = () => {
      for (let number = Math.floor(first / BLOCK); number * BLOCK < last; number += 1) {
        if (blocks.current.has(number)) continue;
        blocks.current.set(number, "asked");
        const end = Math.min(count, (number + 1) * BLOCK);
        Promise.resolve(read(number * BLOCK, end)).then(
          (block) => {
            blocks.current.set(number, block);
            for (const old of [...blocks.current.keys()].slice(0, -BLOCKS_KEPT))
              blocks.current.delete(old);
            tick((n) => n + 1);
          },
          (error: unknown) => {
            blocks.current.delete(number);
            setProblem(error instanceof Error ? error.message : String(error));
          },
        );
      }
    };
    if (!blocks.current.size) return ask();
    // While the rows fly past, none of them is asked for.
    const later = setTimeout(ask, SETTLE_MS);
    return () => clearTimeout(later);
  }, [first, last, count, read]);
  const row = (number: number): { label: unknown; cells: unknown[] } | null => {
    const block = blocks.current.get(Math.floor(number / BLOCK));
    if (!block || block === "asked") return null;
    return { label: block.index[number % BLOCK], cells: block.data[number % BLOCK] ?? [] };
  };
  // The columns keep their widths while rows are on their way.
  const known = useRef<unknown[]>([]);
  if (!known.current.length) known.current = row(first)?.cells ?? [];
  const sample = known.current;
  const widths = useMemo(() => widthsOf(columns, sample), [columns, sample.length]);
  const style = { gridTemplateColumns: `${LEAST_CH + 2}ch ${widths}` };
  const rows = [];
  for (let number = first; number < last; number += 1) {
    const found = row(number);
    rows.push(
      <div
        class="line"
        role="row"
        key={number}
        aria-rowindex={number + 2}
        style={{ ...style, transform: `translateY(${number * ROW_PX}px)` }}
      >
        <div role="rowheader">{text(found ? found.label : "…")}</div>
        {columns.map((_, column) => {
          const cell = found?.cells[column];
          return (
            <div role="cell" class={typeof cell === "number" ? "number" : ""}>
              {found ? text(cell) : ""}
            </div>
          );
        })}
      </div>,
    );
  }
  return (
    <div
      class="grid"
      role="table"
      aria-label={label}
      aria-rowcount={count + 1}
      tabIndex={0}
      ref={box}
      style={{ maxBlockSize: `${height}px` }}
      onScroll={() => setTop(box.current?.scrollTop ?? 0)}
    >
      <div class="head" role="rowgroup">
        <div class="line" role="row" aria-rowindex={1} style={style}>
          <div role="columnheader">#</div>
          {columns.map((column, index) => (
            <div
              role="columnheader"
              class={typeof sample[index] === "number" ? "number" : ""}
            >
              {column}
            </div>
          ))}
        </div>
      </div>
      <div class="body" role="rowgroup" style={{ blockSize: `${count * ROW_PX}px` }}>
        {rows}
      </div>
      {problem && <p role="alert" class="problem">{problem}</p>}
    </div>
  );
}

function widthsOf(columns: string[], cells: unknown[]): string {
  return columns
    .map((column, index) => {
      const wide = Math.max(column.length, text(cells[index]).length) + 2;
      return `minmax(${Math.min(Math.max(wide, LEAST_CH), MOST_CH)}ch, 1fr)`;
    })
    .join(" ");
}

function text(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (typeof value === "number" && !Number.isInteger(value)) return String(+value.toPrecision(10));
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
