"""The work that serving does in workers."""

from typing import Any

from headrace.kernel.jobs import JobKind
from headrace.kernel.work import Runner
from headrace.serving.compaction import run_compaction
from headrace.serving.jobs import COMPACT

RUNNERS: tuple[tuple[JobKind[Any, Any], Runner], ...] = ((COMPACT, run_compaction),)
