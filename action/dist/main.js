// node_modules/@actions/core/lib/command.js
import * as os from "os";

// node_modules/@actions/core/lib/utils.js
function toCommandValue(input) {
  if (input === null || input === void 0) {
    return "";
  } else if (typeof input === "string" || input instanceof String) {
    return input;
  }
  return JSON.stringify(input);
}
function toCommandProperties(annotationProperties) {
  if (!Object.keys(annotationProperties).length) {
    return {};
  }
  return {
    title: annotationProperties.title,
    file: annotationProperties.file,
    line: annotationProperties.startLine,
    endLine: annotationProperties.endLine,
    col: annotationProperties.startColumn,
    endColumn: annotationProperties.endColumn
  };
}

// node_modules/@actions/core/lib/command.js
function issueCommand(command, properties, message) {
  const cmd = new Command(command, properties, message);
  process.stdout.write(cmd.toString() + os.EOL);
}
var CMD_STRING = "::";
var Command = class {
  constructor(command, properties, message) {
    if (!command) {
      command = "missing.command";
    }
    this.command = command;
    this.properties = properties;
    this.message = message;
  }
  toString() {
    let cmdStr = CMD_STRING + this.command;
    if (this.properties && Object.keys(this.properties).length > 0) {
      cmdStr += " ";
      let first = true;
      for (const key in this.properties) {
        if (this.properties.hasOwnProperty(key)) {
          const val = this.properties[key];
          if (val) {
            if (first) {
              first = false;
            } else {
              cmdStr += ",";
            }
            cmdStr += `${key}=${escapeProperty(val)}`;
          }
        }
      }
    }
    cmdStr += `${CMD_STRING}${escapeData(this.message)}`;
    return cmdStr;
  }
};
function escapeData(s) {
  return toCommandValue(s).replace(/%/g, "%25").replace(/\r/g, "%0D").replace(/\n/g, "%0A");
}
function escapeProperty(s) {
  return toCommandValue(s).replace(/%/g, "%25").replace(/\r/g, "%0D").replace(/\n/g, "%0A").replace(/:/g, "%3A").replace(/,/g, "%2C");
}

// node_modules/@actions/core/lib/file-command.js
import * as crypto2 from "crypto";
import * as fs from "fs";
import * as os2 from "os";
function issueFileCommand(command, message) {
  const filePath = process.env[`GITHUB_${command}`];
  if (!filePath) {
    throw new Error(`Unable to find environment variable for file command ${command}`);
  }
  if (!fs.existsSync(filePath)) {
    throw new Error(`Missing file at path: ${filePath}`);
  }
  fs.appendFileSync(filePath, `${toCommandValue(message)}${os2.EOL}`, {
    encoding: "utf8"
  });
}
function prepareKeyValueMessage(key, value) {
  const delimiter = `ghadelimiter_${crypto2.randomUUID()}`;
  const convertedValue = toCommandValue(value);
  if (key.includes(delimiter)) {
    throw new Error(`Unexpected input: name should not contain the delimiter "${delimiter}"`);
  }
  if (convertedValue.includes(delimiter)) {
    throw new Error(`Unexpected input: value should not contain the delimiter "${delimiter}"`);
  }
  return `${key}<<${delimiter}${os2.EOL}${convertedValue}${os2.EOL}${delimiter}`;
}

// node_modules/@actions/core/lib/core.js
import * as os3 from "os";
var ExitCode;
(function(ExitCode2) {
  ExitCode2[ExitCode2["Success"] = 0] = "Success";
  ExitCode2[ExitCode2["Failure"] = 1] = "Failure";
})(ExitCode || (ExitCode = {}));
function exportVariable(name, val) {
  const convertedVal = toCommandValue(val);
  process.env[name] = convertedVal;
  const filePath = process.env["GITHUB_ENV"] || "";
  if (filePath) {
    return issueFileCommand("ENV", prepareKeyValueMessage(name, val));
  }
  issueCommand("set-env", { name }, convertedVal);
}
function setSecret(secret) {
  issueCommand("add-mask", {}, secret);
}
function getInput(name, options) {
  const val = process.env[`INPUT_${name.replace(/ /g, "_").toUpperCase()}`] || "";
  if (options && options.required && !val) {
    throw new Error(`Input required and not supplied: ${name}`);
  }
  if (options && options.trimWhitespace === false) {
    return val;
  }
  return val.trim();
}
function setOutput(name, value) {
  const filePath = process.env["GITHUB_OUTPUT"] || "";
  if (filePath) {
    return issueFileCommand("OUTPUT", prepareKeyValueMessage(name, value));
  }
  process.stdout.write(os3.EOL);
  issueCommand("set-output", { name }, toCommandValue(value));
}
function setFailed(message) {
  process.exitCode = ExitCode.Failure;
  error(message);
}
function error(message, properties = {}) {
  issueCommand("error", toCommandProperties(properties), message instanceof Error ? message.toString() : message);
}
function info(message) {
  process.stdout.write(message + os3.EOL);
}
function saveState(name, value) {
  const filePath = process.env["GITHUB_STATE"] || "";
  if (filePath) {
    return issueFileCommand("STATE", prepareKeyValueMessage(name, value));
  }
  issueCommand("save-state", { name }, toCommandValue(value));
}

// ../clients/typescript/src/errors.ts
var PosternError = class extends Error {
  code;
  constructor(code, message) {
    super(message);
    this.name = new.target.name;
    this.code = code;
  }
};
function named(code) {
  return class extends PosternError {
    constructor(message) {
      super(code, message);
    }
  };
}
var AccessDenied = class extends named("access_denied") {
};
var Cancelled = class extends named("cancelled") {
};
var ExpiredToken = class extends named("expired_token") {
};
var InsecureIssuer = class extends named("insecure_issuer") {
};
var InvalidClient = class extends named("invalid_client") {
};
var InvalidResponse = class extends named("invalid_response") {
};
var InvalidScope = class extends named("invalid_scope") {
};
var InvalidTarget = class extends named("invalid_target") {
};
var LockTimeout = class extends named("lock_timeout") {
};
var LoginRequired = class extends named("login_required") {
};
var ServerUnavailable = class extends named("server_unavailable") {
};
var SessionInvalid = class extends named("session_invalid") {
};
var StorageFailed = class extends named("storage_failed") {
};
var WorkloadTokenUnavailable = class extends named("workload_token_unavailable") {
};

// ../clients/typescript/src/federation.ts
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";

// ../clients/typescript/src/reason.ts
function reason(error2) {
  if (!(error2 instanceof Error)) return String(error2);
  const { cause } = error2;
  return cause instanceof Error && cause.message !== "" ? cause.message : error2.message;
}

