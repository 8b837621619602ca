"""The half of a plan that is used each time a jail is entered."""

from __future__ import annotations

import signal

from jailkit.linux.devices import DEVICES
from jailkit.plan.model import Account, Destination, IoLimit, Isolation, Limits, Mount, Port, Runtime, Smoke
from jailkit.profile import model
from jailkit.profile.model import Profile


def make_runtime(profile: Profile, accounts: tuple[Account, ...], user: str, volumes: tuple[str, ...]) -> Runtime:
    """Take over the profile's runtime settings; `volumes` are its own with the links of the plan resolved."""
    account = next((a for a in accounts if user in (a.name, str(a.uid))), None)
    shell = account.shell if account else "/bin/sh"
    return Runtime(
        user=user,
        accounts=accounts,
        environment=tuple(sorted(profile.environment.items())),
        workdir=profile.workdir,
        command=tuple(profile.command) if profile.command else (shell,),
        limits=_limits(profile),
        isolation=_isolation(profile),
        mounts=tuple(Mount(m.type, m.target, m.source, m.read_only, m.size) for m in profile.mounts),
        smoke=tuple(_smoke(smoke) for smoke in profile.smoke),
        serves=profile.command is not None,
        devices=tuple(DEVICES if profile.devices is None else dict.fromkeys(profile.devices)),
        read_only_root=profile.read_only_root,
        volumes=volumes,
        stop_signal=signal.Signals[profile.stop_signal].value,
        stop_timeout=profile.stop_timeout,
    )


def _limits(profile: Profile) -> Limits:
    limits = profile.limits
    return Limits(
        memory=limits.memory,
        swap=limits.swap,
        cpus=limits.cpus,
        cpu_weight=limits.cpu_weight,
        cpuset=limits.cpuset,
        pids=limits.pids,
        io=tuple(IoLimit(io.path, io.read_bps, io.write_bps, io.read_iops, io.write_iops) for io in limits.io),
        open_files=limits.open_files,
        file_size=limits.file_size,
        wall_time=limits.wall_time,
    )


def _isolation(profile: Profile) -> Isolation:
    isolation = profile.isolation
    return Isolation(
        namespaces=None if isolation.namespaces is None else tuple(isolation.namespaces),
        capabilities=tuple(isolation.capabilities),
        no_new_privileges=isolation.no_new_privileges,
        seccomp=isolation.seccomp,
        network=isolation.network,
        ports=tuple(Port(*port) for port in isolation.ports),
        allow=None if isolation.allow is None else tuple(Destination(*destination) for destination in isolation.allow),
    )


def _smoke(smoke: model.Smoke) -> Smoke:
    stdout = smoke.stdout
    return Smoke(
        command=tuple(smoke.command),
        exit_code=smoke.exit_code,
        stdin=smoke.stdin or "",
        stdout_equals=stdout.equals if stdout else None,
        stdout_contains=stdout.contains if stdout else None,
        stdout_matches=stdout.matches if stdout else None,
        user=None if smoke.user is None else str(smoke.user),
        timeout=smoke.timeout,
    )
