import errno
import os
import stat

import pytest
from pyarrow import fs

from pipeline.core import storage
from pipeline.core.errors import NO_SPACE, UserError


@pytest.mark.parametrize(
    ("uri", "parts", "expected"),
    [
        ("/data", ["a", "b"], "/data/a/b"),
        ("/data/", ["a"], "/data/a"),
        ("/", ["a"], "/a"),
        ("s3://bucket/key", ["a"], "s3://bucket/key/a"),
        ("s3://bucket/key?region=x&scheme=http", ["a"], "s3://bucket/key/a?region=x&scheme=http"),
        ("/odd?name", ["a"], "/odd?name/a"),
    ],
)
def test_join(uri, parts, expected):
    assert storage.join(uri, *parts) == expected


def test_name_is_the_last_part_without_options():
    assert storage.name("s3://bucket/key/x.zip?region=a/b") == "x.zip"
    assert storage.name("/a/b/") == "b"


def test_parent_is_what_a_location_lies_in():
    assert storage.parent("s3://bucket/key/x.zip?region=a/b") == "s3://bucket/key?region=a/b"
    assert storage.parent("/a/b/") == "/a"


def test_absolute_makes_local_paths_absolute_and_leaves_uris(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert storage.absolute("x/../y") == str(tmp_path / "y")
    assert storage.absolute("file:///a/b") == "/a/b"
    assert storage.absolute("~/x") == os.path.expanduser("~/x")
    assert storage.absolute("s3://bucket/key") == "s3://bucket/key"


def test_object_storage_is_reached_through_arrow():
    filesystem, path = storage.resolve(
        "s3://bucket/key/x?endpoint_override=localhost:1&scheme=http&region=r"
    )
    assert isinstance(filesystem, fs.S3FileSystem)
    assert path == "bucket/key/x"


@pytest.mark.parametrize("uri", ["nosuch://host/x", "s3:///key"])
def test_a_uri_that_nothing_takes_is_named(uri):
    with pytest.raises(UserError, match=uri):
        storage.resolve(uri)


def test_written_bytes_come_back_and_directories_are_made(tmp_path):
    uri = str(tmp_path / "a" / "b" / "file.gz")
    storage.write_bytes(uri, b"one")
    storage.write_bytes(uri, b"two")
    assert storage.read_bytes(uri) == b"two"
    assert os.listdir(tmp_path / "a" / "b") == ["file.gz"]


def test_a_failed_write_leaves_what_was_there(tmp_path):
    uri = str(tmp_path / "file")
    storage.write_bytes(uri, b"whole")
    (tmp_path / "blocked").mkdir()
    with pytest.raises(UserError, match="blocked"):
        storage.write_bytes(str(tmp_path / "blocked"), b"x")
    with pytest.raises(TypeError):
        storage.write_bytes(uri, "no bytes")
    assert storage.read_bytes(uri) == b"whole"
    assert sorted(os.listdir(tmp_path)) == ["blocked", "file"]


@pytest.mark.parametrize(("size", "syncs"), [(10, ["file", "directory"]), (2 << 20, [])])
def test_a_small_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch, size, syncs):
    path = tmp_path / "run.json"
    path.write_bytes(b"old")
    done = []
    fsync = os.fsync

    def recorded(descriptor):
        is_directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        done.append("directory" if is_directory else "file")
        # The name still belongs to the old content while the new one is brought to the disk.
        assert (path.stat().st_size == 3) is not is_directory
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    storage.write_bytes(str(path), bytes(size))
    assert done == syncs and path.stat().st_size == size


