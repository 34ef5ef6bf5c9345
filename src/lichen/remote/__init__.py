"""A model behind any OpenAI-compatible URL, verified like a local one."""

from lichen.remote.access import KEY_VARIABLE, Access, is_url, same_server
from lichen.remote.model import RemoteModel

__all__ = ["KEY_VARIABLE", "Access", "RemoteModel", "is_url", "same_server"]
