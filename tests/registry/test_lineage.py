"""Versions in the graph of lineage, through every door, and through renaming, deletion and registering again."""

import itertools

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.errors import HeadraceError, InvalidInput, NotFound
from headrace.kernel import lineage, lineage_walks
from headrace.kernel.database import Database, Tx
from headrace.registry import importing, models, register, removal, stages
from headrace.registry.imported import ImportModel, ImportVersion
from headrace.registry.nouns import (
    DataUse,
    FeatureUse,
    ModelFile,
    RegisterVersion,
    Stage,
    Version,
    directory_digest,
)
from headrace.tracking import logged_models, logging, runs, tables_artifacts
from headrace.tracking.nouns import (
    Artifact,
    CreateLoggedModel,
    CreateRun,
    Dataset,
    DatasetInput,
    Inputs,
    Run,
)

pytestmark = pytest.mark.both_databases

COMMIT = "3ac41f" + "0" * 34
FILE = ModelFile(path="MLmodel", digest="sha256:" + "a" * 64, size_bytes=3)


def begin(tx: Tx, **tags: str) -> Run:
    return runs.create(tx, CreateRun(experiment="churn", tags=tags))


def reads(tx: Tx, run: Run, name: str, digest: str = "1f") -> None:
    dataset = Dataset(name=name, digest=digest, source_type="local", source="{}")
    logging.log_inputs(tx, run.id, Inputs(datasets=(DatasetInput(dataset=dataset),)))


def registered(tx: Tx, model: str = "churn", **fields: object) -> Version:
    models.ensure(tx, model)
    return register.register_version(tx, RegisterVersion(model=model, files=(FILE,), **fields))  # type: ignore[arg-type]


def above(database: Database, version: str) -> set[str]:
    return database.read(lambda tx: lineage_walks.above(tx, version)) - {version}


def using(database: Database, subject: str) -> list[str]:
    def look(tx: Tx) -> list[str]:
        found = lineage.find(tx, subject)
        assert found is not None
        page, _ = lineage_walks.versions_from(tx, [found.number], limit=100)
        return [each.name for each in page]

    return database.read(look)


def test_a_version_comes_from_its_run_with_all_that_it_read(database: Database) -> None:
    def work(tx: Tx) -> str:
        parent = begin(tx)
        reads(tx, parent, "holidays")
        run = begin(tx, **{"mlflow.source.git.commit": COMMIT.upper(), "mlflow.parentRunId": parent.id})
        reads(tx, run, "purchases")
        registered(tx, run_id=run.id)
        return run.id

    run_id = database.write(work, actor="ana")
    found = above(database, "version/churn/1")
    assert found >= {f"run/{run_id}", "dataset/purchases@1f", "dataset/holidays@1f", f"commit/{COMMIT}"}
    assert len(found) == 5  # and the parent
    assert using(database, "dataset/holidays@1f") == ["churn/1"]


def test_a_logged_model_stands_between_run_and_version(database: Database) -> None:
    def work(tx: Tx) -> tuple[str, str]:
        base = begin(tx)
        reads(tx, base, "wikipedia")
        experiment = base.experiment_id
        first = logged_models.create(
            tx, CreateLoggedModel(experiment_id=experiment, name="base", source_run_id=base.id)
        )
        run = begin(tx)
        logging.log_inputs(tx, run.id, Inputs(models=(first.id,)))
        model = logged_models.create(
            tx, CreateLoggedModel(experiment_id=experiment, name="tuned", source_run_id=run.id)
        )
        logging.log_inputs(tx, run.id, Inputs(models=(model.id,)))  # it is evaluated by its own run
        registered(tx, run_id=run.id, made_from=f"logged-model/{model.id}")
        return run.id, model.id

    run_id, model_id = database.write(work, actor="ana")
    walk = database.read(
        lambda tx: lineage_walks.walk(tx, lineage.enter(tx, "version/churn/1"), "up", lineage_walks.Bounds(depth=1))
    )
    assert [each.subject for each in walk.subjects.values()] == ["version/churn/1", f"logged-model/{model_id}"]
    assert f"run/{run_id}" in above(database, "version/churn/1")
    assert using(database, "dataset/wikipedia@1f") == ["churn/1"]


def test_what_a_registration_says_and_the_run_does_not(database: Database) -> None:
    views = (FeatureUse(view="activity", version=2, columns=("spend", "visits")),)
    data = (DataUse(subject="lake/sources/purchases@3", digest="sha256:1"),)

    def work(tx: Tx) -> None:
        registered(
            tx,
            source="s3://elsewhere/model",
            training_set_id="ts_1",
            bundle_digest="sha256:b",
            environment_digest="sha256:e",
            code_commit=COMMIT,
            feature_views=views,
            data=data,
        )

    database.write(work, actor="ana")
    assert above(database, "version/churn/1") == {
        "lake/sources/purchases@3",
        "training-set/ts_1",
        "bundle/sha256:b",
        "environment/sha256:e",
        f"commit/{COMMIT}",
        "view/activity/2",
        "feature/activity.spend",
        "feature/activity.visits",
    }


