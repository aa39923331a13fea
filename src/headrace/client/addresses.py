"""Addresses as they may be shown: in a terminal, in a log, in what is kept."""

from urllib.parse import urlsplit, urlunsplit


def without_login(url: str) -> str:
    """An address without the user and password that it may carry."""
    parts = urlsplit(url)
    if not parts.scheme or "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
