"""Who may import whom: protocol nobody, storage protocol, gateway both; nobody imports bench or tests."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "protocol": {"protocol"},
    "storage": {"storage", "protocol"},
    "gateway": {"gateway", "storage", "protocol"},
    "bench": {"bench", "gateway", "storage", "protocol"},
    "tests": {"tests", "bench", "gateway", "storage", "protocol"},
}


def imported(source: str) -> Iterator[tuple[int, str]]:
    """Line and top-level package of every import, inside functions and type-checking blocks too."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name.partition(".")[0]) for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield node.lineno, module.partition(".")[0]
            case ast.ImportFrom():
                yield node.lineno, "a relative name"
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__")
            ):
                match node.args:
                    case [ast.Constant(value=str(module)), *_]:
                        yield node.lineno, module.partition(".")[0]
                    case _:
                        yield node.lineno, "a computed name"


def forbidden(package: str, source: str) -> list[str]:
    watched = set(ALLOWED) | {"a relative name", "a computed name"}
    return [
        f"line {line}: {package} imports {name}"
        for line, name in sorted(imported(source))
        if name in watched - ALLOWED[package]
    ]


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_point_one_way(package: str) -> None:
    wrong = {
        str(path.relative_to(ROOT)): found
        for path in sorted((ROOT / package).rglob("*.py"))
        if (found := forbidden(package, path.read_text()))
    }
    assert wrong == {}


CASES = [
    ("protocol", "import storage", ["line 1: protocol imports storage"]),
    ("protocol", "import msgspec, gateway.config", ["line 1: protocol imports gateway"]),
    ("protocol", "from protocol.smpp import codes", []),
    ("storage", "from protocol.smpp.receipt import Receipt", []),
    ("storage", "def f():\n    from gateway import clock", ["line 2: storage imports gateway"]),
    ("gateway", "import storage.log\nfrom protocol import udh", []),
    ("gateway", "from bench.carrier import Carrier", ["line 1: gateway imports bench"]),
    ("gateway", "if TYPE_CHECKING:\n    import tests.world", ["line 2: gateway imports tests"]),
    ("gateway", "importlib.import_module('bench.load')", ["line 1: gateway imports bench"]),
    ("gateway", "__import__('be' + 'nch')", ["line 1: gateway imports a computed name"]),
    ("gateway", "from . import config", ["line 1: gateway imports a relative name"]),
    # Starting the simulator as a process of its own is no import.
    ("gateway", "command = [sys.executable, '-m', 'bench.carrier']", []),
    ("bench", "import gateway.daemon, tests.world", ["line 1: bench imports tests"]),
    ("tests", "import bench, gateway, storage, protocol", []),
]


@pytest.mark.parametrize(("package", "source", "expected"), CASES)
def test_the_check_itself(package: str, source: str, expected: list[str]) -> None:
    assert forbidden(package, source) == expected
