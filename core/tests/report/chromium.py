"""A headless Chromium, told what to do over a pipe: no driver to install, no port to open."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

#: Seconds after which something will not come any more; a busy machine is slow.
PATIENCE = 60

BINARY = shutil.which("chromium") or shutil.which("google-chrome")


class Chromium:
    """One page in a browser of its own.

    Parameters
    ----------
    page
        A file to open.
    """

    def __init__(self, page: Path, profile: Path, width: int = 1000, height: int = 800) -> None:
        assert BINARY is not None
        there, self._out = os.pipe()
        self._in, back = os.pipe()
        self._buffer = b""
        self._last = 0
        self._events: list[dict[str, Any]] = []
        # Chromium reads commands from descriptor 3 and answers on 4.
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec 3<&{there} 4>&{back}; exec "$0" "$@"', BINARY]
            + ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run"]
            + [f"--user-data-dir={profile}", f"--window-size={width},{height}", "about:blank"],
            pass_fds=(there, back),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(there)
        os.close(back)
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.ask("Page.enable")
        self.ask("Page.setLifecycleEventsEnabled", enabled=True)
        self.ask("Page.bringToFront")  # a page behind another draws nothing
        self.url = page.as_uri()
        self.reload()

    def reload(self) -> None:
        """Load the page, anew where it is there."""
        # Nothing is asked of a page that is being replaced: Chromium may leave that without an answer.
        loader = self.ask("Page.navigate", url=self.url)["loaderId"]
        self.wait("Page.lifecycleEvent", loaderId=loader, name="load")

    def ask(self, method: str, **parameters: Any) -> Any:
        """Send a command to the page, and wait for its result."""
        return self._ask(method, self.session, **parameters)

    def run(self, script: str) -> Any:
        """The JSON value of an expression on the page."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until an expression on the page is true."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            found = self.ask("Runtime.evaluate", expression=condition, returnByValue=True)
            if found["result"].get("value") is True:
                return
            time.sleep(0.02)
        raise AssertionError(f"not true after {PATIENCE} s: {condition}")

    def press(self, key: str) -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, text=key if kind == "keyDown" else "")

    def click(self, selector: str) -> None:
        """Click in the middle of an element, as a mouse does."""
        box = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        x, y = self.run(f"(box => [box.x + box.width / 2, box.y + box.height / 2])({box})")
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def downloaded(self, selector: str, folder: Path) -> Path:
        """The file that a click on an element puts into a folder."""
        self._ask("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder), eventsEnabled=True)
        self.click(selector)
        name = self.wait("Browser.downloadWillBegin")["suggestedFilename"]
        while (state := self.wait("Browser.downloadProgress")["state"]) == "inProgress":
            pass
        assert state == "completed"
        return folder / str(name)

    def wait(self, method: str, **fields: Any) -> dict[str, Any]:
        """What the next event of a kind says, with these fields; others that come meanwhile are kept."""
        while True:
            for event in self._events:
                said: dict[str, Any] = event["params"]
                if event["method"] == method and fields.items() <= said.items():
                    self._events.remove(event)
                    return said
            message = self._read()
            if "method" in message:
                self._events.append(message)

    def screenshot(self, path: Path) -> None:
        """Write what is seen as a PNG."""
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot")["data"]))

    def close(self) -> None:
        """End the browser."""
        self.process.kill()
        self.process.wait()
        os.close(self._in)
        os.close(self._out)

    def _ask(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                return answer["result"]
            if "method" in answer:
                self._events.append(answer)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            assert select.select([self._in], [], [], PATIENCE)[0], f"Chromium said nothing for {PATIENCE} s"
            chunk = os.read(self._in, 1 << 16)
            assert chunk, "Chromium ended"
            self._buffer += chunk
        message, self._buffer = self._buffer.split(b"\0", 1)
        found: dict[str, Any] = json.loads(message)
        return found
