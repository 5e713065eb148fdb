"""``asyncsched`` and ``python -m asyncsched``."""

from __future__ import annotations

import sys

from asyncsched import __version__


def main() -> None:
    """Do what the command line says."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"asyncsched {__version__}\n")
        return
    try:
        from asyncsched.cli import main as obey
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("typer", "rich"):
            raise
        sys.exit("asyncsched's command line needs: pip install 'asyncsched[cli]'")
    obey()


if __name__ == "__main__":
    main()
