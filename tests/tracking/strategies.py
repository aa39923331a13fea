"""Random filters, made of comparisons that a test names."""

from collections.abc import Sequence

from hypothesis import strategies as st

from headrace.tracking.expressions import And, Comparison, Expression, Kind, Not, Or

RANKED = ("=", "!=", "<", "<=", ">", ">=")
TEXTUAL = ("=", "!=", "LIKE", "ILIKE", "NOT LIKE", "NOT ILIKE")
TEXTS = ("churn", "Churn", "a_b", "acb", "100%", "", "ärger", "ÄRGER", "x*y?[z]", "\\")
PATTERNS = (*TEXTS, "%", "c%", "%N", "a_b", "_hurn", "%\\", "ä%", "true", "false")


def textual(kind: Kind, key: str, *, null: bool = True) -> st.SearchStrategy[Expression]:
    """A text compared."""
    made: list[st.SearchStrategy[Expression]] = [
        st.builds(
            lambda comparator, value: Comparison(kind=kind, key=key, comparator=comparator, value=value),
            st.sampled_from(TEXTUAL),
            st.sampled_from(PATTERNS),
        ),
        st.builds(
            lambda comparator, values: Comparison(kind=kind, key=key, comparator=comparator, value=tuple(values)),
            st.sampled_from(["IN", "NOT IN"]),
            st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3),
        ),
    ]
    if null:
        made.append(absent(kind, key))
    return st.one_of(made)


def absent(kind: Kind, key: str) -> st.SearchStrategy[Expression]:
    """Asks whether something is there at all."""
    return st.sampled_from(["IS NULL", "IS NOT NULL"]).map(
        lambda comparator: Comparison(kind=kind, key=key, comparator=comparator)  # type: ignore[arg-type]
    )


def ranked(kind: Kind, key: str, values: Sequence[float]) -> st.SearchStrategy[Expression]:
    """A number compared."""
    return st.builds(
        lambda comparator, value: Comparison(kind=kind, key=key, comparator=comparator, value=value),
        st.sampled_from(RANKED),
        st.sampled_from(values),
    )


def trees(leaves: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    """Comparisons under AND, OR and NOT."""
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            inner.map(lambda operand: Not(operand=operand)),
            st.lists(inner, min_size=2, max_size=3).map(lambda parts: And(operands=tuple(parts))),
            st.lists(inner, min_size=2, max_size=3).map(lambda parts: Or(operands=tuple(parts))),
        ),
        max_leaves=6,
    )
