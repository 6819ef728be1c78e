"""Archives and packed files that nobody packs in good faith: each ends with a sentence, in bounded memory."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import lzma
import struct
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdeictl.errors import SdeictlError
from sdeictl.host import archive as module
from sdeictl.host import reader, root, tar, unpack
from sdeictl.host.archive import ArchiveRoot, open_archive
from sdeictl.host.directory import DirectoryRoot
from sdeictl.host.named import NamedFile
from sdeictl.host.tar import MAX_EXTENSION_BYTES, MAX_NAME_BYTES, TarError, TarReader
from sdeictl.host.unpack import DamagedError, Unpacked, magic_of
from tests.conftest import load_host
from tests.support.limited import refused, run
from tests.test_analysis_properties import EXAMPLES
from tests.test_log_files import PACKERS

HOST = load_host("acpi-sdei").root
MANIFEST = "sdeictl-capture.json"
MIB = 1 << 20


def block(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """Return a header block. tarfile writes sizes of any sign in base 256."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size if size >= 0 else 0
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    if size < 0:
        header[124:136] = (size % (1 << 96)).to_bytes(12, "big")
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def pax(keyword: str, value: str, kind: bytes = tarfile.XHDTYPE) -> bytes:
    rest = f" {keyword}={value}\n".encode()
    length = next(n for n in range(len(rest), len(rest) + 9) if len(str(n)) + len(rest) == n)
    record = str(length).encode() + rest
    return block("pax", len(record), kind) + padded(record)


def member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(data), link
    return info.tobuf(tarfile.GNU_FORMAT) + padded(data)


END = bytes(1024)
BEGIN = member(MANIFEST, b"{}")
ZEROS = gzip.compress(bytes(64 * MIB))
LONG_NAMES = [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE]
SPARSE = "GNU.sparse."


def stored(path: Path, *parts: bytes, packed_tail: bytes = b"") -> Path:
    """Write an archive; `packed_tail` is packed already, and follows the parts in a stream of its own."""
    path.write_bytes(gzip.compress(b"".join(parts)) + packed_tail)
    return path


@pytest.mark.parametrize("kind", LONG_NAMES)
@pytest.mark.parametrize("size", [MAX_EXTENSION_BYTES + 1, 3 << 30])
def test_long_header_is_not_read(tmp_path: Path, kind: bytes, size: int) -> None:
    path = stored(tmp_path / "x", BEGIN, block("x", size, kind), packed_tail=ZEROS)
    with pytest.raises(SdeictlError, match=f"a header of {size} bytes"):
        open_archive(str(path))


def test_long_header_costs_no_memory(tmp_path: Path) -> None:
    path = stored(tmp_path / "x", BEGIN, block("x", 3 << 30, tarfile.XHDTYPE), packed_tail=ZEROS * 4)
    for command in ("analyze", "probe --root"):
        refused("a header of 3221225472 bytes", *command.split(), path)


@pytest.mark.parametrize("size", [-1, -512, -(10 << 30), 1 << 50, 1 << 80])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.XHDTYPE, b"Z"])
def test_absurd_sizes(tmp_path: Path, size: int, kind: bytes) -> None:
    path = stored(tmp_path / "x", BEGIN, block("d", size, kind), block("big", 3 << 30))
    with pytest.raises(SdeictlError, match=r"a (member|header) of .* bytes"):
        open_archive(str(path))


@pytest.mark.parametrize("size", ["-10737418240", "9" * 5000, "1e3", "", " 5", "٣"])
@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_absurd_size_in_pax(tmp_path: Path, size: str, kind: bytes) -> None:
    path = stored(tmp_path / "x", BEGIN, pax("size", size, kind), member("d", b"x"), END)
    with pytest.raises(SdeictlError, match="a member of"):
        open_archive(str(path))


def test_size_of_a_directory_is_ignored(tmp_path: Path) -> None:
    root = ArchiveRoot(str(stored(tmp_path / "x", BEGIN, block("d", 10 << 30, tarfile.DIRTYPE), END)))
    assert root.names("/") == ("d", MANIFEST)


