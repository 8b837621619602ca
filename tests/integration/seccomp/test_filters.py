"""The shipped policies in the real kernel: each refusal is tried, and ordinary programs notice nothing."""

from __future__ import annotations

import errno
import importlib
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from support.children import ChildFailedError, in_child
from support.filters import PYTHON, build_probe, errnos, matching, run_filtered

from jailkit.linux.libc import SeccompFilter, seccomp_set_mode_filter
from jailkit.profile.find import shipped_policies
from jailkit.seccomp import load_policy, to_bpf

pytestmark = pytest.mark.needs("seccomp-filter", "python3-seccomp")
POLICIES = shipped_policies()
AF_VSOCK, AF_NETLINK, AF_INET, NETLINK_AUDIT, NETLINK_ROUTE = 40, 16, 2, 9, 0
TCGETS, CLONE_FS, X32 = 0x5401, 0x200, 0x40000000


@pytest.fixture(
    scope="module", params=[pytest.param("-m64"), pytest.param("-m32", marks=pytest.mark.needs("gcc-multilib"))]
)
def interface(request: pytest.FixtureRequest) -> str:
    """Give a flag of gcc that stands for one of the machine's interfaces."""
    if os.uname().machine != "x86_64":
        pytest.skip("the numbers below are those of x86")
    return str(request.param)


