"""htpasswd: bcrypt alone, one check for many, and no telling who is known."""

from __future__ import annotations

import asyncio
import threading
from collections import UserDict
from typing import TYPE_CHECKING

import bcrypt
import pytest

from proxy.errors import ConfigError, Overloaded
from proxy.htpasswd import Htpasswd
from tests.peers import HTPASSWD_U_P
from tests.registry import basic_authorization
from tests.upstream.test_tokens import Clock

if TYPE_CHECKING:
    from pathlib import Path

RIGHT = basic_authorization("u", "p")
HASH = HTPASSWD_U_P.partition(":")[2]


def hashed(password: str) -> bytes:
    """Return a cheap hash."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4))


def loaded(directory: Path, text: str) -> Htpasswd:
    """Return the users of a file with this text."""
    file = directory / "htpasswd"
    file.write_text(text, encoding="utf-8")
    return Htpasswd.load(file)


class Counting(UserDict[str, bytes]):
    """Hashes that count how often one is looked up."""

    asked = 0

    def __getitem__(self, key: str) -> bytes:
        """Count and look up."""
        self.asked += 1
        return super().__getitem__(key)


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        (RIGHT, True),
        (RIGHT.replace("Basic", "bAsIc"), True),
        (RIGHT.replace("Basic", "Basic "), True),
        (basic_authorization("u", "q"), False),
        (basic_authorization("u", ""), False),
        (basic_authorization("U", "p"), False),
        (basic_authorization("nobody", "p"), False),
        (basic_authorization("", ""), False),
        (basic_authorization("u", "p\0"), False),
        (basic_authorization("u", "p" * 100), False),
        (basic_authorization("a:b", "p"), False),
        (None, False),
        ("", False),
        ("Basic", False),
        ("Basic !", False),
        ("Basic ä", False),
        ("Basic dTpw\n", True),
        ("Basic dXA=", False),
        ("Bearer dTpw", False),
        ("dTpw", False),
    ],
)
async def test_admits__who_has_the_password(
    tmp_path: Path, authorization: str | None, expected: bool
) -> None:
    """A user with the right password, and nobody else."""
    assert expected is await loaded(tmp_path, HTPASSWD_U_P + "\n").admits(authorization, "a")


async def test_admits__long_and_foreign_passwords() -> None:
    """Bcrypt reads 72 bytes of a password, as every tool that makes such files does."""
    users = Htpasswd({"long": hashed("x" * 72), "ü": hashed("pä:ß")})

    assert await users.admits(basic_authorization("long", "x" * 90), "a")
    assert not await users.admits(basic_authorization("long", "x" * 71), "a")
    assert await users.admits(basic_authorization("ü", "pä:ß"), "a")


def test_load__comments_and_blank_lines(tmp_path: Path) -> None:
    """Blank lines and comments are no users; every bcrypt prefix is."""
    text = (
        f"# users\n\n{HTPASSWD_U_P}\r\na:{HASH.replace('2y', '2a')}\nb:{HASH.replace('2y', '2b')}"
    )

    assert {"u", "a", "b"} == set(loaded(tmp_path, text)._hashes)


async def test_load__with_a_byte_order_mark(tmp_path: Path) -> None:
    """A mark that an editor has put before the text is no part of the first user's name."""
    users = loaded(tmp_path, "\ufeff" + HTPASSWD_U_P)

    assert await users.admits(basic_authorization("u", "p"), "a")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f"{HTPASSWD_U_P}\nv:$apr1$planted-hunter2$abc\n",
            "line 2: expected user:hash with a bcrypt",
        ),
        ("\n\nv:planted-hunter2", "line 3: expected user:hash"),
        ("v:{SHA}planted-hunter2", "line 1: expected"),
        ("planted-hunter2", "line 1: expected"),
        (f":{HASH}", "line 1: expected"),
        (f"v:{HASH[:-1]}", "line 1: expected"),
        (f"v:{HASH.replace('$05$', '$99$')}", "line 1: expected"),
        (f"{HTPASSWD_U_P}\n{HTPASSWD_U_P}", "line 2: this user has a line already"),
        ("# nobody\n", "names no user"),
        ("", "names no user"),
    ],
)
def test_load__refused_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    """What is no bcrypt entry is refused by its line, without its content."""
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, text)

    assert expected in str(error.value)
    assert "planted-hunter2" not in str(error.value)


