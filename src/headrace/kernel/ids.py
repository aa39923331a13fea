"""Identifiers: sortable by time, told apart by a prefix, never reused."""

import uuid_utils


def new_id(prefix: str) -> str:
    """A fresh identifier such as `rel_01920c…`: prefix, underscore, 32 hex digits of a UUIDv7 (RFC 9562)."""
    return f"{prefix}_{uuid_utils.uuid7().hex}"


def new_hex() -> str:
    """A fresh UUIDv7 as 32 hex digits, for protocols that want no prefix."""
    return uuid_utils.uuid7().hex
