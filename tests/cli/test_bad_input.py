"""Every kind of bad input: a clear line, its exit code, and nothing left behind in the folder."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from leti_opt.network.tflite_writer import write_tflite
from leti_opt.store import LatencyStore
from tests.cli.commands import CELL, MEASURE, ROOT, SEARCH, SEARCH_ON, SIMULATED, TINY, leti_opt, refusal
from tests.device.tiny_graphs import tiny_graph


def content(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder with what it holds; the log beside a store may come and go."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((*SEARCH_ON, "hots-cpu"), "unknown device 'hots-cpu'; did you mean 'host-cpu'?"),
        ((*MEASURE, "--device", "phone:1"), "unknown device 'phone:1'"),
        ((*MEASURE, "--device", "replay:no.parquet"), "no such file"),
        ((*MEASURE, "--device", "host-cpu?thread=2"), "did you mean 'threads'"),
        ((*MEASURE, "--device", "host-cpu?threads=0"), "threads"),
        ((*SEARCH, "--optimizer", "DiscreteOnePlusOn"), "nevergrad has no optimizer 'DiscreteOnePlusOn'; try one of"),
        ((*SEARCH, "--budget", "0"), "budget must be 1 evaluation or more, not 0"),
        ((*SEARCH, "--budget", "-3"), "budget must be 1 evaluation or more, not -3"),
        ((*SEARCH, "--time", "soon"), "'soon' is no time; write for instance 90s"),
        ((*SEARCH, "--time", "0s"), "the time limit must be above 0 s"),
        ((*SEARCH, "--workers", "0"), "workers must be 1 or more, not 0"),
        ((*SEARCH, "--seed", "-1"), "seed must be between 0 and"),
        ((*SEARCH, "--accuracy", "imagenet"), "unknown accuracy 'imagenet'; known: none, digits"),
        ((*SEARCH, "--space", "nasbench102"), "unknown space 'nasbench102'; did you mean 'nasbench101'"),
        ((*SEARCH, "--picture", "front.pdf"), "--picture front.pdf must end with .png"),
        ((*SEARCH, "--picture", "no/where.png"), "cannot write no/where.png"),
        ((*SEARCH, "--network", "nasbench301"), "unknown network 'nasbench301'; did you mean"),
        ((*SEARCH, "--network", "no.toml"), "cannot read no.toml"),
        ((*SEARCH, "--set", "filter=8"), "unknown setting 'filter'; did you mean 'filters'?"),
        ((*SEARCH, "--set", "filters"), "--set 'filters' is not of the form setting=value"),
        ((*SEARCH, "--set", "filters=none"), "filters: Input should be a valid integer"),
        ((*SEARCH, "--min-runs", "0"), "min_runs"),
        (("measure", "0-1,1-0:", *MEASURE[2:]), "cycle"),
        (("measure", "0-1,1-2,2-1,2-3:maxpool3x3,maxpool3x3", *MEASURE[2:]), "cycle"),
        (("measure", "nonsense", *MEASURE[2:]), "'nonsense' is not a cell; write edges:operations"),
        (("measure", "0-1,1-2:conv3x3", *MEASURE[2:]), "conv3x3"),
        (("measure", "0-2,1-2:maxpool3x3,maxpool3x3", *MEASURE[2:]), "no path leads from the input to the output"),
        (("measure", "0" * 32, *MEASURE[2:]), "there is no store latency.db"),
        (("measure", "no.tflite", *MEASURE[2:]), "cannot read no.tflite: No such file"),
        (("measure", "no.keras", *MEASURE[2:]), "there is no file no.keras"),
        (("build", "nonsense", "-o", "a.tflite"), "'nonsense' is not a cell"),
        (("build", "0" * 32, "-o", "a.tflite"), "there is no store latency.db"),
        (("build", CELL, "-o", "a.onnx"), "a.onnx must end with .keras or .tflite"),
        (("build", CELL, "-o", "no/a.tflite"), "cannot write no/a.tflite: No such file or directory"),
        (("build", CELL, "-o", "a.tflite", "--set", "filters=0"), "filters: "),
        (("build", CELL, "-o", "a.tflite", "--network", "small", "--set", "filters=1"), "raise filters"),
        (("convert", "net.keras", "-o", "a.onnx"), "a.onnx must end with .tflite"),
        (("convert", "net.pb", "-o", "a.tflite"), "net.pb must be a Keras file"),
        (("convert", "net.keras", "-o", "a.tflite"), "there is no file net.keras"),
        (("convert", "net.keras", "-o", "a.tflite", "--precision", "int4"), "unknown precision 'int4'"),
        (("space", "show", "0-1,1-2,2-0:maxpool3x3"), "cycle"),
        (("space", "show", "0-1:", "--space", "mine"), "unknown space 'mine'"),
        (("space", "show", CELL, "--space", "nasbench201"), "conv3x3-bn-relu"),
        (
            ("space", "show", "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|", "--space", "nasbench201"),
            "disconnected",
        ),
        (("store", "info"), "there is no store latency.db; 'leti-opt measure' or 'leti-opt search' makes one"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_input_is_refused_with_code_2_and_leaves_nothing(
    arguments: tuple[str, ...], words: str, folder: Path
) -> None:
    message = refusal(*arguments, code=2)
    assert words in message
    assert content(folder) == {}


def test_a_negative_seed_of_weights_is_refused(folder: Path) -> None:
    assert "--seed" in leti_opt("build", CELL, "-o", "a.tflite", "--seed", "-1", code=2).stderr
    assert content(folder) == {}


def test_an_unconnected_or_unknown_cell_is_named_before_others_are_measured(folder: Path) -> None:
    assert "cycle" in refusal("measure", CELL, "0-1,1-0:", "--device", SIMULATED, *TINY)
    assert content(folder) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('preset = "small"\nfilter = 8\n', "unknown setting 'filter'; did you mean 'filters'?"),
        ('preset = "smal"\n', "unknown network 'smal'; did you mean 'small'?"),
        ("filters 8\n", "net.toml is not TOML"),
        ('preset = "small"\n[[operations]]\nlabel = "mine"\nsteps = [{kind = "soft"}]\n', "operations"),
        ("preset = 3\n", "unknown network '3'"),
        ('preset = ["small"]\n', "unknown network \"['small']\""),
    ],
)
def test_a_network_file_with_a_fault_is_refused(text: str, words: str, folder: Path) -> None:
    (folder / "net.toml").write_text(text)
    before = content(folder)
    assert words in refusal(*MEASURE, "--network", "net.toml")
    assert content(folder) == before


def a_folder(path: Path) -> None:
    path.mkdir()


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (id INTEGER)")
        connection.commit()


def read_only(path: Path) -> None:
    LatencyStore(path).close()
    path.chmod(0o444)


def damaged(path: Path) -> None:
    LatencyStore(path).close()
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize("command", [MEASURE, SEARCH], ids=["measure", "search"])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (a_folder, "is a folder; name a file in it"),
        (foreign, "another program; it was left as it is"),
        (read_only, "is read-only; run: chmod u+w"),
        (damaged, "is damaged"),
        (lambda path: path.write_bytes(b""), "is an empty file and no store"),
        (lambda path: path.write_text("hash,latency\n"), "is not an SQLite file"),
    ],
    ids=["folder", "foreign", "read-only", "damaged", "empty", "text"],
)
def test_a_store_at_fault_is_refused_with_code_4_and_left_as_it_was(
    command: tuple[str, ...], make: Callable[[Path], None], words: str, folder: Path
) -> None:
    make(folder / "latency.db")
    before = content(folder)
    assert words in refusal(*command, code=4)
    assert content(folder) == before


def test_store_info_refuses_a_foreign_file_with_code_4(folder: Path) -> None:
    foreign(folder / "notes.db")
    before = content(folder)
    assert "another program" in refusal("store", "info", "notes.db", code=4)
    assert content(folder) == before


def test_another_kind_of_database_is_refused_with_code_4(folder: Path) -> None:
    told = refusal(*MEASURE, "--store", "mysql://ada:secret@host/db", code=4)
    assert "only SQLite files and PostgreSQL databases" in told
    assert "secret" not in told
    assert content(folder) == {}


FULL = 'mount -t tmpfs -o size=400k leti "$1" && cd "$1" && shift && exec "$@"'


@pytest.mark.needs("root")
def test_a_full_disk_ends_a_search_with_code_4(folder: Path) -> None:
    """A small file system of its own, in a mount namespace that ends with the process."""
    disk = folder / "disk"
    disk.mkdir()
    search = [sys.executable, "-m", "leti_opt.cli.main", *SEARCH, "--budget", "400", "--picture", str(folder / "p.png")]
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", FULL, "sh", str(disk), *search],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(folder.parent)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    if "mount:" in result.stderr or "unshare:" in result.stderr:
        pytest.skip(f"no file system of one's own: {result.stderr.splitlines()[0]}")
    assert result.returncode == 4, result.stderr
    assert result.stdout == ""
    assert "is full; everything stored before is kept" in result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(content(folder)) == ["disk"]


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("text.tflite", b"hello, I am no model at all", "text.tflite is not a TFLite model"),
        ("empty.tflite", b"", "empty.tflite is not a TFLite model (0 bytes"),
        ("cut.tflite", write_tflite(tiny_graph())[:300], "is damaged"),
        ("model.bin", b"hello, I am no model at all", "model.bin is not a TFLite model"),
    ],
)
def test_a_file_that_is_no_tflite_model_is_refused(name: str, data: bytes, words: str, folder: Path) -> None:
    (folder / name).write_bytes(data)
    before = content(folder)
    assert words in refusal("measure", name, "--device", "host-cpu")
    assert content(folder) == before


def damaged_zip(path: Path) -> None:
    """Whole at both ends, wrong in the middle of what it holds."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", "{}" * 200)
        archive.writestr("model.weights.h5", "x")
    data = bytearray(path.read_bytes())
    place = data.index(b"{}{}{}") + 50
    data[place : place + 20] = bytes(20)
    path.write_bytes(data)


