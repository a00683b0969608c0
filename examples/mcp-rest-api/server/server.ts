// The MCP server. It has no code for OAuth: Postern has decided about each request before it arrives.
import { createMcpHandler, McpServer } from "@modelcontextprotocol/server";

// What was authorized: members of the authorizer's context (docs/protect-your-api.md).
const CALLER = ["user_id", "kind", "org_id", "client_id", "scopes", "resource"];

/** The headers for members of the context have these names, as those of `postern-local protect` do. */
export const headerName = (member: string) => `x-postern-${member.replaceAll("_", "-")}`;

export const mcp = createMcpHandler(({ requestInfo }) => {
  const server = new McpServer({ name: "scanner", version: "1.0.0" });
  const told = (member: string) => requestInfo?.headers.get(headerName(member));
  const caller = Object.fromEntries(CALLER.map((member) => [member, told(member) ?? null]));

  server.registerTool("whoami", { description: "Says who called, and what was authorized" }, () => ({
    content: [{ type: "text", text: JSON.stringify(caller) }],
  }));
  server.registerTool("trigger_scan", { description: "Starts a scan" }, () => ({
    content: [{ type: "text", text: `started for ${caller.user_id}` }],
  }));
  return server;
});
