// What a snippet displayed: tables, pictures, text, and HTML in its frame.

import { useMemo } from "preact/hooks";
import type { JSX } from "preact";
import { Grid, type Block } from "./grid";
import { GuestFrame } from "./guest";
import { Markdown } from "./markdown";
import { count } from "./amounts";
import type { Bundle } from "../types";
import { t } from "../words";

const IMAGES = ["image/png", "image/jpeg", "image/webp", "image/gif", "image/svg+xml"];

const COLUMNS_MOST = 200;
const ROWS_MOST = 1000;

interface TableSample {
  shape: number[];
  columns: (string | null)[];
  index: unknown[];
  rows: unknown[][];
}

interface Props {
  displays: Bundle[];
  /** Data URLs of pictures that the bundles only mark. */
  images?: string[];
  onAllRows?: (rows: number) => void;
}

export function Displays({ displays, images = [], onAllRows }: Props) {
  let picture = 0;
  const shown = displays.map((bundle) => {
    const form = IMAGES.find((one) => one in bundle);
    if (!form) return <Display bundle={bundle} onAllRows={onAllRows} />;
    picture += 1;
    const url = images[picture - 1] ?? dataUrl(form, bundle[form] ?? "");
    return <img class="plot" src={url} alt={t("image", { n: picture })} />;
  });
  for (const url of displays.length ? images.slice(picture) : images) {
    picture += 1;
    shown.push(<img class="plot" src={url} alt={t("image", { n: picture })} />);
  }
  return <>{shown}</>;
}

function dataUrl(form: string, data: string): string {
  if (form !== "image/svg+xml") return `data:${form};base64,${data}`;
  return `data:${form};charset=utf-8,${encodeURIComponent(data)}`;
}

const plainLink = (href: string, children: unknown) => <span title={href}>{children as string}</span>;

function Display({ bundle, onAllRows }: { bundle: Bundle; onAllRows?: (n: number) => void }) {
  return useMemo(() => displayOf(bundle, onAllRows), [bundle, !onAllRows]);
}

function displayOf(bundle: Bundle, onAllRows?: (rows: number) => void): JSX.Element | null {
  const json = bundle["application/json"];
  const sample = json && bundle["text/html"] ? sampleOf(json) : null;
  if (sample) return <Sample sample={sample} onAllRows={onAllRows} />;
  if (bundle["text/html"]) return <GuestFrame html={bundle["text/html"]} />;
  if (bundle["text/markdown"]) return <Markdown text={bundle["text/markdown"]} link={plainLink} />;
  const text = bundle["text/latex"] ?? json ?? bundle["text/plain"];
  return text ? <pre class="plain-display" tabIndex={0}>{text}</pre> : null;
}

function sampleOf(json: string): TableSample | null {
  try {
    const found = JSON.parse(json) as Partial<TableSample>;
    const isTable = [found.shape, found.columns, found.index, found.rows].every(Array.isArray);
    if (!isTable || !found.rows?.every(Array.isArray)) return null;
    // A snippet may show what only looks like a table, of any size.
    const { shape, columns, index, rows } = found as TableSample;
    return {
      shape: [Number(shape[0])],
      columns: columns.slice(0, COLUMNS_MOST),
      index: index.slice(0, ROWS_MOST),
      rows: rows.slice(0, ROWS_MOST),
    };
  } catch {
    return null;
  }
}

function Sample({ sample, onAllRows }: { sample: TableSample; onAllRows?: (n: number) => void }) {
  const columns = sample.columns.map((one) => String(one ?? ""));
  const rows = sample.shape[0] ?? sample.rows.length;
  const read = useMemo(
    () => (from: number, to: number): Block => ({
      index: sample.index.slice(from, to),
      data: sample.rows.slice(from, to),
    }),
    [sample],
  );
  const label = t("firstRows", { n: sample.rows.length, all: count(rows) });
  return (
    <figure class="table">
      <Grid label={label} columns={columns} count={sample.rows.length} read={read} height={330} />
      {rows > sample.rows.length && (
        <figcaption>
          {label}{" "}
          {onAllRows && (
            <button class="link" onClick={() => onAllRows(rows)}>
              {t("allRows")}
            </button>
          )}
        </figcaption>
      )}
    </figure>
  );
}
