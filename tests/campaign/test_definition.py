"""What a campaign's TOML file may say, and how what it may not say is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from leti_opt.campaign.definition import CampaignDefinition
from leti_opt.campaign.template import TEMPLATE
from leti_opt.errors import InvalidInputError


def define(**settings: Any) -> CampaignDefinition:
    return CampaignDefinition(**{"name": "a", "devices": ["host-cpu"], "networks": ["small"], **settings})


def test_the_template_is_a_campaign_with_every_setting_known(tmp_path: Path) -> None:
    path = tmp_path / "campaign.toml"
    path.write_text(TEMPLATE)
    campaign = CampaignDefinition.load(path)
    assert campaign.cells.sample == 300
    assert campaign.store == str(tmp_path / "latency.db")


def test_every_setting_that_the_template_comments_out_is_known_too(tmp_path: Path) -> None:
    lines = [
        line.removeprefix("# ") if line.startswith("# ") and " = " in line else line for line in TEMPLATE.splitlines()
    ]
    path = tmp_path / "campaign.toml"
    path.write_text("\n".join(lines))
    campaign = CampaignDefinition.load(path)
    assert campaign.cells.filter.max_flops == 5e9
    assert campaign.cells.filter.accuracy == tmp_path / "nasbench101.accuracy"
    assert campaign.measurement_protocol.min_runs == 300


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cells": {"smaple": 3}}, "unknown setting cells.smaple; did you mean 'sample'"),
        ({"cells": {"filter": {"maxflops": 3}}}, "unknown setting cells.filter.maxflops; did you mean 'max_flops'"),
        ({"devices": [{"url": "host-cpu"}]}, "unknown setting devices.0.url; did you mean 'uri'"),
        ({"storee": "x"}, "unknown setting storee; did you mean 'store'"),
        ({"protocol": {"min_run": 3}}, "unknown setting protocol.min_run; did you mean 'min_runs'"),
        ({"protocol": {"min_runs": 0}}, "min_runs must be 1 or more, not 0"),
        ({"canary": {"pace": "quit"}}, "canary.pace: Input should be 'usual', 'quiet' or 'off'"),
        ({"networks": ["smal"]}, "unknown network 'smal'; did you mean 'small'"),
        ({"networks": [{"preset": "small", "filter": 3}]}, "unknown setting networks.0.filter; did you mean 'filters'"),
        ({"networks": ["small", {"presett": "small"}]}, "unknown setting networks.1.presett; did you mean 'preset'"),
        ({"networks": ["small", {"preset": "small", "filters": "x"}]}, "networks.1: .*filters: Input should be"),
        ({"execution": {"builders": True}}, "execution.builders"),
        ({"on_event": "a\0b"}, "on_event: .* holds a NUL character"),
        ({"networks": ["small", {"preset": "small"}]}, "two of the networks are the same"),
        ({"devices": []}, "devices: .*at least 1"),
        ({"devices": ["host-cpu", "host-cpu"]}, "host-cpu is given twice"),
        ({"cells": {"filter": {"max_flops": "many"}}}, "cells.filter.max_flops: 'many' is no quantity"),
        ({"cells": {"filter": {"min_accuracy": 0.9}}}, "min_accuracy needs accuracy"),
        ({"cells": {"table": "a.npz", "space": "nasbench201"}}, "give table or a space, not both"),
        ({"execution": {"backend": "dask"}}, "execution.backend"),
        ({"seed": -1}, "seed"),
        ({"name": "a/b"}, "'a/b' cannot be a campaign's name"),
        ({"store": ""}, "store"),
        ({"devices": "host-cpu"}, r'devices is a list; write for instance devices = \["host-cpu"\]'),
        ({"protocol": {"max_relative_std": "a"}}, "protocol.max_relative_std: Input should be a valid number"),
        ({"protocol": {"min_runs": 5, "relative_error": 0.1}}, "protocol: give min_runs or relative_error, not both"),
        ({"cells": {"sample": "20"}}, "cells.sample"),
        ({"cells": {"sample": True}}, "cells.sample"),
        ({"cells": {"filter": {"max_flops": float("inf")}}}, "cells.filter.max_flops"),
        ({"cells": {"filter": {"accuracy": "a.file"}}}, "accuracy needs min_accuracy"),
    ],
)
def test_wrong_settings_are_refused_with_the_nearest_right_name(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        define(**settings)


def test_a_wrong_entry_is_one_fault_and_not_also_a_list_that_is_too_short() -> None:
    with pytest.raises(InvalidInputError) as caught:
        define(devices=[{"name": "x"}])
    assert str(caught.value) == "campaign: devices.0.uri is missing"


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(InvalidInputError) as caught:
        define(cells={"smaple": 1, "filter": {"max_flop": 2}}, seed="x")
    assert all(word in str(caught.value) for word in ("smaple", "max_flop", "seed"))


def test_a_missing_file_and_one_that_is_no_toml_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot read"):
        CampaignDefinition.load(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(InvalidInputError, match="is not TOML"):
        CampaignDefinition.load(tmp_path / "bad.toml")


def test_a_file_that_begins_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('\ufeffname = "a"\ndevices = ["host-cpu"]\n', encoding="utf-8")
    assert CampaignDefinition.load(tmp_path / "c.toml").name == "a"


def test_relative_paths_count_from_the_files_folder(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        'name = "a"\ndevices = ["host-cpu"]\nstore = "x/y.db"\n[cells]\ntable = "cells.npz"\n'
    )
    campaign = CampaignDefinition.load(tmp_path / "c.toml")
    assert campaign.store == str(tmp_path / "x" / "y.db")
    assert campaign.cells.table == tmp_path / "cells.npz"


def test_a_url_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('name = "a"\ndevices = ["host-cpu"]\nstore = "postgresql://host/name"\n')
    assert CampaignDefinition.load(tmp_path / "c.toml").store == "postgresql://host/name"


def test_another_store_or_device_is_the_same_campaign_and_other_cells_are_another() -> None:
    campaign = define()
    assert define(store="b.db", devices=["replay:formula"], on_event="true").content == campaign.content
    assert define(cells={"sample": 3}).content != campaign.content
    assert define(networks=["nasbench101"]).content != campaign.content
    assert define(seed=1).content != campaign.content


def test_a_store_that_is_no_text_is_refused_without_its_password() -> None:
    with pytest.raises(InvalidInputError, match="store: Input should be a valid string") as failed:
        CampaignDefinition(name="demo", devices=["host-cpu"], store=["postgresql://ada:s3cret@server/latency"])
    assert "s3cret" not in str(failed.value)
    assert "server/latency" in str(failed.value)
