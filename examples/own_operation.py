"""Add an operation of your own: a depthwise separable convolution, and a space that uses it."""

from __future__ import annotations

import nevergrad as ng

from leti_opt import ArchitectureSpace, DeviceLatencyObjective, NetworkConfig, Operation, SpaceDefinition
from leti_opt.network.operations import batch_norm, conv, depthwise_conv, relu

separable = Operation("separable3x3", (depthwise_conv(3), conv(1), batch_norm(), relu()))
network = NetworkConfig.small(operations=(separable,))
definition = SpaceDefinition("own", ("separable3x3", "conv3x3-bn-relu", "maxpool3x3"), max_vertices=5, max_edges=7)


def main(device: str = "host-cpu", store: str = "latency.db", budget: int = 20) -> None:
    """Search that space for the fastest cell."""
    space = ArchitectureSpace(definition)
    space.random_state.seed(1)
    objective = DeviceLatencyObjective(device=device, network=network, store=store)
    ng.optimizers.registry["DE"](space, budget=budget).minimize(objective)
    best = objective.best()
    print(f"{best.latency_ms:.3f} ms: {best.architecture}")
    objective.close()


if __name__ == "__main__":
    main()
