import { createLocalJWKSet, errors, type JSONWebKeySet, type JWTVerifyGetKey } from "jose";
import { FAILURE_AGE, KEYS_AGE, KEYS_COOLDOWN } from "./defaults.js";
import { InvalidResponse } from "./errors.js";
import type { Server } from "./grants.js";
import { jsonObject, secureUrl, send } from "./http.js";
import { Cached } from "./shared.js";

/**
 * The keys with which an issuer signs. They are used for five minutes, and fetched once more for an
 * unknown one, but not in the minute after. A failure is repeated from memory for five seconds, so
 * that made-up tokens cause no requests.
 */
export class IssuerKeys {
  readonly #server: Server;
  readonly #keys: Cached<JWTVerifyGetKey>;

  constructor(server: Server) {
    this.#server = server;
    this.#keys = new Cached(() => server.runtime.elapsed(), {
      value: KEYS_AGE,
      failure: FAILURE_AGE,
    });
  }

  /** Finds the key of a token. An error of `jose` is about the token, any other about the keys. */
  readonly find: JWTVerifyGetKey = async (header, token) => {
    const fetch = () => this.#fetched();
    const known = await this.#keys.get(fetch);
    try {
      return await known(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
    }
    return (await this.#keys.get(fetch, KEYS_COOLDOWN))(header, token);
  };

  async #fetched(): Promise<JWTVerifyGetKey> {
    const { jwks_uri: uri } = await this.#server.metadata();
    if (typeof uri !== "string")
      throw new InvalidResponse(
        `${this.#server.issuer} names no jwks_uri. Check the URL of the issuer.`,
      );
    secureUrl(uri);
    const response = await send(
      this.#server.runtime,
      uri,
      { headers: { accept: "application/jwk-set+json, application/json" } },
      "once",
    );
    if (response.status !== 200)
      throw new InvalidResponse(`${uri} answered ${response.status}. Check the URL of the issuer.`);
    const keys = await jsonObject(response, uri);
    try {
      return createLocalJWKSet(keys as unknown as JSONWebKeySet);
    } catch {
      throw new InvalidResponse(`${uri} did not answer with a JSON Web Key Set.`);
    }
  }
}
