// The part of Lambda's runtime API that an authorizer needs. It is lighter than AWS's runtime client, which favors this implementation.
import http from "node:http";

const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(":");
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

function call(method, path, value) {
  const body = value === undefined ? "" : JSON.stringify(value);
  const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
  return new Promise((resolve, reject) => {
    const options = { agent, host, port, method, path: `/2018-06-01/runtime/invocation/${path}`, headers };
    const request = http.request(options, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("end", () => resolve({ headers: response.headers, body: Buffer.concat(chunks) }));
      response.on("error", reject);
    });
    request.on("error", reject);
    request.end(body);
  });
}

/** Answers invocations with `handler` until the sandbox ends. */
export async function serve(handler) {
  for (;;) {
    const { headers, body } = await call("GET", "next");
    const id = headers["lambda-runtime-aws-request-id"];
    const [kind, answer] = await handler(JSON.parse(body)).then(
      (value) => ["response", value],
      (error) => {
        if (error.message !== "Unauthorized") console.error(error);
        return ["error", { errorType: error.name, errorMessage: error.message }];
      },
    );
    await call("POST", `${id}/${kind}`, answer);
  }
}
