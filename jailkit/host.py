"""What planning may ask of the real host: its PATH, its links, its loader, its packages, its accounts.

Every question is answered below `root`, which is "/" except in tests, and nothing here writes or executes.
"""

from __future__ import annotations

import contextlib
import glob
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from jailkit.elf import Loader
from jailkit.errors import PlanError
from jailkit.linux.limits import MAX_LINKS
from jailkit.linux.paths import Tree
from jailkit.linux.shebang import BINPRM_BUF_SIZE, shebang_words
from jailkit.profile.paths import is_pattern
from jailkit.profile.pattern import advance, begin

PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
KERNEL_TREES = ("/proc", "/sys", "/dev")  # files in them have no content of their own, and no end
_MAX_COMPARED = 500_000  # names looked at for one pattern: a second or two
_MAX_MATCHES = 50_000
_STATUS_FIELDS = ("Package: ", "Status: ", "Architecture: ", "Version: ")


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link met on the way to a file. `path` has no link among its own parents.

    `last` is True for a link in the place of the file itself, False for one in the place of a parent.
    """

    path: str
    target: str
    last: bool


@dataclass(frozen=True, slots=True)
class Walk:
    """A path followed to its end: the links on the way, and where it ends."""

    links: tuple[Link, ...]
    real: str

    @property
    def kernel_tree(self) -> str | None:
        """/proc, /sys or /dev if the walk ends there or comes through it."""
        paths = [self.real, *(link.path for link in self.links)]
        return next((tree for tree in KERNEL_TREES for path in paths if f"{path}/".startswith(f"{tree}/")), None)


@dataclass(frozen=True, slots=True)
class HostAccount:
    """A line of the host's passwd(5)."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str


