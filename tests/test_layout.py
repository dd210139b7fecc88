"""The house keeps its order: a test file for every module, and packages that hold no code."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
MODULES = sorted(
    path.relative_to(ROOT / "proxy")
    for path in (ROOT / "proxy").rglob("*.py")
    if path.name not in {"__init__.py", "__main__.py"}
)
PACKAGES = sorted(
    path.relative_to(ROOT)
    for top in ("proxy", "tests")
    for path in (ROOT / top).rglob("__init__.py")
)


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_module__has_its_test_file(module: Path) -> None:
    """The tests of proxy/a/b.py stand in tests/a/test_b.py."""
    mirrored = ROOT / "tests" / module.with_name(f"test_{module.name}")

    assert mirrored.is_file(), f"proxy/{module} has no tests/{mirrored.relative_to(ROOT / 'tests')}"


@pytest.mark.parametrize("package", PACKAGES, ids=str)
def test_package__holds_no_code(package: Path) -> None:
    """An `__init__.py` is a docstring and constants at most."""
    body = ast.parse((ROOT / package).read_text(encoding="utf-8")).body
    declarations = (ast.Assign, ast.AnnAssign, ast.Expr)
    code = [
        ast.unparse(statement)
        for statement in body
        if not (isinstance(statement, declarations) and isinstance(statement.value, ast.Constant))
    ]

    assert code == []


def fails_after_reading(pattern: str | bytes) -> bool:
    """Tell whether a possessive group has a repetition that may fail when something was read.

    Before 3.11.5 Python did not give back what such a turn had read, and took it for matched
    (CPython issue 106052); 3.11.2 is what Debian 12 has.
    """
    words: Any = importlib.import_module("re._constants")
    parser: Any = importlib.import_module("re._parser")
    repeats = {words.MAX_REPEAT, words.MIN_REPEAT, words.POSSESSIVE_REPEAT}

    def found(tree: Any) -> bool:  # noqa: ANN401  the parser's own, without types
        for word, argument in tree:
            if word is words.POSSESSIVE_REPEAT:
                later = list(argument[2])[1:]
                if any(one in repeats and least[0] > 0 for one, least in later):
                    return True
            if any(found(part) for part in inner(argument)):
                return True
        return False

    def inner(argument: Any) -> Iterator[Any]:  # noqa: ANN401  as above
        if isinstance(argument, parser.SubPattern):
            yield argument
        elif isinstance(argument, list | tuple):
            for one in argument:
                yield from inner(one)

    return found(parser.parse(pattern))


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_module__has_no_pattern_that_old_pythons_misread(module: Path) -> None:
    """The regular expressions of a module mean the same to every Python that is promised."""
    name = ".".join(("proxy", *module.with_suffix("").parts))
    patterns = [one for one in vars(importlib.import_module(name)).values() if is_pattern(one)]

    assert [] == [one.pattern for one in patterns if fails_after_reading(one.pattern)]


def is_pattern(value: object) -> bool:
    """Tell whether a value is a compiled regular expression."""
    return isinstance(value, re.Pattern)


@pytest.mark.parametrize(
    ("pattern", "misread"),
    [
        ("a++(?:[+.]b++)*+:", True),
        ("x(?:y|a++(?:/b++)*+):", True),
        ("a++(?:[+.]b++)*:", False),
        (r'"(?:[^"]++|\\.)*+"', False),
        (rb'"[^"]*+(?:\\.[^"]*+)*+"', False),
    ],
)
def test_fails_after_reading(pattern: str | bytes, misread: bool) -> None:
    """The check knows the patterns that 3.11.2 was seen to misread, and those that it did not."""
    assert misread is fails_after_reading(pattern)


def test_layout__sees_the_modules() -> None:
    """The walk finds modules at the top and inside packages: an empty one would prove nothing."""
    assert {Path("pull.py"), Path("spec/digest.py")} <= set(MODULES)
    assert Path("proxy/__init__.py") in PACKAGES
