"""Every parser of a body, with bodies that nearly fit and bodies that do not: the error is always the caller's.

Values carry a mark that no error may repeat, since errors land in other people's logs.
"""

import io
import json
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import HeadraceError, NotServed
from headrace.protocols.openinference import tables, wire
from headrace.serving.forms.inputs import Inputs, nulls, row_values, rows_of
from headrace.serving.forms.json_forms import FORMS, Asked, Entities, Forms
from headrace.serving.forms.signature import Column, Kind, Param, Signature, Tensor
from headrace.serving.gateway import csv_forms, parquet_forms
from headrace.serving.loading.loader import LoadedModel
from headrace.serving.loading.predictor import Predictor
from headrace.serving.nouns import FieldPolicy, ServedVersion
from headrace.serving.runtimes.explained import Subject
from headrace.serving.runtimes.explaining import Explainer
from headrace.serving.runtimes.recipe import Recipe

EXAMPLES = settings(max_examples=150, deadline=None)
MARK = "s3cr3t"
NAMES = ("amount", "visits", "city", "seen", "member", "raw", "note")
MATRIX = Signature(
    [Column(name="amount", type="double"), Column(name="visits", type="long", required=False)],
    [Param(name="limit", type="long", default=3), Param(name="names", type="string", default=[], shape=(-1,))],
)
COLUMNS = Signature(
    [
        Column(name="city", type="string"),
        Column(name="visits", type="integer"),
        Column(name="amount", type="float", required=False),
        Column(name="seen", type="datetime", required=False),
        Column(name="member", type="boolean", required=False),
        Column(name="raw", type="binary", required=False),
    ]
)
TENSORS = Signature(
    [
        Tensor(name="amount", dtype="float32", shape=(-1, 2)),
        Tensor(name="visits", dtype="int64", shape=(-1,)),
    ]
)
SIGNATURES = {"matrix": MATRIX, "columns": COLUMNS, "tensors": TENSORS}
POLICIES = {"strict": FieldPolicy(), "lenient": FieldPolicy(unknown="ignore", missing="null")}


class Served(NamedTuple):
    """A model that takes whatever fits its signature."""

    predictor: Predictor
    forms: Forms


def ones(inputs: Inputs, params: Any = None) -> Any:
    return np.ones(rows_of(inputs))


@pytest.fixture(scope="module", params=[(kind, policy) for kind in SIGNATURES for policy in POLICIES])
def served(request: pytest.FixtureRequest) -> Served:
    kind, policy = request.param
    signature = SIGNATURES[kind]
    version = ServedVersion(model="churn", number=1, digest="sha256:" + "0" * 64, files=(), entity_key=None)
    model = LoadedModel(signature=signature, predict=ones, runtime="test")
    return Served(Predictor(version, model), Forms(signature, POLICIES[policy]))


def parsed(read: Callable[[], Asked], served: Served) -> None:
    """Read a body: it is refused as the caller's mistake, or rows came out that the model and the log can take."""
    refused: HeadraceError | None = None
    try:
        asked = read()
    except HeadraceError as error:
        refused = error
    if refused is not None:
        assert 400 <= refused.status < 500, refused
        assert MARK not in f"{refused.message} {refused.fix}"
        return
    if isinstance(asked.rows, Entities):
        return
    rows = asked.rows
    assert 1 <= rows_of(rows) <= 10_000
    assert len(served.predictor.predict(rows, asked.params)) == rows_of(rows)
    served.predictor.unfit(rows)
    explain(served, rows)
    if served.predictor.signature.kind is not Kind.TENSORS:
        names = served.predictor.names
        assert nulls(rows, names).shape == (rows_of(rows), len(names))
        assert len(row_values(rows, names)) == rows_of(rows)


def explain(served: Served, rows: Inputs) -> None:
    """Whatever a model can take can be mixed with other rows; what always answers the same owes nothing to them."""
    columns = tuple((column.name, column.type) for column in served.predictor.signature.columns)
    explainer = Explainer(Subject(ones, ones), Recipe("test", columns=columns))
    explainer.compare_with(rows)
    with suppress(NotServed):  # two tensors
        known, arrays = explainer.explain(rows, None, output=None, within_s=60.0)
        assert known["scale"] == "value"
        assert (arrays["base"] == 1.0).all()
        assert (arrays["contributions"] == 0.0).all()