def test_load__no_file(tmp_path: Path) -> None:
    """A file that is not there, or no text, is named."""
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        Htpasswd.load(tmp_path / "htpasswd")
    (tmp_path / "htpasswd").write_bytes(b"\xff:x")
    with pytest.raises(ConfigError, match="UTF-8"):
        Htpasswd.load(tmp_path / "htpasswd")


async def test_admits__right_ones_are_remembered_for_minutes() -> None:
    """A right password is checked once in five minutes, a wrong one each time."""
    hashes, clock = Counting(u=hashed("p")), Clock()
    users = Htpasswd(hashes, clock=clock)
    hashes.asked = 0
    assert [True] * 3 == [await users.admits(RIGHT, "a") for _ in range(3)]
    assert 1 == hashes.asked
    clock.now += 301

    assert await users.admits(RIGHT, "a")
    assert 2 == hashes.asked
    wrong = basic_authorization("u", "q")
    assert [False] * 3 == [await users.admits(wrong, "a") for _ in range(3)]
    assert 5 == hashes.asked


async def test_admits__no_password_is_kept() -> None:
    """What is remembered is a keyed hash: another process's key gives another one."""
    first, second = Htpasswd({"u": hashed("p")}), Htpasswd({"u": hashed("p")})
    await first.admits(RIGHT, "a")
    await second.admits(RIGHT, "a")
    (one,), (other,) = list(first._known), list(second._known)

    assert (64, 64) == (len(one), len(other))
    assert one != other


async def test_admits__one_check_for_a_crowd() -> None:
    """The many requests of one pull cost one check."""
    hashes = Counting(u=hashed("p"))
    users = Htpasswd(hashes)
    hashes.asked = 0

    assert [True] * 50 == await asyncio.gather(*(users.admits(RIGHT, "a") for _ in range(50)))
    assert 1 == hashes.asked


async def test_admits__a_flood_is_turned_away() -> None:
    """Of a flood of wrong passwords most are told to come again; the right one comes later."""
    users = Htpasswd({"u": hashed("p")})
    flood = [users.admits(basic_authorization("u", str(number)), "a") for number in range(200)]
    results = await asyncio.gather(*flood, return_exceptions=True)

    assert {False, Overloaded} == {
        type(one) if isinstance(one, Exception) else one for one in results
    }
    assert 2 + 64 == results.count(False)
    assert await users.admits(RIGHT, "a")


async def test_admits__a_flood_keeps_nobody_else_out() -> None:
    """Wrong passwords of one address fill the queue; another one's right one finds room at once."""
    users = Htpasswd({"u": bcrypt.hashpw(b"p", bcrypt.gensalt(8))})
    flood = asyncio.gather(
        *(users.admits(basic_authorization("u", str(number)), "a") for number in range(200)),
        return_exceptions=True,
    )
    for _ in range(5):  # turns, until the queue is full
        await asyncio.sleep(0)
    assert 64 == users._admission.waiting

    assert await users.admits(RIGHT, "b")
    assert not flood.done()
    await flood


async def test_admits__who_leaves_takes_no_thread() -> None:
    """Clients that leave before their password is checked cannot make more threads check them."""
    users = Htpasswd({"u": bcrypt.hashpw(b"p", bcrypt.gensalt(8))})
    before = set(threading.enumerate())
    for number in range(20):
        check = users.admits(basic_authorization("u", str(number)), str(number))
        asking = asyncio.create_task(check)
        await asyncio.wait([asking], timeout=0.002)
        asking.cancel()
    names = [thread.name for thread in threading.enumerate() if thread not in before]

    assert all(name.startswith("htpasswd") for name in names)
    assert 1 <= len(names) <= 3
    assert await users.admits(RIGHT, "a")


def test_nobody__costs_as_much_as_the_costliest() -> None:
    """Who is not in the file is checked against a hash of the highest cost, which fits nothing."""
    users = Htpasswd({"a": hashed("p"), "b": bcrypt.hashpw(b"p", bcrypt.gensalt(6))})

    assert users._nobody.startswith(b"$2b$06$")
    assert not bcrypt.checkpw(b"", users._nobody)
