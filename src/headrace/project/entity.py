"""An entity: what predictions are about and what joins all data, such as a customer."""

from headrace.project.declaration import Declaration


class Entity(Declaration, frozen=True):
    """A kind of thing with a key.

    Args:
        name: the entity's name, such as "customer".
        key: the column that identifies one of them in every source, such as "customer_id".
    """

    name: str
    key: str

    def _check(self) -> None:
        self._check_name("an entity", self.name)
        self._check_name("an entity's key column", self.key)