class Host:
    """The host below a root directory. Answers are remembered: a plan sees one state of the host."""

    def __init__(self, root: str = "/") -> None:
        self.root = root.rstrip("/")
        self._links: dict[str, str | None] = {}

    @cached_property
    def loader(self) -> Loader:
        """The model of this host's dynamic loader."""
        return Loader(self.root or "/")

    def real_path(self, path: str) -> str:
        """Give the path to open on this machine for a path of this host."""
        return self.root + path

    def walk(self, path: str) -> Walk:
        """Follow every symbolic link of an absolute path, in its parents too (path_resolution(7)).

        Raises:
            PlanError: the links form a loop.
        """
        links: dict[str, Link] = {}
        done: list[str] = []
        todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        followed = 0
        while todo:
            part = todo.pop()
            if part == "..":
                del done[-1:]
                continue
            here = "/" + "/".join([*done, part])
            target = self._readlink(here)
            if target is None:
                done.append(part)
                continue
            followed += 1
            if followed > MAX_LINKS:
                raise PlanError(f"cannot follow {path}: too many symbolic links", resolution="mend the loop of links")
            links[here] = Link(here, target, last=not todo)
            if target.startswith("/"):
                done.clear()
            todo.extend(part for part in reversed(target.split("/")) if part not in ("", "."))
        return Walk(tuple(links.values()), "/" + "/".join(done))

    def _readlink(self, path: str) -> str | None:
        if path not in self._links:
            try:
                self._links[path] = os.readlink(self.root + path)
            except OSError:
                self._links[path] = None
        return self._links[path]

    def lstat(self, path: str) -> os.stat_result | None:
        """Look at a path whose parents hold no link, and not through it; None when nothing is there."""
        try:
            return os.lstat(self.root + path)
        except OSError:
            return None

    def which(self, name: str) -> str | None:
        """Find an executable regular file by name on the system's PATH (not the caller's)."""
        return next((path for path in (f"{folder}/{name}" for folder in PATH) if self.is_program(path)), None)

    def is_program(self, path: str) -> bool:
        """Tell whether a path leads to a regular file that somebody may execute."""
        try:
            status = self.lstat(self.walk(path).real)
        except PlanError:  # A loop of links leads nowhere.
            return False
        return status is not None and stat.S_ISREG(status.st_mode) and bool(status.st_mode & 0o111)

    def glob(self, pattern: str) -> list[str]:
        """Expand the wildcards `*`, `?`, `[...]` and `**` in an absolute path; sorted; nothing when nothing matches.

        Links are followed before the first wildcard and not behind it, so that neither a loop of links nor
        /proc/PID/root can trap it. What the host has in /proc, /sys and /dev is left out.

        Raises:
            PlanError: there are too many paths to look at, or a directory that `**` stands for cannot be read.
        """
        words = [word for word in pattern.split("/") if word]
        place = next((place for place, word in enumerate(words) if is_pattern(word)), len(words))
        top = "".join(f"/{word}" for word in words[:place])
        walk = self.walk(top)
        if walk.kernel_tree:
            return []
        real = walk.real.rstrip("/")
        found = list(islice(self._matches(real, words[place:]), _MAX_MATCHES + 1))
        if len(found) > _MAX_MATCHES:
            raise _too_wide(pattern, f"more than {_MAX_MATCHES} paths match")
        return sorted(top + path[len(real) :] for path in found)

    def _matches(self, top: str, words: list[str]) -> Iterator[str]:
        """Yield the paths below a directory that match, level by level; of a directory only what can match is listed.

        With each directory goes the set of places in `words` that its names are compared with: `**` makes it more than
        one, and no pattern takes longer than the number of comparisons.
        """
        waiting = [(top, begin(words))]
        compared = 0
        while waiting:
            folder, reached = waiting.pop()
            wanted = [words[place] for place in reached if place < len(words)]
            for name, is_folder in self._names(folder, wanted):
                compared += len(reached)
                if compared > _MAX_COMPARED:
                    raise _too_wide("/".join([top, *words]), f"more than {_MAX_COMPARED} names must be looked at")
                after = advance(reached, words, name)
                if not after:
                    continue
                path = f"{folder}/{name}"
                if len(words) in after:
                    yield path
                if is_folder and path not in KERNEL_TREES and any(place < len(words) for place in after):
                    waiting.append((path, after))

    def _names(self, folder: str, wanted: list[str]) -> Iterator[tuple[str, bool]]:
        """Give the names in a directory that may match, and whether each is a directory itself; no link is one."""
        if not any(map(is_pattern, wanted)):
            for name in wanted:
                if status := self.lstat(f"{folder}/{name}"):
                    yield name, stat.S_ISDIR(status.st_mode)
            return
        try:
            with os.scandir(self.root + (folder or "/")) as scanned:
                for entry in scanned:
                    yield entry.name, entry.is_dir(follow_symlinks=False)
        except OSError as error:
            if "**" in wanted and not isinstance(error, FileNotFoundError | NotADirectoryError):
                raise _unreadable(folder, error) from error

    def list_tree(self, top: str) -> Iterator[tuple[str, os.stat_result]]:
        """Yield every path below a directory with its lstat, parents first, sorted, no link followed.

        What the host has in /proc, /sys and /dev is left out.

        Raises:
            PlanError: a directory cannot be read.
        """
        folders = [self._entries(top)]
        while folders:
            found = next(folders[-1], None)
            if found is None:
                folders.pop()
                continue
            yield found
            if stat.S_ISDIR(found[1].st_mode) and found[0] not in KERNEL_TREES:
                folders.append(self._entries(found[0]))

    def _entries(self, folder: str) -> Iterator[tuple[str, os.stat_result]]:
        try:
            with os.scandir(self.root + folder) as scanned:
                found = sorted(_statuses(scanned))
        except OSError as error:
            raise _unreadable(folder, error) from error
        for name, status in found:
            yield f"{folder.rstrip('/')}/{name}", status

    def read_text(self, path: str, limit: int = 1 << 20) -> str | None:
        """Read a small text file, following links; None when it is absent or no regular file."""
        content = self._read(path, limit)
        return None if content is None else content.decode("utf-8", "replace")

    def _read(self, path: str, limit: int) -> bytes | None:
        """Read the beginning of a regular file, its links resolved as a process with this root would."""
        try:
            with Tree(self.root or "/") as tree:
                descriptor = tree.open_inside(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            return None
        try:
            return os.read(descriptor, limit) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
        except OSError:
            return None
        finally:
            os.close(descriptor)

    def head(self, real: str) -> bytes:
        """Read the beginning of a regular file whose path holds no link; nothing when it cannot be read."""
        try:
            descriptor = os.open(self.root + real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            return b""
        try:
            return os.read(descriptor, BINPRM_BUF_SIZE)
        except OSError:
            return b""
        finally:
            os.close(descriptor)

    def shebang(self, path: str) -> tuple[str, ...] | None:
        """Give the words of a script's `#!` line; None when there is none."""
        return shebang_words(self._read(path, BINPRM_BUF_SIZE) or b"")

    def account(self, name: str) -> HostAccount | None:
        """Look a user up in the host's passwd file."""
        for line in (self.read_text("/etc/passwd") or "").split("\n"):
            fields = line.split(":")
            if len(fields) == 7 and fields[0] == name and fields[2].isdigit() and fields[3].isdigit():
                return HostAccount(name, int(fields[2]), int(fields[3]), fields[5], fields[6])
        return None

    def group(self, name: str) -> int | None:
        """Look up the gid of one of the groups that the host's own file lists (group(5))."""
        for line in (self.read_text("/etc/group") or "").split("\n"):
            fields = line.split(":")
            if len(fields) == 4 and fields[0] == name and fields[2].isdigit():
                return int(fields[2])
        return None

    def package_files(self, package: str) -> list[str] | None:
        """List the paths of an installed Debian package (dpkg-query(1), its .list files); None if not installed."""
        if package not in self._installed:
            return None
        info = f"{self.root}/var/lib/dpkg/info"
        for path in [f"{info}/{package}.list", *sorted(glob.glob(f"{info}/{glob.escape(package)}:*.list"))]:
            try:
                with open(path, encoding="utf-8", errors="surrogateescape") as file:
                    return [line for line in file.read().split("\n") if line not in ("", "/.")]
            except OSError:
                continue
        return None

    def owners(self, paths: Iterable[str]) -> dict[str, str]:
        """Tell which package owns each path; a path that no package owns is left out.

        Packages list paths as they were before /bin, /lib and /sbin became links into /usr, so both spellings count.
        """
        wanted: dict[bytes, str] = {}
        for path in paths:
            wanted[os.fsencode(path)] = path
            if path.startswith("/usr/"):
                wanted.setdefault(os.fsencode(path[4:]), path)
        keys = set(wanted)
        found: dict[str, str] = {}
        for package, text in self._package_lists():
            for hit in keys.intersection(text.split(b"\n")):
                found.setdefault(wanted[hit], package)
        return found

    def _package_lists(self) -> Iterator[tuple[str, bytes]]:
        info = f"{self.root}/var/lib/dpkg/info"
        try:
            names = sorted(name for name in os.listdir(info) if name.endswith(".list"))
        except OSError:
            return
        for name in names:
            with open(f"{info}/{name}", "rb") as file:
                yield name[: -len(".list")].split(":")[0], file.read()

    def package_versions(self, packages: Iterable[str]) -> dict[str, str]:
        """Give the version of each package that is installed, from dpkg's status file."""
        wanted = set(packages)
        return {name: self._installed[name] for name in wanted if name in self._installed} if wanted else {}

    @cached_property
    def _installed(self) -> dict[str, str]:
        """Give versions by name and by name:architecture. What was removed has a stanza of its own."""
        found: dict[str, str] = {}
        for stanza in (self.read_text("/var/lib/dpkg/status", limit=64 << 20) or "").split("\n\n"):
            fields = dict(line.split(": ", 1) for line in stanza.split("\n") if line.startswith(_STATUS_FIELDS))
            if fields.get("Status", "").endswith(" installed") and "Package" in fields and "Version" in fields:
                found.setdefault(fields["Package"], fields["Version"])
                found[f"{fields['Package']}:{fields.get('Architecture', '')}"] = fields["Version"]
        return found


def _statuses(scanned: Iterable[os.DirEntry[str]]) -> Iterator[tuple[str, os.stat_result]]:
    for entry in scanned:
        with contextlib.suppress(FileNotFoundError):  # It was deleted meanwhile.
            yield entry.name, entry.stat(follow_symlinks=False)


def _unreadable(folder: str, error: OSError) -> PlanError:
    return PlanError(
        f"cannot read {folder}: {error.strerror}", resolution="run as root, or leave it out of the profile"
    )


def _too_wide(pattern: str, why: str) -> PlanError:
    return PlanError(f"cannot expand {pattern}: {why}", resolution="name the directory where the matches are")
