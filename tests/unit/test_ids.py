"""Ranges of ids: read, cut into blocks, given to one jail each, and free again when that is gone."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path

import pytest
from support.children import NOBODY, end, in_child, killed_at, start, together

from jailkit.errors import PrivilegeError, RealizeError, StateError
from jailkit.store import ids, subids
from jailkit.store.ids import IdRegistry
from jailkit.store.subids import IdRange, blocks, parse_ranges, ranges_of, usermod_command

BASE = 3_000_000_000  # far from any account
USER = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def registry(tmp_path: Path) -> IdRegistry:
    return with_ranges(tmp_path, f"{USER}:{BASE}:{3 * 65536}\n")


def with_ranges(tmp_path: Path, uids: str, gids: str | None = None) -> IdRegistry:
    files = (str(tmp_path / "subuid"), str(tmp_path / "subgid"))
    Path(files[0]).write_text(uids)
    Path(files[1]).write_text(uids if gids is None else gids)
    return IdRegistry(f"{tmp_path}/ids", files)


def jail(tmp_path: Path, name: str, place: str = "jails") -> str:
    """Make the folder of a jail, or of its draft, and give the jail's own."""
    (tmp_path / place / name).mkdir(parents=True)
    return f"{tmp_path}/jails/{name}"


def taken(registry: IdRegistry) -> list[int]:
    return sorted(int(name) for name in os.listdir(registry.folder) if name.isdecimal())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kim:100000:65536", [("kim", IdRange(100000, 65536))]),
        ("# who\n\nkim:1:10\n 1000:5:6 \n", [("kim", IdRange(1, 10)), ("1000", IdRange(5, 6))]),
        ("kim:1\nkim:a:5\nkim:-1:5\nkim:5:\nkim:1:2:3\nkim:٣:5\nkim:5:0", []),
        ("kim:4294967290:5\nkim:4294967290:6\nkim:99999999999999:1", [("kim", IdRange(4294967290, 5))]),
    ],
)
def test_lines(text: str, expected: list[tuple[str, IdRange]]) -> None:
    assert parse_ranges(text) == expected


def test_a_user_is_written_by_name_or_by_uid() -> None:
    rows = parse_ranges("kim:1:2\n1000:3:4\nkimberly:5:6\n10000:7:8")
    assert ranges_of(("kim", "1000"), rows) == [IdRange(1, 2), IdRange(3, 4)]


K = 65536


@pytest.mark.parametrize(
    ("uids", "gids", "bases"),
    [
        ([(100000, K)], [(100000, K)], [100000]),
        ([(100000, K - 1)], [(100000, K)], []),
        ([(100000, 3 * K - 1)], [(100000, 9 * K)], [100000, 100000 + K]),
        ([(100000, 2 * K)], [(100001, 2 * K)], [100001]),
        ([(5 * K, K), (K, K)], [(0, 10 * K)], [K, 5 * K]),
        ([(K, K)], [(3 * K, K)], []),
        ([(0, 2 * K)], [(0, 2 * K)], [1]),
        ([], [(K, K)], []),
    ],
)
def test_blocks(uids: list[tuple[int, int]], gids: list[tuple[int, int]], bases: list[int]) -> None:
    found = blocks([IdRange(*one) for one in uids], [IdRange(*one) for one in gids])
    assert [block.base for block in found] == bases
    assert all(block.count == K for block in found)


def test_the_remedy_is_behind_all_there_is() -> None:
    ids = "1000000-66535999"
    assert usermod_command("root", []) == f"usermod --add-subuids {ids} --add-subgids {ids} root"
    assert "--add-subuids 2000010-67536009 " in usermod_command("root", parse_ranges("lee:2000000:10"))


def test_each_jail_has_its_own(registry: IdRegistry, tmp_path: Path) -> None:
    given = [registry.allocate(jail(tmp_path, name)) for name in ("a", "b", "c")]
    assert given == [IdRange(BASE + number * K) for number in range(3)]
    assert json.loads(Path(registry.folder, str(BASE)).read_text()) == {"owner": f"{tmp_path}/jails/a"}


