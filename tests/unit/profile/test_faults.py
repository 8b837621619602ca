"""Every fault of a profile, with its position, its key and what was probably meant."""

# ruff: noqa: E501 - a fault is one line, as it is printed

from __future__ import annotations

from pathlib import Path

import pytest

from jailkit.profile.checks import MAX_PATTERNS
from jailkit.profile.compose import MAX_NODES
from jailkit.profile.names import MAX_PATTERN
from jailkit.profile.read import MAX_BYTES

from .conftest import Faults

CASES: list[tuple[str, str, list[str]]] = [
    (
        "nothing wrong",
        "name: x\n",
        [],
    ),
    (
        "no name",
        "description: x\n",
        [
            "1:1 name: is required",
        ],
    ),
    (
        "a key without a value is not there",
        """\
name: x
binaries:
limits:
  memory:
""",
        [],
    ),
    (
        "a name without a value is not there",
        "name:\n",
        [
            "1:1 name: is required",
        ],
    ),
    (
        "misspelt key",
        """\
name: x
binarys: [sh]
""",
        [
            "2:1 binarys: unknown key -> binaries",
        ],
    ),
    (
        "misspelt key without a value",
        """\
name: x
binarys:
limits: {memroy: }
isolation:
  capabilties:
users: [{name: a, uids: }]
""",
        [
            "2:1 binarys: unknown key -> binaries",
            "3:10 limits.memroy: unknown key -> memory",
            "5:3 isolation.capabilties: unknown key -> capabilities",
            "6:19 users[0].uids: unknown key -> uid",
        ],
    ),
    (
        "a comma that begins another key",
        """\
name: x
limits: {cpuset: 0-1,3}
""",
        [
            "2:22 limits.3: unknown key",
        ],
    ),
    (
        "an item without a value",
        """\
name: x
extends: [~]
keep-privileges:
-
""",
        [
            "2:11 extends: expected text, got nothing",
            "4:2 keep-privileges[0]: expected text, got nothing",
        ],
    ),
    (
        "snake case",
        """\
name: x
accept_gaps: []
""",
        [
            "2:1 accept_gaps: unknown key -> accept-gaps",
        ],
    ),
    (
        "unlike any key",
        """\
name: x
qqq: 1
""",
        [
            "2:1 qqq: unknown key",
        ],
    ),
    (
        "key of a section at the top",
        """\
name: x
memory: 5
no_new_privileges: true
""",
        [
            "2:1 memory: unknown key -> limits.memory",
            "3:1 no_new_privileges: unknown key -> isolation.no-new-privileges",
        ],
    ),
    (
        "misspelt below",
        """\
name: x
limits: {memry: 1}
isolation: {netwrk: none}
""",
        [
            "2:10 limits.memry: unknown key -> memory",
            "3:13 isolation.netwrk: unknown key -> network",
        ],
    ),
    (
        "misspelt in lists",
        """\
name: x
binaries:
- sh
- {name: ls, optinal: true}
users:
- {name: a, uids: 1}
""",
        [
            "4:14 binaries[1].optinal: unknown key -> optional",
            "6:13 users[0].uids: unknown key -> uid",
        ],
    ),
    (
        "misspelt in entries of mappings",
        """\
name: x
text:
  /a: {content: x, moed: 1}
""",
        [
            "3:20 text[/a].moed: unknown key -> mode",
        ],
    ),
    (
        "misspelt in the deepest place",
        """\
name: x
smoke:
- command: a
  stdout: {contain: x}
limits:
  io:
  - {path: /, read_bps: 1}
""",
        [
            "4:12 smoke[0].stdout.contain: unknown key -> contains",
            "7:15 limits.io[0].read_bps: unknown key -> read-bps",
        ],
    ),
    (
        "wrong kinds",
        """\
name: [x]
binaries: sh
limits: 5
environment: [A]
users: {a: b}
text: x
""",
        [
            "1:7 name: expected a name of small letters, digits, dots, dashes and underscores, got a list",
            "2:11 binaries: expected a list, got 'sh'",
            "3:9 limits: expected keys and values, got 5",
            "4:14 environment: expected keys and values, got a list",
            "5:8 users: expected a list, got a mapping",
            "6:7 text: expected keys and values, got 'x'",
        ],
    ),
    (
        "wrong kinds in lists",
        """\
name: x
binaries: [~, [a], {}, 5, true]
users: [bob]
""",
        [
            "2:12 binaries[0]: expected keys and values, got nothing",
            "2:15 binaries[1]: expected keys and values, got a list",
            "2:20 binaries[2].name: is required",
            "2:24 binaries[3]: expected text, got 5; put it in quotes",
            "2:27 binaries[4]: expected text, got true; put it in quotes",
            "3:9 users[0]: expected keys and values, got 'bob'",
        ],
    ),
    (
        "limits",
        """\
name: x
limits:
  memory: lots
  swap: -1
  cpus: many
  cpuset: 3-1
  pids: 0
  open-files: 1
  file-size: 1e3x
  wall-time: soon
""",
        [
            "3:11 limits.memory: expected a size such as 64MiB, got 'lots'",
            "4:9 limits.swap: expected a size such as 64MiB, got -1",
            "5:9 limits.cpus: expected a number of CPUs such as 1.5 or 50%, got 'many'",
            "6:11 limits.cpuset: the range 3-1 runs backwards",
            "7:9 limits.pids: expected a number from 1 to 4194304, got 0",
            "8:15 limits.open-files: expected a number from 4 to 1073741824, got 1",
            "9:14 limits.file-size: expected a size such as 64MiB, got '1e3x'",
            "10:14 limits.wall-time: expected a duration such as 30s, 5m or 1h30m, got 'soon'",
        ],
    ),
    (
        "a limit of nothing",
        """\
name: x
limits: {io: [{path: /}]}
""",
        [
            "2:15 limits.io[0]: sets no limit",
        ],
    ),
    (
        "isolation",
        """\
name: x
level: chrot
isolation:
  namespaces: [mount, nett]
  capabilities: [net_raw, sys_admn]
  no-new-privileges: on
  seccomp: Default
  network: bridged
""",
        [
            "2:8 level: expected one of chroot-root, chroot, chroot-hardened, lxc-privileged, lxc, got 'chrot' -> chroot",
            "4:23 isolation.namespaces[1]: expected one of mount, pid, ipc, uts, net, user, cgroup, time, got 'nett' -> net",
            "5:27 isolation.capabilities[1]: 'sys_admn' is no capability -> CAP_SYS_ADMIN",
            "6:22 isolation.no-new-privileges: expected true or false, got 'on' -> true",
            "7:12 isolation.seccomp: expected the name of a policy, got 'Default'",
            "8:12 isolation.network: expected one of none, host, bridge, got 'bridged' -> bridge",
        ],
    ),
    (
        "a policy that there is not",
        """\
name: x
isolation:
  seccomp: defualt
""",
        [
            "3:12 isolation.seccomp: there is no policy named 'defualt', only default, privileged, strict, none -> default",
        ],
    ),
    (
        "the baseline is no level",
        """\
name: x
level: host
""",
        [
            "2:8 level: expected one of chroot-root, chroot, chroot-hardened, lxc-privileged, lxc, got 'host' -> chroot",
        ],
    ),
    (
        "modes",
        """\
name: x
directories:
- {path: /a, mode: 0777}
- {path: /b, mode: 4755}
- {path: /c, mode: 888}
- {path: /d, mode: 1777}
""",
        [
            "3:20 directories[0].mode: mode 0777 lets every user write; only a sticky directory (1777) may do that",
            "4:20 directories[1].mode: setuid and setgid bits are not set by a mode; list the path under `keep-privileges`",
            "5:20 directories[2].mode: expected an octal mode such as 0644, got 888",
        ],
    ),
    (
        "environment",
        """\
name: x
environment: {A: 1, B: 1.10, C: true, D: '', E: , F-G: x, H: "a\\nb"}
""",
        [
            "2:24 environment.B: expected text, got 1.1; put it in quotes",
            "2:33 environment.C: expected text, got true; put it in quotes",
            "2:49 environment.E: expected text, got nothing",
            "2:51 environment.F-G: expected the name of a variable: letters, digits and underscores, got 'F-G'",
            "2:62 environment.H: 'a\\nb' holds a control character",
        ],
    ),
    (
        "names that are paths",
        """\
name: ../x
binaries: [../x, bin/sh]
packages: [../x]
users: [{name: ../x}]
""",
        [
            "1:7 name: expected a name of small letters, digits, dots, dashes and underscores, got '../x'",
            "2:12 binaries[0]: expected a name or an absolute path, got '../x'",
            "2:18 binaries[1]: expected a name or an absolute path, got 'bin/sh'",
            "3:12 packages[0]: expected the name of a Debian package, got '../x'",
            "4:16 users[0].name: expected the name of a user, got '../x'",
        ],
    ),
    (
        "traversal",
        """\
name: x
files: [{source: /etc/../root, target: /a/../../b}]
directories: [../x]
workdir: /a/..
text: {/a/../b: x}
symlinks: {/a/./b: c}
keep-privileges: [bin/su]
""",
        [
            "2:18 files[0].source: '/etc/../root' must not contain `..`",
            "2:40 files[0].target: '/a/../../b' must not contain `..`",
            "3:15 directories[0]: expected an absolute path in the jail, got '../x'",
            "4:10 workdir: '/a/..' must not contain `..`",
            "5:8 text[/a/../b]: '/a/../b' must not contain `..`",
            "6:12 symlinks[/a/./b]: '/a/./b' must not contain `.`",
            "7:19 keep-privileges[0]: expected an absolute path in the jail, got 'bin/su'",
        ],
    ),
    (
        "trees of the kernel",
        """\
name: x
files: [/proc/kcore, {source: /etc/hosts, target: /sys/x}, /dev/sda]
text: {/proc/sys/kernel/core_pattern: x, /dev/null: x}
symlinks: {/a: /proc/self/root, /proc: /tmp}
mounts: [{type: bind, source: /proc, target: /p}]
""",
        [
            "2:9 files[0]: '/proc/kcore' is in /proc, which belongs to the kernel",
            "2:51 files[1].target: '/sys/x' is in /sys, which belongs to the kernel",
            "2:60 files[2]: '/dev/sda' is in /dev, which belongs to the kernel",
            "3:8 text[/proc/sys/kernel/core_pattern]: '/proc/sys/kernel/core_pattern' is in /proc, which belongs to the kernel",
            "3:42 text[/dev/null]: '/dev/null' is in /dev, which holds only what `devices` lists",
            "4:16 symlinks[/a]: '/proc/self/root' is in /proc, which belongs to the kernel",
            "4:33 symlinks[/proc]: '/proc' is in /proc, which belongs to the kernel",
            "5:31 mounts[0].source: '/proc' is in /proc, which belongs to the kernel",
        ],
    ),
    (
        "links that leave",
        """\
name: x
symlinks:
  /a/b: ../../x
  /c: /../etc
  /d: ..
  /e: ../e
""",
        [
            "3:9 symlinks[/a/b]: the target '../../x' climbs above the jail's root",
            "4:7 symlinks[/c]: the target '/../etc' climbs above the jail's root",
            "5:7 symlinks[/d]: the target '..' climbs above the jail's root",
            "6:7 symlinks[/e]: the target '../e' climbs above the jail's root",
        ],
    ),
    (
        "through links",
        """\
name: x
symlinks: {/a: /etc}
files: [{source: /etc/hosts, target: /a/hosts}]
directories: [/a/b/c, /ab]
text: {/a/passwd: x}
""",
        [
            "3:38 files[0].target: '/a/hosts' is below '/a', which `symlinks` makes a link",
            "4:15 directories[0]: '/a/b/c' is below '/a', which `symlinks` makes a link",
            "5:19 text[/a/passwd]: '/a/passwd' is below '/a', which `symlinks` makes a link",
        ],
    ),
    (
        "the same target twice",
        """\
name: x
files: [{source: /etc/hosts, target: /a}, {source: /etc/passwd, target: /a/}]
directories: [/d, /d/]
symlinks: {/d: e, /dev/null: zero}
text: {/a: x}
""",
        [
            "2:73 files[1].target: '/a' is claimed by `files` already",
            "3:19 directories[1]: '/d' is claimed by `directories` already",
            "4:16 symlinks[/d]: '/d' is claimed by `directories` already",
            "4:30 symlinks[/dev/null]: '/dev/null' is claimed by `devices` already",
            "5:12 text[/a]: '/a' is claimed by `files` already",
        ],
    ),
    (
        "relative sources",
        """\
name: x
files: [site, {source: ./site}, {source: ../site, target: /a}, {source: '', target: /b}]
""",
        [
            "2:9 files[0]: a relative source needs a `target`",
            "2:15 files[1]: a relative source needs a `target`",
            "2:42 files[2].source: '../site' must not contain `..`",
            "2:73 files[3].source: must not be empty",
        ],
    ),
    (
        "users",
        """\
name: x
users:
- {name: a, uid: 5}
- {name: a, uid: 6}
- {name: b, uid: 5}
- {name: root, uid: 7}
- {name: c, uid: 0}
- {name: d, uid: -1}
""",
        [
            "4:10 users[1].name: user a is given twice",
            "5:18 users[2].uid: uid 5 is a's already",
            "6:21 users[3].uid: uid 0 is root's, and root has no other",
            "7:18 users[4].uid: uid 0 is root's, and root has no other",
            "8:18 users[5].uid: expected a number from 0 to 4294967294, got -1",
        ],
    ),
    (
        "users that are not there",
        """\
name: x
users: [{name: alice, uid: 1000}]
isolation: {user: alise}
directories: [{path: /a, owner: alcie}, {path: /b, owner: alice:staf}]
text: {/c: {content: x, owner: bob}}
smoke: [{command: id, user: bob}]
""",
        [
            "3:19 isolation.user: there is no user 'alise' among `users` -> alice",
            "4:33 directories[0].owner: there is no user 'alcie' among `users` -> alice",
            "4:59 directories[1].owner: there is no user 'staf' among `users`",
            "5:32 text[/c].owner: there is no user 'bob' among `users`",
            "6:29 smoke[0].user: there is no user 'bob' among `users`",
        ],
    ),
    (
        "users that are",
        """\
name: x
isolation: {user: 5000}
directories: [{path: /a, owner: root:root}, {path: /b, owner: 5:6}, {path: /c, owner: 7}]
smoke: [{command: id, user: jail}, {command: id, user: nobody}]
""",
        [],
    ),
    (
        "gaps",
        """\
name: x
accept-gaps: [limits.memory, limits.memry, memory, mounts, name, 5]
""",
        [
            "2:30 accept-gaps[1]: 'limits.memry' is no setting that could be a gap -> limits.memory",
            "2:44 accept-gaps[2]: 'memory' is no setting that could be a gap -> limits.memory",
            "2:60 accept-gaps[4]: 'name' is no setting that could be a gap",
            "2:66 accept-gaps[5]: '5' is no setting that could be a gap",
        ],
    ),
    (
        "mounts",
        """\
name: x
mounts:
- {type: bind, target: /a, size: 5}
- {type: tmpfs, source: /x, target: /b}
- {type: tmpfs, target: /b/}
- {type: nfs, target: /c}
- {type: tmpfs}
""",
        [
            "3:10 mounts[0].type: a bind mount needs a `source`",
            "3:34 mounts[0].size: only a tmpfs has a size",
            "4:25 mounts[1].source: a tmpfs has no source",
            "5:25 mounts[2].target: '/b' is mounted on already",
            "6:10 mounts[3].type: expected one of bind, tmpfs, got 'nfs'",
            "7:3 mounts[4].target: is required",
        ],
    ),
    (
        "ports and destinations",
        """\
name: x
isolation:
  network: bridge
  ports: [8080, 80:http, 8080:80, 127.0.0.1:8080:81, 127.0.0.2:8080:80, 0.0.0.0:8080:80, 8080:80/udp, 1.2.3.4:0:1]
  allow: [example.org, 192.0.2.7/24, '192.0.2.7:443/icmp', 2001:db8::1]
""",
        [
            "4:11 isolation.ports[0]: expected a port such as 127.0.0.1:8080:80 or 5353:53/udp, got 8080",
            "4:17 isolation.ports[1]: expected a port such as 127.0.0.1:8080:80 or 5353:53/udp, got '80:http'",
            "4:103 isolation.ports[7]: expected a port such as 127.0.0.1:8080:80 or 5353:53/udp, got '1.2.3.4:0:1'",
            "5:11 isolation.allow[0]: expected an address or a network such as 192.0.2.0/24 or 192.0.2.7:443, and no name, got 'example.org'",
            "5:24 isolation.allow[1]: '192.0.2.7/24' is an address within a network, not the network's own -> 192.0.2.0/24",
            "5:38 isolation.allow[2]: expected an address or a network such as 192.0.2.0/24 or 192.0.2.7:443, and no name, got '192.0.2.7:443/icmp'",
            "5:60 isolation.allow[3]: expected an address or a network such as 192.0.2.0/24 or 192.0.2.7:443, and no name, got '2001:db8::1'",
        ],
    ),
    (
        "ports that are published twice",
        """\
name: x
isolation:
  network: bridge
  ports: [8080:80, 127.0.0.1:8080:81, 127.0.0.2:8080:80, 0.0.0.0:8080:80, 8080:80/udp]
""",
        [
            "4:20 isolation.ports[1]: 127.0.0.1:8080/tcp is published already",
            "4:58 isolation.ports[3]: 0.0.0.0:8080/tcp is published already",
        ],
    ),
    (
        "what only a bridge has",
        """\
name: x
isolation: {network: none, ports: ['80:80'], allow: []}
""",
        [
            "2:35 isolation.ports: only `network: bridge` has ports to publish",
            "2:53 isolation.allow: only `network: bridge` can be limited to destinations",
        ],
    ),
    (
        "a network that is misspelt is not told twice",
        """\
name: x
isolation: {network: bridged, ports: ['80:80']}
""",
        [
            "2:22 isolation.network: expected one of none, host, bridge, got 'bridged' -> bridge",
        ],
    ),
    (
        "volumes",
        """\
name: x
symlinks: {/l: /srv}
mounts: [{type: tmpfs, target: /run}]
volumes: [/a/b, /, /proc/x, /dev/shm, a, /a, /ab, /run, /run/x, /l/y, /ab/, /runs]
""",
        [
            "4:11 volumes[0]: '/a/b' is in the volume '/a'",
            "4:17 volumes[1]: the jail's root itself cannot be an entry",
            "4:20 volumes[2]: '/proc/x' is in /proc, which belongs to the kernel",
            "4:29 volumes[3]: '/dev/shm' is in /dev, which holds only what `devices` lists",
            "4:39 volumes[4]: expected an absolute path in the jail, got 'a'",
            "4:51 volumes[7]: '/run' is in '/run', which is mounted on",
            "4:57 volumes[8]: '/run/x' is in the volume '/run'",
            "4:65 volumes[9]: '/l/y' is below '/l', which `symlinks` makes a link",
            "4:71 volumes[10]: '/ab' is a volume already",
        ],
    ),
    (
        "stopping",
        """\
name: x
stop-signal: sigterm
stop-timeout: 0
""",
        [
            "2:14 stop-signal: expected the name of a signal such as TERM or SIGHUP, got 'sigterm' -> SIGTERM",
            "3:15 stop-timeout: expected a duration above 0 and at most 1000000000 s, got 0",
        ],
    ),
    (
        "smoke",
        """\
name: x
smoke:
- command: ''
- command: a
  exit-code: 256
- command: a
  stdout: {}
- command: a
  stdout: {equals: x, contains: y}
- command: a
  stdout: {matches: '('}
- stdin: x
""",
        [
            "3:12 smoke[0].command: a command needs a first word",
            "5:14 smoke[1].exit-code: expected a number from 0 to 255, got 256",
            "7:11 smoke[2].stdout: needs exactly one of equals, contains and matches",
            "9:11 smoke[3].stdout: needs exactly one of equals, contains and matches",
            "11:21 smoke[4].stdout.matches: '(' is no regular expression: missing ), unterminated subpattern at position 0",
            "12:3 smoke[5].command: is required",
        ],
    ),
    (
        "expressions",
        f"""\
name: x
smoke:
- {{command: a, stdout: {{matches: '{"a" * 300}'}}}}
- {{command: a, stdout: {{matches: '{"b" * 301}'}}}}
- {{command: a, stdout: {{matches: '(?i)('}}}}
- {{command: a, stdout: {{matches: '[[a]'}}}}
- {{command: a, stdout: {{matches: '{"c" * 300}'}}}}
- {{command: a, stdout: {{matches: '{"d" * 300}'}}}}
- {{command: a, stdout: {{matches: '('}}}}
""",
        [
            "4:34 smoke[1].stdout.matches: the expression has more than 300 characters",
            "5:34 smoke[2].stdout.matches: '(?i)(' is no regular expression: missing ), unterminated subpattern at position 4",
            "8:34 smoke[5].stdout.matches: the expressions of this profile have more than 800 characters together",
        ],
    ),
    (
        "devices",
        """\
name: x
devices: [null, zero, sda]
""",
        [
            "2:23 devices[2]: expected one of null, zero, full, random, urandom, tty, got 'sda'",
        ],
    ),
    (
        "faults of every layer at once",
        """\
name: X
name: y
limits: {memory: !!int 5}
binarys: []
symlinks: {/a: ..}
""",
        [
            "1:7 name: expected a name of small letters, digits, dots, dashes and underscores, got 'X'",
            "2:1 the key 'name' is given twice; the first is on line 1",
            "3:18 the tag '!!int' is not allowed; a profile holds plain values only",
            "4:1 binarys: unknown key -> binaries",
            "5:16 symlinks[/a]: the target '..' climbs above the jail's root",
        ],
    ),
    (
        "what was told is not told twice",
        'name: "\\0"\n',
        [
            "1:7 '\\x00' holds a control character",
        ],
    ),
    (
        "through an alias, at what it names",
        """\
name: x
limits: {memory: &a lots, swap: *a}
""",
        [
            "2:18 limits.memory: expected a size such as 64MiB, got 'lots'",
            "2:18 limits.swap: expected a size such as 64MiB, got 'lots'",
        ],
    ),
    (
        "no YAML",
        """\
name: x
limits: {memory
""",
        [
            "3:1 not YAML: did not find expected ',' or '}'",
        ],
    ),
    (
        "a glob that is not quoted",
        """\
name: x
files: [*.txt]
""",
        [
            "2:10 not YAML: a text cannot begin with `*` or `&`; put it in quotes",
        ],
    ),
    (
        "a character that YAML keeps for itself",
        """\
name: x
limits: {cpus: %50}
""",
        [
            "2:16 not YAML: a text cannot begin with this character; put it in quotes",
        ],
    ),
    (
        "a colon in a text",
        """\
name: x
description: a: b
""",
        [
            "2:15 not YAML: a key is not expected here; quote a text with `: `, and indent all keys alike",
        ],
    ),
    (
        "numbers beyond measure",
        """\
name: x
limits: {pids: 99999999999999999999, memory: 1e400, cpus: .inf}
""",
        [
            "2:16 limits.pids: expected a whole number from 1 to 4194304, got '99999999999999999999'",
            "2:46 limits.memory: expected a size such as 64MiB, got '1e400'",
            "2:59 limits.cpus: expected a number of CPUs such as 1.5 or 50%, got '.inf'",
        ],
    ),
    (
        "a tab",
        """\
name: x
binaries:
\t- ls
""",
        [
            "3:1 not YAML: there is a tab; indent with spaces",
        ],
    ),
]


