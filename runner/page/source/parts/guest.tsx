// HTML that a snippet shows: in a frame without scripts and without an origin, the one place
// where text becomes markup. Styles in it get the page's nonce; everything else is refused.

import { useEffect, useMemo, useRef } from "preact/hooks";
import { t } from "../words";

interface TrustedPolicy {
  createHTML(html: string): string;
}
declare global {
  interface Window {
    trustedTypes?: {
      createPolicy(name: string, rules: { createHTML(html: string): string }): TrustedPolicy;
    };
  }
}

const policy: TrustedPolicy = window.trustedTypes?.createPolicy("guest-frame", {
  createHTML: (html) => html,
}) ?? { createHTML: (html) => html };
const NONCE =
  document.querySelector<HTMLScriptElement>("script[data-style-nonce]")?.dataset.styleNonce ?? "";
const OWN = `:root { color-scheme: light dark; font: 14px/1.5 system-ui, sans-serif; }
body { margin: 8px; overflow-wrap: anywhere; }
table { border-collapse: collapse; } th, td { padding: .2em .6em; border: 1px solid #8886; }`;

/** The document of the frame: inert here, and put together anew with styles that may apply. */
function documentOf(html: string): string {
  const made = new DOMParser().parseFromString(policy.createHTML(html), "text/html");
  const rules = [OWN];
  let number = 0;
  for (const element of made.querySelectorAll<HTMLElement>("[style]")) {
    const mark = `g${number++}`;
    element.dataset.guest = mark;
    rules.push(`[data-guest="${mark}"] { ${element.getAttribute("style") ?? ""} }`);
    element.removeAttribute("style");
  }
  const style = made.createElement("style");
  style.textContent = rules.join("\n");
  made.head.prepend(style);
  for (const one of made.querySelectorAll("style")) one.setAttribute("nonce", NONCE);
  return made.documentElement.outerHTML;
}

const LEAST_PX = 64;
const MOST_PX = 420;
const LINE_PX = 30;
const LINE_TAGS = "tr, p, li, br, h1, h2, h3, h4, h5, h6, pre, summary";

/** How high the frame may have to be: what is in it cannot tell. */
function heightOf(html: string): number {
  const made = new DOMParser().parseFromString(policy.createHTML(html), "text/html");
  const isPicture = made.querySelector("img, svg, video, canvas, iframe") !== null;
  const lines = made.querySelectorAll(LINE_TAGS).length + 1;
  return isPicture ? MOST_PX : Math.min(Math.max(LEAST_PX, lines * LINE_PX + LINE_PX), MOST_PX);
}

export function GuestFrame({ html }: { html: string }) {
  const frame = useRef<HTMLIFrameElement>(null);
  useEffect(() => {
    if (frame.current) frame.current.srcdoc = policy.createHTML(documentOf(html));
  }, [html]);
  return useMemo(
    () => (
      <iframe
        class="guest"
        ref={frame}
        sandbox=""
        title={t("guestFrame")}
        style={{ blockSize: `${heightOf(html)}px` }}
      />
    ),
    [html],
  );
}
