"""The texts of the Lua scripts."""

from importlib.resources import files


def script_text(*names: str) -> str:
    """The text of a script, the last of ``names``, behind the functions of those that it shares with others."""
    folder = files("featurestore.store").joinpath("scripts")
    return "".join(folder.joinpath(f"{name}.lua").read_text() for name in names)
