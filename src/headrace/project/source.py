"""A source: a table of events that happened at a time."""

from pathlib import PurePosixPath

from headrace.project.declaration import Declaration

SUFFIXES = frozenset({".parquet", ".pq", ".csv"})


class Source(Declaration, frozen=True):
    """A file of events, read as of any moment.

    Args:
        name: the source's name, such as "purchases".
        path: a Parquet or CSV file beside the project file, or a URI ("s3://bucket/events.parquet"). A file is
            sent with `headrace apply`, so that no worker depends on this machine's disk.
        time: the column of the event time, a DATE or a TIMESTAMP. A DATE counts from the end of its day.
    """

    name: str
    path: str
    time: str

    @property
    def is_uri(self) -> bool:
        """Whether workers read the data where they are, instead of a copy sent with the project."""
        return "://" in self.path

    def _check(self) -> None:
        self._check_name("a source", self.name)
        self._check_text("path", fix='Name a Parquet file: "data/purchases.parquet".')
        self._check_text("time", fix='Name the column of the event time: time="date".')
        if self.is_uri:
            return
        path = PurePosixPath(self.path)
        if path.is_absolute() or ".." in path.parts:
            self._refuse(
                f"the path {self.path!r} leaves the project",
                fix="Put the file below the project's folder, or name a URI such as s3://bucket/events.parquet.",
            )
        if path.suffix not in SUFFIXES:
            self._refuse(f"{self.path!r} is neither Parquet nor CSV", fix="Convert the data to Parquet.")
