"""What differs between two declarations of a model, in lines that a person reads: old → new, and nothing else."""

from collections.abc import Mapping
from typing import Any

from headrace.project.declaration import definition
from headrace.project.experiments import ABTest, Bandit, Rollout
from headrace.project.model import ModelDeclaration
from headrace.project.policy import DeliveryPolicy

PLANNED_BY_THEMSELVES = ("features", "label")
"""A plan has a line for each view and label, with what changes of it."""


def of_models(before: ModelDeclaration, after: ModelDeclaration) -> tuple[str, ...]:
    """A line for each field of a model that differs."""
    old, new = definition(before), definition(after)
    found: list[str] = []
    for name in PLANNED_BY_THEMSELVES:
        found += _references(name, old.pop(name), new.pop(name))
    del old["policy"], new["policy"]
    return (*found, *_of_fields(old, new), *of_policies(before.policy, after.policy))


def of_policies(before: DeliveryPolicy, after: DeliveryPolicy) -> tuple[str, ...]:
    """A line for each field of a delivery that differs, by the names that a project uses."""
    old, new = definition(before), definition(after)
    if old["rollout"]["kind"] == new["rollout"]["kind"]:
        return tuple(_of_fields(old, new))
    del old["rollout"], new["rollout"]
    return (*_of_fields(old, new), f"rollout: {rollout(before.rollout)} → {rollout(after.rollout)}")


def rollout(declared: Rollout) -> str:
    """A rollout in a few words."""
    steps = ", ".join(str(step) for step in declared.steps)
    match declared:
        case ABTest():
            return f"A/B test on {declared.reward}, {steps} %"
        case Bandit():
            return f"bandit on {declared.reward}, from {steps} %"
    return f"canary {steps} %"


def _of_fields(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for name in [*after, *(name for name in before if name not in after)]:
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        path = f"{prefix}{name}"
        if isinstance(old, Mapping) and isinstance(new, Mapping) and old.get("kind") == new.get("kind"):
            found += _of_fields(old, new, f"{path}.")
        elif _are_declarations(old) and _are_declarations(new) and (old or new):
            found += _of_lists(path, old, new)
        else:
            found.append(f"{path}: {_spoken(old)} → {_spoken(new)}")
    return found


def _of_lists(path: str, before: Any, after: Any) -> list[str]:
    """What went, what came, and what of the same name is another now."""
    gone = [item for item in before if item not in after]
    new = [item for item in after if item not in before]
    found: list[str] = []
    for item in list(new):
        same = [other for other in gone if _named(other) == _named(item)]
        if len(same) == 1 and [_named(other) for other in new].count(_named(item)) == 1:
            found += _of_fields(same[0], item, f"{path}.{_named(item)}.")
            gone.remove(same[0])
            new.remove(item)
    found += [f"{path}: no longer {_spoken(item)}" for item in gone]
    found += [f"{path}: also {_spoken(item)}" for item in new]
    return found or [f"{path}: in another order"]


def _references(name: str, before: Any, after: Any) -> list[str]:
    """Which objects a model refers to, and which of them are others now."""
    old, new = (value if isinstance(value, list | tuple) else [value] for value in (before, after))
    names = [[item["name"] for item in items] for items in (old, new)]
    if names[0] != names[1]:
        return [f"{name}: {', '.join(names[0])} → {', '.join(names[1])}"]
    return [f"{name}: {one['name']} is another one" for one, other in zip(old, new, strict=True) if one != other]


def _are_declarations(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, Mapping) for item in value)


def _named(item: Mapping[str, Any]) -> str:
    """A gate or a monitor by its kind and what it is about."""
    about = item.get("metric") or item.get("measure") or ""
    kind = str(item.get("kind") or item.get("name") or "")
    return f"{kind}({about})" if about else kind


def _spoken(value: Any) -> str:
    if isinstance(value, Mapping):
        rest = {name: item for name, item in value.items() if name not in {"kind", "metric", "measure"}}
        told = ", ".join(f"{name} {_spoken(item)}" for name, item in rest.items() if item is not None)
        return f"{_named(value)} {told}".strip()
    if isinstance(value, list | tuple):
        return f"[{', '.join(_spoken(item) for item in value)}]"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