def test_the_same_jail_is_given_the_same(registry: IdRegistry, tmp_path: Path) -> None:
    registry.allocate(jail(tmp_path, "a"))
    owner = jail(tmp_path, "b")
    assert registry.allocate(owner) == registry.allocate(owner) == IdRange(BASE + K)


def test_used_up(registry: IdRegistry, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        registry.allocate(jail(tmp_path, name))
    with pytest.raises(StateError, match=f"all 3 of {USER} are in use") as caught:
        registry.allocate(jail(tmp_path, "d"))
    assert caught.value.details == ("3 by jails, the others by accounts or processes of the host",)
    first = BASE + 3 * K
    assert caught.value.resolution == (
        f"jailkit destroy a jail, or usermod --add-subuids {first}-{first + 1000 * K - 1} "
        f"--add-subgids {first}-{first + 1000 * K - 1} {USER}"
    )


@pytest.mark.parametrize("place", ["jails", "drafts", "previous"])
def test_a_range_is_free_when_the_jail_is_gone_from_everywhere(
    registry: IdRegistry, tmp_path: Path, place: str
) -> None:
    owner = jail(tmp_path, "a", place)
    ids = registry.allocate(owner)
    registry.release(ids, owner)
    registry.sweep()
    assert taken(registry) == [BASE]
    (tmp_path / place / "a").rmdir()
    registry.release(ids, f"{tmp_path}/jails/other")
    assert taken(registry) == [BASE]
    registry.release(ids, owner)
    assert taken(registry) == []


def test_what_nobody_released_is_found(registry: IdRegistry, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        registry.allocate(jail(tmp_path, name))
    (tmp_path / "jails/b").rmdir()
    assert registry.allocate(jail(tmp_path, "d")) == IdRange(BASE + K)
    (tmp_path / "jails/a").rmdir()
    registry.sweep()
    assert taken(registry) == [BASE + K, BASE + 2 * K]


def test_sweeping_where_nothing_was_ever_given(registry: IdRegistry) -> None:
    registry.sweep()
    assert not os.path.exists(registry.folder)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"owner": 5}', '{"owner": "relative"}', "\x00"])
def test_a_damaged_entry_stays_taken(registry: IdRegistry, tmp_path: Path, content: str) -> None:
    registry.sweep()
    registry.allocate(jail(tmp_path, "a"))
    Path(registry.folder, str(BASE)).write_text(content)
    assert registry.allocate(jail(tmp_path, "b")) == IdRange(BASE + K)


def test_ranges_that_were_cut_otherwise_before_do_not_overlap(tmp_path: Path) -> None:
    with_ranges(tmp_path, f"{USER}:{BASE + 10}:{K}").allocate(jail(tmp_path, "a"))
    registry = with_ranges(tmp_path, f"{USER}:{BASE}:{3 * K}")
    assert registry.allocate(jail(tmp_path, "b")) == IdRange(BASE + 2 * K)


@pytest.mark.parametrize("who", ["_accounts", "_processes"])
def test_ids_that_the_host_uses_are_not_given(
    registry: IdRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    monkeypatch.setattr(ids, who, lambda: {0, BASE, BASE + 2 * K - 1})
    assert registry.allocate(jail(tmp_path, "a")) == IdRange(BASE + 2 * K)


def test_what_the_host_uses() -> None:
    assert {0, NOBODY} <= ids._accounts()
    assert os.geteuid() in ids._processes()


@pytest.mark.needs("root")
def test_a_process_keeps_its_range(registry: IdRegistry, tmp_path: Path) -> None:
    read, write = os.pipe()

    def live() -> None:
        os.setresuid(BASE + 7, BASE + 7, BASE + 7)
        os.read(read, 1)

    pid = start(live)
    try:
        while os.stat(f"/proc/{pid}").st_uid != BASE + 7:
            pass
        assert registry.allocate(jail(tmp_path, "a")) == IdRange(BASE + K)
    finally:
        os.write(write, b"x")
        end(pid)


@pytest.mark.parametrize(
    ("uids", "gids", "why"),
    [
        ("", "", "{0} and {1} give {user} none"),
        ("{user}:5:65536", "", "{1} gives {user} none"),
        ("{user}:5:65536", "{user}:900000:65536", "{user} has no 65536 that are the same in {0} and {1}"),
    ],
)
def test_no_ranges(tmp_path: Path, uids: str, gids: str, why: str) -> None:
    registry = with_ranges(tmp_path, uids.format(user=USER), gids.format(user=USER))
    with pytest.raises(StateError) as caught:
        registry.allocate(jail(tmp_path, "a"))
    assert caught.value.brief == "cannot give a jail a range of ids: " + why.format(*registry.files, user=USER)
    assert caught.value.resolution == f"usermod --add-subuids 1000000-66535999 --add-subgids 1000000-66535999 {USER}"
    assert taken(registry) == []


def test_no_files(tmp_path: Path) -> None:
    registry = IdRegistry(f"{tmp_path}/ids", (f"{tmp_path}/none", f"{tmp_path}/nowhere"))
    with pytest.raises(StateError, match=f"give {USER} none"):
        registry.allocate(jail(tmp_path, "a"))


def test_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000_000)
    assert subids.user() == "4000000000"


def test_the_registry_is_the_users_own(home: Path) -> None:
    assert IdRegistry().folder != f"{home}/ids"
    assert IdRegistry().folder.endswith("jailkit/ids")


def test_eight_at_once(tmp_path: Path) -> None:
    registry = with_ranges(tmp_path, f"{USER}:{BASE}:{64 * K}")
    owners = [jail(tmp_path, f"j{number}") for number in range(64)]
    answers = together(
        *(lambda part=owners[first::8]: [registry.allocate(owner).base for owner in part] for first in range(8))
    )
    assert sorted(base for answer in answers for base in answer) == [BASE + number * K for number in range(64)]


def test_killed_at_any_moment_it_leaves_a_registry_that_works(tmp_path: Path) -> None:
    number = 0
    done = False
    while not done:
        number += 1
        folder = tmp_path / str(number)
        folder.mkdir()
        registry = with_ranges(folder, f"{USER}:{BASE}:{2 * K}")
        first = jail(folder, "a")
        done = killed_at(number, lambda registry=registry, first=first: registry.allocate(first))
        assert registry.allocate(first) == IdRange(BASE)
        assert registry.allocate(jail(folder, "b")) == IdRange(BASE + K)
        assert set(os.listdir(registry.folder)) == {"lock", str(BASE), str(BASE + K)}
    assert number > 5


def test_a_registry_that_others_may_change_is_refused(registry: IdRegistry, tmp_path: Path) -> None:
    os.mkdir(registry.folder)
    os.chmod(registry.folder, 0o777)
    with pytest.raises(StateError, match="others than its owner may change it"):
        registry.allocate(jail(tmp_path, "a"))


def test_a_file_in_the_place_of_the_registry(registry: IdRegistry, tmp_path: Path) -> None:
    Path(registry.folder).touch()
    with pytest.raises(StateError, match="cannot use"):
        registry.allocate(jail(tmp_path, "a"))


@pytest.mark.needs("root")
def test_another_user_has_no_say(registry: IdRegistry, tmp_path: Path) -> None:
    owner = jail(tmp_path, "a")
    registry.allocate(owner)
    shared = IdRegistry(registry.folder, registry.files)

    def try_it() -> str:
        with pytest.raises((PrivilegeError, RealizeError)) as caught:
            shared.allocate(owner)
        return caught.value.brief

    assert "cannot use" in in_child(try_it, uid=NOBODY)
