"""``python -m lichen`` is ``lichen``."""

from lichen.cli import start

if __name__ == "__main__":
    start()
