"""``leti-opt compare --panel``: has the device changed since it was measured?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import typer

from leti_opt.cli.common import existing_store, network_config, print_json
from leti_opt.errors import DeviceError, NotFoundError

if TYPE_CHECKING:
    from leti_opt.objective.measuring import MeasuringService
    from leti_opt.objective.panel_check import PanelCheck
    from leti_opt.store.records import EpochSummary

FILES = "files"
"""What ``--network`` says for a panel of users' own files."""
EXIT_DISAGREE = 1


@dataclass(frozen=True)
class ComparedEpoch:
    """An earlier epoch, and what the panel showed of it.

    Args:
        earlier: the epoch.
        check: what the panel showed now; None where it was not compared.
        refusal: why it could not be compared.
    """

    earlier: EpochSummary
    check: PanelCheck | None = None
    refusal: str | None = None

    @property
    def agrees(self) -> bool | None:
        """Whether its figures go for now; None where that is not known."""
        if self.refusal is not None:
            return None
        return self.check is None or self.check.agrees

    @property
    def verdict(self) -> str:
        """One plain sentence."""
        if self.refusal is not None:
            return f"not compared, {self.refusal}"
        if self.check is None:
            return "was shown before to agree, and its figures are used"
        return self.check.verdict()


@dataclass
class PanelRun:
    """One run of the command: what it measured, and what it left out."""

    service: MeasuringService
    network_digest: str
    show: Callable[[str], None]
    names: dict[str, str] = field(default_factory=dict)

    def measure(self, keys: Iterable[str]) -> None:
        """Measure networks in the present epoch.

        Raises:
            DeviceError: the device is gone; the message says how to go on.
        """
        from leti_opt.objective.panel import measure_models, panel_model

        models = [panel_model(self.service.store, key) for key in keys if key not in self.names]
        done = 0

        def count(line: str) -> None:
            nonlocal done
            done += 1
            self.show(line)

        try:
            measure_models(self.service, models, count)
        except DeviceError as error:
            raise DeviceError(
                f"{error} (after {done} networks of the panel; everything is kept, the same command goes on)"
            ) from error
        self.names |= {model.key: model.name for model in models}

    def compare(self, earlier: EpochSummary, panel: list[str]) -> ComparedEpoch | None:
        """Link an earlier epoch by the panel, or by further networks where it has too few of the panel's.

        Returns:
            None for an epoch that was only imported and shares too few networks.
        """
        from leti_opt.objective.panel import compare_epochs, link_epochs, panel_figures, spread_networks
        from leti_opt.objective.panel_check import LEAST_NETWORKS

        store, there = self.service.store, (earlier.device, earlier.epoch)
        keys = panel
        if len(panel_figures(store, *there, panel)) < LEAST_NETWORKS:
            if there in self._served():
                return ComparedEpoch(earlier)
            if not earlier.own:
                return None
            keys = spread_networks(store, *there, self.network_digest, keep=panel, linked=False)
            if len(keys) >= LEAST_NETWORKS:
                self.measure(keys)
        try:
            check = compare_epochs(self.service, there, keys)
            link_epochs(self.service, there, keys)
        except NotFoundError as error:
            return ComparedEpoch(earlier, refusal=str(error))
        return ComparedEpoch(earlier, check)

    def _served(self) -> set[Any]:
        from leti_opt.store.links import checks_of, served_epochs

        links = self.service.store.links(self.service.identity)
        return served_epochs(checks_of(links, self.service.identity), (self.service.identity, self.service.epoch))


