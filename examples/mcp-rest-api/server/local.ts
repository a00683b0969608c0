// The server on a laptop: http://127.0.0.1:3000/mcp, behind `postern-local protect --mcp`.
import { createServer } from "node:http";
import { localhostHostValidation, localhostOriginValidation, toNodeHandler } from "@modelcontextprotocol/node";
import { mcp } from "./server.ts";

const port = Number(process.env.PORT ?? 3000);
const handle = toNodeHandler(mcp);
// A page of another site must not reach the server past Postern.
const checks = [localhostHostValidation(), localhostOriginValidation()];
createServer((request, response) => {
  // As in AWS: at another path, rules for /mcp would not apply.
  if (request.url?.split("?", 1)[0] !== "/mcp") response.writeHead(404).end();
  else if (checks.every((check) => check(request, response))) handle(request, response);
}).listen(port, "127.0.0.1", () => console.log(`http://127.0.0.1:${port}/mcp`));
