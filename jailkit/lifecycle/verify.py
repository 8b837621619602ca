"""Verifying a jail: against its manifest, its own loader, the host it came from, and its smoke commands."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from jailkit.backends import backend_for
from jailkit.backends.base import ExecRequest, ExecResult
from jailkit.elf import Loader
from jailkit.errors import ElfError, JailkitError, PlanError, StateError
from jailkit.host import Host
from jailkit.lifecycle.drift import by_inhabitant, changed_source, drifts
from jailkit.lifecycle.place import hindrances
from jailkit.linux.attempt import answer
from jailkit.linux.paths import Tree
from jailkit.manifest import Manifest, Record
from jailkit.plan.guard import is_open, is_system, system_places
from jailkit.plan.model import Smoke
from jailkit.plan.tidy import canonical
from jailkit.store import Jail, Store, read_jail
from jailkit.store.privilege import as_root

Check = Literal[
    "content", "mode", "owner", "type", "target", "device", "missing", "extra", "unread", "setuid", "writable",
    "capabilities", "unresolved", "dangling", "interpreter", "stale", "smoke", "mount",
]  # fmt: skip

_MATCHING_SECONDS = 10  # of CPU


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be. `package` owns the file on the host."""

    check: Check
    path: str
    message: str
    package: str | None = None


@dataclass(slots=True)
class Verification:
    """What verifying found. `notes` are data of the jail's own user and the like: no findings."""

    name: str
    findings: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    paths: int = 0
    smoke: int = 0

    @property
    def ok(self) -> bool:
        """True when nothing was found."""
        return not self.findings


def verify(name: str, store: Store, *, smoke: bool = True, host: Host | None = None) -> Verification:
    """Check a whole jail; changes nothing but what its smoke commands do inside.

    Raises:
        StateError: there is no such jail, or its records cannot be read.
        PrivilegeError: it belongs to another user.
    """
    host = host or Host()
    with store.locked(name, exclusive=False) as directory:
        jail = read_jail(directory)
        result = as_root(lambda _: _check_files(jail, read_manifest(jail), host))
        result.findings += [Finding("mount", "/", message) for message in hindrances(jail.rootfs)]
        if smoke:
            result.smoke = len(jail.runtime.smoke)
            result.findings += _smokes(jail)
    result.findings.sort(key=lambda finding: (finding.path, finding.check))
    return result


def _check_files(jail: Jail, manifest: Manifest, host: Host) -> Verification:
    result = Verification(jail.name, paths=len(manifest.records))
    with _open_tree(jail) as tree:
        _check_tree(jail, tree, manifest, result)
        result.findings += _privileges(tree, manifest)
        result.findings += _links(jail, tree, manifest)
        result.findings += _programs(jail, manifest, host)
    result.findings += _stale(manifest, host)
    return result


def _open_tree(jail: Jail) -> Tree:
    try:
        return Tree(jail.rootfs)
    except OSError as error:
        raise StateError(
            f"cannot verify jail {jail.name}: its tree {jail.rootfs}: {error.strerror}",
            resolution=f"jailkit update {jail.name}",
        ) from error


def read_manifest(jail: Jail) -> Manifest:
    """Read the manifest of a jail.

    Raises:
        StateError: it is gone or damaged.
    """
    try:
        with open(jail.manifest, encoding="utf-8") as file:
            return Manifest.loads(file.read())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StateError(
            f"cannot read the manifest of jail {jail.name}: {error}",
            resolution=f"take what is yours from {jail.rootfs}, then jailkit destroy {jail.name} and create it again",
        ) from error


def _check_tree(jail: Jail, tree: Tree, manifest: Manifest, result: Verification) -> None:
    """Find what differs. Where the jail's user may write it is data, but nobody may write to a shared tree."""
    for drift in drifts(tree, manifest, jail.shift):
        record = manifest.records.get(drift.path)
        package = record.package if record else None
        surprise = _surprise(drift.status, record)
        found = Finding(drift.difference, drift.path, drift.message, package)
        if surprise is None and jail.image is None and by_inhabitant(drift, manifest):
            result.notes.append(found)
            continue
        if surprise is None or record is not None:
            result.findings.append(found)
        if surprise is not None and drift.difference in ("mode", "type", "extra"):
            result.findings.append(Finding(surprise, drift.path, _SURPRISES[surprise], package))


_SURPRISES: dict[Check, str] = {
    "setuid": "has setuid or setgid, which it was not made with",
    "device": "is a device, which it was not made as",
}


def _surprise(status: os.stat_result | None, record: Record | None) -> Check | None:
    """Say what is dangerous about a file that differs, wherever it is: nobody's data need be a device or setuid."""
    mode = 0 if status is None else status.st_mode
    if stat.S_ISREG(mode) and mode & ~(record.mode if record else 0) & (stat.S_ISUID | stat.S_ISGID):
        return "setuid"
    if (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)) and (record is None or record.kind != "device"):
        return "device"
    return None


def _privileges(tree: Tree, manifest: Manifest) -> Iterator[Finding]:
    """Find sensitive directories that were made writable, and file capabilities that nobody asked for."""
    places = system_places({path: record.target for path, record in manifest.records.items() if record.target})
    for record in manifest.records.values():
        if record.kind == "directory" and is_open(record) and is_system(record.path, places):
            yield Finding("writable", record.path, "others than root may write to it")
        elif record.kind == "file" and not record.privileged and _has_capabilities(tree, record.path):
            yield Finding("capabilities", record.path, "has file capabilities that the profile does not keep")


