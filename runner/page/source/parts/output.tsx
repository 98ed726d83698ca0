// What code printed: in pieces of which the browser lays out only those in sight.

import { useMemo } from "preact/hooks";

const LINES = 100;
const LINE_PX = 19;
// eslint-disable-next-line no-control-regex
const ESCAPES = /\u001b\[[0-9;?]*[ -/]*[@-~]|\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)/g;

export interface Stream {
  name: string;
  text: string;
}

function pieces(text: string): string[] {
  const lines = text.replace(ESCAPES, "").replace(/\n$/, "").split("\n");
  const found: string[] = [];
  for (let at = 0; at < lines.length; at += LINES)
    found.push(lines.slice(at, at + LINES).join("\n"));
  return found;
}

function Piece({ text, last }: { text: string; last: boolean }) {
  return useMemo(() => {
    const lines = text.split("\n").length;
    const style = { containIntrinsicBlockSize: `auto ${lines * LINE_PX}px` };
    return (
      <div class={last ? "piece" : "piece lazy"} style={style}>
        {text}
      </div>
    );
  }, [text, last]);
}

export function Output({ streams, label }: { streams: Stream[]; label: string }) {
  const filled = streams.filter((stream) => stream.text);
  if (!filled.length) return null;
  return (
    <div class="output" tabIndex={0} role="region" aria-label={label}>
      {filled.map((stream) => (
        <div class={stream.name}>
          {pieces(stream.text).map((text, index, all) => (
            <Piece text={text} last={index === all.length - 1} />
          ))}
        </div>
      ))}
    </div>
  );
}
