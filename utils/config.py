"""Configuration: a JSON file and key=value overrides become one checked settings object."""

from __future__ import annotations

import difflib
import json
import os
from pathlib import Path
from typing import Any

from easydict import EasyDict

from utils.errors import RequestError
from utils.keys import KEYS, OBSOLETE, USED

#: What runs a configuration: the command of the installed package, or the repository's main.py.
PROGRAM = "python main.py" if __name__ == "utils.config" else "p59"
#: The configurations that are shipped, which a bare name means.
CONFIGS = Path(__file__).parents[1] / "configs"


class Notes(list):
    """Lines the user should see about the configuration (an ignored key, say); tasks print them."""


def read_config(path: str, overrides: list[str]) -> tuple[EasyDict, Notes]:
    """The configuration at `path` with `key=value` overrides: every key of KEYS present, defaults filled in.

    A name without a folder that is no file there is that of a shipped configuration, with or without its ending.
    Raises RequestError for a file that is missing or not JSON, an unknown key, or a value that is not allowed.
    """
    values, notes = _read_json(_found(path)), Notes()
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise RequestError(f"argument {override!r} is no override; write key=value, for example num_threads=1")
        values[key] = _override_value(key, text)
    config = EasyDict({name: key.default for name, key in KEYS.items()})
    for name, value in values.items():
        obsolete = next((why for start, why in OBSOLETE.items() if name.startswith(start)), None)
        if obsolete:
            notes.append(f"key {name!r} has no meaning any more: {obsolete}")
            continue
        if name.startswith(("_", "//")):  # comments
            continue
        config[name] = _checked(name, value)
    config["given"] = frozenset(values)
    return config, notes


def _found(path: str) -> Path:
    shipped = CONFIGS / f"{path.removesuffix('.json')}.json"
    bare = os.path.basename(path) == path
    return shipped if bare and not os.path.isfile(path) and shipped.is_file() else Path(path)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        names = ", ".join(sorted(shipped.stem for shipped in CONFIGS.glob("*.json")))
        raise RequestError(
            f"configuration {str(path)!r} cannot be read ({error.strerror}); give a JSON file, or one of {names}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise RequestError(f"configuration {str(path)!r} is not valid JSON ({error})") from error
    if not isinstance(values, dict):
        raise RequestError(f'configuration {str(path)!r} is not a JSON object; write {{"mode": ...}}')
    return values


def _override_value(name: str, text: str) -> Any:
    """JSON where that is a value the key takes, else the text itself: a directory may be called 2024."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    types = KEYS[name].types if name in KEYS else ()
    return text if value is not None and str in types and not isinstance(value, types) else value


def _checked(name: str, value: Any) -> Any:
    if name not in KEYS:
        near = difflib.get_close_matches(name, KEYS, 1, 0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"{PROGRAM} --help lists the keys"
        raise RequestError(f"unknown configuration key {name!r}; {hint}")
    key, value = KEYS[name], _expanded(name, value)
    if value is None:
        return key.default
    if not isinstance(value, key.types) or (isinstance(value, bool) and bool not in key.types):
        kinds = " or ".join("true, false" if kind is bool else kind.__name__ for kind in key.types)
        raise RequestError(f"{name} is {value!r}; it takes {kinds}: {key.help}")
    if value == "" or (isinstance(value, list) and "" in value):
        raise RequestError(f"{name} is empty; leave the key out, or give {key.help}")
    if isinstance(value, list) and not (value and all(isinstance(item, str) for item in value)):
        raise RequestError(f"{name} is {value!r}; a list holds paths: {key.help}")
    if key.allowed and value not in key.allowed:
        raise RequestError(f"{name} is {value!r}; allowed are {', '.join(map(str, key.allowed))}")
    if (key.least is not None and not value >= key.least) or (key.most is not None and not value <= key.most):
        most = "" if key.most is None else f" and at most {key.most}"
        raise RequestError(f"{name} is {value!r}; it must be at least {key.least}{most}")
    return value


def _expanded(name: str, value: Any) -> Any:
    """Texts, which may be paths, with the home directory that ~ stands for."""
    if isinstance(value, list):
        return [_expanded(name, item) for item in value]
    if not isinstance(value, str):
        return value
    if "\0" in value:
        raise RequestError(f"{name} is {value!r}; it must not hold null characters")
    return os.path.expanduser(value)


def unused(config: EasyDict, task: str) -> list[str]:
    """Given keys that a mode, or a run mode of mode test, does not use, in the order of KEYS."""
    return [name for name in KEYS if name in config.given and name not in USED[task]]


def required(config: EasyDict, key: str, why: str) -> Any:
    """A key's value. Raises RequestError where it is absent."""
    if config[key] is None:
        raise RequestError(f"{key} is missing; {why}")
    return config[key]


def listed(value: str | list[str] | None) -> tuple[str, ...]:
    """The entries of a key that holds one or a list of them; none where it is absent."""
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)


def single(config: EasyDict, key: str) -> str | None:
    """The one entry of a key that may hold a list. Raises RequestError where it holds several."""
    entries = listed(config[key])
    if len(entries) > 1:
        raise RequestError(f"{key} names {len(entries)} files; here it must be one")
    return entries[0] if entries else None
