"""Where glibc's loader looks for a library, in its order (ld.so(8); elf/dl-load.c, _dl_map_object)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from jailkit.elf.cache import CacheEntry, LdCache
from jailkit.elf.files import File, Files, suits
from jailkit.elf.layout import MalformedError
from jailkit.elf.model import DF_1_NODEFLIB, EM_386, EM_AARCH64, EM_X86_64, Elf
from jailkit.elf.platform import Glibc
from jailkit.elf.tokens import expand
from jailkit.errors import ElfError
from jailkit.text import printable

# The ABI that a cache entry is for, by machine and class (glibc's ldconfig.h, FLAG_ELF_LIBC6 with FLAG_*_LIB*).
# Of other machines every entry is tried, and files of the wrong one are passed over.
_CACHE_FLAGS: Final = {
    (EM_386, 32): frozenset((0x0001, 0x0003)),
    (EM_X86_64, 64): frozenset((0x0303,)),
    (EM_X86_64, 32): frozenset((0x0803,)),
    (EM_AARCH64, 64): frozenset((0x0A03,)),
}


@dataclass(slots=True, eq=False)
class Loaded:
    """An object in the loader's list, its link map.

    Attributes:
        name: what it was asked for as.
        path: where it was found, absolute.
        file: the file, None when nothing was found.
        loader: the object that wanted it.
        rpath, runpath: the directories of DT_RPATH and DT_RUNPATH, tokens expanded. The first is empty when
            the second exists.
        variants: as in `Library`.
    """

    name: str
    path: str
    file: File | None
    loader: Loaded | None
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    origin: str = field(init=False)

    def __post_init__(self) -> None:
        self.origin = self.path.rpartition("/")[0] or "/"

    @property
    def elf(self) -> Elf | None:
        """Give what the file holds; None when nothing was found."""
        return self.file.elf if self.file else None


@dataclass(frozen=True, slots=True)
class Found:
    """A file that the search found, with those that another CPU would have been given."""

    path: str
    file: File
    variants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A path to try. `active`: on this CPU, too. `final`: no CPU looks beyond it."""

    path: str
    active: bool
    final: bool