def test_a_run_that_is_not_here_is_a_name(database: Database) -> None:
    database.write(lambda tx: registered(tx, run_id="r1"), actor="ana")
    assert above(database, "version/churn/1") == {"run/r1"}


def test_a_copy_comes_from_the_version(database: Database) -> None:
    def work(tx: Tx) -> None:
        registered(tx, run_id="r1")
        registered(tx, "copy", source="models:/churn/1", made_from="version/churn/1", run_id="r1")

    database.write(work, actor="ana")
    assert above(database, "version/copy/1") == {"version/churn/1", "run/r1"}
    assert using(database, "run/r1") == ["copy/1", "churn/1"]
    assert using(database, "version/churn/1") == ["copy/1"]


@pytest.mark.parametrize(
    ("made_from", "kind"),
    [
        ("version/churn/9", NotFound),
        ("logged-model/m-none", NotFound),
        ("version/churn/x", InvalidInput),
        ("version/churn", InvalidInput),
        ("release/rel_1", InvalidInput),
        ("", InvalidInput),
    ],
)
def test_files_are_of_something_that_is_here(database: Database, made_from: str, kind: type[HeadraceError]) -> None:
    database.write(lambda tx: registered(tx, run_id="r1"), actor="ana")
    with pytest.raises(kind):
        database.write(lambda tx: registered(tx, source="x", made_from=made_from), actor="ana")


@pytest.mark.parametrize("subject", ["version/churn/1", "run/x", "purchases", "", "dataset/" + "x" * 900])
def test_data_are_named_by_what_they_are(database: Database, subject: str) -> None:
    with pytest.raises(InvalidInput):
        database.write(
            lambda tx: registered(tx, source="x", data=(DataUse(subject=subject, digest="1"),)), actor="ana"
        )


def test_what_a_run_reads_after_its_version_was_registered(database: Database) -> None:
    def work(tx: Tx) -> None:
        run = begin(tx)
        registered(tx, run_id=run.id)
        reads(tx, run, "late")
        other = begin(tx)
        reads(tx, other, "nobody's")

    database.write(work, actor="ana")
    assert using(database, "dataset/late@1f") == ["churn/1"]
    assert database.read(lambda tx: lineage.find(tx, "dataset/nobody's@1f")) is None


def test_a_renamed_model_keeps_its_place_and_a_new_one_gets_its_own(database: Database) -> None:
    database.write(lambda tx: registered(tx, run_id="r1"), actor="ana")
    database.write(lambda tx: removal.rename_model(tx, "churn", "leaving"), actor="ana")
    assert using(database, "run/r1") == ["leaving/1"]
    database.write(lambda tx: registered(tx, run_id="r2"), actor="ana")
    assert using(database, "run/r1") == ["leaving/1"]
    assert using(database, "run/r2") == ["churn/1"]


def test_a_deleted_version_is_marked_and_its_name_may_come_again(database: Database) -> None:
    def work(tx: Tx) -> None:
        registered(tx, run_id="r1")
        registered(tx, run_id="r2")
        removal.delete_version(tx, "churn", 1)

    database.write(work, actor="ana")
    gone = database.read(lambda tx: lineage.find(tx, "version/churn/1"))
    assert gone is not None
    assert gone.ended_at is not None
    assert gone.about["author"] == "ana"
    assert using(database, "run/r1") == ["churn/1"]
    database.write(lambda tx: removal.delete_model(tx, "churn"), actor="ana")
    database.write(lambda tx: registered(tx, run_id="r3"), actor="ana")
    (old,) = using(database, "run/r1")
    assert old.startswith("churn/1~")
    assert using(database, "run/r3") == ["churn/1"]
    again = database.read(lambda tx: lineage.find(tx, "version/churn/1"))
    assert again is not None
    assert again.ended_at is None


def test_an_imported_version_comes_from_its_run(database: Database) -> None:
    def work(tx: Tx) -> tuple[str, str]:
        run = begin(tx, **{"mlflow.source.git.commit": COMMIT})
        reads(tx, run, "purchases")
        model = logged_models.create(
            tx, CreateLoggedModel(experiment_id=run.experiment_id, name="m", source_run_id=run.id)
        )
        versions = tuple(
            ImportVersion(
                number=number, run_id=run_id, owner=owner, user="bo", created_at=tx.now, updated_at=tx.now
            )
            for number, run_id, owner in (
                (1, run.id, None),
                (3, run.id, f"logged-model/{model.id}"),
                (4, None, f"run/{run.id}"),
                (5, "gone", None),
            )
        )
        importing.take_model(tx, ImportModel(name="churn", created_at=tx.now, updated_at=tx.now, versions=versions))
        return run.id, model.id

    run_id, model_id = database.write(work, actor="ana")
    base = {f"run/{run_id}", "dataset/purchases@1f", f"commit/{COMMIT}"}
    assert above(database, "version/churn/1") == base
    assert above(database, "version/churn/3") == base | {f"logged-model/{model_id}"}
    assert above(database, "version/churn/4") == base
    assert above(database, "version/churn/5") == {"run/gone"}


