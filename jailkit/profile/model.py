"""The profile as frozen models. Field descriptions feed the JSON Schema and the reference.

Names and types match the plain dataclasses of the plan, which the planner fills from here.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from jailkit.levels import DEFAULT_LEVEL
from jailkit.profile import fields
from jailkit.profile.fields import Short


def kebab(name: str) -> str:
    """Give the key of an attribute, as profiles spell it."""
    return name.replace("_", "-")


class _Model(BaseModel):
    # defer_build: the parts are built once, as parts of Profile, and only by a command that reads a profile.
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=kebab,
        defer_build=True,
        hide_input_in_errors=True,
    )


_OPTIONAL = "Go without it, with a warning, where the host does not have it."
_OWNER = "USER, UID, USER:GROUP or UID:GID. A name is root or one of `users`."


class Binary(_Model):
    """A program of the host, with the libraries and interpreters it needs."""

    name: fields.NameOrPath = Field(description="A name on the host's PATH, or an absolute path on the host.")
    optional: fields.Flag = Field(default=False, description=_OPTIONAL)


class Package(_Model):
    """All files of a Debian package that is installed on the host, without the packages that it depends on."""

    name: fields.Package = Field(description="The package's name, with `:arch` where that matters.")
    optional: fields.Flag = Field(default=False, description=_OPTIONAL)


class Library(_Model):
    """A library that programs open at run time, so that their ELF headers do not name it."""

    name: fields.NameOrPath = Field(description="A soname such as libnss_dns.so.2, or an absolute path on the host.")
    optional: fields.Flag = Field(default=False, description=_OPTIONAL)


class File(_Model):
    """A file, a whole tree or the matches of a glob, copied from the host."""

    source: fields.Source = Field(
        description="An absolute path on the host, or one relative to the profile's folder. A directory is copied "
        "with all that is in it; `*`, `?`, `[...]` and `**` match many.",
    )
    target: fields.TargetPath | None = Field(
        default=None,
        description="Where the copy goes; the source's own path when absent. For a glob, the directory that its "
        "matches go into. A relative source needs one.",
    )
    mode: fields.Mode | None = Field(
        default=None,
        description="Octal mode of the copied files; the source's own when absent.",
    )
    owner: fields.Owner | None = Field(default=None, description=f"{_OWNER} root when absent.")
    optional: fields.Flag = Field(default=False, description=_OPTIONAL)


class Folder(_Model):
    """A directory to make."""

    path: fields.FolderPath = Field(description="Its path in the jail.")
    mode: fields.Mode = Field(default=0o755, description="Octal mode.")
    owner: fields.Owner | None = Field(default=None, description=f"{_OWNER} root when absent.")


class TextFile(_Model):
    """A file whose content the profile holds."""

    content: fields.TextField = Field(description="The whole content; nothing is added to it.")
    mode: fields.Mode = Field(default=0o644, description="Octal mode.")
    owner: fields.Owner | None = Field(default=None, description=f"{_OWNER} root when absent.")


class User(_Model):
    """An account in the jail's own passwd and group."""

    name: fields.UserName = Field(description="The account's name.")
    uid: fields.Identity | None = Field(
        default=None,
        description="Numeric user; that of the host's account by this name when absent.",
    )
    gid: fields.Identity | None = Field(
        default=None,
        description="Numeric group; that of the host's account, or the uid, when absent.",
    )
    home: fields.HomePath | None = Field(
        default=None,
        description="Home directory in the jail; that of the host's account, or /home/NAME, when absent.",
    )
    shell: fields.FolderPath | None = Field(
        default=None,
        description="Login shell in the jail; that of the host's account, or the jail's own, when absent.",
    )
    groups: tuple[fields.Group, ...] = Field(
        default=(),
        description="Supplementary groups: names of the host's, or gids.",
    )


