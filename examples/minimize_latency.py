"""The shortest search: any nevergrad optimizer over cells, on measured milliseconds."""

from __future__ import annotations

import nevergrad as ng

from leti_opt import ArchitectureSpace, DeviceLatencyObjective, NetworkConfig


def main(device: str = "host-cpu", store: str = "latency.db", budget: int = 30) -> None:
    """Minimize, then ask the objective again: it answers from the store."""
    space = ArchitectureSpace()
    space.random_state.seed(1)
    objective = DeviceLatencyObjective(device=device, network=NetworkConfig.small(), store=store)
    ng.optimizers.registry["DE"](space, budget=budget).minimize(objective)
    best = objective.best()
    print(f"{best.latency_ms:.3f} ms: {best.architecture}")
    print(f"asked again: {objective(best.architecture):.3f} ms, nothing is measured twice")
    objective.close()


if __name__ == "__main__":
    main()
