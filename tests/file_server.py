"""A server of a few files on this machine, with the habits of the ones out there."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self


class FileServer:
    """Serves `files` by name; set its attributes to make it misbehave."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.requests: list[str | None] = []
        """The Range of each request."""
        self.breaks_after: list[int] = []
        """Bytes after which a connection ends, for one connection after another."""
        self.resumes = True
        self.says_length = True
        self.kind = "application/octet-stream"
        self.redirect: str | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = self.headers.get("Range")
                served.requests.append(wanted)
                content = served.files.get(self.path.rpartition("/")[2])
                if served.redirect is not None:
                    self.send_response(302)
                    self.send_header("Location", served.redirect)
                    self.end_headers()
                    return
                if content is None:
                    self.send_error(404)
                    return
                partly = wanted is not None and served.resumes
                if partly:
                    content = content[int(wanted.removeprefix("bytes=").rstrip("-")) :]
                self.send_response(206 if partly else 200)
                self.send_header("Content-Type", served.kind)
                if served.says_length:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                end = served.breaks_after.pop(0) if served.breaks_after else len(content)
                self.wfile.write(content[:end])

            def log_message(self, *_: object) -> None:
                pass

        return Handler
