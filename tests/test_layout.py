"""The house keeps its order: a test file for every module, and packages that hold no code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

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


def test_layout__sees_the_modules() -> None:
    """The walk finds modules at the top and inside packages: an empty one would prove nothing."""
    assert {Path("pull.py"), Path("spec/digest.py")} <= set(MODULES)
    assert Path("proxy/__init__.py") in PACKAGES
