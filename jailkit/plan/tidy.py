"""The last pass of planning: one entry a path, no link among a path's parents, every parent planned."""

from __future__ import annotations

from collections.abc import Iterable
from posixpath import dirname, join, normpath

from jailkit.errors import PlanError
from jailkit.linux.limits import MAX_LINKS
from jailkit.plan.model import Copy, Directory, Entry, Reason, Symlink


def tidy(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Give the entries with canonical paths and all parents, sorted by path, parents before children.

    Raises:
        PlanError: links form a loop, or a path is wanted both as a directory and as something else.
    """
    wanted = list(entries)
    links = _links(wanted)
    folders: dict[str, str] = {}
    tree: dict[str, Entry] = {}
    for entry in wanted:
        path = _place(entry, links, folders)
        moved = entry if path == entry.path else _at(entry, path)
        tree[path] = _merge(tree.get(path), moved)
    for path in list(tree):
        _add_parents(path, tree)
    # No name holds a NUL, and nothing sorts before one: so this is the order of the components, without a list of them.
    return tuple(tree[path] for path in sorted(tree, key=lambda path: path.replace("/", "\0")) if path != "/")


def _place(entry: Entry, links: dict[str, str], folders: dict[str, str]) -> str:
    """Give the canonical path of an entry. `folders` remembers those of the parents, with a slash at the end."""
    parent, _, name = entry.path.rpartition("/")
    folder = folders.get(parent)
    if folder is None:
        folder = folders[parent] = join(canonical(parent, links, follow_last=True), "")
    path = folder + name
    return canonical(path, links, follow_last=True) if path in links and isinstance(entry, Directory) else path


def dangling_links(entries: Iterable[Entry]) -> list[Symlink]:
    """Give the links that lead nowhere in the plan, or in circles."""
    entries = list(entries)
    links = {entry.path: entry.target for entry in entries if isinstance(entry, Symlink)}
    paths = {entry.path for entry in entries} | {"/"}

    def dangles(path: str) -> bool:
        try:
            return canonical(path, links, follow_last=True) not in paths
        except PlanError:
            return True

    return [entry for entry in entries if isinstance(entry, Symlink) and dangles(entry.path)]


def _links(entries: Iterable[Entry]) -> dict[str, str]:
    """Give the planned links by canonical path: /bin/awk is /usr/bin/awk where /bin is a link itself."""
    links: dict[str, str] = {}
    found = [entry for entry in entries if isinstance(entry, Symlink)]
    for entry in sorted(found, key=lambda entry: entry.path.count("/")):
        links[canonical(entry.path, links, follow_last=False)] = entry.target
    return links


def canonical(path: str, links: dict[str, str], *, follow_last: bool) -> str:
    """Resolve the planned links among the parents of a path, and the path itself with `follow_last`.

    Raises:
        PlanError: the links form a loop.
    """
    done, todo, followed = "/", [part for part in reversed(path.split("/")) if part], 0
    while todo:
        part = todo.pop()
        if part == "..":
            done = dirname(done)
            continue
        here = join(done, part)
        target = links.get(here) if todo or follow_last else None
        if target is None:
            done = here
            continue
        followed += 1
        if followed > MAX_LINKS:
            raise PlanError(f"cannot place {path}: its parents are a loop of symbolic links")
        if target.startswith("/"):
            done = "/"
        todo.extend(part for part in reversed(target.split("/")) if part not in ("", "."))
    return normpath(done)


def _at(entry: Entry, path: str) -> Entry:
    # dataclasses.replace cannot be typed over the union.
    return type(entry)(**{**{name: getattr(entry, name) for name in entry.__slots__}, "path": path})


def _merge(old: Entry | None, new: Entry) -> Entry:
    """Choose between two entries for one path: later ones, which the profile spells out, refine earlier ones."""
    if old is None or old == new:
        return new
    if isinstance(old, Directory) and isinstance(new, Directory):
        # Neither a package nor an account, whose home may be /usr/sbin, takes over what every jail has.
        return new if new.reason.because == "named" else old
    if isinstance(old, Directory) != isinstance(new, Directory):
        raise PlanError(
            f"cannot place {new.path}: it is wanted as a {_kind(old)} by {old.reason.key} "
            f"and as a {_kind(new)} by {new.reason.key}",
            resolution="leave one of them out of the profile",
        )
    return new if new.reason.because == "named" and old.reason.because != "named" else old


def _kind(entry: Entry) -> str:
    return "file" if isinstance(entry, Copy) else type(entry).__name__.lower()


def _add_parents(path: str, tree: dict[str, Entry]) -> None:
    child = path
    while (parent := dirname(child)) != "/" and parent not in tree:
        tree[parent] = Directory(parent, Reason(tree[child].reason.key, "parent", child))
        child = parent
    if parent != "/" and not isinstance(tree[parent], Directory):
        raise PlanError(
            f"cannot place {child}: {parent} is a {_kind(tree[parent])} for {tree[parent].reason.key}",
            resolution="leave one of them out of the profile",
        )
