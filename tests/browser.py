"""A browser for tests: Chromium without a window, told what to do through two pipes.

It speaks the DevTools protocol (https://chromedevtools.github.io/devtools-protocol), JSON between
null bytes, so that nothing has to be installed besides the browser and no port is opened. Clicks
and keys are those of a user: the browser itself finds what lies under the mouse.
"""

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 300.0
"""Seconds until a browser that does not answer is given up: a machine may be busy."""


def find_browser() -> str | None:
    """The program, where one is installed."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Page:
    """One tab of a running browser."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands = commands
        self._answers = answers
        self._number = 0
        self._waiting = b""
        self.problems: list[str] = []
        """What the page complained about: exceptions, messages of the console, refused loads."""
        self.requests: list[str] = []
        """What it loaded, other than data: addresses."""
        target = self._ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = {"targetId": target, "flatten": True}
        self._session = self._ask("Target.attachToTarget", attached)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def open(self, address: str, ready: str = "document.readyState == 'complete'") -> None:
        """Load an address, and wait until the expression is true."""
        self.send("Page.navigate", url=address)
        self.wait_for(ready)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol to the tab; -> its answer."""
        return self._ask(method, parameters, session=self._session)

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        asked = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        answer = self.send("Runtime.evaluate", **asked)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Until it is true."""
        end = time.monotonic() + PATIENCE
        while not self.run(f"Boolean({expression})"):
            assert time.monotonic() < end, f"not true in {PATIENCE} s: {expression}"
            time.sleep(0.05)

    def click(self, selector: str) -> None:
        """Click into the middle of an element, after scrolling to it."""
        x, y = self._middle(selector)
        self._mouse("mouseMoved", x, y)
        self._mouse("mousePressed", x, y)
        self._mouse("mouseReleased", x, y)

    def hover(self, selector: str) -> None:
        """Move the mouse over the middle of an element."""
        self._mouse("mouseMoved", *self._middle(selector))

    def drag(self, selector: str, right: float, down: float) -> None:
        """Take the middle of an element and move it by so many pixels of the screen."""
        x, y = self._middle(selector)
        self._mouse("mouseMoved", x, y)
        self._mouse("mousePressed", x, y)
        for part in (0.3, 0.7, 1.0):
            self._mouse("mouseMoved", x + part * right, y + part * down, held=True)
        self._mouse("mouseReleased", x + right, y + down)

    def press(self, key: str) -> None:
        """Press a key by its name: "ArrowRight", "Enter"."""
        code = {"Enter": 13, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                **(text if kind == "keyDown" else {}),
            )

    def _middle(self, selector: str) -> tuple[float, float]:
        box = self.run(
            f"(e => {{ e.scrollIntoView({{block: 'center'}}); const b = e.getBoundingClientRect(); "
            "return [b.x + b.width / 2, b.y + b.height / 2]; })"
            f"(document.querySelector({json.dumps(selector)}))"
        )
        return float(box[0]), float(box[1])

    def _mouse(self, kind: str, x: float, y: float, *, held: bool = False) -> None:
        button = {} if kind == "mouseMoved" and not held else {"button": "left", "buttons": 1}
        clicks = {} if kind == "mouseMoved" else {"clickCount": 1}
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button, **clicks)

    # ------------------------------------------------------------------------------ the two pipes

    def _ask(
        self, method: str, parameters: dict[str, Any], session: str | None = None
    ) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer.get("method", ""), answer.get("params", {}))

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._waiting:
            ready, _, _ = select.select([self._answers], [], [], PATIENCE)
            piece = os.read(self._answers, 1 << 16) if ready else b""
            assert piece, "the browser does not answer"
            self._waiting += piece
        line, _, self._waiting = self._waiting.partition(b"\0")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _note(self, event: str, facts: dict[str, Any]) -> None:
        if event == "Runtime.exceptionThrown":
            self.problems.append(str(facts["exceptionDetails"]))
        elif event == "Log.entryAdded":
            self.problems.append(facts["entry"]["text"])
        elif event == "Network.requestWillBeSent":
            url = facts["request"]["url"]
            if not url.startswith("data:"):
                self.requests.append(url)


@contextmanager
def browser(program: str, profile: Path) -> Iterator[Page]:
    """A browser with an empty tab; it ends with the block. profile: an empty folder of its own."""
    read_commands, write_commands = os.pipe()
    read_answers, write_answers = os.pipe()
    words = [
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *("--no-first-run", "--disable-extensions", "--disable-background-networking"),
        *("--window-size=1280,1000", f"--user-data-dir={profile}", "--remote-debugging-pipe"),
    ]
    # The browser reads from descriptor 3 and writes to 4.
    shell = f'exec "$0" "$@" 3<&{read_commands} 4>&{write_answers}'
    process = subprocess.Popen(
        ["bash", "-c", shell, program, *words, "about:blank"],
        pass_fds=(read_commands, write_answers),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(read_commands)
    os.close(write_answers)
    try:
        yield Page(write_commands, read_answers)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(write_commands)
        os.close(read_answers)
