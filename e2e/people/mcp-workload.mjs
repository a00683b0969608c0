// MCP clients without a user: `mcp-workload.mjs URL`. The variables say what they know, as the MCP conformance suite passes it.
import { Client, createPrivateKeyJwtAuth, CrossAppAccessProvider, requestJwtAuthorizationGrant, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

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

/** A client that the identity provider of an enterprise lets act for its user (SEP-990). */
function enterprise() {
  const provider = new CrossAppAccessProvider({
    clientId: known.client_id,
    clientSecret: known.client_secret,
    expectedIssuer: known.issuer,
    assertion: async ({ authorizationServerUrl: audience, resourceUrl: resource, fetchFn }) => {
      const { idp_token_endpoint: tokenEndpoint, idp_id_token: idToken, idp_client_id: clientId } = known;
      return (await requestJwtAuthorizationGrant({ tokenEndpoint, audience, resource, idToken, clientId, fetchFn })).jwtAuthGrant;
    },
  });
  // The provider knows only secrets.
  if (known.private_key) {
    const { client_id: client, private_key: privateKey } = known;
    provider.addClientAuthentication = createPrivateKeyJwtAuth({ issuer: client, subject: client, privateKey, alg: "ES256" });
  }
  return provider;
}

const authProvider = process.env.MCP_CONFORMANCE_SCENARIO === "auth/wif-jwt-bearer" ? workload() : enterprise();
const client = new Client({ name: "workload", version: "1.0.0" });
await client.connect(new StreamableHTTPClientTransport(url, { authProvider }));
const { tools } = await client.listTools();
if (tools.some(({ name }) => name === "whoami")) {
  const { content } = await client.callTool({ name: "whoami", arguments: {} });
  console.log(content[0].text);
}
await client.close();
