"""The structure of the code: imports go downwards only, and what is dangerous or loud has one place."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import uncovered

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "jailkit"
MODULES = sorted(PACKAGE.rglob("*.py"))
SOURCES = [path for folder in ("jailkit", "tests", "bench", "scripts") for path in (REPOSITORY / folder).rglob("*.py")]

# The lowest layer first. A module imports from layers below its own, and from its own package; never from a
# sibling. `jailkit` itself is the Python API.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "text"),
    ("linux",),
    ("levels",),
    ("elf", "profile"),
    ("seccomp",),
    ("host",),
    ("plan",),
    ("manifest",),
    ("loader_cache",),
    ("realize", "store", "network"),
    ("backends", "probes"),
    ("lifecycle", "doctor"),
    ("api",),
    ("jailkit",),
    ("cli",),
    ("__main__",),
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}

# What costs more to import than a whole `jailkit exec` may take.
HEAVY = ("pydantic", "yaml", "rich", "hashlib", "subprocess", "asyncio", "lxc", "_lxc", "pyroute2", "nftables")


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def part(path: Path) -> str:
    """Name the part of jailkit a file belongs to: `plan` for jailkit/plan/model.py."""
    relative = path.relative_to(PACKAGE)
    name = relative.parts[0] if len(relative.parts) > 1 else relative.stem
    return "jailkit" if name == "__init__" else name


def imported_modules(path: Path) -> Iterator[tuple[int, str]]:
    """Give line and full name of everything a file imports, wherever in the file it does."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def imported_parts(path: Path) -> Iterator[tuple[int, str]]:
    """Give the parts of jailkit that a file imports, with the line."""
    for line, name in imported_modules(path):
        words = name.split(".")
        if words[0] != "jailkit":
            continue
        inner = words[1] if len(words) > 1 else ""
        is_module = (PACKAGE / inner).is_dir() or (PACKAGE / f"{inner}.py").is_file()
        if inner and is_module:
            yield line, inner
        elif inner:
            yield line, "jailkit"


def where(path: Path, line: int) -> str:
    return f"{path.relative_to(REPOSITORY)}:{line}"


def calls(path: Path) -> Iterator[tuple[int, str]]:
    """Give line and dotted name of every call in a file."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


def test_every_module_has_a_layer() -> None:
    assert {part(path) for path in MODULES} <= set(RANK), "give the new part its place in LAYERS"


def test_imports_go_downwards_only() -> None:
    wrong = [
        f"{where(path, line)}: {part(path)} imports {other}"
        for path in MODULES
        for line, other in imported_parts(path)
        if other != part(path) and RANK[other] >= RANK[part(path)]
    ]
    assert wrong == []


def test_no_relative_imports() -> None:
    wrong = [
        where(path, node.lineno)
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert wrong == []


def test_only_linux_touches_ctypes() -> None:
    users = {part(path) for path in MODULES for _, name in imported_modules(path) if name.split(".")[0] == "ctypes"}
    assert users <= {"linux"}


def test_only_one_backend_touches_lxc() -> None:
    users = {path for path in MODULES for _, name in imported_modules(path) if name.split(".")[0] in ("lxc", "_lxc")}
    assert users == {PACKAGE / "backends" / "lxc" / "stage.py"}


def test_only_the_command_line_prints_or_exits() -> None:
    loud = {"print", "input", "exit", "quit", "sys.exit", "click.echo"}
    wrong = [
        f"{where(path, line)}: {name}"
        for path in MODULES
        if part(path) not in ("cli", "__main__")
        for line, name in calls(path)
        if name in loud or name.startswith(("sys.stdout.", "sys.stderr."))
    ]
    wrong += [
        f"{where(path, node.lineno)}: SystemExit"
        for path in MODULES
        if part(path) not in ("cli", "__main__")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Name) and node.id == "SystemExit"
    ]
    assert wrong == []


def test_only_the_command_line_imports_click() -> None:
    users = {part(path) for path in MODULES for _, name in imported_modules(path) if name.split(".")[0] == "click"}
    assert users == {"cli"}


def test_no_shell_anywhere() -> None:
    shells = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "pty.spawn"}
    wrong = [f"{where(path, line)}: {name}" for path in SOURCES for line, name in calls(path) if name in shells]
    wrong += [
        f"{where(path, node.value.lineno)}: shell="
        for path in SOURCES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.keyword)
        and node.arg == "shell"
        and not (isinstance(node.value, ast.Constant) and node.value.value is False)
        and is_subprocess(path, node)
    ]
    assert wrong == []


def is_subprocess(path: Path, keyword: ast.keyword) -> bool:
    """Tell the `shell=` of subprocess from the field of an account."""
    return any(
        isinstance(node, ast.Call) and keyword in node.keywords and ast.unparse(node.func).startswith("subprocess")
        for node in ast.walk(tree(path))
    )


def test_files_stay_small() -> None:
    long = [f"{path}: {count} lines" for path in MODULES if (count := len(path.read_text().splitlines())) > 350]
    assert long == []


def test_no_function_of_the_library_takes_more_than_five_parameters() -> None:
    wrong = [
        f"{where(path, node.lineno)}: {node.name} takes {count}"
        for path in MODULES
        if part(path) not in ("cli", "api")  # Options of commands, and keywords for people who call us.
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (count := len([*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs])) > 5 + is_method(node)
    ]
    assert wrong == []


def is_method(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    arguments = [*node.args.posonlyargs, *node.args.args]
    return bool(arguments) and arguments[0].arg in ("self", "cls")


def imports_of(statement: str) -> set[str]:
    """Run an import in a fresh interpreter and give the top-level packages it brought in."""
    code = f"import sys; {statement}; print(*sys.modules)"
    options = {"capture_output": True, "text": True, "timeout": 60, "env": uncovered.environment()}
    done = subprocess.run([sys.executable, "-c", code], check=True, **options)
    return {name.split(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize("module", ["jailkit", "jailkit.cli.main", "jailkit.cli.exec", "jailkit.cli.run"])
def test_the_quick_commands_import_nothing_heavy(module: str) -> None:
    assert imports_of(f"import {module}") & set(HEAVY) == set()
