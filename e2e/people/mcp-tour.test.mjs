// The commands of docs/mcp.md, as a reader runs them; only ports and places differ.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import test from "node:test";
import { chromium } from "playwright-core";
import { folder, freePort, pause } from "./postern.mjs";

const page = readFileSync(join(process.env.POSTERN_PAGES, "mcp.md"), "utf8");
const commands = [...page.split("## On a laptop")[1].split("\n## ")[0].matchAll(/```sh\n([\s\S]*?)```/g)].map(([, block]) => block);

/** Runs commands in a shell until the test ends; `output` is what they have printed. */
function run(t, text, options) {
  const shell = { output: "" };
  const child = spawn("bash", ["-euc", text], { detached: true, stdio: ["pipe", "pipe", "pipe"], ...options });
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => { shell.output += chunk; });
  t.after(() => { try { process.kill(-child.pid, "SIGKILL"); } catch { /* it has ended */ } });
  return shell;
}

/** Waits until the shell has printed what matches. */
async function printed(shell, pattern) {
  for (let waited = 0; waited < 60_000; waited += 50) {
    const found = shell.output.match(pattern);
    if (found) return found;
    await pause(50);
  }
  throw new Error(`${pattern} was not printed: ${shell.output}`);
}

/** Replaces a part of a command, which must be there. */
function replaced(text, part, by) {
  assert.ok(text.includes(part), `${part} in ${text}`);
  return text.replaceAll(part, by);
}

test("the tour of the page works", { timeout: 180_000 }, async (t) => {
  const [start, protect, sign] = commands;
  assert.equal(commands.length, 3);
  const [upstream, listen] = [await freePort(), await freePort()];
  const home = folder(t);
  const options = { cwd: home, env: { PATH: process.env.PATH, HOME: home, PORT: String(upstream) } };

  const server = run(t, replaced(start, "examples/mcp-rest-api/server", resolve(process.env.POSTERN_MCP_SERVER)), options);
  await printed(server, `http://127.0.0.1:${upstream}/mcp`);

  let command = replaced(protect, "cargo run -p local --", process.env.POSTERN_PROGRAM);
  command = replaced(command, "127.0.0.1:3000", `127.0.0.1:${upstream}`).trim();
  const postern = run(t, `${command} --listen 127.0.0.1:${listen} --postern-listen 127.0.0.1:0`, options);
  const [, create] = await printed(postern, /Create a user:\n\n([\s\S]*?)\n\nThen add/);
  await printed(run(t, create, options), /"email":"you@example.com"/);
  const [, list] = await printed(postern, /A program needs no user:\n\n([\s\S]*?)\n\nEvery request/);
  await printed(run(t, list, options), /whoami/);

  const installed = replaced(sign, "npx -p mcp-remote@0.15.1 mcp-remote-client", resolve("node_modules/.bin/mcp-remote-client"));
  const client = run(t, replaced(installed, "127.0.0.1:9000", `127.0.0.1:${listen}`), options);
  const [, address] = await printed(client, /visiting:\n(\S+)/);
  const browser = await chromium.launch({ executablePath: process.env.POSTERN_CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
  t.after(() => browser.close());
  const tab = await browser.newPage();
  await tab.goto(address);
  await tab.getByLabel("Email").fill("you@example.com");
  await tab.getByLabel("Password").fill("correct horse battery");
  await tab.getByRole("button", { name: "Sign in", exact: true }).click();
  await tab.getByRole("button", { name: "Allow" }).click();
  await printed(client, /trigger_scan/);
  assert.match(postern.output, /usr_\w{26}/);
});
