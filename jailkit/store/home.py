"""The folder in which jails live: locks, drafts, and the renames that make them real or gone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from jailkit.errors import JailkitError, StateError
from jailkit.linux.paths import rename_exchange, rename_noreplace
from jailkit.store.discard import check_marked, remove_folder, remove_locked, sweep_one
from jailkit.store.folders import check_home, exists, in_the_way, make_folder, same_folder, unusable
from jailkit.store.images import Image, needless, read_image
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
                if not same_folder(descriptor, directory):
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
                raise in_the_way(path, name) from error
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            write_text(f"{path}/{MARKER}", [f"{name}\n"])
            yield path
        finally:
            abandoned = same_folder(descriptor, path)
            if abandoned:
                remove_folder(path)
            os.close(descriptor)
            if abandoned:
                self.collect()

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
        return (remove_locked(doomed) if doomed else []) + self.collect()

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
        """Delete the jail `name`, its previous tree and what only it needed; give what could not be deleted."""
        left = self._discard(f"{self.home}/previous/{name}") + self._discard(f"{self.home}/jails/{name}")
        return left + self.collect()

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

    def images(self) -> list[str]:
        """List the digests of the images, sorted."""
        try:
            return sorted(os.listdir(f"{self.home}/images"))
        except FileNotFoundError:
            return []

    @contextlib.contextmanager
    def held_image(self, digest: str) -> Iterator[Image | None]:
        """Keep an image from being deleted while it gets a jail that names it; None if there is no such image."""
        directory = f"{self.home}/images/{digest}"
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            yield None
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            # Whoever deletes it had the lock until then.
            yield read_image(directory) if same_folder(descriptor, directory) else None
        finally:
            os.close(descriptor)

    def publish_image(self, draft: str, digest: str) -> bool:
        """Make a complete draft an image, in one rename; False when there is one of that digest."""
        with self._store_lock():
            make_folder(f"{self.home}/images")
            try:
                rename_noreplace(draft, f"{self.home}/images/{digest}")
            except FileExistsError:
                return False
        return True

    def keep_volume(self, staged: str, jail: Jail, path: str) -> None:
        """Make a complete directory the volume of a jail at `path`, in one rename."""
        with self._store_lock():
            make_folder(f"{self.home}/volumes")
            if not os.path.lexists(jail.volumes):
                marked = f"{jail.directory}/marked"  # With its marker in one step: without one, nothing deletes it.
                os.mkdir(marked, 0o700)
                write_text(f"{marked}/{MARKER}", [f"{jail.name}\n"])
                rename_noreplace(marked, jail.volumes)
            rename_noreplace(staged, jail.volume(path))

    def collect(self) -> list[str]:
        """Delete the images and volumes that no jail needs, and give what could not be deleted."""
        if not needless(self.home):
            return []
        with self._store_lock():
            doomed = self._needless_into_trash()
        return [failure for folder in doomed for failure in remove_locked(folder)]

    def _needless_into_trash(self) -> list[tuple[str, int]]:
        """Move them, each under its lock; under the store's lock. One that somebody is about to name stays."""
        doomed = []
        for path in needless(self.home):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            moved = self._into_trash(path)
            if moved:
                os.close(moved[1])
                doomed.append((moved[0], descriptor))
        return doomed

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
        # Not before: what could not be swept may stand on an image still.
        for path, descriptor in self._needless_into_trash():
            os.close(descriptor)
            sweep_one(path)

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
