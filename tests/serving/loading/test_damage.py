"""Damaged and hostile directories: each is told as what it is, and whoever loads it lives on."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import skops.io
import xgboost
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.serving import models
from tests.serving.runtimes import directories
from tests.serving.runtimes.directories import LABELS, ROWS

from headrace.errors import HeadraceError, InternalError, NotServed, TooLarge
from headrace.kernel.blobs import open_blob_store
from headrace.serving.loading import host
from headrace.serving.loading.loader import LoadedModel, open_loader

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)
PATHS = ["../../etc/passwd", "/etc/passwd", "a/../../b", "", "model.skops\x00", "x" * 5_000, "MLmodel", "."]
FIELDS = [
    ("flavors",),
    ("signature",),
    ("metadata",),
    ("signature", "inputs"),
    ("flavors", "sklearn"),
    ("flavors", "python_function"),
    ("flavors", "python_function", "loader_module"),
    ("flavors", "python_function", "predict_fn"),
    ("flavors", "sklearn", "pickled_model"),
    ("flavors", "sklearn", "serialization_format"),
    ("flavors", "sklearn", "sklearn_version"),
    ("flavors", "sklearn", "code"),
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that is as it should be."""
    directory = models.write_model(tmp_path_factory.mktemp("sound") / "m", models.binary_model())
    models.change_description(
        directory,
        lambda description: description["flavors"].update(python_function={"loader_module": "mlflow.sklearn"}),
    )
    return directory


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(field=st.sampled_from(FIELDS), value=VALUES | st.sampled_from(PATHS))
def test_a_description_with_any_other_value_is_loaded_or_refused(
    sound: Path, tmp_path: Path, field: tuple[str, ...], value: Any
) -> None:
    (tmp_path / "model.skops").write_bytes((sound / "model.skops").read_bytes())
    description = yaml.safe_load((sound / "MLmodel").read_text())
    inner = description
    for name in field[:-1]:
        inner = inner[name]
    inner[field[-1]] = value
    try:
        text = yaml.safe_dump(description)
    except yaml.YAMLError:
        return
    (tmp_path / "MLmodel").write_text(text, encoding="utf-8", errors="surrogatepass")
    refused_or_sound(tmp_path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_files_that_were_cut_or_changed_anywhere_are_told(sound: Path, tmp_path: Path, data: st.DataObject) -> None:
    for name in ("MLmodel", "model.skops"):
        content = bytearray((sound / name).read_bytes())
        for _ in range(data.draw(st.integers(0, 3))):
            place = data.draw(st.integers(0, len(content) - 1))
            content[place] = data.draw(st.integers(0, 255))
        (tmp_path / name).write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    refused_or_sound(tmp_path)


def refused_or_sound(directory: Path) -> None:
    try:
        arrangement = models.arranged(directory)
        if not arrangement.here:
            return  # it would go to a host, which other tests crash
        loaded = models.loaded(directory)
    except HeadraceError:
        return
    assert isinstance(loaded, LoadedModel)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "a: 2026-99-99",
        "a: &a [*a]",
        "!!python/object/apply:os.system ['true']",
        "[" * 3_000,
        "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: &d [*c, *c]\nflavors: {sklearn: {code: *d}}",
        "flavors: {sklearn: {pickled_model: model.skops}}\nsignature: {inputs: '[[[[[[[['}",
        "\x00",
    ],
)
def test_yaml_that_means_harm_does_none(sound: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "model.skops").write_bytes((sound / "model.skops").read_bytes())
    (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(HeadraceError):
        models.loaded(tmp_path)


def test_a_zip_that_unpacks_to_far_more_than_it_is_is_not_unpacked(sound: Path, tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text((sound / "MLmodel").read_text())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", "{}")
        for place in range(300):
            archive.writestr(f"{place}.npy", bytes(1 << 20))
    (tmp_path / "model.skops").write_bytes(buffer.getvalue())
    with pytest.raises(TooLarge, match="unpacks"):
        models.loaded(tmp_path)


def test_an_array_that_claims_to_be_larger_than_memory_is_told(sound: Path, tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text((sound / "MLmodel").read_text())
    content = io.BytesIO()
    with zipfile.ZipFile(sound / "model.skops") as archive, zipfile.ZipFile(content, "w") as changed:
        for name in archive.namelist():
            entry = archive.read(name)
            if name.endswith(".npy"):
                entry = entry.replace(b"'shape': (1, 2), }", b"'shape': (9999999999999, 2), }")
                entry = entry.replace(b"'shape': (2,), }", b"'shape': (99999999999999,), }")
            changed.writestr(name, entry)
    (tmp_path / "model.skops").write_bytes(content.getvalue())
    with pytest.raises(InternalError, match="could not be read"):
        models.loaded(tmp_path)


def of_xgboost(folder: Path) -> Path:
    model = xgboost.XGBClassifier(n_estimators=4, n_jobs=1).fit(ROWS, LABELS)
    return directories.xgboost_model(folder, model)


def of_lightgbm(folder: Path) -> Path:
    booster = lightgbm.train({"verbose": -1, "objective": "binary"}, lightgbm.Dataset(ROWS, LABELS), 4)
    return directories.lightgbm_model(folder, booster)


def of_onnx(folder: Path) -> Path:
    return directories.onnx_model(folder, directories.sum_graph())


@pytest.mark.parametrize(
    ("write", "name"), [(of_xgboost, "model.ubj"), (of_lightgbm, "model.lgb"), (of_onnx, "model.onnx")]
)
def test_a_damaged_file_of_a_library_in_c_does_not_end_the_gateway(
    write: Callable[[Path], Path], name: str, tmp_path: Path
) -> None:
    directory = write(tmp_path / "m")
    whole = (directory / name).read_bytes()
    generator = np.random.default_rng(17)
    blobs = open_blob_store(tmp_path / "home")
    loader = open_loader(tmp_path / "home", blobs)
    for number in range(5):
        content = bytearray(whole)
        if number % 2:
            content = content[: int(generator.integers(1, len(whole)))]
        else:
            for place in generator.integers(0, len(whole), 1 + number):
                content[place] = int(generator.integers(0, 256))
        (directory / name).write_bytes(content)
        version = models.store_version(blobs, directory, number)
        try:
            loader.load(version)
        except HeadraceError:
            continue


def test_a_file_that_crashes_its_library_is_refused_for_good(tmp_path: Path) -> None:
    """LightGBM ends its process over a text whose lengths are wrong."""
    directory = of_lightgbm(tmp_path / "m")
    text = (directory / "model.lgb").read_text()
    header = next(line for line in text.splitlines() if line.startswith("tree_sizes="))
    (directory / "model.lgb").write_text(text.replace(header, "tree_sizes=" + " ".join(["9"] * 4)))
    blobs = open_blob_store(tmp_path / "home")
    version = models.store_version(blobs, directory, 1)
    with pytest.raises(NotServed, match="ended the process that tried it"):
        open_loader(tmp_path / "home", blobs).load(version)


def test_a_sound_file_is_tried_in_a_process_of_its_own_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = open_blob_store(tmp_path / "home")
    version = models.store_version(blobs, of_xgboost(tmp_path / "m"), 1)
    started: list[Any] = []
    original = host.HostProcess

    def counted(*arguments: Any, **options: Any) -> Any:
        started.append(arguments)
        return original(*arguments, **options)

    monkeypatch.setattr(host, "HostProcess", counted)
    loader = open_loader(tmp_path / "home", blobs)
    loader.load(version)
    assert not loader.load(version).hosted
    assert len(started) == 1


def test_types_that_a_file_trusts_by_itself_are_not_trusted(tmp_path: Path) -> None:
    directory = models.write_model(tmp_path / "m", models.binary_model())
    skops.io.dump({"call": json.loads}, directory / "model.skops")
    models.change_description(
        directory, lambda description: description["flavors"]["sklearn"].update(skops_trusted_types=["json.loads"])
    )
    with pytest.raises(HeadraceError, match=r"json\.loads"):
        models.loaded(directory)