@pytest.mark.parametrize(
    "name", ["a/" * (MAX_NAME_BYTES // 2) + "b", "n" * (MAX_NAME_BYTES + 1), "a/" * 30_000 + "b"]
)
def test_deep_and_long_names(tmp_path: Path, name: str) -> None:
    for extension in (
        pax("path", name), pax("linkpath", name),
        block("x", len(name), tarfile.GNUTYPE_LONGNAME) + padded(name.encode()),
    ):  # fmt: skip
        path = stored(tmp_path / "x", BEGIN, extension, member("d"), END)
        with pytest.raises(SdeictlError, match="name that no file can have"):
            open_archive(str(path))


def test_many_deep_names_need_little_memory(tmp_path: Path) -> None:
    names = (f"{first}/" + "/".join(f"{first}_{at}" for at in range(100)) for first in range(3000))
    path = stored(tmp_path / "x", BEGIN, *(pax("path", name) + member("d") for name in names), END)
    refused("its files and names need more than 64 MiB", "probe", "--root", path)


def test_members_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar, "MAX_HEADERS", 1000)
    for kind in (b"Z", tarfile.XHDTYPE, tarfile.DIRTYPE):
        path = stored(tmp_path / "x", BEGIN, block("x", 0, kind) * 1000, END)
        with pytest.raises(SdeictlError, match="more than 1,000 headers"):
            open_archive(str(path))


@pytest.mark.parametrize("sparse", [f"{SPARSE}major", f"{SPARSE}map", f"{SPARSE}size", None])
def test_sparse_file(tmp_path: Path, sparse: str | None) -> None:
    entry = pax(sparse, "1") + member("x") if sparse else block("x", 0, tarfile.GNUTYPE_SPARSE)
    with pytest.raises(SdeictlError, match="it has a sparse file"):
        open_archive(str(stored(tmp_path / "x", BEGIN, entry, END)))


def test_the_last_member_counts(tmp_path: Path) -> None:
    parts = [
        member("a", b"1"),
        member("a", b"2"),
        member("b", kind=tarfile.SYMTYPE, link="a"),
        member("b", b"3"),
    ]
    root = ArchiveRoot(str(stored(tmp_path / "x", BEGIN, *parts, END, member("a", b"behind the end"))))
    assert (root.read("/a"), root.read("/b")) == (b"2", b"3")


def test_file_and_directory_at_once(tmp_path: Path) -> None:
    for parts in ((member("a"), member("a/b")), (member("a/b"), member("a"))):
        with pytest.raises(SdeictlError, match="a file and a directory with the same name: '/a'"):
            open_archive(str(stored(tmp_path / "x", BEGIN, *parts, END)))


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, b"Z"])
def test_special_member_is_no_absence(tmp_path: Path, kind: bytes) -> None:
    root = ArchiveRoot(str(stored(tmp_path / "x", BEGIN, block("proc/version", 0, kind), END)))
    assert root.names("/proc") == ("version",)
    with pytest.raises(OSError, match="not a regular file"):
        root.read("/proc/version")


def test_links_of_an_archive(tmp_path: Path) -> None:
    links = {"to": "proc", "out": "../../../../etc", "loop": "loop", "up": "/to/./../proc/version"}
    parts = [member("proc/version", b"Linux"), member("hard", kind=tarfile.LNKTYPE, link="proc/version")]
    parts += [member(name, kind=tarfile.SYMTYPE, link=target) for name, target in links.items()]
    parts += [member(name, kind=tarfile.LNKTYPE, link=name) for name in ("self", "/../self2")]
    root = ArchiveRoot(str(stored(tmp_path / "x", BEGIN, *parts, END)))
    assert {root.read(path) for path in ("/hard", "/to/version", "/up", "/proc/version")} == {b"Linux"}
    assert root.link("/out") == links["out"]
    for path, error in (
        ("/out/shadow", FileNotFoundError), ("/loop", OSError), ("/self", OSError), ("/self2", OSError),
    ):  # fmt: skip
        with pytest.raises(error):
            root.read(path)


