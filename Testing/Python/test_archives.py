"""Archives from strangers: every way out of their folder and every bomb is refused with its reason, and nothing is written."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats.plain_pickle import member_of_zip
from SegAdversarialLib.volumes import archives
from SegAdversarialLib.volumes.archives import checked_zip, read_member, unpack

OUTSIDE = ["../canary", "a/../../canary", "/canary", "\\canary", "..\\canary", "a\\..\\..\\canary", "C:canary", "C:\\canary"]
OUTSIDE += ["//host/share/canary", "a/file:stream", "a/\x01b", "...", " ", "./", "a/..", "x/../canary"]


def made(path: Path, *members: tuple[str, bytes], kind: int = 0, packing: int = zipfile.ZIP_STORED) -> Path:
    """An archive whose members have these names as they are given, and a kind of file."""
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, content in members:
            info = zipfile.ZipInfo("x")
            info.filename, info.external_attr, info.compress_type = name, kind << 16, packing
            archive.writestr(info, content)
    return path


@pytest.mark.parametrize("name", OUTSIDE, ids=ascii)
def test_names_outside_their_folder_are_refused(name: str, tmp_path: Path) -> None:
    path = made(tmp_path / "a.zip", ("good.txt", b"good"), (name, b"bad"))
    into = tmp_path / "inner" / "folder"
    with pytest.raises(InputError, match="a.zip is not opened: its member .* (outside of|leads out of|that no file has)"):
        unpack(path, into)
    assert sorted(x.name for x in tmp_path.rglob("*")) == ["a.zip"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_links_and_devices_are_refused(kind: int, tmp_path: Path) -> None:
    path = made(tmp_path / "a.zip", ("link", b"/etc/passwd"), kind=kind | 0o777)
    with pytest.raises(InputError, match='its member "link" is (a link|neither a file)'):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("names", [("a", "a"), ("a", "./a"), ("a/b", "a//b"), ("a/b", "a\\b")])
def test_one_name_twice_is_refused(names: tuple[str, str], tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate") if names[0] == names[1] else pytest.MonkeyPatch.context():
        path = made(tmp_path / "a.zip", *((x, b"") for x in names))
    with pytest.raises(InputError, match="twice"), checked_zip(path):
        pass


@pytest.mark.parametrize("names", [("Net.py", "net.py"), ("a", "a/b"), ("A", "a/b"), ("a.", "a"), ("caf\u00e9", "cafe\u0301")])
def test_names_that_are_one_on_other_disks_are_not_unpacked(names: tuple[str, str], tmp_path: Path) -> None:
    path = made(tmp_path / "a.zip", *((x, b"") for x in names))
    with checked_zip(path) as archive:  # reading is no danger: programs may have classes Net and net
        assert len(archive.namelist()) == 2
    with pytest.raises(InputError, match="one name on many disks|a file and a folder"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bombs_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    zeros = b"\0" * (65 << 20)
    path = made(tmp_path / "a.zip", ("zeros", zeros), packing=zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match=r'"zeros" is a bomb \(68,157,440 bytes packed into 66,'):
        unpack(path, tmp_path / "out")
    parts = [(f"{n}", b"\0" * (1 << 20)) for n in range(65)]  # none of them large
    with (
        pytest.raises(InputError, match=r"it is a bomb \(68,157,440 bytes"),
        checked_zip(made(tmp_path / "b.zip", *parts, packing=zipfile.ZIP_DEFLATED)),
    ):
        pass
    with checked_zip(made(tmp_path / "c.zip", ("zeros", zeros))):  # as large on the disk
        pass


def patched(path: Path, at: int, content: bytes) -> Path:
    """The archive with other bytes in the only entry of its table of contents."""
    data = bytearray(path.read_bytes())
    start = data.rfind(b"PK\1\2") + at
    data[start : start + len(content)] = content
    path.write_bytes(bytes(data))
    return path


def test_sizes_that_lie(tmp_path: Path) -> None:
    path = made(tmp_path / "a.zip", ("data", b"abcd" * 100))
    with pytest.raises(InputError, match='"data" is a bomb'), checked_zip(patched(path, 24, struct.pack("<L", 4_000_000_000))):
        pass
    small = patched(made(tmp_path / "b.zip", ("data", b"abcd" * 100)), 24, struct.pack("<L", 8))
    with pytest.raises(InputError, match="b.zip is damaged"), checked_zip(small) as archive:
        read_member(archive, "data", 1000)
    with pytest.raises(InputError, match="encrypted"), checked_zip(patched(path, 8, b"\1\0")):
        pass


def test_members_that_share_their_bytes(tmp_path: Path) -> None:
    data = bytearray(made(tmp_path / "a.zip", ("a", b"x" * 500), ("b", b"x" * 500)).read_bytes())
    second = data.rfind(b"PK\1\2")
    data[second + 42 : second + 46] = struct.pack("<L", 0)
    with pytest.raises(InputError, match='"a" and "b" lie over one another'), checked_zip(io.BytesIO(bytes(data)), "a.zip"):
        pass


def test_a_table_of_contents_that_would_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path / "a.zip", *((f"{n}", b"") for n in range(50)))
    monkeypatch.setattr(archives, "MOST_MEMBERS", 49)
    with pytest.raises(InputError, match="holds 50 files, more than 49"), checked_zip(path):
        pass
    monkeypatch.setattr(archives, "_LARGEST_DIRECTORY", 1000)
    with pytest.raises(InputError, match="its table of contents has 2,390 bytes"), checked_zip(path):
        pass


@pytest.mark.parametrize("before", [(), (("plans.json", b"{}" * 40),)], ids=["first", "second"])
def test_an_archive_cut_off_after_an_archive_in_it_is_not_that_one(
    before: tuple[tuple[str, bytes], ...], tmp_path: Path
) -> None:
    """Packed without compression, its beginning ends as the archive in it does."""
    inner = made(tmp_path / "inner.zip", ("data.pkl", b"N."), ("data/0", b"weights")).read_bytes()
    path = made(tmp_path / "a.zip", *before, ("fold_0/checkpoint.pth", inner), ("end.json", b"{}" * 40))
    first = before[0][0] if before else "fold_0/checkpoint.pth"
    with zipfile.ZipFile(path) as whole:
        end = whole.getinfo("end.json").header_offset
    assert member_of_zip(tmp_path / "inner.zip") == b"N."
    content = path.read_bytes()
    for length in (end, end + 10):
        path.write_bytes(content[:length])
        assert zipfile.is_zipfile(path) and member_of_zip(path) is None
        with pytest.raises(InputError, match=f'a.zip is cut off or damaged: it begins with "{first}", which its'):
            unpack(path, tmp_path / "out")


@pytest.mark.parametrize("length", [0, 3, 4, 20, 40, 82, 103])
def test_cut_archives(length: int, tmp_path: Path) -> None:
    whole = made(tmp_path / "a.zip", ("a", b"abcd")).read_bytes()
    assert length < len(whole)
    (tmp_path / "a.zip").write_bytes(whole[:length])
    with pytest.raises(InputError, match="a.zip is damaged"), checked_zip(tmp_path / "a.zip"):
        pass


@given(st.binary(max_size=200), st.integers(0, 150))
def test_noise_in_an_archive_is_one_sentence(noise: bytes, place: int) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b", b"abcd" * 50)
    data = bytearray(stream.getvalue())
    data[place : place + len(noise)] = noise
    try:
        with checked_zip(io.BytesIO(bytes(data)), "a.zip") as archive:
            for member in archive.namelist():
                read_member(archive, member, 1 << 20)
    except InputError as error:
        assert "a.zip" in str(error) or "None" in str(error)


names = st.lists(st.text("abC", min_size=1, max_size=2), min_size=1, max_size=3).map("/".join)


@given(st.dictionaries(names, st.binary(max_size=50), max_size=6))
@example({"C": b"PK\x06\x06"})
@example({"C": b"PK\x05\x06"})
def test_what_is_packed_is_unpacked(tmp_path_factory: pytest.TempPathFactory, content: dict[str, bytes]) -> None:
    folder = tmp_path_factory.mktemp("archive")
    path = made(folder / "a.zip", *content.items())
    try:
        unpack(path, folder / "out")
    except InputError as error:
        assert "one name on many disks" in str(error) or "a file and a folder" in str(error)
        assert not (folder / "out").exists()
        return
    found = {x.relative_to(folder / "out").as_posix(): x.read_bytes() for x in (folder / "out").rglob("*") if x.is_file()}
    assert found == content