def test_a_full_disk_is_one_line_and_leaves_what_was_there(tmp_path, monkeypatch):
    uri = str(tmp_path / "run.json")
    storage.write_bytes(uri, b"old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError) as caught:
        storage.write_bytes(uri, b"new")
    assert str(caught.value) == f"{uri}: cannot be written ({NO_SPACE})"
    assert os.listdir(tmp_path) == ["run.json"] and storage.read_bytes(uri) == b"old"


def test_what_is_missing_or_no_json_is_named(tmp_path):
    with pytest.raises(UserError, match="gone: not found"):
        storage.read_bytes(str(tmp_path / "gone"))
    for bad in (b"{", b"", b"\xff\x00", b"[" * 100_000):
        storage.write_bytes(str(tmp_path / "bad.json"), bad)
        with pytest.raises(UserError, match=r"bad\.json: not valid JSON"):
            storage.read_json(str(tmp_path / "bad.json"))


def test_files_are_sorted_and_a_missing_directory_holds_none(tmp_path):
    for name in ("b", "a", "sub/c"):
        storage.write_bytes(str(tmp_path / name), b"")
    assert [file.base_name for file in storage.files(str(tmp_path))] == ["a", "b"]
    assert [file.base_name for file in storage.files(str(tmp_path), recursive=True)] == [
        "a",
        "b",
        "c",
    ]
    assert storage.files(str(tmp_path / "none")) == []


def names(folder, **options):
    return [file.path.removeprefix(f"{folder}/") for file in storage.files(str(folder), **options)]


@pytest.mark.timeout(20)
def test_links_are_followed_but_not_in_circles(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "far").write_bytes(b"far!")
    data = tmp_path / "data"
    (data / "deep").mkdir(parents=True)
    (data / "deep" / "a").write_bytes(b"")
    for name in ("up", "up2", "up3"):
        (data / "deep" / name).symlink_to(data)
        (data / name).symlink_to(data)
    (data / "same").symlink_to(data / "deep")
    (data / "away").symlink_to(tmp_path / "out")
    (data / "file").symlink_to(tmp_path / "out" / "far")
    (data / "nowhere").symlink_to(tmp_path / "none")
    (data / "itself").symlink_to(data / "itself")
    assert names(data, recursive=True) == ["away/far", "deep/a", "file", "same/a"]
    assert names(data) == ["file"]
    assert [file.size for file in storage.files(str(data))] == [4]
    # From below, the folder above is another one.
    (tmp_path / "link").symlink_to(data / "deep")
    assert names(tmp_path / "link", recursive=True)[0] == "a"


def test_what_is_no_file_is_not_listed(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a").write_bytes(b"")
    assert names(tmp_path, recursive=True) == ["a"]
    with pytest.raises(UserError, match="a: cannot be listed"):
        storage.files(str(tmp_path / "a"))


def test_a_listing_says_what_arrow_says(tmp_path):
    for number in range(50):
        storage.write_bytes(
            str(tmp_path / f"{number % 7}" / f"{number % 3}Ä" / f"{number}.x"), b"x" * number
        )
    selector = fs.FileSelector(str(tmp_path), recursive=True)
    expected = [
        file
        for file in fs.LocalFileSystem().get_file_info(selector)
        if file.type == fs.FileType.File
    ]
    found, expected = (
        [(file.path, file.base_name, file.size, file.mtime_ns, file.type) for file in listed]
        for listed in (
            storage.files(str(tmp_path), recursive=True),
            sorted(expected, key=lambda file: file.path),
        )
    )
    assert len(found) == 50
    assert found == expected


def test_a_name_that_is_not_utf8_is_listed_with_its_bytes(tmp_path):
    for name in (b"a", b"\xff\xfe.x", b"\xe9/x", "\u00e9".encode()):
        path = os.path.join(os.fsencode(tmp_path), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb"):
            pass
    assert names(tmp_path, recursive=True) == ["\\xe9/x", "\\xff\\xfe.x", "a", "\u00e9"]
    with pytest.raises(UserError, match="not found"):
        storage.read_bytes(str(tmp_path / "\\xff\\xfe.x"))
    with pytest.raises(UserError, match=r"\\udcff': not a path in UTF-8"):
        storage.exists(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))


def test_folders_are_those_in_a_directory(tmp_path):
    for name in (b"b", b"a", b"\xff"):
        os.makedirs(os.path.join(os.fsencode(tmp_path), name))
    (tmp_path / "a" / "inner").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert storage.folders(str(tmp_path)) == ["a", "b", "link", "\udcff"]
    for nothing in ("missing", "file"):
        assert storage.folders(str(tmp_path / nothing)) == []


def test_why_a_directory_cannot_be_written(tmp_path):
    assert storage.write_problem(str(tmp_path)) is None
    assert list(tmp_path.iterdir()) == []
    assert storage.write_problem(str(tmp_path / "missing")) == os.strerror(errno.ENOENT)


def test_deleting_what_is_gone_is_no_error(tmp_path):
    uri = str(tmp_path / "x")
    storage.write_bytes(uri, b"")
    storage.delete([uri, uri])
    assert not storage.exists(uri)
