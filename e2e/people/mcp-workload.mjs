// MCP clients without a user: `mcp-workload.mjs URL`. The variables say what they know, as the MCP conformance suite passes it.
import { Client, CrossAppAccessProvider, requestJwtAuthorizationGrant, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const url = new URL(process.argv[2]);
const known = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT);

/** A workload that sends the token of its issuer (SEP-1933). */
function workload() {
  const kept = {};
  return {
    redirectUrl: undefined,
    clientMetadata: { client_name: "A workload", redirect_uris: [], grant_types: ["urn:ietf:params:oauth:grant-type:jwt-bearer"], token_endpoint_auth_method: "none" },
    clientInformation: () => ({ client_id: known.client_id }),
    tokens: () => kept.tokens,
    saveTokens: (tokens) => { kept.tokens = tokens; },
    redirectToAuthorization: () => { throw new Error("a workload asks nobody"); },
    saveCodeVerifier: () => {},
    codeVerifier: () => { throw new Error("a workload has no code"); },
    prepareTokenRequest: (scope) => new URLSearchParams({
      grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer", assertion: known.valid_jwt, ...(scope && { scope }),
    }),
  };
}

/** A client for whose user the identity provider of an enterprise speaks (SEP-990). */
const enterprise = () => new CrossAppAccessProvider({
  clientId: known.client_id,
  clientSecret: known.client_secret,
  expectedIssuer: known.issuer,
  assertion: async ({ authorizationServerUrl, resourceUrl, fetchFn }) => (await requestJwtAuthorizationGrant({
    tokenEndpoint: known.idp_token_endpoint, audience: authorizationServerUrl, resource: resourceUrl, idToken: known.idp_id_token, clientId: known.idp_client_id, fetchFn,
  })).jwtAuthGrant,
});

const authProvider = process.env.MCP_CONFORMANCE_SCENARIO === "auth/wif-jwt-bearer" ? workload() : enterprise();
const client = new Client({ name: "workload", version: "1.0.0" });
await client.connect(new StreamableHTTPClientTransport(url, { authProvider }));
const { tools } = await client.listTools();
if (tools.some(({ name }) => name === "whoami")) {
  const { content } = await client.callTool({ name: "whoami", arguments: {} });
  console.log(content[0].text);
}
await client.close();
