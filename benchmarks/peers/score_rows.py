"""Runs in the peers' environment: a Parquet file through a model or MLflow's pyfunc, as somebody would by hand."""

import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

CHUNK = 100_000


def main() -> None:
    how, folder, rows, output = sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
    file = pq.ParquetFile(rows)
    names = file.schema_arrow.names
    if how == "bare":
        model: Any = mlflow.sklearn.load_model(folder)
        model.__dict__.pop("feature_names_in_", None)
        for _, step in model.steps:
            step.__dict__.pop("feature_names_in_", None)  # or scikit-learn warns
    else:
        model = mlflow.pyfunc.load_model(folder)
    writer = None
    for batch in file.iter_batches(CHUNK):
        if how == "bare":
            answers = model.predict_proba(np.column_stack([batch.column(name).to_numpy() for name in names]))
        else:
            answers = model.predict(batch.to_pandas())
        table = pa.table({"prediction": np.asarray(answers)[:, 1]})
        writer = writer or pq.ParquetWriter(output, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


if __name__ == "__main__":
    main()