def run_panel(device: str, store: str, network: str, changes: list[str] | None, as_json: bool) -> None:
    """Measure a device's panel, and say for each earlier epoch whether its figures still go.

    Args:
        device: its URI.
        store: the store that has the earlier figures.
        network: how cells are laid out, as everywhere; ``files`` for a panel of users' own files.
        changes: settings of the network, as everywhere.
        as_json: print JSON.

    Raises:
        NotFoundError: there is no such store, or it has too few figures of this device for a panel.
        DeviceError: the device is gone; what was measured is kept, and the same command goes on.
        typer.Exit: with code 1 where the newest earlier epoch disagrees.
    """
    from leti_opt.device.open_device import open_device
    from leti_opt.device.protocol import MeasurementProtocol
    from leti_opt.objective.measuring import MeasuringService

    digest = "" if network == FILES else network_config(network, changes).digest
    with open_device(device) as opened, existing_store(store) as results:
        service = MeasuringService(opened, results, MeasurementProtocol())
        show: Callable[[str], None] = (lambda _line: None) if as_json else (lambda line: typer.echo(f"  {line}"))
        run = PanelRun(service, digest, show)
        here = (service.identity, service.epoch)
        epochs = results.epochs(service.identity)
        earlier = [summary for summary in epochs if (summary.device, summary.epoch) != here]
        panel = _panel(run, [*earlier, *(summary for summary in epochs if summary not in earlier)], network)
        if not earlier:
            _print_unchanged(service, panel, as_json)
            return
        if not as_json:
            typer.echo(f"on {service.identity.name}, {len(panel)} networks of the panel, latency in ms")
        run.measure(panel)
        results.set_panel(service.identity, digest, panel)
        found = [compared for one in earlier if (compared := run.compare(one, panel)) is not None]
    if as_json:
        print_json(_document(run, panel, found))
    else:
        _print(run, found)
    verdicts = [compared.agrees for compared in found if compared.agrees is not None]
    if not verdicts:
        raise NotFoundError("no earlier epoch could be compared; measure more networks that the panel has")
    if not verdicts[0]:
        raise typer.Exit(EXIT_DISAGREE)


def _panel(run: PanelRun, epochs: list[EpochSummary], network: str) -> list[str]:
    """The panel of the newest epoch that has enough networks for one."""
    from leti_opt.objective.panel import choose_panel
    from leti_opt.objective.panel_check import LEAST_NETWORKS

    most = 0
    for summary in epochs:
        keys = choose_panel(run.service.store, summary.device, summary.epoch, run.network_digest)
        if len(keys) >= LEAST_NETWORKS:
            return keys
        most = max(most, len(keys))
    raise NotFoundError(
        f"the store {run.service.store.url} has {most} stable figures of {run.service.identity.name} that can be "
        f"measured again with --network {network}, and a panel needs {LEAST_NETWORKS}; measure more networks, or name "
        f"the network that they were measured with ({FILES} for your own files)"
    )


def _print_unchanged(service: MeasuringService, panel: list[str], as_json: bool) -> None:
    if as_json:
        print_json({"device": service.identity, "epoch": service.epoch, "panel": panel, "epochs": []})
        return
    typer.echo(
        f"nothing has changed: all figures of {service.identity.name} are of this epoch "
        f"({service.epoch.system_build}); a panel of {len(panel)} networks was chosen"
    )


def _print(run: PanelRun, found: list[ComparedEpoch]) -> None:
    from rich.console import Console

    from leti_opt.report.tables import plain_table

    for one in found:
        if one.check is not None:
            rows = (
                [f"{row.before_ms:.3f}", f"{row.now_ms:.3f}", f"{row.ratio:.3f}", run.names.get(row.model_key, "")]
                for row in one.check.rows
            )
            Console(highlight=False).print(plain_table(["before", "now", "ratio", "network"], rows))
        typer.echo(f"{_where(one.earlier)}: {one.verdict}")


def _where(summary: EpochSummary) -> str:
    parts = (summary.device.runtime, summary.epoch.system_build, summary.epoch.driver)
    unit = f", unit {summary.epoch.unit[:8]}" if summary.epoch.unit else ""
    return f"against {', '.join(filter(None, parts))}{unit}"


def _document(run: PanelRun, panel: list[str], found: list[ComparedEpoch]) -> dict[str, Any]:
    return {
        "device": run.service.identity,
        "epoch": run.service.epoch,
        "panel": panel,
        "epochs": [
            {
                "device": one.earlier.device,
                "epoch": one.earlier.epoch,
                "agrees": one.agrees,
                "verdict": one.verdict,
                "check": one.check,
            }
            for one in found
        ],
    }


def say_if_changed(service: MeasuringService) -> None:
    """Tell a user whose device has changed that earlier figures are not used, and how to use them again."""
    from leti_opt.objective.panel import changed_since

    try:
        note = changed_since(service.store, service.identity, service.epoch)
    except (DeviceError, NotFoundError):
        return  # the first question to the service says so, and the command decides what that means
    if note is not None:
        typer.echo(f"leti-opt: {note}", err=True)
