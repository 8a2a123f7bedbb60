"""A real Chromium, driven over the WebDriver protocol (W3C) with what Python brings along.

A telephone is a width, a height and a pixel ratio that the browser itself takes on; a window could
not be as narrow.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""
DRIVER = shutil.which("chromedriver") or ""
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PHONE = (400, 850)
PATIENCE = 300
"""Seconds for anything: axe takes a busy machine longer on the largest page than WebDriver's 30."""


@dataclass(frozen=True)
class Browser:
    """One session; paths are those of the protocol."""

    session: str

    def open(self, page: Path) -> None:
        self._post("url", {"url": page.as_uri()})

    def run(self, script: str, *arguments: object) -> Any:
        """What ``script`` returns; a promise is waited for."""
        return self._post("execute/sync", {"script": script, "args": list(arguments)})

    def sized(self, width: int, height: int, *, mobile: bool = False) -> None:
        """Take on a screen."""
        ratio = 2 if mobile else 1
        screen = {"width": width, "height": height, "deviceScaleFactor": ratio, "mobile": mobile}
        self.command("Emulation.setDeviceMetricsOverride", screen)

    def preferring(self, scheme: str) -> None:
        """``light`` or ``dark``."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", {"features": features})

    def command(self, name: str, parameters: Mapping[str, object]) -> Any:
        """A command of Chromium's own protocol."""
        return self._post("goog/cdp/execute", {"cmd": name, "params": dict(parameters)})

    def saved(self, target: Path, *, whole: bool = True) -> Path:
        """A picture of the page (PNG)."""
        if whole:
            found = self.command("Page.captureScreenshot", {"captureBeyondViewport": True})["data"]
        else:
            with urllib.request.urlopen(f"{self.session}/screenshot", timeout=60) as answer:
                found = json.load(answer)["value"]
        target.write_bytes(base64.b64decode(found))
        return target

    def printed(self) -> bytes:
        """The page as PDF."""
        return base64.b64decode(self._post("print", {"background": False}))

    def _post(self, path: str, content: Mapping[str, object]) -> Any:
        return _post(f"{self.session}/{path}", content)


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A fresh browser, whose downloads lie in ``folder``."""
    driver = subprocess.Popen(
        [DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert driver.stdout is not None
        said = next(line for line in driver.stdout if "started successfully" in line)
        address = f"http://127.0.0.1:{said.rstrip().rstrip('.').rpartition(' ')[2]}/session"
        flags = [*FLAGS, f"--user-data-dir={folder / 'profile'}"]
        options = {
            "binary": CHROMIUM,
            "args": flags,
            "prefs": {"download.default_directory": str(folder)},
        }
        limits = {"script": 1000 * PATIENCE, "pageLoad": 1000 * PATIENCE}
        capabilities = {"alwaysMatch": {"goog:chromeOptions": options, "timeouts": limits}}
        found = _post(address, {"capabilities": capabilities})
        session = Browser(f"{address}/{found['sessionId']}")
        session.command(
            "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)}
        )
        try:
            yield session
        finally:
            urllib.request.urlopen(
                urllib.request.Request(session.session, method="DELETE"), timeout=60
            ).close()
    finally:
        driver.terminate()
        driver.wait(timeout=20)


def _post(address: str, content: Mapping[str, object]) -> Any:
    request = urllib.request.Request(
        address, json.dumps(content).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE + 20) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise AssertionError(error.read().decode()) from error