# -- what is sent -----------------------------------------------------------------------------------------------

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-3, 3)
    | st.floats()
    | st.sampled_from([10**400, -(2**63), 2**63, 2**64, 1e308, -1e-320, 2**53 + 1])
    | st.text(max_size=4)
    | st.sampled_from(
        [MARK, "", "1", "nan", "inf", "-0", "1e999", "2024-01-01", "2024-01-01T00:00:00Z", "AAAA", "true"]
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=2),
    max_leaves=6,
)
FITTING: dict[str, st.SearchStrategy[Any]] = {
    "amount": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9),
    "visits": st.integers(-9, 9),
    "city": st.text(max_size=3),
    "seen": st.sampled_from(["2024-01-01T00:00:00Z", "0001-01-01T00:00:00", "9999-12-31T23:59:59.999999Z"]),
    "member": st.booleans(),
    "raw": st.sampled_from(["", "AAAA", "AA=="]),
    "note": VALUES,
}


@st.composite
def records(draw: st.DrawFn) -> list[dict[str, Any]]:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    row = st.fixed_dictionaries({name: st.one_of(FITTING[name], VALUES) for name in names})
    return draw(st.lists(row, max_size=3))


@st.composite
def splits(draw: st.DrawFn) -> Any:
    names = draw(st.lists(st.sampled_from(NAMES), max_size=7))
    rows = st.lists(st.tuples(*(st.one_of(FITTING[name], VALUES) for name in names)) | VALUES, max_size=3)
    return {"columns": draw(st.just(names) | VALUES), "data": draw(rows)}


def columns() -> st.SearchStrategy[Any]:
    lists = {name: st.lists(st.one_of(FITTING[name], VALUES), max_size=3) for name in NAMES}
    return st.fixed_dictionaries({}, optional=lists)


FORM = {
    "dataframe_records": records(),
    "dataframe_split": splits(),
    "instances": records() | st.lists(VALUES, max_size=3) | columns(),
    "inputs": columns() | st.lists(st.lists(SCALARS, max_size=3), max_size=3) | VALUES,
    "entities": st.dictionaries(st.text(max_size=3), VALUES, max_size=2),
}
assert set(FORM) == set(FORMS)


