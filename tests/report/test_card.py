"""Data cards: equal bytes for equal content, and nothing is believed that was cut off, changed or made to do harm."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from leti_opt.architecture import Architecture
from leti_opt.device.model import MeasurableModel
from leti_opt.device.open_device import open_device
from leti_opt.device.protocol import MeasurementProtocol
from leti_opt.device.run_batch import RunBatch
from leti_opt.errors import InvalidInputError, NotFoundError
from leti_opt.network.config import NetworkConfig
from leti_opt.network.tflite_writer import write_tflite
from leti_opt.objective.measuring import MeasuringService
from leti_opt.objective.questions import cell_question
from leti_opt.report.card import HEADER, TABLE, pack, read_card
from leti_opt.report.card_export import write_card
from leti_opt.report.reproduction import rebuild
from leti_opt.store import LatencyStore
from tests.device.tiny_graphs import tiny_graph
from tests.store.samples import device, measurement, model

SMALL = NetworkConfig.small(filters=8, input_shape=(8, 8, 3))
OPERATIONS = ("maxpool3x3", "conv1x1-bn-relu", "conv3x3-bn-relu")
CELLS = [f"0-1,1-2:{name}" for name in OPERATIONS] + [f"0-1,0-2,1-2,2-3:{name},maxpool3x3" for name in OPERATIONS[:2]]


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("LETI_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def store() -> LatencyStore:
    store = LatencyStore(":memory:")
    service = MeasuringService(open_device("replay:formula?seed=1"), store, MeasurementProtocol(min_runs=40))
    for cell in CELLS:
        service.answer(cell_question(Architecture.parse(cell), SMALL))
    return store


@pytest.fixture
def card(store: LatencyStore, tmp_path: Path) -> Path:
    write_card(store, tmp_path / "a.card.zip", origin="simulated")
    return tmp_path / "a.card.zip"


def test_a_card_says_what_how_and_brings_the_panel(card: Path, store: LatencyStore) -> None:
    found = read_card(card)
    assert found.statement.startswith("SIMULATED")
    assert found.protocol.min_runs == 40
    assert len(found.panel) == len(CELLS)
    frame = store.to_frame().set_index("model_key")["mean_ms"]
    assert found.figures.latency_ms == dict(frame)
    assert {one.model.key for one in rebuild(found) if one.model is not None} == set(frame.index)


def test_equal_content_makes_equal_bytes(card: Path, store: LatencyStore, tmp_path: Path) -> None:
    write_card(store, tmp_path / "b.card.zip", origin="simulated")
    assert (tmp_path / "b.card.zip").read_bytes() == card.read_bytes()


def test_only_measured_figures_make_a_card_unasked(store: LatencyStore, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"no measured figures.*--origin simulated"):
        write_card(store, tmp_path / "a.card.zip")
    with pytest.raises(InvalidInputError, match="origin"):
        write_card(store, tmp_path / "a.card.zip", origin="any")
    assert not (tmp_path / "a.card.zip").exists()


def test_a_users_file_travels_in_the_card_unless_it_is_too_large(store: LatencyStore, tmp_path: Path) -> None:
    path = tmp_path / "secret folder" / "net.tflite"
    path.parent.mkdir()
    path.write_bytes(write_tflite(tiny_graph()))
    model = MeasurableModel.of_file(path)
    device = open_device("replay:formula?seed=1")
    measured = store.find(str(store.to_frame()["model_key"][0]), device.identity)[0]
    store.add(model, replace(measured, model_key=model.key))
    with pytest.raises(InvalidInputError, match="max-file-mb"):
        write_card(store, tmp_path / "a.card.zip", origin="simulated", max_file_mb=0.0001)
    write_card(store, tmp_path / "a.card.zip", origin="simulated")
    content = (tmp_path / "a.card.zip").read_bytes()
    assert b"secret folder" not in content
    path.unlink()
    rebuilt = {one.network.model_key: one for one in rebuild(read_card(tmp_path / "a.card.zip"))}[model.key]
    assert rebuilt.model is not None
    assert rebuilt.model.key == model.key
    assert rebuilt.network.name == "net.tflite"


def contents(card: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(card) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def repacked(card: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(card, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def cut_off(card: Path) -> None:
    card.write_bytes(card.read_bytes()[:-200])


def flip_a_byte(card: Path) -> None:
    content = bytearray(card.read_bytes())
    content[len(content) // 3] ^= 1
    card.write_bytes(bytes(content))


def change_a_network(card: Path) -> None:
    members = contents(card)
    members["panel/000.json"] = members["panel/000.json"].replace(b"float32", b"float16")
    repacked(card, members)


def change_the_header(card: Path) -> None:
    members = contents(card)
    members[HEADER] = members[HEADER].replace(b'"origin": "simulated"', b'"origin": "measured"')
    repacked(card, members)


def newer(card: Path) -> None:
    members = contents(card)
    members[HEADER] = members[HEADER].replace(b'"version": 1', b'"version": 2')
    repacked(card, members)


def path_trick(card: Path) -> None:
    repacked(card, {**contents(card), "panel/../../evil.tflite": b"x"})


def bomb(card: Path) -> None:
    repacked(card, {**contents(card), "panel/999.tflite": bytes(10**7)}, zipfile.ZIP_DEFLATED)


def without_a_member(card: Path) -> None:
    members = contents(card)
    del members["panel/001.json"]
    repacked(card, members)


def signed(card: Path, **changes: object) -> None:
    """The card with another header, and hashes that fit."""
    members = contents(card)
    header = json.loads(members.pop(HEADER))
    for name in ("members", "sha256", "format", "version"):
        del header[name]
    pack({**header, **changes}, members, card)


def endless(card: Path) -> None:
    signed(card, protocol={"min_runs": 10**12})


def figures(card: Path, values: list[object]) -> None:
    rows = pd.read_parquet(io.BytesIO(contents(card)[TABLE]))
    table = io.BytesIO()
    rows.assign(mean_ms=values * len(rows)).to_parquet(table)
    members = {**contents(card), TABLE: table.getvalue()}
    repacked(card, members)
    signed(card)


def no_figure(card: Path) -> None:
    figures(card, [None])


def no_number(card: Path) -> None:
    figures(card, ["5 ms"])


def below_zero(card: Path) -> None:
    figures(card, [-5.0])


def another_zip(card: Path) -> None:
    repacked(card, {"card.json": b'{"hello": 1}'})


def no_zip(card: Path) -> None:
    card.write_text("no zip")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (cut_off, "no whole data card"),
        (flip_a_byte, "no whole data card|was changed"),
        (change_a_network, r"panel/000\.json"),
        (change_the_header, "was changed after it was made"),
        (newer, "upgrade leti_opt"),
        (path_trick, "no member"),
        (bomb, "not compressed"),
        (without_a_member, r"panel/001\.json"),
        (another_zip, "no data card"),
        (no_zip, "no whole data card"),
        (endless, "min_runs=1000000000000, more than"),
        (no_figure, "None, which is no latency"),
        (no_number, "'5 ms', which is no latency"),
        (below_zero, "-5.0, which is no latency"),
    ],
)
def test_a_card_that_is_not_whole_is_refused(card: Path, harm: Callable[[Path], None], words: str) -> None:
    before = card.read_bytes()
    harm(card)
    assert card.read_bytes() != before
    with pytest.raises(InvalidInputError, match=words):
        read_card(card)


def test_a_card_cannot_steer_the_readers_terminal(card: Path) -> None:
    signed(card, statement="\x1b[31mred\nleti-opt: all is well")
    altered(card, name="\x1b[2Jnet")
    found = read_card(card)
    assert found.statement.isprintable()
    assert all(network.name.isprintable() for network in found.panel)


def test_published_figures_without_runs_make_no_card_and_it_says_why(tmp_path: Path) -> None:
    store = LatencyStore(":memory:")
    for number in range(4):
        kept = measurement(number, identity=device("replayed"))
        batch = RunBatch(count=None, mean_ms=5.0 + number)
        store.add(model(number), replace(kept, attempts=(batch,), stable=False))
    assert set(store.to_frame()["status"]) == {"unchecked"}
    with pytest.raises(NotFoundError, match="published without the number or the spread of their runs"):
        write_card(store, tmp_path / "a.card.zip", origin="replayed")


def test_there_must_be_a_card(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_card(tmp_path / "absent.card.zip")
    with pytest.raises(InvalidInputError):
        read_card(tmp_path)


def altered(card: Path, **changes: object) -> None:
    """A card whose makers used another version of the code: its first network differs, and its hashes are right."""
    members = contents(card)
    header = json.loads(members.pop(HEADER))
    first = {**json.loads(members["panel/000.json"]), **changes}
    members["panel/000.json"] = json.dumps(first).encode()
    for name in ("members", "sha256", "format", "version"):
        del header[name]
    pack(header, members, card)


def test_another_renderers_version_is_said_and_the_cell_is_compared(card: Path) -> None:
    found = read_card(card)
    old = found.panel[0]
    latency_ms = {"old key" if key == old.model_key else key: ms for key, ms in found.figures.latency_ms.items()}
    figures = replace(found.figures, latency_ms=latency_ms)
    there = replace(old, model_key="old key", renderer="tflite-writer/0")
    built = rebuild(replace(found, panel=(there, *found.panel[1:]), figures=figures))
    (first,) = [one for one in built if one.network is there]
    assert first.model is not None
    assert first.model.key == old.model_key
    assert f"rendered by {old.renderer} here and by tflite-writer/0 there; compared by its cell" in first.note


def test_other_layers_leave_a_network_out_and_too_few_are_an_error(card: Path) -> None:
    altered(card, layer_graph_digest="0" * 64)
    built = rebuild(read_card(card))
    assert [one.note for one in built if one.model is None] == [
        f"{one.network.name} has other layers in this version of leti_opt" for one in built if one.model is None
    ]
    assert sum(one.model is None for one in built) == 1
    with pytest.raises(NotFoundError, match="other layers"):
        rebuild(read_card(card), limit=3)
    with pytest.raises(InvalidInputError, match="--limit"):
        rebuild(read_card(card), limit=2)
    found = read_card(card)
    none_left = [replace(network, layer_graph_digest="0" * 64) for network in found.panel]
    with pytest.raises(NotFoundError, match=r"only 0 of.*; and 2 more$"):
        rebuild(replace(found, panel=tuple(none_left)))
