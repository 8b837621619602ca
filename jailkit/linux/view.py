"""What the processes of an instance see as their file system: described as data, then opened, then put together.

The trees are opened with the rights of the caller and before its user namespace is left; they are put together in a
mount namespace of the instance's own, so that the kernel cleans up. Nothing here follows a link out of the tree.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Sequence
from typing import Final, NamedTuple

from jailkit.linux.hidden import HIDDEN_FILES, HIDDEN_FOLDERS, LXCFS, stand_ins
from jailkit.linux.libc import AT_FDCWD, RESOLVE_IN_ROOT, openat2
from jailkit.linux.mounting import (
    AT_RECURSIVE,
    MNT_DETACH,
    MOUNT_ATTR_IDMAP,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    OPEN_TREE_CLONE,
    mount_setattr,
    move_mount,
    new_mount,
    open_tree,
    pivot_root,
    umount2,
)
from jailkit.linux.userns import IdMap, Owners, make_userns

_LINKS: Final = {
    "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}  # fmt: skip
_SHM: Final = "64m"
_UPPER: Final = "1g"


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


class Trees:
    """The parts of a view as detached mounts, and how they come together.

    With `owners`, the ids on disk are those inside, but for what is `shifted`; without, they are the host's.
    """

    def __init__(self, view: View, owners: Owners | None) -> None:
        self._view = view
        self._owners = owners
        self._grafts: list[int] = []
        self._devices: list[int] = []
        self._stand_ins: list[_Share] = []
        self._root = -1
        self._proc = -1

    def open(self) -> None:
        """Open all parts; with the rights of whoever owns them.

        Raises:
            OSError: a part is not there, or its file system cannot map ids: EOPNOTSUPP.
        """
        view = self._view
        self._root = self._open_graft(view.root)
        self._grafts = [self._open_graft(graft) for graft in view.grafts]
        self._devices = [open_tree(AT_FDCWD, f"/dev/{name}", OPEN_TREE_CLONE) for name in view.devices]
        self._stand_ins = [_Share(open_tree(AT_FDCWD, LXCFS + path, OPEN_TREE_CLONE), path) for path in stand_ins()]

    def _open_graft(self, graft: Graft) -> int:
        tree = open_tree(AT_FDCWD, graft.source, OPEN_TREE_CLONE | AT_RECURSIVE)
        attributes = MOUNT_ATTR_NODEV | (0 if self._view.setuid else MOUNT_ATTR_NOSUID)
        mount_setattr(tree, attributes | (MOUNT_ATTR_RDONLY if graft.read_only else 0), AT_RECURSIVE)
        if self._owners is not None and not graft.shifted:
            userns = self._owners.everyone if graft.own or graft.read_only else self._owners.all_but_root
            _map_ids(tree, userns, graft.source)
        return tree

    def make_proc(self) -> None:
        """Make a /proc of this process's own pid namespace; with the rights of that one's owner."""
        self._proc = new_mount("proc", {}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

    def assemble(self, place: str) -> None:
        """Put all parts together at a directory that they cover, in a mount namespace of its own."""
        shares = [_Share(self._root, "/")]
        shares += [_Share(tree, g.target) for g, tree in zip(self._view.grafts, self._grafts, strict=True)]
        if self._view.ephemeral:
            written = [self._view.root, *self._view.grafts]
            shares = _overlaid(shares, [graft.read_only for graft in written], place)
            self._root = shares[0].tree
        move_mount(self._root, AT_FDCWD, place, 0)
        for part in self._view.memory:
            options = {"size": str(part.size), "mode": f"{part.mode:o}"}
            self._attach(new_mount("tmpfs", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV), part.target)
        for share in shares[1:]:
            self._attach(share.tree, share.target)

    def furnish(self) -> None:
        """Attach /proc and a /dev of its own."""
        self._attach(self._proc, "/proc")
        _mask(self._proc)
        for share in self._stand_ins:
            self._attach(share.tree, share.target)
        device_folder = new_mount("tmpfs", {"size": "64k", "mode": "0755"}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC)
        self._attach(device_folder, "/dev")
        for name, tree in zip(self._view.devices, self._devices, strict=True):
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, dir_fd=device_folder))
            move_mount(tree, device_folder, name, 0)
        for name, target in _LINKS.items():
            os.symlink(target, name, dir_fd=device_folder)
        restricted = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC
        pts = new_mount("devpts", {"newinstance": "", "ptmxmode": "0666", "mode": "0620"}, restricted)
        shm = new_mount("tmpfs", {"size": _SHM, "mode": "1777"}, restricted | MOUNT_ATTR_NODEV)
        for name, made in (("pts", pts), ("shm", shm)):
            os.mkdir(name, dir_fd=device_folder)
            move_mount(made, device_folder, name, 0)

    def enter(self) -> None:
        """Make it the root of the mount namespace, in which nothing else is left (pivot_root(2))."""
        os.fchdir(self._root)
        pivot_root(".", ".")
        umount2(".", MNT_DETACH)
        os.chdir("/")

    def _attach(self, tree: int, target: str) -> None:
        place = openat2(self._root, target, os.O_PATH, 0, RESOLVE_IN_ROOT)
        move_mount(tree, place, "", 0)
        os.close(place)


def _map_ids(tree: int, userns: int, source: str) -> None:
    try:
        mount_setattr(tree, MOUNT_ATTR_IDMAP, AT_RECURSIVE, userns)
    except OSError as error:
        # EINVAL says that a file system cannot, EPERM that somebody else has mapped them already (mount_setattr(2)).
        number = errno.EOPNOTSUPP if error.errno in (errno.EINVAL, errno.EPERM) else error.errno
        raise OSError(number, os.strerror(number or errno.EIO), source) from error


class _Share(NamedTuple):
    """A detached tree, and where it goes."""

    tree: int
    target: str


def _overlaid(shares: Sequence[_Share], read_only: Sequence[bool], place: str) -> list[_Share]:
    """Lay memory over each tree that could be written to, so that what is under it stays as it is."""
    base = new_mount("tmpfs", {"size": _UPPER, "mode": "0755"}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
    move_mount(base, AT_FDCWD, place, 0)
    result = []
    for number, (share, kept) in enumerate(zip(shares, read_only, strict=True)):
        if kept:
            result.append(share)
        elif stat.S_ISDIR(os.fstat(share.tree).st_mode):
            result.append(share._replace(tree=_overlay(share.tree, f"{place}/{number}")))
        else:  # An overlay has directories only.
            mount_setattr(share.tree, MOUNT_ATTR_RDONLY)
            result.append(share)
    os.close(base)
    return result


def _overlay(lower: int, folder: str) -> int:
    """Give the mount of a tree with memory over it (Documentation/filesystems/overlayfs.rst)."""
    os.mkdir(folder)
    for name in ("lower", "upper", "work"):
        os.mkdir(f"{folder}/{name}")
    status = os.fstat(lower)
    os.chown(f"{folder}/upper", status.st_uid, status.st_gid)
    os.chmod(f"{folder}/upper", stat.S_IMODE(status.st_mode))
    move_mount(lower, AT_FDCWD, f"{folder}/lower", 0)
    options = {name: f"{folder}/{name[:-3]}" for name in ("lowerdir", "upperdir", "workdir")}
    return new_mount("overlay", options | {"userxattr": ""}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)


def _mask(proc: int) -> None:
    """Close what is not per process: settings read-only, the rest covered."""
    settings = open_tree(proc, "sys", OPEN_TREE_CLONE | AT_RECURSIVE)
    mount_setattr(settings, MOUNT_ATTR_RDONLY, AT_RECURSIVE)
    _cover(proc, "sys", settings)
    for path in (*HIDDEN_FILES, *HIDDEN_FOLDERS):
        if path.startswith("/proc/"):
            name = path.removeprefix("/proc/")
            # Asked of the new /proc: the host's is covered by now, and would show none of them.
            with contextlib.suppress(FileNotFoundError):
                _cover(proc, name, _nothing_for(proc, name))


def _cover(proc: int, name: str, cover: int) -> None:
    move_mount(cover, proc, name, 0)
    os.close(cover)


def _nothing_for(proc: int, name: str) -> int:
    if stat.S_ISDIR(os.stat(name, dir_fd=proc).st_mode):
        return new_mount("tmpfs", {"size": "4k", "mode": "0555"}, MOUNT_ATTR_RDONLY)
    return open_tree(AT_FDCWD, "/dev/null", OPEN_TREE_CLONE)


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