class Search:
    """The search of one loader, for programs of one class and machine."""

    def __init__(self, files: Files, facts: Glibc, program: Elf, cache: LdCache | None) -> None:
        self._files = files
        self._root = files.root
        self.absolute = files.root.absolute
        self._facts = facts
        self._program = program
        self._cache = cache
        self._flags = _CACHE_FLAGS.get((program.machine, program.bits))
        self._below: dict[str, tuple[_Candidate, ...]] = {}
        self._results: dict[tuple[str, tuple[tuple[str, ...], ...], bool], Found | None] = {}

    def expand(self, text: str, origin: str) -> str:
        """Replace the dynamic string tokens in a name."""
        return expand(text, origin, self._facts.lib, self._facts.platform)

    def enter(self, loaded: Loaded) -> None:
        """Fill in the directories of an object's RPATH and RUNPATH; with a RUNPATH, its RPATH does not count."""
        elf = loaded.elf
        if elf is None:
            return
        if elf.runpath is not None:
            loaded.runpath = self._directories(elf.runpath, loaded.origin)
        elif elf.rpath is not None:
            loaded.rpath = self._directories(elf.rpath, loaded.origin)

    def _directories(self, text: str, origin: str) -> tuple[str, ...]:
        """Split a path list. An empty element is the working directory; an empty list is none at all."""
        found: dict[str, None] = {}
        for part in text.split(":") if text else ():
            directory = self.expand(part, origin)
            if part and not directory:
                continue
            if directory:
                directory = directory.rstrip("/") + "/"
            found.setdefault(directory)
            self._files.note(80 + len(directory))
        return tuple(found)

    def find(self, requester: Loaded, name: str) -> Found | None:
        """Search for a name without a slash.

        Raises:
            ElfError: the loader would give up at a file that it finds.
        """
        lists: list[tuple[str, ...]] = []
        elf = requester.elf
        if elf is None or elf.runpath is None:
            loader: Loaded | None = requester
            while loader is not None:
                if loader.rpath:
                    lists.append(loader.rpath)
                loader = loader.loader
        if requester.runpath:
            lists.append(requester.runpath)
        self._files.count_steps(sum(map(len, lists)))
        key = (name, tuple(lists), bool(elf and elf.flags_1 & DF_1_NODEFLIB))
        if key not in self._results:
            self._results[key] = self._search(*key, requester)
            self._files.note(500 + 2 * len(name))
        return self._results[key]

    def _search(self, name: str, lists: tuple[tuple[str, ...], ...], nodeflib: bool, requester: Loaded) -> Found | None:
        chosen: tuple[str, File] | None = None
        variants: dict[str, None] = {}
        for candidate in self._candidates(name, lists, nodeflib):
            wanted = candidate.active and chosen is None
            file = self.try_path(candidate.path, requester if wanted else None)
            if file is None:
                continue
            if wanted:
                chosen = (candidate.path, file)
            else:
                variants.setdefault(self.absolute(candidate.path))
            if candidate.final:
                break
        return Found(*chosen, tuple(variants)) if chosen else None

    def try_path(self, path: str, requester: Loaded | None) -> File | None:
        """Open a path that the loader would try; None when it would look further.

        Raises:
            ElfError: the loader would give up, and it does so on behalf of `requester`.
        """
        try:
            file = self._files.open(self.absolute(path))
            return file if file is not None and suits(file, self._program) else None
        except MalformedError as error:
            if requester is None:
                return None
            raise unloadable(path, str(error), requester) from error

    def _candidates(self, name: str, lists: tuple[tuple[str, ...], ...], nodeflib: bool) -> Iterator[_Candidate]:
        for directories in lists:
            yield from self._in_directories(directories, name)
        yield from self._in_cache(name, nodeflib)
        if not nodeflib:
            yield from self._in_directories(self._facts.system_dirs, name)

    def _in_directories(self, directories: Iterable[str], name: str) -> Iterator[_Candidate]:
        """Give the paths below each directory, up to one that cannot even be looked at: there glibc ends a list."""
        for directory in directories:
            for below in self._subdirectories(directory):
                yield _Candidate(below.path + name, below.active, below.final)
            if self._files.is_barred(self.absolute(directory + name)):
                return

    def _subdirectories(self, directory: str) -> tuple[_Candidate, ...]:
        """Give the directories to look into for one of a search path: those for better CPUs first."""
        if directory not in self._below:
            facts = self._facts
            hwcaps = [
                _Candidate(f"{directory}glibc-hwcaps/{level}/", level in facts.active, False) for level in facts.levels
            ]
            legacy = [_Candidate(directory + name, True, False) for name in facts.legacy]
            places = [*hwcaps, *legacy, _Candidate(directory, True, True)]
            is_directory, absolute = self._root.is_directory, self.absolute
            exists = is_directory(absolute(directory))
            self._below[directory] = tuple(p for p in places if exists and is_directory(absolute(p.path)))
            self._files.note(500 + len(directory))
        return self._below[directory]

    def _in_cache(self, name: str, nodeflib: bool) -> Iterator[_Candidate]:
        """Give the entry that the loader takes from its cache, then those that others would take."""
        if self._cache is None:
            return
        entries = [entry for entry in self._cache.find(name) if self._flags is None or entry.flags in self._flags]
        best = self._best(entries)
        if best is None or (nodeflib and best.path.startswith(self._facts.system_dirs)):
            return
        yield _Candidate(best.path, True, best.level is None)
        for entry in entries:
            if entry is not best and (entry.level in self._facts.levels or self._is_base(entry)):
                yield _Candidate(entry.path, False, entry.level is None)

    def _best(self, entries: list[CacheEntry]) -> CacheEntry | None:
        """Choose as glibc's search_cache does: the best level this CPU has, else the first plain entry."""
        ranked = [
            (rank, place) for place, entry in enumerate(entries)
            if entry.level is not None and entry.isa_level < self._facts.isa_level
            and (rank := self._facts.rank(entry.level)) is not None
        ]  # fmt: skip
        if ranked:
            return entries[min(ranked)[1]]
        return next((entry for entry in entries if self._is_base(entry)), None)

    def _is_base(self, entry: CacheEntry) -> bool:
        return entry.level is None and self._facts.takes(entry.hwcap)


def unloadable(path: str, why: str, requester: Loaded) -> ElfError:
    """Give the error for a library that makes the loader give up."""
    return ElfError(
        f"cannot load {printable(path)}: {why}",
        details=[f"needed by {printable(requester.path)}"],
        resolution="replace or remove that file: the loader stops there and looks no further",
    )
