import pytest
from omegaconf import OmegaConf

from pipeline.config.compose import experiments, groups, load
from pipeline.config.identity import differences, different_values, digest, identity
from pipeline.config.root import check, to_yaml
from pipeline.core.errors import ConfigError
from pipeline.core.paths import CONF
from pipeline.preflight import require_recorder
from tests.helpers.runs import resolved


def refused(*overrides):
    with pytest.raises(ConfigError) as caught:
        config = load(list(overrides))
        require_recorder(config.data.synthetic)
        resolved(config)
    line = str(caught.value)
    assert caught.value.exit_code == 2 and "\n" not in line
    return line


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("train.epochs=-1", ["train.epochs=-1", "greater than or equal to 1"]),
        ("train.epochs=many", ["train.epochs='many'", "integer"]),
        ("train.epochs=1.5", ["train.epochs=1.5", "integer"]),
        ("train.epoch=3", ["train.epoch", "did you mean train.epochs"]),
        ("+train.epoch=3", ["train.epoch", "no such key"]),
        ("experiment=ntu6", ["experiment=ntu6", "available", "nw_ucla"]),
        ("data=nwucla", ["data=nwucla", "did you mean nw_ucla"]),
        ("stages=[ingest,fly]", ["stages.1='fly'", "'pretrain'"]),
        ("stages=[ingest,pretrian]", ["stages.1='pretrian'", "did you mean pretrain?"]),
        ("stages=[]", ["stages=[]"]),
        ("data.protocol=xset", ["data.protocol=xset", "xview"]),
        ("stream.cache=disk", ["stream.cache='disk'", "'memory'"]),
        (
            "stream={cache: none, window: 9, pairs: cameras}",
            ["pairs=cameras", "cache=none", "use memory or device"],
        ),
        ("stream.pairs=views", ["stream.pairs='views'", "'cameras'"]),
        ("stream.cache=device", ["stream.cache=device", "cluster.gpu=true"]),
        ("model.heads=3", ["model.heads=3", "width=256"]),
        ("views.crop=[0.9,0.1]", ["views.crop=[0.9, 0.1]"]),
        ("views.corrupt_joints=26", ["views.corrupt_joints=26", "25 joints"]),
        ("train.batch_size=3", ["train.batch_size=3", "2 workers"]),
        ("train.accumulate=3", ["train.accumulate=3", "batch_size=128"]),
        ("objective.alignment.temperature=0", ["objective.alignment.temperature=0"]),
        ("objective.alignment.loss=variance_covariance", ["regularisation.weight"]),
        ("data.skeleton.centre=hip", ["centre names the unknown joint hip"]),
        ("data.skeleton.joints.spine_base=left_hip", ["cycle"]),
        ("+data.protocols.xview.train.height=[1]", ["xview.train.height", "not a filter column"]),
        ("data=null", ["Config group override must be"]),
        ("data.synthetic.cameras=9", ["data.synthetic.cameras=9", "1 to 3"]),
        ("evaluate.linear.momentum=0.9", ["evaluate.linear", "momentum"]),
        ("train.accumulate=64", ["train.accumulate", "fewer than 2 clips"]),
        ("train.lr==1", ["cannot read the command line"]),
        ("seed=-1", ["seed=-1"]),
        ("name=a/b", ["name='a/b'"]),
    ],
)
def test_what_is_wrong_is_one_line_that_names_it(override, parts):
    line = refused(override)
    for part in parts:
        assert part in line


def test_an_objective_without_a_term_is_refused():
    assert "a weight above 0" in refused(
        "objective.decomposition.weight=0",
        "objective.composition.weight=0",
        "objective.view.weight=0",
    )


@pytest.mark.parametrize("name", [*experiments(), None])
def test_every_experiment_is_complete(name):
    overrides = [f"experiment={name}", "data.raw=somewhere"] if name else []
    config = load(overrides)
    assert config.name == (name or "synthetic")
    resolved(config)


@pytest.mark.parametrize(
    "group", [group for group in groups() if group not in ("experiment", "mapping", "skeleton")]
)
def test_every_choice_of_every_group_composes(group):
    for choice in groups()[group]:
        load([f"{group}={choice}", "data.raw=somewhere", "model.frames=64"])


def test_a_key_of_another_data_set_is_not_its_own_nearest():
    line = refused("data=nw_ucla", "data.synthetic.actions=4")
    assert line.startswith("data.synthetic.actions: no such key with what else was chosen;")
    assert "did you mean" not in line


def test_the_resolved_configuration_reads_back_as_itself():
    config = load(["seed=3", "train.clip_norm=1"])
    assert check(OmegaConf.to_container(OmegaConf.create(to_yaml(config)))) == config


def test_identity_is_what_is_computed_and_not_where():
    base = load([])
    elsewhere = [
        "output=/x",
        "data.store=/y",
        "cluster.workers=1",
        "tracking.uri=http://t",
        "stages=[report]",
        "fresh=true",
    ]
    assert digest(load(elsewhere)) == digest(base)
    for change in (
        "seed=1",
        "train.epochs=3",
        "model.width=128",
        "data.protocol=xsub",
        "evaluate.knn.k=5",
    ):
        assert digest(load([change])) != digest(base), change
    assert "train.epochs" in identity(base)


