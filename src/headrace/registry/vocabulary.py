"""Which names a filter or an order may use for registered models and for versions."""

from headrace.tracking.vocabulary import Vocabulary

PROMPT_TAG = "mlflow.prompt.is_prompt"
"""MLflow keeps prompts among the registered models; `true` marks one, and no search shows it unless it asks."""

_TIMES = {"creation_timestamp": "created_at", "last_updated_timestamp": "updated_at"}

MODELS = Vocabulary(kinds=frozenset({"tag"}), texts={"name": "name"}, numbers={**_TIMES, "timestamp": "updated_at"})
VERSIONS = Vocabulary(
    kinds=frozenset({"tag"}),
    free_quotes=True,  # MLflow takes `version_number = '3'` too
    texts={
        "name": "model",
        "run_id": "run_id",
        "owner": "owner",
        **dict.fromkeys(("source_path", "source"), "source"),
        **dict.fromkeys(("stage", "current_stage"), "stage"),
        **dict.fromkeys(("alias", "aliases"), "alias"),
    },
    numbers={**dict.fromkeys(("version_number", "version"), "number"), **_TIMES},
)
