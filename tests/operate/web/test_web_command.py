"""`barfeed web` as it is started."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from barfeed.operate.web.server import is_loopback

WEB = [sys.executable, "-m", "barfeed", "web"]


def refused(tmp_path: Path, *flags: str) -> tuple[int, str]:
    """How it ends that does not begin."""
    done = subprocess.run([*WEB, *flags], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize("address", ["0.0.0.0:0", ":0", "[::]:0"])
def test_whoever_can_be_reached_from_elsewhere_asks_for_something(tmp_path: Path, address: str) -> None:
    code, said = refused(tmp_path, "--listen", address)
    assert code == 2
    assert "can be reached from other machines" in said
    assert "--token" in said


@pytest.mark.long
@pytest.mark.parametrize(
    "address", ["nowhere", "127.0.0.1", "127.0.0.1:99999", "192.0.2.1:8787", "no.such.host.example:1"]
)
def test_an_address_that_is_none_is_told(tmp_path: Path, address: str) -> None:
    code, said = refused(tmp_path, "--listen", address, "--token", "t")
    assert code == 2
    assert "--listen" in said


@pytest.mark.long
def test_an_address_that_is_taken_is_told(tmp_path: Path, taken_port: int) -> None:
    code, said = refused(tmp_path, "--listen", f"127.0.0.1:{taken_port}")
    assert code == 2
    assert "cannot be had" in said


@pytest.mark.long
def test_it_prints_where_it_is_and_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    environment = os.environ | {"BARFEED_TOKEN": "s3cret"}
    command = [*WEB, "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as web:
        assert web.stdout
        address = web.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=s3cret", address)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(
            address.partition("?")[0] + "api/market", headers={"Authorization": "Bearer s3cret"}
        )
        told = direct.open(request, timeout=60).read()
        # No store yet is no reason not to begin.
        assert b"does not exist" in told
        assert b"barfeed run --catch-up" in told
        web.send_signal(signal.SIGTERM)
        assert web.wait(60) in {0, -signal.SIGTERM}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("host", "is_own"),
    [("127.0.0.1", True), ("127.8.9.10", True), ("::1", True), ("LocalHost", True), ("", False), ("0.0.0.0", False),
     ("::", False), ("10.0.0.1", False), ("localhost.example", False)],
)  # fmt: skip
def test_loopback_is_told_from_all_else(host: str, is_own: bool) -> None:
    assert is_loopback(host) is is_own
