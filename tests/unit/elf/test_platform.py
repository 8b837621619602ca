"""What loaders' binaries say, CPUs, tokens and paths: the small parts."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from support.handmade import Image

from jailkit.elf import Elf, read_elf
from jailkit.elf.cpu import Cpu, read_cpu
from jailkit.elf.platform import Glibc, Musl, read_platform
from jailkit.elf.root import Root
from jailkit.elf.tokens import expand
from jailkit.text import printable

V2 = "cx16 lahf_lm popcnt pni ssse3 sse4_1 sse4_2"
V3 = V2 + " avx avx2 f16c fma abm movbe"
V4 = V3 + " avx512f avx512bw avx512cd avx512dq avx512vl"
BOOKWORM = (
    b"\0-\0/lib/x86_64-linux-gnu/\0/usr/lib/x86_64-linux-gnu/\0/lib/\0/usr/lib/\0tls\0haswell\0lib/x86_64-linux-gnu\0"
    b"/usr/lib/x86_64-linux-gnu/\0/lib/\0/usr/lib/\0/\0libc.so.6\0x86-64-v4:x86-64-v3:x86-64-v2\0z13\0"
    b"ld.so (Debian GLIBC 2.36-9) stable release version 2.36.\n\0"
)


def elf(folder: Path, machine: int, bits: int = 64) -> Elf:
    (folder / "elf").write_bytes(Image(machine=machine, bits=bits).build())
    return read_elf(str(folder / "elf"))


def glibc(elf: Elf, data: bytes, cpu: Cpu) -> Glibc:
    facts = read_platform(elf, data, cpu)
    assert isinstance(facts, Glibc)
    return facts


def cpu(flags: str, vendor: str = "AuthenticAMD") -> Cpu:
    return Cpu(vendor, frozenset(flags.split()))


def test_glibc_of_debian_12(tmp_path: Path) -> None:
    facts = glibc(elf(tmp_path, 62), BOOKWORM, cpu(V3))
    assert facts.system_dirs == ("/lib/x86_64-linux-gnu/", "/usr/lib/x86_64-linux-gnu/", "/lib/", "/usr/lib/")
    assert (facts.lib, facts.platform) == ("lib/x86_64-linux-gnu", "x86_64")
    assert facts.levels == ("x86-64-v4", "x86-64-v3", "x86-64-v2")
    assert facts.active == {"x86-64-v3", "x86-64-v2"}
    assert facts.isa_level == 3
    assert [facts.rank(level) for level in (*facts.levels, "z13", "")] == [None, 1, 2, None, None]
    assert facts.legacy == ("tls/x86_64/x86_64/", "tls/x86_64/", "tls/", "x86_64/x86_64/", "x86_64/")
    assert facts.takes(0)
    assert facts.takes(1 << 1)
    assert not facts.takes(1 << 2)
    assert not facts.takes(1 << 49)


def test_glibc_of_today_has_no_legacy_directories(tmp_path: Path) -> None:
    facts = glibc(elf(tmp_path, 62), BOOKWORM.replace(b"2.36.\n", b"2.41.\n"), cpu(V2))
    assert facts.legacy == ()
    assert facts.takes(0)
    assert not facts.takes(1 << 1)


def test_intel_cpus_have_names(tmp_path: Path) -> None:
    file = elf(tmp_path, 62)
    haswell = cpu(V3 + " bmi1 bmi2", "GenuineIntel")
    assert glibc(file, BOOKWORM, haswell).platform == "haswell"
    assert glibc(file, BOOKWORM, haswell).legacy[0] == "tls/haswell/x86_64/"
    assert glibc(file, BOOKWORM, haswell).takes(1 << 50)
    assert glibc(file, BOOKWORM.replace(b"haswell", b"nothing"), haswell).platform == "x86_64"
    assert glibc(file, BOOKWORM, cpu(V3 + " bmi1 bmi2")).platform == "x86_64"
    skylake = cpu(V4 + " bmi1 bmi2", "GenuineIntel")
    assert glibc(file, BOOKWORM, skylake).legacy[0] == "tls/haswell/avx512_1/x86_64/"
    assert cpu("avx512cd avx512er avx512pf", "GenuineIntel").x86_platform == "xeon_phi"


def test_other_architectures(tmp_path: Path) -> None:
    arm = b"\0/lib/aarch64-linux-gnu/\0/usr/lib/aarch64-linux-gnu/\0/lib/\0/usr/lib/\0lib/aarch64-linux-gnu\0"
    facts = glibc(elf(tmp_path, 183), arm, cpu("fp asimd"))
    assert (facts.lib, facts.platform, facts.levels) == ("lib/aarch64-linux-gnu", "aarch64", ())
    small = b"\0/lib32/\0/usr/lib32/\0/lib/\0/usr/lib/\0lib32\0release version 2.36."
    facts = glibc(elf(tmp_path, 3, 32), small, cpu("sse2"))
    assert (facts.lib, facts.platform, facts.legacy[0]) == ("lib32", "i686", "tls/i686/sse2/")
    assert facts.takes(1 << 49)
    power = b"\0power7\0power10:power9\0power8\0/lib/powerpc64le-linux-gnu/\0"
    facts = glibc(elf(tmp_path, 21), power, cpu(""))
    assert (facts.levels, facts.active, facts.platform) == (("power10", "power9"), frozenset(), None)


def test_one_directory_and_lib_without_multiarch(tmp_path: Path) -> None:
    facts = glibc(elf(tmp_path, 62), b"\0/nix/store/abc-glibc-2.38/lib/\0lib\0", cpu(""))
    assert (facts.system_dirs, facts.lib) == (("/nix/store/abc-glibc-2.38/lib/",), "lib")


def test_libc_with_a_prefix_of_its_own(tmp_path: Path) -> None:
    file = elf(tmp_path, 62)
    assert glibc(file, BOOKWORM, cpu("")).cache_file == "/etc/ld.so.cache"
    assert glibc(file, b"\0/opt/libc\xff/etc/ld.so.cache\0", cpu("")).cache_file == "/opt/libc\udcff/etc/ld.so.cache"


def test_loader_that_says_nothing(tmp_path: Path) -> None:
    facts = glibc(elf(tmp_path, 62), b"", cpu(""))
    assert "/usr/lib/" in facts.system_dirs
    assert facts.levels == ()


def test_musl_says_its_architecture(tmp_path: Path) -> None:
    assert read_platform(elf(tmp_path, 62), b"x\0%.*s/etc/ld-musl-x86_64.path\0", cpu("")) == Musl("x86_64")


@pytest.mark.parametrize(("flags", "level"), [("", 1), (V2, 2), (V3, 3), (V4, 4), (V4.replace("pni ", ""), 1)])
def test_levels_include_each_other(flags: str, level: int) -> None:
    assert cpu(flags).x86_level == level


def test_cpuinfo(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu sse2\n\nprocessor\t: 1\nflags\t: no\n")
    assert read_cpu(str(info)) == Cpu("GenuineIntel", frozenset(("fpu", "sse2")))
    info.write_text("processor : 0\nFeatures\t: fp atomics\n")
    assert read_cpu(str(info)) == Cpu("", frozenset(("fp", "atomics")))
    assert read_cpu(str(tmp_path / "absent")) == Cpu("", frozenset())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$ORIGIN/a", "/o/a"), ("${ORIGIN}a", "/oa"), ("$ORIGINAL", "$ORIGINAL"), ("$ORIGIN_", "$ORIGIN_"),
        ("${ORIGIN", "${ORIGIN"), ("$$LIB$LIB", "$ll"), ("${LIB}}", "l}"), ("$", "$"), ("$PLATFORM/x", ""),
        ("$LIB-$ORIGIN", "l-/o"), ("plain", "plain"), ("$origin", "$origin"),
    ],
)  # fmt: skip
def test_tokens(text: str, expected: str) -> None:
    assert expand(text, "/o", "l", None) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/usr/lib/ä.so", "/usr/lib/ä.so"), ("\x1b[2J", "\\x1b[2J"), ("a\nb", "a\\nb"), ("\x9b", "\\x9b"),
        ("\udcff", "\\xff"), ("\u202e", "\\u202e"), ("\U000e0001", "\\U000e0001"),
    ],
)  # fmt: skip
def test_nothing_reaches_the_terminal_that_it_would_obey(text: str, expected: str) -> None:
    assert printable(text) == expected


class TestRoot:
    @pytest.fixture
    def top(self, tmp_path: Path) -> Path:
        (tmp_path / "secret").write_text("outside")
        (tmp_path / "top/usr/lib").mkdir(parents=True)
        (tmp_path / "top/usr/lib/file").write_text("inside")
        for name, target in (
            ("lib", "usr/lib"), ("abs", "/usr/lib"), ("up", "../../../usr"), ("out", "/secret"), ("two", "abs"),
            ("loop", "pool"), ("pool", "loop"), ("usr/self", ".."), ("empty", "usr/none"),
        ):  # fmt: skip
            (tmp_path / "top" / name).symlink_to(target)
        return tmp_path / "top"

    @pytest.mark.parametrize(
        ("path", "real"),
        [
            ("/lib/file", "/usr/lib/file"), ("/abs/file", "/usr/lib/file"), ("/up/lib//./file", "/usr/lib/file"),
            ("/two/../lib/file", "/usr/lib/file"), ("/../../lib", "/usr/lib"), ("/", "/"),
            ("/usr/self/lib", "/usr/lib"),
            ("/out", None), ("/empty", None), ("/usr/none/../lib", None), ("/lib/file/../file", None),
        ],
    )  # fmt: skip
    def test_links_are_followed_inside(self, top: Path, path: str, real: str | None) -> None:
        assert Root(str(top)).real(path) == real
        assert Root(str(top / "usr/..")).real(path) == real

    def test_loops_end(self, top: Path) -> None:
        with pytest.raises(OSError, match="loop") as caught:
            Root(str(top)).real("/loop/x")
        assert caught.value.errno == errno.ELOOP

    def test_directories(self, top: Path) -> None:
        root = Root(str(top))
        names = ("/lib", "/lib/file", "/none", "/loop")
        assert [root.is_directory(name) for name in names] == [True, False, False, False]
        assert root.names("/lib") == ["file"]
        assert root.names("/lib/file") == root.names("/loop") == root.names("/none") == []

    def test_relative_paths(self, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(top)
        assert Root(str(top)).absolute("x") == "/x"
        assert Root("/").absolute("x") == f"{top}/x"
        gone = top / "gone"
        gone.mkdir()
        monkeypatch.chdir(gone)
        os.rmdir(gone)
        assert Root("/").absolute("x") == "/x"
