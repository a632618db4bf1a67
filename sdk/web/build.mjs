// Builds the module for npm (dist/index.js) and the script that the API serves as /m.js.
// `node build.mjs PATH` writes the script elsewhere, and nothing else.
import { build } from "esbuild";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const elsewhere = process.argv[2];
const shared = { bundle: true, target: "es2020", logLevel: "warning" };

await build({
  ...shared,
  entryPoints: [here("src/script.ts")],
  outfile: elsewhere ?? here("../../include/millrace/api/ingestion/static/m.js"),
  format: "iife",
  minify: true,
});
if (!elsewhere) {
  await build({
    ...shared,
    entryPoints: [here("src/index.ts")],
    outfile: here("dist/index.js"),
    format: "esm",
  });
}
