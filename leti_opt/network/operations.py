"""What an operation's label stands for: a short sequence of layers.

An :class:`Operation` is plain data, so that a user's own one can be hashed, stored and sent to another process. Hand
it to ``NetworkConfig(operations=...)``; nothing is registered globally.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from leti_opt.errors import InvalidConfigError
from leti_opt.network.layer_graph import LayerKind

_STEP_KINDS = {
    LayerKind.CONV,
    LayerKind.DEPTHWISE_CONV,
    LayerKind.BATCH_NORM,
    LayerKind.RELU,
    LayerKind.MAX_POOL,
    LayerKind.AVERAGE_POOL,
}
WINDOWED = {
    LayerKind.CONV,
    LayerKind.DEPTHWISE_CONV,
    LayerKind.MAX_POOL,
    LayerKind.AVERAGE_POOL,
}


@dataclass(frozen=True)
class Step:
    """One layer of an operation; shapes come when it is placed in a network.

    Args:
        kind: a convolution, depthwise convolution, pool, batch norm or ReLU.
        kernel_size: side of the window; 0 for kinds without one.
        use_bias: whether a convolution has a bias.

    Raises:
        InvalidConfigError: no such layer can be built.
    """

    kind: LayerKind
    kernel_size: int = 0
    use_bias: bool = False

    def __post_init__(self) -> None:
        if self.kind not in _STEP_KINDS:
            raise InvalidConfigError(
                f"an operation cannot hold a {self.kind!r} layer; use one of {', '.join(sorted(_STEP_KINDS))}"
            )
        if (self.kernel_size > 0) != (self.kind in WINDOWED):
            raise InvalidConfigError(f"a {self.kind.value} layer cannot have kernel_size={self.kernel_size}")


@dataclass(frozen=True)
class Operation:
    """A label and the layers that it stands for, in order.

    The operation's channels are those of its vertex: the first convolution brings them about, depthwise
    convolutions, pools and the rest keep what they get. An operation without steps passes its input on.

    >>> separable = Operation("separable3x3", (depthwise_conv(3), conv(1), batch_norm(), relu()))
    >>> [step.kind.value for step in separable.steps]
    ['depthwise_conv', 'conv', 'batch_norm', 'relu']
    """

    label: str
    steps: tuple[Step, ...] = ()


def conv(kernel_size: int, use_bias: bool = False) -> Step:
    """A square convolution to the channels of its vertex."""
    return Step(LayerKind.CONV, kernel_size, use_bias)


def depthwise_conv(kernel_size: int, use_bias: bool = False) -> Step:
    """A square convolution of each channel by itself."""
    return Step(LayerKind.DEPTHWISE_CONV, kernel_size, use_bias)


def batch_norm() -> Step:
    """Batch normalization with scale and shift."""
    return Step(LayerKind.BATCH_NORM)


def relu() -> Step:
    """Rectified linear unit."""
    return Step(LayerKind.RELU)


def max_pool(kernel_size: int) -> Step:
    """Largest value of a square window."""
    return Step(LayerKind.MAX_POOL, kernel_size)


def average_pool(kernel_size: int) -> Step:
    """Mean of a square window; positions outside the image do not count."""
    return Step(LayerKind.AVERAGE_POOL, kernel_size)


BUILT_IN: Mapping[str, Operation] = MappingProxyType(
    {
        operation.label: operation
        for operation in (
            Operation("conv3x3-bn-relu", (conv(3), batch_norm(), relu())),
            Operation("conv1x1-bn-relu", (conv(1), batch_norm(), relu())),
            Operation("maxpool3x3", (max_pool(3),)),
            Operation("maxpool2x2", (max_pool(2),)),
            Operation("avgpool2x2", (average_pool(2),)),
            Operation("conv3x3-bn", (conv(3), batch_norm())),
            Operation("conv1x1", (conv(1),)),
            Operation("bn-relu", (batch_norm(), relu())),
            Operation("skip_connect"),
            Operation("nor_conv_1x1", (relu(), conv(1), batch_norm())),
            Operation("nor_conv_3x3", (relu(), conv(3), batch_norm())),
            Operation("avg_pool_3x3", (average_pool(3),)),
        )
    }
)
"""Operations of NAS-Bench-101 and NAS-Bench-201, and what their skeletons are made of."""


def operation_table(own: Iterable[Operation]) -> dict[str, Operation]:
    """Built-in operations by label, and a user's own, which must not redefine one.

    Raises:
        InvalidConfigError: two operations share a label.
    """
    table = dict(BUILT_IN)
    for operation in own:
        if table.get(operation.label, operation) != operation:
            raise InvalidConfigError(
                f"operation {operation.label!r} is defined already, with other layers; choose another label"
            )
        table[operation.label] = operation
    return table
