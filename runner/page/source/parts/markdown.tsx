// The model's Markdown as elements. Text stays text: there is no way from it to markup.

import { useMemo } from "preact/hooks";
import type { ComponentChildren, JSX } from "preact";
import { Code } from "./highlight";
import { t } from "../words";

type Link = (href: string, children: ComponentChildren) => JSX.Element;

const FENCE = /^ {0,3}(```+|~~~+)\s*([\w+-]*)/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const INLINE =
  /(`+)([\s\S]*?[^`])\1(?!`)|\*\*(?=\S)([\s\S]*?\S)\*\*|(?<![\w*])[*_](?=\S)([\s\S]*?\S)[*_](?![\w*])|!?\[([^\]\n]*)\]\(([^()\s]*(?:\([^()\s]*\)[^()\s]*)*)(?:\s+"[^"]*")?\)|(https?:\/\/[^\s<>()]+[^\s<>().,;:!?'"，。；：！？])/g;
const DEPTH = 6;
/** Longer texts, and longer paragraphs, are shown as they are: marks in them would take too long
 * to find, and a snippet may show such a text on purpose. */
const LONGEST = 200_000;
const LONGEST_PART = 8_000;

export function Markdown({ text, link }: { text: string; link: Link }) {
  return useMemo(() => {
    if (text.length > LONGEST) return <pre class="plain-display" tabIndex={0}>{text}</pre>;
    return <div class="markdown">{blocks(text.split("\n"), link, 0)}</div>;
  }, [text, link]);
}

function blocks(lines: string[], link: Link, depth: number): ComponentChildren[] {
  const found: ComponentChildren[] = [];
  let at = 0;
  const until = (stops: (line: string) => boolean) => {
    const from = at;
    while (at < lines.length && !stops(lines[at] ?? "")) at += 1;
    return lines.slice(from, at);
  };
  while (at < lines.length) {
    const line = lines[at] ?? "";
    const fence = FENCE.exec(line);
    const heading = /^ {0,3}(#{1,6})\s+(.*?)\s*#*$/.exec(line);
    if (!line.trim()) {
      at += 1;
    } else if (fence) {
      at += 1;
      const mark = fence[1] ?? "```";
      const body = until((one) => one.trim().startsWith(mark)).join("\n");
      at += 1;
      found.push(<Code code={body} label={fence[2] || t("code")} />);
    } else if (heading) {
      at += 1;
      // The page's own headings are above: a model's begins below them.
      const Tag = (["h3", "h4", "h5", "h6", "h6", "h6"] as const)[(heading[1] ?? "#").length - 1];
      found.push(Tag ? <Tag>{inline(heading[2] ?? "", link)}</Tag> : null);
    } else if (/^ {0,3}([-*_])(\s*\1){2,}\s*$/.test(line)) {
      at += 1;
      found.push(<hr />);
    } else if (line.startsWith(">") && depth < DEPTH) {
      const body = until((one) => !one.startsWith(">")).map((one) => one.replace(/^> ?/, ""));
      found.push(<blockquote>{blocks(body, link, depth + 1)}</blockquote>);
    } else if (ITEM.test(line) && depth < DEPTH) {
      found.push(list(until((one) => !ITEM.test(one) && !/^\s{2,}\S/.test(one)), link, depth));
    } else if (isTable(lines, at)) {
      found.push(table(until((one) => !one.includes("|")), link));
    } else {
      const body = until(
        (one) => !one.trim() || FENCE.test(one) || /^ {0,3}#{1,6}\s/.test(one) || ITEM.test(one),
      );
      // A line that only looked like the beginning of something else.
      if (!body.length) body.push(lines[at++] ?? "");
      found.push(<p>{inline(body.join("\n"), link)}</p>);
    }
  }
  return found;
}

function list(lines: string[], link: Link, depth: number): JSX.Element {
  const first = ITEM.exec(lines[0] ?? "");
  const indent = first?.[1]?.length ?? 0;
  const items: string[][] = [];
  for (const line of lines) {
    const match = ITEM.exec(line);
    if (match && (match[1]?.length ?? 0) <= indent) items.push([match[3] ?? ""]);
    else items.at(-1)?.push(line.replace(/^ {1,4}/, ""));
  }
  const shown = items.map((body) => {
    const [head, ...rest] = body;
    return (
      <li>
        {inline(head ?? "", link)}
        {rest.length ? blocks(rest, link, depth + 1) : null}
      </li>
    );
  });
  const start = parseInt(first?.[2] ?? "", 10);
  return Number.isNaN(start) ? <ul>{shown}</ul> : <ol start={start}>{shown}</ol>;
}

function isTable(lines: string[], at: number): boolean {
  return (
    (lines[at] ?? "").includes("|") &&
    /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/.test(lines[at + 1] ?? "") &&
    (lines[at + 1] ?? "").includes("-")
  );
}

function table(lines: string[], link: Link): JSX.Element {
  const cells = (line: string) => line.trim().replace(/^\||\|$/g, "").split("|").map((one) => one.trim());
  const [head, , ...rows] = lines;
  return (
    <div class="wide" tabIndex={0} role="region" aria-label={cells(head ?? "").join(", ")}>
      <table>
        <thead>
          <tr>{cells(head ?? "").map((cell) => <th scope="col">{inline(cell, link)}</th>)}</tr>
        </thead>
        <tbody>
          {rows.map((row) => <tr>{cells(row).map((cell) => <td>{inline(cell, link)}</td>)}</tr>)}
        </tbody>
      </table>
    </div>
  );
}

function inline(text: string, link: Link, depth = 0): ComponentChildren[] {
  if (text.length > LONGEST_PART) return [text];
  const found: ComponentChildren[] = [];
  let at = 0;
  for (const match of text.matchAll(INLINE)) {
    if (match.index > at) found.push(text.slice(at, match.index));
    at = match.index + match[0].length;
    const [whole, , code, strong, weak, label, href, bare] = match;
    const inner = (one: string) => (depth < DEPTH ? inline(one, link, depth + 1) : [one]);
    if (code !== undefined) found.push(<code>{code.trim()}</code>);
    else if (strong !== undefined) found.push(<strong>{inner(strong)}</strong>);
    else if (weak !== undefined) found.push(<em>{inner(weak)}</em>);
    else if (href !== undefined) found.push(link(href, label || href));
    else if (bare !== undefined) found.push(link(bare, bare));
    else found.push(whole);
  }
  found.push(text.slice(at));
  return found;
}
