// A real identity provider: panva's oidc-provider, with rotating refresh tokens and reuse detection. It counts renewals and delays
// responses on request.
import { createServer } from "node:http";
import { once } from "node:events";
import Provider from "oidc-provider";

/** Starts a provider with one client, `postern`. `accessTokenLifeS` is the lifetime of its access tokens. */
export async function openProvider({ postern, accessTokenLifeS = 3600 }) {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${server.address().port}`;

  const provider = new Provider(url, {
    clients: [{
      client_id: "postern",
      client_secret: "a secret that is long enough for a provider",
      redirect_uris: [`${postern}/v1/auth/oidc/callback`],
      grant_types: ["authorization_code", "refresh_token"],
    }],
    claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
    scopes: ["openid", "offline_access", "email", "profile"],
    findAccount: async (_, id) => ({
      accountId: id,
      claims: async () => ({
        sub: id,
        name: `${id[0].toUpperCase()}${id.slice(1)} of Example`,
        email: `${id}@${id === "eve" ? "elsewhere.example" : "example.com"}`,
        email_verified: true,
      }),
    }),
    pkce: { required: () => true },
    rotateRefreshToken: true,
    ttl: { AccessToken: accessTokenLifeS, RefreshToken: 86400, Grant: 86400, Session: 86400, Interaction: 600, IdToken: 3600 },
    cookies: { keys: ["only for tests"] },
    features: { devInteractions: { enabled: true } },
  });

  const seen = { renewals: 0, renewed: 0, refused: [] };
  let holding = null; // { when: "before" | "after", reached, released }
  provider.use(async (context, next) => {
    const isToken = context.path === "/token";
    if (isToken && holding?.when === "before") {
      holding.reach();
      if (!(await holding.released)) return; // the request is dropped
    }
    await next();
    if (isToken && context.oidc?.params?.grant_type === "refresh_token") {
      seen.renewals += 1;
      if (context.status === 200) seen.renewed += 1;
      else seen.refused.push(context.body?.error);
    }
    if (isToken && holding?.when === "after") {
      holding.reach();
      await holding.released;
    }
  });
  const grants = new Set();
  provider.on("grant.success", (context) => grants.add(context.oidc.entities.Grant?.jti ?? context.oidc.grant?.jti));
  server.on("request", provider.callback());

  return {
    url,
    seen,
    /** Delays the next token request, before or after it is handled. */
    hold(when) {
      let reach, release;
      const reached = new Promise((resolve) => { reach = resolve; });
      const released = new Promise((resolve) => { release = resolve; });
      holding = { when, reach, released };
      return { reached, release: (arrives = true) => { holding = null; release(arrives); } };
    },
    /** Revokes every grant, as users can on their provider's page. */
    async endGrants() {
      const found = await Promise.all([...grants].filter(Boolean).map((id) => provider.Grant.find(id)));
      if (!found.some(Boolean)) throw new Error("there is no grant to revoke");
      await Promise.all(found.filter(Boolean).map((grant) => grant.destroy()));
    },
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** Returns the section of `postern.toml` for the provider. */
export function signIn(provider) {
  return `
[[signin]]
type = "oidc"
name = "example"
issuer = "${provider.url}"
client_id = "postern"
secret_ref = "example"
role = "admin"
allow = ["@example.com"]
`;
}
