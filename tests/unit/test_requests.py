"""Wrong requests: exit code 2, one line that names the key, and nothing made on the disk.

They run in this process, as `main([...])`. Nothing is started: `pipeline.stages` is a stub here.
"""

import itertools
import os
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from pipeline.config import compose
from pipeline.config.identity import flatten
from pipeline.config.root import to_yaml
from pipeline.run import main

# Of the processor, and on the clock: other tests may keep the processors busy.
SECONDS = 3.0
PATIENCE = 30.0
NTU = ("data=ntu60", "data.raw=raw")
NTU_FILE = "S001C001P001R001A001.skeleton"
NO_SIZES = ("-1", "nan", "inf", "-inf")
TABLE = ("sweep=ablation_nw_ucla", "data.raw=raw")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with recordings, and with what is no place for anything."""
    folder = tmp_path_factory.mktemp("requests")
    (folder / "raw" / "inner").mkdir(parents=True)
    (folder / "raw" / NTU_FILE).write_text("1\n0\n")
    (folder / "empty").mkdir()
    (folder / "thesis").mkdir()
    (folder / "thesis" / "thesis.txt").write_text("precious")
    (folder / "chapters" / "figures").mkdir(parents=True)
    (folder / "file").write_text("text")
    (folder / "link").symlink_to(folder / "raw")
    os.mkfifo(folder / "pipe")
    return folder


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch, folder):
    def run_stages(plan):
        raise AssertionError("the request was not refused")

    stages = ModuleType("pipeline.stages")
    stages.run_stages = run_stages
    monkeypatch.setitem(sys.modules, "pipeline.stages", stages)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder / "thesis"))
    for name in ("MLFLOW_TRACKING_URI", "SKELFUSE_STORAGE", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)


def snapshot(folder):
    """All names below a folder, with the size of each file."""
    return {str(path): path.is_file() and path.stat().st_size for path in folder.rglob("*")}


def refusal(capsys, folder, *words):
    """The line with which a request is refused."""
    before = snapshot(folder)
    started = time.monotonic()
    worked = time.process_time()
    try:
        code = main(list(words))
    except SystemExit as ended:
        code = ended.code
    seconds = time.process_time() - worked
    waited = time.monotonic() - started
    shown = capsys.readouterr()
    assert code == 2, shown
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1 and shown.err.endswith("\n")
    assert "Traceback" not in shown.err
    # A line that fits a screen, unless the request itself does not.
    assert len(shown.err) < 1000 + 2 * len("".join(words))
    assert seconds < SECONDS
    assert waited < PATIENCE
    assert snapshot(folder) == before
    return shown.err


def wrong_numbers():
    """All keys of numbers, each with a size that nobody needs, and with one of NO_SIZES."""
    values = flatten(compose.load([]).model_dump())
    # Nobody gives a number for these by default.
    values |= {"train.clip_norm": 1.0, "cluster.object_store_gb": 1.0}
    numbers = []
    for key, value in sorted(values.items()):
        if isinstance(value, int | float) and not isinstance(value, bool):
            numbers.append((key, value))
    for (key, value), no_size in zip(numbers, itertools.cycle(NO_SIZES), strict=False):
        yield f"{key}={no_size}"
        yield f"{key}={'9' * 30}" if isinstance(value, int) else f"{key}=1e300"


@pytest.mark.parametrize("request_", list(wrong_numbers()))
def test_a_number_that_nobody_needs_is_refused(capsys, folder, request_):
    assert f"error: {request_.partition('=')[0]}" in refusal(capsys, folder, request_)


# The words of the request, and what the line must name.
WRONG = [
    # Empty places: a variable that is not set.
    *[
        ((f"{key}=",), f"{key}=''")
        for key in (
            "output",
            "data.raw",
            "data.store",
            "data.names",
            "data.left_out",
            "tracking.uri",
            "cluster.address",
            "cluster.storage_endpoint",
        )
    ],
    (("output= ",), "output=' '"),
    (("output=''",), "output=''"),
    (("data.raw=[]",), "data.raw=[]"),
    (("data.raw=[raw,]",), "data.raw.1=''"),
    (("data.raw=[raw,,raw]",), "data.raw.1=''"),
    (("data.raw=[raw,' ']",), "data.raw.1=' '"),
    (("data.pool=[{store: '', clips: {}, weight: 0.5}]",), "data.pool.0.store=''"),
    (("+data.reader.table=",), "data.reader.table: no such key"),
    ((*TABLE, "sweep.published=[raw,]"), "sweep.published.1=''"),
    # Characters and lengths that a path cannot have.
    (("output=a\nb",), "output='a\\nb'"),
    (("output=a\x1b[2J",), "output='a\\x1b[2J'"),
    (("output=\udcff",), "output='\\udcff'"),
    (("data.raw=a\0b",), "data.raw='a\\x00b'"),
    (("output=" + "a" * 300,), "output="),
    (("output=" + "a/" * 2000,), "output="),
    (("output=" + "a" * 5000,), "output="),
    (("data.raw=" + "a" * 300,), "data.raw="),
    (("output=" + "/abcdefghi" * 52,), "tracking.uri=sqlite:"),
    # Things of the wrong kind.
    (("output=file",), "output="),
    (("output=file/run",), "file is not a directory"),
    (("output=pipe",), "output="),
    (("output=/dev/null",), "output=/dev/null"),
    (("output=/dev/null/run",), "output=/dev/null/run"),
    (("output=/proc/run",), "output=/proc/run: cannot be written"),
    ((*NTU, "data.raw=/dev/zero"), "data.raw=/dev/zero"),
    ((*NTU, "data.raw=pipe"), "data.raw="),
    ((*NTU, "data.raw=[raw,pipe]"), "data.raw.1="),
    ((*NTU, "data.raw=file"), "data.raw="),
    ((*NTU, "data.raw=empty"), "data.raw="),
    ((*NTU, "data.raw=nothing"), "data.raw="),
    ((*NTU, "data.raw=[raw,nothing]"), "data.raw="),
    ((*NTU, "data.raw=foo://bucket/x"), "data.raw=foo://bucket/x: nothing reads foo://"),
    ((*NTU, "data.raw=http://host/x.zip"), "data.raw=http://host/x.zip: nothing reads http://"),
    (("data=nw_ucla", "data.raw=raw"), "data.raw="),
    (("data.store=file",), "data.store="),
    (("data.store=pipe",), "data.store="),
    (("data.store=/dev/zero",), "data.store=/dev/zero"),
    (("data.store=/dev/null/store",), "data.store="),
    (("data.store=/proc/store",), "data.store=/proc/store: cannot be written"),
    (("data.store=foo://x",), "data.store=foo://x"),
    ((*NTU, "data.left_out=/dev/zero"), "data.left_out=/dev/zero"),
    ((*NTU, "data.left_out=pipe"), "data.left_out="),
    ((*NTU, "data.left_out=raw"), "data.left_out="),
    ((*NTU, "data.left_out=nothing.txt"), "data.left_out="),
    (("stages=[protocols]", "data=ntu60", "data.names=/dev/zero"), "data.names=/dev/zero"),
    (("stages=[protocols]", "data=ntu60", "data.names=pipe"), "data.names=pipe"),
    (("stages=[protocols]", "data=ntu60", "data.names=nothing"), "data.names=nothing"),
    (("stages=[protocols]", "data=ntu60", "data.names=file"), "data.names=file"),
    (("data.pool=[{store: nothing, clips: {}, weight: 0.5}]",), "data.pool.0.store="),
    (("data.pool=[{store: /dev/zero, clips: {}, weight: 0.5}]",), "data.pool.0.store="),
    (("data.pool=[{store: raw, clips: {}, weight: nan}]",), "data.pool.0.weight=nan"),
    (("data.pool=[{store: raw, clips: {}, weight: 2}]",), "data.pool.0.weight=2"),
    ((*TABLE, "sweep.published=[/dev/zero]"), "sweep.published.0=/dev/zero"),
    ((*TABLE, "sweep.published=[/dev]"), "sweep.published.0=/dev"),
    # Tracking stores and clusters.
    (("tracking.uri=sqlite:///raw",), "tracking.uri=sqlite:"),
    (("tracking.uri=sqlite:///file",), "tracking.uri=sqlite:"),
    (("tracking.uri=sqlite:///pipe",), "tracking.uri=sqlite:"),
    (("tracking.uri=sqlite:////dev/null/x.db",), "tracking.uri="),
    (("tracking.uri=sqlite://",), "tracking.uri=sqlite://"),
    (("tracking.uri=sqlite:///:memory:",), "tracking.uri=sqlite:///"),
    (("tracking.uri=mlruns",), "tracking.uri=mlruns"),
    (("tracking.uri=foo://x",), "tracking.uri=foo://x"),
    (("tracking.uri=http://",), "tracking.uri=http://"),
    (("tracking.uri=http://127.0.0.1:99999",), "tracking.uri=http://127.0.0.1:99999"),
    (("tracking.uri=http://127.0.0.1:1",), "tracking.uri=http://127.0.0.1:1: nobody answers"),
    (("cluster.address=127.0.0.1:1",), "cluster.address=127.0.0.1:1: nobody answers"),
    (("cluster.address=ray://127.0.0.1:1",), "cluster.address=ray://127.0.0.1:1"),
    (("cluster.address=nonsense",), "cluster.address=nonsense"),
    (("cluster.address=host:port",), "cluster.address=host:port"),
    (("cluster.address=auto",), "cluster.address=auto"),
    (("cluster.workers=1000", "train.batch_size=4000"), "cluster.workers=1000"),
    (("cluster.object_store_gb=99999",), "cluster.object_store_gb=99999"),
    (
        ("output=s3://b/c?endpoint_override=http://127.0.0.1:1", "tracking.uri=http://127.0.0.1:1"),
        "output: endpoint_override=http://127.0.0.1:1",
    ),
    (
        ("cluster.storage_endpoint=http://127.0.0.1:1", "output=s3://b/c", "tracking.uri=http://h"),
        "cluster.storage_endpoint=http://127.0.0.1:1",
    ),
    (("output=s3://bucket/run",), "output=s3://bucket/run: a remote output needs tracking.uri"),
    (("output=foo://bucket/run",), "output=foo://bucket/run: nothing reads foo://"),
    # Directories that are not ours, and places that lie in each other.
    (("output=.",), "output="),
    (("output=..",), "output="),
    (("output=thesis",), "output="),
    (("output=chapters",), "output="),
    (("output=~",), "output="),
    *[
        ((f"output={place}", "fresh=true"), "output=")
        for place in (".", "..", "thesis", "chapters", "~", "/", "raw", "link", "/usr", "thesis/..")
    ],
    ((*NTU, "output=raw"), "data.raw="),
    ((*NTU, "output=raw", "fresh=true"), "data.raw="),
    ((*NTU, "output=link"), "data.raw="),
    ((*NTU, "output=raw/run"), "data.raw="),
    ((*NTU, "output=link/run"), "data.raw="),
    ((*NTU, "data.raw=raw/inner", "output=raw"), "data.raw="),
    ((*NTU, "data.store=raw"), "data.store="),
    (("data.store=run", "output=run"), "data.store="),
    (("data.store=run", "output=run/x"), "data.store="),
    (("data.pool=[{store: run, clips: {}, weight: 1}]", "output=run/x"), "data.pool.0.store="),
    # Values of the wrong type.
    (("seed=x",), "seed='x'"),
    (("seed=1.5",), "seed=1.5"),
    (("seed=null",), "seed=None"),
    (("seed=[1]",), "seed=[1]"),
    (("seed=" + "9" * 5000,), "seed"),
    (("train.optimiser.lr=" + "9" * 400,), "train.optimiser.lr"),
    (("fresh=yes please",), "fresh='yes please'"),
    (("fresh=2",), "fresh=2"),
    (("output=[a,b]",), "output=['a', 'b']"),
    (("data.store=[a,b]",), "data.store=['a', 'b']"),
    (("stages=ingest",), "stages='ingest'"),
    (("stages=[]",), "stages=[]"),
    (("stages=[ingest,nothing]",), "stages.1='nothing'"),
    (("stages=[null]",), "stages.0=None"),
    (("name=",), "name=''"),
    (("name=a b",), "name='a b'"),
    (("name=../x",), "name='../x'"),
    (("data.dataset=",), "data.dataset=''"),
    (("tracking.experiment=",), "tracking.experiment=''"),
    (("evaluate.probe=",), "evaluate.probe=''"),
    (("objective.name=",), "objective.name=''"),
    (("data.classes=[]",), "data.classes=[]"),
    (("data.classes=[1,2]",), "data.classes.0=1"),
    (("data.classes=wave",), "data.classes='wave'"),
    (("data.protocol=nothing",), "data.protocol=nothing"),
    (("data.protocols.xview.train.camera=[" + "9" * 20 + "]",), "data.protocols.xview.train"),
    (("data.protocols.xview.train.camera=[1.5]",), "data.protocols.xview.train"),
    (("+data.protocols.x=5",), "data.protocols.x=5"),
    (("views.crop=[nan,1]",), "views.crop.0=nan"),
    (("views.crop=[0,1,2]",), "views.crop=[0, 1, 2]"),
    (("views.crop=[0.9,0.5]",), "views.crop=[0.9, 0.5]"),
    (("train.schedule.milestones=[0]",), "train.schedule.milestones.0=0"),
    (("train.schedule.name=linear",), "train.schedule.name='linear'"),
    (("model.width=65536", "model.layers=256"), "model.width=65536"),
    (("model.heads=7",), "model.heads=7"),
    (("train.batch_size=2", "cluster.workers=2"), "train.batch_size=2"),
    (("data.synthetic.subjects=999", "data.synthetic.replications=999"), "recordings"),
    (("data.synthetic=null",), "data.raw: missing"),
    (("stages=[evaluate]",), "data.raw: missing"),
    ((*TABLE, "sweep.seeds=[]"), "sweep.seeds=[]"),
    ((*TABLE, "sweep.seeds=[1,1]"), "sweep.seeds=[1, 1]"),
    ((*TABLE, "sweep.only=[nothing]"), "sweep.only"),
    # Words of the version before for tables.
    (("stages=[ablate]",), "write stages=[ingest,sweep] and sweep=NAME"),
    (("stages=[ablate]", "experiment=ablation_nw_ucla"), "write sweep=ablation_nw_ucla"),
    (("experiment=pooled_nw_ucla",), "write sweep=pooled_nw_ucla"),
    ((*TABLE, "ablate.only=[full]"), "write sweep.only"),
    # Keys, groups and experiments that do not exist, and what no grammar takes.
    (("train.epoch=1",), "train.epoch"),
    (("+train.epoch=1",), "train.epoch"),
    (("+a.b.c=1",), "a: no such key"),
    (("nothing=1",), "nothing"),
    (("~seed",), "seed"),
    (("seed",), "seed"),
    (("=1",), "=1"),
    (("seed=[1",), "seed=[1"),
    (("seed=" + "[" * 200,), "seed="),
    (("seed={a",), "seed={a"),
    (("seed=1,2",), "seed"),
    (("output=${nothing}",), "nothing"),
    (("output=${oc.env:SECRET_KEY}",), "output=${oc.env:SECRET_KEY}"),
    (("experiment=nothing",), "experiment=nothing"),
    (("experiment=../x",), "experiment"),
    (("data=nothing",), "data=nothing"),
    (("data=/etc/passwd",), "data"),
    (("model=huge",), "model=huge"),
    (("nothing=base",), "nothing"),
    (("hydra.run.dir=x",), "hydra.run.dir"),
    (("hydra/launcher=x",), "hydra/launcher"),
    (("--nothing",), "--nothing"),
    (("--cfg", "x"), "--cfg"),
    (("--config-dir",), "--config-dir"),
    (("--config-dir=",), "--config-dir"),
    (("--config-dir=file",), "--config-dir file"),
    (("--config-dir=pipe",), "--config-dir pipe"),
    (("--config-dir=" + "a" * 5000,), "--config-dir"),
    (("--config-dir=~nobody/x",), "--config-dir"),
]


def _name_of(case):
    return " ".join(case[0])[:60].encode("ascii", "backslashreplace").decode().replace("\0", "0")


@pytest.mark.parametrize(("words", "part"), WRONG, ids=[_name_of(case) for case in WRONG])
def test_a_wrong_request_is_refused(capsys, folder, words, part):
    assert part in refusal(capsys, folder, *words)


# The content of data/mine.yaml in a directory of the user's own, and what the line must name.
EXPLODING = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
for _before, _after in zip("abcdefgh", "bcdefghi", strict=True):
    EXPLODING += f"{_after}: &{_after} [{', '.join([f'*{_before}'] * 10)}]\n"
DAMAGED = {
    "broken": (b"a: [1\nb: 2\n", "line 2"),
    "tabs": (b"a:\n\t- 1\n", "line 2"),
    "tagged": (b"classes: !!python/object/apply:os.system ['touch made']\n", "python/object"),
    "own tag": (b"classes: !secret x\n", "!secret"),
    "exploding": (EXPLODING.encode(), "aliases"),
    "circle": (b"a: &a [*a]\n", "refers to itself"),
    "list": (b"- 1\n- 2\n", "must hold keys"),
    "text": (b"text\n", "must hold keys"),
    "bytes": (b"a: \xff\xfe\n", "not UTF-8"),
    "zero": (b"a: \x00\n", "not valid YAML"),
    "two": (b"a: 1\n---\nb: 2\n", "not valid YAML"),
    "deep": (b"a: " + b"[" * 5000, "more than 50 deep"),
    "large": (b"a: " + b"x" * (2 << 20), "larger than 256 KiB"),
    "unknown alias": (b"a: *b\n", "not valid YAML"),
}


@pytest.mark.parametrize(("content", "part"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_of_the_users_own_is_named(capsys, folder, tmp_path, content, part):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.yaml").write_bytes(content)
    line = refusal(capsys, folder, f"--config-dir={tmp_path}", "data=mine")
    assert "data/mine.yaml" in line
    assert part in line
    assert not Path("made").exists()


def test_a_name_that_is_taken_is_refused(capsys, folder, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "ntu60.yaml").write_text("dataset: mine\n")
    line = refusal(capsys, folder, f"--config-dir={tmp_path}", "data=ntu60")
    assert "conf/ has a data/ntu60.yaml, too" in line


def test_a_pipe_among_the_users_own_files_is_not_read(capsys, folder, tmp_path):
    (tmp_path / "data").mkdir()
    os.mkfifo(tmp_path / "data" / "mine.yaml")
    assert "data/mine.yaml" in refusal(capsys, folder, f"--config-dir={tmp_path}", "data=mine")


SEARCH = "sweep=loss_weights"
SPACE = "sweep.space"
LR = "train.optimiser.lr"
# A range of another kind takes its place.
NO_LR = f"{SPACE}.{LR}.log_uniform=null"
# Takes every key out of the space.
EMPTY = (f"{SPACE}.objective=null", f"{SPACE}.train=null")
WRONG_SEARCHES = [
    # No space, no range, no values.
    (EMPTY, f"{SPACE}={{}}"),
    ((f"{SPACE}=null",), f"{SPACE}: give either a space to search, or the variants"),
    ((NO_LR,), f"{SPACE}.{LR}={{'log_uniform': None}}: a range is log_uniform"),
    ((f"+{SPACE}.{LR}.uniform=[0,1]",), f"{SPACE}.{LR}={{"),
    ((f"+{SPACE}.views.shear.loguniform=[1,2]",), f"{SPACE}.views.shear.loguniform=[1, 2]: a"),
    ((f"+{SPACE}.views.shear=0.5",), f"{SPACE}.views.shear=0.5: a range is"),
    ((f"{SPACE}.{LR}.log_uniform=[0,0.1]",), f"{SPACE}.{LR}.log_uniform=[0.0, 0.1]: both must"),
    ((f"{SPACE}.{LR}.log_uniform=[0.1,0.01]",), "log_uniform=[0.1, 0.01]: the first must be below"),
    ((f"{SPACE}.{LR}.log_uniform=[0.1]",), f"{SPACE}.{LR}.log_uniform=[0.1]"),
    ((f"{SPACE}.{LR}.log_uniform=[nan,1]",), f"{SPACE}.{LR}.log_uniform.0=nan"),
    ((f"{SPACE}.{LR}.log_uniform=[1,inf]",), f"{SPACE}.{LR}.log_uniform.1=inf"),
    ((NO_LR, f"+{SPACE}.{LR}.uniform=[1,1]"), "uniform=[1.0, 1.0]: the first must be below"),
    ((f"+{SPACE}.views.corrupt_joints.integer=[1,2.5]",), "views.corrupt_joints.integer.1=2.5"),
    ((f"+{SPACE}.views.corrupt_joints.integer=[1,{10**13}]",), "corrupt_joints.integer.1="),
    ((f"+{SPACE}.views.shear.choice=[]",), f"{SPACE}.views.shear.choice=[]"),
    ((f"+{SPACE}.views.shear.choice=[1,2,1]",), f"{SPACE}.views.shear.choice: has 1 twice"),
    ((f"+{SPACE}.views.shear.choice=[1,1.0]",), "views.shear: 1 and 1.0 make the same run"),
    ((f"+{SPACE}.views.shear.choice=[{{a: 1}}]",), f"{SPACE}.views.shear.choice.0="),
    # Keys that do not exist, or are no matter of a search.
    ((f"+{SPACE}.train.optimiser.lrr.uniform=[0,1]",), f"{SPACE}.train.optimiser.lrr: no such key"),
    ((f"+{SPACE}.lr.uniform=[0,1]",), f"{SPACE}.lr: no such key"),
    ((f"+{SPACE}.hydra.job.choice=[a,b]",), f"{SPACE}.hydra.job: Hydra's own"),
    ((f"+{SPACE}.seed.integer=[0,9]",), f"{SPACE}.seed: cannot be searched"),
    *[
        ((f"+{SPACE}.{key}.choice=[a,b]",), f"{SPACE}.{key}: cannot be searched")
        for key in (
            "name",
            "output",
            "stages",
            "sweep",
            "sweep.trials",
            "data",
            "data.raw",
            "data.protocol",
            "data.persons",
            "experiment",
            "evaluate",
            "evaluate.knn.k",
            "stream.cache",
            "train.log_every",
            "train.watch.share",
            "train.checkpoint.keep",
            "cluster.workers",
            "tracking",
        )
    ],
    # Values that no run accepts.
    ((f"{SPACE}.{LR}.log_uniform=[1e-3,1e9]",), f"{SPACE}.{LR}=1000000000.0: input should be less"),
    ((f"+{SPACE}.views.shear.uniform=[-1,1]",), f"{SPACE}.views.shear=-1.0: input should be gr"),
    ((f"+{SPACE}.train.epochs.uniform=[8,9]",), f"{SPACE}.train.epochs=8.0: input should be a v"),
    ((f"+{SPACE}.train.epochs.integer=[2,9]",), "sweep.scheduler.grace_epochs"),
    ((f"+{SPACE}.views.choice=[strong,strng]",), f"{SPACE}.views=strng: unknown; did you mean st"),
    ((f"+{SPACE}.views.choice=[1,strong]",), f"{SPACE}.views=1"),
    ((f"+{SPACE}.model.heads.choice=[4,3]",), f"{SPACE}.model.heads=3 must divide width=256"),
    ((f"+{SPACE}.views.crop.choice=[[0.5,1],[1,0.5]]",), f"{SPACE}.views.crop=[1.0, 0.5] must be"),
    # How points are chosen.
    (("sweep.search=null",), "sweep.search: missing; one of grid, random and tpe"),
    (("sweep.search=bayes",), "sweep.search='bayes'"),
    (("sweep.search=grid",), "weight.log_uniform: has values without number, and a grid takes all"),
    (
        (*EMPTY, f"+{SPACE}.views.shear.choice=[0,1]", "sweep.search=grid"),
        "sweep.trials=30: a grid has all combinations",
    ),
    (
        (
            *EMPTY,
            f"+{SPACE}.views.corrupt_joints.integer=[0,99999]",
            "sweep.search=grid",
            "sweep.trials=null",
        ),
        f"{SPACE}: its grid with 1 seeds has 100,000 trials, at most 10,000",
    ),
    ((*EMPTY, f"+{SPACE}.views.shear.choice=[0,1]"), "sweep.trials=30: the space has 2 points"),
    (("sweep.trials=null",), "sweep.trials: missing"),
    (("sweep.trials=0",), "sweep.trials=0"),
    (("sweep.trials=20000",), "sweep.trials=20000"),
    (("sweep.trials=31", "sweep.seeds=[0,1]"), "sweep.trials=31: must be a multiple of 2"),
    (("sweep.seeds=[]",), "sweep.seeds=[]"),
    (("sweep.seeds=[1,1]",), "sweep.seeds=[1, 1]: each seed only once"),
    # By what they are compared, and when they are stopped.
    (("sweep.criterion=null",), "sweep.criterion: missing"),
    (("sweep.criterion.metric=accuracy",), "sweep.criterion.metric=accuracy: no such figure"),
    (("sweep.criterion.metric=linear",), "did you mean linear_top1? "),
    (("sweep.criterion.held_out=1",), "sweep.criterion.held_out=1"),
    (("sweep.criterion.every_epochs=0",), "sweep.criterion.every_epochs=0"),
    (("sweep.criterion.max_clips=1",), "sweep.criterion.max_clips=1"),
    (("sweep.criterion.protocol=dev",), "sweep.criterion.protocol=dev is not one of xview, xsub"),
    (
        ("sweep.criterion.metric=uniformity", "sweep.criterion.protocol=xsub"),
        "sweep.criterion.protocol=xsub: uniformity needs no labels",
    ),
    (("sweep.scheduler.name=hyperband",), "sweep.scheduler.name='hyperband'"),
    (("sweep.scheduler.reduction=1",), "sweep.scheduler.reduction=1"),
    (("train.epochs=4",), "sweep.scheduler.grace_epochs: the first trial could be stopped after"),
    (("sweep.gpu_share=0.5",), "sweep.gpu_share=0.5 is for trials of one worker with a GPU"),
    (("sweep.gpu_share=0",), "sweep.gpu_share=0"),
    (("sweep.concurrent=0",), "sweep.concurrent=0"),
    (("sweep.confirm=-1",), "sweep.confirm=-1"),
    # What belongs to tables.
    (("+sweep.variants={a: []}",), f"{SPACE}: give either a space to search, or the variants"),
    (("+sweep.only=[a]",), "sweep.only: only a table has it"),
    (("+sweep.splits=[xsub]",), "sweep.splits: only a table has it"),
    (("+sweep.published=[a.jsonl]",), "sweep.published: only a table has it"),
    (
        ("+sweep.verdict={variant: a, against: [b], metrics: [knn_top1]}",),
        "sweep.verdict: only a table has it",
    ),
    # sweep=NAME itself.
    (("sweep=loss_weight",), "sweep=loss_weight: unknown; did you mean loss_weights?"),
]
# What belongs to searches, in a table.
WRONG_TABLES = [
    (("+sweep.search=tpe",), "sweep.search: only a search has it"),
    (("+sweep.trials=8",), "sweep.trials: only a search has it"),
    (("+sweep.confirm=3",), "sweep.confirm: only a search has it"),
    (
        ("+sweep.scheduler={name: asha, grace_epochs: 1, reduction: 2}",),
        "sweep.scheduler: only a search has it",
    ),
]


@pytest.mark.parametrize(
    ("words", "part"), WRONG_SEARCHES, ids=[_name_of(case) for case in WRONG_SEARCHES]
)
def test_a_wrong_search_is_refused(capsys, folder, words, part):
    sweep = () if words[0].startswith("sweep=") else (SEARCH,)
    assert part in refusal(capsys, folder, "stages=[ingest,sweep]", *sweep, *words)


@pytest.mark.parametrize("stage", ["evaluate", "report"])
def test_a_stage_that_is_of_no_trial_is_refused(capsys, folder, stage):
    refused = refusal(capsys, folder, SEARCH, f"stages=[ingest,sweep,{stage}]")
    assert f"stages: {stage} beside sweep would be of a run that is not pretrained" in refused


def test_a_sweep_without_a_name_is_refused(capsys, folder):
    assert "stages: sweep needs sweep=NAME" in refusal(capsys, folder, "stages=[ingest,sweep]")


def test_another_search_in_the_same_output_is_refused(capsys, folder, tmp_path):
    (tmp_path / "point000-0").mkdir()
    (tmp_path / "point000-0" / "trial.json").write_text("{}")
    words = (SEARCH, f"output={tmp_path}")
    (tmp_path / "config.yaml").write_text(to_yaml(compose.load(words)))
    line = refusal(capsys, folder, *words, "sweep.seeds=[1]", "sweep.search=random")
    assert "sweep.search (tpe there, random now), sweep.seeds ([0] there, [1] now)" in line


@pytest.mark.parametrize(
    ("words", "part"), WRONG_TABLES, ids=[_name_of(case) for case in WRONG_TABLES]
)
def test_a_table_with_settings_of_a_search_is_refused(capsys, folder, words, part):
    assert part in refusal(capsys, folder, "sweep=ablation_nw_ucla", "data.raw=raw", *words)


def test_there_are_enough_of_them():
    assert len(WRONG) + len(DAMAGED) >= 150