@st.composite
def json_bodies(draw: st.DrawFn) -> bytes:
    forms = draw(st.lists(st.sampled_from(FORMS), min_size=1, max_size=2, unique=True))
    body = {name: draw(FORM[name]) for name in forms}
    body |= draw(st.dictionaries(st.sampled_from(["params", MARK, "id"]), VALUES, max_size=1))
    return json.dumps(draw(st.just(body) | VALUES)).encode()


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Some bytes changed, cut out, doubled, or put in."""
    content = bytearray(draw(whole))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(content)))
        width = draw(st.integers(0, 8))
        with_what = draw(st.binary(max_size=8) | st.just(bytes(content[place : place + width]) * 2))
        content[place : place + width] = with_what
    return bytes(content)


@st.composite
def parquet_tables(draw: st.DrawFn) -> bytes:
    length = draw(st.integers(0, 3))
    made: dict[str, pa.Array] = {}
    for name in draw(st.lists(st.sampled_from([*NAMES, "__index_level_0__"]), unique=True, max_size=7)):
        kind = draw(st.sampled_from(ARROW))
        picked = [draw(st.none() | st.sampled_from(kind[1])) for _ in range(length)]
        made[name] = pa.array(picked, kind[0])
    file = io.BytesIO()
    pq.write_table(pa.table(made), file, compression=draw(st.sampled_from(["none", "snappy", "zstd"])))
    return file.getvalue()


ARROW: list[tuple[pa.DataType, list[Any]]] = [
    (pa.float64(), [1.5, float("nan"), float("inf"), 1e300]),
    (pa.float16(), [np.float16(2.0)]),
    (pa.int64(), [1, -(2**63), 2**62]),
    (pa.uint64(), [2**64 - 1]),
    (pa.bool_(), [True, False]),
    (pa.string(), [MARK, "", "1"]),
    (pa.large_binary(), [b"\xff", b""]),
    (pa.timestamp("ns"), [0, 2**62]),
    (pa.timestamp("s", tz="Europe/Berlin"), [0, 2**40, -(2**50)]),
    (pa.date32(), [0, 2**31 - 1, -(2**31)]),
    (pa.time64("us"), [0]),
    (pa.duration("us"), [5]),
    (pa.decimal128(38, 2), [1]),
    (pa.list_(pa.int8()), [[1], []]),
    (pa.struct([("a", pa.int8())]), [{"a": 1}]),
    (pa.map_(pa.string(), pa.int8()), [[("a", 1)]]),
    (pa.null(), [None]),
]


@st.composite
def tensor_bodies(draw: st.DrawFn) -> tuple[bytes, str | None]:
    """JSON and the bytes after it, with lengths that may lie."""
    described, rest = [], b""
    for name in draw(st.lists(st.sampled_from(["rows", *NAMES]), max_size=7, unique=True)):
        shape = draw(
            st.lists(st.integers(-1, 3) | st.sampled_from([2**31, 2**63, 10**30]), max_size=3) | st.just([1] * 70)
        )
        given: dict[str, Any] = {
            "name": name,
            "shape": shape,
            "datatype": draw(st.sampled_from([*wire.DTYPES, "FP8", MARK])),
        }
        if draw(st.booleans()):
            given["data"] = draw(st.lists(SCALARS | st.lists(SCALARS, max_size=3), max_size=6) | VALUES)
        else:
            filled = b"".join(draw(st.lists(CHUNKS, max_size=4)))
            given["parameters"] = {"binary_data_size": len(filled) + draw(st.sampled_from([0, 0, 0, 1, -1]))}
            rest += filled
        described.append(given)
    text = json.dumps(
        {"inputs": described} | draw(st.dictionaries(st.sampled_from(["id", "parameters"]), VALUES))
    ).encode()
    length = st.just(str(len(text))) | st.sampled_from([None, "²", "9" * 5_000, "-1", "1e3", "", " 7", "0"])
    return text + rest, draw(length)


CHUNKS = st.sampled_from(
    [
        struct.pack("<d", 1.5),
        struct.pack("<d", float("nan")),
        struct.pack("<f", float("inf")),
        struct.pack("<q", -1),
        struct.pack("<I", 6) + MARK.encode(),
        struct.pack("<I", 2**32 - 1),
        b"\x02",
        b"",
    ]
)

# -- the parsers ------------------------------------------------------------------------------------------------


@EXAMPLES
@given(body=json_bodies() | damaged(json_bodies()))
def test_json(served: Served, body: bytes) -> None:
    parsed(lambda: served.forms.decode(body), served)


@pytest.mark.parametrize("depth", [100, 100_000])
@pytest.mark.parametrize("form", [*FORMS, "params", "nothing"])
def test_json_that_goes_too_deep(served: Served, form: str, depth: int) -> None:
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        body = b'{"%s":%s0%s}' % (form.encode(), opening * depth, closing * depth)
        parsed(lambda body=body: served.forms.decode(body), served)  # type: ignore[misc]


@EXAMPLES
@given(
    names=st.lists(st.sampled_from(NAMES) | st.text(max_size=3), max_size=5),
    rows=st.lists(st.lists(st.one_of(SCALARS, FITTING["amount"]).map(str), max_size=5), max_size=3),
    damage=st.data(),
)
def test_csv(served: Served, names: list[str], rows: list[list[str]], damage: st.DataObject) -> None:
    text = "\n".join(",".join(line) for line in [names, *rows]).encode("utf-8", "surrogatepass")
    body = damage.draw(st.just(text) | damaged(st.just(text)))
    parsed(lambda: csv_forms.from_csv(served.forms, body), served)


@EXAMPLES
@given(body=parquet_tables() | damaged(parquet_tables()))
def test_parquet(served: Served, body: bytes) -> None:
    parsed(lambda: parquet_forms.from_parquet(served.forms, body), served)


@EXAMPLES
@given(body=tensor_bodies())
def test_open_inference(served: Served, body: tuple[bytes, str | None]) -> None:
    def read() -> Asked:
        _, tensors = wire.decode(*body)
        return Asked(tables.to_inputs(served.predictor, tensors))

    parsed(read, served)


@EXAMPLES
@given(body=damaged(tensor_bodies().map(lambda body: body[0])))
def test_damaged_open_inference(served: Served, body: bytes) -> None:
    def read() -> Asked:
        _, tensors = wire.decode(body, None)
        return Asked(tables.to_inputs(served.predictor, tensors))

    parsed(read, served)