def _has_capabilities(tree: Tree, path: str) -> bool:
    try:
        descriptor = tree.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return bool(os.getxattr(descriptor, "security.capability"))
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _links(jail: Jail, tree: Tree, manifest: Manifest) -> Iterator[Finding]:
    links = {path: record.target for path, record in manifest.records.items() if record.target}
    devices = {f"/dev/{name}" for name in jail.runtime.devices}  # not in the tree at levels that mount a /dev
    for record in manifest.records.values():
        if record.kind != "symlink" or _resolves(tree, record.path):
            continue
        if _was_whole(record, manifest, links) and _end(record.path, links) not in devices:
            yield Finding("dangling", record.path, f"points to {record.target}, which is not in the jail")


def _was_whole(record: Record, manifest: Manifest, links: dict[str, str]) -> bool:
    """Tell whether a link led somewhere when the jail was made. One of the profile's own need not: `create` says so."""
    if not record.reason.key.startswith("symlinks:"):
        return True
    return _end(record.path, links) in manifest.records


def _end(path: str, links: dict[str, str]) -> str | None:
    """Give where a link was made to lead; None for a loop."""
    try:
        return canonical(path, links, follow_last=True)
    except PlanError:
        return None


def _resolves(tree: Tree, path: str) -> bool:
    try:
        os.close(tree.open_inside(path, os.O_PATH))
    except OSError:
        return False
    return True


def _programs(jail: Jail, manifest: Manifest, host: Host) -> Iterator[Finding]:
    """Ask the loader model, with the jail as its root, whether every program finds its libraries and interpreter."""
    loader = Loader(jail.rootfs)
    inside = Host(jail.rootfs)
    for record in manifest.records.values():
        if record.kind != "file" or record.source is None:
            continue
        if loader.is_elf(record.path):
            for name in _lacking(loader, record.path) - _lacking(host.loader, record.source):
                yield Finding("unresolved", record.path, f"does not find {name} in the jail", record.package)
        elif record.mode & 0o111 and (interpreter := _absent_interpreter(inside, host, record.path)):
            message = f"its interpreter {interpreter} is not in the jail"
            yield Finding("interpreter", record.path, message, record.package)


def _absent_interpreter(inside: Host, host: Host, path: str) -> str | None:
    """Name the interpreter of a script if the jail lacks it. One that the host lacks too was never promised."""
    words = inside.shebang(path)
    if words and host.is_program(words[0]) and not inside.is_program(words[0]):
        return words[0]
    return None


def _lacking(loader: Loader, path: str) -> set[str]:
    """Give what a file needs and does not find: libraries, and the loader that it names."""
    try:
        closure = loader.closure(path)
    except ElfError:
        return {"a usable form of itself"}  # The reason names the path, which differs from that on the host.
    return {missing.name for missing in closure.missing}


def _stale(manifest: Manifest, host: Host) -> Iterator[Finding]:
    for record in manifest.records.values():
        if record.source is not None and (why := changed_source(record.source, record, host)) is not None:
            yield Finding("stale", record.path, f"{record.source} {why}", record.package)


def _smokes(jail: Jail) -> Iterator[Finding]:
    backend = backend_for(jail.level)
    for number, smoke in enumerate(jail.runtime.smoke):
        request = ExecRequest(
            smoke.command, user=smoke.user, timeout=smoke.timeout, stdin=smoke.stdin.encode(), capture=True
        )
        try:
            problem = judge_smoke(smoke, backend.exec(jail, request))
        except JailkitError as error:
            problem = error.brief
        if problem is not None:
            yield Finding("smoke", f"smoke[{number}]", f"{_first_line(smoke.command)}: {problem}")


def _first_line(command: tuple[str, ...]) -> str:
    """Show a command; of a script within it, only the beginning."""
    line, _, rest = " ".join(command).partition("\n")
    return f"{line} ..." if rest else line


def judge_smoke(smoke: Smoke, result: ExecResult) -> str | None:
    """Say how a result differs from what a smoke command must give, or None."""
    stdout = (result.stdout or b"").decode("utf-8", "replace")
    stderr = (result.stderr or b"").decode("utf-8", "replace").strip()
    if result.reason != "exited" or result.exit_code != smoke.exit_code:
        why = result.message.splitlines()[0] if result.message else _ended(smoke, result)
        said = f" (stderr: {stderr[-300:]})" if stderr else f" (stdout: {stdout[-300:]})" if stdout else ""
        return f"{why}, expected exit code {smoke.exit_code}{said}"
    if smoke.stdout_equals is not None and stdout != smoke.stdout_equals:
        return f"printed {stdout[:200]!r}, expected {smoke.stdout_equals[:200]!r}"
    if smoke.stdout_contains is not None and smoke.stdout_contains not in stdout:
        return f"printed {stdout[:200]!r}, which does not contain {smoke.stdout_contains!r}"
    if smoke.stdout_matches is not None:
        return _mismatch(smoke.stdout_matches, stdout)
    return None


def _ended(smoke: Smoke, result: ExecResult) -> str:
    if result.reason == "timeout":
        return f"not done after {smoke.timeout:g} s"
    if result.signal is not None:
        return f"ended by signal {result.signal}"
    return f"exited with {result.exit_code}" if result.reason == "exited" else f"ended by {result.reason}"


def _mismatch(pattern: str, stdout: str) -> str | None:
    """Search in a child: a short expression may take longer than the universe has, and cannot be interrupted."""
    try:
        found = answer(lambda: re.search(pattern, stdout) is not None, _MATCHING_SECONDS)
    except OSError as error:
        return f"printed {stdout[:200]!r}, in which {pattern!r} could not be looked for: {error.strerror}"
    if found is None:
        return f"printed {stdout[:200]!r}, in which {pattern!r} was not found in {_MATCHING_SECONDS} s of CPU time"
    return None if found else f"printed {stdout[:200]!r}, which does not match {pattern!r}"