def test_links_that_lead_far(tmp_path: Path) -> None:
    """Each of 3,000 states is behind 38 links of 40 steps."""
    cpus = "/sys/devices/system/cpu"
    listings = {cpus: [f"cpu{cpu}" for cpu in range(1000)]}
    listings |= {f"{cpus}/cpu{cpu}/cpuidle": ["state1", "state2", "state3"] for cpu in range(1000)}
    chain = [
        member(f"L{link}", kind=tarfile.SYMTYPE, link=f"/{'A/../' * 18}L{link + 1}") for link in range(38)
    ]
    parts = [
        member("sdeictl-capture.json", json.dumps({"listings": listings, "failures": {}}).encode()),
        member(cpus[1:], kind=tarfile.SYMTYPE, link="/L0"),
        *chain,
        member("L38/cpuidle/current_driver", b"acpi_idle\n"),
        member("kmsg.txt", b"6,1,1,-;hello\n"),
    ]
    assert run("probe", "--root", stored(tmp_path / "x.tar", *parts)).status == 3


def test_steps_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(root, "MAX_STEPS", 1000)
    follower = root.LinkFollower({"/a": f"/{'b/../' * 600}c"}.get)
    with pytest.raises(OSError, match="lead further"):
        follower.follow("/a/x")


def test_gaps_are_limited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(reader, "MAX_GAPS", 10)
    found = reader.Reader(DirectoryRoot(str(tmp_path)))
    for number in range(10):
        found.text(f"/{number}")
    with pytest.raises(SdeictlError, match=r"^/10 is one of more than 10 sources"):
        found.text("/10")


@pytest.mark.parametrize("lost", [1, 4, 600, 1024, 1025, 3000])
def test_cut_archive_is_refused(tmp_path: Path, lost: int) -> None:
    """Else a file that was cut away would look as if the host lacked it."""
    whole = BEGIN + member("a", b"1" * 3000) + END
    for data in (whole[:-lost] if lost > 512 else whole[: -1024 - lost], gzip.compress(whole)[:-1]):
        (tmp_path / "x").write_bytes(data)
        with pytest.raises(SdeictlError, match=r"it is cut short|packed data is cut short"):
            open_archive(str(tmp_path / "x"))


def test_file_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 1000)
    root = ArchiveRoot(str(stored(tmp_path / "x", BEGIN, member("a", bytes(1001)), member("b", b"1"), END)))
    assert root.read("/b") == b"1"
    with pytest.raises(OSError, match="it has more than"):
        root.read("/a")


def test_large_members_need_little_memory(tmp_path: Path) -> None:
    zeros = gzip.compress(bytes(30 * MIB), 1)
    members = (gzip.compress(block(f"f{at}", 30 * MIB)) + zeros for at in range(16))
    path = stored(tmp_path / "x", BEGIN, packed_tail=b"".join(members))
    refused("need more than 64 MiB", "probe", "--root", path)


@pytest.mark.parametrize("command", ["analyze", "probe --root"])
def test_bomb_needs_little_memory(tmp_path: Path, command: str) -> None:
    path = stored(tmp_path / "x", member("sosreport-x/sos_commands/x"), packed_tail=b"")
    path.write_bytes(gzip.compress(block("sosreport-x/var/log/big", 40 << 30)) + ZEROS * 17)
    refused("unpacks to more than 1024 MiB", *command.split(), path)


@pytest.mark.parametrize("packer", PACKERS)
def test_bomb_of_each_packer(tmp_path: Path, packer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_UNPACKED_BYTES", "MAX_BZIP2_BYTES"):
        monkeypatch.setattr(unpack, name, 2 * MIB)
    (tmp_path / "x").write_bytes(PACKERS[packer](b"\n" * MIB) * 5)
    file = NamedFile(str(tmp_path / "x"))
    assert sum(map(len, file.pieces())) <= 2 * MIB
    assert file.damage == "it unpacks to more than 2 MiB"


def test_window_of_xz_is_limited(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 29}]
    (tmp_path / "x").write_bytes(lzma.compress(b"[    1.000000] a\n" * 99, filters=filters))
    refused("Memory usage limit exceeded", "analyze", tmp_path / "x")


def test_window_of_zstd_is_limited(tmp_path: Path) -> None:
    """The head of a frame asks for 128 MiB."""
    frame = b"\x28\xb5\x2f\xfd\0\x88" + struct.pack("<I", 1 << 3 | 1 << 1 | 1)[:3] + b"x"
    (tmp_path / "x").write_bytes(frame)
    refused("needs too much memory", "probe", "--root", tmp_path / "x")