def test_a_version_that_gets_its_files_later_is_of_them_then(database: Database) -> None:
    def work(tx: Tx) -> str:
        run = begin(tx)
        model = logged_models.create(
            tx, CreateLoggedModel(experiment_id=run.experiment_id, name="m", source_run_id=run.id)
        )
        found = ImportVersion(number=1, run_id=run.id, created_at=tx.now, updated_at=tx.now)
        whole = ImportModel(name="churn", created_at=tx.now, updated_at=tx.now, versions=(found,))
        importing.take_model(tx, whole)
        owner = f"logged-model/{model.id}"
        tables_artifacts.put(
            tx,
            Artifact(
                owner=owner, path="MLmodel", digest=FILE.digest, size_bytes=3, created_by="ana", created_at=tx.now
            ),
        )
        filled = msgspec.structs.replace(found, owner=owner)
        importing.take_model(tx, msgspec.structs.replace(whole, versions=(filled,)))
        return owner

    owner = database.write(work, actor="ana")
    assert owner in above(database, "version/churn/1")
    known = database.read(lambda tx: lineage.find(tx, "version/churn/1"))
    assert known is not None
    assert known.about["digest"] == directory_digest((FILE,))


_workspaces = itertools.count()
MODELS = st.sampled_from(["a", "b", "c"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("register"), MODELS, st.integers(0, 4)),
        st.tuples(st.just("read"), st.integers(0, 4), st.integers(0, 3)),
        st.tuples(st.just("rename"), MODELS, MODELS),
        st.tuples(st.just("delete version"), MODELS, st.integers(1, 4)),
        st.tuples(st.just("delete model"), MODELS),
        st.tuples(st.just("promote"), MODELS, st.integers(1, 4)),
    ),
    max_size=25,
)


class Story:
    """What is done to a registry, and beside it in plain words what must be true of its lineage."""

    def __init__(self, tx: Tx) -> None:
        self.tx = tx
        self.runs = [begin(tx) for _ in range(5)]
        self.read: dict[int, set[str]] = {run: set() for run in range(5)}
        self.made: list[tuple[int, int]] = []  # number in the graph, and run, of every version there ever was
        self.names: dict[tuple[str, int], int] = {}
        self._origins = itertools.count()

    def do(self, step: tuple[object, ...]) -> None:
        match step:
            case ("register", str(model), int(run)):
                version = registered(
                    self.tx, model, run_id=self.runs[run].id, artifact_prefix=str(next(self._origins))
                )
                number = lineage.enter(self.tx, f"version/{model}/{version.number}")
                self.made.append((number, run))
                self.names[model, version.number] = number
            case ("read", int(run), int(data)):
                reads(self.tx, self.runs[run], f"d{data}")
                self.read[run].add(f"dataset/d{data}@1f")
            case ("rename", str(before), str(after)):
                removal.rename_model(self.tx, before, after)
                self.names = {
                    (after if model == before else model, number): node
                    for (model, number), node in self.names.items()
                }
            case ("delete version", str(model), int(number)):
                removal.delete_version(self.tx, model, number)
                del self.names[model, number]
            case ("delete model", str(model)):
                removal.delete_model(self.tx, model)
                self.names = {key: node for key, node in self.names.items() if key[0] != model}
            case ("promote", str(model), int(number)):
                stages.transition(self.tx, model, number, Stage.PRODUCTION)

    def judge(self) -> None:
        known = lineage.numbered(self.tx, [number for number, _ in self.made])
        alive = {f"version/{model}/{number}": node for (model, number), node in self.names.items()}
        assert {each.subject: each.number for each in known.values() if each.ended_at is None} == alive
        for number, run in self.made:
            name = known[number].subject
            up = lineage_walks.above(self.tx, name)
            assert up == {name, f"run/{self.runs[run].id}", *self.read[run]}
            for upstream in up - {name}:
                found = lineage.find(self.tx, upstream)
                assert found is not None
                below, _ = lineage_walks.versions_from(self.tx, [found.number], limit=100)
                assert name in {each.subject for each in below}  # up, then down again
        for run, data in self.read.items():
            if run in {run for _, run in self.made}:
                for name in data:
                    found = lineage.find(self.tx, name)
                    assert found is not None
                    page, _ = lineage_walks.versions_from(self.tx, [found.number], limit=100)
                    readers = {reader for reader, all_of in self.read.items() if name in all_of}
                    assert {each.number for each in page} == {node for node, of in self.made if of in readers}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_whatever_is_registered_renamed_and_deleted(database: Database, steps: list[tuple[object, ...]]) -> None:
    workspace = f"story-{next(_workspaces)}"

    def work(tx: Tx) -> None:
        story = Story(tx)
        for step in steps:
            try:
                story.do(step)
            except HeadraceError:  # refused before anything was changed: no such version, a name that is taken
                continue
        story.judge()

    database.write(work, actor="ana", workspace=workspace)
