"""The folder in which jails live: locks, drafts, and the renames that make them real or gone."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator

from jailkit.errors import JailkitError, PrivilegeError, RealizeError, StateError
from jailkit.linux.paths import rename_exchange, rename_noreplace
from jailkit.store.discard import check_marked, remove_folder, remove_locked, sweep_one
from jailkit.store.jail import MARKER, NAME, Jail, check_name, is_marked, missing, read_jail, unreadable, write_text


def default_home() -> str:
    """Give the folder in which jails live when neither --home nor JAILKIT_HOME names one."""
    if os.geteuid() == 0:
        return "/var/lib/jailkit"
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return f"{data}/jailkit"


class Store:
    """The jails below one folder. Opening a store reads nothing and writes nothing."""

    def __init__(self, home: str | None = None) -> None:
        folder = home or os.environ.get("JAILKIT_HOME") or default_home()
        try:
            self.home = os.path.abspath(folder)
        except FileNotFoundError as error:
            raise StateError(
                f"cannot use {folder} for jails: the current directory is gone", resolution="cd / and run it again"
            ) from error

    def names(self) -> list[str]:
        """List the names of the jails, sorted.

        Raises:
            PrivilegeError, StateError: the folder cannot be read.
        """
        try:
            with os.scandir(f"{self.home}/jails") as entries:
                folders = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise unusable(self.home, error) from error
        return sorted(name for name in folders if NAME.fullmatch(name))

    def load(self, name: str) -> Jail:
        """Read one jail.

        Raises:
            StateError: there is none, or its record is gone or damaged.
            PrivilegeError: it is not readable by this user.
        """
        return read_jail(f"{self.home}/jails/{check_name(name)}")

    @contextlib.contextmanager
    def locked(self, name: str, *, exclusive: bool, patience: float = 0.0) -> Iterator[str]:
        """Hold the lock of a jail and give its folder. Shared for entering, exclusive for changing.

        `patience` is how many seconds to wait for others who hold it.

        Raises:
            StateError: there is no such jail, or another command holds it.
        """
        directory = f"{self.home}/jails/{check_name(name)}"
        deadline = time.monotonic() + patience
        while True:
            descriptor = self._open_jail(name, directory)
            try:
                self._flock(descriptor, name, exclusive=exclusive, deadline=deadline)
                if not _same_folder(descriptor, directory):
                    continue  # An update or a destroy moved it between the open and the lock.
                yield directory
                return
            finally:
                os.close(descriptor)

    @staticmethod
    def _open_jail(name: str, directory: str) -> int:
        try:
            return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except PermissionError as error:
            raise unreadable(name, error) from error
        except OSError as error:
            raise missing(directory) from error

    @staticmethod
    def _flock(descriptor: int, name: str, *, exclusive: bool, deadline: float) -> None:
        operation = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        while True:
            try:
                return fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise StateError(
                        f"cannot {'change' if exclusive else 'enter'} jail {name}: another command is using it",
                        resolution="wait for that command to end, or "
                        + ("pass --force, which ends what runs in the jail" if exclusive else "end it"),
                    ) from error
            time.sleep(0.02)

    @contextlib.contextmanager
    def draft(self, name: str) -> Iterator[str]:
        """Give an empty marked folder to build a jail in. It is deleted if the block raises.

        The block publishes it with `publish` or `swap`; a folder that was not published is deleted as well.

        Raises:
            StateError: another command is building a jail of that name.
        """
        check_name(name)
        path = f"{self.home}/drafts/{name}"
        with self._store_lock():
            self._sweep()
            try:
                os.mkdir(path, 0o700)
            except FileExistsError as error:
                raise _in_the_way(path, name) from error
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            write_text(f"{path}/{MARKER}", [f"{name}\n"])
            yield path
        finally:
            if _same_folder(descriptor, path):
                remove_folder(path)
            os.close(descriptor)

    def publish(self, draft: str, name: str) -> None:
        """Make a complete draft the jail `name`, in one rename.

        Raises:
            StateError: a jail of that name exists.
        """
        with self._store_lock():
            try:
                rename_noreplace(draft, f"{self.home}/jails/{name}")
            except FileExistsError as error:
                raise exists(name) from error

    def swap(self, draft: str, name: str) -> list[str]:
        """Exchange a complete draft and the jail `name` in one step, and keep the old tree in previous/.

        If this process dies after the exchange, the next sweep takes the rest of the way. Gives what could not be
        deleted of the tree that was in previous/.

        Raises:
            StateError: what is in previous/ does not carry jailkit's marker.
        """
        previous = f"{self.home}/previous/{name}"
        with self._store_lock():
            check_marked(previous)
            rename_exchange(draft, f"{self.home}/jails/{name}")
            doomed = self._into_trash(previous)
            rename_noreplace(draft, previous)
        return remove_locked(doomed) if doomed else []

    def _finish_swap(self, name: str) -> None:
        """Take an old tree that an update left among the drafts, when it died, to previous/; under the store's lock."""
        draft = f"{self.home}/drafts/{name}"
        try:
            old, new = read_jail(draft), read_jail(f"{self.home}/jails/{name}")
            if old.generation < new.generation and is_marked(draft):
                doomed = self._into_trash(f"{self.home}/previous/{name}")
                if doomed:
                    os.close(doomed[1])  # This sweep comes to it.
                rename_noreplace(draft, f"{self.home}/previous/{name}")
        except JailkitError:
            return  # A draft that never was a jail.

    def rollback(self, name: str) -> None:
        """Exchange the jail `name` and the tree it had before its last update.

        Raises:
            StateError: there is no earlier tree.
        """
        with self._store_lock():
            try:
                rename_exchange(f"{self.home}/previous/{name}", f"{self.home}/jails/{name}")
            except FileNotFoundError as error:
                raise StateError(f"cannot roll back jail {name}: it has no earlier tree") from error

    def has_previous(self, name: str) -> bool:
        """Tell whether `rollback` has something to go back to."""
        return os.path.isdir(f"{self.home}/previous/{name}")

    def discard(self, name: str) -> list[str]:
        """Delete the jail `name` and its previous tree, and give what could not be deleted."""
        return self._discard(f"{self.home}/previous/{name}") + self._discard(f"{self.home}/jails/{name}")

    def _discard(self, path: str) -> list[str]:
        """Move a marked folder out of sight in one step, then delete it without keeping others waiting."""
        with self._store_lock():
            check_marked(path)
            doomed = self._into_trash(path)
        return remove_locked(doomed) if doomed else []

    def _into_trash(self, path: str) -> tuple[str, int] | None:
        """Move a folder to trash/ and lock it; its new path and the descriptor of the lock. None if there is none."""
        doomed = f"{self.home}/trash/{os.path.basename(path)}.{time.time_ns()}"
        try:
            rename_noreplace(path, doomed)
        except FileNotFoundError:
            return None
        descriptor = os.open(doomed, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with contextlib.suppress(BlockingIOError):  # Our own caller may hold it already.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return doomed, descriptor

    def sweep(self) -> None:
        """Delete what commands that died left behind. Does nothing when this user may not."""
        if os.path.isdir(f"{self.home}/drafts") and os.access(self.home, os.W_OK):
            with self._store_lock():
                self._sweep()

    def _sweep(self) -> None:
        for name in os.listdir(f"{self.home}/drafts"):
            self._finish_swap(name)
        for folder in ("drafts", "trash"):
            for name in os.listdir(f"{self.home}/{folder}"):
                sweep_one(f"{self.home}/{folder}/{name}")

    @contextlib.contextmanager
    def _store_lock(self) -> Iterator[None]:
        try:
            for folder in ("", "/jails", "/drafts", "/previous", "/trash"):
                make_folder(self.home + folder)
            check_home(self.home)
            descriptor = os.open(f"{self.home}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise unusable(self.home, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        except OSError as error:
            raise unusable(self.home, error) from error
        finally:
            os.close(descriptor)


def exists(name: str) -> StateError:
    """Give the error for a name that is taken."""
    return StateError(
        f"cannot create jail {name}: it exists",
        resolution=f"jailkit destroy {name}, jailkit update {name}, or another --name",
    )


def _in_the_way(path: str, name: str) -> StateError:
    """Give the error for a draft that is there already and that no sweep has taken away."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)
    except OSError:
        return StateError(f"cannot build jail {name}: another command is building it", resolution="wait for it to end")
    return StateError(
        f"cannot build jail {name}: {path} is in the way, and cannot be deleted as jailkit's own",
        resolution="look what is in it, and delete it by hand",
    )


def _same_folder(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def make_folder(path: str, mode: int = 0o700) -> None:
    """Make a folder and those above it, which nobody else may change, however open the umask is."""
    if os.path.isdir(path):
        return
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        if not os.path.isdir(path):  # Somebody else made it just now, or it is a file.
            raise
    except FileNotFoundError:
        make_folder(os.path.dirname(path), 0o755)
        make_folder(path, mode)


def check_home(home: str) -> None:
    """Refuse a home that somebody else could change under our hands.

    Raises:
        StateError: it belongs to another user, or others may write to it.
    """
    status = os.stat(home)
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
        raise StateError(
            f"cannot use {home} for jails: others than its owner may change it",
            resolution=f"chown {os.geteuid()} {home} && chmod go-w {home}, or another folder with --home",
        )


def unusable(home: str, error: OSError) -> JailkitError:
    """Give the error for a folder of ours that the system does not let us use."""
    brief = f"cannot use {home} for jails"
    if error.errno in (errno.EACCES, errno.EPERM):
        return PrivilegeError(
            f"{brief}: {error.strerror}", resolution="run as root, or name a folder of your own with --home"
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RealizeError.because(brief, error)
    return StateError(f"{brief}: {error.strerror}", resolution="name another folder with --home or JAILKIT_HOME")
