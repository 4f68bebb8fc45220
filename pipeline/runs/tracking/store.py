"""A tracking store of MLflow, a server or a database. It may be busy; its errors are one line."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ParamSpec, TypeVar

from alembic.util import CommandError
from mlflow.exceptions import MlflowException
from mlflow.store.entities import PagedList
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

from pipeline.config.places import database
from pipeline.core.errors import UserError, first_line
from pipeline.runs.tracking.database import make_database

# Without this, both report every table that they create in a new database.
logging.getLogger("mlflow").setLevel(logging.ERROR)
logging.getLogger("alembic").setLevel(logging.ERROR)
# It prints the traceback of every error of a database, and raises the error as well.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)

# What MLflow raises. An ImportError is a database whose driver is not installed.
FAILURES = (MlflowException, SQLAlchemyError, CommandError, ImportError, OSError)
# Another process writes to the same sqlite file. MLflow waits 20 seconds for it before it says so.
BUSY = ("database is locked",)
# Another process makes or updates the tables of the same database.
BEING_MADE = (*BUSY, "already exists", "duplicate column", "no such table")
# What a user can do about some errors that last: a part of MLflow's message -> the advice.
_HALF = "if no other program is updating it, the database is incomplete: move it away"
ADVICE = {
    "must be in the 'active' state": "it was deleted meanwhile; the same command makes it anew",
    "already exists": _HALF,
    "duplicate column": _HALF,
    "no such table": _HALF,
}
# How long to wait before each new try, in seconds.
WAITS = (0.2, 1.0, 3.0, 10.0)

P = ParamSpec("P")
T = TypeVar("T")


class TrackingError(UserError):
    """The tracking store cannot do what it was asked for.

    Attributes:
        code: MLflow's name of the reason, such as `RESOURCE_DOES_NOT_EXIST`; may be empty.
    """

    code = ""


class Store:
    """A tracking store.

    Args:
        uri: an MLflow server, or a database. A sqlite file that does not exist is made.

    Attributes:
        uri: the same.
        client: of MLflow. Call its methods through `ask`.

    Raises:
        TrackingError: it cannot be opened.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.client = self._try(BEING_MADE, _open, uri)

    def ask(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a method of the client. If another process is writing, wait for it.

        Raises:
            TrackingError: the store does not answer, or refuses.
        """
        return self._try(BUSY, method, *args, **kwargs)

    def pages(self, method: Callable[..., PagedList[T]], *args: Any, **kwargs: Any) -> Iterator[T]:
        """Call a method that answers page by page, and yield what is on all pages.

        Raises:
            TrackingError: as `ask`.
        """
        token = None
        while True:
            page = self.ask(method, *args, page_token=token, **kwargs)
            yield from page
            token = page.token
            if not token:
                return

    def _try(
        self, passing: Sequence[str], method: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a method, and call it again as long as its error is one that passes."""
        waits = list(WAITS)
        while True:
            try:
                return method(*args, **kwargs)
            except FAILURES as error:
                text = str(error).lower()
                if not waits or not any(sign in text for sign in passing):
                    raise self._error(error) from error
            time.sleep(waits.pop(0))

    def _error(self, error: Exception) -> TrackingError:
        """Return an error of MLflow as one line that names the tracking store."""
        reason = first_line(error)
        text = f"tracking.uri={self.uri}: cannot be used ({reason})"
        for sign, advice in ADVICE.items():
            if sign in reason:
                text += f"; {advice}"
        ours = TrackingError(text)
        ours.code = getattr(error, "error_code", "")
        return ours


def _open(uri: str) -> MlflowClient:
    path = database(uri)
    if path is not None:
        make_database(path)
    return MlflowClient(tracking_uri=uri)
