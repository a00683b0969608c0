// The portal in a real browser: every flow, with and without scripts. Leaves screenshots to look at.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import test, { after, before, describe } from "node:test";
import axe from "axe-core";
import { chromium } from "playwright-core";
import { openProvider, signIn } from "./provider.mjs";
import { configFile, folder, freePort, secretFile, start } from "./postern.mjs";

const EMAIL = "grace@example.com";
const PASSWORD = "correct horse battery";
const screenshots = process.env.POSTERN_SCREENSHOTS;
const executablePath = process.env.POSTERN_CHROMIUM ?? "/usr/bin/chromium";
const args = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
];
if (screenshots) mkdirSync(screenshots, { recursive: true });

const WAYS = [
  { name: "with a script, by day", javaScriptEnabled: true, colorScheme: "light", viewport: { width: 1100, height: 760 } },
  { name: "without a script, by night, on a phone", javaScriptEnabled: false, colorScheme: "dark", viewport: { width: 390, height: 780 } },
];

let url, ready, browser, provider;
const ends = [];

before(async () => {
  const t = { after: (end) => ends.push(end) };
  url = `http://127.0.0.1:${await freePort()}`;
  provider = await openProvider({ postern: url });
  const data = folder(t);
  const config = configFile(data, signIn(provider));
  const program = await start(t, ["serve", "--listen", new URL(url).host, "--data", ":memory:", "--config", config], { POSTERN_SECRET_FILE: secretFile(data) });
  ready = program.ready;
  for (const [email, role] of [[EMAIL, "admin"], ["ada@example.org", "user"]]) {
    assert.equal((await api("POST", "/v1/users", { email, password: PASSWORD, role })).status, 201);
  }
  browser = await chromium.launch({ executablePath, args });
});

after(async () => {
  await browser?.close();
  provider?.close();
  for (const end of ends.reverse()) await end();
});

async function api(method, path, body, headers = { "x-api-key": ready.api_key }) {
  const answer = await fetch(url + path, { method, headers: { "content-type": "application/json", ...headers }, body: body && JSON.stringify(body) });
  return { status: answer.status, body: answer.status === 204 ? null : await answer.json() };
}

const opens = async (key) => (await api("GET", "/v1/auth/whoami", undefined, { authorization: `Bearer ${key}` })).status;

/** Opens a page in a new browser, and a folder for its screenshots. Errors of the browser fail the test. */
async function open(t, way) {
  const context = await browser.newContext({ ...way, ...(way.javaScriptEnabled && { permissions: ["clipboard-read", "clipboard-write"] }) });
  // Only loopback: the provider's own pages would load a font from the network.
  await context.route((address) => address.hostname !== "127.0.0.1", (route) => route.abort());
  const page = await context.newPage();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => {
    // A page with a 4xx is expected here, and errors of the provider's pages are not ours.
    const isOurs = message.location().url.startsWith(url) && !/status of 4\d\d/.test(message.text());
    if (message.type() === "error" && isOurs) complaints.push(message.text());
  });
  t.after(async () => { await context.close(); assert.deepEqual(complaints, []); });
  const look = async (name) => {
    const { width, overflow } = await page.evaluate(() => ({ width: innerWidth, overflow: document.documentElement.scrollWidth }));
    assert.ok(overflow <= width, `${name} is wider than its window`);
    if (screenshots) await page.screenshot({ path: join(screenshots, `${name}.${way.colorScheme}.png`), fullPage: true });
  };
  return { page, look, context };
}

async function signInWithPassword(page, email = EMAIL) {
  await page.goto(`${url}/login`);
  await page.getByLabel("Email").fill(email);
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
}

const secretOf = (page) => page.locator("#secret").textContent();
const rowOf = (page, name) => page.locator("li.row", { has: page.getByRole("heading", { name }) });

