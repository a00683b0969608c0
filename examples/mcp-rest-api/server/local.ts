// The server on a laptop: http://127.0.0.1:3000/mcp, behind `postern protect --mcp`.
import { createServer } from "node:http";
import { toNodeHandler } from "@modelcontextprotocol/node";
import { mcp } from "./server.ts";

const port = Number(process.env.PORT ?? 3000);
createServer(toNodeHandler(mcp)).listen(port, "127.0.0.1", () => console.log(`http://127.0.0.1:${port}/mcp`));
