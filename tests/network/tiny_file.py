"""The smallest network of ours as a file."""

from __future__ import annotations

from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.tflite_writer import write_tflite
from tests.network.keras_files import TRUNCATING

TINY = write_tflite(build_layer_graph(TRUNCATING, NetworkConfig.small(filters=4, stacks=1, input_shape=(4, 4, 3))))
