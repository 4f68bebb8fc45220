"""A secret in any setting is refused in one line without it, which says where it belongs."""

import pytest

from pipeline.config.secret_settings import refuse_secrets
from pipeline.core.errors import ConfigError
from pipeline.run import main
from tests.helpers.paths import ROOT

SECRET = "swordfish"
HTTP = f"http://me:{SECRET}@host:5000"
S3 = f"s3://KEY:{SECRET}@bucket/run"
MLFLOW = "MLFLOW_TRACKING_USERNAME"
AWS = "AWS_SECRET_ACCESS_KEY"

# A setting, what is shown of it, where the secret belongs.
REFUSED = [
    (f"tracking.uri={HTTP}", "tracking.uri=http://***@host:5000: holds a secret", MLFLOW),
    (f"tracking.uri=postgresql://me:{SECRET}@host/db", "postgresql://***@host/db", "PGPASSWORD"),
    (f"tracking.uri=mysql+pymysql://me:{SECRET}@host/db", "://***@host/db", "read_default_file"),
    (f"output={S3}", "output=s3://***@bucket/run", AWS),
    (f"data.raw={S3}", "data.raw=s3://***@bucket/run", AWS),
    (f"data.store={S3}", "data.store=s3://***@bucket/run", AWS),
    (f"data.names={S3}", "data.names=s3://***@bucket/run", AWS),
    (f"data.left_out={S3}", "data.left_out=s3://***@bucket/run", AWS),
    (f"data.pool.0.store={S3}", "data.pool.0.store=s3://***@bucket/run", AWS),
    (f"sweep.published.0={S3}", "sweep.published.0=s3://***@bucket/run", AWS),
    (f"output=s3://bucket/run?secret_key={SECRET}", "s3://bucket/run?secret_key=***", AWS),
    (f"cluster.storage_endpoint={HTTP}", "cluster.storage_endpoint=http://***@host:5000", AWS),
    (f"cluster.address=ray://me:{SECRET}@host:1", "cluster.address=ray://***@host:1", "RAY_AUTH"),
    (f"cluster.storage_endpoint=me:{SECRET}@host:9", "storage_endpoint=***@host:9: holds", AWS),
    (f"cluster.address=me:{SECRET}@host:1", "cluster.address=***@host:1: holds", "RAY_AUTH"),
    (f"tracking.uri=me:{SECRET}@host:5000", "tracking.uri=***@host:5000: holds", MLFLOW),
    (f"tracking.experiment=Bearer a-long-{SECRET}", "=Bearer ***: holds", "environment"),
    (f"data.dataset=token={SECRET}", "data.dataset=token=***", "environment"),
    (f"output=abfs://me:{SECRET}@account/x", "output=abfs://***@account/x", "AZURE_CLIENT_SECRET"),
    (f"output=gs://me:{SECRET}@bucket/x", "output=gs://***@bucket/x", "GOOGLE_APPLICATION"),
]


@pytest.fixture
def nothing_made(tmp_path, monkeypatch):
    """Run in an empty directory, which stays empty."""
    monkeypatch.chdir(tmp_path)
    yield
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("setting", "shown", "way_out"), REFUSED)
def test_a_secret_in_a_setting_is_refused(setting, shown, way_out):
    key, _, text = setting.partition("=")
    settings = text
    # From the innermost key outwards: "data.raw.0=x" becomes {"data": {"raw": ["x"]}}.
    for part in reversed(key.split(".")):
        settings = [settings] if part == "0" else {part: settings}
    with pytest.raises(ConfigError) as caught:
        refuse_secrets(settings, [])
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert SECRET not in message
    assert shown in message
    assert way_out in message


@pytest.mark.usefixtures("nothing_made")
def test_a_secret_on_the_command_line_is_refused(capsys):
    assert main([f"data.raw=[/data,'{S3}']"]) == 2
    _check_refusal(capsys.readouterr(), "data.raw.1=s3://***@bucket/run", AWS)


@pytest.mark.usefixtures("nothing_made")
def test_the_tracking_uri_of_the_environment_is_refused(capsys, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", HTTP)
    for arguments in ([], ["--cfg", "job"]):
        assert main(arguments) == 2
        shown = "tracking.uri=http://***@host:5000 (from MLFLOW_TRACKING_URI): holds a secret"
        _check_refusal(capsys.readouterr(), shown, MLFLOW)


def test_a_secret_in_a_file_of_ones_own_is_refused(capsys, tmp_path):
    (tmp_path / "tracking").mkdir()
    file = tmp_path / "tracking" / "mine.yaml"
    file.write_text(f"uri: {HTTP}\nexperiment: mine\n")
    assert main(["--config-dir", str(tmp_path), "tracking=mine"]) == 2
    _check_refusal(capsys.readouterr(), "tracking.uri=http://***@host:5000", MLFLOW)


@pytest.mark.usefixtures("nothing_made")
def test_a_secret_that_a_later_setting_replaces_is_refused(capsys):
    """The records of a table keep the whole command line."""
    assert main([f"tracking.uri={HTTP}", "tracking.uri=null"]) == 2
    _check_refusal(capsys.readouterr(), "tracking.uri=http://***@host:5000", MLFLOW)


@pytest.mark.parametrize("word", [f"seed={HTTP}", f"tracking.uri={HTTP}'{{", f"nothing={HTTP}"])
def test_no_other_refusal_shows_a_secret(word, capsys):
    assert main([word]) == 2
    shown = capsys.readouterr()
    assert SECRET not in shown.out + shown.err
    assert shown.err.count("\n") == 1


def test_a_secret_with_a_blank_in_it_is_refused():
    with pytest.raises(ConfigError, match=r"x=http://\*\*\*@host:") as caught:
        refuse_secrets({"x": f"http://me:two {SECRET}@host"}, [])
    assert SECRET not in str(caught.value)


def test_names_and_overrides_of_variants_are_settings():
    for settings in ({"sweep": {"variants": {"full": [f"tracking.uri={HTTP}"]}}}, {HTTP: 1}):
        with pytest.raises(ConfigError) as caught:
            refuse_secrets(settings, [])
        assert SECRET not in str(caught.value)


def test_what_holds_no_secret_passes():
    refuse_secrets({"a": [1, None, "s3://bucket/x?region=x", {"b": "postgresql://me@host"}]}, ["x"])
    # No configuration of the project is refused.
    for file in (ROOT / "conf").rglob("*.yaml"):
        refuse_secrets(file.read_text().splitlines(), [])


def _check_refusal(shown, expected, way_out):
    assert shown.out == ""
    assert SECRET not in shown.err
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert expected in shown.err
    assert way_out in shown.err
