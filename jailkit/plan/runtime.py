"""The half of a plan that is used each time a jail is entered."""

from __future__ import annotations

from jailkit.plan.model import Account, IoLimit, Isolation, Limits, Mount, Runtime, Smoke
from jailkit.profile import model
from jailkit.profile.model import Profile


def make_runtime(profile: Profile, accounts: tuple[Account, ...], user: str) -> Runtime:
    """Take over the profile's runtime settings."""
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
    )


def _limits(profile: Profile) -> Limits:
    limits = profile.limits
    return Limits(
        memory=limits.memory,
        swap=limits.swap,
        cpus=limits.cpus,
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
