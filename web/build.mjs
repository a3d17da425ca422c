// Makes src/barfeed/operate/web/static out of web/src, and copies what is vendored as its package has it.
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const OUT = process.argv[2] ?? "../src/barfeed/operate/web/static";
const PACKAGE = "node_modules/lightweight-charts";
const { version } = JSON.parse(readFileSync(`${PACKAGE}/package.json`, "utf8"));
const VENDORED = `lightweight-charts-${version}.mjs`;

rmSync(OUT, { recursive: true, force: true });
mkdirSync(`${OUT}/vendor`, { recursive: true });
await build({
  entryPoints: ["src/main.ts"],
  outfile: `${OUT}/app.js`,
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  charset: "utf8",
  legalComments: "none",
  plugins: [
    {
      // Stays a file of its own, the very bytes of its package, so that anyone can compare them.
      name: "vendored",
      setup: (builder) =>
        builder.onResolve({ filter: /^lightweight-charts$/ }, () => ({ path: `./vendor/${VENDORED}`, external: true })),
    },
  ],
});
for (const name of ["index.html", "app.css", "icon.svg"]) copyFileSync(`src/${name}`, `${OUT}/${name}`);
copyFileSync(`${PACKAGE}/dist/lightweight-charts.standalone.production.mjs`, `${OUT}/vendor/${VENDORED}`);
copyFileSync(`${PACKAGE}/LICENSE`, `${OUT}/vendor/lightweight-charts-${version}.LICENSE`);
copyFileSync("src/lightweight-charts.NOTICE", `${OUT}/vendor/lightweight-charts-${version}.NOTICE`);
const sha256 = createHash("sha256").update(readFileSync(`${OUT}/vendor/${VENDORED}`)).digest("hex");
writeFileSync(`${OUT}/vendor/${VENDORED}.sha256`, `${sha256}  ${VENDORED}\n`);
