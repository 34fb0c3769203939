"""A small server on the loopback address that plays the hub: one file of one repository."""

import contextlib
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub:
    """What it serves and how it answers; a test may change both while it runs.

    Attributes:
      data: The file.
      status: Answer to every request.
      sent: How many bytes of the file are sent.
      tag: SHA-256 that it claims of the file.
      requests: Method and path of each request so far.
    """

    def __init__(self, data):
        self.data, self.status, self.sent, self.requests = data, 200, len(data), []
        self.tag = hashlib.sha256(data).hexdigest()
        self.address = ""


@contextlib.contextmanager
def serving(data):
    hub = Hub(data)

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(len(hub.data))

        def do_GET(self):
            if self.answer(hub.sent):
                self.wfile.write(hub.data[: hub.sent])

        def answer(self, length):
            _, resolve, place = self.path.partition("/resolve/")
            if resolve:  # the hub's library may ask for more than files
                hub.requests.append(f"{self.command} {self.path}")
            status = hub.status if resolve else 404
            self.send_response(status)
            if status == 200:
                self.send_header("X-Repo-Commit", place.split("/")[0])
                self.send_header("ETag", f'"{hub.tag}"')
                self.send_header("Content-Length", str(length))
            elif status == 404:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.end_headers()
            return status == 200

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    hub.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