def damaged_tree(path: Path) -> None:
    """A whole model but for a list of groups, which is of a kind that there is not."""
    import keras

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Keras's own, of numpy's arrays
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(path)
    data = bytearray(path.read_bytes())
    data[data.index(b"TREE") + 4] = 7
    path.write_bytes(data)


@pytest.mark.needs("tensorflow")
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("tree.h5", damaged_tree),
        ("text.keras", lambda path: path.write_text("hello")),
        ("text.h5", lambda path: path.write_text("hello")),
        ("other.keras", lambda path: zipfile.ZipFile(path, "w").close()),
        ("damaged.keras", damaged_zip),
    ],
)
def test_a_file_that_is_no_keras_model_is_refused(name: str, make: Callable[[Path], None], folder: Path) -> None:
    make(folder / name)
    before = content(folder)
    assert f"Keras cannot read {name}" in refusal("convert", name, "-o", "a.tflite")
    assert f"Keras cannot read {name}" in refusal("measure", name, "--device", "host-cpu")
    assert content(folder) == before


@pytest.mark.needs("tensorflow")
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
def test_a_keras_model_that_tflite_cannot_hold_is_refused_with_the_reason(folder: Path) -> None:
    import keras

    given = keras.Input((4, 4), batch_size=1)
    keras.Model(given, keras.ops.inv(given)).save("inverse.keras")
    before = content(folder)
    message = refusal("convert", "inverse.keras", "-o", "a.tflite")
    assert "TensorFlow cannot convert inverse.keras" in message
    assert "MatrixInverse" in message
    assert content(folder) == before


def test_a_formula_refuses_a_file_whose_layers_it_does_not_know(folder: Path) -> None:
    (folder / "net.tflite").write_bytes(write_tflite(tiny_graph()))
    assert "a formula needs" in refusal("measure", "net.tflite", "--device", SIMULATED)


def test_an_output_that_is_a_folder_is_refused_before_work_and_left(folder: Path) -> None:
    for name in ("a.tflite", "front.png"):
        (folder / name).mkdir()
    assert "cannot write a.tflite: it is a folder" in refusal("build", CELL, "-o", "a.tflite", "--network", "small")
    assert "cannot write front.png: it is a folder" in refusal(*SEARCH, "--picture", "front.png")
    assert content(folder) == {"a.tflite": None, "front.png": None}


def test_a_file_that_could_not_be_replaced_stays_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from leti_opt.network import rendering

    (folder / "a.tflite").write_bytes(b"the old one")

    def fail(*arguments: object, **settings: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rendering, "render_tflite", fail)
    assert "cannot write a.tflite: No space left on device" in refusal("build", CELL, "-o", "a.tflite", *TINY)
    assert content(folder) == {"a.tflite": b"the old one"}
