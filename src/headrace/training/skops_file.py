"""An estimator as skops bytes that depend on nothing but the estimator.

skops writes memory addresses, times and the padding of structured arrays into its files, so two dumps of one
model differ. Here they are replaced: addresses by the order of first appearance, times by a constant, padding by
zeros. The result is a plain skops file.
"""

import io
import json
import zipfile
from typing import Any

import numpy as np
import skops.io

SCHEMA = "schema.json"
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can hold."""

IMMUTABLE = frozenset({"JsonNode", "TypeNode"})
"""Nodes that Python may share or not as it likes; each gets an identity of its own."""


def dump_estimator(estimator: Any) -> bytes:
    """A skops file of the estimator; equal estimators give equal bytes."""
    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(estimator))) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    renaming = _Renaming(entries.keys() - {SCHEMA})
    schema = renaming.renamed(json.loads(entries[SCHEMA]))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for old, new in renaming.files.items():
            archive.writestr(_entry(new), _without_padding(new, entries[old]))
        archive.writestr(_entry(SCHEMA), json.dumps(schema))
    return buffer.getvalue()


class _Renaming:
    """New identities and file names, in the order in which the schema mentions them."""

    def __init__(self, files: set[str]) -> None:
        self._known = files
        self._identities: dict[int, int] = {}
        self._count = 0
        self.files: dict[str, str] = {}

    def renamed(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self.renamed(item) for item in node]
        if isinstance(node, str) and node in self._known:
            return self.files.setdefault(node, f"{len(self.files)}.{node.rpartition('.')[2]}")
        if not isinstance(node, dict):
            return node
        own = self._identity(node) if "__id__" in node else None
        changed = {key: self.renamed(value) for key, value in node.items() if key != "__id__"}
        return changed if own is None else changed | {"__id__": own}

    def _identity(self, node: dict[str, Any]) -> int:
        self._count += 1
        if node.get("__loader__") in IMMUTABLE:
            return self._count
        return self._identities.setdefault(node["__id__"], self._count)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.external_attr = 0o644 << 16
    entry.create_system = 3
    return entry


def _without_padding(name: str, content: bytes) -> bytes:
    """The bytes between the fields of a structured array are whatever was in memory; they become zeros."""
    if not name.endswith(".npy"):
        return content
    array = np.load(io.BytesIO(content), allow_pickle=False)
    if array.dtype.names is None:
        return content
    clean = np.zeros(array.shape, dtype=array.dtype)
    for field in array.dtype.names:
        clean[field] = array[field]
    buffer = io.BytesIO()
    np.save(buffer, clean, allow_pickle=False)
    return buffer.getvalue()
