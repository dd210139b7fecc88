"""The search for planted secrets finds them: in every output, in every encoding."""

from __future__ import annotations

import base64
import re
import sys
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.peers import ROOT, run
from tests.secrets import PLANTED, found_in

if TYPE_CHECKING:
    from pathlib import Path

SECRET = f"{PLANTED}secret"
# Which secret is written how, in tests of their own that a run of pytest of its own finds.
LEAKS = """
import logging, subprocess, sys
import structlog
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from structlog.testing import capture_logs

SECRET = bytes.fromhex("{hexadecimal}").decode()

def test_leak_output(): print(SECRET)
def test_leak_errors(): sys.stderr.write(SECRET)
def test_leak_log(): logging.getLogger("x").warning("%s", SECRET)
def test_leak_process(): subprocess.run(["echo", SECRET], capture_output=True, check=True)
def test_leak_structlog():
    with capture_logs():
        structlog.get_logger().error("x", secret=SECRET)
def test_leak_failing():
    print(SECRET)
    raise AssertionError
async def test_leak_process_of_asyncio():
    import asyncio
    process = await asyncio.create_subprocess_exec("echo", SECRET, stdout=asyncio.subprocess.PIPE)
    await process.communicate()
async def test_leak_body():
    await web.Response(text=SECRET).prepare(make_mocked_request("GET", "/"))
async def test_leak_header():
    await web.Response(headers=dict(X=SECRET)).prepare(make_mocked_request("GET", "/"))
async def test_well_token():
    await web.Response(text=SECRET).prepare(make_mocked_request("GET", "/token?x"))
async def test_well_location():
    reply = web.Response(headers=dict(Location=SECRET))
    await reply.prepare(make_mocked_request("GET", "/"))
def test_well(): print("nothing of that kind")
"""


@pytest.mark.parametrize(
    ("encode", "form"),
    [
        (lambda secret: secret, "plain"),
        (str.upper, "plain"),
        (lambda secret: secret.encode().hex(), "hexadecimal"),
        (lambda secret: quote(secret, safe="").replace("-", "%2d"), "percent-encoded"),
        (lambda secret: base64.b64encode(secret.encode()).decode(), "base64, 0 before"),
        (lambda secret: base64.b64encode(f"user:{secret}".encode()).decode(), "base64, 2 before"),
        (lambda secret: base64.b64encode(f"robot:{secret}".encode()).decode(), "base64, 0 before"),
        (lambda secret: base64.b64encode(f"u1:{secret}x".encode()).decode(), "base64, 0 before"),
        (lambda secret: base64.b64encode(f"use:{secret}".encode()).decode(), "base64, 1 before"),
        (lambda secret: base64.urlsafe_b64encode(secret.encode()).decode(), "base64, 0 before"),
    ],
)
def test_found_in__encodings(encode: object, form: str) -> None:
    """A secret is found in the encodings that HTTP has for it, whatever stands around it."""
    assert callable(encode)

    assert [form] == found_in(f"... {encode(SECRET)} ...".encode())


def test_found_in__nothing() -> None:
    """What holds no secret is found to hold none, words like it included."""
    assert [] == found_in(b"planted, PLANTED_, cGxhbnRlZA==, plant-ed")


async def test_run__fails_where_a_secret_leaks(tmp_path: Path) -> None:
    """Each test whose output holds a planted secret fails, and no other does."""
    leaks = LEAKS.replace("{hexadecimal}", SECRET.encode().hex())
    (tmp_path / "test_leaks.py").write_text(leaks, encoding="utf-8")
    quiet = ("-q", "--show-capture=no", "--tb=no", "-rA", "-p", "no:cacheprovider")
    result = await run(
        *(sys.executable, "-m", "pytest", *quiet, "-p", "tests.secrets", "-p", "pytest_asyncio"),
        *("-o", "asyncio_mode=auto", "--rootdir", str(tmp_path), str(tmp_path)),
        env={"PYTHONPATH": str(ROOT)},
    )
    said = result.stdout.decode()
    bad = set(re.findall(r"^(?:FAILED|ERROR) \S+::(\w+)", said, re.MULTILINE))

    assert set(re.findall(r"test_leak\w*", leaks)) == bad
    assert "in bytes: nothing" not in said
