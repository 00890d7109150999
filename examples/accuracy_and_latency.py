"""Two losses in nevergrad's own way, with an accuracy of your own."""

from __future__ import annotations

import nevergrad as ng

from leti_opt import AccuracyLatencyObjective, Architecture, ArchitectureSpace, DeviceLatencyObjective, NetworkConfig


def accuracy(cell: Architecture) -> float:
    """Stands for yours: a table of NAS-Bench-101, a training, a zero-cost proxy. Between 0 and 1."""
    convolutions = sum(name.startswith("conv") for name in cell.pruned().operations)
    return 0.8 + 0.03 * convolutions


def main(device: str = "host-cpu", store: str = "latency.db", budget: int = 40) -> None:
    """Print the front: what is as accurate and nowhere slower."""
    space = ArchitectureSpace()
    space.random_state.seed(1)
    optimizer = ng.optimizers.registry["DE"](space, budget=budget)
    latency = DeviceLatencyObjective(device=device, network=NetworkConfig.small(), store=store)
    objective = AccuracyLatencyObjective(accuracy, latency, latency_bound_ms=20.0)
    objective.give_bounds(optimizer)
    optimizer.minimize(objective)
    for candidate in sorted(optimizer.pareto_front(), key=lambda found: found.losses[1]):
        print(f"{1 - candidate.losses[0]:.2f}  {candidate.losses[1]:.3f} ms  {candidate.value}")
    latency.close()


if __name__ == "__main__":
    main()
