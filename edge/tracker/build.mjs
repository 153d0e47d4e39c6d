// Builds dist/ and prints what a shop's page has to load. `node build.mjs --out DIR` builds elsewhere, to compare.
import { build } from "esbuild";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { minify } from "terser";

const LIMIT = 5 * 1024;
// Names that only our own objects have; everything else is the browser's, the shop's or the edge's.
const INTERNAL = /^(retryMs|templates|own|showing|unwatch)$/;
const here = dirname(fileURLToPath(import.meta.url));
const at = process.argv.indexOf("--out");
const out = at < 0 ? join(here, "dist") : process.argv[at + 1];
const { version } = JSON.parse(readFileSync(join(here, "package.json"), "utf8"));

mkdirSync(out, { recursive: true });
const common = {
  absWorkingDir: here,
  bundle: true,
  minify: true,
  target: "es2021",
  legalComments: "none",
  tsconfigRaw: { compilerOptions: { alwaysStrict: false } }, // the page's own "use strict" is none of our business
  mangleProps: INTERNAL,
  banner: { js: `/*! clickstage ${version}, Apache-2.0 */` },
};
await build({ ...common, entryPoints: ["src/script.ts"], format: "iife", outfile: join(out, "clickstage.js") });
await build({ ...common, entryPoints: ["src/index.ts"], format: "esm", outfile: join(out, "clickstage.mjs") });
const types = readFileSync(join(here, "src/public.ts"), "utf8");
writeFileSync(join(out, "clickstage.d.ts"), `${types}\nexport declare const clickstage: Clickstage;\nexport default clickstage;\n`);

// esbuild joins the modules; terser saves another 150 bytes of the 5,120.
async function shrink(name, module) {
  const file = join(out, name);
  const { code } = await minify(readFileSync(file, "utf8"), {
    module,
    ecma: 2021,
    compress: { passes: 3, unsafe_arrows: true, pure_getters: true },
    format: { comments: /^!/ },
  });
  writeFileSync(file, code + "\n");
}
await shrink("clickstage.js", false);
await shrink("clickstage.mjs", true);

let fits = true;
for (const name of ["clickstage.js", "clickstage.mjs"]) {
  const text = readFileSync(join(out, name));
  const bytes = gzipSync(text, { level: 9 }).length;
  fits &&= bytes < LIMIT;
  console.log(`${name}: ${text.length} bytes, ${bytes} gzipped (limit ${LIMIT})`);
}
process.exit(fits ? 0 : 1);
