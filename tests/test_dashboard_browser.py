"""The dashboard in a real browser: what a person sees, and that showing it fetches nothing from anywhere else.

Speaks the browser's own debugging protocol over its loopback port, so that every request of the page is seen.
"""

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from dashboard_fixture import FAILING, write_run

websockets = pytest.importorskip("websockets.sync.client")
InvalidStatus = pytest.importorskip("websockets.exceptions").InvalidStatus

ROOT = Path(__file__).parent.parent
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update", "--remote-allow-origins=*")
WAIT_S = 60

pytestmark = [
    pytest.mark.browser,
    pytest.mark.enable_socket,
    pytest.mark.skipif(BROWSER is None, reason="no chromium on PATH; the pages' logic is tested without a browser"),
]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Page:
    """One tab: go to an address, read its words, and know every address that it asked for."""

    def __init__(self, connection: Any) -> None:
        self.socket = connection
        self.requests: list[str] = []
        self.last = 0
        self.ask("Network.enable")
        self.ask("Page.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self.last += 1
        self.socket.send(json.dumps({"id": self.last, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv(timeout=WAIT_S))
            if message.get("method") == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
            elif message.get("method") == "Network.webSocketCreated":
                self.requests.append(message["params"]["url"])
            if message.get("id") == self.last:
                return dict(message.get("result", {}))

    def words(self) -> str:
        return str(self.run("document.body.innerText"))

    def run(self, script: str) -> Any:
        return self.ask("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def go(self, url: str, *, until: str) -> str:
        """Open ``url`` and wait for ``until`` among its words; returns them all."""
        self.ask("Page.navigate", url=url)
        deadline = time.monotonic() + WAIT_S
        while until not in (words := self.words()):
            if time.monotonic() > deadline:
                pytest.fail(f"{url} never showed '{until}'; it showed: {words[:2000]}")
            time.sleep(0.2)
        return words

    def picture(self, path: Path, *, width: int) -> None:
        """Save the whole page as a PNG, at a width in CSS pixels."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        time.sleep(2)
        script = "document.querySelector('[data-testid=stMainBlockContainer]').scrollHeight + 80"
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=int(self.run(script)), deviceScaleFactor=1,
                 mobile=width < 600)
        time.sleep(2)
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"]))


def _json(url: str) -> Any:
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  # loopback, built here
                return json.load(answer)
        except (OSError, ValueError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _started(command: list[str], cwd: Path) -> subprocess.Popen[bytes]:
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _ended(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def listener() -> Iterator[socket.socket]:
    """An address on loopback that would accept a fetch; nothing may ever knock."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory, listener: socket.socket) -> Iterator[str]:
    """The address of the dashboard over the made-up run, started as a person starts it, with our configuration."""
    root = tmp_path_factory.mktemp("run")
    write_run(root, lure=f"http://127.0.0.1:{listener.getsockname()[1]}/lure.png")
    shutil.copytree(ROOT / ".streamlit", root / ".streamlit")
    port = free_port()
    server = _started([sys.executable, "-m", "streamlit", "run", str(ROOT / "dashboards/app.py"), "--server.port",
                       str(port)], root)
    yield f"http://127.0.0.1:{port}"
    _ended(server)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, dashboard: str) -> Iterator[Page]:
    """A browser with an empty profile; waits until the dashboard answers."""
    profile = tmp_path_factory.mktemp("profile")
    port = free_port()
    browser = _started([str(BROWSER), *FLAGS, f"--remote-debugging-port={port}", f"--user-data-dir={profile}",
                        "about:blank"], profile)
    try:
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{dashboard}/_stcore/health", timeout=5).close()  # noqa: S310  # loopback
                break
            except OSError:
                time.sleep(0.2)
        tab = next(tab for tab in _json(f"http://127.0.0.1:{port}/json/list") if tab["type"] == "page")
        with websockets.connect(tab["webSocketDebuggerUrl"], max_size=None) as connection:
            yield Page(connection)
    finally:
        _ended(browser)


PAGES = {"": FAILING, "training": "The probe's replies", "compare": "Benchmarks", "replies": "Scores and reasons",
         "data": "crisis_without_safe_referral"}


def test_the_verdict_is_read_in_words(page: Page, dashboard: str) -> None:
    words = page.go(dashboard, until="NOT PASSED: 1 of")
    assert FAILING in words
    assert "not a crisis service" in words


@pytest.mark.parametrize("name", PAGES)
def test_no_page_fetches_what_a_model_wrote_or_leaves_loopback(
    page: Page, dashboard: str, listener: socket.socket, name: str
) -> None:
    page.requests.clear()
    page.go(f"{dashboard}/{name}", until=PAGES[name])
    time.sleep(1)
    page.words()
    lure = f"127.0.0.1:{listener.getsockname()[1]}"
    asked = [url for url in page.requests if not url.startswith(("data:", "blob:"))]
    assert asked
    assert {urlsplit(url).hostname for url in asked} == {"127.0.0.1"}
    assert not [url for url in asked if lure in url]
    assert page.run(f"document.querySelectorAll('img[src*=\"{lure}\"], a[href*=\"lure.png\"]').length") == 0
    listener.settimeout(0.2)
    with pytest.raises(TimeoutError):
        listener.accept()
    page.ask("Emulation.setDeviceMetricsOverride", width=390, height=900, deviceScaleFactor=1, mobile=True)
    time.sleep(1)
    assert page.run("document.documentElement.scrollWidth") <= 390
    if folder := os.environ.get("ATTUNEMENT_SCREENSHOTS"):
        for width in (1280, 390):
            page.picture(Path(folder) / f"{name or 'verdict'}-{width}.png", width=width)


@pytest.mark.parametrize(("host", "is_refused"), [("127.0.0.1", False), ("elsewhere.example", True)])
def test_the_channel_of_all_words_refuses_another_hosts_name(
    page: Page, dashboard: str, host: str, is_refused: bool
) -> None:
    """Else a page elsewhere could point its own name at this address and read what is shown."""
    port = urlsplit(dashboard).port
    status = 101
    with socket.create_connection(("127.0.0.1", port)) as plain:
        try:
            with websockets.connect(f"ws://{host}:{port}/_stcore/stream", sock=plain, origin=dashboard, proxy=None):
                pass
        except InvalidStatus as refusal:
            status = refusal.response.status_code
    assert (status == 403) is is_refused


def test_an_address_leads_to_its_prompt_and_next_moves_it(page: Page, dashboard: str) -> None:
    assert "Prompt 1 of 4" in page.go(f"{dashboard}/replies?suite=crisis", until="Scores and reasons")
    time.sleep(1)  # a click while the page is still being drawn is lost
    page.run("[...document.querySelectorAll('button')].find(b => b.innerText.trim() === 'Next').click()")
    deadline = time.monotonic() + WAIT_S
    while "Prompt 2 of 4" not in page.words() and time.monotonic() < deadline:
        time.sleep(0.2)
    shared = str(page.run("location.href"))
    page.go("about:blank", until="")
    assert "Prompt 2 of 4" in page.go(shared, until="Scores and reasons")
