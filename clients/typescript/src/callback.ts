import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { PAGE_WAIT } from "./defaults.js";

const HEADERS = {
  "content-type": "text/html; charset=utf-8",
  "cache-control": "no-store",
  "content-security-policy": "default-src 'none'",
  connection: "close",
};

const page = (text: string) =>
  `<!doctype html><html lang="en"><meta charset="utf-8"><title>Login</title><p>${text}</p></html>\n`;

/** What the browser shows. */
export interface Page {
  status: number;
  text: string;
}

/** Decides about a request of the browser. */
export type Handler = (query: URLSearchParams) => Promise<Page>;

/** The server on this machine to which the browser returns (RFC 8252 §7.3). */
export class CallbackServer {
  readonly #http: Server;
  readonly #port: number;

  private constructor(http: Server) {
    this.#http = http;
    this.#port = (http.address() as AddressInfo).port;
  }

  /** Listens at a free port. Every request for the callback is given to `handle`. */
  static async listen(handle: Handler): Promise<CallbackServer> {
    const http = createServer().listen(0, "127.0.0.1");
    await once(http, "listening");
    const server = new CallbackServer(http);
    http.on(
      "request",
      (request: IncomingMessage, response: ServerResponse) =>
        void server.#answer(request, response, handle),
    );
    return server;
  }

  get redirectUri(): string {
    return `http://127.0.0.1:${this.#port}/callback`;
  }

  async #answer(
    request: IncomingMessage,
    response: ServerResponse,
    handle: Handler,
  ): Promise<void> {
    // The browser can be gone. That changes nothing.
    response.on("error", () => {});
    const { status, text } = await this.#page(request, handle);
    response.writeHead(status, HEADERS).end(page(text));
  }

  async #page(request: IncomingMessage, handle: Handler): Promise<Page> {
    // A page of another origin can have a name that leads to this machine (DNS rebinding).
    const hosts = [`127.0.0.1:${this.#port}`, `localhost:${this.#port}`];
    if (!hosts.includes(request.headers.host ?? ""))
      return { status: 400, text: "This is not the address of the login." };
    const [path, query = ""] = (request.url ?? "").split("?", 2);
    if (path !== "/callback" || request.method !== "GET")
      return { status: 404, text: "There is nothing here." };
    return handle(new URLSearchParams(query));
  }

  /** Ends the server, when the browser has received its page or has had the time to. */
  async close(): Promise<void> {
    const closed = once(this.#http, "close");
    this.#http.close();
    const timer = setTimeout(() => this.#http.closeAllConnections(), PAGE_WAIT);
    await closed;
    clearTimeout(timer);
  }
}
