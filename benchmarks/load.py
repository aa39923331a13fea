"""The load in a process of its own: asks a server on this machine and prints what was measured as one JSON line.

python benchmarks/load.py PORT PATH [--connections 16] [--seconds 5] < BODY
"""

import argparse
import json
import sys

import uvloop

from headrace.server import load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    body = sys.stdin.buffer.read()
    measured = load.run(given.port, given.path, [body], connections=given.connections, seconds=given.seconds)
    print(json.dumps(uvloop.run(measured)._asdict()))


if __name__ == "__main__":
    main()
