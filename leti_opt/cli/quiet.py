"""Keeps what native libraries print at start-up from the terminal of somebody who asked for a table."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from leti_opt.accuracy.training import DigitsAccuracy
from leti_opt.architecture import Architecture


@contextmanager
def held_back_stderr() -> Iterator[None]:
    """Hold back what is written to descriptor 2; show it after all if the block raises."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


def load_tensorflow() -> None:
    """Import TensorFlow and let it look for GPUs, without its messages about those that are not there."""
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with held_back_stderr():
        import tensorflow as tf

        tf.config.list_physical_devices()
        tf.constant(0)


class QuietDigitsAccuracy(DigitsAccuracy):
    """The same training; TensorFlow is imported quietly, and only if a cell is really trained."""

    def __call__(self, architecture: Architecture) -> float:
        """Train, and return the share of right answers."""
        load_tensorflow()
        return super().__call__(architecture)