@pytest.fixture(scope="module")
def probe(interface: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_probe(tmp_path_factory.mktemp("calls"), interface)


def number_of(interface: str, call: str) -> int:
    seccomp = importlib.import_module("seccomp")
    if interface == "-m32" and call in ("socket", "socketpair"):
        return {"socket": 359, "socketpair": 360}[call]  # libseccomp gives the number of socketcall(2)
    return int(seccomp.resolve_syscall(seccomp.Arch({"-m64": "x86_64", "-m32": "x86"}[interface]), call))


def written(number: int, arguments: list[int]) -> str:
    return ":".join(map(str, [number, *arguments]))


@pytest.mark.parametrize("name", POLICIES)
def test_every_refusal(name: str, interface: str, probe: Path) -> None:
    policy = load_policy(name)
    tried = [
        (number_of(interface, call), matching(case), rule.errno)
        for rule in policy.rules
        for call in rule.calls
        for case in rule.alternatives
    ]
    tried = [row for row in tried if row[0] >= 0]
    assert len(tried) > 50
    found = errnos(run_filtered(to_bpf(policy), [probe, *(written(number, rest) for number, rest, _ in tried)]))
    assert list(zip(tried, found, strict=True)) == [(row, row[2]) for row in tried]


@pytest.mark.parametrize("name", POLICIES)
def test_what_stays_allowed(name: str, interface: str, probe: Path) -> None:
    calls = [
        ("socket", [AF_NETLINK, 3, NETLINK_ROUTE], 0),
        ("socket", [AF_INET, 1, 0], 0),
        ("unshare", [CLONE_FS], 0),
        ("ioctl", [1, TCGETS, 0], errno.ENOTTY),
        ("fchmod", [-1, 0o777], errno.EBADF),
        ("read", [-1], errno.EBADF),
        ("seccomp", [-1], errno.EINVAL),
        ("futex", [1, -1], errno.ENOSYS),
    ]
    rows = [written(number_of(interface, call), (rest + [0] * 6)[:6]) for call, rest, _ in calls]
    assert errnos(run_filtered(to_bpf(load_policy(name)), [probe, *rows])) == [expected for *_, expected in calls]


def test_newer_calls_do_not_exist(probe: Path) -> None:
    program = to_bpf(load_policy("default"))
    cachestat, listmount, later = 451, 458, 5000
    rows = [written(number, [-1] * 6) for number in (cachestat, listmount, later)]
    assert errnos(run_filtered(program, [probe, *rows])) == [errno.ENOSYS] * 3


def test_another_interface_ends_the_process(interface: str, probe: Path) -> None:
    if interface == "-m32":
        pytest.skip("x32 is entered from 64 bits")
    done = run_filtered(to_bpf(load_policy("default")), [probe, written(X32 | 39, [0] * 6)])
    assert done.returncode == -signal.SIGSYS


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize(
    ("command", "output"),
    [
        (["sh", "-c", "echo a | cat; exec true"], r"a\n"),
        (["bash", "-c", 'read -r x < <(echo deep); echo "$x"; (sleep 0 & wait); ulimit -n >/dev/null'], r"deep\n"),
        (
            [*PYTHON, "import threading as t; w = t.Thread(target=print, args=('in a thread',)); w.start(); w.join()"],
            r"in a thread\n",
        ),
        ([*PYTHON, "import os; os.waitpid(os.posix_spawn('/bin/echo', ['echo', 'spawned'], {}), 0)"], r"spawned\n"),
        ([*PYTHON, "import subprocess; print(subprocess.run(['true']).returncode)"], r"0\n"),
        ([*PYTHON, "import socket; a, b = socket.socketpair(); a.send(b'x'); print(b.recv(1))"], r"b'x'\n"),
        ([*PYTHON, "import multiprocessing as m; print(m.get_context('fork').Value('i', 3).value)"], r"3\n"),
        ([*PYTHON, "import asyncio; print(asyncio.run(asyncio.sleep(0.01, 'slept')))"], r"slept\n"),
        pytest.param(["git", "--version"], r"git version .*\n", marks=pytest.mark.needs("git")),
        pytest.param(["perl", "-e", "print qx(echo hi)"], r"hi\n", marks=pytest.mark.needs("perl")),
        pytest.param(["nginx", "-v"], r"nginx version.*\n", marks=pytest.mark.needs("nginx")),
        pytest.param(["busybox", "sh", "-c", "echo $((1 + 1))"], r"2\n", marks=pytest.mark.needs("busybox")),
        pytest.param(["openssl", "rand", "-hex", "1"], r"[0-9a-f]{2}\n", marks=pytest.mark.needs("openssl")),
    ],
)
def test_ordinary_programs(name: str, command: list[str], output: str) -> None:
    done = run_filtered(to_bpf(load_policy(name)), command, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    assert re.fullmatch(output, done.stdout + done.stderr), (done.returncode, done.stdout, done.stderr)


def test_threads_of_32_bit_programs(interface: str, tmp_path: Path) -> None:
    source, program = tmp_path / "threads.c", tmp_path / "threads"
    source.write_text(
        "#include <pthread.h>\n#include <spawn.h>\n#include <stdio.h>\n#include <sys/wait.h>\n"
        "static void *run(void *x) { puts(x); return 0; }\n"
        'int main(void) { pthread_t t; int s; pid_t p; char *a[] = {"true", 0};\n'
        '  if (pthread_create(&t, 0, run, "thread") || pthread_join(t, 0)) return 1;\n'
        '  return posix_spawn(&p, "/bin/true", 0, 0, a, 0) || waitpid(p, &s, 0) != p || s; }\n'
    )
    subprocess.run(["gcc", interface, "-pthread", "-o", program, source], check=True, timeout=60)
    done = run_filtered(to_bpf(load_policy("strict")), [program])
    assert (done.returncode, done.stdout) == (0, "thread\n")


@pytest.mark.parametrize("program", [b"", b"x", bytes(7), bytes(8 * 4097)])
def test_bytes_that_are_no_program(program: bytes) -> None:
    with pytest.raises(OSError, match="are no program") as caught:
        SeccompFilter(program)
    assert caught.value.errno == errno.EINVAL


def test_a_program_that_the_kernel_refuses() -> None:
    with pytest.raises(ChildFailedError, match="seccomp: Invalid argument"):
        in_child(lambda: seccomp_set_mode_filter(SeccompFilter(bytes(8))))
