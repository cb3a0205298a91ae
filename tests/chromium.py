"""Chromium without a window, driven over the DevTools protocol through a pipe: what a page says, asks for and shows."""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
INSIDE = ("data:", "blob:", "about:")
"""Addresses for which nothing outside the page is asked."""
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--no-default-browser-check",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


def chromium() -> str | None:
    """The path of an installed Chromium, if any."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Page:
    """A tab: commands go in, answers and events come out.

    Attributes
    ----------
    complaints
        Console errors, exceptions, log entries of errors, and requests that failed or left the page, in order.
    """

    def __init__(self, send: int, receive: int) -> None:
        self._send, self._receive = send, receive
        self._buffer = b""
        self._last = 0
        self._answers: dict[int, dict[str, Any]] = {}
        self._loaded = False
        self._allowed = ""
        self._server: tuple[str, ...] = ()
        self._contexts: dict[str, tuple[str, int]] = {}
        self.complaints: list[str] = []
        target = self._call("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = self._call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        self._watch(self._session)

    def _watch(self, session: str) -> None:
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._post(f"{domain}.enable", {}, session)
        # Frames that get a process of their own are watched as well.
        self._post("Target.setAutoAttach", {"autoAttach": True, "waitForDebuggerOnStart": False, "flatten": True}, session)

    def _post(self, method: str, parameters: dict[str, Any], session: str | None = None) -> int:
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        content = json.dumps(message).encode() + b"\0"
        while content:
            content = content[os.write(self._send, content) :]
        return self._last

    def _call(self, method: str, parameters: dict[str, Any] | None = None, session: str | None = None) -> dict[str, Any]:
        number = self._post(method, parameters or {}, session)
        self._until(lambda: number in self._answers, f"an answer to {method}")
        answer = self._answers.pop(number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _until(self, condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"Chromium did not give {what} within {seconds:g} s")
            self._read(left)

    def _read(self, seconds: float) -> None:
        if not select.select([self._receive], [], [], seconds)[0]:
            return
        received = os.read(self._receive, 1 << 20)
        if not received:
            raise RuntimeError("Chromium has ended")
        *whole, self._buffer = (self._buffer + received).split(b"\0")
        for message in map(json.loads, whole):
            if "id" in message:
                self._answers[message["id"]] = message
            else:
                self._event(message["method"], message["params"], message.get("sessionId", ""))

    def _event(self, name: str, told: dict[str, Any], session: str) -> None:
        match name:
            case "Target.attachedToTarget":
                self._watch(told["sessionId"])
            case "Page.loadEventFired":
                self._loaded = self._loaded or session == self._session
            case "Runtime.executionContextCreated":
                described = told["context"]["auxData"]
                if described.get("isDefault"):
                    self._contexts[described["frameId"]] = (session, told["context"]["id"])
            case "Runtime.exceptionThrown":
                details = told["exceptionDetails"]
                self.complaints.append(f"exception: {details.get('exception', {}).get('description', details['text'])}")
            case "Runtime.consoleAPICalled" if told["type"] in ("error", "assert"):
                said = " ".join(str(part.get("value", part.get("description"))) for part in told["args"])
                self.complaints.append(f"console: {said}")
            case "Log.entryAdded" if told["entry"]["level"] == "error":
                self.complaints.append(f"log: {told['entry']['text']}")
            case "Network.requestWillBeSent":
                address = told["request"]["url"]
                if not address.startswith(INSIDE) and address != self._allowed and not address.startswith(self._server):
                    self.complaints.append(f"request: {address[:200]}")
            case "Network.loadingFailed" if not told.get("canceled"):
                self.complaints.append(f"failed: {told['errorText']}")

    def open(self, path: Path) -> None:
        """Open a file, which may ask for no other, and wait until it has loaded."""
        self._server = ()
        self._go(path.resolve().as_uri())

    def visit(self, server: str) -> None:
        """Open the first page of a server by its host and port; it may ask for this server's others."""
        self._server = (f"http://{server}/",)
        self._go(f"http://{server}/")

    def _go(self, address: str) -> None:
        self._allowed, self._loaded = address, False
        self._call("Page.navigate", {"url": address}, self._session)
        self._until(lambda: self._loaded, "a loaded page")

    def look(self, dark: bool = False, width: int = 1500, height: int = 1000) -> None:
        """Show pages as on a screen of this size, in CSS pixels, to someone who likes them light or dark."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", {"features": [scheme]}, self._session)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._call("Emulation.setDeviceMetricsOverride", size, self._session)

    def evaluate(self, expression: str, frame: str | None = None) -> Any:
        """The value of a JavaScript expression, a promise's once it is kept, in the page or one of its frames."""
        asked: dict[str, Any] = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        session = self._session
        if frame is not None:
            session, asked["contextId"] = self._contexts[frame]
        answer = self._call("Runtime.evaluate", asked, session)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"].get("exception", {}).get("description", "the expression threw"))
        return answer["result"].get("value")

    def wait(self, expression: str, seconds: float = 20) -> bool:
        """Whether an expression becomes true in time."""
        deadline = time.monotonic() + seconds
        while not (true := bool(self.evaluate(expression))) and time.monotonic() < deadline:
            self._read(0.05)
        return true

    def frames(self) -> list[str]:
        """The page's frames within it, by id, that have begun to run."""
        tree = self._call("Page.getFrameTree", {}, self._session)["frameTree"]
        inner = [child["frame"]["id"] for child in tree.get("childFrames", [])]
        own = tree["frame"]["id"]
        # A frame with a process of its own stands in no tree of the page.
        elsewhere = [frame for frame, (session, _) in self._contexts.items() if session != self._session and frame != own]
        return [frame for frame in dict.fromkeys([*inner, *elsewhere]) if frame in self._contexts]

    def settle(self, seconds: float = 0.3) -> None:
        """Take in what the page still says."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._read(left)

    def screenshot(self, path: Path) -> None:
        """Write what is seen as PNG."""
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", {"format": "png"}, self._session)["data"]))


@contextlib.contextmanager
def page(width: int = 1500, height: int = 1000) -> Iterator[Page]:
    """A tab of a Chromium that ends with the block."""
    there, back = os.pipe(), os.pipe()
    # Out of the way of the descriptors 3 and 4, which the browser reads from and writes to.
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (there[0], back[1])]
    for end in (there[0], back[1]):
        os.close(end)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [chromium(), *_FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}", "about:blank"]
        silent = [(os.POSIX_SPAWN_OPEN, output, os.devnull, os.O_WRONLY, 0) for output in (1, 2)]
        piped = [(os.POSIX_SPAWN_DUP2, high[0], 3), (os.POSIX_SPAWN_DUP2, high[1], 4)]
        process = os.posix_spawn(command[0], command, os.environ | {"HOME": profile}, file_actions=[*silent, *piped], setpgroup=0)
        for end in high:
            os.close(end)
        try:
            yield Page(there[1], back[0])
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
            os.close(there[1])
            os.close(back[0])
