"""Gathering files of the host with all that makes them work: links, libraries, interpreters."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field

from jailkit.elf import Library
from jailkit.elf.reader import MAGIC
from jailkit.errors import ElfError
from jailkit.host import Host, Walk
from jailkit.linux.shebang import shebang_words
from jailkit.plan.model import Because, Copy, Directory, Entry, Reason, Symlink

SPECIAL_BITS = stat.S_ISUID | stat.S_ISGID
_MAX_SCRIPTS = 20


@dataclass
class Batch:
    """What one entry of the profile brings, and what the host could not give for it."""

    entries: dict[str, Entry] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, entry: Entry) -> None:
        """Add an entry; the first one for a path wins, so that the shortest chain of reasons is kept."""
        self.entries.setdefault(entry.path, entry)


class Gatherer:
    """Follows files of one host. What it finds goes into the batch that is current."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.batch = Batch()
        self._scripts = 0

    def file(self, path: str, reason: Reason, *, tolerant: bool = False) -> str | None:
        """Gather a host file under its own path, with its links, libraries and interpreters.

        With `tolerant`, a dependency that the host lacks is a note; else it is a problem of the batch. Gives the
        path at which the chain of links ends, or None when no regular file is there.
        """
        walk = self.host.walk(path)
        real = walk.real
        if walk.kernel_tree:
            self.lack(f"{path} leads into {walk.kernel_tree}, which belongs to the kernel", tolerant=tolerant)
            return None
        reason = self.links(walk, path, reason)
        if real in self.batch.entries:
            return real
        status = self.host.lstat(real)
        if status is None or not stat.S_ISREG(status.st_mode):
            what = "does not exist" if status is None else "is not a regular file"
            self.lack(f"{path} {what} on this host{_wanted_by(reason)}", tolerant=tolerant)
            return None
        self.batch.add(Copy(real, real, reason, mode=copied_mode(status)))
        self.dependencies(real, reason.key, executable=bool(status.st_mode & 0o111), tolerant=tolerant)
        return real

    def links(self, walk: Walk, path: str, reason: Reason) -> Reason:
        """Gather the links on the way to `path`; gives the reason for what is at their end."""
        for link in walk.links:
            self.batch.add(Symlink(link.path, link.target, reason if link.last else _parent_of(path, reason)))
            if link.last:
                reason = Reason(reason.key, "link", link.path)
        return reason

    def dependencies(self, source: str, key: str, *, executable: bool, tolerant: bool, at: str | None = None) -> None:
        """Gather what a regular file of the host needs, whose path holds no link. `at` is its path in the jail."""
        via = at or source
        head = self.host.head(source)
        if head.startswith(MAGIC):
            if not (tolerant and _is_object(head)):
                self._libraries(source, key, via, tolerant=tolerant)
        elif executable and (words := shebang_words(head)):
            self.script(words, key, via, tolerant=tolerant)

    def _libraries(self, source: str, key: str, via: str, *, tolerant: bool) -> None:
        try:
            closure = self.host.loader.closure(source)
        except ElfError as error:
            self.lack(error.brief if source in error.brief else f"{source}: {error.brief}", tolerant=tolerant)
            return
        if tolerant and closure.missing and self._is_foreign(source):
            return
        for missing in closure.missing:
            wanter = via if missing.needed_by in (source, closure.file) else missing.needed_by
            self.lack(f"library {missing.name} is not on this host, wanted by {wanter}", tolerant=tolerant)
        if closure.interpreter:
            self.file(closure.interpreter, Reason(key, "interpreter", via), tolerant=tolerant)
        for library in closure.libraries:
            self._library(library, key, via if library.needed_by in (source, closure.file) else library.needed_by)

    def _is_foreign(self, source: str) -> bool:
        """Tell whether an ELF file is for another machine or class than the host's shell is: mere data, most often."""
        shell, head = self.host.head(self.host.walk("/bin/sh").real), self.host.head(source)
        return shell.startswith(MAGIC) and (shell[4:6], shell[18:20]) != (head[4:6], head[18:20])

    def _library(self, library: Library, key: str, needed_by: str) -> None:
        via = self.host.walk(needed_by).real if needed_by not in self.batch.entries else needed_by
        self._object(library.path, Reason(key, "library", via))
        for variant in library.variants:
            if variant != library.path:
                self._object(variant, Reason(key, "variant", self.host.walk(library.path).real))

    def _object(self, path: str, reason: Reason) -> None:
        """Gather a file that the loader model has read already: its links and itself, not its closure again."""
        walk = self.host.walk(path)
        reason = self.links(walk, path, reason)
        status = self.host.lstat(walk.real)
        if status is not None:
            self.batch.add(Copy(walk.real, walk.real, reason, mode=copied_mode(status)))

    def script(self, words: tuple[str, ...], key: str, via: str, *, tolerant: bool) -> None:
        """Gather an interpreter, which may be a script itself; the kernel follows five of them (execve(2))."""
        if self._scripts == _MAX_SCRIPTS:
            self.lack(f"{via} is one of more than {_MAX_SCRIPTS} scripts that run each other", tolerant=tolerant)
            return
        self._scripts += 1
        try:
            self._interpreter(words, key, via, tolerant=tolerant)
        finally:
            self._scripts -= 1

    def _interpreter(self, words: tuple[str, ...], key: str, via: str, *, tolerant: bool) -> None:
        interpreter = self.file(words[0], Reason(key, "script-interpreter", via), tolerant=tolerant)
        if interpreter and os.path.basename(words[0]) == "env" and len(words) > 1:
            self._env_target(words[1], Reason(key, "script-interpreter", via), tolerant=tolerant)

    def _env_target(self, argument: str, reason: Reason, *, tolerant: bool) -> None:
        name = env_program(argument)
        if name is None:
            return
        path = name if name.startswith("/") else self.host.which(name)
        if path is None:
            self.lack(f"{name} is not on this host's PATH, wanted by {reason.via}", tolerant=tolerant)
        else:
            self.file(path, reason, tolerant=tolerant)

    def tree(self, top: str, target: str, reason: Reason) -> None:
        """Gather a directory of the host and all below it as `target`; sockets, FIFOs and devices are left out."""
        status = self.host.lstat(top)
        self.batch.add(Directory(target, reason, mode=0o755 if status is None else status.st_mode & 0o1755))
        inside, length = Reason(reason.key, "tree", target), len(top.rstrip("/"))
        for path, status in self.host.list_tree(top):
            # One object for both paths where they are the same: a tree may have very many.
            self.tree_member(path, path if top == target else target + path[length:], status, inside)

    def tree_member(self, path: str, target: str, status: os.stat_result, reason: Reason) -> None:
        """Gather one path of a tree or of a package; what it depends on is wanted, not demanded."""
        if stat.S_ISDIR(status.st_mode):
            self.batch.add(Directory(target, reason, mode=status.st_mode & 0o1755))
        elif stat.S_ISLNK(status.st_mode):
            self.tree_link(path, target, reason)
        elif stat.S_ISREG(status.st_mode):
            self.batch.add(Copy(target, path, reason, mode=copied_mode(status)))
            self.dependencies(path, reason.key, executable=bool(status.st_mode & 0o111), tolerant=True, at=target)
        else:
            self.batch.notes.append(f"{path} is neither file, directory nor link: left out")

    def tree_link(self, path: str, target: str, reason: Reason) -> None:
        """Gather a link found in a tree as a link, if it leads to something; at its own path with that, if a file."""
        walk = self.host.walk(path)
        status = self.host.lstat(walk.real)
        if status is None or stat.S_ISLNK(status.st_mode):
            self.batch.notes.append(f"{path} points to {walk.real}, which is not on this host: left out")
        elif path != target:
            self.batch.add(Symlink(target, os.readlink(self.host.real_path(path)), reason))
        elif stat.S_ISREG(status.st_mode):
            self.file(path, reason, tolerant=True)
        else:
            self.batch.add(Symlink(path, os.readlink(self.host.real_path(path)), reason))

    def lack(self, message: str, *, tolerant: bool) -> None:
        """Record something that the host cannot give."""
        (self.batch.notes if tolerant else self.batch.problems).append(message)


