// A server with the tools, resources and prompts that the MCP conformance suite calls, except for those with which a server asks its client
// something: they pass a gateway as the others do.
import { createServer } from "node:http";
import { setTimeout as pause } from "node:timers/promises";
import { localhostHostValidation, localhostOriginValidation, toNodeHandler } from "@modelcontextprotocol/node";
import { completable, createMcpHandler, McpServer, ResourceTemplate } from "@modelcontextprotocol/server";
import { z } from "zod";

const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";
const WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=";

const text = (content) => ({ type: "text", text: content });
const image = { type: "image", data: PNG, mimeType: "image/png" };
const embedded = (uri, mimeType, content) => ({ type: "resource", resource: { uri, mimeType, text: content } });
const user = (...contents) => ({ messages: contents.map((content) => ({ role: "user", content })) });

const TOOLS = {
  test_simple_text: [text("This is a simple text response for testing.")],
  test_image_content: [image],
  test_audio_content: [{ type: "audio", data: WAV, mimeType: "audio/wav" }],
  test_embedded_resource: [embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")],
  test_multiple_content_types: [
    text("Multiple content types test:"), image, embedded("test://mixed-content-resource", "application/json", JSON.stringify({ test: "data", value: 123 })),
  ],
};

function build() {
  const server = new McpServer({ name: "conformance", version: "1.0.0" });
  for (const [name, content] of Object.entries(TOOLS)) server.registerTool(name, { description: name }, () => ({ content }));
  server.registerTool("test_error_handling", { description: "Fails" }, () => { throw new Error("This tool intentionally returns an error for testing"); });
  server.registerTool("test_tool_with_progress", { description: "Reports its progress" }, async ({ mcpReq }) => {
    const progressToken = mcpReq._meta?.progressToken;
    for (const progress of [0, 50, 100]) {
      if (progressToken !== undefined) await mcpReq.notify({ method: "notifications/progress", params: { progressToken, progress, total: 100 } });
      await pause(50);
    }
    return { content: [text("done")] };
  });

  server.registerResource("text", "test://static-text", { mimeType: "text/plain" }, ({ href }) => ({
    contents: [{ uri: href, mimeType: "text/plain", text: "This is the content of the static text resource." }],
  }));
  server.registerResource("binary", "test://static-binary", { mimeType: "image/png" }, ({ href }) => ({ contents: [{ uri: href, mimeType: "image/png", blob: PNG }] }));
  server.registerResource("template", new ResourceTemplate("test://template/{id}/data", { list: undefined }), { mimeType: "application/json" }, ({ href }, { id }) => ({
    contents: [{ uri: href, mimeType: "application/json", text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` }) }],
  }));

  server.registerPrompt("test_simple_prompt", { description: "Simple" }, () => user(text("This is a simple prompt for testing.")));
  const argument = (description) => completable(z.string().describe(description), () => ["paris", "park"]);
  server.registerPrompt("test_prompt_with_arguments", { description: "With arguments", argsSchema: z.object({ arg1: argument("The first"), arg2: argument("The second") }) },
    ({ arg1, arg2 }) => user(text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`)));
  server.registerPrompt("test_prompt_with_embedded_resource", { description: "With a resource", argsSchema: z.object({ resourceUri: z.string().describe("Its URI") }) },
    ({ resourceUri }) => user(embedded(resourceUri, "text/plain", "Embedded resource content for testing."), text("Please process the embedded resource above.")));
  server.registerPrompt("test_prompt_with_image", { description: "With an image" }, () => user(image, text("Please analyze the image above.")));
  return server;
}

const handle = toNodeHandler(createMcpHandler(build));
const checks = [localhostHostValidation(), localhostOriginValidation()];
const server = createServer((request, response) => {
  if (checks.every((check) => check(request, response))) handle(request, response);
}).listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}/mcp`));
