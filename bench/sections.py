"""The sections of Sessink's jk_init.ini as profiles of ours, of what this host has."""

from __future__ import annotations

import configparser
import glob
import os
import shutil
from pathlib import Path

import yaml

from bench.measure import ENVIRONMENT

INI = Path("/etc/jailkit/jk_init.ini")


def write_profile(section: str, path: Path) -> None:
    """Write a profile with what jk_init copies for a section; like jk_init, leave out what this host lacks."""
    ini = configparser.ConfigParser()
    ini.read(INI)
    found = dict.fromkeys(path for word in _words(ini, section) for path in _existing(word))
    programs = [path for path in found if os.path.isfile(path) and os.access(path, os.X_OK)]
    others = [path for path in found if path not in programs]
    path.write_text(yaml.safe_dump({"name": section, "binaries": programs, "files": others}))


def _words(ini: configparser.ConfigParser, section: str) -> list[str]:
    included = _listed(ini, section, "includesections")
    return [word for other in included for word in _words(ini, other)] + _listed(ini, section, "paths")


def _listed(ini: configparser.ConfigParser, section: str, option: str) -> list[str]:
    return [word.strip() for word in ini.get(section, option, fallback="").split(",") if word.strip()]


def _existing(word: str) -> list[str]:
    if "/" not in word:
        found = shutil.which(word, path=ENVIRONMENT["PATH"])
        return [found] if found else []
    return sorted(path for path in glob.glob(word) if os.path.exists(path))