def env_program(argument: str) -> str | None:
    """Give what `#!/usr/bin/env [-S] [OPTION]... [NAME=VALUE]... program` will run (env(1)), or None."""
    split = re.sub(r"^(-[iv0]*S|--split-string=)", "", argument)
    words = iter(split.split())
    for word in words:
        if word in ("-u", "-C"):
            next(words, None)
        elif not word.startswith("-") and "=" not in word:
            return word
    return None


def copied_mode(status: os.stat_result) -> int:
    """Give the mode of a copy: the host's, without setuid, setgid and write permission for everybody."""
    return stat.S_IMODE(status.st_mode) & ~SPECIAL_BITS & ~0o002


def _is_object(head: bytes) -> bool:
    """Tell a relocatable object file from its ELF header (elf(5), e_type): whatever brought it, nothing loads it."""
    return head[16:18] == (b"\1\0" if head[5:6] == b"\1" else b"\0\1")


def _parent_of(path: str, reason: Reason) -> Reason:
    return Reason(reason.key, "parent", path if reason.via is None else reason.via)


def _wanted_by(reason: Reason) -> str:
    because: dict[Because, str] = {
        "interpreter": "the loader of", "script-interpreter": "the interpreter of", "library": "a library of",
        "link": "the target of",
    }  # fmt: skip
    return f", {because.get(reason.because, 'wanted by')} {reason.via}" if reason.via else ""
