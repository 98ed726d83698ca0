// Python with colours: a tokenizer of one regular expression, and never any markup.

import { useMemo } from "preact/hooks";
import type { JSX } from "preact";

const KEYWORDS = new Set(
  ("False None True and as assert async await break class continue def del elif else except " +
    "finally for from global if import in is lambda match nonlocal not or pass raise return try " +
    "while with yield case").split(" "),
);
const BUILTINS = new Set(
  ("abs all any bool bytes dict dir enumerate filter float format getattr hasattr hash hex id " +
    "input int isinstance issubclass iter len list map max min next object open ord pow print " +
    "range repr reversed round set setattr slice sorted str sum super tuple type vars zip").split(
    " ",
  ),
);
const TOKEN = new RegExp(
  [
    "(?<comment>#[^\\n]*)",
    "(?<string>[rbfuRBFU]{0,2}(?:\"\"\"[\\s\\S]*?(?:\"\"\"|$)|'''[\\s\\S]*?(?:'''|$)" +
      "|\"(?:\\\\.|[^\"\\\\\\n])*\"?|'(?:\\\\.|[^'\\\\\\n])*'?))",
    "(?<number>\\b(?:0[xXoObB][\\da-fA-F_]+|\\d[\\d_]*\\.?[\\d_]*(?:[eE][+-]?\\d+)?j?))",
    "(?<decorator>@[\\w.]+)",
    "(?<word>[\\p{L}_][\\p{L}\\p{N}_]*)",
  ].join("|"),
  "gu",
);
const LONGEST = 60_000;

export function highlighted(code: string): (string | JSX.Element)[] {
  if (code.length > LONGEST) return [code];
  const found: (string | JSX.Element)[] = [];
  let at = 0;
  for (const match of code.matchAll(TOKEN)) {
    const kind = kindOf(match, code);
    if (!kind) continue;
    if (match.index > at) found.push(code.slice(at, match.index));
    found.push(<span class={`k-${kind}`}>{match[0]}</span>);
    at = match.index + match[0].length;
  }
  found.push(code.slice(at));
  return found;
}

function kindOf(match: RegExpExecArray, code: string): string {
  const groups = match.groups ?? {};
  if (groups.comment) return "comment";
  if (groups.string) return "string";
  if (groups.number) return "number";
  if (groups.decorator) return "name";
  const word = groups.word ?? "";
  if (KEYWORDS.has(word)) return "keyword";
  if (BUILTINS.has(word)) return "name";
  return code[match.index + word.length] === "(" ? "call" : "";
}

export function Code({ code, label }: { code: string; label: string }) {
  const parts = useMemo(() => highlighted(code), [code]);
  return (
    <pre class="code" tabIndex={0} aria-label={label}>
      <code>{parts}</code>
    </pre>
  );
}
