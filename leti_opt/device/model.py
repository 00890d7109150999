"""A network in the form in which a device takes it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

from leti_opt.errors import InvalidModelError
from leti_opt.network.layer_graph import LayerGraph
from leti_opt.network.rendering import Renderer, chosen_renderer, render_tflite, renderer_version
from leti_opt.network.tflite_reader import structure_digest
from leti_opt.network.weights_outside import PlacedNetwork, place_weights
from leti_opt.temporary_folder import temporary_folder


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
        file_sha256: hexadecimal SHA-256 of that file when it was first read; empty where there is none.
        render: makes the TFLite file's content, where there is no path.
        place: makes a header over a block of random weights, where a device can measure that in place of a file.
    """

    key: str
    name: str
    renderer: str
    precision: str = "float32"
    layer_graph: LayerGraph | None = field(default=None, compare=False, repr=False)
    path: Path | None = field(default=None, compare=False)
    file_sha256: str = field(default="", compare=False)
    render: Callable[[], bytes] | None = field(default=None, compare=False, repr=False)
    place: Callable[[], PlacedNetwork] | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of_graph(
        cls, graph: LayerGraph, name: str = "network", renderer: Renderer = "auto", seed: int = 0
    ) -> MeasurableModel:
        """A layer graph, rendered when a device asks for it; the weights' seed is no part of the key."""
        version = renderer_version(graph.precision, renderer)
        by_writer = chosen_renderer(graph.precision, renderer) == "writer"
        return cls(
            key=_key(graph.digest, version),
            name=name,
            renderer=version,
            precision=graph.precision,
            layer_graph=graph,
            render=partial(render_tflite, graph, renderer, seed),
            place=partial(place_weights, graph) if by_writer else None,
        )

    @classmethod
    def of_file(cls, path: Path | str) -> MeasurableModel:
        """A user's ``.tflite`` file.

        Raises:
            InvalidModelError: no such file, or not a TFLite model.
        """
        path = Path(path)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InvalidModelError(f"cannot read {path}: {error.strerror}") from error
        return cls(
            key=_key(structure_digest(content, str(path)), "file"),
            name=path.name,
            renderer="file",
            precision="unknown",
            path=path.resolve(),
            file_sha256=hashlib.sha256(content).hexdigest(),
        )

    @classmethod
    def of_content(cls, content: bytes, name: str, renderer: str, precision: str) -> MeasurableModel:
        """A TFLite model in memory, for instance converted from a user's Keras model."""
        return cls(
            key=_key(structure_digest(content, name), renderer),
            name=name,
            renderer=renderer,
            precision=precision,
            render=partial(bytes, content),
        )

    @classmethod
    def of_digest(
        cls, digest: str, name: str, renderer: str, precision: str, render: Callable[[], bytes]
    ) -> MeasurableModel:
        """A network that its caller identifies, by all that its file depends on; rendered when a device asks for it.

        Args:
            digest: of that description; weights are no part of it.
            name: what people call it.
            renderer: what turns it into a file, with version.
            precision: as for the others.
            render: makes the file's content.
        """
        return cls(_key(digest, renderer), name, renderer, precision, render=render)

    @cached_property
    def tflite(self) -> bytes:
        """Content of the TFLite file; rendered at the first call."""
        if self.path is not None:
            return self.path.read_bytes()
        if self.render is None:
            raise InvalidModelError(f"{self.name} has neither a file nor a way to render one; use MeasurableModel.of_…")
        return self.render()

    @cached_property
    def placed(self) -> PlacedNetwork | None:
        """The network as a header over a block of weights, without the file; None where only the file will do."""
        return None if self.place is None else self.place()

    @property
    def is_rendered(self) -> bool:
        """Whether the file is there already, and need not be built."""
        return self.path is not None or "tflite" in vars(self)

    @property
    def is_placed(self) -> bool:
        """Whether :attr:`placed` was found out already."""
        return "placed" in vars(self)

    def prepare(self) -> None:
        """Render now what :meth:`tflite_file` will need, so that no time of the device goes into it."""
        if self.path is None:
            _ = self.tflite

    def forget_rendered(self) -> None:
        """Give back the memory of a file that :meth:`prepare` rendered; it is rendered again when it is needed."""
        self.__dict__.pop("tflite", None)

    @contextmanager
    def tflite_file(self) -> Iterator[Path]:
        """A file that exists as long as the context: the user's own, or a temporary one."""
        if self.path is not None:
            yield self.path
            return
        with temporary_folder("model") as folder:
            path = folder / "model.tflite"
            path.write_bytes(self.tflite)
            yield path


def _key(digest: str, renderer: str) -> str:
    return hashlib.sha256(f"{digest} {renderer}".encode()).hexdigest()