// node_modules/oauth4webapi/build/index.js
var USER_AGENT;
if (typeof navigator === "undefined" || !navigator.userAgent?.startsWith?.("Mozilla/5.0 ")) {
  const NAME = "oauth4webapi";
  const VERSION2 = "v3.8.8";
  USER_AGENT = `${NAME}/${VERSION2}`;
}
function looseInstanceOf(input, expected) {
  if (input == null) {
    return false;
  }
  try {
    return input instanceof expected || Object.getPrototypeOf(input)[Symbol.toStringTag] === expected.prototype[Symbol.toStringTag];
  } catch {
    return false;
  }
}
var ERR_INVALID_ARG_VALUE = "ERR_INVALID_ARG_VALUE";
var ERR_INVALID_ARG_TYPE = "ERR_INVALID_ARG_TYPE";
function CodedTypeError(message, code, cause) {
  const err = new TypeError(message, { cause });
  Object.assign(err, { code });
  return err;
}
var allowInsecureRequests = /* @__PURE__ */ Symbol();
var clockSkew = /* @__PURE__ */ Symbol();
var clockTolerance = /* @__PURE__ */ Symbol();
var customFetch = /* @__PURE__ */ Symbol();
var jweDecrypt = /* @__PURE__ */ Symbol();
var encoder = new TextEncoder();
var decoder = new TextDecoder();
function buf(input) {
  if (typeof input === "string") {
    return encoder.encode(input);
  }
  return decoder.decode(input);
}
var encodeBase64Url;
if (Uint8Array.prototype.toBase64) {
  encodeBase64Url = (input) => {
    if (input instanceof ArrayBuffer) {
      input = new Uint8Array(input);
    }
    return input.toBase64({ alphabet: "base64url", omitPadding: true });
  };
} else {
  const CHUNK_SIZE = 32768;
  encodeBase64Url = (input) => {
    if (input instanceof ArrayBuffer) {
      input = new Uint8Array(input);
    }
    const arr = [];
    for (let i = 0; i < input.byteLength; i += CHUNK_SIZE) {
      arr.push(String.fromCharCode.apply(null, input.subarray(i, i + CHUNK_SIZE)));
    }
    return btoa(arr.join("")).replace(/=/g, "").replace(/\+/g, "-").replace(/\//g, "_");
  };
}
var decodeBase64Url;
if (Uint8Array.fromBase64) {
  decodeBase64Url = (input) => {
    try {
      return Uint8Array.fromBase64(input, { alphabet: "base64url" });
    } catch (cause) {
      throw CodedTypeError("The input to be decoded is not correctly encoded.", ERR_INVALID_ARG_VALUE, cause);
    }
  };
} else {
  decodeBase64Url = (input) => {
    try {
      const binary = atob(input.replace(/-/g, "+").replace(/_/g, "/").replace(/\s/g, ""));
      const bytes = new Uint8Array(binary.length);
      for (let i = 0; i < binary.length; i++) {
        bytes[i] = binary.charCodeAt(i);
      }
      return bytes;
    } catch (cause) {
      throw CodedTypeError("The input to be decoded is not correctly encoded.", ERR_INVALID_ARG_VALUE, cause);
    }
  };
}
function b64u(input) {
  if (typeof input === "string") {
    return decodeBase64Url(input);
  }
  return encodeBase64Url(input);
}
var UnsupportedOperationError = class extends Error {
  code;
  constructor(message, options) {
    super(message, options);
    this.name = this.constructor.name;
    this.code = UNSUPPORTED_OPERATION;
    Error.captureStackTrace?.(this, this.constructor);
  }
};
var OperationProcessingError = class extends Error {
  code;
  constructor(message, options) {
    super(message, options);
    this.name = this.constructor.name;
    if (options?.code) {
      this.code = options?.code;
    }
    Error.captureStackTrace?.(this, this.constructor);
  }
};
function OPE(message, code, cause) {
  return new OperationProcessingError(message, { code, cause });
}
function normalizeTyp(value) {
  return value.toLowerCase().replace(/^application\//, "");
}
function isJsonObject(input) {
  if (input === null || typeof input !== "object" || Array.isArray(input)) {
    return false;
  }
  return true;
}
function prepareHeaders(input) {
  if (looseInstanceOf(input, Headers)) {
    input = Object.fromEntries(input.entries());
  }
  const headers = new Headers(input ?? {});
  if (USER_AGENT && !headers.has("user-agent")) {
    headers.set("user-agent", USER_AGENT);
  }
  if (headers.has("authorization")) {
    throw CodedTypeError('"options.headers" must not include the "authorization" header name', ERR_INVALID_ARG_VALUE);
  }
  return headers;
}
function signal(url, value) {
  if (value !== void 0) {
    if (typeof value === "function") {
      value = value(url.href);
    }
    if (!(value instanceof AbortSignal)) {
      throw CodedTypeError('"options.signal" must return or be an instance of AbortSignal', ERR_INVALID_ARG_TYPE);
    }
    return value;
  }
  return void 0;
}
function assertNumber(input, allow0, it, code, cause) {
  try {
    if (typeof input !== "number" || !Number.isFinite(input)) {
      throw CodedTypeError(`${it} must be a number`, ERR_INVALID_ARG_TYPE, cause);
    }
    if (input > 0)
      return;
    if (allow0) {
      if (input !== 0) {
        throw CodedTypeError(`${it} must be a non-negative number`, ERR_INVALID_ARG_VALUE, cause);
      }
      return;
    }
    throw CodedTypeError(`${it} must be a positive number`, ERR_INVALID_ARG_VALUE, cause);
  } catch (err) {
    if (code) {
      throw OPE(err.message, code, cause);
    }
    throw err;
  }
}
function assertString(input, it, code, cause) {
  try {
    if (typeof input !== "string") {
      throw CodedTypeError(`${it} must be a string`, ERR_INVALID_ARG_TYPE, cause);
    }
    if (input.length === 0) {
      throw CodedTypeError(`${it} must not be empty`, ERR_INVALID_ARG_VALUE, cause);
    }
  } catch (err) {
    if (code) {
      throw OPE(err.message, code, cause);
    }
    throw err;
  }
}
function assertApplicationJson(response) {
  assertContentType(response, "application/json");
}
function notJson(response, ...types) {
  let msg = '"response" content-type must be ';
  if (types.length > 2) {
    const last = types.pop();
    msg += `${types.join(", ")}, or ${last}`;
  } else if (types.length === 2) {
    msg += `${types[0]} or ${types[1]}`;
  } else {
    msg += types[0];
  }
  return OPE(msg, RESPONSE_IS_NOT_JSON, response);
}
function assertContentType(response, contentType) {
  if (getContentType(response) !== contentType) {
    throw notJson(response, contentType);
  }
}
function getClockSkew(client) {
  const skew = client?.[clockSkew];
  return typeof skew === "number" && Number.isFinite(skew) ? skew : 0;
}
function getClockTolerance(client) {
  const tolerance = client?.[clockTolerance];
  return typeof tolerance === "number" && Number.isFinite(tolerance) && Math.sign(tolerance) !== -1 ? tolerance : 30;
}
function epochTime() {
  return Math.floor(Date.now() / 1e3);
}
function assertAs(as) {
  if (typeof as !== "object" || as === null) {
    throw CodedTypeError('"as" must be an object', ERR_INVALID_ARG_TYPE);
  }
  assertString(as.issuer, '"as.issuer"');
}
function assertClient(client) {
  if (typeof client !== "object" || client === null) {
    throw CodedTypeError('"client" must be an object', ERR_INVALID_ARG_TYPE);
  }
  assertString(client.client_id, '"client.client_id"');
}
function formUrlEncode(token) {
  return encodeURIComponent(token).replace(/(?:[-_.!~*'()]|%20)/g, (substring) => {
    switch (substring) {
      case "-":
      case "_":
      case ".":
      case "!":
      case "~":
      case "*":
      case "'":
      case "(":
      case ")":
        return `%${substring.charCodeAt(0).toString(16).toUpperCase()}`;
      case "%20":
        return "+";
      default:
        throw new Error();
    }
  });
}
function ClientSecretPost(clientSecret) {
  assertString(clientSecret, '"clientSecret"');
  return (_as, client, body, _headers) => {
    body.set("client_id", client.client_id);
    body.set("client_secret", clientSecret);
  };
}
function ClientSecretBasic(clientSecret) {
  assertString(clientSecret, '"clientSecret"');
  return (_as, client, _body, headers) => {
    const username = formUrlEncode(client.client_id);
    const password = formUrlEncode(clientSecret);
    const credentials = btoa(`${username}:${password}`);
    headers.set("authorization", `Basic ${credentials}`);
  };
}
function None() {
  return (_as, client, body, _headers) => {
    body.set("client_id", client.client_id);
  };
}
var URLParse = URL.parse ? (url, base) => URL.parse(url, base) : (url, base) => {
  try {
    return new URL(url, base);
  } catch {
    return null;
  }
};
function checkProtocol(url, enforceHttps) {
  if (enforceHttps && url.protocol !== "https:") {
    throw OPE("only requests to HTTPS are allowed", HTTP_REQUEST_FORBIDDEN, url);
  }
  if (url.protocol !== "https:" && url.protocol !== "http:") {
    throw OPE("only HTTP and HTTPS requests are allowed", REQUEST_PROTOCOL_FORBIDDEN, url);
  }
}
function validateEndpoint(value, endpoint2, useMtlsAlias, enforceHttps) {
  let url;
  if (typeof value !== "string" || !(url = URLParse(value))) {
    throw OPE(`authorization server metadata does not contain a valid ${useMtlsAlias ? `"as.mtls_endpoint_aliases.${endpoint2}"` : `"as.${endpoint2}"`}`, value === void 0 ? MISSING_SERVER_METADATA : INVALID_SERVER_METADATA, { attribute: useMtlsAlias ? `mtls_endpoint_aliases.${endpoint2}` : endpoint2 });
  }
  checkProtocol(url, enforceHttps);
  return url;
}
function resolveEndpoint(as, endpoint2, useMtlsAlias, enforceHttps) {
  if (useMtlsAlias && as.mtls_endpoint_aliases && endpoint2 in as.mtls_endpoint_aliases) {
    return validateEndpoint(as.mtls_endpoint_aliases[endpoint2], endpoint2, useMtlsAlias, enforceHttps);
  }
  return validateEndpoint(as[endpoint2], endpoint2, useMtlsAlias, enforceHttps);
}
var ResponseBodyError = class extends Error {
  cause;
  code;
  error;
  status;
  error_description;
  response;
  constructor(message, options) {
    super(message, options);
    this.name = this.constructor.name;
    this.code = RESPONSE_BODY_ERROR;
    this.cause = options.cause;
    this.error = options.cause.error;
    this.status = options.response.status;
    this.error_description = options.cause.error_description;
    Object.defineProperty(this, "response", { enumerable: false, value: options.response });
    Error.captureStackTrace?.(this, this.constructor);
  }
};
var WWWAuthenticateChallengeError = class extends Error {
  cause;
  code;
  response;
  status;
  constructor(message, options) {
    super(message, options);
    this.name = this.constructor.name;
    this.code = WWW_AUTHENTICATE_CHALLENGE;
    this.cause = options.cause;
    this.status = options.response.status;
    this.response = options.response;
    Object.defineProperty(this, "response", { enumerable: false });
    Error.captureStackTrace?.(this, this.constructor);
  }
};
var tokenMatch = "[a-zA-Z0-9!#$%&\\'\\*\\+\\-\\.\\^_`\\|~]+";
var token68Match = "[a-zA-Z0-9\\-\\._\\~\\+\\/]+={0,2}";
var quotedMatch = '"((?:[^"\\\\]|\\\\[\\s\\S])*)"';
var quotedParamMatcher = "(" + tokenMatch + ")\\s*=\\s*" + quotedMatch;
var paramMatcher = "(" + tokenMatch + ")\\s*=\\s*(" + tokenMatch + ")";
var schemeRE = new RegExp("^[,\\s]*(" + tokenMatch + ")");
var quotedParamRE = new RegExp("^[,\\s]*" + quotedParamMatcher + "[,\\s]*(.*)");
var unquotedParamRE = new RegExp("^[,\\s]*" + paramMatcher + "[,\\s]*(.*)");
var token68ParamRE = new RegExp("^(" + token68Match + ")(?:$|[,\\s])(.*)");
function parseWwwAuthenticateChallenges(response) {
  if (!looseInstanceOf(response, Response)) {
    throw CodedTypeError('"response" must be an instance of Response', ERR_INVALID_ARG_TYPE);
  }
  const header = response.headers.get("www-authenticate");
  if (header === null) {
    return void 0;
  }
  const challenges = [];
  let rest = header;
  while (rest) {
    let match = rest.match(schemeRE);
    const scheme = match?.["1"].toLowerCase();
    if (!scheme) {
      return void 0;
    }
    const afterScheme = rest.substring(match[0].length);
    if (afterScheme && !afterScheme.match(/^[\s,]/)) {
      return void 0;
    }
    const spaceMatch = afterScheme.match(/^\s+(.*)$/);
    const hasParameters = !!spaceMatch;
    rest = spaceMatch ? spaceMatch[1] : void 0;
    const parameters = {};
    let token68;
    if (hasParameters) {
      while (rest) {
        let key;
        let value;
        if (match = rest.match(quotedParamRE)) {
          ;
          [, key, value, rest] = match;
          if (value.includes("\\")) {
            value = value.replace(/\\([\s\S])/g, "$1");
          }
          parameters[key.toLowerCase()] = value;
          continue;
        }
        if (match = rest.match(unquotedParamRE)) {
          ;
          [, key, value, rest] = match;
          parameters[key.toLowerCase()] = value;
          continue;
        }
        if (match = rest.match(token68ParamRE)) {
          if (Object.keys(parameters).length) {
            break;
          }
          ;
          [, token68, rest] = match;
          break;
        }
        return void 0;
      }
    } else {
      rest = afterScheme || void 0;
    }
    const challenge = { scheme, parameters };
    if (token68) {
      challenge.token68 = token68;
    }
    challenges.push(challenge);
  }
  if (!challenges.length) {
    return void 0;
  }
  return challenges;
}
async function parseOAuthResponseErrorBody(response) {
  if (response.status > 399 && response.status < 500) {
    assertReadableResponse(response);
    assertApplicationJson(response);
    try {
      const json = await response.clone().json();
      if (isJsonObject(json) && typeof json.error === "string" && json.error.length) {
        return json;
      }
    } catch {
    }
  }
  return void 0;
}
async function checkOAuthBodyError(response, expected, label) {
  if (response.status !== expected) {
    checkAuthenticationChallenges(response);
    let err;
    if (err = await parseOAuthResponseErrorBody(response)) {
      await response.body?.cancel();
      throw new ResponseBodyError("server responded with an error in the response body", {
        cause: err,
        response
      });
    }
    throw OPE(`"response" is not a conform ${label} response (unexpected HTTP status code)`, RESPONSE_IS_NOT_CONFORM, response);
  }
}
function assertDPoP(option) {
  if (!branded.has(option)) {
    throw CodedTypeError('"options.DPoP" is not a valid DPoPHandle', ERR_INVALID_ARG_VALUE);
  }
}
function getContentType(input) {
  return input.headers.get("content-type")?.split(";")[0];
}
async function authenticatedRequest(as, client, clientAuthentication, url, body, headers, options) {
  await clientAuthentication(as, client, body, headers);
  headers.set("content-type", "application/x-www-form-urlencoded;charset=UTF-8");
  return (options?.[customFetch] || fetch)(url.href, {
    body,
    headers: Object.fromEntries(headers.entries()),
    method: "POST",
    redirect: "manual",
    signal: signal(url, options?.signal)
  });
}
async function tokenEndpointRequest(as, client, clientAuthentication, grantType, parameters, options) {
  const url = resolveEndpoint(as, "token_endpoint", client.use_mtls_endpoint_aliases, options?.[allowInsecureRequests] !== true);
  parameters.set("grant_type", grantType);
  const headers = prepareHeaders(options?.headers);
  headers.set("accept", "application/json");
  if (options?.DPoP !== void 0) {
    assertDPoP(options.DPoP);
    await options.DPoP.addProof(url, headers, "POST");
  }
  const response = await authenticatedRequest(as, client, clientAuthentication, url, parameters, headers, options);
  options?.DPoP?.cacheNonce(response, url);
  return response;
}
var idTokenClaims = /* @__PURE__ */ new WeakMap();
var jwtRefs = /* @__PURE__ */ new WeakMap();
async function processGenericAccessTokenResponse(as, client, response, additionalRequiredIdTokenClaims, decryptFn, recognizedTokenTypes) {
  assertAs(as);
  assertClient(client);
  if (!looseInstanceOf(response, Response)) {
    throw CodedTypeError('"response" must be an instance of Response', ERR_INVALID_ARG_TYPE);
  }
  await checkOAuthBodyError(response, 200, "Token Endpoint");
  assertReadableResponse(response);
  const json = await getResponseJsonBody(response);
  assertString(json.access_token, '"response" body "access_token" property', INVALID_RESPONSE, {
    body: json
  });
  assertString(json.token_type, '"response" body "token_type" property', INVALID_RESPONSE, {
    body: json
  });
  json.token_type = json.token_type.toLowerCase();
  if (json.expires_in !== void 0) {
    let expiresIn = typeof json.expires_in !== "number" ? parseFloat(json.expires_in) : json.expires_in;
    assertNumber(expiresIn, true, '"response" body "expires_in" property', INVALID_RESPONSE, {
      body: json
    });
    json.expires_in = expiresIn;
  }
  if (json.refresh_token !== void 0) {
    assertString(json.refresh_token, '"response" body "refresh_token" property', INVALID_RESPONSE, {
      body: json
    });
  }
  if (json.scope !== void 0 && typeof json.scope !== "string") {
    throw OPE('"response" body "scope" property must be a string', INVALID_RESPONSE, { body: json });
  }
  if (json.id_token !== void 0) {
    assertString(json.id_token, '"response" body "id_token" property', INVALID_RESPONSE, {
      body: json
    });
    const requiredClaims = [];
    if (client.require_auth_time === true) {
      requiredClaims.push("auth_time");
    }
    if (client.default_max_age !== void 0) {
      assertNumber(client.default_max_age, true, '"client.default_max_age"');
      requiredClaims.push("auth_time");
    }
    if (additionalRequiredIdTokenClaims?.length) {
      requiredClaims.push(...additionalRequiredIdTokenClaims);
    }
    const { claims, jwt } = await validateIdTokenClaims(as, client, json.id_token, requiredClaims, decryptFn);
    validateIdTokenAuthorizedParty(client, claims);
    validateIdTokenAuthTimeClaim(claims);
    jwtRefs.set(response, jwt);
    idTokenClaims.set(json, claims);
  }
  if (recognizedTokenTypes?.[json.token_type] !== void 0) {
    recognizedTokenTypes[json.token_type](response, json);
  } else if (json.token_type !== "dpop" && json.token_type !== "bearer") {
    throw new UnsupportedOperationError("unsupported `token_type` value", { cause: { body: json } });
  }
  return json;
}
function checkAuthenticationChallenges(response) {
  let challenges;
  if (challenges = parseWwwAuthenticateChallenges(response)) {
    throw new WWWAuthenticateChallengeError("server responded with a challenge in the WWW-Authenticate HTTP Header", { cause: challenges, response });
  }
}
function validateAudience(expected, result) {
  if (Array.isArray(result.claims.aud)) {
    if (!result.claims.aud.includes(expected)) {
      throw OPE('unexpected JWT "aud" (audience) claim value', JWT_CLAIM_COMPARISON, {
        expected,
        claims: result.claims,
        claim: "aud"
      });
    }
  } else if (result.claims.aud !== expected) {
    throw OPE('unexpected JWT "aud" (audience) claim value', JWT_CLAIM_COMPARISON, {
      expected,
      claims: result.claims,
      claim: "aud"
    });
  }
  return result;
}
function validateIssuer(as, result) {
  const expected = as[_expectedIssuer]?.(result) ?? as.issuer;
  if (result.claims.iss !== expected) {
    throw OPE('unexpected JWT "iss" (issuer) claim value', JWT_CLAIM_COMPARISON, {
      expected,
      claims: result.claims,
      claim: "iss"
    });
  }
  return result;
}
var branded = /* @__PURE__ */ new WeakSet();
var jwtClaimNames = {
  aud: "audience",
  c_hash: "code hash",
  client_id: "client id",
  exp: "expiration time",
  iat: "issued at",
  iss: "issuer",
  jti: "jwt id",
  nonce: "nonce",
  s_hash: "state hash",
  sub: "subject",
  ath: "access token hash",
  htm: "http method",
  htu: "http uri",
  cnf: "confirmation",
  auth_time: "authentication time"
};
function validatePresence(required, result) {
  for (const claim of required) {
    if (result.claims[claim] === void 0) {
      throw OPE(`JWT "${claim}" (${jwtClaimNames[claim]}) claim missing`, INVALID_RESPONSE, {
        claims: result.claims
      });
    }
  }
  return result;
}
function validateStringClaim(claim, result) {
  if (typeof result.claims[claim] !== "string") {
    throw OPE(`unexpected JWT "${claim}" (${jwtClaimNames[claim]}) claim type`, INVALID_RESPONSE, {
      claims: result.claims
    });
  }
  return result;
}
function validateIdTokenClaims(as, client, idToken, requiredClaims, decryptFn) {
  return validateJwt(idToken, checkSigningAlgorithm.bind(void 0, client.id_token_signed_response_alg, as.id_token_signing_alg_values_supported, "RS256"), getClockSkew(client), getClockTolerance(client), decryptFn).then(validatePresence.bind(void 0, ["aud", "exp", "iat", "iss", "sub", ...requiredClaims])).then(validateIssuer.bind(void 0, as)).then(validateAudience.bind(void 0, client.client_id)).then(validateStringClaim.bind(void 0, "sub"));
}
function validateIdTokenAuthTimeClaim(claims) {
  if (claims.auth_time !== void 0) {
    assertNumber(claims.auth_time, true, 'ID Token "auth_time" (authentication time)', INVALID_RESPONSE, { claims });
  }
}
function validateIdTokenAuthorizedParty(client, claims) {
  if (Array.isArray(claims.aud) && claims.aud.length !== 1) {
    if (claims.azp === void 0) {
      throw OPE('ID Token "aud" (audience) claim includes additional untrusted audiences', JWT_CLAIM_COMPARISON, { claims, claim: "aud" });
    }
    if (claims.azp !== client.client_id) {
      throw OPE('unexpected ID Token "azp" (authorized party) claim value', JWT_CLAIM_COMPARISON, {
        expected: client.client_id,
        claims,
        claim: "azp"
      });
    }
  }
}
var WWW_AUTHENTICATE_CHALLENGE = "OAUTH_WWW_AUTHENTICATE_CHALLENGE";
var RESPONSE_BODY_ERROR = "OAUTH_RESPONSE_BODY_ERROR";
var UNSUPPORTED_OPERATION = "OAUTH_UNSUPPORTED_OPERATION";
var PARSE_ERROR = "OAUTH_PARSE_ERROR";
var INVALID_RESPONSE = "OAUTH_INVALID_RESPONSE";
var RESPONSE_IS_NOT_JSON = "OAUTH_RESPONSE_IS_NOT_JSON";
var RESPONSE_IS_NOT_CONFORM = "OAUTH_RESPONSE_IS_NOT_CONFORM";
var HTTP_REQUEST_FORBIDDEN = "OAUTH_HTTP_REQUEST_FORBIDDEN";
var REQUEST_PROTOCOL_FORBIDDEN = "OAUTH_REQUEST_PROTOCOL_FORBIDDEN";
var JWT_TIMESTAMP_CHECK = "OAUTH_JWT_TIMESTAMP_CHECK_FAILED";
var JWT_CLAIM_COMPARISON = "OAUTH_JWT_CLAIM_COMPARISON_FAILED";
var MISSING_SERVER_METADATA = "OAUTH_MISSING_SERVER_METADATA";
var INVALID_SERVER_METADATA = "OAUTH_INVALID_SERVER_METADATA";
function checkJwtType(expected, result) {
  if (typeof result.header.typ !== "string" || normalizeTyp(result.header.typ) !== expected) {
    throw OPE('unexpected JWT "typ" header parameter value', INVALID_RESPONSE, {
      header: result.header
    });
  }
  return result;
}
async function genericTokenEndpointRequest(as, client, clientAuthentication, grantType, parameters, options) {
  assertAs(as);
  assertClient(client);
  assertString(grantType, '"grantType"');
  return tokenEndpointRequest(as, client, clientAuthentication, grantType, new URLSearchParams(parameters), options);
}
async function processGenericTokenEndpointResponse(as, client, response, options) {
  return processGenericAccessTokenResponse(as, client, response, void 0, options?.[jweDecrypt], options?.recognizedTokenTypes);
}
async function revocationRequest(as, client, clientAuthentication, token, options) {
  assertAs(as);
  assertClient(client);
  assertString(token, '"token"');
  const url = resolveEndpoint(as, "revocation_endpoint", client.use_mtls_endpoint_aliases, options?.[allowInsecureRequests] !== true);
  const body = new URLSearchParams(options?.additionalParameters);
  body.set("token", token);
  const headers = prepareHeaders(options?.headers);
  headers.delete("accept");
  return authenticatedRequest(as, client, clientAuthentication, url, body, headers, options);
}
async function processRevocationResponse(response) {
  if (!looseInstanceOf(response, Response)) {
    throw CodedTypeError('"response" must be an instance of Response', ERR_INVALID_ARG_TYPE);
  }
  await checkOAuthBodyError(response, 200, "Revocation Endpoint");
  return void 0;
}
function assertReadableResponse(response) {
  if (response.bodyUsed) {
    throw CodedTypeError('"response" body has been used already', ERR_INVALID_ARG_VALUE);
  }
}
async function introspectionRequest(as, client, clientAuthentication, token, options) {
  assertAs(as);
  assertClient(client);
  assertString(token, '"token"');
  const url = resolveEndpoint(as, "introspection_endpoint", client.use_mtls_endpoint_aliases, options?.[allowInsecureRequests] !== true);
  const body = new URLSearchParams(options?.additionalParameters);
  body.set("token", token);
  const headers = prepareHeaders(options?.headers);
  if (options?.requestJwtResponse ?? client.introspection_signed_response_alg) {
    headers.set("accept", "application/token-introspection+jwt");
  } else {
    headers.set("accept", "application/json");
  }
  return authenticatedRequest(as, client, clientAuthentication, url, body, headers, options);
}
async function processIntrospectionResponse(as, client, response, options) {
  assertAs(as);
  assertClient(client);
  if (!looseInstanceOf(response, Response)) {
    throw CodedTypeError('"response" must be an instance of Response', ERR_INVALID_ARG_TYPE);
  }
  await checkOAuthBodyError(response, 200, "Introspection Endpoint");
  let json;
  if (getContentType(response) === "application/token-introspection+jwt") {
    assertReadableResponse(response);
    const { claims, jwt } = await validateJwt(await response.text(), checkSigningAlgorithm.bind(void 0, client.introspection_signed_response_alg, as.introspection_signing_alg_values_supported, "RS256"), getClockSkew(client), getClockTolerance(client), options?.[jweDecrypt]).then(checkJwtType.bind(void 0, "token-introspection+jwt")).then(validatePresence.bind(void 0, ["aud", "iat", "iss"])).then(validateIssuer.bind(void 0, as)).then(validateAudience.bind(void 0, client.client_id));
    jwtRefs.set(response, jwt);
    if (!isJsonObject(claims.token_introspection)) {
      throw OPE('JWT "token_introspection" claim must be a JSON object', INVALID_RESPONSE, {
        claims
      });
    }
    json = claims.token_introspection;
  } else {
    assertReadableResponse(response);
    json = await getResponseJsonBody(response);
  }
  if (typeof json.active !== "boolean") {
    throw OPE('"response" body "active" property must be a boolean', INVALID_RESPONSE, {
      body: json
    });
  }
  return json;
}
async function validateJwt(jws, checkAlg, clockSkew2, clockTolerance2, decryptJwt) {
  let { 0: protectedHeader, 1: payload, length } = jws.split(".");
  if (length === 5) {
    if (decryptJwt !== void 0) {
      jws = await decryptJwt(jws);
      ({ 0: protectedHeader, 1: payload, length } = jws.split("."));
    } else {
      throw new UnsupportedOperationError("JWE decryption is not configured", { cause: jws });
    }
  }
  if (length !== 3) {
    throw OPE("Invalid JWT", INVALID_RESPONSE, jws);
  }
  let header;
  try {
    header = JSON.parse(buf(b64u(protectedHeader)));
  } catch (cause) {
    throw OPE("failed to parse JWT Header body as base64url encoded JSON", PARSE_ERROR, cause);
  }
  if (!isJsonObject(header)) {
    throw OPE("JWT Header must be a top level object", INVALID_RESPONSE, jws);
  }
  checkAlg(header);
  if (header.crit !== void 0) {
    throw new UnsupportedOperationError('no JWT "crit" header parameter extensions are supported', {
      cause: { header }
    });
  }
  let claims;
  try {
    claims = JSON.parse(buf(b64u(payload)));
  } catch (cause) {
    throw OPE("failed to parse JWT Payload body as base64url encoded JSON", PARSE_ERROR, cause);
  }
  if (!isJsonObject(claims)) {
    throw OPE("JWT Payload must be a top level object", INVALID_RESPONSE, jws);
  }
  const now = epochTime() + clockSkew2;
  if (claims.exp !== void 0) {
    if (typeof claims.exp !== "number") {
      throw OPE('unexpected JWT "exp" (expiration time) claim type', INVALID_RESPONSE, { claims });
    }
    if (claims.exp <= now - clockTolerance2) {
      throw OPE('unexpected JWT "exp" (expiration time) claim value, expiration is past current timestamp', JWT_TIMESTAMP_CHECK, { claims, now, tolerance: clockTolerance2, claim: "exp" });
    }
  }
  if (claims.iat !== void 0) {
    if (typeof claims.iat !== "number") {
      throw OPE('unexpected JWT "iat" (issued at) claim type', INVALID_RESPONSE, { claims });
    }
  }
  if (claims.iss !== void 0) {
    if (typeof claims.iss !== "string") {
      throw OPE('unexpected JWT "iss" (issuer) claim type', INVALID_RESPONSE, { claims });
    }
  }
  if (claims.nbf !== void 0) {
    if (typeof claims.nbf !== "number") {
      throw OPE('unexpected JWT "nbf" (not before) claim type', INVALID_RESPONSE, { claims });
    }
    if (claims.nbf > now + clockTolerance2) {
      throw OPE('unexpected JWT "nbf" (not before) claim value', JWT_TIMESTAMP_CHECK, {
        claims,
        now,
        tolerance: clockTolerance2,
        claim: "nbf"
      });
    }
  }
  if (claims.aud !== void 0) {
    if (typeof claims.aud !== "string" && !Array.isArray(claims.aud)) {
      throw OPE('unexpected JWT "aud" (audience) claim type', INVALID_RESPONSE, { claims });
    }
  }
  return { header, claims, jwt: jws };
}
function checkSigningAlgorithm(client, issuer, fallback, header) {
  if (client !== void 0) {
    if (typeof client === "string" ? header.alg !== client : !client.includes(header.alg)) {
      throw OPE('unexpected JWT "alg" header parameter', INVALID_RESPONSE, {
        header,
        expected: client,
        reason: "client configuration"
      });
    }
    return;
  }
  if (Array.isArray(issuer)) {
    if (!issuer.includes(header.alg)) {
      throw OPE('unexpected JWT "alg" header parameter', INVALID_RESPONSE, {
        header,
        expected: issuer,
        reason: "authorization server metadata"
      });
    }
    return;
  }
  if (fallback !== void 0) {
    if (typeof fallback === "string" ? header.alg !== fallback : typeof fallback === "function" ? !fallback(header.alg) : !fallback.includes(header.alg)) {
      throw OPE('unexpected JWT "alg" header parameter', INVALID_RESPONSE, {
        header,
        expected: fallback,
        reason: "default value"
      });
    }
    return;
  }
  throw OPE('missing client or server configuration to verify used JWT "alg" header parameter', void 0, { client, issuer, fallback });
}
async function getResponseJsonBody(response, check = assertApplicationJson) {
  let json;
  try {
    json = await response.json();
  } catch (cause) {
    check(response);
    throw OPE('failed to parse "response" body as JSON', PARSE_ERROR, cause);
  }
  if (!isJsonObject(json)) {
    throw OPE('"response" body must be a top level object', INVALID_RESPONSE, { body: json });
  }
  return json;
}
var _expectedIssuer = /* @__PURE__ */ Symbol();

// ../clients/typescript/src/defaults.ts
var VERSION = "0.1.0";
var USER_AGENT2 = `postern-client-typescript/${VERSION}`;
var UNKNOWN_LIFETIME = 3e5;
var LAST_ATTEMPT_BEGINS = 6e3;
var ATTEMPT_TIMEOUT = 3e3;
var WAITS = [200, 500];
var JITTER = 0.5;
var LONGEST_RETRY_AFTER = 3e3;
var LONGEST_BODY = 1 << 20;
var METADATA_AGE = 36e5;

// ../clients/typescript/src/runtime.ts
import { setTimeout as wait } from "node:timers/promises";
var SYSTEM = {
  now: () => Date.now(),
  elapsed: () => performance.now(),
  sleep: async (ms, signal2) => {
    await wait(ms, void 0, { ...signal2 && { signal: signal2 } }).catch(() => {
      throw cancelled();
    });
  },
  timeout: (ms) => AbortSignal.timeout(ms),
  random: () => Math.random(),
  env: process.env,
  fetch: (url, init) => fetch(url, init)
};
var runtimeWith = (changes = {}) => ({ ...SYSTEM, ...changes });
var cancelled = () => new Cancelled("The login was cancelled. Nothing was stored.");
async function withSignals(signals, task) {
  const controller = new AbortController();
  const abort = (event) => controller.abort(event.target.reason);
  for (const signal2 of signals) {
    if (signal2.aborted) controller.abort(signal2.reason);
    signal2.addEventListener("abort", abort);
  }
  try {
    return await task(controller.signal);
  } finally {
    for (const signal2 of signals) signal2.removeEventListener("abort", abort);
  }
}

// ../clients/typescript/src/http.ts
var THIS_MACHINE = ["localhost", "127.0.0.1", "[::1]"];
function secureUrl(text) {
  if (!URL.canParse(text))
    throw new InsecureIssuer(`${text} is not a URL: write it with https://.`);
  const url = new URL(text);
  const isSecure = url.protocol === "https:" || url.protocol === "http:" && THIS_MACHINE.includes(url.hostname);
  if (isSecure) return url;
  const shown2 = `${url.protocol}//${url.host}`;
  throw new InsecureIssuer(
    `${shown2} is not encrypted: use https. Only this machine can be called by http, as localhost, 127.0.0.1 or [::1].`
  );
}
var shown = (url) => url.split(/[?#]/, 1)[0] ?? "";
async function bodyOf(response, url) {
  const chunks = [];
  let length = 0;
  for await (const chunk of response.body ?? []) {
    length += chunk.length;
    if (length > LONGEST_BODY)
      throw new InvalidResponse(`${shown(url)} sent more than 1 MiB. Check the URL of the issuer.`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
async function attempt(runtime, url, init) {
  const headers = new Headers(init.headers);
  headers.set("user-agent", USER_AGENT2);
  return withSignals(
    [runtime.timeout(ATTEMPT_TIMEOUT), ...init.signal ? [init.signal] : []],
    async (signal2) => {
      const response = await runtime.fetch(url, { ...init, headers, redirect: "manual", signal: signal2 });
      const body = await bodyOf(response, url);
      return new Response(body.length === 0 ? null : body, {
        status: response.status,
        headers: response.headers
      });
    }
  );
}
function retryAfter(response, wait2, attempts) {
  if (response.status >= 500) return attempts === "unsent" ? void 0 : wait2;
  const asked = Number(response.headers.get("retry-after") ?? Number.NaN) * 1e3;
  return asked >= 0 && asked <= LONGEST_RETRY_AFTER ? Math.max(asked, wait2) : void 0;
}
function problemOf(response) {
  if (response.status !== 429) return `it answered ${response.status}`;
  const asked = response.headers.get("retry-after");
  return `it answered 429 (too many requests)${asked === null ? "" : `, and to try again in ${asked} s`}`;
}
var NOT_CONNECTED = [
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT"
];
function isUnsent(error2) {
  const cause = error2 instanceof Error ? error2.cause : void 0;
  return NOT_CONNECTED.includes(cause?.code ?? cause?.errors?.[0]?.code ?? "");
}
async function outcomeOf(runtime, url, init, attempts, wait2) {
  try {
    const response = await attempt(runtime, url, init);
    if (response.status < 500 && response.status !== 429) return { response };
    return { problem: problemOf(response), pause: retryAfter(response, wait2, attempts) };
  } catch (error2) {
    if (init.signal?.aborted) throw cancelled();
    if (error2 instanceof PosternError) throw error2;
    const isFinal = attempts === "unsent" && !isUnsent(error2);
    const isLate = error2 instanceof Error && error2.name === "TimeoutError";
    return {
      problem: isLate ? "it did not answer in time" : reason(error2),
      pause: isFinal ? void 0 : wait2
    };
  }
}
async function send(runtime, url, init, attempts = "several", began = () => {
}) {
  secureUrl(url);
  const end = runtime.elapsed() + LAST_ATTEMPT_BEGINS;
  const waits = attempts === "once" ? [] : WAITS;
  for (let count = 0; ; count += 1) {
    const base = waits[count];
    const wait2 = (base ?? 0) * (1 - JITTER + 2 * JITTER * runtime.random());
    began();
    const outcome = await outcomeOf(runtime, url, init, attempts, wait2);
    if ("response" in outcome) return outcome.response;
    const { problem, pause } = outcome;
    const isLast = base === void 0 || pause === void 0 || runtime.elapsed() + pause > end;
    if (isLast) throw unavailable(url, problem);
    await runtime.sleep(pause, init.signal ?? void 0);
  }
}
var unavailable = (url, problem) => new ServerUnavailable(`${shown(url)} cannot be used: ${problem}. Try again later.`);
async function jsonObject(response, url) {
  const value = await response.json().catch(() => void 0);
  if (typeof value === "object" && value !== null && !Array.isArray(value))
    return value;
  throw new InvalidResponse(
    `${shown(url)} did not answer with a JSON object (status ${response.status}). Check the URL of the issuer.`
  );
}

// ../clients/typescript/src/discovery.ts
function metadataUrls(issuer) {
  const path = issuer.pathname.replace(/\/$/, "");
  return [
    `${issuer.origin}/.well-known/oauth-authorization-server${path}`,
    `${issuer.origin}${path}/.well-known/openid-configuration`
  ];
}
function issuerUrl(issuer) {
  const url = secureUrl(issuer);
  const extra = url.username !== "" || url.password !== "" ? "a user name" : url.search !== "" ? "a query" : url.hash !== "" ? "a fragment" : void 0;
  if (extra === void 0) return url;
  throw new InsecureIssuer(`The issuer ${url.origin} has ${extra} in its URL: leave it out.`);
}
var isMissing = ({ status }) => status === 404 || status === 405;
async function discover(runtime, issuer, attempts, signal2) {
  for (const address of metadataUrls(issuerUrl(issuer))) {
    const response = await send(
      runtime,
      address,
      { headers: { accept: "application/json" }, ...signal2 && { signal: signal2 } },
      attempts
    );
    if (isMissing(response)) continue;
    if (response.status !== 200)
      throw new InvalidResponse(
        `${address} answered ${response.status}. Check the URL of the issuer.`
      );
    const metadata = await jsonObject(response, address);
    if (metadata["issuer"] !== issuer) {
      throw new InvalidResponse(
        `${address} is about another issuer than ${issuer}. Write the issuer exactly as the server does.`
      );
    }
    if (typeof metadata["token_endpoint"] !== "string")
      throw new InvalidResponse(`${address} names no token_endpoint. Check the URL of the issuer.`);
    return metadata;
  }
  throw new InvalidResponse(
    `${issuer} has no metadata of an authorization server. Check the URL of the issuer.`
  );
}
function endpoint(server, name) {
  const url = server[name];
  if (typeof url !== "string")
    throw new InvalidResponse(`${server.issuer} has no ${name}: it does not support this.`);
  secureUrl(url);
  return url;
}

// ../clients/typescript/src/shared.ts
var Shared = class {
  #running = /* @__PURE__ */ new Map();
  /** Returns the outcome of the task that runs, if it is `wanted`; else that of `task`. */
  async run(name, wanted, task) {
    for (let running = this.#running.get(name); running; running = this.#running.get(name)) {
      const value = await running;
      if (wanted(value)) return value;
    }
    const own = task().finally(() => this.#running.delete(name));
    this.#running.set(name, own);
    return own;
  }
};
var Cached = class {
  constructor(elapsed, ages) {
    this.elapsed = elapsed;
    this.ages = ages;
  }
  elapsed;
  ages;
  #value;
  #failure;
  #fetching = new Shared();
  /**
   * Returns what is cached, if it is not older than `age`; else what `fetch` returns, to all who
   * ask meanwhile.
   */
  async get(fetch2, age = this.ages.value) {
    const now = this.elapsed();
    if (this.#value && now - this.#value.at < age) return this.#value.value;
    if (this.#failure && now - this.#failure.at < this.ages.failure) throw this.#failure.error;
    return this.#fetching.run(
      "",
      () => true,
      () => this.#fetched(fetch2)
    );
  }
  async #fetched(fetch2) {
    const at = this.elapsed();
    try {
      const value = await fetch2();
      this.#value = { value, at };
      this.#failure = void 0;
      return value;
    } catch (error2) {
      this.#failure = { error: error2, at: this.elapsed() };
      throw error2;
    }
  }
};

// ../clients/typescript/src/grants.ts
var OAuthError = class extends Error {
  constructor(error2, description) {
    super(error2);
    this.error = error2;
    this.description = description;
  }
  error;
  description;
};
var BY_CODE = {
  access_denied: AccessDenied,
  expired_token: ExpiredToken,
  invalid_client: InvalidClient,
  invalid_grant: LoginRequired,
  invalid_scope: InvalidScope,
  invalid_target: InvalidTarget,
  unauthorized_client: InvalidClient
};
function errorOf(issuer, { error: error2, description }) {
  const known = BY_CODE[error2];
  const said = description === "" ? "" : ` ${description}`;
  return known ? new known(`${issuer} answered ${error2}.${said}`) : new InvalidResponse(`${issuer} refused the request with the error ${error2}.${said}`);
}
var LONGEST_WORD = 60;
var LONGEST_TEXT = 500;
function printable(text) {
  if (typeof text !== "string") return "";
  const words = text.split(/\s+/u).map((word) => word.replace(/[\p{Cc}\p{Cf}]/gu, ""));
  return words.map((word) => word.length > LONGEST_WORD ? "…" : word).join(" ").slice(0, LONGEST_TEXT);
}
var oauthError = (error2, description) => new OAuthError(printable(error2), printable(description));
var present = (parameters) => Object.fromEntries(
  Object.entries(parameters).filter((pair) => pair[1] !== void 0)
);
var Server = class {
  issuer;
  runtime;
  #client;
  #metadata;
  #attempts;
  /**
   * With `failureAge`, there is one attempt to fetch the metadata, whose failure is repeated from
   * memory.
   */
  constructor(runtime, issuer, client, failureAge) {
    this.runtime = runtime;
    this.issuer = issuer;
    this.#client = client;
    this.#metadata = new Cached(() => runtime.elapsed(), {
      value: METADATA_AGE,
      failure: failureAge ?? 0
    });
    this.#attempts = failureAge === void 0 ? "several" : "once";
  }
  get clientId() {
    return this.#client.clientId;
  }
  /** Returns the metadata, which is used for an hour. */
  async metadata(signal2) {
    return this.#metadata.get(() => discover(this.runtime, this.issuer, this.#attempts, signal2));
  }
  /** The client for oauth4webapi, which wants an id also where none is sent. */
  get client() {
    return { client_id: this.#client.clientId ?? "-", [clockTolerance]: 10 * 365 * 86400 };
  }
  authentication(server) {
    const { clientId, clientSecret } = this.#client;
    if (clientId === void 0) return () => {
    };
    if (clientSecret === void 0) return None();
    const methods = server.token_endpoint_auth_methods_supported;
    const isPostOnly = methods?.includes("client_secret_post") && !methods.includes("client_secret_basic");
    return isPostOnly ? ClientSecretPost(clientSecret) : ClientSecretBasic(clientSecret);
  }
  options(attempts, signal2, began) {
    return {
      // `send` refuses what is not encrypted, but for this machine.
      [allowInsecureRequests]: true,
      [customFetch]: (url, init) => send(this.runtime, url, init, attempts, began),
      ...signal2 && { signal: signal2 }
    };
  }
  /**
   * Requests tokens.
   *
   * @throws {OAuthError} The server returned an error.
   * @throws {InvalidResponse} The response is not that of a token endpoint.
   * @throws {ServerUnavailable} There was none.
   */
  async grant(type, parameters, attempts = "several", signal2) {
    return this.tokens(
      attempts,
      signal2,
      (server, options) => genericTokenEndpointRequest(
        server,
        this.client,
        this.authentication(server),
        type,
        present(parameters),
        options
      )
    );
  }
  /** Asks what a credential is (RFC 7662). An API key can authenticate in place of the client. */
  async introspect(token, resource, apiKey) {
    const server = await this.metadata();
    endpoint(server, "introspection_endpoint");
    const authentication = apiKey === void 0 ? this.authentication(server) : (_, __, ___, headers) => headers.set("authorization", `Bearer ${apiKey}`);
    return understood(this.issuer, async () => {
      const options = { ...this.options("once"), additionalParameters: { resource } };
      const response = await introspectionRequest(
        server,
        this.client,
        authentication,
        token,
        options
      );
      return processIntrospectionResponse(server, this.client, response);
    });
  }
  /** Ends a token (RFC 7009). */
  async revoke(token, attempts = "several") {
    const server = await this.metadata();
    endpoint(server, "revocation_endpoint");
    await understood(this.issuer, async () => {
      const response = await revocationRequest(
        server,
        this.client,
        this.authentication(server),
        token,
        this.options(attempts)
      );
      await processRevocationResponse(response);
    });
  }
  /** Reads the tokens that `request` obtains. */
  async tokens(attempts, signal2, request) {
    const server = await this.metadata(signal2);
    let obtainedAt = this.runtime.now();
    const options = this.options(attempts, signal2, () => {
      obtainedAt = this.runtime.now();
    });
    const body = await understood(
      this.issuer,
      async () => processGenericTokenEndpointResponse(
        server,
        this.client,
        await request(server, options)
      )
    );
    if (body.token_type !== "bearer") {
      throw new InvalidResponse(
        `${this.issuer} issued a token whose token_type is not Bearer. This package cannot use it.`
      );
    }
    return {
      accessToken: body.access_token,
      tokenType: "Bearer",
      lifetime: body.expires_in === void 0 ? UNKNOWN_LIFETIME : body.expires_in * 1e3,
      refreshToken: body.refresh_token,
      scope: body.scope,
      obtainedAt
    };
  }
};
async function understood(issuer, read) {
  try {
    return await read();
  } catch (error2) {
    if (error2 instanceof PosternError || error2 instanceof OAuthError) throw error2;
    if (error2 instanceof ResponseBodyError)
      throw oauthError(error2.error, error2.error_description);
    if (error2 instanceof WWWAuthenticateChallengeError) {
      const body = await error2.response.json().catch(() => ({}));
      throw oauthError(body["error"] ?? "invalid_client", body["error_description"]);
    }
    const { cause } = error2;
    const status = cause instanceof Response ? `, status ${cause.status}` : "";
    const said = `${error2 instanceof Error ? error2.message : "unknown"}${status}`;
    throw new InvalidResponse(
      `${issuer} did not answer as an authorization server does (${said}). Check the URL of the issuer.`
    );
  }
}

// ../clients/typescript/src/federation.ts
var github = async (runtime, audience) => {
  const { ACTIONS_ID_TOKEN_REQUEST_URL: url, ACTIONS_ID_TOKEN_REQUEST_TOKEN: token } = runtime.env;
  if (!url || !token) {
    throw new WorkloadTokenUnavailable(
      "The job cannot request a token: set permissions: id-token: write for it. Outside GitHub Actions there is none."
    );
  }
  const address = new URL(url);
  address.searchParams.set("audience", audience);
  const response = await send(runtime, address.href, {
    headers: { authorization: `Bearer ${token}`, accept: "application/json" }
  });
  if (response.status !== 200) {
    throw new WorkloadTokenUnavailable(
      `GitHub answered ${response.status} to the request for a token. Check that the job has permissions: id-token: write.`
    );
  }
  const { value } = await jsonObject(response, address.href);
  if (typeof value !== "string" || value === "")
    throw new WorkloadTokenUnavailable("GitHub gave no token. Run the job again.");
  return value;
};
var gitlab = async ({ env }, audience, { tokenVariable = "POSTERN_ID_TOKEN" }) => {
  const token = env[tokenVariable];
  if (token) return token;
  throw new WorkloadTokenUnavailable(
    `The variable ${tokenVariable} is not set. Add to the job: id_tokens: {${tokenVariable}: {aud: "${audience}"}}.`
  );
};
async function fromFile(path, hint) {
  let text;
  try {
    text = (await readFile(path, "utf8")).trim();
  } catch (error2) {
    throw new WorkloadTokenUnavailable(`${path} cannot be read: ${reason(error2)}. ${hint}`);
  }
  if (text === "") throw new WorkloadTokenUnavailable(`${path} is empty. ${hint}`);
  return text;
}
var kubernetes = (_, audience, { tokenFile = "/var/run/secrets/tokens/postern" }) => fromFile(
  tokenFile,
  `Mount a projected serviceAccountToken there, with the audience ${audience}.`
);
var file = (_, __, { tokenFile = "" }) => fromFile(tokenFile, "Write the token of the workload to it.");
var aws = async (_, audience) => {
  const sts = await import("@aws-sdk/client-sts").catch(() => {
    throw new WorkloadTokenUnavailable(
      "The package @aws-sdk/client-sts is not installed. Run npm install @aws-sdk/client-sts."
    );
  });
  try {
    const request = new sts.GetWebIdentityTokenCommand({
      Audience: [audience],
      SigningAlgorithm: "ES384",
      DurationSeconds: 300
    });
    const { WebIdentityToken: token } = await new sts.STSClient({}).send(request);
    if (token) return token;
  } catch (error2) {
    throw new WorkloadTokenUnavailable(
      `AWS gave no token: ${reason(error2)}. Allow the role sts:GetWebIdentityToken, and enable outbound web identity federation.`
    );
  }
  throw new WorkloadTokenUnavailable(
    "AWS gave no token. Enable outbound web identity federation in the account."
  );
};
var SOURCES = { aws, file, github, gitlab, kubernetes };
var KEPT = ["file", "gitlab", "kubernetes"];
var JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer";
var digestOf = (token) => createHash("sha256").update(token).digest("hex");
var Workload = class {
  #options;
  #onToken;
  /** The digest of the last token that was exchanged. */
  #used;
  #last = Promise.resolve();
  /** `onToken` is called with each token of the workload before anything else uses it. */
  constructor(options, onToken = () => {
  }) {
    if (!Object.hasOwn(SOURCES, options.from))
      throw new TypeError(`from must be one of ${Object.keys(SOURCES).join(", ")}.`);
    if (options.from === "file" && !options.tokenFile)
      throw new TypeError("The source file needs a tokenFile.");
    this.#options = options;
    this.#onToken = onToken;
  }
  /**
   * Exchanges a token of the workload. Every attempt fetches a new one, if there is one.
   *
   * @throws {WorkloadTokenUnavailable} The workload has no token, or it has been exchanged.
   * @throws {AccessDenied} The server does not accept it.
   */
  exchange(server, request) {
    if (!KEPT.includes(this.#options.from)) return this.#exchanged(server, request);
    const own = this.#last.then(() => this.#exchanged(server, request));
    this.#last = own.catch(() => {
    });
    return own;
  }
  async #exchanged(server, request) {
    const { runtime } = server;
    let lost;
    for (let count = 0; ; count += 1) {
      const assertion = await this.#fetch(server);
      try {
        const tokens = await server.grant(JWT_BEARER, { assertion, ...request }, "once");
        this.#used = digestOf(assertion);
        return tokens;
      } catch (error2) {
        if (error2 instanceof OAuthError)
          throw refusal(
            server.issuer,
            error2,
            lost?.assertion === assertion ? lost.outage : void 0
          );
        const wait2 = WAITS[count];
        if (!(error2 instanceof ServerUnavailable) || wait2 === void 0) throw error2;
        lost = { assertion, outage: error2 };
        await runtime.sleep(wait2 * (1 - JITTER + 2 * JITTER * runtime.random()));
      }
    }
  }
  async #fetch({ runtime, issuer }) {
    const { from, audience = issuer } = this.#options;
    const token = await SOURCES[from](runtime, audience, this.#options);
    this.#onToken(token);
    if (digestOf(token) !== this.#used) return token;
    const where = from === "gitlab" ? "A job of GitLab that needs more has a second entry of id_tokens" : "Wait until its file has another one";
    throw new WorkloadTokenUnavailable(
      `The token of the workload has been exchanged, which works once. ${where}.`
    );
  }
};
function refusal(issuer, error2, outage) {
  if (error2.error !== "invalid_grant") return errorOf(issuer, error2);
  if (outage)
    return new ServerUnavailable(
      `${outage.message} The token of the workload may have been used by that request: get another one.`
    );
  return new AccessDenied(
    `${issuer} did not accept the token of the workload. ${error2.description}`
  );
}

// src/inputs.ts
var optional = (name) => getInput(name) || void 0;
var RESERVED = /^(ACTIONS|DYLD|GITHUB|LD|NODE|RUNNER)_|^(BASH_ENV|CI|ENV|HOME|IFS|PATH|PWD|SHELL)$/i;
function readInputs() {
  const issuer = optional("issuer");
  if (issuer === void 0)
    throw new Error(
      "The input issuer is missing: set it to the URL of the deployment, such as https://auth.example.com."
    );
  issuerUrl(issuer);
  const variable = optional("variable");
  if (variable !== void 0 && !/^[A-Za-z_][A-Za-z0-9_]*$/.test(variable)) {
    throw new Error(
      `The input variable is "${variable}", which is not the name of an environment variable: write a name such as ORDERS_TOKEN.`
    );
  }
  if (variable !== void 0 && RESERVED.test(variable)) {
    throw new Error(
      `The input variable is "${variable}", which the runner or other programs use: write a name of your own, such as ORDERS_TOKEN.`
    );
  }
  return {
    issuer,
    audience: optional("audience") ?? issuer,
    resource: optional("resource"),
    scope: optional("scope"),
    variable
  };
}

// src/main.ts
var LATEST = 864e13;
async function run() {
  const { issuer, audience, resource, scope, variable } = readInputs();
  const server = new Server(runtimeWith(), issuer, { clientId: void 0 });
  const workload = new Workload({ from: "github", audience }, setSecret);
  const { accessToken, obtainedAt, lifetime } = await workload.exchange(server, { resource, scope }).catch((error2) => {
    throw error2 instanceof AccessDenied ? new Error(`${error2.message} This job has ${claimsOfJob(audience)}.`) : error2;
  });
  setSecret(accessToken);
  saveState("issuer", issuer);
  saveState("token", accessToken);
  const expiresAt = new Date(Math.min(obtainedAt + lifetime, LATEST)).toISOString();
  saveState("expires-at", expiresAt);
  setOutput("token", accessToken);
  setOutput("expires-at", expiresAt);
  if (variable !== void 0) exportVariable(variable, accessToken);
  info(`The token is valid until ${expiresAt}, or until the end of the job.`);
}
var CLAIMS = {
  repository_id: "GITHUB_REPOSITORY_ID",
  repository_owner_id: "GITHUB_REPOSITORY_OWNER_ID",
  ref: "GITHUB_REF",
  event_name: "GITHUB_EVENT_NAME",
  workflow_ref: "GITHUB_WORKFLOW_REF"
};
function claimsOfJob(audience) {
  const claims = Object.entries(CLAIMS).map(([claim, variable]) => [claim, process.env[variable]]);
  return [["aud", audience], ...claims].filter(([, value]) => value).map(([claim, value]) => `${claim} = ${value}`).join(", ");
}
try {
  await run();
} catch (error2) {
  setFailed(error2.message);
}
