"""The command line, one file per subcommand.

Nothing else in lichen prints, or reads the environment.
"""

from __future__ import annotations

import sys
from typing import NoReturn


def start() -> NoReturn:
    """The entry point of the installed command: Ctrl-C is answered even while it is importing."""
    try:
        from lichen.cli.main import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        print("lichen: interrupted.", file=sys.stderr)
        code = 130
    sys.exit(code)
