"""Names for runs that nobody named: easy to say, and told from the run's id, so that nothing is left to chance."""

_ADJECTIVES = (
    "able", "amber", "bold", "brisk", "calm", "clear", "clever", "crisp", "deep", "eager", "early", "fair", "fleet",
    "fresh", "gentle", "glad", "golden", "grand", "keen", "kind", "light", "lively", "lucid", "merry", "mild",
    "modest", "neat", "noble", "open", "patient", "plain", "proud", "quick", "quiet", "ready", "round", "sharp",
    "silver", "sleek", "smooth", "solid", "steady", "still", "sturdy", "sunny", "swift", "tidy", "true", "vivid",
    "warm", "wide", "wise",
)  # fmt: skip
_NOUNS = (
    "alder", "basin", "beck", "birch", "bridge", "brook", "canal", "cedar", "channel", "cove", "creek", "dale",
    "delta", "eddy", "ferry", "fjord", "ford", "glen", "harbour", "heron", "inlet", "island", "lagoon",
    "lake", "lock", "maple", "marsh", "meadow", "mill", "mouth", "oak", "otter", "pier", "pike", "pond", "quay",
    "rapid", "reed", "ridge", "river", "shoal", "shore", "sluice", "source", "spring", "strait", "stream", "trout",
    "weir", "wharf", "willow", "kingfisher",
)  # fmt: skip


def run_name(run_id: str) -> str:
    """A name such as `steady-weir-417`, told from the last 48 bits of a hex id, which are random in a UUIDv7."""
    number = int(run_id[-12:], 16)
    number, adjective = divmod(number, len(_ADJECTIVES))
    number, noun = divmod(number, len(_NOUNS))
    return f"{_ADJECTIVES[adjective]}-{_NOUNS[noun]}-{number % 1000}"
