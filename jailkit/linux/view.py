"""What the processes of an instance see as their file system: described as data, then opened, then put together.

The trees are opened with the rights of the caller and before its user namespace is left; they are put together in a
mount namespace of the instance's own, so that the kernel cleans up. Nothing here follows a link out of the tree, and
nothing depends on what a call gives: they may be made at once, or recorded and made later by another process.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from typing import Final, NamedTuple

from jailkit.linux.calls import Calls
from jailkit.linux.hidden import HIDDEN_FILES, HIDDEN_FOLDERS, LXCFS
from jailkit.linux.libc import AT_FDCWD
from jailkit.linux.mounting import (
    AT_RECURSIVE,
    MNT_DETACH,
    MOUNT_ATTR_IDMAP,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MS_PRIVATE,
    OPEN_TREE_CLONE,
    mount_setattr,
    open_tree,
)
from jailkit.linux.userns import IdMap, OwnerNumbers, Owners, make_userns

_LINKS: Final = {
    "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}  # fmt: skip
_SHM: Final = "64m"
_UPPER: Final = "1g"
_NOBODY: Final = 65534  # what the kernel shows for an id that is not mapped (overflowuid of proc_sys_kernel(5))


class Graft(NamedTuple):
    """A file or directory of the host that shows at `target`.

    Attributes:
        own: it is the jail's, and nothing else of the host goes in and out there.
        shifted: its files belong to the jail's ids on the host, so that no mount need map them.
    """

    source: str
    target: str
    read_only: bool
    own: bool
    shifted: bool = False


class Memory(NamedTuple):
    """A tmpfs at `target`, of at most `size` bytes."""

    target: str
    size: int
    mode: int


class View(NamedTuple):
    """The whole file system of an instance.

    Attributes:
        ephemeral: changes go to memory, and vanish with the instance.
        setuid: the bits of set-user-ID programs count, which is useless under no_new_privs.
        devices: names of nodes in the host's /dev.
    """

    root: Graft
    grafts: tuple[Graft, ...] = ()
    memory: tuple[Memory, ...] = ()
    devices: tuple[str, ...] = ()
    ephemeral: bool = False
    setuid: bool = False


class Lower(NamedTuple):
    """What a tree is over which memory is laid; the ids as whoever lays it has to give them to chown(2)."""

    folder: bool
    uid: int
    gid: int
    mode: int


def lower_of(graft: Graft, maps: tuple[IdMap, IdMap], *, mapped: bool) -> Lower:
    """Look at a tree that is to be put together in a user namespace with these maps of uids and of gids.

    Its mount maps ids, if it is `mapped` and not shifted; else its files have the ids that the maps name as outside.

    Raises:
        OSError: it is not there.
    """
    status = os.stat(graft.source)
    if mapped and not graft.shifted:
        first = 0 if _shows_root(graft) else 1
        maps = (IdMap(first, first, maps[0].size - first), IdMap(first, first, maps[1].size - first))
    uid, gid = _inside(status.st_uid, maps[0]), _inside(status.st_gid, maps[1])
    return Lower(stat.S_ISDIR(status.st_mode), uid, gid, stat.S_IMODE(status.st_mode))


def _inside(number: int, ids: IdMap) -> int:
    return number - ids.outside + ids.inside if 0 <= number - ids.outside < ids.size else _NOBODY


def _shows_root(graft: Graft) -> bool:
    """Tell whether files of root's are root's there: not where the jail may write to what is not its own."""
    return graft.own or graft.read_only


class Trees:
    """The parts of a view as detached mounts, and how they come together.

    With `owners`, the ids on disk are those inside, but for what is `shifted`; without, they are the host's.
    """

    def __init__(self, view: View, owners: Owners | OwnerNumbers | None, calls: Calls) -> None:
        self._view = view
        self._owners = owners
        self._calls = calls
        self._grafts: list[int] = []
        self._devices: list[int] = []
        self._stand_ins: list[_Share] = []
        self._root = -1
        self._proc = -1

    def open(self, stand_ins: Sequence[str] = ()) -> None:
        """Open all parts; with the rights of whoever owns them.

        `stand_ins` are paths below /proc that are to show what lxcfs has for them.

        Raises:
            OSError: a part is not there, or its file system cannot map ids: EOPNOTSUPP.
        """
        view = self._view
        self._root = self._open_graft(view.root)
        self._grafts = [self._open_graft(graft) for graft in view.grafts]
        self._devices = [self._clone(f"/dev/{name}") for name in view.devices]
        self._stand_ins = [_Share(self._clone(LXCFS + path), path) for path in stand_ins]

    def _clone(self, path: str) -> int:
        tree = self._calls.open_tree(AT_FDCWD, path, OPEN_TREE_CLONE)
        self._calls.mount_setattr(tree, 0, 0, 0, MS_PRIVATE)
        return tree

    def _open_graft(self, graft: Graft) -> int:
        calls = self._calls
        tree = calls.open_tree(AT_FDCWD, graft.source, OPEN_TREE_CLONE | AT_RECURSIVE)
        attributes = MOUNT_ATTR_NODEV | (0 if self._view.setuid else MOUNT_ATTR_NOSUID)
        attributes |= MOUNT_ATTR_RDONLY if graft.read_only else 0
        # A copy of a shared mount, as systemd makes them all, is its peer: what is mounted on the one shows on the
        # other (mount_namespaces(7)), and no peer can become a root (pivot_root(2)).
        calls.mount_setattr(tree, attributes, AT_RECURSIVE, 0, MS_PRIVATE)
        if self._owners is not None and not graft.shifted:
            userns = self._owners.everyone if _shows_root(graft) else self._owners.all_but_root
            calls.map_ids(tree, userns, graft.source)
        return tree

    def lowers(self) -> tuple[Lower, ...]:
        """Look at the root and the grafts, once they are open and not only recorded to be."""
        found = [os.fstat(tree) for tree in (self._root, *self._grafts)]
        return tuple(Lower(stat.S_ISDIR(s.st_mode), s.st_uid, s.st_gid, stat.S_IMODE(s.st_mode)) for s in found)

    def make_proc(self) -> None:
        """Make a /proc of this process's own pid namespace; with the rights of that one's owner."""
        self._proc = self._calls.new_mount("proc", {}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

    def assemble(self, place: str, lowers: Sequence[Lower] = ()) -> None:
        """Put all parts together at a directory that they cover, in a mount namespace of its own.

        `lowers` are those of the root and the grafts, for an ephemeral view.
        """
        shares = [_Share(self._root, "/")]
        shares += [_Share(tree, g.target) for g, tree in zip(self._view.grafts, self._grafts, strict=True)]
        if self._view.ephemeral:
            shares = self._overlaid(shares, lowers, place)
            self._root = shares[0].tree
        self._calls.move_mount(self._root, AT_FDCWD, place, 0)
        for part in self._view.memory:
            options = {"size": str(part.size), "mode": f"{part.mode:o}"}
            self._attach(self._calls.new_mount("tmpfs", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV), part.target)
        for share in shares[1:]:
            self._attach(share.tree, share.target)

    def furnish(self) -> None:
        """Attach /proc and a /dev of its own."""
        calls = self._calls
        self._attach(self._proc, "/proc")
        self._mask()
        for share in self._stand_ins:
            self._attach(share.tree, share.target)
        device_folder = calls.new_mount("tmpfs", {"size": "64k", "mode": "0755"}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC)
        self._attach(device_folder, "/dev")
        for name, tree in zip(self._view.devices, self._devices, strict=True):
            calls.create(device_folder, name)
            calls.move_mount(tree, device_folder, name, 0)
        for name, target in _LINKS.items():
            calls.symlink(target, device_folder, name)
        restricted = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC
        pts = calls.new_mount("devpts", {"newinstance": "", "ptmxmode": "0666", "mode": "0620"}, restricted)
        shm = calls.new_mount("tmpfs", {"size": _SHM, "mode": "1777"}, restricted | MOUNT_ATTR_NODEV)
        for name, made in (("pts", pts), ("shm", shm)):
            calls.mkdir(device_folder, name)
            calls.move_mount(made, device_folder, name, 0)

    def enter(self) -> None:
        """Make it the root of the mount namespace, in which nothing else is left (pivot_root(2))."""
        self._calls.fchdir(self._root)
        self._calls.pivot_root(".", ".")
        self._calls.umount2(".", MNT_DETACH)
        self._calls.chdir("/")

    def _attach(self, tree: int, target: str) -> None:
        place = self._calls.open_place(self._root, target)
        self._calls.move_mount(tree, place, "", 0)
        self._calls.close(place)

    def _mask(self) -> None:
        """Close what is not per process: settings read-only, the rest covered, as far as this kernel has it."""
        calls, proc = self._calls, self._proc
        settings = calls.open_tree(proc, "sys", OPEN_TREE_CLONE | AT_RECURSIVE)
        calls.mount_setattr(settings, MOUNT_ATTR_RDONLY, AT_RECURSIVE)
        calls.move_mount(settings, proc, "sys", 0)
        calls.close(settings)
        # Asked of the new /proc: the host's is covered by now, and would show none of them.
        for path in _in_proc(HIDDEN_FILES):
            self._cover(self._clone("/dev/null"), path)
        for path in _in_proc(HIDDEN_FOLDERS):
            self._cover(calls.new_mount("tmpfs", {"size": "4k", "mode": "0555"}, MOUNT_ATTR_RDONLY), path)

    def _cover(self, cover: int, path: str) -> None:
        self._calls.move_mount_if_there(cover, self._proc, path)
        self._calls.close(cover)

    def _overlaid(self, shares: Sequence[_Share], lowers: Sequence[Lower], place: str) -> list[_Share]:
        """Lay memory over each tree that could be written to, so that what is under it stays as it is."""
        calls = self._calls
        base = calls.new_mount("tmpfs", {"size": _UPPER, "mode": "0755"}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
        calls.move_mount(base, AT_FDCWD, place, 0)
        result = []
        parts = zip(shares, (self._view.root, *self._view.grafts), lowers, strict=True)
        for number, (share, graft, lower) in enumerate(parts):
            if graft.read_only:
                result.append(share)
            elif lower.folder:
                result.append(share._replace(tree=self._overlay(share.tree, lower, f"{place}/{number}")))
            else:  # An overlay has directories only.
                calls.mount_setattr(share.tree, MOUNT_ATTR_RDONLY)
                result.append(share)
        calls.close(base)
        return result

    def _overlay(self, tree: int, lower: Lower, folder: str) -> int:
        """Give the mount of a tree with memory over it (Documentation/filesystems/overlayfs.rst)."""
        calls = self._calls
        for path in (folder, *(f"{folder}/{name}" for name in ("lower", "upper", "work"))):
            calls.mkdir(AT_FDCWD, path)
        calls.give(f"{folder}/upper", (lower.uid, lower.gid), lower.mode)
        calls.move_mount(tree, AT_FDCWD, f"{folder}/lower", 0)
        options = {name: f"{folder}/{name[:-3]}" for name in ("lowerdir", "upperdir", "workdir")}
        return calls.new_mount("overlay", options | {"userxattr": ""}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)


class _Share(NamedTuple):
    """A detached tree, and where it goes."""

    tree: int
    target: str


def _in_proc(paths: Sequence[str]) -> list[str]:
    return [path.removeprefix("/proc/") for path in paths if path.startswith("/proc/")]


def maps_ids(path: str, ids: tuple[int, int]) -> bool:
    """Try whether a mount of the file system at `path` can map a range of ids (mount_setattr(2)).

    Raises:
        OSError: there is no such path, or no user namespace.
    """
    userns = make_userns([IdMap(0, *ids)])
    try:
        tree = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE)
        try:
            mount_setattr(tree, MOUNT_ATTR_IDMAP, 0, userns)
        finally:
            os.close(tree)
    except OSError as error:
        # EINVAL: the file system cannot; EPERM: nor may whoever is root only in a container.
        if error.errno not in (errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        return False
    finally:
        os.close(userns)
    return True
