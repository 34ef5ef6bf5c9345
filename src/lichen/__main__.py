"""``python -m lichen`` is ``lichen``."""

from lichen.cli.main import main

if __name__ == "__main__":
    main()