for (const way of WAYS) {
  describe(`the portal ${way.name}`, () => {
    const script = way.javaScriptEnabled;
    const tag = script ? "s" : "n";

    test("a user who signs in for an app arrives at the app", async (t) => {
      const app = createServer((_, response) => response.end("The app")).listen(0, "127.0.0.1");
      await once(app, "listening");
      t.after(() => { app.closeAllConnections(); app.close(); });
      const { page } = await open(t, way);
      // The user lacks the scope, so the endpoint redirects to the app without asking.
      const query = new URLSearchParams({
        response_type: "code", client_id: "postern-cli", redirect_uri: `http://127.0.0.1:${app.address().port}/callback`,
        code_challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", code_challenge_method: "S256", scope: "not:granted",
      });
      await page.goto(`${url}/v1/auth/authorize?${query}`);
      await page.getByLabel("Email").fill("ada@example.org");
      await page.getByLabel("Password").fill(PASSWORD);
      await page.getByRole("button", { name: "Sign in", exact: true }).click();
      await page.getByText("The app").waitFor();
      assert.equal(new URL(page.url()).searchParams.get("error"), "invalid_scope");
    });

    test("a page redirects to sign-in, and returns to the requested page", async (t) => {
      const { page, look } = await open(t, way);
      await page.goto(`${url}/agents`);
      assert.equal(new URL(page.url()).pathname, "/login");
      await look("sign-in");
      await page.getByLabel("Email").fill(EMAIL);
      await page.getByLabel("Password").fill("not the password");
      await page.getByRole("button", { name: "Sign in", exact: true }).click();
      await page.getByRole("alert").getByText("The email address or the password is wrong.").waitFor();
      assert.equal(await page.getByLabel("Email").inputValue(), EMAIL);
      await look("sign-in-refused");
      await page.getByLabel("Password").fill(PASSWORD);
      await page.keyboard.press("Enter");
      await page.waitForURL(`${url}/agents`);
      await look("agents-empty");
      const cookie = (await page.context().cookies()).find((known) => known.name === "__Host-postern_session");
      assert.deepEqual(
        [cookie.httpOnly, cookie.secure, cookie.sameSite, cookie.path, cookie.domain],
        [true, true, "Lax", "/", "127.0.0.1"],
      );
    });

    test("a user signs in at an identity provider, and signs out", async (t) => {
      const { page, look } = await open(t, way);
      await page.goto(`${url}/login`);
      await page.getByRole("link", { name: "Continue with Example" }).click();
      await page.locator("input[name=login]").fill("ada");
      await page.locator("input[name=password]").fill("any");
      await page.getByRole("button", { name: "Sign-in" }).click();
      await page.getByRole("button", { name: "Continue" }).click();
      await page.waitForURL(`${url}/`);
      await page.getByRole("heading", { name: "Hello, Ada of Example" }).waitFor();
      await look("overview");
      await page.getByRole("button", { name: "Sign out" }).click();
      await page.getByText("You are signed out.").waitFor();
      await page.goto(`${url}/keys`);
      assert.equal(new URL(page.url()).pathname, "/login");
    });

    test("a user who is not allowed sees why", async (t) => {
      const { page, look } = await open(t, way);
      await page.goto(`${url}/v1/auth/oidc/start?provider=example`);
      await page.locator("input[name=login]").fill("eve");
      await page.locator("input[name=password]").fill("any");
      await page.getByRole("button", { name: "Sign-in" }).click();
      await page.getByRole("button", { name: "Continue" }).click();
      await page.getByText("This user is not allowed to use this deployment.").waitFor();
      await look("not-admitted");
      await page.goto(`${url}/keys`);
      assert.equal(new URL(page.url()).pathname, "/login");
    });

    test("an unknown sign-in shows an error page", async (t) => {
      const { page, look } = await open(t, way);
      await page.goto(`${url}/v1/auth/oidc/callback?code=x&state=y`);
      await page.getByRole("heading", { name: "That did not work" }).waitFor();
      await look("refused");
      await page.getByRole("link", { name: "Start again" }).click();
      await page.waitForURL(`${url}/login`);
    });

    test("an API key is created, copied, rotated and deleted", async (t) => {
      const { page, look } = await open(t, way);
      await signInWithPassword(page);
      await page.goto(`${url}/keys`);
      await page.getByText("New API key").click();
      await page.getByLabel("Name", { exact: true }).fill(`cron-${tag}`);
      await page.getByLabel("Scopes").fill("Not A Scope");
      await page.getByRole("button", { name: "Create API key" }).click();
      await page.getByRole("alert").waitFor();
      assert.equal(await page.getByLabel("Name", { exact: true }).inputValue(), `cron-${tag}`);
      await look("keys-refused");
      await page.getByLabel("Scopes").fill("data:read data:write");
      await page.getByLabel("Expires").selectOption("in 30 days");
      await page.getByRole("button", { name: "Create API key" }).click();
      const key = await secretOf(page);
      assert.match(key, /^pst_ak_/);
      await look("keys-made");
      assert.equal(await opens(key), 200);
      assert.equal(await page.getByRole("button", { name: "Copy", exact: true }).isVisible(), script);
      if (script) {
        await page.getByRole("button", { name: "Copy", exact: true }).click();
        await page.getByRole("button", { name: "Copied", exact: true }).waitFor();
        assert.equal(await page.evaluate(() => navigator.clipboard.readText()), key);
      }
      await page.goto(`${url}/keys`);
      assert.equal(await page.getByText(key).count(), 0, "shown a second time");

      await rowOf(page, `cron-${tag}`).getByText("Rotate", { exact: false }).first().click();
      await look("keys-rotate");
      await page.getByLabel("The old secret stops working").locator("visible=true").selectOption("immediately");
      await page.getByRole("button", { name: "Rotate", exact: true }).locator("visible=true").click();
      const next = await secretOf(page);
      assert.deepEqual([await opens(key), await opens(next)], [401, 200]);
      await rowOf(page, `cron-${tag}`).getByText("Delete", { exact: false }).first().click();
      await page.getByRole("button", { name: `Delete “cron-${tag}”` }).click();
      await page.getByRole("status").getByText("Deleted.").waitFor();
      assert.equal(await rowOf(page, `cron-${tag}`).count(), 0);
      assert.equal(await opens(next), 401);
    });

    for (const { path, one, member, fields, renew } of [
      { path: "agents", one: "agent", member: "agt_", fields: { Scopes: "data:read" }, renew: "New secret" },
      { path: "services", one: "service", member: "svc_", fields: { Scopes: "data:read" } },
      { path: "runners", one: "runner", member: "run_", fields: { Labels: "linux arm64" }, renew: "New token" },
      { path: "tokens", one: "CLI token", member: "cli_", fields: { Scopes: "scans:read", Repositories: "acme/site" } },
    ]) {
      test(`${/^[aA]/.test(one) ? "an" : "a"} ${one} is created and deleted`, async (t) => {
        const { page, look } = await open(t, way);
        await signInWithPassword(page);
        await page.goto(`${url}/${path}`);
        await page.getByText(`New ${one}`).click();
        await page.getByLabel("Name", { exact: true }).fill(`mine-${tag}`);
        for (const [label, value] of Object.entries(fields)) await page.getByLabel(label).fill(value);
        await page.getByRole("button", { name: `Create ${one}` }).click();
        const first = await secretOf(page);
        assert.match(await page.locator(".shown").textContent(), new RegExp(member));
        await look(`${path}-made`);
        if (renew) {
          await rowOf(page, `mine-${tag}`).getByText(renew, { exact: false }).first().click();
          await page.getByRole("button", { name: renew, exact: true }).locator("visible=true").click();
          assert.notEqual(await secretOf(page), first);
        }
        await rowOf(page, `mine-${tag}`).getByText("Delete", { exact: false }).first().click();
        await page.getByRole("button", { name: `Delete “mine-${tag}”` }).click();
        await page.getByRole("status").getByText("Deleted.").waitFor();
        assert.equal(await rowOf(page, `mine-${tag}`).count(), 0);
      });
    }

    test("a runner is shown online after its heartbeat", async (t) => {
      const { page, look } = await open(t, way);
      const made = await api("POST", "/v1/runners", { name: `build-${tag}`, labels: ["linux"] });
      await signInWithPassword(page);
      await page.goto(`${url}/runners`);
      const row = rowOf(page, `build-${tag}`);
      await row.getByText("offline").waitFor();
      const beat = await api("POST", "/v1/runners/heartbeat", { status: "idle", version: "1.2.3" }, { "x-runner-token": made.body.token });
      assert.equal(beat.status, 200);
      if (!script) await page.getByRole("link", { name: "Refresh" }).click();
      await row.getByText("online").waitFor({ timeout: 15_000 });
      await row.getByText("version 1.2.3").waitFor();
      await look("runners");
      await api("DELETE", `/v1/runners/${made.body.id}`);
    });

    test("a device is approved, used and disconnected; another is denied", async (t) => {
      const { page, look } = await open(t, way);
      await signInWithPassword(page, "ada@example.org");
      const begin = async () => {
        const answer = await fetch(`${url}/v1/auth/device`, { method: "POST", body: new URLSearchParams({ client_id: "postern-cli", scope: "scans:read" }) });
        return answer.json();
      };
      const poll = async (device) => {
        const form = { grant_type: "urn:ietf:params:oauth:grant-type:device_code", client_id: "postern-cli", device_code: device.device_code };
        return (await fetch(`${url}/v1/auth/token`, { method: "POST", body: new URLSearchParams(form) })).json();
      };
      const device = await begin();
      await page.goto(`${url}/device`);
      await look("device-empty");
      await page.getByLabel("The code that the device shows").fill("BCDF-GHJK");
      await page.getByRole("button", { name: "Continue" }).click();
      await page.getByRole("alert").getByText("The code is wrong or has expired").waitFor();
      await page.getByLabel("The code that the device shows").fill(device.user_code.toLowerCase().replace("-", " "));
      await page.getByRole("button", { name: "Continue" }).click();
      await page.getByRole("heading", { name: "Postern CLI is waiting for your approval" }).waitFor();
      await page.getByText("scans:read").waitFor();
      await look("device-asked");
      await page.getByRole("button", { name: "Approve" }).click();
      await page.getByRole("status").getByText("The device is approved.").waitFor();
      await look("device-approved");
      const tokens = await poll(device);
      assert.equal(await opens(tokens.access_token), 200);

      await page.goto(`${url}/devices`);
      await look("devices");
      await rowOf(page, "Postern CLI").getByRole("button").click();
      await page.getByRole("status").getByText("The device is disconnected.").waitFor();
      assert.equal(await opens(tokens.access_token), 401);

      const other = await begin();
      await page.goto(other.verification_uri_complete);
      assert.equal(await page.getByLabel("The code that the device shows").inputValue(), other.user_code);
      await page.getByRole("button", { name: "Continue" }).click();
      await page.getByText(other.user_code).waitFor();
      await page.getByRole("button", { name: "Deny" }).click();
      await page.getByRole("status").getByText("The device was denied.").waitFor();
      assert.equal((await poll(other)).error, "access_denied");
    });

    test("a session in another browser is listed and ended", async (t) => {
      const { page, look } = await open(t, way);
      const elsewhere = await open(t, way);
      await signInWithPassword(elsewhere.page, "ada@example.org");
      await signInWithPassword(page, "ada@example.org");
      await page.goto(`${url}/sessions`);
      await look("sessions");
      for (let left = await page.locator("li.row").count(); left > 1; left -= 1) {
        await page.locator("li.row").last().getByRole("button").click();
        await page.getByRole("status").getByText("The session has ended.").waitFor();
      }
      await elsewhere.page.goto(`${url}/tokens`);
      assert.equal(new URL(elsewhere.page.url()).pathname, "/login");
      await page.locator("li.row").getByRole("button").click();
      await page.getByText("You are signed out.").waitFor();
    });

    test("a user selects scopes, and sees only the pages of their role", async (t) => {
      const { page, look } = await open(t, way);
      await signInWithPassword(page, "ada@example.org");
      const links = await page.getByRole("navigation").getByRole("link").allTextContents();
      assert.deepEqual(links, ["CLI tokens", "Runners", "Apps", "Devices", "Sessions"]);
      await page.goto(`${url}/tokens`);
      await page.getByText("New CLI token").click();
      await page.getByLabel("Name", { exact: true }).fill(`ticked-${tag}`);
      await page.getByLabel("scans:trigger").check();
      await look("tokens-ticked");
      await page.getByRole("button", { name: "Create CLI token" }).click();
      const answer = await api("GET", "/v1/auth/whoami", undefined, { authorization: `Bearer ${await secretOf(page)}` });
      assert.deepEqual(answer.body.scopes, ["scans:trigger"]);
      const page403 = await page.goto(`${url}/keys`);
      assert.equal(page403.status(), 403);
      await page.getByRole("heading", { name: "You are not allowed to do this" }).waitFor();
      await look("forbidden");
      const page404 = await page.goto(`${url}/nothing`);
      assert.equal(page404.status(), 404);
    });

    test("every control is reachable by keyboard and has a name", async (t) => {
      const { page } = await open(t, way);
      await page.goto(`${url}/login`);
      for (const name of ["Email", "Password"]) assert.equal(await page.getByLabel(name, { exact: true }).count(), 1);
      await signInWithPassword(page);
      await page.goto(`${url}/keys`);
      await page.keyboard.press("Tab");
      const first = page.locator(":focus");
      assert.equal(await first.textContent(), "Skip to content");
      const seen = [];
      for (let step = 0; step < 40; step += 1) {
        await page.keyboard.press("Tab");
        const focused = page.locator(":focus");
        if ((await focused.count()) === 0) break; // after the last one
        seen.push((await focused.textContent()).trim());
      }
      for (const name of ["Sign out", "API keys", "Sessions", "New API key", "Rotate of organization", "Delete organization"]) assert.ok(seen.includes(name), `${name} is not among ${seen}`);
      // Every field has a label, every button a name, and ids are unique.
      const snapshot = await page.locator("body").ariaSnapshot();
      assert.doesNotMatch(snapshot, /- (button|link|textbox|combobox)(\s*:)?\s*$/m);
      const ids = await page.locator("[id]").evaluateAll((all) => all.map((one) => one.id));
      assert.equal(new Set(ids).size, ids.length);
    });
  });
}