class Isolation(_Model):
    """Refinements of the level. What is absent stays as the level has it."""

    namespaces: tuple[fields.Namespace, ...] | None = Field(
        default=None,
        description="Namespaces of its own.",
    )
    user: fields.UserOrId | None = Field(
        default=None,
        description="The user a command runs as; the first of `users`, or `jail`, when absent.",
    )
    capabilities: tuple[fields.Capability, ...] = Field(
        default=(),
        description="Capabilities that commands keep, such as CAP_NET_BIND_SERVICE.",
    )
    no_new_privileges: fields.Flag | None = Field(
        default=None,
        description="Set no_new_privs, so that no execve(2) gains a privilege.",
    )
    seccomp: fields.Policy | None = Field(
        default=None,
        description="Policy of system calls: default, privileged, strict, or `none`; that of the level when absent.",
    )
    network: fields.Network | None = Field(default=None, description="none, host or bridge.")
    ports: tuple[fields.Port, ...] = Field(
        default=(),
        description="With `network: bridge`: ports of the host that lead into the jail, such as 8080:80 or "
        "0.0.0.0:5353:53/udp. Without an address only the host itself reaches them, at 127.0.0.1.",
    )
    allow: tuple[fields.Destination, ...] | None = Field(
        default=None,
        description="With `network: bridge`: what the jail may reach and nothing else, such as 192.0.2.0/24 or "
        "192.0.2.7:53/udp; everything when absent. Addresses, because a name could not be enforced.",
    )


class IoLimit(_Model):
    """Limits on the device that holds a path."""

    path: fields.HomePath = Field(description="A path on the host; its device is limited.")
    read_bps: fields.PositiveSize | None = Field(default=None, description="Bytes read a second.")
    write_bps: fields.PositiveSize | None = Field(default=None, description="Bytes written a second.")
    read_iops: Annotated[int, fields.number(1, 2**32)] | None = Field(
        default=None,
        description="Reads a second.",
    )
    write_iops: Annotated[int, fields.number(1, 2**32)] | None = Field(
        default=None,
        description="Writes a second.",
    )


class Limits(_Model):
    """What all processes of a jail may use together. What is absent stays as the caller has it."""

    memory: fields.PositiveSize | None = Field(default=None, description="Memory, such as 64MiB.")
    swap: fields.Size | None = Field(default=None, description="Swap besides memory; 0 for none.")
    cpus: fields.Cpus | None = Field(default=None, description="CPU time: a number of CPUs such as 1.5, or 50% of one.")
    cpu_weight: Annotated[int, fields.number(1, 10_000)] | None = Field(
        default=None,
        description="Share of the CPUs when others want them too: 100 is everybody's, 200 twice that.",
    )
    cpuset: fields.Cpuset | None = Field(default=None, description="The CPUs to run on, such as 0-1,3.")
    pids: Annotated[int, fields.number(1, 2**22)] | None = Field(
        default=None,
        description="Processes and threads.",
    )
    io: tuple[IoLimit, ...] = Field(default=(), description="Limits of block devices.")
    open_files: Annotated[int, fields.number(4, 2**30)] | None = Field(
        default=None,
        description="Open files of one process (RLIMIT_NOFILE).",
    )
    file_size: fields.Size | None = Field(
        default=None,
        description="Largest file that can be written (RLIMIT_FSIZE).",
    )
    wall_time: fields.Duration | None = Field(
        default=None,
        description="Time after which a command is ended, such as 30s or 1h30m.",
    )


class Mount(_Model):
    """A mount made at each start, at levels with a mount namespace."""

    type: fields.MountType = Field(description="bind or tmpfs.")
    source: fields.Source | None = Field(default=None, description="For bind: an absolute path on the host.")
    target: fields.FolderPath = Field(description="The directory or file in the jail that it covers.")
    read_only: fields.Flag = Field(
        default=False,
        description="Refuse writes through this mount. At levels with a user namespace what belongs to the host's root "
        "cannot be changed through it in any case, nor what is in a directory of root's.",
    )
    size: fields.PositiveSize | None = Field(default=None, description="For tmpfs: the most it may hold.")


class Output(_Model):
    """What a smoke command's standard output must be. Exactly one of these."""

    equals: fields.TextField | None = Field(
        default=None,
        description="The whole output, closing newline included.",
    )
    contains: fields.TextField | None = Field(default=None, description="A part of the output.")
    matches: fields.Expression | None = Field(
        default=None,
        description="A regular expression (Python's) found somewhere in it.",
    )


