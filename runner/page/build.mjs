// Builds the page, and the template of the evaluation's report, into the files that the wheel
// carries. `make page` runs it; nothing of npm is needed to use them.
import { createHash } from "node:crypto";
import { readFile, writeFile, mkdir } from "node:fs/promises";
import { build } from "esbuild";

const BUILT = new URL("built/", import.meta.url);
const REPORT = new URL("../evals/report/page.html", import.meta.url);
const BANNER = "Built by `make page` from runner/page/source: change it there.";
const OPTIONS = {
  bundle: true,
  minify: true,
  format: "iife",
  target: ["es2022", "chrome120", "firefox120", "safari17.4"],
  charset: "utf8",
  legalComments: "none",
  write: false,
  outdir: "out",
  absWorkingDir: new URL(".", import.meta.url).pathname,
};

const bundle = async (entry, banner) => {
  const result = await build({ ...OPTIONS, entryPoints: [entry], banner, metafile: true });
  const found = { inputs: Object.keys(result.metafile.inputs) };
  for (const file of result.outputFiles) found[file.path.split(".").pop()] = file.text;
  return found;
};

const licences = async (inputs) => {
  const names = new Set(
    inputs.map((path) => /(?:^|\/)node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1]).filter(Boolean),
  );
  const parts = ["What the built page contains beside its own source, and under which licence.\n"];
  for (const name of [...names].sort()) {
    const folder = new URL(`node_modules/${name}/`, import.meta.url);
    const { version, license } = JSON.parse(await readFile(new URL("package.json", folder)));
    const text = await readFile(new URL("LICENSE", folder), "utf8");
    parts.push(`${name} ${version} (${license})\n\n${text.trim()}\n`);
  }
  return parts.join("\n");
};

await mkdir(BUILT, { recursive: true });
const page = await bundle("source/main.tsx", { js: `/* ${BANNER} */`, css: `/* ${BANNER} */` });
const report = await bundle("source/report/main.tsx", {});
await writeFile(new URL("page.js", BUILT), page.js);
await writeFile(new URL("page.css", BUILT), page.css);
await writeFile(
  new URL("index.html", BUILT),
  await readFile(new URL("source/index.html", import.meta.url)),
);
await writeFile(
  new URL("licences.txt", BUILT),
  await licences([...page.inputs, ...report.inputs]),
);

// The report stands alone: its parts are inside it, and its policy names them by their hashes.
const hash = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
// Only "</" could end the element that it stands in.
const script = report.js.trim().replaceAll("</", "<\\/");
const style = report.css.trim();
const parts = { SCRIPT: script, STYLE: style, SCRIPT_HASH: hash(script), STYLE_HASH: hash(style) };
const template = await readFile(new URL("source/report/index.html", import.meta.url), "utf8");
await writeFile(
  REPORT,
  template.replace(/\{\{(\w+)\}\}/g, (whole, name) => parts[name] ?? whole),
);
