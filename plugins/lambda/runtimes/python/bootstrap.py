"""Runs a Python function: asks Lambda's Runtime API for events and answers them.

Standard library only. `_HANDLER` is `module.function` or `package/module.function`, the module is
imported from `LAMBDA_TASK_ROOT`.
"""

import importlib
import json
import os
import socket
import sys
import time
import traceback

API = "/2018-06-01/runtime/"


class Context:
    """What the handler gets beside the event; times are in milliseconds."""

    def __init__(self, headers):
        env = os.environ.get
        self.aws_request_id = headers.get("lambda-runtime-aws-request-id", "")
        self.invoked_function_arn = headers.get("lambda-runtime-invoked-function-arn", "")
        self.function_name = env("AWS_LAMBDA_FUNCTION_NAME", "")
        self.function_version = env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        self.memory_limit_in_mb = env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
        self.log_group_name = env("AWS_LAMBDA_LOG_GROUP_NAME", "")
        self.log_stream_name = env("AWS_LAMBDA_LOG_STREAM_NAME", "")
        self.identity = None
        self.client_context = None
        self._deadline_ms = int(headers.get("lambda-runtime-deadline-ms", "0"))

    def get_remaining_time_in_millis(self):
        return max(0, self._deadline_ms - int(time.time() * 1000))


class RuntimeAPI:
    """One connection to the host, opened again if it was closed.

    Written on a socket because http.client takes longer to read a head than most functions run.
    """

    def __init__(self, address):
        self.address = address
        self.socket = self.stream = None

    def _open(self):
        host, _, port = self.address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = self.socket.makefile("rb")

    def _exchange(self, request):
        """Status, headers by their names in lower case, and body."""
        if self.socket is None:
            self._open()
        self.socket.sendall(request)
        status = self.stream.readline().split()
        if len(status) < 2:
            raise ConnectionResetError("the Runtime API closed the connection")
        headers = {}
        for line in iter(self.stream.readline, b"\r\n"):
            if not line:
                raise ConnectionResetError("the Runtime API closed the connection")
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        body = self.stream.read(int(headers.get("content-length", 0)))
        return int(status[1]), headers, body

    def _call(self, method, path, body=b"", more=""):
        head = (f"{method} {API}{path} HTTP/1.1\r\nHost: {self.address}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{more}\r\n")
        request = head.encode() + body
        try:
            return self._exchange(request)
        except (ConnectionResetError, BrokenPipeError):
            self.socket.close()
            self.socket = None
            return self._exchange(request)

    def next(self):
        status, headers, body = self._call("GET", "invocation/next")
        if status != 200:
            raise RuntimeError(f"invocation/next answered {status}")
        return headers, body

    def respond(self, request_id, text):
        return self._call("POST", f"invocation/{request_id}/response", text)[0]

    def fail(self, path, error):
        self._call("POST", path, json.dumps(error).encode(),
                   f"Lambda-Runtime-Function-Error-Type: {error['errorType']}\r\n")


def describe(exception):
    """An exception as Lambda reports it; frames of this file are left out."""
    frames = [f for f in traceback.extract_tb(exception.__traceback__) if f.filename != __file__]
    return {
        "errorMessage": str(exception),
        "errorType": type(exception).__name__,
        "stackTrace": traceback.format_list(frames),
    }


def load(handler):
    module, dot, function = handler.rpartition(".")
    if not dot:
        raise ValueError("Bad handler '%s': expected module.function" % handler)
    sys.path.insert(0, os.environ.get("LAMBDA_TASK_ROOT", os.getcwd()))
    found = getattr(importlib.import_module(module.replace("/", ".")), function, None)
    if not callable(found):
        raise AttributeError("Handler '%s' missing on module '%s'" % (function, module))
    return found


def flush():
    sys.stdout.flush()
    sys.stderr.flush()


def serve(api, handler):
    """One event after the other; for ever."""
    while True:
        headers, body = api.next()
        request_id = headers["lambda-runtime-aws-request-id"]
        os.environ["_X_AMZN_TRACE_ID"] = headers.get("lambda-runtime-trace-id", "")
        failed = f"invocation/{request_id}/error"
        try:
            answer = handler(json.loads(body), Context(headers))
            text = json.dumps(answer, ensure_ascii=False, separators=(",", ":"),
                              allow_nan=False).encode()
        except Exception as exception:  # a function may raise anything
            error = describe(exception)
            print("[ERROR] %(errorType)s: %(errorMessage)s" % error,
                  "".join(error["stackTrace"]), sep="\n", file=sys.stderr)
            flush()
            api.fail(failed, error)
            continue
        flush()
        if api.respond(request_id, text) == 413:
            print("[ERROR] the answer is too large: %d bytes" % len(text), file=sys.stderr)
            flush()


def main():
    api = RuntimeAPI(os.environ["AWS_LAMBDA_RUNTIME_API"])
    # The module's own name must not be taken by this file.
    sys.path[:] = [p for p in sys.path if p != os.path.dirname(os.path.abspath(__file__))]
    try:
        handler = load(os.environ.get("_HANDLER", ""))
    except BaseException as exception:  # also SystemExit: whoever waits has to hear of it
        error = describe(exception)
        if isinstance(exception, ImportError):
            error["errorType"] = "Runtime.ImportModuleError"
        elif isinstance(exception, AttributeError) and "missing on module" in str(exception):
            error["errorType"] = "Runtime.HandlerNotFound"
        traceback.print_exc()
        flush()
        api.fail("init/error", error)
        return 1
    serve(api, handler)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (KeyboardInterrupt, ConnectionError):
        sys.exit(0)
