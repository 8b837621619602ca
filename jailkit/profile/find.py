"""Where profiles and policies are: by path, or by the name of one that jailkit ships."""

from __future__ import annotations

import os

from jailkit.profile.nodes import Place
from jailkit.profile.refusal import Refusal, closest, shown

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def shipped_folder() -> str:
    """Give the folder of shipped profiles: inside an installed package, beside the package in a checkout."""
    inside = os.path.join(_PACKAGE, "profiles")
    return inside if os.path.isdir(inside) else os.path.join(os.path.dirname(_PACKAGE), "profiles")


def shipped_profiles() -> list[str]:
    """Give the paths of the shipped profiles, by name."""
    folder = shipped_folder()
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return sorted(os.path.join(folder, name) for name in names if name.endswith(".yaml"))


def shipped_policies() -> list[str]:
    """Give the names of the system call policies that come with jailkit, in order."""
    try:
        names = os.listdir(os.path.join(shipped_folder(), "seccomp"))
    except FileNotFoundError:
        return []
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def policy_path(name: str) -> str:
    """Give the path of the shipped policy of a name, which `shipped_policies` lists."""
    return os.path.join(shipped_folder(), "seccomp", f"{name}.yaml")


def find_profile(name_or_path: str) -> str:
    """Give the path of a profile: what looks like a path is one, all else the name of a shipped profile, or a file.

    Raises:
        ProfileError: no shipped profile has that name. A path is not opened here.
    """
    if "/" in name_or_path or name_or_path.endswith((".yaml", ".yml")):
        return name_or_path
    try:
        return find_shipped(name_or_path)
    except Refusal as refusal:
        if os.path.isfile(name_or_path):
            return name_or_path
        near = f"{name_or_path}.yaml"
        suggestion = near if os.path.isfile(near) else refusal.suggestion
        raise Place(shown(name_or_path)).error(refusal.message, suggestion=suggestion) from refusal


def find_shipped(name: str) -> str:
    """Give the path of the shipped profile of a name.

    Raises:
        Refusal: there is none.
    """
    by_name = {os.path.basename(path).removesuffix(".yaml"): path for path in shipped_profiles()}
    if name in by_name:
        return by_name[name]
    near = closest(name, by_name)
    raise Refusal(f"there is no file and no shipped profile named {shown(name)}", near)
