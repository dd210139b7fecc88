"""Coverage-guided fuzzing with atheris, one target after the other: a process of its own.

Only the proxy's modules are instrumented, and before anything else imports them. libFuzzer ends
the process that it runs in, so each target gets a fork, and the import is paid for once.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import atheris

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fuzz.target import Target

CORPUS = Path(__file__).parent.parent / "corpus"
# Instrumented code is several times slower; what is really slow is told when it is not.
SUSPECT_SECONDS = 0.05
LONGEST_INPUT = 8192
HANGS_AFTER_SECONDS = 20
MOST_MEGABYTES = 1024


def main() -> None:
    """Fuzz the targets named, each for so many seconds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("targets", nargs="+")
    options = parser.parse_args()
    with atheris.instrument_imports(include=["proxy"]):
        from tests.fuzz.targets import EVERY  # noqa: PLC0415  instrumented from here on
    for name in options.targets:
        pid = os.fork()
        if pid == 0:
            _fuzz(EVERY[name], options.out / name, options.seconds, options.seed)
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        (options.out / name / "status").write_text(str(code), encoding="ascii")


def _fuzz(target: Target, out: Path, seconds: float, seed: int) -> None:
    """Fuzz one target; does not return."""
    found = out / "corpus"
    found.mkdir(parents=True)
    dictionary = out / "words"
    dictionary.write_text("".join(map(_entry, target.words)), encoding="ascii")
    log = os.open(out / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    arguments = [
        sys.argv[0],
        f"-max_total_time={max(1, round(seconds))}",
        f"-seed={seed}",
        f"-max_len={LONGEST_INPUT}",
        f"-timeout={HANGS_AFTER_SECONDS}",
        f"-rss_limit_mb={MOST_MEGABYTES}",
        f"-artifact_prefix={out}/",
        f"-dict={dictionary}",
        "-print_final_stats=1",
        str(found),
    ]
    if (CORPUS / target.name).is_dir():
        arguments.append(str(CORPUS / target.name))
    atheris.Setup(arguments, _timed(target, out))
    atheris.Fuzz()


def _timed(target: Target, out: Path) -> Callable[[bytes], None]:
    """Return the target, keeping those of its inputs that it takes longest for."""
    worst = SUSPECT_SECONDS

    def run(content: bytes) -> None:
        nonlocal worst
        began = time.thread_time()
        target(content)
        taken = time.thread_time() - began
        if taken > worst:
            worst = 1.5 * taken
            name = hashlib.sha1(content, usedforsecurity=False).hexdigest()
            (out / f"slow-{name}").write_bytes(content)

    return run


def _entry(word: bytes) -> str:
    """Return a line of libFuzzer's dictionary."""
    return '"' + "".join(f"\\x{byte:02X}" for byte in word[:64]) + '"\n'


if __name__ == "__main__":
    main()
