"""A network in the form in which a device takes it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from leti_opt.network.layer_graph import LayerGraph


@dataclass(frozen=True)
class MeasurableModel:
    """A network with the key under which its results are stored.

    Rendering to TFLite is put off until a device asks for the file, so that a look-up costs nothing.

    Args:
        key: identity of what is measured: digest of the layer graph or of the file's structure, with the renderer.
            Weights never enter it.
        name: what people call it.
        renderer: what turns it into a TFLite file, with version; ``file`` for a user's own.
        precision: ``float32``, ``float16``, ``dynamic`` or ``int8``; ``unknown`` for a user's file.
        layer_graph: its layers, where they are known.
        path: a user's ``.tflite`` file.
        render: makes the TFLite file's content, where there is no path.
    """

    key: str
    name: str
    renderer: str
    precision: str = "float32"
    layer_graph: LayerGraph | None = field(default=None, compare=False, repr=False)
    path: Path | None = field(default=None, compare=False)
    render: Callable[[], bytes] | None = field(default=None, compare=False, repr=False)

    @cached_property
    def tflite(self) -> bytes:
        """Content of the TFLite file; rendered at the first call."""
        if self.path is not None:
            return self.path.read_bytes()
        if self.render is None:
            raise ValueError(f"{self.name} has neither a file nor a way to render one")
        return self.render()

    @contextmanager
    def tflite_file(self) -> Iterator[Path]:
        """A file that exists as long as the context: the user's own, or a temporary one."""
        if self.path is not None:
            yield self.path
            return
        with tempfile.TemporaryDirectory(prefix="leti-opt-") as folder:
            path = Path(folder) / "model.tflite"
            path.write_bytes(self.tflite)
            yield path
