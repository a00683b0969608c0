// A server with TLS, for programs that accept an authority which is made here.
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import { join } from "node:path";
import { folder } from "./postern.mjs";

/** Serves `handle` by https; returns the URL, and the file with the certificate of its authority. */
export async function serveHttps(t, handle) {
  const at = folder(t);
  const openssl = (...args) => execFileSync("openssl", args, { cwd: at, stdio: "ignore" });
  const pair = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  openssl("req", "-x509", ...pair, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=A test authority", "-days", "2", "-addext", "basicConstraints=critical,CA:TRUE");
  openssl("req", ...pair, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost");
  writeFileSync(join(at, "extensions"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth");
  openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "server.pem", "-days", "2", "-extfile", "extensions");
  const read = (name) => readFileSync(join(at, name));
  const server = createServer({ key: read("server.key"), cert: read("server.pem") }, handle).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => { server.closeAllConnections(); server.close(); });
  return { url: `https://localhost:${server.address().port}`, authority: join(at, "ca.pem") };
}
