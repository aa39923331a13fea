"""How the models that we export answer: written into their directory, since MLflow's format cannot say it.

MLflow's `predict` gives labels. Ours are trained to give the probability of the second class, and keep to that
wherever they are served by us.
"""

ANSWER_MARK = "headrace.answer"
"""The key in the `metadata` of an MLmodel file."""
POSITIVE_PROBABILITY = "positive_probability"
"""Its value: the probability of the second of two classes, of each class where there are more, else the value."""

BACKGROUND_FILE = "background.json"
"""A sample of the training rows beside the model, in MLflow's `split` form: what explanations compare with."""
