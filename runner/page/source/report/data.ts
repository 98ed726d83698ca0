// What the report is made of, and how rows are compared, sorted and filtered.

export interface Side {
  outcome: string;
  result: string;
  stderr: string;
  code: string;
}

export interface Row extends Side {
  index: number;
  task: string;
  before: Side | null;
  cpu_s: number;
  wall_s: number;
  memory: number;
  flaky: string;
  details: Record<string, unknown>;
}

export interface Data {
  summary: {
    suite: string;
    samples: number;
    tasks: number;
    pass_at: Record<string, number>;
    outcomes: Record<string, number>;
  };
  compared: boolean;
  before: { pass_at_1: number | null; gone: number };
  tasks: Record<string, { question: string; test: string }>;
  rows: Row[];
}

export type Change = "same" | "broken" | "fixed" | "other" | "new";

export const data = JSON.parse(document.getElementById("data")?.textContent ?? "null") as Data;

export function changeOf(row: Row): Change {
  if (!data.compared || row.before?.outcome === row.outcome) return "same";
  if (!row.before) return "new";
  if (row.outcome === "passed") return "fixed";
  return row.before.outcome === "passed" ? "broken" : "other";
}

/** One line of the table: a task with its samples, or a sample by itself. */
export interface Line {
  key: string;
  name: string;
  rows: Row[];
  passed: number;
  outcome: string;
  result: string;
  change: Change;
  cpu: number;
  wall: number;
  memory: number;
}

export type Column = "name" | "outcome" | "passed" | "change" | "cpu" | "wall" | "memory";

function lineOf(key: string, name: string, rows: Row[]): Line {
  const worst = rows.find((row) => row.outcome !== "passed") ?? rows[0];
  const changes = rows.map(changeOf);
  const most = (read: (row: Row) => number) => Math.max(...rows.map(read));
  return {
    key,
    name,
    rows,
    passed: rows.filter((row) => row.outcome === "passed").length / rows.length,
    outcome: worst?.outcome ?? "",
    result: worst ? withoutOutcome(worst) : "",
    change: (["broken", "fixed", "other", "new"] as const).find((one) => changes.includes(one)) ?? "same",
    cpu: most((row) => row.cpu_s),
    wall: most((row) => row.wall_s),
    memory: most((row) => row.memory),
  };
}

/** What a verdict says beyond its outcome, with which most begin. */
function withoutOutcome(row: Row): string {
  const start = `${row.outcome}: `;
  if (row.result === row.outcome) return "";
  return row.result.startsWith(start) ? row.result.slice(start.length) : row.result;
}

export const sampleLines = data.rows.map((row) =>
  lineOf(String(row.index), `${row.task} #${row.index}`, [row]),
);

export const taskLines = (() => {
  const groups = new Map<string, Row[]>();
  for (const row of data.rows) {
    const group = groups.get(row.task);
    if (group) group.push(row);
    else groups.set(row.task, [row]);
  }
  return [...groups].map(([task, rows]) => lineOf(task, task, rows));
})();

export interface Wish {
  outcome: string;
  text: string;
  change: "" | "changed" | "broken" | "fixed";
  column: Column;
  isDown: boolean;
}

const UNCHANGED = new Set<Change>(["same", "new"]);

export function wanted(lines: Line[], wish: Wish): Line[] {
  const text = wish.text.toLowerCase();
  const fits = (line: Line) =>
    (!wish.outcome || line.rows.some((row) => row.outcome === wish.outcome)) &&
    (!wish.change ||
      (wish.change === "changed" ? !UNCHANGED.has(line.change) : line.change === wish.change)) &&
    (!text || line.rows.some((row) => textOf(row).includes(text)));
  const order = new Intl.Collator(undefined, { numeric: true });
  const sign = wish.isDown ? -1 : 1;
  return lines.filter(fits).sort((a, b) => {
    const [one, two] = [a[wish.column], b[wish.column]];
    const by =
      typeof one === "number" ? one - (two as number) : order.compare(String(one), String(two));
    return by * sign || order.compare(a.name, b.name);
  });
}

const textOf = (row: Row) =>
  [row.task, row.code, row.result, row.stderr].join("\n").toLowerCase();

const TEST_LINE = /File "<test>", line (\d+)/g;

/** The line of the test that failed, as the traceback names it; 0 when it names none. */
export function failedLine(row: Side): number {
  const found = [...row.stderr.matchAll(TEST_LINE)].pop();
  return found ? Number(found[1]) : 0;
}
