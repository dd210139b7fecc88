"""All modelled engines by version, and the groups that tests walk over."""

from __future__ import annotations

from tests.engines.containerd import Containerd
from tests.engines.docker_1_6 import Docker162, Docker171
from tests.engines.docker_1_8 import Docker183, Docker191
from tests.engines.docker_1_10 import Docker1103, Docker1126, Docker1703, Docker1903
from tests.engines.docker_20_10 import Docker2010

SCHEMA1_ENGINES = (Docker162, Docker171, Docker183, Docker191)
SCHEMA2_ENGINES = (Docker1103, Docker1126, Docker1703, Docker1903)
OCI_ENGINES = (Docker2010, Containerd)
ENGINES = (*SCHEMA1_ENGINES, *SCHEMA2_ENGINES, *OCI_ENGINES)
BY_VERSION = {engine.version: engine for engine in ENGINES}