def test_settings_that_were_added_later_count_where_something_else_is_computed():
    base = load([])
    for change in ("train.average.decay=0.99", "objective.part_weights.whole=2"):
        assert digest(load([change])) != digest(base), change
    composed = ["objective.targets.kind=composed"]
    assert digest(load([*composed, "objective.targets.own_share=0.2"])) != digest(load(composed))
    # Nothing reads these: there are no such targets, and there is no average.
    unread = ["objective.targets.own_share=0.2", "train.average.rise=true"]
    assert digest(load(unread)) == digest(base)


def test_differences_name_what_older_versions_did_where_a_setting_is_left_out():
    found = differences(load([]), load(["train.average={decay: 0.99, rise: true}"]))
    assert found == {"train.average.decay": (None, 0.99), "train.average.rise": (False, True)}
    assert different_values({}, {"train.average.export": False}) == {
        "train.average.export": (True, False)
    }


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["objective.targets={kind: self, encoder: average}"],
            r"^objective\.targets\.encoder=average needs",
        ),
        (
            ["train.average={decay: 0.99, export: false}"],
            r"^train\.average\.decay=0\.99 makes an average that nothing uses",
        ),
        (
            [
                "objective.targets={kind: composed, encoder: average, own_share: 1}",
                "train.average={decay: 0.99, export: false}",
            ],
            r"^train\.average\.decay=0\.99 makes an average that nothing uses",
        ),
        (
            [
                "objective=dc_feature",
                "objective.composition.weight=0",
                "objective.targets.encoder=average",
                "train.average={decay: 0.99, export: false}",
            ],
            r"^train\.average\.decay=0\.99 makes an average that nothing uses",
        ),
        (["train.average.decay=0.5"], r"^train\.average\.decay=0\.5: .*0\.9"),
        (["train.average.decay=1"], r"^train\.average\.decay=1: "),
    ],
)
def test_an_average_that_is_missing_useless_or_too_short_is_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load(overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["temperature=null"], r"^objective\.targets.* one of them must be a number"),
        (["perplexity=4"], r"^objective\.targets.* one of them must be a number"),
        (
            ["temperature=null", "perplexity=63"],
            r"^objective\.targets\.perplexity=63 must be below the 63 other clips of a batch",
        ),
        (["temperature=1e-9"], r"^objective\.targets\.temperature=1e-09: .*0\.0001"),
        (["own_share=1.5"], r"^objective\.targets\.own_share=1\.5: "),
        (["kind=hard"], r"^objective\.targets\.kind='hard': .*'one_hot', 'composed' or 'self'"),
    ],
)
def test_targets_that_cannot_be_are_refused(overrides, message):
    of_targets = [f"objective.targets.{override}" for override in overrides]
    with pytest.raises(ConfigError, match=message):
        load(["train.batch_size=64", *of_targets])


def test_a_document_of_another_type_is_refused():
    with pytest.raises(ConfigError, match="valid dictionary"):
        check("seed: 0")


def test_conf_is_found_beside_the_packages():
    assert (CONF / "config.yaml").is_file()


def test_a_directory_of_the_users_own_holds_more_choices(tmp_path):
    (tmp_path / "my conf" / "data").mkdir(parents=True)
    (tmp_path / "my conf" / "data" / "mine.yaml").write_text(
        "defaults: [nw_ucla, _self_]\ndataset: mine\n"
    )
    own = str(tmp_path / "my conf")
    assert load(["data=mine", "data.raw=x"], own).data.dataset == "mine"
    with pytest.raises(
        ConfigError, match=r"data=mina: unknown; did you mean mine\? available: .*mine.*nw_ucla"
    ):
        load(["data=mina"], own)
    with pytest.raises(ConfigError, match=r"--config-dir .*gone: not a directory"):
        load([], str(tmp_path / "gone"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["stages=[protocols,ingest]"], "protocols must be the only stage"),
        (["stages=[protocols]"], r"data\.names: "),
        (["data.names=x"], r"data\.names: "),
        (["data=ntu60", "+data.pku_mmd={end: included}"], r"data\.pku_mmd: no such key"),
        (["data=ntu60", "data.reader.format=arrays"], r"^data\.reader\.table: missing"),
        (["data=ntu60", "data.reader.format=kinect"], r"data\.reader=.*'ntu', 'nw_ucla'"),
        (["data=ntu60", "+data.reader.table=x"], r"^data\.reader\.table: no such key"),
        (
            ["data=pku1", "data.preparation=untrimmed"],
            r"preparation=untrimmed and reader\.untrimmed=true of pku_mmd come",
        ),
        (["ingest.max_rejected=2"], r"ingest\.max_rejected=2"),
    ],
)
def test_data_settings_that_contradict_each_other_are_named(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load(overrides)


def test_pairs_of_cameras_need_the_term_that_compares_them():
    assert "objective.view.weight" in refused("stream.pairs=cameras", "objective=umurl")
    load(["stream.pairs=cameras"])