class Smoke(_Model):
    """A command that proves that the jail works."""

    command: fields.Words = Field(description="A list of words, or a line that is split into words; no shell runs it.")
    exit_code: Annotated[int, fields.number(0, 255)] = Field(
        default=0,
        description="The exit code it must have.",
    )
    stdin: fields.TextField = Field(default="", description="What it reads from standard input.")
    stdout: Annotated[Output, Short("equals")] | None = Field(
        default=None,
        description="Its whole standard output, or what to look for in it.",
    )
    user: fields.UserOrId | None = Field(
        default=None,
        description="The user it runs as; `isolation.user` when absent.",
    )
    timeout: fields.Duration = Field(default=30.0, description="Time after which it has failed.")


class Profile(_Model):
    """An isolated environment, described: what is in it, who runs in it, and how it is confined."""

    name: fields.ProfileName = Field(description="The profile's name, and the jail's when none is given.")
    description: fields.Prose = Field(default="", description="What the jail is for.")
    extends: fields.Extends = Field(
        default=(),
        description="Profiles to start from: names of shipped ones, or files in this profile's folder or below. "
        "Lists add up, mappings merge, single values here override.",
    )
    level: fields.LevelField = Field(default=DEFAULT_LEVEL, description="The level of isolation.")
    isolation: Isolation = Field(default=Isolation.model_construct(), description="Refinements of the level.")
    binaries: tuple[Annotated[Binary, Short("name")], ...] = Field(
        default=(),
        description="Programs of the host, with their libraries and interpreters.",
    )
    packages: tuple[Annotated[Package, Short("name")], ...] = Field(
        default=(),
        description="Debian packages of the host: all their files and the libraries these need, but not the packages "
        "that they depend on.",
    )
    libraries: tuple[Annotated[Library, Short("name")], ...] = Field(
        default=(),
        description="Libraries that programs open at run time.",
    )
    files: tuple[Annotated[File, Short("source")], ...] = Field(
        default=(),
        description="Files and trees of the host.",
    )
    directories: tuple[Annotated[Folder, Short("path")], ...] = Field(
        default=(),
        description="Directories to make.",
    )
    symlinks: dict[fields.LinkPath, fields.LinkTarget] = Field(
        default={},
        description="Symbolic links: path in the jail to target.",
    )
    devices: tuple[fields.DeviceName, ...] | None = Field(
        default=None,
        description="Device nodes in /dev; all of the short list when absent.",
    )
    text: dict[fields.ContentPath, Annotated[TextFile, Short("content")]] = Field(
        default={},
        description="Files whose content stands here: path to content.",
    )
    users: tuple[User, ...] = Field(default=(), description="Accounts; commands run as the first.")
    keep_privileges: tuple[fields.EntryPath, ...] = Field(
        default=(),
        description="Paths in the jail that keep setuid, setgid and file capabilities.",
    )
    environment: dict[fields.Variable, fields.Line] = Field(
        default={},
        description="Environment variables: name to value.",
    )
    workdir: fields.HomePath | None = Field(
        default=None,
        description="Where commands start; the user's home when absent.",
    )
    command: fields.Words | None = Field(
        default=None,
        description="What `jailkit run` runs when no command is given; a shell when absent.",
    )
    stop_signal: fields.Signal = Field(
        default="SIGTERM",
        description="What `jailkit stop` sends to the command first.",
    )
    stop_timeout: fields.Duration = Field(
        default=10.0,
        description="How long it then waits before everything in the jail is killed.",
    )
    read_only_root: fields.Flag = Field(
        default=False,
        description="Refuse writes to the jail's own tree, apart from `volumes`. Jails that were made alike share it.",
    )
    volumes: tuple[fields.TargetPath, ...] = Field(
        default=(),
        description="Directories that stay writable and are kept, whatever else is read-only or thrown away. Where "
        "nothing else makes one, it is made, for the user that commands run as.",
    )
    mounts: tuple[Mount, ...] = Field(default=(), description="Mounts, at levels with a mount namespace.")
    limits: Limits = Field(default=Limits.model_construct(), description="Limits of resources.")
    accept_gaps: tuple[fields.GapKey, ...] = Field(
        default=(),
        description="Settings such as limits.memory that need not hold where a level cannot enforce them.",
    )
    smoke: tuple[Smoke, ...] = Field(default=(), description="Commands that prove that the jail works.")
