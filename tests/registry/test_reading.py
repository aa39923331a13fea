"""A worker reads what files say of a version, and leaves out what is not there or cannot be understood."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from headrace.kernel.blobs import open_blob_store
from headrace.kernel.jobs import Job
from headrace.kernel.settings import load_settings
from headrace.kernel.work import WorkContext
from headrace.registry.jobs import FilesRead, ReadFiles
from headrace.registry.reading import run_reading

MACHINE = msgspec.json.encode({"host": "h", "python": "3.11.7", "packages": {"numpy": "2.1.0"}})


@pytest.fixture
def context(tmp_path: Path) -> WorkContext:
    root = tmp_path / "root"
    settings = load_settings({"HEADRACE_HOME": str(tmp_path), "HEADRACE_ARTIFACT_ROOTS": str(root)})
    job = Job(
        id="job_1",
        kind="registry.read_files",
        payload=msgspec.Raw(b"{}"),
        actor="ana",
        workspace="default",
        state="leased",
        attempt=1,
        max_attempts=3,
        enqueued_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return WorkContext(
        control=cast("Any", None),
        blobs=open_blob_store(tmp_path),
        lake=cast("Any", None),
        settings=settings,
        business_now=job.enqueued_at,
        job=job,
        directory=tmp_path,
        report_progress=lambda fraction, note: None,
    )


def test_the_packages_of_the_model_and_of_the_run(context: WorkContext) -> None:
    asked = ReadFiles(
        version=1,
        environment={"requirements.txt": context.blobs.put(b"numpy==1.26.4").digest},
        machine=context.blobs.put(MACHINE).digest,
    )
    found = run_reading(context, asked)
    assert found.needs is not None
    assert found.ran_in is not None
    assert found.needs.packages == {"numpy": "1.26.4"}
    assert (found.ran_in.python, found.ran_in.packages) == ("3.11.7", {"numpy": "2.1.0"})
    assert found.code_diff is None


def test_a_run_whose_files_are_at_a_root(context: WorkContext, tmp_path: Path) -> None:
    place = tmp_path / "root" / "run" / "artifacts"
    (place / "headrace").mkdir(parents=True)
    asked = ReadFiles(version=1, place=str(place), diff_wanted=True)
    assert run_reading(context, asked) == FilesRead()
    (place / "headrace" / "machine.json").write_bytes(MACHINE)
    (place / "headrace" / "changes.diff").write_bytes(b"+1")
    found = run_reading(context, asked)
    assert found.ran_in is not None
    assert found.code_diff is not None
    assert context.blobs.read(found.code_diff) == b"+1"
    assert run_reading(context, ReadFiles(version=1, place=str(place))).code_diff is None


def test_what_is_gone_forbidden_or_no_description_is_left_out(context: WorkContext, tmp_path: Path) -> None:
    gone = "sha256:" + "0" * 64
    large = context.blobs.put(b"numpy==1\n" * 400_000).digest
    for asked in (
        ReadFiles(version=1, environment={"requirements.txt": gone, "conda.yaml": large}, machine=gone),
        ReadFiles(version=1, machine=context.blobs.put(b"{").digest),
        ReadFiles(version=1, machine=context.blobs.put(b'{"packages": 5}').digest),
        ReadFiles(version=1, machine=context.blobs.put(b"{}").digest),
        ReadFiles(version=1, place=str(tmp_path / "elsewhere"), diff_wanted=True),
    ):
        assert run_reading(context, asked) == FilesRead()
