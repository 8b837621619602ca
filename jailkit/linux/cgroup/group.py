"""One group of ours in all trees at once: made, checked, joined, frozen, killed, measured, removed."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from jailkit.linux.cgroup import inmates, make, removal
from jailkit.linux.cgroup.files import folders
from jailkit.linux.cgroup.settings import Setting
from jailkit.linux.cgroup.spot import Spot
from jailkit.linux.cgroup.stats import read_count, read_stats
from jailkit.linux.figures import Stats

_ROUNDS: Final = 1000  # tries to make a group while others remove the ones above it


class Mismatch(NamedTuple):
    """A setting that does not hold: the lines found (None: no such file), and why the kernel refused it, if it said."""

    setting: Setting
    found: frozenset[str] | None
    refusal: str | None = None

    @property
    def why(self) -> str:
        """What is wrong, in words."""
        if self.refusal:
            return self.refusal
        lines = "nothing" if self.found is None else ", ".join(sorted(self.found)) or "an empty list"
        return f"{self.setting.file} shows {lines}, not {', '.join(sorted(self.setting.shows))}"

    def __str__(self) -> str:
        return f"{self.setting.limit}: {self.why}"


class LimitsRefusedError(OSError):
    """Limits that the kernel does not show after they were written."""

    def __init__(self, mismatches: Sequence[Mismatch]) -> None:
        self.mismatches = tuple(mismatches)
        super().__init__(errno.EINVAL, "; ".join(str(mismatch) for mismatch in mismatches))


class Group(Spot):
    """A jail's group, or that of one of its instances. Methods raise OSError with operation and path."""

    __slots__ = ()

    @property
    def whole(self) -> Group:
        """The group of the jail, which holds the limits."""
        return Group(*self.jail)

    def leaf(self, name: str) -> Group:
        """Give the group of an instance of this jail."""
        return Group(self.host, f"{self.name}/{name}")

    def children(self) -> list[str]:
        """Name the groups directly below, in whatever tree they are."""
        return sorted({name for h in self.host.usable for name in folders(self.path(h))})

    def exists(self) -> bool:
        """Tell whether anything is left of it in any tree."""
        return any(os.path.isdir(self.path(h)) for h in self.host.usable)

    def make(self, settings: Sequence[Setting]) -> None:
        """Make this jail's group with the settings, or give them to it where it is there.

        For who lets others make the leaf. Until they have, anybody who removes another leaf of this jail may remove
        this group too: read back afterwards.

        Raises:
            LimitsRefusedError: a setting does not hold. Then, and at any failure, nothing empty is left.
        """
        self._establish(self, settings)

    def make_leaf(self, name: str, settings: Sequence[Setting]) -> Group:
        """Make the group of an instance below this one, which gets the settings; both may exist already.

        While the leaf is there nobody can remove the group above it, so that what was read back stays true.

        Raises:
            LimitsRefusedError: a setting does not hold. Then, and at any failure, nothing empty is left.
        """
        leaf = self.leaf(name)
        self._establish(leaf, settings)
        return leaf

    def _establish(self, lowest: Spot, settings: Sequence[Setting]) -> None:
        try:
            refusals = self._make_both(lowest, settings)
            if self.read_back(settings) and (wrong := self._read_back_alone(settings)):
                raise LimitsRefusedError([m._replace(refusal=refusals.get(m.setting)) for m in wrong])
        except BaseException:
            removal.discard(lowest)
            raise

    def _read_back_alone(self, settings: Sequence[Setting]) -> list[Mismatch]:
        """Read back once more, when nobody is just writing."""
        with contextlib.suppress(OSError), make.alone(self, settings):
            return self.read_back(settings)
        return self.read_back(settings)  # It is gone, and shows nothing.

    def _make_both(self, lowest: Spot, settings: Sequence[Setting]) -> dict[Setting, str]:
        for _ in range(_ROUNDS):
            try:
                make.make(self, settings)
                refusals = make.apply(self, settings)
                make.make(lowest, settings)
            except OSError as error:
                # Another process has removed a group that was there a moment ago.
                if error.errno not in (errno.ENOENT, errno.ENODEV):
                    raise
            else:
                return refusals
        raise TimeoutError(errno.ETIMEDOUT, "others keep removing the groups above", self.name)

    def read_back(self, settings: Sequence[Setting]) -> list[Mismatch]:
        """Give the settings that this group does not show."""
        found = [(setting, make.shown(self, setting)) for setting in settings]
        return [Mismatch(setting, lines) for setting, lines in found if lines != setting.shows]

    def open_procs(self) -> list[int]:
        """Open files through which a child that has one thread enters, by writing b"0" to each; all close-on-exec.

        In version 1 these are `tasks` files: to move just the calling thread spares the grace period, some 10 ms on an
        idle machine, for which every other way to move makes the kernel wait (cgroup_procs_write_start in
        kernel/cgroup/cgroup.c, since Linux 6.0). Version 2 has only `cgroup.procs`, where that is.
        """
        with contextlib.ExitStack() as opened:
            files = []
            for way in self._ways_in():
                with contextlib.suppress(FileNotFoundError):  # No limit and no figure of ours is there.
                    files.append(os.open(way, os.O_WRONLY | os.O_CLOEXEC))
                    opened.callback(os.close, files[-1])
            opened.pop_all()
        return files

    def _ways_in(self) -> Iterator[str]:
        for hierarchy in self.host.usable:
            if hierarchy.version == 1:
                yield f"{self.home(hierarchy)}/tasks"
        if tree := self.tree:
            yield f"{self.path(tree)}/cgroup.procs"

    def pids(self) -> list[int]:
        """Give the processes in this group and below it, as this process's pid namespace numbers them."""
        return inmates.pids(self)

    def frozen(self) -> bool:
        """Tell whether all processes stand, because of this group or of one above."""
        return inmates.is_frozen(self)

    def freeze(self) -> None:
        """Stop all processes, and wait until they stand.

        Raises:
            TimeoutError: one of them, in an uninterruptible sleep, goes on; all run again.
        """
        try:
            inmates.set_frozen(self, True)
        except TimeoutError:
            self.thaw()
            raise

    def thaw(self) -> None:
        """Let all processes go on."""
        inmates.set_frozen(self, False)

    def kill(self) -> None:
        """Kill all processes in this group and below it, frozen by it or not, and wait until they are gone.

        Raises:
            TimeoutError: some are still there; where a group above is frozen in version 1, it must be thawed first.
        """
        inmates.kill(self)

    def stats(self) -> Stats:
        """Measure; IO in version 1 is that of the whole jail, which its limits are for."""
        return read_stats(self.files)

    def counted(self, name: str) -> float:
        """Measure only `oom_kills`, `pids_denied` or `throttled_time`; 0 where that is not known."""
        return read_count(name, self.files)

    def remove(self) -> None:
        """Remove this group and all below it, and those above that are empty then; it may be gone in part or whole.

        Raises:
            OSError: EBUSY: there are processes in it.
        """
        removal.remove(self)