test("text has enough contrast in light and dark mode", async (t) => {
  for (const colorScheme of ["light", "dark"]) {
    const { page } = await open(t, { javaScriptEnabled: true, colorScheme, viewport: { width: 1100, height: 760 } });
    await signInWithPassword(page);
    await page.goto(`${url}/keys`);
    await page.getByText("New API key").click();
    const poor = await page.evaluate(() => {
      const channel = (value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
      const luminance = ([r, g, b]) => 0.2126 * channel(r / 255) + 0.7152 * channel(g / 255) + 0.0722 * channel(b / 255);
      const parse = (color) => color.match(/[\d.]+/g).map(Number);
      const behind = (element) => {
        for (let at = element; at; at = at.parentElement) {
          const color = parse(getComputedStyle(at).backgroundColor);
          if (color.length < 4 || color[3] > 0) return color;
        }
        return [255, 255, 255];
      };
      const texts = [...document.querySelectorAll("body *")].filter((one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
      return texts.filter((one) => one.checkVisibility() && !one.closest(".hear, .skip")).map((one) => {
        const [light, dark] = [luminance(parse(getComputedStyle(one).color)), luminance(behind(one))].sort((a, b) => b - a);
        return { text: one.textContent.trim().slice(0, 30), ratio: (light + 0.05) / (dark + 0.05) };
      }).filter((one) => one.ratio < 4.5); // WCAG 2.2, 1.4.3
    });
    assert.deepEqual(poor, []);
  }
});

test("axe-core finds no fault on any page", async (t) => {
  for (const way of WAYS) {
    const { page } = await open(t, { ...way, javaScriptEnabled: true });
    const check = async (name) => {
      await page.evaluate(axe.source);
      const { violations } = await page.evaluate(() => axe.run());
      assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]), [], `${name}, ${way.name}`);
    };
    await page.goto(`${url}/login`);
    await check("login");
    await page.getByRole("button", { name: "Sign in", exact: true }).click();
    await signInWithPassword(page);
    await page.goto(`${url}/keys`);
    await page.getByText("New API key").click();
    await check("keys, form open");
    await page.getByLabel("Name", { exact: true }).fill("axe");
    await page.getByLabel("Scopes").fill("Not A Scope");
    await page.getByRole("button", { name: "Create API key" }).click();
    await page.getByRole("alert").waitFor();
    await check("keys, refused");
    await page.getByLabel("Scopes").fill("data:read");
    await page.getByRole("button", { name: "Create API key" }).click();
    await secretOf(page);
    await check("keys, made");
    await rowOf(page, "axe").getByText("Rotate", { exact: false }).first().click();
    await check("keys, rotate");
    const begun = await fetch(`${url}/v1/auth/device`, { method: "POST", body: new URLSearchParams({ client_id: "postern-cli", scope: "scans:read" }) });
    for (const path of ["/", "/people", "/account", "/invitation?invitation=x", "/agents", "/tokens", "/runners", "/services", "/device", `/device?user_code=${(await begun.json()).user_code}`, "/devices", "/sessions", "/nothing", "/logout"]) {
      await page.goto(url + path);
      await check(path);
    }
  }
});

