"""What docs/edge.md takes from the code: ``python -m edge.publish`` writes it, a test holds it up to date."""

from pathlib import Path
from typing import Final

from decisions.settings import AccessSettings, table
from edge.settings import EdgeSettings

PAGE: Final = Path(__file__).parent.parent / "docs" / "edge.md"
BEGIN: Final = "<!-- generated: edge settings -->\n"
END: Final = "<!-- end -->"


def own_settings() -> str:
    """The edge's own settings as a Markdown table, without those that it shares with the worker."""
    shared = {f"`--{name.replace('_', '-')}`" for name in AccessSettings.model_fields}
    return "\n".join(line for line in table(EdgeSettings).splitlines() if line.split(" | ")[0][2:] not in shared)


def published() -> str:
    """The page as it should be."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{own_settings()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(published(), encoding="utf-8")
