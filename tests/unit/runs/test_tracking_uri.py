"""Where a run is tracked, as far as this can be known without MLflow."""

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.cluster import Tracking
from pipeline.config.places import database
from pipeline.core.errors import ConfigError
from pipeline.runs.servers import require_tracking
from pipeline.runs.tracking_uri import located, page_command, remembered

NAMES = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=8)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


@given(output=PATHS, inside=PATHS, moved=PATHS)
def test_a_database_moves_with_its_output(output, inside, moved):
    kept = remembered(f"sqlite:////{output}/{inside}", f"/{output}")
    assert located(kept, f"/{output}") == f"sqlite:////{output}/{inside}"
    assert located(kept, f"/{moved}") == f"sqlite:////{moved}/{inside}"


@pytest.mark.parametrize(
    "uri", ["http://host:5000", "sqlite:////elsewhere/mlflow.db", "sqlite:////runs/ab/mlflow.db"]
)
def test_other_stores_stay_where_they_are(uri):
    assert remembered(uri, "/runs/a") == uri
    assert located(uri, "/moved") == uri


def test_mlflow_gets_no_path_that_it_cannot_open(tmp_path):
    def check(path: object) -> None:
        require_tracking(Tracking(uri=f"sqlite:///{path}", experiment="any"))

    (tmp_path / "text.db").write_text("not a database")
    (tmp_path / "empty.db").touch()
    with sqlite3.connect(tmp_path / "real.db") as connection:
        connection.execute("create table a (b)")
    refused = {
        tmp_path: "a directory",
        tmp_path / "text.db": "not a sqlite database",
        "/dev/null": "not a file",
        tmp_path / "a?b" / "mlflow.db": "with \\? or %41",
        tmp_path / "a%20b" / "mlflow.db": "with \\? or %41",
    }
    for path, reason in refused.items():
        with pytest.raises(ConfigError, match=f"tracking.uri=sqlite:///.*{reason}"):
            check(path)
    for name in ("empty.db", "real.db", "new/mlflow.db", "50% (1) #a=b/mlflow.db", "人/mlflow.db"):
        check(tmp_path / name)


def test_the_command_that_shows_a_database_is_quoted():
    assert page_command("http://host:5000") == "http://host:5000"
    plain = "mlflow ui --backend-store-uri sqlite:////runs/a/mlflow.db"
    assert page_command("sqlite:////runs/a/mlflow.db") == plain
    quoted = "mlflow ui --backend-store-uri 'sqlite:////my runs/a (1)/mlflow.db'"
    assert page_command("sqlite:////my runs/a (1)/mlflow.db") == quoted
    assert database("http://host:5000") is None