@pytest.mark.parametrize(("summary", "text", "expected"), CASES, ids=[case[0] for case in CASES])
def test_faults(faults: Faults, summary: str, text: str, expected: list[str]) -> None:
    assert faults(text) == expected, summary


@pytest.mark.parametrize(("length", "found"), [(248, 0), (249, 1)])
def test_a_volume_has_one_name_where_it_is_kept(faults: Faults, length: int, found: int) -> None:
    told = faults(f"name: x\nvolumes: [/a/{'b' * length}]\n")
    assert [fault.endswith("is too long for the path of a volume") for fault in told] == [True] * found


def test_the_number_of_faults_is_bounded(faults: Faults) -> None:
    found = faults("name: x\n" + "".join(f"k{number}: 1\n" for number in range(500)))
    assert len(found) == 101
    assert found[0] == "2:1 k0: unknown key"
    assert found[-1] == "0:0 there is more; these are 100 of its faults"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"name: x\nlevel: \xff\n", "2:8 byte 0xff is not UTF-8"),
        (b"name: x\nlevel: \xc3\n", "2:8 byte 0xc3 is not UTF-8"),
        ("name: x\n".encode("utf-16"), "1:1 byte 0xff is not UTF-8"),
        (b"name: x\n# \x00\n", "2:3 control character U+0000 is not allowed"),
        (b"name: x\n\x1b[2J\n", "2:1 control character U+001B is not allowed"),
        ("name: x # \x9b\n".encode(), "1:11 control character U+009B is not allowed"),
        (b"name: x\x0c\n", "1:8 control character U+000C is not allowed"),
    ],
)
def test_bytes(faults: Faults, content: bytes, fault: str) -> None:
    assert faults(content) == [fault]


def test_windows_files_are_read(faults: Faults) -> None:
    assert faults("\ufeffname: x\r\nbinaries:\r\n- sh\r\n".encode()) == []


def test_the_bounds_are_told() -> None:
    document = (Path(__file__).parents[3] / "docs" / "profile.md").read_text()
    assert f"larger than {MAX_BYTES >> 20} MiB" in document
    assert f"more than {MAX_NODES:,} values" in document
    assert f"more than {MAX_PATTERN} characters or {MAX_PATTERNS} together" in document