def test_streams_without_end(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(gzip.compress(b"") * 200_000)
    refused("more than 100,000 packed streams", "analyze", tmp_path / "x")


@pytest.mark.parametrize("packer", PACKERS)
@settings(max_examples=EXAMPLES // 3)
@given(data=st.data())
def test_streams_of_each_packer(packer: str, data: st.DataObject) -> None:
    """Streams in a row are one content; whatever else follows, and each lost byte, is told."""
    parts = data.draw(st.lists(st.binary(max_size=300) | st.just(bytes(300_000)), min_size=1, max_size=4))
    size = data.draw(st.sampled_from([1, 7, 4096, 1 << 18])) if sum(map(len, parts)) < 2000 else 1 << 16
    packed = b"".join(map(PACKERS[packer], parts))
    assert b"".join(unpacked(packed + bytes(512), size)) == b"".join(parts)
    for damaged in (packed[: -data.draw(st.integers(1, 4))], packed + b"other"):
        with pytest.raises(DamagedError):
            list(unpacked(damaged, 1 << 16))


def unpacked(data: bytes, size: int) -> Iterator[bytes]:
    magic = magic_of(data)
    assert magic is not None
    stream = Unpacked(io.BytesIO(data), magic)
    while piece := stream.read1(size):
        assert len(piece) <= size
        yield piece


def test_zstd_frames_leave_no_memory(tmp_path: Path) -> None:
    """Each frame has a window of its own, which is freed with it."""
    (tmp_path / "x").write_bytes(PACKERS["zst"](bytes(8 * MIB)) * 100)
    assert run("analyze", tmp_path / "x").peak_mib < 100


def damaged(at: int, value: bytes) -> Callable[[bytearray], None]:
    def change(data: bytearray) -> None:
        data[at % len(data) : at % len(data) + len(value)] = value

    return change


DAMAGE = st.builds(
    damaged,
    st.integers(0, 8000),
    st.sampled_from([b"\0", b"\xff", b"\x80", b"L", b"x", b"S", b"7777777", b"-1", b" ", b"/", b"1"]),
)


@settings(max_examples=EXAMPLES * 2)
@given(st.lists(DAMAGE, min_size=1, max_size=4))
def test_damaged_headers_raise_one_error(damage: list[Callable[[bytearray], None]]) -> None:
    data = bytearray(
        BEGIN + pax("path", "long") + member("a", b"1") + member("b", kind=tarfile.SYMTYPE, link="c") + END
    )
    for change in damage:
        change(data)
    reader = TarReader(io.BytesIO(bytes(data)))
    with contextlib.suppress(TarError):
        for each in reader:
            assert len(reader.content(each)) == each.size


def test_tarfile_agrees() -> None:
    """Names of every length and form, as tarfile writes them in each format."""
    names = ["a", "b/" * 40 + "c", "d" * 99, "e" * 100, "f/" * 60 + "g" * 90, "ü" * 120]
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        stream = io.BytesIO()
        fitting = [name for name in names if form != tarfile.USTAR_FORMAT or len(name.encode()) < 200]
        with tarfile.open(fileobj=stream, mode="w", format=form) as packed:
            for name in fitting:
                info = tarfile.TarInfo(name)
                info.size = len(name)
                packed.addfile(info, io.BytesIO(name.encode()[: len(name)]))
        reader = TarReader(io.BytesIO(stream.getvalue()))
        assert [(each.name, len(reader.content(each))) for each in reader] == [(n, len(n)) for n in fitting]


def test_good_capture_before_the_damage(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar.xz", "w:xz") as packed:
        packed.add(HOST, ".")
    outcome = run("probe", "--root", tmp_path / "x.tar.xz", "--format", "json")
    assert json.loads(outcome.stdout)["verdict"]["nmi_path"] == "sdei"


def test_xz_9_is_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(lzma.compress(b"[    1.000000] Booting Linux\n" * 99, preset=9))
    assert run("analyze", tmp_path / "x").status == 0
