"""What a program needs and its ELF headers do not show: the small files and directories of any system."""

from __future__ import annotations

from collections.abc import Iterable

from jailkit.host import Host
from jailkit.linux.devices import DEVICES
from jailkit.plan.gather import Gatherer
from jailkit.plan.model import Copy, Device, Directory, Entry, Reason, Symlink, Text

BASE = Reason("base", "base")
HIDDEN = Reason("base", "hidden")

LD_SO_CACHE = "/etc/ld.so.cache"

_STICKY = ("/tmp", "/var/tmp")  # noqa: S108 - directories in the jail
_DIRECTORIES = ("/dev", "/etc", "/home", "/proc", "/run", "/sys", "/usr", "/var")
_USR_MERGE = ("/bin", "/sbin", "/lib", "/lib64")

# Without it glibc asks modules that are not in the jail; files and dns are inside libc since glibc 2.34.
_NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n"
_HOSTS = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"


def skeleton(host: Host) -> list[Entry]:
    """Give the directories, the links of a merged /usr as this host has them, and the resolver's files."""
    entries: list[Entry] = [Directory(path, BASE) for path in _DIRECTORIES]
    entries += [Directory(path, BASE, 0o1777) for path in _STICKY]
    entries.append(Directory("/root", BASE, 0o700))
    for path in _USR_MERGE:
        walk = host.walk(path)
        if walk.links:
            entries.append(Symlink(path, walk.links[0].target, BASE))
            entries.append(Directory(walk.real, BASE))
    entries.append(Text("/etc/nsswitch.conf", _NSSWITCH, HIDDEN))
    entries.append(Text("/etc/hosts", _HOSTS, HIDDEN))
    return entries


def devices(names: Iterable[str] | None) -> list[Entry]:
    """Give the device nodes that a profile names; None gives those that every jail has."""
    if names is None:
        return [Device(f"/dev/{name}", *numbers, BASE) for name, numbers in DEVICES.items()]
    return [Device(f"/dev/{name}", *DEVICES[name], Reason(f"devices: {name}", "named")) for name in names]


def system_files(gatherer: Gatherer) -> None:
    """Gather the host's time zone, name servers and loader configuration.

    resolv.conf is often a link into /run, which a jail does not have, so its content is copied to its own path.
    The loader's cache is written after all files are in place.
    """
    host = gatherer.host
    if host.lstat("/etc/localtime") is not None:
        gatherer.file("/etc/localtime", HIDDEN, tolerant=True)
    resolver = host.walk("/etc/resolv.conf").real
    if host.read_text(resolver) is not None:
        gatherer.batch.add(Copy("/etc/resolv.conf", resolver, HIDDEN))
    for path in ("/etc/ld.so.conf", "/etc/ld.so.preload", *host.glob("/etc/ld.so.conf.d/*.conf")):
        if host.read_text(path) is not None:
            gatherer.file(path, HIDDEN, tolerant=True)
