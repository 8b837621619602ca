"""Planning: a profile and what the host has become a plan. Nothing is written and nothing is executed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Protocol

from jailkit.errors import ElfError, PlanError
from jailkit.host import Host
from jailkit.levels import LEVELS, LevelName
from jailkit.linux.shebang import shebang_words
from jailkit.plan import hidden
from jailkit.plan.accounts import account_entries, make_accounts, running_user
from jailkit.plan.gather import SPECIAL_BITS, Batch, Gatherer, copied_mode
from jailkit.plan.guard import refuse_open_system
from jailkit.plan.model import (
    Account,
    Copy,
    Device,
    Directory,
    Entry,
    Omission,
    Plan,
    Reason,
    Symlink,
)
from jailkit.plan.runtime import make_runtime
from jailkit.plan.tidy import canonical, dangling_links, tidy
from jailkit.plan.written import OWN_LINK, mount_points, owner_ids, place_volumes, volume_folders, written
from jailkit.profile.model import File, Profile, TextFile
from jailkit.profile.paths import is_below, is_pattern


class _Optional(Protocol):
    @property
    def optional(self) -> bool: ...


def make_plan(profile: Profile, level: LevelName, host: Host) -> Plan:
    """Say everything that `create` will do.

    Raises:
        PlanError: the host lacks something that the profile demands (all of it is named), or two entries collide.
    """
    planner = _Planner(profile, host, mounts=LEVELS[level].mount_namespace)
    entries = planner.entries()
    accounts = planner.accounts
    links = {entry.path: entry.target for entry in entries if isinstance(entry, Symlink)}
    kept = {canonical(path, links, follow_last=True): path for path in profile.keep_privileges}
    omissions = [*planner.omissions, *_unkept(kept, entries)]
    entries = tuple(_keep_privileges(entry, host) if entry.path in kept else entry for entry in entries)
    owners = host.owners(entry.source for entry in entries if isinstance(entry, Copy))
    return Plan(
        profile=profile.name,
        description=profile.description or "",
        level=level,
        entries=entries,
        runtime=make_runtime(profile, accounts, running_user(profile, accounts), place_volumes(profile, links)),
        owners=tuple(sorted(owners.items())),
        packages=tuple(sorted(host.package_versions(owners.values()).items())),
        omissions=tuple(omissions),
        accept_gaps=tuple(profile.accept_gaps),
    )


class _Planner:
    """Walks the keys of one profile and collects what each brings."""

    def __init__(self, profile: Profile, host: Host, *, mounts: bool) -> None:
        self.profile = profile
        self.host = host
        self.mounts = mounts
        self.gatherer = Gatherer(host)
        self.omissions: list[Omission] = []
        self.problems: list[str] = []
        self.accounts: tuple[Account, ...] = ()

    def entries(self) -> tuple[Entry, ...]:
        profile = self.profile
        found: list[list[Entry]] = []
        for binary in profile.binaries:
            found.append(self._batch(f"binaries: {binary.name}", binary, self._binary, binary.name))
        for package in profile.packages:
            found.append(self._batch(f"packages: {package.name}", package, self._package, package.name))
        for library in profile.libraries:
            found.append(self._batch(f"libraries: {library.name}", library, self._library, library.name))
        found += [self._interpreters(path, text) for path, text in profile.text.items()]
        found.append(self._system_files())
        gathered = list(chain.from_iterable(found))
        self.accounts = make_accounts(profile, self.host, _default_shell(gathered))
        explicit: list[Entry] = []
        for file in profile.files:
            owner_ids(
                file.owner, self.accounts
            )  # A wrong owner is the profile's fault, not something that the host lacks.
            explicit += self._batch(f"files: {file.source}", file, self._files, file)
        explicit += written(profile, self.accounts)
        explicit += volume_folders(profile, self.accounts, running_user(profile, self.accounts))
        if self.mounts:
            explicit += self._mount_points()
        if self.problems:
            raise PlanError(
                f"cannot plan {profile.name}: this host lacks {_count(self.problems)}",
                details=self.problems,
                resolution="install what is missing, take it out of the profile, or mark the entry `optional: true`",
            )
        base = [
            *hidden.skeleton(self.host),
            *hidden.devices(profile.devices),
            *account_entries(self.accounts),
        ]
        entries = self._without_dangling(tidy([*base, *gathered, *explicit]))
        refuse_open_system(entries)
        if self.mounts:
            # Their /dev is made at each start. Until here the nodes stood for what links may lead to.
            entries = tuple(entry for entry in entries if not isinstance(entry, Device))
        return entries

    def _mount_points(self) -> Iterator[Entry]:
        for entry, lacking in mount_points(self.profile, self.host):
            yield entry
            if lacking:
                self.problems.append(f"{entry.reason.key}: {lacking}")

    def _without_dangling(self, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        """Take out the links of the host that lead nowhere in the jail.

        Those that the profile itself spells out stay: what they point to may be made later.
        """
        lost = set()
        for link in dangling_links(entries):
            key, why = link.reason.key, f"points to {link.target}, which is not in the jail"
            if key.startswith(OWN_LINK):
                self.omissions.append(Omission(key, why))
            elif link.reason.because != "base":
                self.omissions.append(Omission(key, f"{link.path} {why}: left out"))
                lost.add(link.path)
        return tuple(entry for entry in entries if entry.path not in lost)

    def _batch(self, key: str, item: _Optional, gather: Callable[..., None], *arguments: object) -> list[Entry]:
        """Gather one entry of the profile by itself, so that an optional one is there whole or not at all."""
        batch = self.gatherer.batch = Batch()
        try:
            gather(key, *arguments)
        except PlanError as error:
            batch.problems.append(error.brief)
        self.omissions += [Omission(key, note) for note in batch.notes]
        if not batch.problems:
            return list(batch.entries.values())
        if item.optional:
            self.omissions += [Omission(key, f"{problem}: left out") for problem in batch.problems]
        else:
            self.problems += [f"{key}: {problem}" for problem in batch.problems]
        return []

    def _binary(self, key: str, name: str) -> None:
        path = name if "/" in name else self.host.which(name)
        if path is None:
            self.gatherer.lack(f"{name} is not on this host's PATH", tolerant=False)
        elif not self.host.is_program(path):
            what = "is not an executable file" if self.host.lstat(self.host.walk(path).real) else "does not exist"
            self.gatherer.lack(f"{path} {what} on this host", tolerant=False)
        else:
            self.gatherer.file(path, Reason(key, "named"))

    def _package(self, key: str, name: str) -> None:
        paths = self.host.package_files(name)
        if paths is None:
            self.gatherer.lack(f"package {name} is not installed on this host", tolerant=False)
            return
        absent = 0
        for path in paths:
            walk = self.host.walk(path)
            parent, _, last = path.rpartition("/")
            place = f"{self.host.walk(parent or '/').real.rstrip('/')}/{last}"
            status = self.host.lstat(place)
            if status is None:
                absent += 1
            elif not walk.real.startswith(("/proc/", "/sys/", "/dev/")):
                self.gatherer.tree_member(place, place, status, Reason(key, "package"))
        if absent:
            self.gatherer.lack(f"{absent} of the files of package {name} are not on this host", tolerant=True)

    def _library(self, key: str, name: str) -> None:
        path = name if "/" in name else self._library_path(name)
        if path is None:
            self.gatherer.lack(f"library {name} is not on this host", tolerant=False)
        else:
            self.gatherer.file(path, Reason(key, "named"))

    def _library_path(self, name: str) -> str | None:
        try:
            return self.host.loader.find(name, self.host.walk("/bin/sh").real)
        except ElfError:  # a host without a shell, or with one that no loader would start
            return None

    def _files(self, key: str, item: File) -> None:
        sources = self.host.glob(item.source) if is_pattern(item.source) else [item.source]
        if not sources:
            self.gatherer.lack(
                f"nothing on this host matches {item.source} (past wildcards no link is followed)", tolerant=False
            )
        for source in sources:
            target = _target(item, source, many=is_pattern(item.source))
            if is_pattern(item.source) and any(link.last for link in self.host.walk(source).links):
                self._matched_link(key, source, target)
            else:
                self._file(key, source, target, item)

    def _matched_link(self, key: str, source: str, target: str) -> None:
        """Gather a match that is a link as a tree would: never the content of another file under its name.

        Whoever owns the directory of the matches may have put there a link to a file that only root can read.
        """
        status = self.host.lstat(self.host.walk(source).real)
        if target == source and status is not None and stat.S_ISREG(status.st_mode):
            self.gatherer.file(source, Reason(key, "named"), tolerant=True)
        else:
            self.gatherer.tree_link(source, target, Reason(key, "named"))

    def _file(self, key: str, source: str, target: str, item: File) -> None:
        walk = self.host.walk(source)
        real = walk.real
        status = self.host.lstat(real)
        reason = Reason(key, "named")
        # What a pattern happens to match may be a script whose interpreter nobody uses here.
        tolerant = is_pattern(item.source)
        if status is None:
            self.gatherer.lack(f"{source} does not exist on this host", tolerant=False)
        elif walk.kernel_tree or real == "/":
            self.gatherer.lack(f"{source} is or leads into {walk.kernel_tree or real}: not copied", tolerant=False)
        elif stat.S_ISDIR(status.st_mode):
            self._tree(source, target, item, reason)
        elif not stat.S_ISREG(status.st_mode):
            self.gatherer.lack(f"{source} is neither a file nor a directory", tolerant=False)
        elif not os.access(self.host.real_path(real), os.R_OK):
            self.gatherer.lack(f"{source} cannot be read by this user", tolerant=False)
        elif target == source and item.mode is None and item.owner is None:
            self.gatherer.file(source, reason, tolerant=tolerant)
        else:
            uid, gid = owner_ids(item.owner, self.accounts)
            mode = copied_mode(status) if item.mode is None else item.mode
            self.gatherer.batch.entries[target] = Copy(target, real, reason, mode, uid, gid)
            executable = bool(mode & 0o111)
            self.gatherer.dependencies(real, key, executable=executable, tolerant=tolerant, at=target)

    def _tree(self, source: str, target: str, item: File, reason: Reason) -> None:
        """Gather a directory. One that keeps its path keeps the links that lead to it as well."""
        walk = self.host.walk(source)
        if target == source:
            reason = self.gatherer.links(walk, source, reason)
            target = walk.real
        self.gatherer.tree(walk.real, target, reason)
        self._refine_tree(target, item)

    def _refine_tree(self, target: str, item: File) -> None:
        """Give a copied tree the owner, and its files the mode, that the profile names."""
        if item.mode is None and item.owner is None:
            return
        uid, gid = owner_ids(item.owner, self.accounts)
        batch = self.gatherer.batch
        for path, entry in batch.entries.items():
            # What the tree's programs need is in the batch too, and stays as it is.
            if not is_below(path, target) or entry.reason.because not in ("named", "link", "tree"):
                continue
            if isinstance(entry, Copy):
                mode = entry.mode if item.mode is None else item.mode
                batch.entries[path] = Copy(path, entry.source, entry.reason, mode, uid, gid)
            elif isinstance(entry, Directory):
                batch.entries[path] = Directory(path, entry.reason, entry.mode, uid, gid)

    def _interpreters(self, path: str, text: TextFile) -> list[Entry]:
        """Gather what a script needs that stands in the profile. The host may lack it: the jail may have its own."""
        words = shebang_words(text.content.encode()) if text.mode & 0o111 else None
        if not words:
            return []
        key = f"text: {path}"
        batch = self.gatherer.batch = Batch()
        self.gatherer.script(words, key, path, tolerant=True)
        self.omissions += [Omission(key, note) for note in batch.notes]
        return list(batch.entries.values())

    def _system_files(self) -> list[Entry]:
        batch = self.gatherer.batch = Batch()
        hidden.system_files(self.gatherer)
        self.omissions += [Omission("base", note) for note in batch.notes]
        return list(batch.entries.values())


def _unkept(kept: Mapping[str, str], entries: Sequence[Entry]) -> Iterator[Omission]:
    copies = {entry.path for entry in entries if isinstance(entry, Copy)}
    for place, path in kept.items():
        if place not in copies:
            yield Omission(f"keep-privileges: {path}", "no file is copied there")


def _keep_privileges(entry: Entry, host: Host) -> Entry:
    """Keep setuid and setgid, and with them the owners that they stand for."""
    status = host.lstat(entry.source) if isinstance(entry, Copy) else None
    if not isinstance(entry, Copy) or status is None:
        return entry
    mode = entry.mode | status.st_mode & SPECIAL_BITS
    return replace(entry, mode=mode, uid=status.st_uid, gid=status.st_gid, keep_privileges=True)


def _default_shell(entries: Sequence[Entry]) -> str:
    paths = {entry.path for entry in entries}
    return "/bin/bash" if paths & {"/bin/bash", "/usr/bin/bash"} else "/bin/sh"


def _target(item: File, source: str, *, many: bool) -> str:
    """Give the place of one source: the target itself, or for a pattern the same name below the target."""
    if not many or item.target is None or item.target == item.source:
        return source if item.target in (None, item.source) else item.target
    return f"{item.target.rstrip('/')}/{os.path.basename(source)}"


def _count(problems: Sequence[str]) -> str:
    return f"{len(problems)} thing{'s' if len(problems) != 1 else ''} that it names"
