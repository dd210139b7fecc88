"""Fuzz all targets at once for so long: `python -m tests.fuzz --seconds 600`.

Each processor core gets a process with its share of the targets. What is found is told with the
command that runs it again; the exit code says whether anything was. A fault that was mended is
kept: copy its input to tests/corpus/TARGET/ under a name that says what it was.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.growth import LARGE, SECONDS, machine_factor, seconds
from tests.fuzz.targets import EVERY, TARGETS

ROOT = Path(__file__).parent.parent.parent
MISSING = "atheris is missing: pip install 'regshim[fuzz]' (Linux on x86-64)"
_EXECUTIONS = re.compile(r"^stat::number_of_executed_units: (\d+)$", re.MULTILINE)
_NEW = re.compile(r"^stat::new_units_added: +(\d+)$", re.MULTILINE)
_SHOWN_LINES = 25


def main() -> int:
    """Fuzz, or run one input again; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long, all targets together")
    parser.add_argument("--seed", type=int, default=random.randrange(1, 2**31))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, help="where found inputs go (a new directory)")
    parser.add_argument("--again", nargs=2, metavar=("TARGET", "FILE"), help="run one input again")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="all, if none is named")
    options = parser.parse_args()
    if options.again:
        name, file = options.again
        EVERY[name](Path(file).read_bytes())
        return 0
    if importlib.util.find_spec("atheris") is None:
        _say(MISSING)
        return 2
    out = options.out or Path(tempfile.mkdtemp(prefix="regshim-fuzz-"))
    names = options.targets or list(TARGETS)
    _say(f"{len(names)} targets, seed {options.seed}, inputs in {out}")
    _run(names, out, options.seconds, options.jobs, options.seed)
    faults = sum([_report(name, out / name) for name in names])
    _say(f"{faults} faults found" if faults else "no fault found")
    return 1 if faults else 0


def _run(names: list[str], out: Path, total: float, jobs: int, seed: int) -> None:
    """Fuzz these targets, each for an equal share of the time, in so many processes."""
    jobs = min(jobs, len(names))
    shares = [names[job::jobs] for job in range(jobs)]
    temporary = out / "tmp"
    temporary.mkdir(parents=True)
    # Free of what measures coverage for the test run that this may be a part of.
    environment = {name: value for name, value in os.environ.items() if "COV" not in name}
    environment |= {"PYTHONHASHSEED": "0", "TMPDIR": str(temporary)}
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.fuzz.guided"),
                *("--out", str(out), "--seed", str(seed)),
                *("--seconds", str(total / len(share)), *share),
            ],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for share in shares
    ]
    for process in processes:
        _, said = process.communicate()
        if process.returncode != 0:
            _say(said)


def _report(name: str, out: Path) -> int:
    """Tell what came of one target; return how many faults."""
    log = _text(out / "log")
    executions, new = (pattern.search(log) for pattern in (_EXECUTIONS, _NEW))
    _say(f"{name:20} {_number(executions):>10} runs {_number(new):>6} new inputs")
    found = [path for path in out.glob("*-*") if not path.name.startswith("slow-")]
    found += [path for path in out.glob("slow-*") if _is_slow(name, path.read_bytes())]
    for path in found:
        _say(f"  FAULT: {path.name}: {path.read_bytes()[:200]!r}")
        _say(f"  again: python -m tests.fuzz --again {name} {path}")
    if not found and _text(out / "status") != "0":
        _say("  FAULT: the run broke off")
        found.append(out)
    if found:
        _say("\n".join(f"  | {line}" for line in log.splitlines()[-_SHOWN_LINES:]))
    return len(found)


def _is_slow(name: str, content: bytes) -> bool:
    """Tell whether an input takes too long when nothing is instrumented."""
    return seconds(EVERY[name], content) > SECONDS * machine_factor() * max(1, len(content) / LARGE)


def _number(match: re.Match[str] | None) -> str:
    return f"{int(match[1]):,}" if match else "-"


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
