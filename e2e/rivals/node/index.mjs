// An authorizer for comparison with Postern's, as a good engineer would write it in Node.js: it gives the same answer to an HTTP API event
// (payload 2.0) with an access token. Only for the benchmark, not part of the product.
import { BatchGetItemCommand, DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { GetSecretValueCommand, SecretsManagerClient } from "@aws-sdk/client-secrets-manager";
import { JwtVerifier } from "aws-jwt-verify";
import { serve } from "./runtime.mjs";

const {
  POSTERN_ISSUER: issuer,
  POSTERN_KEYS_TABLE: keysTable,
  POSTERN_FAMILIES_TABLE: familiesTable,
  POSTERN_SECRET_ARN: secretArn,
} = process.env;

const options = {
  maxAttempts: 3,
  requestHandler: { connectionTimeout: 1000, requestTimeout: 1500, throwOnRequestTimeout: true },
};
const dynamodb = new DynamoDBClient(options);
const verifier = await createVerifier(new SecretsManagerClient(options));

async function createVerifier(secretsManager) {
  const { SecretString } = await secretsManager.send(new GetSecretValueCommand({ SecretId: secretArn }));
  const keys = JSON.parse(SecretString)
    .signing_keys.filter((key) => key.algorithm === "ES256")
    .map(({ kid, public_key }) => ({ ...public_key, kid, alg: "ES256", use: "sig" }));
  const verifier = JwtVerifier.create({
    issuer,
    audience: issuer,
    jwksUri: `${issuer}/.well-known/jwks.json`, // names the cached set; `verifySync` never fetches it
    graceSeconds: 30,
    customJwtCheck({ header, payload }) {
      if (header.typ !== "at+jwt" || payload.exp === undefined) throw new Error("not an access token");
    },
  });
  verifier.cacheJwks({ keys });
  return verifier;
}

function verify(event) {
  const [, token] = /^bearer +(.+)$/i.exec(event.headers?.authorization ?? "") ?? [];
  try {
    return verifier.verifySync(token);
  } catch {
    throw unauthorized();
  }
}

// The agent of a token and the family it was issued with, in one round trip; a token without a family is revoked by its own id.
async function readStanding({ agent_id, sid, jti }) {
  const consistently = (pk) => ({ Keys: [{ pk: { S: pk } }], ConsistentRead: true });
  const RequestItems = { [keysTable]: consistently(agent_id), [familiesTable]: consistently(sid ?? jti) };
  const { Responses, UnprocessedKeys } = await dynamodb.send(new BatchGetItemCommand({ RequestItems }));
  if (Object.keys(UnprocessedKeys ?? {}).length > 0) throw new Error("the store left keys unread");
  return { agent: Responses[keysTable]?.[0], family: Responses[familiesTable]?.[0] };
}

function isAlive(family) {
  const now = Date.now();
  return !family.revoked_at_ms && now < family.idle_expires_at_ms.N && now < family.absolute_expires_at_ms.N;
}

function unauthorized() {
  return new Error("Unauthorized"); // API Gateway turns exactly this error into a 401, and any other into a 500
}

async function authorize(event) {
  const claims = verify(event);
  const { agent, family } = await readStanding(claims);
  const stands = claims.sid ? family && isAlive(family) : !family;
  if (!stands || agent?.org_id.S !== claims.org_id) throw unauthorized();
  return {
    isAuthorized: true,
    context: {
      user_id: claims.sub,
      kind: "agent",
      org_id: claims.org_id,
      credential_id: claims.sid ?? claims.jti,
      scopes: claims.scopes.join(" "),
      resources: "{}",
      metadata: "{}",
      ...(agent.on_behalf_of && { on_behalf_of: agent.on_behalf_of.S }),
    },
  };
}

await serve(authorize);
