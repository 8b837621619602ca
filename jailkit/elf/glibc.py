"""What glibc's loader loads for a program, and in which order (elf/dl-deps.c, _dl_map_object_deps)."""

from __future__ import annotations

from typing import Final

from jailkit.elf.files import File, check_extent, check_library
from jailkit.elf.layout import MalformedError
from jailkit.elf.model import Library, Missing, Tag
from jailkit.elf.search import Found, Loaded, Search, unloadable
from jailkit.errors import ElfError

# What the kernel maps into every process under these names is in the loader's list from the beginning (vdso(7)).
_VDSO: Final = ("linux-vdso.so.1", "linux-vdso32.so.1", "linux-vdso64.so.1", "linux-gate.so.1")


class GlibcLoad:
    """One program being loaded. Objects are known by every name they were asked for under, SONAME and inode."""

    def __init__(self, search: Search, program: Loaded, loader: tuple[str, File] | None, preloads: list[str]) -> None:
        self._search = search
        self._program = program
        self._preloads = preloads
        self.missing: list[Missing] = []
        self._order = [program]
        self._listed = {program}
        self._names: dict[str, Loaded | None] = {"": program, **dict.fromkeys(_VDSO)}
        self._inodes: dict[tuple[int, int], Loaded] = {}
        self._requests = 0
        search.enter(program)
        self._adopt_soname(program)
        self._loader = self._adopt_loader(*loader) if loader else None

    def _adopt_loader(self, path: str, file: File) -> Loaded:
        """Enter the loader itself, which is there before anything asks for it."""
        loader = Loaded(path, path, file, None)
        self._names.setdefault(path, loader)
        self._adopt_soname(loader)
        return loader

    def _adopt_soname(self, loaded: Loaded) -> None:
        if loaded.elf and loaded.elf.soname is not None:
            self._names.setdefault(loaded.elf.soname, loaded)

    def run(self) -> tuple[Library, ...]:
        """Load everything; `missing` then holds what was not found.

        Raises:
            ElfError: the loader would give up, or the program asks for more than any real one.
        """
        for name in self._preloads:
            self._preload(name)
        done: set[Loaded] = set()
        place = 0
        while place < len(self._order):
            loaded = self._order[place]
            if loaded in done:
                place += 1
                continue
            done.add(loaded)
            self._load_requests(loaded)  # may put others before this one, which are then next
        return tuple(self._library(loaded) for loaded in self._order if loaded is not self._program)

    def find(self, name: str) -> str | None:
        """Give the path of what the program would get if it asked for a name now (dlopen(3)).

        Raises:
            ElfError: the loader would give up at a file that it finds.
        """
        loaded = self._map(self._program, name)
        return loaded.path if loaded else None

    def _preload(self, name: str) -> None:
        try:
            loaded = self._map(self._program, name)
        except ElfError:  # ld.so complains and goes on
            return
        if loaded is not None:
            self._append(loaded)

    def _append(self, loaded: Loaded) -> None:
        if loaded not in self._listed:
            self._listed.add(loaded)
            self._order.append(loaded)

    def _load_requests(self, loaded: Loaded) -> None:
        elf = loaded.elf
        if elf is None:
            return
        self._requests += len(elf.requests)
        check_extent(len(self._order), self._requests)
        for tag, text in elf.requests:
            name = self._search.expand(text, loaded.origin)
            if text and not name:
                continue  # it holds a token without a value
            if tag == "needed":
                self._need(loaded, name)
            else:
                self._filter(loaded, name, tag)

    def _need(self, requester: Loaded, name: str) -> None:
        if name in _VDSO:
            return
        loaded = self._map(requester, name)
        if loaded is None:
            self.missing.append(Missing(name, requester.path))
        else:
            self._claim(loaded, requester, name)
            self._append(loaded)

    def _claim(self, loaded: Loaded, requester: Loaded, name: str) -> None:
        """Note who wanted the loader first; of every other object that is known already."""
        if loaded is self._loader and loaded not in self._listed:
            loaded.loader, loaded.name = requester, name

    def _filter(self, requester: Loaded, name: str, tag: Tag) -> None:
        """Load a filtee, whose symbols go before those of the object that names it, and so does its place."""
        try:
            loaded = self._map(requester, name)
        except ElfError:
            if tag == "auxiliary":  # a filter must be there, an auxiliary one may be
                return
            raise
        if loaded is None:
            if tag == "filter":
                self.missing.append(Missing(name, requester.path))
            return
        place = self._order.index(requester)
        if loaded in self._listed:
            if self._order.index(loaded) <= place:
                return
            self._order.remove(loaded)
        self._claim(loaded, requester, name)
        self._listed.add(loaded)
        self._order.insert(place, loaded)

    def _map(self, requester: Loaded, name: str) -> Loaded | None:
        """Give the object of a name, loading it when it is new; None when it is not to be found."""
        if name in self._names:
            return self._names[name]
        found = self._find_path(requester, name) if "/" in name else self._search.find(requester, name)
        if found is None:
            return None
        twin = self._inodes.get(found.file.identity)
        if twin is not None:
            self._names[name] = twin
            return twin
        return self._add(requester, name, found)

    def _find_path(self, requester: Loaded, name: str) -> Found | None:
        path = self._search.expand(name, requester.origin)  # a second time: ld.so does so, too
        file = self._search.try_path(path, requester) if path else None
        return Found(path, file, ()) if file else None

    def _add(self, requester: Loaded, name: str, found: Found) -> Loaded:
        loaded = Loaded(name, self._search.absolute(found.path), found.file, requester, variants=found.variants)
        try:
            if loaded.elf:
                check_library(loaded.elf)
        except MalformedError as error:
            raise unloadable(found.path, str(error), requester) from error
        self._search.enter(loaded)
        self._inodes[found.file.identity] = loaded
        self._names[name] = loaded
        self._names.setdefault(found.path, loaded)
        self._adopt_soname(loaded)
        return loaded

    def _library(self, loaded: Loaded) -> Library:
        needed_by = loaded.loader.path if loaded.loader else self._program.path
        real = loaded.file.real if loaded.file else loaded.path
        return Library(loaded.name, loaded.path, real, needed_by, loaded.variants)
