"""Setting policies, and reading which of them bind; every change of one stays in the audit trail."""

import msgspec

from headrace.errors import NotFound
from headrace.kernel import events
from headrace.kernel.access import Role
from headrace.kernel.database import Tx
from headrace.kernel.events import Event
from headrace.registry import models, rules, tables_approvals
from headrace.registry.bounds import RolloutBounds
from headrace.registry.nouns import Stage
from headrace.registry.rules import ANY_MODEL, EffectivePolicy, ModelPolicies, Policy


def put(tx: Tx, wanted: Policy) -> Policy:
    """Set a policy, in the place of the one on the same stage or pattern; the same again changes nothing.

    A policy may be set before there is a model of its name. What it asks for less than the one before it is named
    in its event.

    Raises:
        InvalidInput: the policy cannot be meant.
    """
    rules.check(wanted, [role.value for role in Role])
    if wanted.model != ANY_MODEL:
        models.check_name(wanted.model)
    before = find(tx, wanted.model, wanted.governs)
    policy = msgspec.structs.replace(wanted, set_by=tx.actor, set_at=tx.now)
    if before is not None and _content(before) == _content(policy):
        return before
    tables_approvals.put_policy(tx, policy)
    facts = {"policy": policy, "before": before, "says": policy.says, "loosened": rules.loosened(before, policy)}
    events.append(tx, "registry.policy_set", _subject(policy.model), {**_facts(policy), **facts})
    return policy


def remove(tx: Tx, model: str, governs: str) -> Policy:
    """Remove a policy; what it governed is then under the next less specific one, or open.

    Raises:
        NotFound: there is no such policy.
    """
    before = find(tx, model, governs)
    if before is None:
        raise NotFound(
            f"no policy of {model} is set on {governs}",
            where=_subject(model),
            fix=f"See: headrace policy show {model}",
        )
    tables_approvals.drop_policy(tx, before)
    facts = {"before": before, "loosened": rules.loosened(before, None)}
    events.append(tx, "registry.policy_removed", _subject(model), {**_facts(before), **facts})
    return before


def rollout_bounds(tx: Tx, model: str) -> RolloutBounds | None:
    """How carefully the traffic of a model must at least move into Production; None where nothing is asked."""
    bound = rules.binding(tables_approvals.list_policies(tx, model), model, "stage", Stage.PRODUCTION.value)
    return None if bound is None else bound.rollout


def find(tx: Tx, model: str, governs: str) -> Policy | None:
    """The policy that is set on exactly this stage or pattern of this model, or of `*`."""
    for policy in tables_approvals.list_policies(tx, model):
        if policy.model == model and policy.governs == governs:
            return policy
    return None


def search(tx: Tx, *models: str) -> tuple[Policy, ...]:
    """The policies of some models and of `*`; all that are set when no model is named."""
    return tables_approvals.list_policies(tx, *models)


def effective(tx: Tx, model: str) -> ModelPolicies:
    """What governs a model, stage by stage and alias by alias, and where it comes from.

    The model need not be there yet.
    """
    found = rules.effective(tables_approvals.list_policies(tx, model), model)
    if not models.is_delivered(tx, model):
        return found
    delivered = tuple(
        msgspec.structs.replace(each, says=_also(each), source=_source(each))
        if each.governs == f"stage/{Stage.PRODUCTION.value}"
        else each
        for each in found.policies
    )
    says = rules.DELIVERED if found.is_open else f"{found.says}; {rules.DELIVERED}"
    return msgspec.structs.replace(found, is_open=False, says=says, policies=delivered)


def history(tx: Tx, model: str) -> list[Event]:
    """Every change of the policies of a model, or of `*`, oldest first."""
    return events.of_subject(tx, _subject(model))


def _also(each: EffectivePolicy) -> str:
    return rules.DELIVERED if each.policy.asks_nothing else f"{each.says}; {rules.DELIVERED}"


def _source(each: EffectivePolicy) -> str:
    return "project" if each.policy.asks_nothing else each.source


def _content(policy: Policy) -> Policy:
    """The policy without who set it and when."""
    return msgspec.structs.replace(policy, set_by="", set_at=None)


def _facts(policy: Policy) -> dict[str, object]:
    return {"model": policy.model, "governs": policy.governs}


def _subject(model: str) -> str:
    return f"policy/{model}"
