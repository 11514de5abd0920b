"""Workers of a Dask cluster, where `dask.distributed` is installed: the extra `segcast[cluster]`."""

from __future__ import annotations

import contextlib
import importlib
import re
import secrets
import threading
from collections.abc import Sequence
from typing import Any, Final

from segcast.analyzer.sweep.groups import Group, Timed, leave, run_group
from segcast.analyzer.sweep.workers import Died, Workers
from segcast.traces.errors import InputError

_ADDRESS: Final = re.compile(r"(?:tcp|tls)://(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.%]+\]):[0-9]{1,5}")
_CONNECT_SECONDS: Final = 10
_MOMENT_SECONDS: Final = 0.1
_LEAVING_SECONDS: Final = 2.0


class Cluster(Workers):
    """A Dask scheduler, and whatever workers it has."""

    def __init__(self, address: str) -> None:
        """Connect to `tcp://HOST:PORT`. Raises InputError."""
        try:
            distributed: Any = importlib.import_module("distributed")
        except ImportError:
            raise InputError("--cluster needs Dask: pip install 'segcast[cluster]', here and on the workers") from None
        self._distributed = distributed
        self._names: dict[str, str] = {}
        if not _ADDRESS.fullmatch(address) or not 0 < int(address.rpartition(":")[2]) < 1 << 16:
            raise InputError(f"--cluster {address}: is no address of a scheduler; write tcp://HOST:PORT")
        try:
            self._client = distributed.Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise InputError(
                f"--cluster {address}: no scheduler answers there ({reason}); write tcp://HOST:PORT"
            ) from None
        self.count = len(self._client.scheduler_info(n_workers=-1)["workers"])
        if not self.count:
            self.close()
            raise InputError(f"--cluster {address}: has no workers; start some: dask worker {address} --nthreads 1")

    def submit(self, group: Group) -> Any:
        """A future of the group's cells; whatever runs them, they are the same, and once is enough."""
        key = f"segcast-{secrets.token_hex(8)}"
        self._names[key] = group.name
        return self._client.submit(run_group, group, key=key, pure=False)

    def ended(self, futures: Sequence[Any]) -> list[Any]:
        """Those that are done."""
        try:
            with self._client.as_current():
                done = self._distributed.wait(futures, _MOMENT_SECONDS, "FIRST_COMPLETED").done
        except TimeoutError:
            return []
        return list(done)

    def result(self, future: Any) -> list[Timed]:
        """The cells of a group; the cluster then forgets it, so that no worker's end makes it run again."""
        try:
            found: list[Timed] = future.result()
        except self._distributed.KilledWorker:
            raise Died from None
        finally:
            future.release()
        return found

    def dropped(self, futures: Sequence[Any]) -> None:
        """Have what has not begun never begin, and what has end after the cell that it is at.

        Else whoever asks again meanwhile would have the rest of those groups run twice.
        """
        if not futures:
            return
        self._client.cancel(list(futures))
        names = [self._names[future.key] for future in futures]

        def tell() -> None:
            with contextlib.suppress(Exception):  # nobody is there: then nobody runs them
                self._client.run(leave, names, on_error="ignore")

        telling = threading.Thread(target=tell, daemon=True)
        telling.start()
        telling.join(_LEAVING_SECONDS)

    def close(self) -> None:
        """Leave the cluster as it is."""
        self._client.close()
