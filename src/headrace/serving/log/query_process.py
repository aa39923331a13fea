"""The process of one query: `python -m headrace.serving.log.query_process ORDER`.

The SQL is a stranger's. It may never end, take all memory or crash the engine, so it runs where nothing else does:
without secrets, within limits that the system holds, behind those that answer predictions.
"""

import importlib
import importlib.abc
import os
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import msgspec

from headrace.serving.log.query_messages import Message, Order
from headrace.training.confinement import confine, take_standard_output

UNNEEDED = ("numpy", "pandas")
"""What Arrow imports where it is installed and does without elsewhere: two thirds of the time of a start."""


class _Without(importlib.abc.MetaPathFinder):
    """Lets nobody find what is not needed."""

    def find_spec(self, fullname: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        if fullname in UNNEEDED:
            raise ModuleNotFoundError("a query does without it", name=fullname)
        return None


def main(order_file: Path) -> None:
    """Answer the query of an order."""
    messages = take_standard_output()
    order = msgspec.json.decode(order_file.read_bytes(), type=Order)
    confine(order.parent)

    def tell(message: Message) -> None:
        messages.write(msgspec.json.encode(message) + b"\n")

    sys.meta_path.insert(0, _Without())
    engine = importlib.import_module("headrace.serving.log.query_engine")
    tell(engine.answer(order, tell))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    os._exit(0)  # all is written; threads of the engine would take their time to end
