import * as core from "@actions/core";
import { issuerUrl } from "../../clients/typescript/src/discovery.js";

/** What a workflow sets with `with`. */
export interface Inputs {
  issuer: string;
  audience: string;
  resource: string | undefined;
  scope: string | undefined;
  variable: string | undefined;
}

/** Reads an input; undefined if it is not set, which a runner shows as empty text. */
const optional = (name: string) => core.getInput(name) || undefined;

/** Variables with which runners, shells, linkers and Node.js decide what later steps run. */
const RESERVED =
  /^(ACTIONS|DYLD|GITHUB|LD|NODE|RUNNER)_|^(BASH_ENV|CI|ENV|HOME|IFS|PATH|PWD|SHELL)$/i;

/** Reads and checks the inputs. Fails with a sentence that names the one to correct. */
export function readInputs(): Inputs {
  const issuer = optional("issuer");
  if (issuer === undefined)
    throw new Error(
      "The input issuer is missing: set it to the URL of the deployment, such as https://auth.example.com.",
    );
  issuerUrl(issuer);
  const variable = optional("variable");
  if (variable !== undefined && !/^[A-Za-z_][A-Za-z0-9_]*$/.test(variable)) {
    throw new Error(
      `The input variable is "${variable}", which is not the name of an environment variable: write a name such as ORDERS_TOKEN.`,
    );
  }
  if (variable !== undefined && RESERVED.test(variable)) {
    throw new Error(
      `The input variable is "${variable}", which the runner or other programs use: write a name of your own, such as ORDERS_TOKEN.`,
    );
  }
  return {
    issuer,
    audience: optional("audience") ?? issuer,
    resource: optional("resource"),
    scope: optional("scope"),
    variable,
  };
}
