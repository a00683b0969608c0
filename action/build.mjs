// Bundles the action: build.mjs FOLDER. It contains the sources of clients/typescript, so that jobs
// install nothing.
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";

const folder = process.argv[2];

/**
 * Leaves out what the action does not use of @actions/core, such as its HTTP client. Its modules do
 * nothing when they are loaded.
 */
const withoutUnused = {
  name: "without-unused",
  setup(bundler) {
    bundler.onResolve({ filter: /./ }, async ({ path, pluginData, ...rest }) => {
      if (pluginData === withoutUnused || !rest.importer.includes("/node_modules/@actions/"))
        return undefined;
      const resolved = await bundler.resolve(path, { ...rest, pluginData: withoutUnused });
      return { ...resolved, sideEffects: false };
    });
  },
};

const { metafile } = await build({
  entryPoints: ["src/main.ts", "src/post.ts"],
  outdir: folder,
  bundle: true,
  metafile: true,
  platform: "node",
  target: "node24",
  format: "esm",
  charset: "utf8",
  legalComments: "none",
  external: ["@aws-sdk/client-sts"],
  // The client's own installation may be there, with another version.
  alias: { oauth4webapi: "./node_modules/oauth4webapi" },
  plugins: [withoutUnused],
});

const modules = Object.values(metafile.outputs).flatMap(({ inputs }) =>
  Object.entries(inputs).filter(([, { bytesInOutput }]) => bytesInOutput > 0),
);
const packages = new Set(
  modules.map(([path]) => path.match(/^node_modules\/((?:@[^/]+\/)?[^/]+)\//)?.[1]).filter(Boolean),
);
const licenses = [...packages].sort().map((name) => {
  const file = readdirSync(join("node_modules", name)).find((found) => /^licen[cs]e/i.test(found));
  if (file === undefined) throw new Error(`${name} has no license`);
  return `${name}\n\n${readFileSync(join("node_modules", name, file), "utf8").trim()}\n`;
});
mkdirSync(folder, { recursive: true });
writeFileSync(join(folder, "licenses.txt"), licenses.join(`\n${"-".repeat(80)}\n\n`));
