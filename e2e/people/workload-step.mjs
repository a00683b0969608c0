// A step of a workflow, as docs/federation.md describes it: requests the token of its job, exchanges it, and calls the API with the result.
import { getIDToken } from "@actions/core";

const { AUDIENCE, TOKEN_ENDPOINT, API } = process.env;
const assertion = await getIDToken(AUDIENCE);
const granted = await fetch(TOKEN_ENDPOINT, {
  method: "POST",
  body: new URLSearchParams({ grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer", assertion }),
});
const tokens = await granted.json();
const called = granted.ok ? await fetch(`${API}/deployments`, { headers: { authorization: `Bearer ${tokens.access_token}` } }) : null;
console.log(JSON.stringify({ granted: granted.status, tokens, called: called?.status, api: await called?.json() }));
