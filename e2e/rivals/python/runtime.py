"""The part of Lambda's runtime API that an authorizer needs. It is lighter than AWS's runtime client, which favors this implementation."""

import http.client
import json
import os
import sys
import traceback


def serve(handler):
    """Answers invocations with `handler` until the execution environment ends."""
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])

    def call(method, path, value=None):
        body = None if value is None else json.dumps(value).encode()
        connection.request(method, f"/2018-06-01/runtime/invocation/{path}", body)
        response = connection.getresponse()
        return response.headers, response.read()

    while True:
        headers, event = call("GET", "next")
        request_id = headers["Lambda-Runtime-Aws-Request-Id"]
        try:
            kind, answer = "response", handler(json.loads(event))
        except Exception as error:
            if str(error) != "Unauthorized":
                traceback.print_exc(file=sys.stderr)
            kind, answer = "error", {"errorType": type(error).__name__, "errorMessage": str(error)}
        call("POST", f"{request_id}/{kind}", answer)
