"""What becomes of a task on Dask that ends by no fault of its own function: joblib's backend would wait for ever."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from leti_opt.architecture_table import ArchitectureTable
from leti_opt.campaign import dask_client
from leti_opt.campaign.building import Builders
from leti_opt.campaign.dask_backend import dask_backend, deaths
from leti_opt.campaign.dask_client import failure_text
from leti_opt.network.config import NetworkConfig
from tests.campaign import dask_cluster

pytestmark = pytest.mark.needs("dask")
DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    cluster = dask_cluster.DaskCluster(tmp_path_factory.mktemp("dask"))
    cluster.start_worker("host-0", "phone=1", threads=1)
    with cluster.client() as made:
        yield made
    cluster.stop()


def ended(client: Any, function: Any, *arguments: Any) -> Any:
    """What joblib gives for a task; it must not wait for ever."""
    from joblib import Parallel, delayed, parallel_config

    client.wait_for_workers(1, timeout=DEADLINE_S)  # the one before may have killed it
    with parallel_config(backend=dask_backend(client, resources={"phone": 1})):
        [result] = Parallel(n_jobs=1, timeout=DEADLINE_S)([delayed(function)(*arguments)])
    return result


def kill_worker() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_results_and_errors_of_the_function_are_handed_on(client: Any) -> None:
    assert ended(client, divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        ended(client, divmod, 7, 0)


def test_a_task_is_done_by_the_worker_though_the_cluster_has_but_one_thread(client: Any) -> None:
    assert sum(client.nthreads().values()) == 1
    assert ended(client, os.getpid) != os.getpid()


def test_a_task_whose_worker_dies_again_and_again_ends(client: Any) -> None:
    with pytest.raises(deaths()):
        ended(client, kill_worker)


def test_a_task_that_is_cancelled_ends(client: Any) -> None:
    """As when the scheduler was started anew, and knows nothing of it."""
    from distributed import Future

    def forget() -> None:
        while not client.futures:
            time.sleep(0.01)
        client.cancel([Future(key, client) for key in list(client.futures)], force=True)

    forgetting = threading.Thread(target=forget)
    forgetting.start()
    with pytest.raises(deaths()):
        ended(client, time.sleep, 2.0)
    forgetting.join()


@pytest.fixture
def answer() -> Iterator[Any]:
    """A function of a module that no other process can import."""
    module = ModuleType("known_only_here")
    exec("def answer():\n    return 42\n", module.__dict__)
    sys.modules[module.__name__] = module
    yield module.answer
    del sys.modules[module.__name__]


def test_a_host_without_the_code_is_told_what_to_install(client: Any, answer: Any) -> None:
    with pytest.raises(Exception) as failed:  # Dask's own choice
        ended(client, answer)
    told = failure_text(failed.value, "tcp://host:1")
    assert "No module named 'known_only_here'" in told
    assert "tcp://host:1" in told
    assert "on every host of the cluster, the scheduler's included: pip install 'leti_opt[cluster]'" in told


def test_a_worker_with_no_leti_opt_or_another_one_is_told_apart_before_it_is_given_anything(
    client: Any, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.wait_for_workers(1, timeout=DEADLINE_S)
    [address] = client.scheduler_info(n_workers=-1)["workers"]
    assert dask_client.worker_fault(client, address) is None
    monkeypatch.setattr(dask_client, "version", answer)
    told = dask_client.worker_fault(client, address)
    assert told is not None
    assert "No module named 'known_only_here'" in told
    monkeypatch.setattr(dask_client, "version", lambda: str(os.getpid()))
    told = dask_client.worker_fault(client, address)
    assert told is not None
    assert told.endswith("install the same version on both")


def test_builders_that_die_leave_their_networks_to_be_built_elsewhere(
    client: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from leti_opt.architecture import Architecture
    from leti_opt.campaign import building

    cells = ArchitectureTable.from_architectures([Architecture.parse("0-1,1-2:maxpool3x3")])
    with Builders({"backend": "dask", "client": client}, 1) as builders:
        [built] = builders.build(cells, NetworkConfig.small())
        assert built is not None
        with monkeypatch.context() as patched:
            patched.setattr(building, "build_networks", _killing)
            assert builders.build(cells, NetworkConfig.small()) == [None]
        assert "a builder died" in caplog.text
        [built] = builders.build(cells, NetworkConfig.small())
        assert built is not None, "the next ones go there again"


def _killing(*_arguments: object) -> None:
    kill_worker()
