"""A web server of files on this machine, which misbehaves as it is told."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote


class Mirror(http.server.ThreadingHTTPServer):
    """A server of files that misbehaves as told.

    Attributes
    ----------
    files : dict
        Content by name.
    ranges : bool
        Whether it understands Range.
    validator : str
        "etag", "weak", "date" or "none".
    cuts : list of int
        The next answers end after so many bytes.
    statuses : list of int
        The next answers are these errors.
    seen : list
        (path, Range header, bytes sent) of every request.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.ranges, self.validator, self.edition = True, "etag", 1
        self.cuts: list[int] = []
        self.statuses: list[int] = []
        self.seen: list[tuple[str, str | None, int]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def headers(self) -> dict[str, str]:
        return {
            "etag": {"ETag": f'"edition-{self.edition}"'},
            "weak": {"ETag": f'W/"edition-{self.edition}"'},
            "date": {"Last-Modified": f"Mon, 0{self.edition} Jan 2024 00:00:00 GMT"},
            "none": {},
        }[self.validator]


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Mirror

    def log_message(self, *arguments) -> None:
        pass

    def do_GET(self) -> None:
        server, name, wanted = self.server, unquote(self.path).lstrip("/"), self.headers.get("Range")
        if server.statuses:
            server.seen.append((name, wanted, 0))
            self.send_error(server.statuses.pop(0))
            return
        if name not in server.files:
            server.seen.append((name, wanted, 0))
            self.send_error(404)
            return
        content, start = server.files[name], 0
        proof = next(iter(server.headers().values()), None)
        if wanted and server.ranges and self.headers.get("If-Range") == proof:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                server.seen.append((name, wanted, 0))
                return
        self.send_response(206 if start else 200)
        for header, value in server.headers().items():
            self.send_header(header, value)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        if server.cuts:
            body = body[: server.cuts.pop(0)]
            self.close_connection = True
        server.seen.append((name, wanted, len(body)))
        self.wfile.write(body)


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Mirror]:
    """A mirror that runs as long as the block."""
    server = Mirror()
    server.files.update(files)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