test("a double click makes one key, and a reload shows the list", async (t) => {
  const { page } = await open(t, WAYS[0]);
  await signInWithPassword(page);
  await page.goto(`${url}/keys`);
  await page.getByText("New API key").click();
  await page.getByLabel("Name", { exact: true }).fill("twice");
  await page.getByLabel("Scopes").fill("data:read");
  await page.getByRole("button", { name: "Create API key" }).dblclick();
  assert.equal(await opens(await secretOf(page)), 200);
  assert.equal(await rowOf(page, "twice").count(), 1);
  assert.equal(new URL(page.url()).search, "");
  await page.reload();
  assert.equal(await page.locator("#secret").count(), 0);
  assert.equal(await rowOf(page, "twice").count(), 1);
});

test("long names and addresses do not make a page wider than its window", async (t) => {
  const email = `${"a".repeat(60)}@${"b".repeat(60)}.example.com`;
  assert.equal((await api("POST", "/v1/users", { email, password: PASSWORD, role: "admin" })).status, 201);
  assert.equal((await api("POST", "/v1/runners", { name: "n".repeat(100), labels: ["l".repeat(64)] })).status, 201);
  for (const way of WAYS) {
    const { page, look } = await open(t, way);
    await signInWithPassword(page, email);
    for (const path of ["", "runners", "sessions"]) {
      await page.goto(`${url}/${path}`);
      await look(`long-${path || "overview"}`);
    }
  }
});

test("the links of the navigation stay where they are", async (t) => {
  const { page } = await open(t, WAYS[0]);
  await signInWithPassword(page);
  const places = async () => page.getByRole("navigation").getByRole("link").evaluateAll((links) => links.map((link) => link.getBoundingClientRect().left));
  await page.goto(`${url}/`);
  const before = await places();
  for (const path of ["keys", "runners", "sessions"]) {
    await page.goto(`${url}/${path}`);
    assert.deepEqual(await places(), before, path);
  }
});
